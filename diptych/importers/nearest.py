"""For a state dict that no family takes: which family is nearest, and the first tensor that is not of it."""

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
    """Return the nearest family and the first tensor that is not of it, for the end of a message."""
    matching = {name: sum(bool(re.fullmatch(keys, key)) for key in state) for name, keys in FAMILIES.items()}
    name = max(matching, key=lambda each: matching[each])
    if 2 * matching[name] < len(state):
        return f"no family is near; its first keys are {', '.join(map(shown, list(state)[:3]))}"
    share = f"nearest is {name} ({matching[name]} of {len(state)} names are as there)"
    other = next((key for key in state if not re.fullmatch(FAMILIES[name], key)), None)
    if other is None:
        first = next(iter(state))
        return (
            f"{share}, but this is no whole generator of it; it begins with {shown(first)} {tuple(state[first].shape)}"
        )
    return f"{share}, but {shown(other)} {tuple(state[other].shape)} is not of it"
