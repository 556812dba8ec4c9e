"""DTN: "Unsupervised Cross-Domain Image Generation", Taigman, Polyak, Wolf, ICLR 2017, arXiv 1611.02200.

A classifier f of the source domain (of classes or attributes) is frozen, and g generates images of the target domain
from its embeddings. f must embed source and translation alike, and a target image must be translated to itself. Trained
on unpaired images.

    diptych train dtn --data svhn target_root=mnist crop_size=32 load_size=32 flip=false batch_size=128 -o runs/digits
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from diptych.contract import (
    AveragedWeights,
    Batch,
    CheckConfigs,
    Clock,
    DataKind,
    Labels,
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
from diptych.losses.adversarial import to_float32
from diptych.losses.perceptual import total_variation
from diptych.networks.classifier import ClassifierNet, stage_channels
from diptych.networks.dtn import Discriminator, FNetwork, GNetwork
from diptych.networks.layers import Norm, evaluating, initialise, without_graph

FROM_SOURCE, FROM_TARGET, REAL = 0, 1, 2  # the classes of the paper's D


class DTN(Method):
    class Config(AveragedWeights, MethodConfig):
        """The weights of equation 5 for digits, which are recalled, the switches of Table 1, and the sizes."""

        pretrain_steps: int = Field(
            4000,
            ge=0,
            description="steps of the first stage, which trains f as a classifier; 0: f is given by init_from=",
        )
        steps: int = Field(4000, ge=1, description="steps of the second stage; each updates D once and g once")
        in_channels: Annotated[int, Setting(channels_of=("source",))] = Field(
            3, ge=1, le=1024, description="number of channels of the source; read from the data"
        )
        out_channels: Annotated[int, Setting(channels_of=("target",))] = Field(
            1, ge=1, le=1024, description="number of channels of the target; read from the data"
        )
        labels: Annotated[tuple[Labels, ...], Setting(labels_of=("label",))] = Field(
            (Labels(names=tuple("0123456789")),),
            min_length=1,
            max_length=1,
            description="classes or attributes that f learns in the source domain; read from the data",
        )
        image_size: Annotated[int, Setting(follows="crop_size")] = Field(
            32, ge=16, le=1024, description="side of the training images in pixels; follows crop_size; a power of two"
        )
        lambda_const: Annotated[float, Setting(symbol="α")] = Field(
            15.0, ge=0, description="weight of L_CONST, the distance of f of source and translation"
        )
        lambda_tid: Annotated[float, Setting(symbol="β")] = Field(
            15.0, ge=0, description="weight of L_TID, the identity loss on target images"
        )
        lambda_tv: Annotated[float, Setting(symbol="γ")] = Field(
            0.0, ge=0, description="weight of L_TV, the total variation of translations, per pixel"
        )
        tv_power: Annotated[float, Setting(symbol="B")] = Field(
            1.0, gt=0, description="exponent of the total variation"
        )
        use_gan: bool = Field(True, description="train with a discriminator: L_D and L_GANG")
        d_head: Literal["ternary", "binary"] = Field(
            "ternary",
            description="ternary: D separates translated sources, translated targets and real images; or binary",
        )
        f_network: Literal["paper", "classifier"] = Field(
            "paper",
            description="network of f: the paper's, or that of a classifier, so that init_from= "
            "can give a trained one (ours)",
        )
        f_base_channels: int = Field(32, ge=1, le=1024, description="base_channels of f_network=classifier")
        f_n_downsample: int = Field(4, ge=1, le=8, description="n_downsample of f_network=classifier")
        g_encoder: Literal["f", "own"] = Field(
            "f", description="input of g: f's embedding, or that of a separate encoder trained with g"
        )
        embedding_dim: int = Field(128, ge=1, le=65_536, description="dimension of f's embedding")
        ngf: int = Field(
            64, ge=1, le=1024, description="channels of f's first layer; g's first has eight times as many"
        )
        ndf: int = Field(64, ge=1, le=1024, description="channels of D's first layer")
        norm: Norm = Field("batch", description="normalisation layers of all networks")
        one_by_one_convs: bool = Field(False, description="1x1 convolutions in g, as for the paper's face images")
        lr: float = Field(1e-3, gt=0, description="learning rate of Adam of g and D (ours)")
        f_lr: float = Field(1e-3, gt=0, description="initial learning rate of Adam of f; linear decay to 0 (ours)")
        f_noise_std: float = Field(
            0.0, ge=0, description="largest standard deviation of the noise added to f's training images (ours)"
        )
        ema_decay: float = Field(
            0.99,
            ge=0,
            lt=1,
            description="decay of the moving average of g's weights, used for inference; 0: not averaged (ours)",
        )

        @model_validator(mode="after")
        def _settings_fit(self) -> "DTN.Config":
            if self.image_size & (self.image_size - 1):
                raise ValueError(
                    f"crop_size={self.image_size} is not a power of two: "
                    f"set crop_size={1 << (self.image_size.bit_length() - 1)}"
                )
            features = stage_channels(self.f_base_channels, self.f_n_downsample)[-1]
            if self.f_network == "classifier" and self.embedding_dim != features:
                raise ValueError(
                    f"f_network=classifier with f_base_channels={self.f_base_channels} and "
                    f"f_n_downsample={self.f_n_downsample} has {features} features: set embedding_dim={features}"
                )
            if not (self.use_gan or self.lambda_const or self.lambda_tid):
                raise ValueError("use_gan=false lambda_const=0 lambda_tid=0: g has no loss; set one of them")
            return self

        def unused(self) -> dict[str, str]:
            needs: dict[str, str] = {}
            if not self.pretrain_steps:
                needs |= dict.fromkeys(("f_lr", "f_noise_std"), "pretrain_steps above 0")
            if not self.lambda_tv:
                needs["tv_power"] = "lambda_tv above 0"
            if not self.use_gan:
                needs |= dict.fromkeys(("d_head", "ndf"), "use_gan=true")
            if self.f_network != "classifier":
                needs |= dict.fromkeys(("f_base_channels", "f_n_downsample"), "f_network=classifier")
            return needs

    config: Config
    data = DataKind.TRANSFER
    batch = ("source", "label", "target")
    network_aliases = {"f": "C"}  # of a trained classifier
    routes = (Route("source", "target"),)
    inference_networks: tuple[str, ...] = ("f", "g")
    presets = {
        "paper": {},
        "pictures": {
            "lambda_const": 100.0,
            "lambda_tid": 1.0,
            "lambda_tv": 0.05,
            "one_by_one_convs": True,
        },  # faces to emoji
        "baseline": {"d_head": "binary", "g_encoder": "own", "lambda_tid": 0.0},  # section 3, the first row of Table 1
    }
    traits = Traits(fixed_size=True)
    checks = CheckConfigs(
        tiny={"pretrain_steps": 2, "ngf": 8, "ndf": 8, "embedding_dim": 32, "lr": 1e-3, "f_lr": 1e-2, "ema_decay": 0.9},
        learning={"pretrain_steps": 400, "steps": 250},
        independent={"norm": "none"},
    )

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c, classes = config, len(config.labels[0])
        if c.f_network == "classifier":
            self.f: FNetwork | ClassifierNet = ClassifierNet(
                c.in_channels, classes, c.f_base_channels, c.f_n_downsample, c.norm
            )
        else:
            self.f = FNetwork(c.in_channels, c.image_size, c.ngf, c.embedding_dim, c.norm)
            self.head = nn.Linear(c.embedding_dim, classes)
        decoder = GNetwork(c.out_channels, c.image_size, c.ngf, c.embedding_dim, c.norm, c.one_by_one_convs)
        self.g: nn.Module = decoder
        if c.g_encoder == "own":
            self.g = nn.Sequential(FNetwork(c.in_channels, c.image_size, c.ngf, c.embedding_dim, c.norm), decoder)
        self.D = Discriminator(c.out_channels, c.image_size, c.ndf, 3 if c.d_head == "ternary" else 2, c.norm)
        for net in (self.g, self.D):
            initialise(net)
        self.ema = ("g",) if c.ema_decay else ()
        if c.g_encoder == "own" and not c.lambda_const:
            self.inference_networks = ("g",)  # f is not used

    def stages(self) -> list[Stage]:
        c = self.config
        players = {"g": Player((self.g,), c.lr)} | ({"D": Player((self.D,), c.lr)} if c.use_gan else {})
        embeddings = {"source": self.embed_frozen, "target": lambda t: self.embed_frozen(self.to_source_channels(t))}
        nets = (self.f,) if isinstance(self.f, ClassifierNet) else (self.f, self.head)
        classifier = Player(nets, c.f_lr, (0.9, 0.999), schedule=Clock.decay)
        return [
            Stage("f", c.pretrain_steps, self.train_f_step, {"f": classifier}),
            Stage("transfer", c.steps, self.updates, players, precomputed=embeddings),
        ]

    def train_f_step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """One step on f and its classifier head, by cross entropy; of attributes the mean over all of them."""
        x, noise_std = batch["source"], self.config.f_noise_std
        if noise_std:
            x = x + noise_std * torch.rand(len(x), 1, 1, 1).to(x) * torch.randn_like(x)
        logits, label = self.classify(self.embed(x)), batch["label"]
        if self.config.labels[0].kind == "class":
            yield "f", {"class": F.cross_entropy(logits, label)}
        else:
            yield "f", {"attributes": F.binary_cross_entropy_with_logits(logits, label.to(logits.dtype))}

    def updates(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """Equations 3 to 8: one step on D, then one on g, with the same translations."""
        c, s, t = self.config, batch["source"], batch["target"]
        embedding, own_encoder = self.embedding_of(batch, "source"), c.g_encoder == "own"
        from_s = self.g(s if own_encoder else embedding)
        from_t = t
        if c.lambda_tid or c.lambda_tv or (c.use_gan and c.d_head == "ternary"):  # else no loss depends on it
            from_t = self.g(self.to_source_channels(t) if own_encoder else self.embedding_of(batch, "target"))
        if c.use_gan:
            yield "D", self.discriminator_terms(from_s.detach(), from_t.detach(), t)
        terms = self.adversarial_terms(from_s, from_t) if c.use_gan else {}
        if c.lambda_const:
            terms["const"] = c.lambda_const * F.mse_loss(
                to_float32(self.embed_frozen(self.to_source_channels(from_s))), to_float32(embedding)
            )
        if c.lambda_tid:
            terms["tid"] = c.lambda_tid * F.mse_loss(to_float32(from_t), t)
        if c.lambda_tv:
            variation = total_variation(from_s, c.tv_power) + total_variation(from_t, c.tv_power)
            terms["tv"] = c.lambda_tv * variation / c.image_size**2
        yield "g", terms

    def discriminator_terms(self, from_s: Tensor, from_t: Tensor, real: Tensor) -> Terms:
        """Return L_D (equation 3); each term is a mean over its images."""
        if self.config.d_head == "binary":
            return {"source": cross_entropy(self.D(from_s), 0), "real": cross_entropy(self.D(real), 1)}
        return {
            "source": cross_entropy(self.D(from_s), FROM_SOURCE),
            "target": cross_entropy(self.D(from_t), FROM_TARGET),
            "real": cross_entropy(self.D(real), REAL),
        }

    def adversarial_terms(self, from_s: Tensor, from_t: Tensor) -> Terms:
        """Return L_GANG (equation 4)."""
        if self.config.d_head == "binary":
            return {"gan_source": cross_entropy(self.D(from_s), 1)}
        return {"gan_source": cross_entropy(self.D(from_s), REAL), "gan_target": cross_entropy(self.D(from_t), REAL)}

    def embed_frozen(self, x: Tensor) -> Tensor:
        """Return the embeddings of source images (N, C, H, W) by the frozen f, with running statistics."""
        with evaluating(self.f):
            return self.embed(x)

    def embed(self, x: Tensor) -> Tensor:
        """Return the embeddings (N, embedding_dim, 1, 1) of images (N, C, H, W)."""
        return self.f.features(x)[..., None, None] if isinstance(self.f, ClassifierNet) else self.f(x)

    def embedding_of(self, batch: Batch, name: str) -> Tensor:
        """Return the embedding of a batch entry, without gradient: the precomputed one, if there is one."""
        if f"code of {name}" in batch:
            return batch[f"code of {name}"]
        with without_graph():
            return self.embed_frozen(self.to_source_channels(batch[name]))

    def to_source_channels(self, x: Tensor) -> Tensor:
        """Return target images with the number of channels of source images: repeated, or their mean."""
        channels = self.config.in_channels
        return x if x.shape[1] == channels else x.mean(1, keepdim=True).expand(-1, channels, -1, -1)

    def classify(self, embedding: Tensor) -> Tensor:
        """Return the logits (N, classes) of embeddings (N, embedding_dim, 1, 1), which are taken before this ReLU."""
        head = self.f.head if isinstance(self.f, ClassifierNet) else self.head
        return to_float32(head(F.relu(embedding).flatten(1)))

    @torch.no_grad()
    def translate(self, x: Tensor) -> Tensor:
        with evaluating(self):
            return self.g(x if self.config.g_encoder == "own" else self.embed(x))

    @torch.no_grad()
    def validation_errors(self, batch: Batch) -> dict[str, float]:
        """Return f's error rate on source images, and on their translations, over images, or images and attributes."""
        x, label, device = batch["source"], batch["label"], next(self.parameters()).device
        translations = self.to_source_channels(self.translate(x.to(device)))
        images = {"misread": x.to(device), "misdrawn": translations}
        predicted = {name: self.predict(x).cpu() for name, x in images.items()}
        return {name: float((labels != label).float().mean()) for name, labels in predicted.items()}

    def predict(self, x: Tensor) -> Tensor:
        """Return what f predicts of images (N, C, H, W): classes (N,), or attributes (N, K) of 0 and 1."""
        logits = self.classify(self.embed_frozen(x))
        return logits.argmax(1) if self.config.labels[0].kind == "class" else (logits > 0).long()


def cross_entropy(logits: Tensor, target: int) -> Tensor:
    """Return the cross entropy of logits (N, K, H, W) with one class, averaged over images and locations."""
    return -F.log_softmax(to_float32(logits), 1)[:, target].mean()
