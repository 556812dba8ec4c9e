"""Edges by HED: the network against VGG of torchvision, its lines against scikit-image, files that are refused."""

import re

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hed_files import hed_file, port_state
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from judged import fill, photograph
from safetensors.torch import save_file

from diptych.contract import DataKind
from diptych.data.batches import Batches
from diptych.data.config import DataConfig
from diptych.data.image_tensors import held_out_batch
from diptych.data.images.transforms import augment_of
from diptych.data.open import open_data
from diptych.data.tasks.edge_lines import linked, ridges, thinned
from diptych.data.tasks.hed_detector import edge_probabilities, load_hed
from diptych.data.tasks.known_tasks import task_of
from diptych.errors import DataError
from diptych.networks.hed import Hed, from_port

CHANNELS = {"source": 1, "target": 3}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    load_hed.cache_clear()
    yield str(hed_file(tmp_path_factory.mktemp("weights")))
    load_hed.cache_clear()


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    fill(folder / "train", 4, make=photograph, side=40)
    fill(folder / "val", 2, start=4, make=photograph, side=40)
    return folder


def batches_of(folder, weights, **settings):
    options = {"kind": "hed", "weights": weights, "border": 0}
    config = DataConfig(root=str(folder), crop_size=32, task="edges", task_options=options, **settings)
    data = open_data(config, DataKind.PAIRED, ("source", "target"))
    return data, config, Batches(data.train, CHANNELS, augment_of(config), 2, seed=3)


def test_the_network_is_vgg_with_an_output_after_each_block():
    models = pytest.importorskip("torchvision.models")
    state = from_port(port_state(prefix="module"))
    network = Hed().eval()
    network.load_state_dict(state)
    with torch.device("meta"):
        vgg = models.vgg16().features
    convolutions = [layer for layer in vgg if isinstance(layer, torch.nn.Conv2d)]
    names = [key for key in state if key.startswith("blocks") and key.endswith("weight")]
    x, maps = torch.rand(1, 3, 32, 48), []
    with torch.no_grad():
        for layer, name in zip(convolutions, names, strict=True):
            layer.weight, layer.bias = (
                torch.nn.Parameter(state[key]) for key in (name, name.replace("weight", "bias"))
            )
        h = x[:, [2, 1, 0]] * 255 - torch.tensor([104.00698793, 116.66876762, 122.67891434]).view(1, 3, 1, 1)
        for number, layer in enumerate(vgg[:30]):
            h = layer(h)
            if number in (3, 8, 15, 22, 29):
                score = F.conv2d(h, state[f"scores.{len(maps)}.weight"], state[f"scores.{len(maps)}.bias"])
                maps.append(F.interpolate(score, (32, 48), mode="bilinear"))
        fused = F.conv2d(torch.cat(maps, 1), state["fuse.0.weight"], state["fuse.0.bias"])
        assert torch.allclose(network(x), fused.sigmoid(), atol=1e-6)
        assert network(x).std() > 0.05


@settings(max_examples=20, deadline=None)
@given(arrays(np.uint8, (9, 12), elements=st.integers(0, 1)), st.integers(0, 3))
def test_lines_are_thinned_as_by_scikit_image(lines, dilations):
    morphology = pytest.importorskip("skimage.morphology")
    lines = cv2.dilate(lines, np.ones((2, 2), np.uint8), iterations=dilations)
    assert np.array_equal(thinned(cv2, lines).astype(bool), morphology.thin(lines.astype(bool)))


@pytest.mark.parametrize("angle", [0, 30, 45, 80, 130])
def test_a_ridge_is_kept_where_it_is_highest(angle):
    rows, columns = np.indices((40, 40), np.float32) - 19.5
    across = rows * np.cos(np.deg2rad(angle)) - columns * np.sin(np.deg2rad(angle))
    kept = ridges(cv2, np.exp(-((across / 3) ** 2)).astype(np.float32)) > 0.1
    assert np.abs(across[kept]).max() < 0.8
    assert kept.sum() >= 25
    assert not kept[0].any()


