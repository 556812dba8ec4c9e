"""DIAT and DIAT-A: "Deep Identity-aware Transfer of Facial Attributes", Li, Zuo, Zhang 2016, arXiv 1610.05586v1.

A transform network adds an attribute to images, with a GAN loss; an identity loss compares features of a face network
(DIAT) or of the discriminator (DIAT-A). A second network may then enhance the result.

    diptych train diat --data celeba "attributes=[Eyeglasses]" direction=b2a preset=adaptive crop_size=128 -o runs/bare
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from diptych.contract import (
    Batch,
    CheckConfigs,
    Clock,
    DataKind,
    Method,
    MethodConfig,
    Player,
    Route,
    Setting,
    Stage,
    Terms,
    Traits,
    Update,
)
from diptych.losses.adversarial import bce, to_float32
from diptych.losses.perceptual import feature_distance
from diptych.networks.diat import Denoiser, Discriminator, Enhancer, blur_bicubic
from diptych.networks.layers import Norm, evaluating, initialise, without_graph
from diptych.networks.resnet import ResNet
from diptych.networks.upsampling import Upsample

Fraction = Annotated[float, Field(ge=0, le=1)]
Layer = Annotated[int, Field(ge=1, le=100)]
REGIONS = "region=[0.4,0.1,0.7,0.9] for the eyes and region=[0.55,0.2,0.95,0.8] for the mouth of CelebA's aligned faces"


class DIAT(Method):
    class Config(MethodConfig):
        """Sections 3.1 to 3.3. The paper does not give widths, weights and learning rates: these are ours."""

        steps: int = Field(50_000, ge=0, description="steps of the transfer; each updates D once and T once")
        denoiser_steps: int = Field(
            5000, ge=0, description="steps before the transfer, which train the denoiser of L_smooth"
        )
        warmup_steps: int = Field(1000, ge=0, description="first steps, in which T learns the identity (ours)")
        enhancement_steps: int = Field(
            20_000, ge=0, description="steps after the transfer, which train the enhancement network"
        )
        channels: Annotated[int, Setting(channels_of=("a", "b"))] = Field(
            3, ge=1, le=1024, description="number of channels of the images; read from the data"
        )
        image_size: Annotated[int, Setting(follows="crop_size")] = Field(
            128, ge=32, le=4096, description="side of the training images in pixels; follows crop_size"
        )
        identity_features: Literal["network", "adaptive"] = Field(
            "network",
            description="features of the identity loss: of feature_network (network, DIAT) or of D (adaptive, DIAT-A)",
        )
        feature_network: Annotated[str, Setting(feature_network="features", text=True, path=True)] = Field(
            "vgg16",
            min_length=1,
            max_length=4096,
            description="feature network of the identity loss: vgg16, vgg19, NAME:FILE, the "
            "folder of an evaluator; none if adaptive",
        )
        feature_layers: tuple[Layer, ...] = Field(
            (4, 5), min_length=1, description="its layers, or those of D, whose features are compared"
        )
        lambda_id: Annotated[float, Setting(symbol="λ")] = Field(1.0, ge=0, description="weight of the identity loss")
        lambda_smooth: Annotated[float, Setting(symbol="γ")] = Field(
            0.1, ge=0, description="weight of L_smooth; 0, or identity_features=adaptive: without it"
        )
        enhancement: Literal["none", "local", "global"] = Field(
            "none",
            description="enhancement network: none, for an attribute of a region (local), or of "
            "the whole face (global)",
        )
        region: tuple[Fraction, Fraction, Fraction, Fraction] | None = Field(
            None,
            description="region of enhancement=local, which requires it: top, left, bottom and right as fractions of "
            "the side",
        )
        lambda_inside: Annotated[tuple[float, float, float], Setting(symbol="β")] = Field(
            (1.0, 1.0, 1.0),
            description="weights inside the region of enhancement=local: pixels, first and second feature map",
        )
        ngf: int = Field(32, ge=1, le=1024, description="channels of T's first layer")
        n_blocks: int = Field(5, ge=1, le=100, description="residual blocks of T")
        ndf: int = Field(64, ge=1, le=1024, description="channels of D's first layer")
        d_max_channels: int = Field(512, ge=1, le=65_536, description="maximum number of channels in a layer of D")
        d_layers: int = Field(5, ge=1, le=10, description="stride-2 convolutions of D")
        d_head: Literal["dense", "patches"] = Field(
            "dense", description="output of D: one for the image (dense), or one for each patch (patches)"
        )
        norm: Norm = Field(
            "instance", description="normalisation layers of T and of the enhancement network; D has none"
        )
        upsample: Upsample = Field(
            "deconv",
            description="upsampling in T and E: deconv (transposed convolutions, published), or, without "
            "checkerboards, resize_conv or pixel_shuffle",
        )
        lr: float = Field(2e-4, gt=0, description="learning rate of Adam")

        @model_validator(mode="after")
        def _settings_fit(self) -> "DIAT.Config":
            if self.identity_features == "network" and self.feature_network == "none":
                raise ValueError(
                    "identity_features=network needs a feature_network: name one, or set identity_features=adaptive"
                )
            if self.identity_features == "adaptive" and max(self.feature_layers) > self.d_layers:
                raise ValueError(
                    f"feature_layers={list(self.feature_layers)}: "
                    f"D has only {self.d_layers} layers: lower them, or raise d_layers"
                )
            if self.image_size % 2**self.d_layers:
                raise ValueError(
                    f"crop_size={self.image_size} is not a multiple of {2**self.d_layers}, "
                    f"which d_layers={self.d_layers} needs: change one of them"
                )
            if self.region is None:
                if self.enhancement == "local":
                    raise ValueError(
                        f"enhancement=local needs the region of the attribute: {REGIONS}; for an attribute of the "
                        f"whole face set enhancement=global"
                    )
                return self
            top, left, bottom, right = self.region
            if top >= bottom or left >= right:
                raise ValueError(
                    f"region={list(self.region)}: expected top < bottom and left < right, as fractions of the side"
                )
            return self

        @property
        def smooths(self) -> bool:
            """Whether L_smooth is part of the loss."""
            return self.identity_features == "network" and self.lambda_smooth > 0

        def unused(self) -> dict[str, str]:
            needs: dict[str, str] = {}
            if self.enhancement == "none":
                needs["enhancement_steps"] = "enhancement=local or global"
            if self.enhancement != "local":
                needs |= dict.fromkeys(("region", "lambda_inside"), "enhancement=local")
            if self.identity_features == "adaptive":
                needs["lambda_smooth"] = "identity_features=network"
                if self.enhancement != "local":
                    needs["feature_network"] = "identity_features=network, or enhancement=local"
            if not self.smooths:
                needs["denoiser_steps"] = "identity_features=network and lambda_smooth above 0"
            if not (self.lambda_id or self.smooths):
                needs["feature_layers"] = "lambda_id above 0"
            return needs

    config: Config
    data = DataKind.UNPAIRED
    batch = ("a", "b")
    routes = (Route("a", "b"),)
    inference_networks = ("T", "E")
    presets = {
        "paper": {"enhancement": "global"},  # an attribute of a region needs enhancement=local and the region
        "adaptive": {
            "identity_features": "adaptive",
            "feature_network": "none",
            "lambda_smooth": 0.0,
            "enhancement": "global",
        },
        # the baseline of Choi et al. 2018: CycleGAN's generator of 6 blocks, StarGAN's discriminator.
        "stargan-baseline": {"ngf": 64, "n_blocks": 6, "d_layers": 6, "d_max_channels": 2048, "d_head": "patches"},
    }
    traits = Traits(size_multiple=4)
    checks = CheckConfigs(
        tiny={
            "denoiser_steps": 2, "warmup_steps": 2, "enhancement_steps": 2, "enhancement": "local",
            "region": (0.55, 0.2, 0.95, 0.8),
            "feature_layers": (1, 2), "lambda_id": 30.0, "ngf": 8, "n_blocks": 2, "ndf": 8, "lr": 2e-3,
        },
        learning={"steps": 250, "enhancement_steps": 250},
    )  # fmt: skip

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.T = ResNet(c.channels, c.channels, c.ngf, c.n_blocks, c.norm, upsample=c.upsample)
        self.D = Discriminator(c.channels, c.image_size, c.ndf, c.d_max_channels, c.d_layers, c.d_head)
        self.E = Enhancer(c.channels, c.ngf, c.n_blocks, c.norm, c.upsample) if c.enhancement != "none" else None
        self.R = ResNet(c.channels, c.channels, c.ngf, c.n_blocks, c.norm, upsample=c.upsample) if c.smooths else None
        self.N = Denoiser(c.channels, c.ngf) if c.smooths else None
        initialise(self)
        if self.E is not None:
            self.E.zero_last_layer()
        initialise(self.D, "kaiming")  # without a norm, a deviation of 0.02 would make the features 30 times smaller

    def stages(self) -> list[Stage]:
        c, stages = self.config, []
        if self.R is not None and self.N is not None:
            players = {"R": Player((self.R,), c.lr), "N": Player((self.N,), c.lr)}
            stages.append(Stage("denoise", c.denoiser_steps, self.train_denoiser_step, players))
        if c.warmup_steps:
            stages.append(Stage("warm", c.warmup_steps, self.warmup_step, {"T": Player((self.T,), c.lr)}))
        players = {"D": Player((self.D,), c.lr), "T": Player((self.T,), c.lr)}
        stages.append(Stage("transfer", c.steps, self.updates, players))
        if self.E is not None:
            stages.append(
                Stage("enhance", c.enhancement_steps, self.train_enhancer_step, {"E": Player((self.E,), c.lr)})
            )
        return stages

    def train_denoiser_step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """One step on R, which reconstructs images from features, then one on N, which removes R's artifacts."""
        assert self.R is not None
        assert self.N is not None
        x = batch["a"]
        reconstruction = self.R(x)
        yield "R", {"content": self.identity_loss(self.feature_maps(reconstruction), self.feature_maps(x))}
        yield (
            "N",
            {
                "again": F.mse_loss(to_float32(self.N(reconstruction.detach())), x),
                "same": F.mse_loss(to_float32(self.N(x)), x),
            },
        )

    def warmup_step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """One step on T as an autoencoder, as in the authors' later code."""
        yield "T", {"same": F.mse_loss(to_float32(self.T(batch["a"])), batch["a"])}

    def updates(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """Equations 5 and 9: one step on D, then one on T. In DIAT-A one pass of D gives both of T's losses."""
        c, x, real = self.config, batch["a"], batch["b"]
        fake = self.T(x)
        yield "D", {"real": bce(self.D(real)[0], True), "fake": bce(self.D(fake.detach())[0], False)}
        logits, d_features = self.D(fake)
        terms = {"gan": bce(logits, True)}
        if c.lambda_id:
            adaptive = c.identity_features == "adaptive"
            with without_graph():
                source_features = self.D(x)[1] if adaptive else self.feature_maps(x)
            features = d_features if adaptive else self.feature_maps(fake)
            terms["identity"] = c.lambda_id * self.identity_loss(features, source_features)
        if self.N is not None:
            terms["smooth"] = c.lambda_smooth * F.mse_loss(to_float32(self.N(fake)), to_float32(fake))
        yield "T", terms

    def train_enhancer_step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """Section 3.3. Local: the source outside of the region, T's output inside. Global: deblurring of the source."""
        assert self.E is not None
        x = batch["a"]
        if self.config.enhancement == "global":
            yield "E", {"restored": F.mse_loss(to_float32(self.E(blur_bicubic(x))), x)}
            return
        with without_graph(), evaluating(self.T):
            transferred = self.T(x)
        enhanced, mask = self.E(transferred), self.region_mask(x)
        outside = ((1 - mask) * (to_float32(enhanced) - x)).square().mean()
        yield "E", {"outside": outside, **self.inside_terms(mask * enhanced, mask * transferred)}

    def inside_terms(self, enhanced: Tensor, transferred: Tensor) -> Terms:
        """Return the losses inside the region: of pixels and, with a feature network, of its first two maps."""
        weights = self.config.lambda_inside
        terms = {"inside_0": weights[0] * feature_distance(enhanced, transferred) / 2}
        if "features" in self.perceptual:
            with without_graph():
                targets = self.feature_maps(transferred)[:2]
            features = self.feature_maps(enhanced)[:2]
            for index, (feature, target) in enumerate(zip(features, targets, strict=True), 1):
                terms[f"inside_{index}"] = weights[index] * feature_distance(feature, target) / 2
        return terms

    def region_mask(self, x: Tensor) -> Tensor:
        """Return a mask (H, W): 1 inside the region, 0 outside."""
        height, width = x.shape[-2:]
        assert self.config.region is not None
        top, left, bottom, right = self.config.region
        mask = x.new_zeros(height, width)
        mask[round(top * height) : round(bottom * height), round(left * width) : round(right * width)] = 1
        return mask

    def feature_maps(self, x: Tensor) -> Sequence[Tensor]:
        """Return the feature maps of the feature network."""
        maps: Sequence[Tensor] = self.perceptual["features"](x)
        return maps

    def identity_loss(self, features: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
        """Return equation 3: the squared distance over 2 C H W, summed over layers."""
        layers = [layer - 1 for layer in self.config.feature_layers]
        return torch.stack([feature_distance(features[layer], targets[layer]) / 2 for layer in layers]).sum()

    def forward(self, x: Tensor) -> Tensor:
        with evaluating(self):
            y = self.T(x)
            return y if self.E is None else self.E(y).clamp(-1, 1)
