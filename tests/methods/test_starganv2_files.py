"""Published files of StarGAN v2, made up: what is recognised, and what is refused."""

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from landmarks_file import heatmaps_of, wing
from small_starganv2 import batch, tiny

from diptych.errors import ImportRefused
from diptych.importers import import_model, starganv2
from diptych.importers.sandbox import read_in_process
from diptych.inference.load import load
from diptych.methods.starganv2 import StarGANv2
from diptych.networks import face_landmarks


def published(**over):
    """A state dict as the public code writes it, made from a method of ours, with all that we leave out."""
    method = tiny(**over)
    names = {
        "G": ("generator", [("stem.", "from_rgb."), ("down.", "encode."), ("up.", "decode."), ("head.", "to_rgb.")]),
        "F": ("mapping_network", [("heads.", "unshared.")]),
        "E": ("style_encoder", [("heads.", "unshared.")]),
        "D": ("discriminator", [("shared.", "main."), ("head.", "main.7.")]),  # 3 blocks at 32 pixels
    }
    state = {}
    for key, value in method.state_dict().items():
        net, _, rest = key.partition(".")
        theirs, renames = names[net]
        for ours, new in renames:
            rest = new + rest.removeprefix(ours) if rest.startswith(ours) else rest
        state[f"{theirs}.{rest.replace('shortcut', 'conv1x1')}"] = value.clone()
    for key, value in list(state.items()):
        layer = key.removesuffix(".weight")
        if key.startswith("generator.") and "conv" in key + "from_rgb" and value.dim() == 4 and "1x1" not in key:
            state.setdefault(f"{layer}.bias", torch.randn(len(value)))
    return method, state


def test_a_published_file_translates_as_it_did():
    method, state = published()
    config, weights = starganv2.recognise({**state, "fan.conv1.weight": torch.zeros(1)}, "a.ckpt")
    assert starganv2.fits(state)
    _, shipped, networks = starganv2.model({**state, "fan.conv1.weight": torch.zeros(1)}, (), "a.ckpt")
    assert networks == ("G", "F", "E")
    config = StarGANv2.Config(**config)
    assert config.labels[0].names == ("domain 1", "domain 2", "domain 3")
    assert (config.image_size, config.ngf, config.max_channels, config.w_hpf, config.channels) == (32, 4, 8, 0, 1)
    other = StarGANv2(config)
    other.load_state_dict(weights)
    assert {key.partition(".")[0] for key in shipped} == {"G", "F", "E"}
    x = batch()["image"]
    assert torch.equal(other.translate(x, "domain 2", 3), method.translate(x, "dog", 3))


@pytest.mark.parametrize("weight", [None, 1.0, 2.0])
def test_the_skips_are_told_by_the_depth(weight):
    """A released file is older than the buffer of the kernel: then w_hpf is 1."""
    _, state = published(w_hpf=1.0)
    if weight:
        kernel = -torch.ones(3, 3)
        kernel[1, 1] = 8
        state["generator.hpf.filter"] = kernel / weight
    config, _ = starganv2.recognise(state, "a.ckpt")
    assert (config["image_size"], config["w_hpf"]) == (32, weight or 1.0)


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda s: [s.pop(k) for k in list(s) if k.startswith("mapping")], "no mapping_network"),
        (lambda s: s.update({"painter.a.weight": torch.zeros(1)}), "painter.*no network"),
        (
            lambda s: s.update({"generator.encode.8.odd": torch.zeros(1), "generator.encode.9.odd": torch.zeros(1)}),
            "different sizes",
        ),
        (lambda s: s.update({"generator.surplus": torch.zeros(1)}), "surplus"),
        (lambda s: s.update({"style_encoder.unshared.0.weight": torch.zeros(8, 3)}), "unshared|heads"),
        (lambda s: s.update({"generator.hpf.filter": torch.ones(3, 3)}), "filter"),
        (lambda s: [s.pop(k) for k in list(s) if "unshared.1" in k or "unshared.2" in k], "domains"),
        (lambda s: s.pop("generator.from_rgb.weight"), "from_rgb"),
        (lambda s: s.update({"generator.from_rgb.weight": torch.zeros(1)}), "impossible shapes"),
    ],
)
def test_odd_files_are_refused(harm, says):
    _, state = published()
    harm(state)
    with pytest.raises(ImportRefused, match=says):
        starganv2.recognise(state, "a.ckpt")


@pytest.mark.parametrize(("highpass", "has_fan"), [(0.0, True), (1.0, False), (1.0, True)])
def test_skips_need_the_landmark_network_of_the_file(highpass, has_fan, tmp_path, monkeypatch):
    """Its masks steer the skips. Without it a warning at import, at use and in the card says that they are off."""
    monkeypatch.setattr(import_model, "read", read_in_process)
    monkeypatch.setattr(face_landmarks, "INPUT_SIZE", 64)
    is_off, fan = highpass and not has_fan, wing()
    nets = {"fan": fan} if has_fan else {}
    for key, value in published(w_hpf=highpass)[1].items():
        net, _, rest = key.partition(".")
        nets.setdefault(net, {})[rest] = value
    torch.save(nets, tmp_path / "nets_ema.ckpt")

    def told(act, message):
        with pytest.warns(UserWarning, match=message) if is_off else nullcontext():
            return act()

    translator = told(lambda: import_model.import_model(tmp_path / "nets_ema.ckpt"), "skips are off .* until landmarks")
    folder = translator.save(tmp_path / "model")
    assert ("**Caution:** `high-pass skips are off" in (folder / "README.md").read_text()) == bool(is_off)
    method = told(lambda: load(folder, device="cpu"), r"model: high-pass skips are off .*use_landmarks").method
    x = batch()["image"]
    if not (highpass and has_fan):
        assert method.masks(x) is None
        return
    assert method.caution() == ""
    heatmaps = heatmaps_of(fan, F.interpolate(x.expand(-1, 3, -1, -1), (64, 64), mode="bilinear") / 2 + 0.5)
    wanted = face_landmarks.masks_of(F.interpolate(heatmaps, (64, 64), mode="bilinear", align_corners=True))
    masks = method.masks(x)
    assert all(torch.allclose(mask, other, atol=1e-3) for mask, other in zip(masks, wanted, strict=True))
    assert len(method.encode(x)) == 2, "content and one skip at 32 pixels"
