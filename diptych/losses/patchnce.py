"""PatchNCE: "Contrastive Learning for Unpaired Image-to-Image Translation", Park et al. 2020, section 3.

A patch of a translation shall be told, by what an encoder sees in it, from all other patches of the source: it is of
the one at its own place.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from diptych.losses.adversarial import to_float32

TEMPERATURE = 0.07
OUT = -10.0  # where a patch would be its own negative, before the temperature


def patchnce(queries: Tensor, keys: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Cross entropy (equation 3), a mean over patches.

    `queries` of a translation and `keys` of its source are unit vectors (N, P, K) of the same P places; the keys carry
    no gradient. Negatives of a patch are the other P - 1 of its own image.
    """
    queries, keys = to_float32(queries), to_float32(keys).detach()
    positive = (queries * keys).sum(2, keepdim=True)
    own = torch.eye(queries.shape[1], dtype=torch.bool, device=queries.device)
    negative = torch.bmm(queries, keys.transpose(1, 2)).masked_fill(own, OUT)
    logits = torch.cat([positive, negative], 2).flatten(0, 1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))
