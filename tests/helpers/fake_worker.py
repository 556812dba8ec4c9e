"""A worker process for tests of the server: it answers with what the image says.

`crash`: ends at once. `once FILE`: ends unless FILE exists, which it creates. `hang`: never answers. `late S`: answers
after S seconds, one request at a time. Any other text is the answer.
"""

import os
import sys
import time
from pathlib import Path

from diptych.serving.messages import read_message, write_message

MODEL = {
    "name": "fake", "method": "fake", "translates": True, "generates": False, "controls": [], "source": None,
    "target": {"channels": 3}, "image_size": None, "fixed_size": False, "size_multiple": 1, "upscale_factor": 1,
    "max_megapixels": 1, "formats": ["png"],
}  # fmt: skip


def main():
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    read_message(requests)
    write_message(answers, {"kind": "ready", "models": [MODEL], "examples": [[]]})
    while message := read_message(requests):
        header, parts = message
        if header["kind"] == "cancel":
            continue
        write_message(answers, {"kind": "started", "numbers": [header["number"]]})
        word, _, value = parts[0].decode().partition(" ")
        if word == "crash" or (word == "once" and not Path(value).exists()):
            if value:
                Path(value).touch()
            os._exit(11)
        time.sleep(1000 if word == "hang" else float(value) if word == "late" else 0)
        write_message(answers, {"kind": "done", "number": header["number"], "batch": 1}, parts)


if __name__ == "__main__":
    main()
