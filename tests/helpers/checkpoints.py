"""What the tests of checkpoints share: a small state, and whether two states are the same."""

import torch

TENSORS = {"method.G.weight": torch.arange(6.0).reshape(2, 3), "method.G.steps": torch.tensor(3)}


def small(step=7, place=0, **more):
    """A state as an engine gives it, of some 30 bytes of tensors."""
    meta = {"place": place, "stage": "train", "step": step, "total": step, "ledger": {"names": {}, "counts": {}}}
    return TENSORS, {**meta, "best": None, **more}


def same(one, other):
    return (
        one[1] == other[1]
        and one[0].keys() == other[0].keys()
        and all(torch.equal(one[0][key], other[0][key]) for key in one[0])
    )


def names(folder):
    """Whatever lies in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())
