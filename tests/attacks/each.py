"""Unpack every file of a folder, each in a fork of this process behind the walls; a JSON line for each on stdout.

    python tests/attacks/each.py FOLDER

A fork, so that torch is imported once. The peak of memory is the fork's own: at rest it is what torch takes.
"""

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from diptych.importers import sandbox

SECONDS, SLACK = 2, 2**26  # processor time and bytes for each, in place of half a minute and 256 MiB: a test is short


def behind_walls(path: Path, out: Path) -> None:
    """In the fork: what `python -m diptych.importers.sandbox` does. Does not return."""
    sys.argv = ["unpack", str(path), str(out)]
    code = 0
    try:
        sandbox.main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        code = 99
    os._exit(code)


def main(folder: Path) -> None:
    sandbox.cpu_seconds, sandbox.SLACK = lambda size: SECONDS, SLACK
    for path in sorted(folder.iterdir()):
        with tempfile.TemporaryDirectory() as out:
            start = time.monotonic()
            child = os.fork()
            if not child:
                behind_walls(path, Path(out))
            _, status, usage = os.wait4(child, 0)
            said = Path(out) / sandbox.REFUSED
            print(
                json.dumps(
                    {
                        "name": path.name,
                        "code": os.waitstatus_to_exitcode(status),
                        "refused": said.read_text() if said.exists() else None,
                        "peak": usage.ru_maxrss * 1024,
                        "seconds": time.monotonic() - start,
                        "size": path.stat().st_size,
                    }
                ),
                flush=True,
            )


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main(Path(sys.argv[1]))
