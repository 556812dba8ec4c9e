"""Published checkpoints of MUNIT, DRIT, MSGAN's pix2pix and CUT as files, through `diptych import` to a translator."""

import goldens
import pytest
import torch
import torch.nn.functional as F
from commands import diptych
from published import Filtered

from diptych.contract import Labels
from diptych.errors import ImportRefused
from diptych.importers.import_model import import_model
from diptych.inference.load import load

pytestmark = pytest.mark.usefixtures("read_here")
OPTIMISER = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-4, "params": [0]}]}


def off(ours, theirs):
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max())


def taken(path, tmp_path):
    assert diptych("import", path, "-o", tmp_path / "m").exit_code == 0
    return load(tmp_path / "m", device="cpu")


def test_munit_goes_both_ways_in_a_style(tmp_path):
    golden = goldens.load(goldens.files("munit_nets")[0])
    torch.save({name: golden.state(f"gen_{name}") for name in "ab"}, tmp_path / "gen_00400000.pt")
    translator, t = taken(tmp_path / "gen_00400000.pt", tmp_path), golden.tensors
    method = translator.method
    style = method.G_b.style(t["x_b"])
    with torch.no_grad():
        wanted = method.G_b.decode(method.G_a.content(t["x_a"]), style)
    assert off(translator.tensor(t["x_a"], direction="a2b", reference=t["x_b"]), wanted) < 1e-6
    made = method.translate_pair(method.contents(t["x_a"], t["x_b"]), (t["s_a"].flatten(1), t["s_b"].flatten(1)))
    assert off(made[0], t["x_ba"]) < 1e-4
    assert off(made[1], t["x_ab"]) < 1e-4


def test_drit_is_read_past_optimisers_and_counters(tmp_path):
    golden = goldens.load(goldens.files("drit_nets")[0])
    nets = {"enc_c": "enc_c", "enc_a": "enc_a_concat", "gen": "gen_concat", "disA": "disA_ms"}
    file = {net: golden.state(name) for net, name in nets.items()}
    torch.save({**file, "gen_opt": OPTIMISER, "ep": 1199, "total_it": 500_000}, tmp_path / "01199.pth")
    translator, t = taken(tmp_path / "01199.pth", tmp_path), golden.tensors
    assert "D_a" not in dict(translator.method.named_children())
    x, x2 = (goldens.filler().image(name, (1, 3, 216, 216), golden.notes["salt"]) for name in ("x", "x2"))
    content = translator.method.E_c(x, 0)
    made = translator.method.G(content, t["z"], 1)
    assert off(F.avg_pool2d(made, 6), t["concat_fake_b_pooled6"]) < 1e-4
    assert off(translator.method.E_a[0](x)[0], t["mu_a"]) < 1e-4
    small, other = x[..., :64, :64], x2[..., :64, :64]
    with torch.no_grad():
        wanted = translator.method.G(translator.method.E_c(small, 0), translator.method.E_a[1](other)[0], 1)
    assert off(translator.tensor(small, direction="a2b", reference=other), wanted.clamp(-1, 1)) < 1e-5


def made_up(shapes):
    """A state dict of random weights by name."""
    torch.manual_seed(0)
    return {name: torch.randn(shape) / (shape[0] * 4) ** 0.5 for name, shape in shapes.items()}


def unet(depth=5, width=4, noise=3, channels=(2, 1)):
    """BicycleGAN's U-Net with noise at all levels: names and shapes."""
    widths = [width * min(2**level, 8) for level in range(depth)]
    shapes, at = {}, "model"
    for level, wide in enumerate(widths):
        narrow = channels[0] if level == 0 else widths[level - 1]
        down, up = f"{at}.down.{min(level, 1)}", f"{at}.up.1"
        out, both = channels[1] if level == 0 else narrow, wide if level == depth - 1 else 2 * wide
        shapes |= {f"{down}.weight": (wide, narrow + noise, 4, 4), f"{down}.bias": (wide,)}
        shapes |= {f"{up}.weight": (both, out, 4, 4), f"{up}.bias": (out,)}
        at += ".submodule"
    return made_up(shapes)


def through_unet(state, x, z, at="model", depth=5):
    """What BicycleGAN's block makes of x and z, and but for the outermost x behind it."""
    level = at.count("submodule")
    h = torch.cat([x, z[:, :, None, None].expand(-1, -1, *x.shape[2:])], 1)
    down = f"{at}.down.{min(level, 1)}"
    h = F.conv2d(F.leaky_relu(h, 0.2) if level else h, state[f"{down}.weight"], state[f"{down}.bias"], 2, 1)
    if level < depth - 1:
        h = through_unet(state, F.instance_norm(h) if level else h, z, f"{at}.submodule", depth)
    h = F.conv_transpose2d(F.relu(h), state[f"{at}.up.1.weight"], state[f"{at}.up.1.bias"], 2, 1)
    return torch.cat([F.instance_norm(h), x], 1) if level else torch.tanh(h)


def test_pix2pix_of_msgan(tmp_path):
    state = unet()
    torch.save(state, tmp_path / "latest_net_G.pth")
    translator = taken(tmp_path / "latest_net_G.pth", tmp_path)
    config = translator.method.config
    assert (translator.name, config.latent_dim, config.image_size, config.ngf) == ("msgan", 3, 32, 4)
    x, z = torch.rand(2, 2, 32, 32) * 2 - 1, torch.randn(2, 3)
    with torch.no_grad():
        assert off(translator.method.G(x, z), through_unet(state, x, z)) < 1e-5
    assert off(translator.tensor(x, seed=1), translator.tensor(x, seed=2)) > 1e-3
    torch.save({**state, "model.submodule.down.2.weight": torch.ones(8)}, tmp_path / "batch.pth")
    with pytest.raises(ImportRefused, match="noise and BatchNorm"):
        import_model(tmp_path / "batch.pth")


