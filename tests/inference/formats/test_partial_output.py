"""Outputs that are not complete: continued after a kill, kept on a full disk, removed by `abort`, in bounded memory."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import tifffile
from large_files import HEIGHT, WIDTH, geotiff, image, write

from diptych.errors import ImageError
from diptych.inference.formats import tiff_pages
from diptych.inference.formats.opening import create_sink, open_source
from diptych.inference.formats.partial_sink import partial_folder
from diptych.inference.large_images import blocks

BLOCK = 32
ALL = list(blocks(HEIGHT, WIDTH, BLOCK))
KILLED = """
import os, signal, sys
import numpy as np
from large_files import image
from diptych.inference.formats import partial_sink
from diptych.inference.formats.opening import create_sink
path, count, at_close = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "close"
pixels = image()
sink = create_sink(path, None, *pixels.shape, pixels.dtype, overviews=True, block=32)
for number in range(count):
    top, left = number // 5 * 32, number % 5 * 32
    sink.write(top, left, pixels[top : top + 32, left : left + 32])
if at_close:
    partial_sink.replace = lambda new, path: os.kill(os.getpid(), signal.SIGKILL)
    sink.close()
os.kill(os.getpid(), signal.SIGKILL)
"""


def sink_of(path, pixels=None, **options):
    pixels = image() if pixels is None else pixels
    return create_sink(path, None, *pixels.shape, pixels.dtype, **{"block": BLOCK, **options})


def fill(sink, pixels, windows):
    for window in windows:
        sink.write(window.top, window.left, pixels[window.top : window.bottom, window.left : window.right])


@pytest.mark.slow
@pytest.mark.parametrize("at", ["write", "close"])
def test_a_killed_process_is_continued_with_the_same_bytes(at, tmp_path):
    path = tmp_path / "out.tif"
    for count in (11,) if at == "write" else (len(ALL),):
        command = [sys.executable, "-c", KILLED, str(path), str(count), at]
        environment = {"PYTHONPATH": ":".join(sys.path)}
        assert subprocess.run(command, env=environment, check=False).returncode == -9
        assert not path.exists()
    sink = sink_of(path, overviews=True)
    assert sink.resumed
    fill(sink, image(), ALL[count:])
    sink.close()
    undisturbed = write(tmp_path / "undisturbed.tif", image(), overviews=True)
    assert path.read_bytes() == undisturbed.read_bytes()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out.tif", "undisturbed.tif"]


def test_blocks_of_any_size_and_order_give_the_same_bytes(tmp_path):
    pixels = image(dtype=np.uint16)
    expected = write(tmp_path / "a.tif", pixels).read_bytes()
    order = list(blocks(HEIGHT, WIDTH, 23))[::-1]
    sink = sink_of(tmp_path / "b.tif", pixels)
    fill(sink, pixels, order)
    sink.close()
    assert (tmp_path / "b.tif").read_bytes() == expected


def test_a_paused_output_is_continued_only_for_the_same_shape_and_dtype(tmp_path):
    path = tmp_path / "out.zarr"
    sink = sink_of(path, block=64)
    assert not sink.resumed
    fill(sink, image(), ALL)
    sink.pause()
    (partial_folder(path) / "finished.txt").write_text("")  # of a caller
    sink = sink_of(path, block=64)
    assert sink.resumed
    assert (partial_folder(path) / "finished.txt").exists()
    sink.close()
    np.testing.assert_array_equal(open_source(path).read(0, 0, HEIGHT, WIDTH), image())
    assert not partial_folder(path).exists()
    for pixels in (image(1), image(dtype=np.uint16), image(height=HEIGHT + 1)):
        sink_of(path, block=64).pause()
        (partial_folder(path) / "finished.txt").write_text("")
        sink = sink_of(path, pixels, block=64)
        assert not sink.resumed
        assert not (partial_folder(path) / "finished.txt").exists()
        sink.abort()


def test_abort_removes_everything_but_a_finished_output(tmp_path):
    sink = sink_of(tmp_path / "new" / "out.tif")
    fill(sink, image(), ALL[:3])
    sink.abort()
    assert not list((tmp_path / "new").iterdir())
    write(tmp_path / "out.tif", image())
    sink = sink_of(tmp_path / "out.tif")
    fill(sink, image(), ALL)
    sink.close()
    sink.abort()
    assert (tmp_path / "out.tif").exists()


@pytest.mark.parametrize("name", ["out.tif", "out.zarr", "out.npy", "out.png"])
@pytest.mark.parametrize("at", ["create", "write", "close"])
def test_a_full_disk_loses_nothing(at, name, tmp_path):
    """A limit on the size of files stands for a disk without space."""
    resource = pytest.importorskip("resource")
    path, pixels = tmp_path / name, image()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limited(size, do):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            with pytest.raises(ImageError, match=rf"{path}: cannot be written \(.*\); free some space .* is kept"):
                do()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    if at == "create":
        limited(1000, lambda: sink_of(path, block=96))
        assert not list(tmp_path.iterdir())
        return
    sink = sink_of(path, block=96)
    fill(sink, pixels, ALL[:7])
    if at == "write":
        limited(pixels.nbytes // 2, lambda: fill(sink, pixels, ALL[7:]))
    else:
        fill(sink, pixels, ALL[7:])
        limited(100, sink.close)
    assert not path.exists()
    sink.pause()
    sink = sink_of(path, block=96)
    assert sink.resumed
    fill(sink, pixels, ALL[7:])
    sink.close()
    np.testing.assert_array_equal(open_source(path).read(0, 0, HEIGHT, WIDTH), pixels)


def test_writes_that_do_not_fit_the_output(tmp_path):
    sink = sink_of(tmp_path / "out.tif")
    for top, pixels, message in (
        (96, image()[:32, :32], "not inside an image"),
        (0, image(1)[:32, :32], "expected uint8 with 3 channels, got uint8"),
        (0, image(dtype=np.uint16)[:32, :32], "expected uint8 with 3 channels, got uint16"),
    ):
        with pytest.raises(ImageError, match=message):
            sink.write(top, 0, pixels)
    sink.abort()


@pytest.mark.parametrize("name", ["out.tif", "out.zarr"])
def test_a_folder_with_other_files_is_not_replaced(name, tmp_path):
    (tmp_path / name).mkdir()
    (tmp_path / name / "precious.txt").write_text("")
    with pytest.raises(ImageError, match=rf"{name}: is a folder; give the name of a new file"):
        sink_of(tmp_path / name)
    assert [str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*")] == [name, f"{name}/precious.txt"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "name", "block"),
    [({"rowsperstrip": 8}, "out.tif", 64), ({"tile": (64, 64)}, "out.ome.zarr", 128)],
)
def test_memory_is_bounded(layout, name, block, tmp_path, monkeypatch):
    """An image of 1.5 MB in strips or tiles is copied, with levels, in half of its memory."""
    side = 700
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[:, ::7] = np.arange(side, dtype=np.uint8)[:, None, None]
    tifffile.imwrite(tmp_path / "in.tif", pixels, photometric="rgb", compression="zlib", **layout)
    monkeypatch.setattr(tiff_pages, "CACHE_BYTES", 2**17)
    monkeypatch.setattr("diptych.inference.formats.overviews.BLOCK", 64)
    monkeypatch.setattr("tifffile.tifffile.TIFF.BUFFERSIZE", 2**16)
    source = open_source(tmp_path / "in.tif")
    sink = create_sink(tmp_path / name, source, side, side, 3, np.uint8, overviews=True, block=block)
    write(tmp_path / f"imports.{name}", image(), block=64)  # modules are not part of the peak
    tracemalloc.start()
    for window in blocks(side, side, 64):
        sink.write(window.top, window.left, source.read(*window))
    sink.close()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < pixels.nbytes / 2
    np.testing.assert_array_equal(open_source(tmp_path / name).read(690, 0, 10, side), pixels[690:])


def test_bytes_of_georeferenced_outputs_are_reproducible(tmp_path):
    source = open_source(geotiff(tmp_path / "in.tif", image(), nodata=0))
    first, second = (write(tmp_path / name, image(), source).read_bytes() for name in ("a.tif", "b.tif"))
    assert first == second