def test_a_line_begins_at_the_higher_threshold():
    values = np.array([[0.3, 0.3, 0.9, 0.1, 0.3, 0.3]], np.float32)
    assert linked(cv2, values, 0.2, 0.5).tolist() == [[1, 1, 1, 0, 0, 0]]
    assert linked(cv2, values, 0.2, 0.2).tolist() == [[1, 1, 1, 0, 1, 1]]


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(step=st.integers(0, 50), resize_mode=st.sampled_from(["squash", "short_side", "none"]), rotate90=st.booleans())
def test_a_source_has_the_edges_of_its_target(photographs, weights, step, resize_mode, rotate90):
    _, config, batches = batches_of(photographs, weights, resize_mode=resize_mode, rotate90=rotate90)
    batch = batches[step]
    for source, target in zip(batch["source"], batch["target"], strict=True):
        photo = np.rint((target.permute(1, 2, 0).numpy() + 1) * 127.5).astype(np.float32) / np.float32(255)
        drawn = config.pair_task.source(photo, np.random.RandomState(0))[..., 0] * 2 - 1
        assert np.array_equal(source[0].numpy(), drawn)
        assert 0 < (source < 0).float().mean() < 0.5


def test_batches_are_the_same_with_workers_and_any_number_of_threads(photographs, weights):
    _, _, batches = batches_of(photographs, weights)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        alone = list(batches.stream(0, 3, 0))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    for one, two in zip(alone, batches.stream(0, 3, 2), strict=True):
        assert torch.equal(one["source"], two["source"])
        assert torch.equal(one["target"], two["target"])


@pytest.mark.parametrize("shape", [(1, 1, 3), (17, 33, 1), (24, 40, 3)])
@pytest.mark.parametrize("border", [0, 20])
def test_images_of_any_size_have_edges(weights, shape, border):
    network = load_hed(weights, None)
    edges = edge_probabilities(np.random.RandomState(0).random_sample(shape).astype(np.float32), network, border)
    assert edges.shape == shape[:2]
    assert edges.dtype == np.float32
    assert ((edges >= 0) & (edges <= 1)).all()


def test_defaults_are_those_of_the_detector(weights):
    task = task_of("edges", {"kind": "hed", "weights": weights, "min_length": 7})
    assert (task.sigma, task.thresholds, task.min_length) == (0, (25, 25), 7)
    assert task_of("edges", {}).thresholds == (50, 120)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "hed"}, "task_options of edges: kind=hed needs weights=FILE"),
        ({"weights": "hed.safetensors"}, "weights has no effect without kind=hed"),
        ({"kind": "hed", "weights": "x", "sha256": "0"}, "String should match pattern"),
    ],
)
def test_a_wrong_option_is_named(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        task_of("edges", options)


def test_a_file_that_cannot_be_used_is_named_before_training(photographs, weights, tmp_path, monkeypatch):
    monkeypatch.delenv("DIPTYCH_WEIGHTS", raising=False)
    (tmp_path / "hed.pth").touch()
    (tmp_path / "text.safetensors").write_text("no weights")
    save_file({"netVggOne.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "part.safetensors")
    save_file({"conv.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    for name, message in (
        ("hed.pth", "expected a .safetensors file; `diptych import FILE -o hed.safetensors` makes it"),
        ("missing.safetensors", "no such file, and missing.safetensors is not in the folder that $DIPTYCH_WEIGHTS"),
        ("text.safetensors", "not the weights of HED as pytorch-hed names them (its header claims"),
        (
            "part.safetensors",
            "not the weights of HED as pytorch-hed names them (Error(s) in loading state_dict for Hed",
        ),
        ("other.safetensors", "not the weights of HED as pytorch-hed names them (netVggOne.0.weight is missing)"),
    ):
        with pytest.raises(DataError, match=re.escape(message)):
            batches_of(photographs, str(tmp_path / name))


def test_a_moved_file_is_found_by_its_name_and_a_changed_one_is_refused(photographs, weights, tmp_path, monkeypatch):
    data, config, _ = batches_of(photographs, weights)
    saved = config.with_task_files()
    assert saved.task_options["weights"] == weights
    assert len(saved.task_options["sha256"]) == 64
    assert saved.with_task_files() == saved

    moved = saved.model_copy(update={"task_options": {**saved.task_options, "weights": "/gone/hed.safetensors"}})
    monkeypatch.setenv("DIPTYCH_WEIGHTS", weights.removesuffix("hed.safetensors"))
    pair = open_data(moved, DataKind.PAIRED, ("source", "target")).held_out
    one, two = (held_out_batch(split, CHANNELS, augment_of(config), 1) for split in (pair, data.held_out))
    assert torch.equal(one["source"], two["source"])

    monkeypatch.setenv("DIPTYCH_WEIGHTS", str(tmp_path))
    hed_file(tmp_path, seed=1)
    load_hed.cache_clear()
    with pytest.raises(DataError, match="not the weights that the training used: its SHA-256 begins with"):
        open_data(moved, DataKind.PAIRED, ("source", "target"))
