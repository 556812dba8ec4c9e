"""Training in a notebook: the sample grid is displayed below the progress bar, and replaced by each new one."""

import sys
from typing import Any

from diptych.training.callbacks import Callback, TrainingContext


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell"


class NotebookPreview(Callback):
    """Displays the newest sample grid in the output of the cell."""

    def __init__(self) -> None:
        self.handle: Any = None

    def on_preview(self, context: TrainingContext) -> None:
        from IPython.display import display

        if self.handle is None:
            self.handle = display(context.preview, display_id=True)
        else:
            self.handle.update(context.preview)