def anti_aliased(width=4, blocks=6, channels=1):
    """CUT's generator: names and shapes, filters among them."""
    shapes, up = {"model.1": (width, channels, 7, 7), "model.4": (2 * width, width, 3, 3)}, 12 + blocks + 1
    shapes |= {"model.8": (4 * width, 2 * width, 3, 3)}
    shapes |= {f"model.{12 + n}.conv_block.{at}": (4 * width, 4 * width, 3, 3) for n in range(blocks) for at in (1, 5)}
    shapes |= {f"model.{up}": (2 * width, 4 * width, 3, 3), f"model.{up + 4}": (width, 2 * width, 3, 3)}
    shapes |= {f"model.{up + 8}": (channels, width, 7, 7)}
    named = {
        f"{name}.{part}": shape[:1] if part == "bias" else shape
        for name, shape in shapes.items()
        for part in ("weight", "bias")
    }
    return made_up(named) | {
        f"model.{at}.filt": Filtered(channels, row, doubles).filt
        for at, channels, row, doubles in (
            (7, 2 * width, [1.0, 2.0, 1.0], False),
            (11, 4 * width, [1.0, 2.0, 1.0], False),
            (up - 1, 4 * width, [1.0, 3.0, 3.0, 1.0], True),
            (up + 3, 2 * width, [1.0, 3.0, 3.0, 1.0], True),
        )
    }


def through_cut(state, x, blocks=6):
    """What their network makes of x; kernels written out."""

    def conv(h, at, pad):
        return F.conv2d(F.pad(h, (pad,) * 4, mode="reflect"), state[f"{at}.weight"], state[f"{at}.bias"])

    def plain(h, at):
        return F.relu(F.instance_norm(F.conv2d(h, state[f"{at}.weight"], state[f"{at}.bias"], 1, 1)))

    def filtered(h, row, twice):
        kernel = torch.tensor(row)[:, None] * torch.tensor(row)[None]
        kernel = (kernel / kernel.sum() * (4 if twice else 1)).expand(h.shape[1], 1, -1, -1)
        if not twice:
            return F.conv2d(F.pad(h, (1,) * 4, mode="reflect"), kernel, stride=2, groups=h.shape[1])
        edged = F.pad(h, (1,) * 4, mode="replicate")
        return F.conv_transpose2d(edged, kernel, stride=2, padding=2, groups=h.shape[1])[:, :, 1:-1, 1:-1]

    up = 12 + blocks + 1
    h = F.relu(F.instance_norm(conv(x, "model.1", 3)))
    for at in (4, 8):
        h = filtered(plain(h, f"model.{at}"), [1.0, 2.0, 1.0], False)
    for at in range(12, 12 + blocks):
        middle = F.relu(F.instance_norm(conv(h, f"model.{at}.conv_block.1", 1)))
        h = h + F.instance_norm(conv(middle, f"model.{at}.conv_block.5", 1))
    for at in (up, up + 4):
        h = plain(filtered(h, [1.0, 3.0, 3.0, 1.0], True), f"model.{at}")
    return torch.tanh(conv(h, f"model.{up + 8}", 3))


def test_cut(tmp_path):
    state = anti_aliased()
    torch.save(state, tmp_path / "latest_net_G.pth")
    translator = taken(tmp_path / "latest_net_G.pth", tmp_path)
    config = translator.method.config
    assert (translator.name, config.n_blocks, config.ngf, config.channels) == ("cut", 6, 4, 1)
    x = torch.rand(2, 1, 32, 24) * 2 - 1
    assert off(translator.tensor(x), through_cut(state, x)) < 1e-4


def test_what_does_not_fit_is_refused(tmp_path):
    state = anti_aliased()
    for name, change, message in [
        ("a.pth", {"model.8.weight": torch.ones(16, 9, 3, 3)}, r"recognised as cut, but G\.down\.1\.0\.weight is"),
        ("b.pth", {"model.27.weight": torch.ones(2, 4, 7, 7), "model.27.bias": torch.ones(2)}, "as many channels"),
    ]:
        torch.save(state | change, tmp_path / name)
        with pytest.raises(ImportRefused, match=message):
            import_model(tmp_path / name)
    torch.save({"model.0.weight": torch.ones(8, 3, 4, 4), "model.2.filt": torch.ones(3)}, tmp_path / "d.pth")
    with pytest.raises(ImportRefused, match="a discriminator of CUT, which translates nothing"):
        import_model(tmp_path / "d.pth")
    torch.save(unet(), tmp_path / "G.pth")
    with pytest.raises(ImportRefused, match="labels are for methods of many domains"):
        import_model(tmp_path / "G.pth", labels=(Labels(names=("a", "b")),))
    golden = goldens.load(goldens.files("drit_nets")[0])
    torch.save({"enc_c": golden.state("enc_c"), "ep": 1}, tmp_path / "part.pth")
    with pytest.raises(ImportRefused, match="there is no enc_a, without which DRIT translates nothing"):
        import_model(tmp_path / "part.pth")
    munit = goldens.load(goldens.files("munit_nets")[0])
    torch.save({"a": munit.state("gen_a")}, tmp_path / "half.pt")
    with pytest.raises(ImportRefused, match=r"looks like MUNIT, but 'b\.enc_content"):
        import_model(tmp_path / "half.pt")
