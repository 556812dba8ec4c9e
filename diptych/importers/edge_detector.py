"""Published weights of HED, for `task=edges` with `kind: hed`: from any file that can be imported to safetensors.

Data workers and inference read the safetensors file themselves, as they run no child process.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file

from diptych.errors import ConfigError, ImportRefused
from diptych.importers import import_model
from diptych.importers.rename_keys import check_state
from diptych.networks.hed import Hed, from_port, is_hed
from diptych.system.atomic_files import atomic_write


def import_edge_detector(path: Path, out: Path) -> None:
    """Write the weights of HED in a file to a safetensors file, by the names of the public port.

    Raises ImportRefused for any other network, ConfigError if the file cannot be written.
    """
    state = import_model.read(path)
    if not is_hed(state):
        raise ImportRefused(
            f"{path}: not the weights of HED, an edge detector, for which -o FILE.safetensors is; for a generator give "
            f"the model folder to create"
        )
    with torch.device("meta"):
        expected = Hed().state_dict()
    check_state(expected, from_port(state), "HED", str(path))
    try:
        with atomic_write(out) as part:
            save_file({key: tensor.contiguous() for key, tensor in state.items()}, part)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error}); choose another file with -o") from error
