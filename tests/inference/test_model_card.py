"""The card of a shipped model, which shows names that came with strangers' files."""

import re

import torch

from diptych.contract import Labels
from diptych.inference import model_card
from diptych.methods.stargan import StarGAN


def test_names_of_labels_are_no_markdown():
    names = ("[win](http://evil.example)", "<img src=x>", "a\n# Heading", "`tick`")
    labels = (Labels(names=names, kind="attributes"),)
    with torch.device("meta"):
        method = StarGAN(StarGAN.Config(**{**StarGAN.checks.tiny, "labels": labels}))
    text = model_card.write(method, "stargan", {})
    assert "img src=x" in text
    bare = re.sub(r"`[^`\n]*`", "", text)
    assert not [bad for bad in ("[win]", "<img", "# Heading", "tick") if bad in bare]
