"""PatchNCE: "Contrastive Learning for Unpaired Image-to-Image Translation", Park et al. 2020, section 3.

A patch of a translation is classified among all patches of its source, by their features: the positive is the patch
at the same location.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from diptych.losses.adversarial import to_float32

TEMPERATURE = 0.07
SELF_SIMILARITY = -10.0  # replaces the similarity of a patch to itself among its negatives, as in the public code


def patchnce(queries: Tensor, keys: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Return the contrastive cross-entropy (equation 3), the mean over patches.

    `queries` of a translation and `keys` of its source are unit vectors (N, P, K) at the same P locations. The keys
    get no gradient. The negatives of a patch are the other P - 1 patches of its own image.
    """
    queries, keys = to_float32(queries), to_float32(keys).detach()
    positive = (queries * keys).sum(2, keepdim=True)
    same_location = torch.eye(queries.shape[1], dtype=torch.bool, device=queries.device)
    negative = torch.bmm(queries, keys.transpose(1, 2)).masked_fill(same_location, SELF_SIMILARITY)
    logits = torch.cat([positive, negative], 2).flatten(0, 1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))
