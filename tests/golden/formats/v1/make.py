"""Made once, with the first Diptych: `python tests/golden/formats/v1/make.py`. What is released is never made anew.

A run of pix2pix on letters after step 4 of 6 (its settings and one checkpoint, with a line of the log half full), the
numbers of the line that its steps 4 to 6 made, its model folder, and a letter before and after: whatever Diptych comes
later must go on from the one, load the other and draw the same letter.
"""

import json
import shutil
import tempfile
from pathlib import Path

import torch
from diptych.data.glyphs import pictures
from diptych.engine.log import read_events
from diptych.launch import train
from diptych.recipe import named

import diptych
from diptych.data import image

HERE = Path(__file__).parent
SETTINGS = (
    "root=glyphs crop=32 batch=2 generator=unet_32 width=1 d_width=1 field=16 gain=0.2 lr=0.01 steps=6 log_every=3 "
    "preview_every=4 previews=2 workers=0 device=cpu precision=fp32"
)


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        run = train(named("pix2pix", SETTINGS.split()), Path(folder) / "run").run
        numbers = list(read_events(run.events))[-2]["terms"]
        (HERE / "run" / "checkpoints").mkdir(parents=True)
        for file in (run.config, run.folder / "environment.json"):
            shutil.copy(file, HERE / "run")
        shutil.copy(run.checkpoints / "0-00000004.safetensors", HERE / "run" / "checkpoints")
    (HERE / "numbers.json").write_text(json.dumps(numbers, indent=2) + "\n")
    translator = diptych.load(HERE / "run")
    translator.save(HERE / "model")
    image.write(HERE / "before.png", pictures("sans", 32)[7])
    translator(HERE / "before.png").save(HERE / "after.png")


if __name__ == "__main__":
    main()
