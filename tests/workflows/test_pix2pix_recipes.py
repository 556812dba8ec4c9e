"""The recipes of the pix2pix paper: its settings, and two steps on a few real images of each."""

import itertools

import numpy as np
import pytest
from commands import TINY
from material import folder_of

from diptych.data.images import image_io
from diptych.settings.recipe import load_recipe
from diptych.workflows.train import train

SMALL = [word for word in TINY if not word.startswith(("root=", "batch_size="))]
RUNS = {  # recipe, folder, direction of the folder if it differs from the published archive
    "facades": ("facades", "b2a"),
    "pix2pix-facades-labels": ("facades", "a2b"),
    "pix2pix-map2aerial": ("maps", "b2a"),
    "pix2pix-aerial2map": ("maps", "a2b"),
    "pix2pix-cityscapes": ("cityscapes", "b2a"),
    "pix2pix-cityscapes-labels": ("cityscapes", "a2b"),
    "pix2pix-edges2shoes": ("edges2shoes", "b2a"),  # photographs are left there, edges in the published archive
    "pix2pix-colorize": ("facades", None),
    "pix2pix-inpaint": ("facades", None),
    "pix2pix-edges": ("facades", None),
}
FROM_PHOTOGRAPHS = ("pix2pix-facades-labels", "pix2pix-aerial2map", "pix2pix-cityscapes-labels")
PAPER = {  # epochs, batch size, size before the crop, direction (Isola et al. 2017, section 6.2)
    "facades": (200, 1, 286, "b2a"),
    "pix2pix-map2aerial": (200, 1, 286, "b2a"),
    "pix2pix-aerial2map": (200, 1, 286, "a2b"),
    "pix2pix-cityscapes": (200, 1, 286, "b2a"),
    "pix2pix-cityscapes-labels": (200, 1, 286, "a2b"),
    "pix2pix-colorize": (6, 4, 256, "a2b"),
    "pix2pix-edges2shoes": (15, 4, 286, "a2b"),
    "pix2pix-edges2handbags": (15, 4, 286, "a2b"),
    "pix2pix-day2night": (17, 4, 286, "b2a"),
    "pix2pix-thermal2color": (10, 4, 286, "a2b"),
    "pix2pix-inpaint": (25, 4, 286, "a2b"),
}


@pytest.mark.parametrize("name", PAPER)
def test_settings_are_the_papers(name):
    recipe = load_recipe(name)
    data, settings = recipe.data, recipe.train
    assert (settings.epochs, settings.batch_size, data.effective_load_size, data.direction) == PAPER[name]
    assert (recipe.method, data.crop_size, data.flip) == ("pix2pix", 256, True)
    assert recipe.model == load_recipe("facades").model  # the same networks and losses


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Return a folder with links to a few real images of each split, or half of them for tasks of photographs."""

    def links(name, is_task):
        source = folder_of("DIPTYCH_DATA", "shared/data") / name
        folder = tmp_path_factory.mktemp(name)
        for split in ("train", "val"):
            (folder / split).mkdir()
            for file in itertools.islice(sorted((source / split).iterdir()), 4):
                if is_task:
                    array = image_io.read(file)
                    image_io.write(folder / split / f"{file.stem}.png", np.ascontiguousarray(array[:, : len(array)]))
                else:
                    (folder / split / file.name).symlink_to(file)
        return folder

    return links


@pytest.mark.parametrize("name", RUNS)
def test_two_steps_on_real_images(name, few, tmp_path):
    folder, direction = RUNS[name]
    if name == "pix2pix-edges":
        pytest.importorskip("cv2", reason="OpenCV is not installed")
    data = few(folder, is_task=direction is None)
    settings = [f"root={data}", *SMALL, "load_size=36", "steps=2", *([f"direction={direction}"] if direction else [])]
    recipe = load_recipe(name, settings)
    assert train(recipe, tmp_path / "run").engine.step == 2
    assert (tmp_path / "run" / "model" / "config.json").is_file()
    if direction:  # labels, maps and drawings are flat
        columns = recipe.open_data().train.columns.values()
        source, target = (np.mean([flat(image) for image in column]) for column in columns)
        assert (source > target) == (name not in FROM_PHOTOGRAPHS)


def flat(image):
    """Return the share of pixels that differ from the next one by at most two levels."""
    return (np.abs(np.diff(image.mean(-1), axis=1)) <= 2).mean()
