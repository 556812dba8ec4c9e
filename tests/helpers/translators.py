"""Untrained translators, and model folders that were changed."""

import json
from pathlib import Path

import torch

from diptych.inference.load import assembled
from diptych.inference.translator import Translator
from diptych.methods import find


def made(name="pix2pix", **over) -> Translator:
    torch.manual_seed(0)
    cls = find(name)
    config = cls.Config(**{**cls.checks.tiny, **over})
    state = {
        key: value for key, value in cls(config).state_dict().items() if key.partition(".")[0] in cls.inference_networks
    }
    return assembled(cls, name, config.model_dump(), state, cls.inference_networks, {"steps": 1}, "test")


def broken(folder: Path, change) -> Path:
    made().save(folder)
    change(folder)
    return folder


def edited(**changes):
    def change(folder):
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change
