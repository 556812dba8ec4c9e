"""Files that try to run code when they are read. Each would create the file named by `canary`."""

import io
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import torch


class Reduce:
    """`pickle` calls what `__reduce__` returns."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch '{self.canary}'",)


def torch_save(path: Path, canary: Path) -> None:
    torch.save({"model.model.0.weight": Reduce(canary)}, path)


def nested(path: Path, canary: Path) -> None:
    torch.save({"state_dict": {"deep": [({"x": Reduce(canary)},)]}, "model.0.weight": torch.zeros(1)}, path)


def plain_pickle(path: Path, canary: Path) -> None:
    path.write_bytes(pickle.dumps(Reduce(canary)))


def legacy_stream(path: Path, canary: Path) -> None:
    """The form of torch before 1.6: pickles one after the other, no zip."""
    torch.save({"model.0.weight": Reduce(canary)}, path, _use_new_zipfile_serialization=False)


def legacy_tar(path: Path, canary: Path) -> None:
    """The form of torch before 0.2: a tar of pickles."""
    with tarfile.open(path, "w") as tar:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            data = pickle.dumps(Reduce(canary))
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def torch_script(path: Path, canary: Path) -> None:
    """A zip that claims to be TorchScript, with a pickle that runs."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/constants.pkl", pickle.dumps(Reduce(canary)))
        archive.writestr("archive/data.pkl", pickle.dumps(Reduce(canary)))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/code/x.py", "")


def pickle_named_safetensors(path: Path, canary: Path) -> None:
    plain_pickle(path, canary)


ATTACKS = {
    "torch_save.pth": torch_save,
    "nested.pth": nested,
    "plain.pth": plain_pickle,
    "legacy_stream.pth": legacy_stream,
    "legacy_tar.pth": legacy_tar,
    "script.pth": torch_script,
    "pickle.safetensors": pickle_named_safetensors,
}
