"""ResNet-18 (He et al. 2016) as a classifier, in torchvision's architecture and with its random initial weights."""

from torch import Tensor, nn


class ResNet18(nn.Module):
    """(N, in, H, W) to logits (N, classes); the size of the images is free, 32 times that of the last feature maps."""

    keep_init = True  # torchvision's, by `layers.initialise`

    def __init__(self, in_channels: int, classes: int) -> None:
        from torchvision.models import resnet18

        super().__init__()
        self.net = resnet18(weights=None, num_classes=classes)
        if in_channels != 3:
            self.net.conv1 = nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False)
            nn.init.kaiming_normal_(self.net.conv1.weight, mode="fan_out", nonlinearity="relu")

    def maps(self, x: Tensor) -> list[Tensor]:
        """Return the output of the first convolution, after norm and ReLU, and of the four stages, finest first."""
        net = self.net
        maps = [net.relu(net.bn1(net.conv1(x)))]
        x = net.maxpool(maps[0])
        for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
            maps.append(x := stage(x))
        return maps

    def features(self, x: Tensor) -> Tensor:
        """Return the features (N, 512) before the last layer, of images (N, in, H, W)."""
        return self.maps(x)[-1].mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.net.fc(self.features(x))
