"""The list of finished tiles: what a killed translation need not compute again."""

import json
import os
from pathlib import Path
from typing import Any

NAME = "tiles.txt"


class FinishedTiles:
    """The numbers of the finished tiles, one on a line of a file; its first line says which translation they are of.

    Without a folder nothing is kept. Tiles of another translation, or of a sink that does not continue, are forgotten.
    """

    def __init__(self, folder: Path | None, facts: dict[str, Any], continues: bool) -> None:
        self.path = folder / NAME if folder else None
        self.numbers: set[int] = set()
        if self.path is None:
            return
        header = json.dumps(facts, sort_keys=True)
        if continues and self.path.is_file():
            first, *lines = self.path.read_bytes().decode(errors="replace").split("\n")
            if first == header:
                self.numbers = {int(line) for line in lines[:-1] if line.isdecimal()}  # the last line may be cut off
        self._write("wb", "\n".join([header, *map(str, sorted(self.numbers))]) + "\n")

    def add(self, number: int) -> None:
        """Note a tile that the sink has on the disk."""
        self.numbers.add(number)
        if self.path is not None:
            self._write("ab", f"{number}\n")

    def _write(self, mode: str, text: str) -> None:
        assert self.path is not None
        with self.path.open(mode) as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
