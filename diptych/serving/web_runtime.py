"""onnxruntime-web, the runtime of exported pages: downloaded from npm once, checked by its hash, and kept in a cache.

Its licence is MIT; the copyright notice is in the header of each script.
"""

import base64
import hashlib
import io
import os
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

from diptych.data.checks.manifest import cache_folder
from diptych.errors import ConfigError, DataError
from diptych.system.atomic_files import atomic_write, make_folder

VERSION = "1.30.0"
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="  # of the package
PACKAGE = f"onnxruntime-web-{VERSION}.tgz"
COMMAND = f"`npm pack onnxruntime-web@{VERSION}`"
FILES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
MAX_BYTES = 64 * 2**20  # of the package, and of each file
SECONDS = 60  # without an answer


def runtime_files(package: Path | None = None) -> dict[str, bytes]:
    """Return the scripts and WebAssembly files by name, from a package that the user gives, the cache, or npm.

    Raises ConfigError for a package of another version, DataError if it cannot be downloaded.
    """
    if package is not None:
        return _unpacked(_checked(package))
    cached = cache_folder() / PACKAGE
    if cached.is_file() and _has_hash(cached.read_bytes()):
        return _unpacked(cached.read_bytes())
    data = _download()
    make_folder(cached.parent)
    with atomic_write(cached) as part:
        part.write_bytes(data)
    return _unpacked(data)


def _has_hash(data: bytes) -> bool:
    return base64.b64encode(hashlib.sha512(data).digest()).decode() == SHA512


def _checked(package: Path) -> bytes:
    if not package.is_file() or package.stat().st_size > MAX_BYTES:
        raise ConfigError(f"--runtime {package}: expected the file {PACKAGE} of npm")
    data = package.read_bytes()
    if not _has_hash(data):
        raise ConfigError(f"--runtime {package}: its hash is not that of {PACKAGE}: get it with {COMMAND}")
    return data


def _download() -> bytes:
    """Return the package of npm's registry, or of the one that `NPM_CONFIG_REGISTRY` names."""
    registry = os.environ.get("NPM_CONFIG_REGISTRY", "https://registry.npmjs.org").rstrip("/")
    address = f"{registry}/onnxruntime-web/-/{PACKAGE}"
    offline = f"get it with {COMMAND} on a machine with a network, and give it as --runtime {PACKAGE}"
    if not address.startswith(("https://", "http://")):
        raise ConfigError(f"NPM_CONFIG_REGISTRY={registry}: expected an address of https; {offline}")
    try:
        with urllib.request.urlopen(address, timeout=SECONDS) as answer:
            data: bytes = answer.read(MAX_BYTES + 1)
    except (OSError, urllib.error.URLError) as error:
        raise DataError(f"{address} cannot be downloaded ({error}): {offline}") from error
    if not _has_hash(data):
        raise DataError(f"{address} is not the package that Diptych expects: its hash differs; {offline}")
    return data


def _unpacked(package: bytes) -> dict[str, bytes]:
    """Return the needed files of a package, whose hash has been checked."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(package), mode="r:gz") as archive:
        for member in archive:
            name = member.name.removeprefix("package/dist/")
            if name in FILES and member.isfile() and member.size <= MAX_BYTES:
                file = archive.extractfile(member)
                assert file is not None
                found[name] = file.read()
    assert set(found) == set(FILES), "the package of this hash has them all"
    return found
