"""Saves a checkpoint over and over, in a child that is cut short at one byte more each time; says what was left.

python tests/chaos/cut_saves.py FOLDER kill|refuse bytes|safetensors STRIDE

FOLDER holds one whole checkpoint. `kill` ends the child when it writes byte N (SIGXFSZ); `refuse` lets the write fail
as on a full disk. `bytes` writes the file piece by piece from Python, so that it is really cut at byte N; `safetensors`
saves as a training does, where the system refuses the size of the file before its first byte: some N will do, each
STRIDE bytes.
Prints a JSON object: how many saves were cut, how many came through, and what was found that should not be there.
"""

import json
import os
import resource
import signal
import sys
from pathlib import Path

from diptych.system.atomic_files import atomic_write, remove_leftovers

OLD, NEW = "0-00000007.safetensors", "0-00000008.safetensors"


def cut(save, limit, refuse):
    """Save in a child whose files may have `limit` bytes; how it ended: 0 saved, 1 refused, -25 killed."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN if refuse else signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        code = 2
        try:
            save()
            code = 0
        except OSError:
            code = 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def by_bytes(folder):
    """A writer of the bytes of a checkpoint, and what tells whether a file is that one."""
    content = (folder / OLD).read_bytes()

    def save():
        with atomic_write(folder / NEW) as part, part.open("wb", buffering=0) as file:
            left = memoryview(content)
            while left:  # at the limit the system takes a part; the write after that is the one it refuses
                left = left[file.write(left[:7]) :]

    return save, lambda path: path.read_bytes() == content


def by_safetensors(folder):
    import torch
    from checkpoints import same, small

    from diptych.runs import checkpoint

    torch.set_num_threads(1)
    return (lambda: checkpoint.save(folder / NEW, small(8))), lambda path: same(
        checkpoint.load(path), small(int(path.stem[2:]))
    )


def main(folder, how, writer, stride):
    save, sound = (by_bytes if writer == "bytes" else by_safetensors)(folder)
    size = (folder / OLD).stat().st_size
    found = {"cut": 0, "saved": 0, "swept": 0, "wrong": []}
    for limit in [*range(0, size, stride), size]:
        code = cut(save, limit, how == "refuse")
        left = {path.name for path in folder.iterdir()} - {OLD, NEW}
        expected = 0 if limit == size else 1 if how == "refuse" else -signal.SIGXFSZ
        if code != expected or (how == "refuse" and left):
            found["wrong"].append(f"byte {limit}: ended with {code}, left {left}")
        remove_leftovers(folder)
        whole_ones = [path for path in folder.iterdir() if sound(path)]
        if {path.name for path in whole_ones} != ({OLD, NEW} if code == 0 else {OLD}):
            found["wrong"].append(f"byte {limit}: whole are {whole_ones}")
        if len(whole_ones) != len(list(folder.iterdir())):
            found["wrong"].append(f"byte {limit}: not swept: {list(folder.iterdir())}")
        found["saved" if code == 0 else "cut"] += 1
        found["swept"] += len(left)
        (folder / NEW).unlink(missing_ok=True)
    print(json.dumps(found))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
