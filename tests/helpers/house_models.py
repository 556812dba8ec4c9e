"""Label maps of houses, their pictures, and a small model that was trained on them."""

import numpy as np
from commands import diptych
from PIL import Image

COLORS = {  # of a label map, and of its picture
    "sky": ((0, 0, 222), (150, 200, 240)),
    "wall": ((0, 48, 255), (200, 170, 130)),
    "roof": ((255, 80, 0), (120, 50, 40)),
    "door": ((0, 208, 255), (40, 90, 50)),
    "window": ((0, 127, 255), (245, 245, 230)),
}
SIDE = 32


def house(random):
    """Return a label map and its picture, uint8 (32, 32, 3), of a house at a random place."""
    names = np.full((SIDE, SIDE), "sky", dtype="<U6")
    left, right, top = random.integers(1, 8), random.integers(24, 31), random.integers(8, 14)
    names[top:, left:right] = "wall"
    names[top - 5 : top, left - 1 : right + 1] = "roof"
    door = random.integers(left + 1, right - 6)
    names[SIDE - 8 :, door : door + 5] = "door"
    for x in range(left + 2, right - 4, 6):
        names[top + 3 : top + 8, x : x + 4] = "window"
    shades = random.normal(0, 4, (SIDE, SIDE, 1))
    label_map, picture = (
        np.array([COLORS[name][kind] for name in names.flat]).reshape(SIDE, SIDE, 3) for kind in (0, 1)
    )
    return label_map.astype(np.uint8), np.clip(picture + shades, 0, 255).astype(np.uint8)


def save_maps(folder, count=2):
    """Write label maps to a new folder, and return it."""
    folder.mkdir()
    for number in range(count):
        Image.fromarray(house(np.random.default_rng(number))[0]).save(folder / f"{number}.png")
    return folder


def train_house_model(folder):
    """Train pix2pix for a few seconds on pairs of label map and picture; returns the folder of the run."""
    random = np.random.default_rng(0)
    for part, count in (("train", 24), ("test", 4)):
        (folder / "data" / part).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(np.concatenate(house(random), axis=1)).save(folder / "data" / part / f"{number}.png")
    settings = [f"root={folder / 'data'}", "load_size=32", "crop_size=32", "workers=0", "device=cpu"]
    networks = ["generator=unet_32", "ngf=8", "dropout=none", "loss=l1", "lr=0.004"]
    sizes = ["steps=100", "batch_size=8", "preview_images=4"]
    result = diptych("train", "pix2pix", *settings, *networks, *sizes, "-o", folder / "houses")
    assert result.exit_code == 0, result.output
    return folder / "houses"
