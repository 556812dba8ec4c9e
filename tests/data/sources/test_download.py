"""`diptych data get`: what is fetched is laid out as methods take it, and a closed network says what to do."""

import hashlib
import io
import tarfile
import zipfile
from contextlib import nullcontext

import numpy as np
import pytest
from commands import diptych
from judged import fill, noise, offline  # noqa: F401
from torchvision import datasets

from diptych.cli.data_get import FIRST_COMMANDS, FIRST_COMMANDS_OF_KIND
from diptych.contract import DataKind
from diptych.data.config import DataConfig
from diptych.data.images import image_io
from diptych.data.open import open_data
from diptych.data.sources import download as known
from diptych.data.sources.published_archives import ARCHIVES
from diptych.errors import DataError


def idx(array):
    """The form of MNIST's files: a magic number, the sizes, the bytes."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def test_mnist_becomes_one_file_of_arrays(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    random, wanted = np.random.default_rng(0), {}
    for part, name, count in (("train", "train", 40), ("test", "t10k", 10)):
        wanted[f"x_{part}"] = random.integers(0, 256, (count, 28, 28), np.uint8)
        wanted[f"y_{part}"] = (np.arange(count) % 10).astype(np.uint8)
        (raw / f"{name}-images-idx3-ubyte").write_bytes(idx(wanted[f"x_{part}"]))
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(idx(wanted[f"y_{part}"]))
    file = known.download("mnist", tmp_path)
    with np.load(file) as stored:
        assert {name: stored[name].tolist() for name in stored} == {
            name: each.tolist() for name, each in wanted.items()
        }
    assert len(open_data(DataConfig(root=str(file), crop_size=28), DataKind.LABELLED).test) == 10


def test_svhn_is_in_colour_and_its_label_10_is_the_digit_0(tmp_path, monkeypatch):
    from scipy.io import savemat

    random, published = np.random.default_rng(0), dict(datasets.SVHN.split_list)
    pictures = {part: random.integers(0, 256, (20, 32, 32, 3), np.uint8) for part in ("train", "test")}
    for part, images in pictures.items():
        file = tmp_path / f"{part}_32x32.mat"
        savemat(file, {"X": images.transpose(1, 2, 3, 0), "y": (np.arange(20) % 10 + 1)[:, None].astype(np.uint8)})
        digest = hashlib.md5(file.read_bytes()).hexdigest()
        published[part] = [published[part][0], file.name, digest]
    monkeypatch.setattr(datasets.SVHN, "split_list", published)
    file = known.download("svhn", tmp_path)
    data = open_data(DataConfig(root=str(file), crop_size=32), DataKind.LABELLED)
    assert data.labels[0].names == tuple("0123456789")
    assert data.test.columns["image"].shape == (20, 32, 32, 3)
    assert np.array_equal(data.test.columns["image"][3], pictures["test"][3])
    assert list(data.test.columns["label"]) == [*range(1, 10), 0] * 2


def test_celeba_is_taken_as_it_is(tmp_path, monkeypatch):
    """With all the tables of its publisher beside it."""
    inside = tmp_path / "celeba" / "img_align_celeba"
    names = [file.name for file in fill(inside, 6, suffix=".jpg", make=lambda seed: noise(seed, (24, 20, 3)))]
    rows = {
        "list_attr_celeba.txt": ("Male Young", ["1 -1", "-1 1"] * 3),
        "list_bbox_celeba.txt": ("x_1 y_1 width height", ["95 71 226 313"] * 6),
        "list_landmarks_align_celeba.txt": ("lefteye_x lefteye_y", ["69 109"] * 6),
    }
    for table, (head, values) in rows.items():
        lines = [f"{name} {value}" for name, value in zip(names, values, strict=True)]
        (tmp_path / "celeba" / table).write_text("\n".join(["6", head, *lines]) + "\n")
    for table, values in {"list_eval_partition.txt": "000012", "identity_CelebA.txt": "135246"}.items():
        lines = [f"{name} {value}" for name, value in zip(names, values, strict=True)]
        (tmp_path / "celeba" / table).write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(datasets.CelebA, "_check_integrity", lambda self: True)
    monkeypatch.setattr(datasets.CelebA, "__init__", lambda self, root, split, download: None)
    folder = known.download("celeba", tmp_path)
    data = open_data(DataConfig(root=str(folder), table="list_attr_celeba.txt", crop_size=16), DataKind.LABELLED)
    assert data.labels[0].names == ("Male", "Young")
    assert (len(data.train), len(data.held_out), len(data.test)) == (4, 1, 1)
    chosen = open_data(DataConfig(root=str(folder), attributes=("Male",), crop_size=16), DataKind.LABELLED)
    assert chosen.labels[0].names == ("Male",), "of several tables that which has it"


def test_cityscapes_becomes_two_sides_without_copies(tmp_path):
    for archive, kind, suffix in (
        ("leftImg8bit_trainvaltest.zip", "leftImg8bit", "_leftImg8bit.png"),
        ("gtFine_trainvaltest.zip", "gtFine", "_gtFine_color.png"),
    ):
        with zipfile.ZipFile(tmp_path / archive, "w") as stored:
            for split in ("train", "val"):
                for number in range(2):
                    name = f"{kind}/{split}/aachen/aachen_00000{number}_000019{suffix}"
                    file = fill(tmp_path / "made", 1, start=number)[0]
                    stored.writestr(name, file.read_bytes())
    folder = known.download("cityscapes", tmp_path)
    data = open_data(DataConfig(root=str(folder), crop_size=16), DataKind.PAIRED)
    assert (len(data.train), len(data.held_out)) == (2, 2)
    assert data.train.aligned
    linked = folder / "trainB" / "aachen_000000_000019.png"
    assert linked.samefile(tmp_path / "gtFine/train/aachen/aachen_000000_000019_gtFine_color.png")
    assert known.download("cityscapes", tmp_path) == folder, "once more changes nothing"


@pytest.mark.parametrize("name", list(known.DATASETS))
def test_a_closed_network_says_what_to_fetch_and_where_to_put_it(tmp_path, name):
    with pytest.raises(DataError, match=rf"{name}: the download failed \(.+\); download it from http.*, put .* into"):
        known.download(name, tmp_path)
    assert not list(tmp_path.glob("*.npz"))


def test_from_the_command_line(tmp_path):
    for part, count in (("train", 20), ("t10k", 10)):
        raw = tmp_path / "MNIST" / "raw"
        raw.mkdir(parents=True, exist_ok=True)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(np.zeros((count, 28, 28), np.uint8)))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.zeros(count, np.uint8)))
    said = diptych("data", "get", "mnist", "-o", tmp_path)
    assert said.exit_code == 0
    assert "mnist: 70,000 digits" in said.output
    assert "CC BY-SA" in said.output
    assert f"--data {tmp_path / 'mnist.npz'}" in said.output
    assert known.DATASETS.keys() - ARCHIVES.keys() <= FIRST_COMMANDS.keys() <= known.DATASETS.keys()
    with pytest.raises(DataError, match="no data set is called 'mnits'; did you mean 'mnist'"):
        diptych("data", "get", "mnits", "-o", tmp_path)
    listed = diptych("data", "get").output
    assert all(f"\n{name} " in f"\n{listed}" for name in known.DATASETS)


FILES = {  # of each kind: as published, side by side for pairs
    DataKind.PAIRED: ["train/1.png", "val/1.png"],
    DataKind.UNPAIRED: [f"{split}{domain}/1.png" for split in ("train", "test") for domain in "AB"],
    DataKind.IMAGES: [f"{name}.png" for name in ("baby", "bird", "butterfly", "head", "woman")],
    DataKind.LABELLED: [
        f"{split}/{name}/{n}.png" for split in ("train", "val") for name in ("cat", "dog") for n in "12"
    ],
}

COUNTS = {
    DataKind.PAIRED: {"train": 1, "held out": 1},
    DataKind.UNPAIRED: {"train": 1, "held out": 1},
    DataKind.IMAGES: {"train": 5, "held out": 5},
    DataKind.LABELLED: {"train": 4, "held out": 4},
}


def published(folder, name):
    """Return an archive of the layout of a published one, with noise for images."""
    archive = ARCHIVES[name]
    path, width = folder / archive.file, 64 if archive.kind == DataKind.PAIRED else 32
    members = {f"{archive.inside}/{file}": None for file in FILES[archive.kind]} | {"other/readme.txt": b"text"}
    for number, member in enumerate(members):
        if members[member] is None:
            image_io.write(folder / "image.png", noise(number, (32, width, 3)))
            members[member] = (folder / "image.png").read_bytes()
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as packed:
            for member, data in members.items():
                packed.writestr(member, data)
    else:
        with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as packed:
            for member, data in members.items():
                entry = tarfile.TarInfo(f"./{member}")
                entry.size = len(data)
                packed.addfile(entry, io.BytesIO(data))
    return path


@pytest.mark.parametrize("name", list(ARCHIVES))
def test_an_archive_fetched_by_hand_is_ready_for_training(tmp_path, name):
    archive, dataset = published(tmp_path, name), ARCHIVES[name]
    other = pytest.warns(UserWarning, match="not the published archive") if dataset.sha256 else nullcontext()
    with other:
        said = diptych("data", "get", name, "-o", tmp_path / "data", "--archive", archive)
    folder = tmp_path / "data" / name
    assert said.exit_code == 0
    assert said.output.splitlines()[-1] == (FIRST_COMMANDS | FIRST_COMMANDS_OF_KIND).get(
        name, FIRST_COMMANDS_OF_KIND.get(dataset.kind)
    ).format(data=folder)
    assert dataset.licence in said.output
    assert [file.name for file in (tmp_path / "data").iterdir()] == [name]
    assert not list(folder.rglob("*.txt"))
    data = open_data(DataConfig(root=str(folder), crop_size=16), dataset.kind)
    assert len(data.train.columns) == {DataKind.IMAGES: 1}.get(dataset.kind, 2)
    assert {"train": len(data.train), "held out": len(data.held_out)} == COUNTS[dataset.kind]
    with pytest.raises(DataError, match="exists: remove it"):
        known.download(name, tmp_path / "data", archive)
    assert known.download(name, tmp_path / "data") == folder, "once more changes nothing"


def test_an_archive_in_the_folder_is_verified(tmp_path):
    archive = published(tmp_path, "horse2zebra")
    with pytest.raises(DataError, match=r"not the published archive.*remove it and repeat, or give it by --archive"):
        known.download("horse2zebra", tmp_path)
    assert archive.is_file()
    assert not (tmp_path / "horse2zebra").exists()
    published(tmp_path, "facades")
    assert known.download("facades", tmp_path) == tmp_path / "facades"
    with pytest.raises(DataError, match="mnist is not one archive"):
        known.download("mnist", tmp_path, archive)
    with pytest.raises(DataError, match="there is no such file"):
        known.download("maps", tmp_path, tmp_path / "absent.tar.gz")


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_a_licence_that_is_not_free_is_asked_for(tmp_path, monkeypatch, answer):
    fetched = []
    monkeypatch.setattr("diptych.data.sources.published_archives.fetch", lambda urls, *rest: fetched.append(urls))
    monkeypatch.setattr("diptych.data.sources.published_archives.unpack", lambda *arguments: 1)
    with pytest.raises(DataError, match="not accepted; give --yes"):
        diptych("data", "get", "facades", "-o", tmp_path, input=answer)
    assert not fetched
    assert diptych("data", "get", "facades", "-o", tmp_path, "--yes").exit_code == 0
    assert diptych("data", "get", "facades", "-o", tmp_path, input="y\n").exit_code == 0
    assert fetched == [ARCHIVES["facades"].mirrors] * 2
