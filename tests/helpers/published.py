"""Generators with the layers, names and order of public code, in plain torch: what an import must compute as well."""

import torch
import torch.nn.functional as F
from torch import nn


class Wrapped(nn.Module):
    """A network whose names all begin with `model.`."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, *inputs):
        return self.model(*inputs)


class Filtered(nn.Module):
    """CUT's Downsample and Upsample: a buffer `filt` of the outer product of `row`, for each channel."""

    def __init__(self, channels, row, doubles):
        super().__init__()
        kernel = torch.outer(torch.tensor(row), torch.tensor(row))
        kernel = kernel / kernel.sum() * (4 if doubles else 1)
        self.register_buffer("filt", kernel[None, None].repeat(channels, 1, 1, 1))
        self.doubles = doubles

    def forward(self, x):
        if self.doubles:
            edged = F.pad(x, (1, 1, 1, 1), mode="replicate")
            return F.conv_transpose2d(edged, self.filt, stride=2, padding=2, groups=len(self.filt))[:, :, 1:-1, 1:-1]
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), self.filt, stride=2, groups=len(self.filt))


class Residual(nn.Module):
    def __init__(self, wide, norm, bias):
        super().__init__()
        first, second = ([nn.ReflectionPad2d(1), nn.Conv2d(wide, wide, 3, bias=bias), norm(wide)] for _ in range(2))
        self.conv_block = nn.Sequential(*first, nn.ReLU(), *second)

    def forward(self, x):
        return x + self.conv_block(x)


NORMS = {"instance": nn.InstanceNorm2d, "batch": nn.BatchNorm2d, "none": lambda channels: nn.Identity()}


def resnet(blocks, width=4, norm="instance", bias=None, filtered=False, channels=3):
    """CycleGAN's generator; with `filtered` CUT's."""
    bias, layer = norm == "instance" if bias is None else bias, NORMS[norm]
    stride = 1 if filtered else 2
    layers = [nn.ReflectionPad2d(3), nn.Conv2d(channels, width, 7, bias=bias), layer(width), nn.ReLU()]
    for wide in (2 * width, 4 * width):
        layers += [nn.Conv2d(wide // 2, wide, 3, stride, 1, bias=bias), layer(wide), nn.ReLU()]
        layers += [Filtered(wide, [1.0, 2.0, 1.0], False)] if filtered else []
    layers += [Residual(4 * width, layer, bias) for _ in range(blocks)]
    for wide in (2 * width, width):
        if filtered:
            layers += [Filtered(2 * wide, [1.0, 3.0, 3.0, 1.0], True), nn.Conv2d(2 * wide, wide, 3, 1, 1, bias=bias)]
        else:
            layers.append(nn.ConvTranspose2d(2 * wide, wide, 3, 2, 1, output_padding=1, bias=bias))
        layers += [layer(wide), nn.ReLU()]
    layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, channels, 7), nn.Tanh()]
    return trained(Wrapped(nn.Sequential(*layers)))


class Level(nn.Module):
    """A level of pix2pix's U-Net round the one inside."""

    def __init__(self, outer, inner, inside, norm, bias, read=None):
        super().__init__()
        self.outermost = read is not None
        down = nn.Conv2d(read or outer, inner, 4, 2, 1, bias=bias)
        up = nn.ConvTranspose2d(inner * (2 if inside else 1), outer, 4, 2, 1, bias=bias or self.outermost)
        if self.outermost:
            layers = [down, inside, nn.ReLU(), up, nn.Tanh()]
        elif inside is None:
            layers = [nn.LeakyReLU(0.2), down, nn.ReLU(), up, norm(outer)]
        else:
            layers = [nn.LeakyReLU(0.2), down, norm(inner), inside, nn.ReLU(), up, norm(outer)]
        self.model = nn.Sequential(*layers)

    def forward(self, x):
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], 1)


def unet(depth, width=2, norm="batch", bias=None, channels=3):
    """pix2pix's generator for 2^depth pixels, without dropout."""
    bias, layer = norm == "instance" if bias is None else bias, NORMS[norm]
    widths = [width * min(2**level, 8) for level in range(depth)]
    inside = None
    for level in range(depth - 1, 0, -1):
        inside = Level(widths[level - 1], widths[level], inside, layer, bias)
    return trained(Wrapped(Level(channels, width, inside, layer, bias, read=channels)))


class NoisyLevel(nn.Module):
    """A level of BicycleGAN's U-Net with noise: bilinear doubling, InstanceNorm."""

    def __init__(self, outer, inner, noise, submodule, outermost=False, read=None):
        super().__init__()
        self.outermost, self.submodule = outermost, submodule
        conv = nn.Conv2d((read or outer) + noise, inner, 4, 2, 1)
        norm = [nn.InstanceNorm2d(inner)] if submodule and not outermost else []
        self.down = nn.Sequential(*([conv] if outermost else [nn.LeakyReLU(0.2), conv, *norm]))
        doubled = [nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False), nn.ReflectionPad2d(1)]
        last = nn.Tanh() if outermost else nn.InstanceNorm2d(outer)
        self.up = nn.Sequential(nn.ReLU(), *doubled, nn.Conv2d(inner * (2 if submodule else 1), outer, 3), last)

    def forward(self, x, z):
        h = self.down(torch.cat([x, z[:, :, None, None].expand(-1, -1, *x.shape[2:])], 1))
        h = self.up(self.submodule(h, z) if self.submodule else h)
        return h if self.outermost else torch.cat([h, x], 1)


