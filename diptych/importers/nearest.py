"""Error details for an unrecognised state dict: the model family with the most matching keys."""

import re
from collections.abc import Mapping

from torch import Tensor

from diptych.errors import shown

LEAF = r"\.(weight|bias|running_mean|running_var|num_batches_tracked)"
# fmt: off
FAMILIES = {
    "pix2pix's U-Net": rf"model\.model\.(1\.model\.)?(3\.model\.)*\d{LEAF}",
    "CycleGAN's ResNet": rf"model\.\d+(\.conv_block\.\d){{0,1}}{LEAF}",
    "CUT's ResNet": rf"model\.\d+((\.conv_block\.\d)?{LEAF}|\.filt)",
    "a PatchGAN discriminator": rf"(model|net)\.(\d|1\d){LEAF}",
    "MSGAN's U-Net": rf"model(\.submodule)*\.(down|up)\.\d{LEAF}",
    "StarGAN": rf"(main\.\d+(\.main\.\d)?|conv[12]){LEAF}",
    "StarGAN v2": (r"((generator|style_encoder|mapping_network|discriminator)\.)?"
                   r"(from_rgb|to_rgb|encode|decode|hpf|shared|unshared|main)\..*"),
    "SRGAN": rf"block\d\.(\d|conv[12]|bn[12]|prelu|\d\.(conv|prelu)){LEAF}",
    "MUNIT": r"([ab]\.)?(enc_style|enc_content|dec|mlp|cnns)\..*",
    "DRIT": r"(enc_c|enc_a|gen|dis\w*)\..*",
}
# fmt: on


def nearest_family(state: Mapping[str, Tensor]) -> str:
    """Return the family with the most matching keys and the first unmatched tensor, as the end of an error message."""
    matching = {family: sum(bool(re.fullmatch(pattern, key)) for key in state) for family, pattern in FAMILIES.items()}
    family = max(matching, key=lambda candidate: matching[candidate])
    if 2 * matching[family] < len(state):
        return f"no family is near; its first keys are {', '.join(map(shown, list(state)[:3]))}"
    summary = f"nearest is {family} ({matching[family]} of {len(state)} names are as there)"
    unmatched = next((key for key in state if not re.fullmatch(FAMILIES[family], key)), None)
    if unmatched is None:
        key, tensor = next(iter(state.items()))
        return f"{summary}, but this is no whole generator of it; it begins with {shown(key)} {tuple(tensor.shape)}"
    return f"{summary}, but {shown(unmatched)} {tuple(state[unmatched].shape)} is not of it"
