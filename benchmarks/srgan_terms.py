"""The scale of SRGAN's content loss on VGG19 features against its adversarial loss, at the start of the second stage.

python benchmarks/srgan_terms.py MODEL VGG19_FILE     # writes benchmarks/srgan_terms.md

MODEL is a run or model folder of a pretrained generator. VGG19_FILE has torchvision's ImageNet weights.
"""

import sys
from pathlib import Path

import table
import torch

from diptych.contract import Clock
from diptych.data.images import image_io
from diptych.evaluation.feature_networks import load_feature_network
from diptych.inference.load import load
from diptych.methods.srgan import SRGAN

COLUMNS = "feature_layer | content | adversarial | gradient of content | gradient of adversarial | ratio"
LEAD = """The two weighted terms of G's loss on center crops of 96 x 96 pixels of Set14, with `feature_scale` = 1/12.75
and a new discriminator, and the norms of their gradients by the generated images. The ratio is that of the norms."""
SIZE = 96


def crops():
    images = (image_io.read(file) for file in sorted((table.DATA / "sr" / "Set14").iterdir()))
    colour = (image_io.to_unit(image_io.with_channels(image, 3, "Set14")) for image in images)
    parts = (x[(x.shape[0] - SIZE) // 2 :, (x.shape[1] - SIZE) // 2 :][:SIZE, :SIZE] for x in colour)
    return torch.stack([torch.from_numpy(x.transpose(2, 0, 1).copy()) for x in parts])


def measure(generator, features, x, layer):
    torch.manual_seed(0)
    c = generator.config
    sizes = {
        name: getattr(c, name) for name in ("scale", "ngf", "n_blocks", "norm", "pre_upsample", "output_activation")
    }
    method = SRGAN(SRGAN.Config(**sizes, feature_layer=layer)).train()
    method.G.load_state_dict(generator.G.state_dict())
    method.perceptual["features"] = features
    made = []
    method.G.register_forward_hook(lambda net, inputs, output: made.append(output))
    terms = dict(method.updates({"image": x}, Clock("gan", 0, 2)))["G"]
    norms = [float(torch.autograd.grad(terms[name], made[0], retain_graph=True)[0].norm()) for name in terms]
    assert list(terms) == ["content", "gan"]
    numbers = [*(float(term.detach()) for term in terms.values()), *norms, norms[0] / norms[1]]
    return [str(layer), *(f"{number:.3g}" for number in numbers)]


if __name__ == "__main__":
    model, file = map(Path, sys.argv[1:])
    features, digest = load_feature_network(f"vgg19:{file}", torch.device("cpu"))
    generator, x = load(model, device="cpu").method, crops()
    rows = [measure(generator, features, x, layer) for layer in (2, 5)]
    lead = f"{LEAD} VGG19: SHA-256 {digest[:8]}."
    table.leave(__file__, "Scale of SRGAN's loss terms", lead, {COLUMNS: rows})
