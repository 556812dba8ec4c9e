"""DRIT of the published code: importer and networks, both variants, give its outputs."""

import goldens
import pytest
import torch
import torch.nn.functional as F

from diptych.importers import drit
from diptych.methods.drit import DRIT

PIXELS = 1e-4
VARIANTS = {"concat": ("enc_a_concat", "gen_concat", "disA_ms"), "feature_wise": ("enc_a", "gen", "disA")}


def opened(golden, variant):
    """The file as it would be published, read by the importer, with one of the discriminators."""
    enc_a, gen, dis = VARIANTS[variant]
    nets = {"enc_c": "enc_c", "enc_a": enc_a, "gen": gen, "disA": dis, "disContent": "disContent"}
    state = {f"{net}.{key}": value for net, name in nets.items() for key, value in golden.state(name).items()}
    config, found = drit.recognise(state, variant)
    assert config["style_dim"] == golden.notes["config"]["nz"]
    assert config["attribute_injection"] == variant
    method = DRIT(DRIT.Config(**config)).eval()
    missing, unknown = method.load_state_dict(found, strict=False)
    assert not unknown
    assert {key.partition(".")[0] for key in missing} == {"D_a2", "D_b", "D_b2"}
    return method


def off(ours, theirs):
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max())


@pytest.mark.parametrize("path", goldens.files("drit_"), ids=lambda path: path.stem)
@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_networks(path, variant):
    golden = goldens.load(path)
    method, t = opened(golden, variant), golden.tensors
    x, x2 = (goldens.filler().image(name, (1, 3, 216, 216), golden.notes["salt"]) for name in ("x", "x2"))
    contents = method.E_c(x, 0), method.E_c(x2, 1)
    for content, name in zip(contents, ("content_a_mean", "content_b_mean"), strict=True):
        assert off(content.mean((2, 3)), t[name]) < PIXELS
    assert off(method.D_content(contents[0]).flatten(), t["dis_content"]) < PIXELS
    mean, log_variance = method.E_a[0](x)
    if variant == "concat":
        assert off(mean, t["mu_a"]) < PIXELS
        assert off(log_variance, t["logvar_a"]) < PIXELS
        for scale, logits in enumerate(method.D_a(x)):
            assert off(logits, t[f"disA_ms_{scale}"]) < PIXELS
        made = {"concat_fake_a_pooled6": 0, "concat_fake_b_pooled6": 1}
    else:
        assert off(mean, t["attr_a"]) < PIXELS
        assert off(method.D_a(x)[0].flatten(), t["disA"]) < PIXELS
        made = {"fake_b_pooled6": 1}
    for name, domain in made.items():
        fake = method.G(contents[1 - domain], t["z"], domain)
        assert off(F.avg_pool2d(fake, 6), t[name]) < PIXELS
