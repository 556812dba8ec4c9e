"""The folder of the user's files of pretrained weights."""

import os
from pathlib import Path

WEIGHTS_VARIABLE = "DIPTYCH_WEIGHTS"


def weights_folder() -> Path | None:
    """Return the folder that `$DIPTYCH_WEIGHTS` names, if it is set."""
    folder = os.environ.get(WEIGHTS_VARIABLE)
    return Path(folder).expanduser() if folder else None