def noisy_unet(depth=5, width=4, noise=3, channels=(2, 1)):
    widths = [width * min(2**level, 8) for level in range(depth)]
    inside = None
    for level in range(depth - 1, 0, -1):
        inside = NoisyLevel(widths[level - 1], widths[level], noise, inside)
    return trained(Wrapped(NoisyLevel(channels[1], width, noise, inside, True, channels[0])))


class ConvBlock(nn.Module):
    """MUNIT's Conv2dBlock: reflection, convolution, `norm` and ReLU or tanh."""

    def __init__(self, narrow, wide, kernel, stride, pad, norm=None, activation="relu"):
        super().__init__()
        self.pad, self.conv, self.norm = pad, nn.Conv2d(narrow, wide, kernel, stride), norm
        self.activation = {"relu": F.relu, "tanh": torch.tanh, "none": lambda x: x}[activation]

    def forward(self, x, given=None):
        x = self.conv(F.pad(x, (self.pad,) * 4, mode="reflect"))
        if given is not None:  # AdaIN: (mean, deviation) of each channel
            x = F.instance_norm(x) * given[1][:, :, None, None] + given[0][:, :, None, None]
        return self.activation(self.norm(x) if self.norm is not None else x)


class Whitened(nn.Module):
    """MUNIT's LayerNorm."""

    def __init__(self, channels):
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.rand(channels)), nn.Parameter(torch.rand(channels))

    def forward(self, x):
        flat = x.flatten(1)
        mean, std = (each.view(-1, 1, 1, 1) for each in (flat.mean(1), flat.std(1)))
        return (x - mean) / (std + 1e-5) * self.gamma[:, None, None] + self.beta[:, None, None]


def named(**parts):
    """A module of these children and nothing else."""
    found = nn.Module()
    for name, part in parts.items():
        found.add_module(name, part)
    return found


class Coder(nn.Module):
    """MUNIT's AdaINGen, whose content is halved `n` times."""

    def __init__(self, n, width=4, blocks=2, style=3, hidden=5, channels=3):
        super().__init__()
        wide = width * 2**n

        def block(norm):
            pair = [ConvBlock(wide, wide, 3, 1, 1, norm(), "relu"), ConvBlock(wide, wide, 3, 1, 1, norm(), "none")]
            return named(model=nn.Sequential(*pair))

        def adaptive():
            return None

        def instance():
            return nn.InstanceNorm2d(wide)

        styles = [ConvBlock(channels, width, 7, 1, 3), *(
            ConvBlock(width * 2 ** min(at, 2), width * 2 ** min(at + 1, 2), 4, 2, 1) for at in range(4)
        )]  # fmt: skip
        self.enc_style = named(model=nn.Sequential(*styles, nn.AdaptiveAvgPool2d(1), nn.Conv2d(4 * width, style, 1)))
        content = [ConvBlock(channels, width, 7, 1, 3, nn.InstanceNorm2d(width))]
        for at in range(n):
            content.append(
                ConvBlock(width * 2**at, width * 2 ** (at + 1), 4, 2, 1, nn.InstanceNorm2d(width * 2 ** (at + 1)))
            )
        content.append(named(model=nn.Sequential(*(block(instance) for _ in range(blocks)))))
        self.enc_content = named(model=nn.Sequential(*content))
        up = [named(model=nn.Sequential(*(block(adaptive) for _ in range(blocks))))]
        for at in range(n, 0, -1):
            up += [
                nn.Upsample(scale_factor=2),
                ConvBlock(width * 2**at, width * 2 ** (at - 1), 5, 1, 2, Whitened(width * 2 ** (at - 1))),
            ]
        self.dec = named(model=nn.Sequential(*up, ConvBlock(width, channels, 7, 1, 3, None, "tanh")))
        dense = [nn.Linear(style, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, blocks * 4 * wide)]
        self.mlp = named(model=nn.Sequential(*(named(fc=each) for each in dense)))

    def content(self, x):
        *convs, blocks = self.enc_content.model
        for conv in convs:
            x = conv(x)
        for block in blocks.model:
            x = x + block.model(x)
        return x

    def style(self, x):
        return self.enc_style.model(x).flatten(1)

    def decode(self, x, style):
        first, second, third = (each.fc for each in self.mlp.model)
        given = third(F.relu(second(F.relu(first(style)))))
        blocks, *rest = self.dec.model
        parts = iter(given.split(x.shape[1], 1))  # mean and deviation of each norm, in order
        for block in blocks.model:
            h = x
            for conv in block.model:
                h = conv(h, (next(parts), next(parts)))
            x = x + h
        for layer in rest:
            x = layer(x)
        return x


def munit(n):
    """Both coders of a file, by its keys."""
    return {name: trained(Coder(n)) for name in "ab"}


def trained(net):
    """Weights, biases and statistics that are seen in what the network makes."""
    for key, value in net.state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif key.endswith("running_mean") or (key.endswith("bias") and value.dim() == 1):
            value.normal_(0, 0.3)
        elif value.dim() > 1 and not key.endswith("filt"):
            value.mul_(2)
    return net.eval()
