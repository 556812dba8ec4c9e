"""What the tests of experiments share: small ones, and trainings in this process."""

import yaml
from commands import diptych
from judged import PIX2PIX
from rich.console import Console

from diptych.errors import DiptychError
from diptych.runs.events import read_events
from diptych.workflows.experiment import plan_recipes, read_experiment

MODEL = dict(word.split("=") for word in PIX2PIX if not word.startswith("batch"))
TRAIN = {"batch_size": 2, "workers": 0, "device": "cpu", "precision": "fp32", "log_every": 2, "preview_every": 1000}
RECIPE = {
    "method": "pix2pix",
    "model": {**MODEL, "ngf": 4, "ndf": 4, "receptive_field": 16, "steps": 4},
    "data": {"root": "glyphs", "crop_size": 32},
    "train": TRAIN,
}
LOSSES = {"title": "t", "recipe": RECIPE, "matrix": {"loss": ["l1", "l1+cgan"]}, "protocol": "paired-default"}
NAMED = {
    "title": "t",
    "recipe": RECIPE,
    "runs": {"plain": {}, "strong": {"lambda_l1": 200}},
    "protocol": "paired-default",
}
SEGMENTER = {
    "method": "segmenter",
    "model": {"steps": 8, "base_channels": 4, "n_downsample": 2, "lr": 0.02},
    "data": {"direction": "a2b"},
    "train": {**TRAIN, "batch_size": 8},
}
QUIET = Console(quiet=True)


def written(folder, values, **changes):
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump({**values, **changes}, sort_keys=False))
    return str(path)


def plan(tmp_path, values, *overrides, **changes):
    return plan_recipes(read_experiment(written(tmp_path, values, **changes)), overrides)


class InProcess:
    """A training as a process of its own, but here: nothing has to be imported anew."""

    started = []

    def __init__(self, command, stdout, stderr, env, **_):
        self.started.append(command[3:])
        try:
            self.returncode = diptych(*command[3:]).exit_code
        except DiptychError as error:
            stdout.write(f"error: {error}\n".encode())
            self.returncode = error.exit_code

    def poll(self):
        return self.returncode


def steps(folder):
    return [event["step"] for event in read_events(folder / "events.jsonl") if event["event"] == "step"]
