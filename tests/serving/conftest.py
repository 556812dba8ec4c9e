"""A server of small models that the tests of this folder share."""

import httpx
import pytest
from model_server import served_models
from onnx_files import metadata, write_onnx
from translators import made


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Paths of models by name: one of ONNX, which inverts images, and untrained ones of PyTorch."""
    folder = tmp_path_factory.mktemp("models")
    paths = {"inverted": write_onnx(folder / "inverted.onnx", metadata())}
    for name in ("cyclegan", "munit", "gan"):
        paths[name] = made(name).save(folder / name)
    return paths


@pytest.fixture(scope="session")
def client(models):
    """A client of a server of all these models."""
    limits = ("--max-megapixels", "0.05", "--max-megabytes", "0.5")
    with served_models(*models.values(), *limits) as (address, _), httpx.Client(base_url=address, timeout=60) as client:
        yield client
