"""Each check of `check_method` can fail: methods that break one promise each are caught by the check that guards it."""

import pytest
import torch

from diptych.contract import CheckConfigs, Control, Player, Route, Stage
from diptych.methods.pix2pix import Pix2Pix
from diptych.testing import CHECKS, MethodUnderTest


class Waits(Pix2Pix):
    def updates(self, batch, clock):
        for players, terms in super().updates(batch, clock):
            if players == "G" and terms["l1"].item() < 0:
                return
            yield players, terms


class Branches(Pix2Pix):
    """Moves the discriminator only where the source is mostly white."""

    def updates(self, batch, clock):
        for players, terms in super().updates(batch, clock):
            if players == "G" or batch["source"].mean() > 0:
                yield players, terms


class Remembers(Pix2Pix):
    """Keeps a number outside its state."""

    count = 0

    def updates(self, batch, clock):
        for players, terms in super().updates(batch, clock):
            self.count += 1
            yield players, {name: term * (1 + self.count / 10) for name, term in terms.items()}


class Sums(Pix2Pix):
    """A sum over the batch where a mean belongs."""

    def updates(self, batch, clock):
        for players, terms in super().updates(batch, clock):
            yield players, {name: term * len(batch["source"]) for name, term in terms.items()}


class Mixes(Pix2Pix):
    @torch.no_grad()
    def translate(self, x, inference="deterministic", seed=0):
        return super().translate(x - x.mean(0) / 9)


class Grows(Pix2Pix):
    def translate(self, x, inference="deterministic", seed=0):
        return self.G.eval()(x)


class Hides(Pix2Pix):
    """Translates with a number that no file holds."""

    shift = 0.0

    def updates(self, batch, clock):
        self.shift += 0.01
        yield from super().updates(batch, clock)

    def translate(self, x, inference="deterministic", seed=0):
        return super().translate(x, inference, seed) * (1 - self.shift)


class StandsStill(Pix2Pix):
    """Names a player with a network that the terms do not reach."""

    def stages(self):
        (stage,) = super().stages()
        players = {**stage.players, "D": Player((self.D, self.G))}
        return [Stage(stage.name, stage.steps, stage.updates, players)]


class Moves(Pix2Pix):
    """Moves a network that was not named."""

    def updates(self, batch, clock):
        for players, terms in super().updates(batch, clock):
            yield players, terms
            if players == "D":
                next(self.D.parameters()).data.add_(1e-3)


class Forgets(Pix2Pix):
    def updates(self, batch, clock):
        for players, terms in super().updates(batch, clock):
            yield players, {name: term * 0 for name, term in terms.items()}


class Draws(Pix2Pix):
    """Draws from a generator that the engine does not seed."""

    def updates(self, batch, clock):
        import random

        for players, terms in super().updates(batch, clock):
            yield players, {name: term * random.random() for name, term in terms.items()}


class Counts(Pix2Pix):
    """Multiplies by the number of the step itself, which a recording holds for good."""

    def updates(self, batch, clock):
        for players, terms in super().updates(batch, clock):
            yield players, {name: term * (1 + clock.step) for name, term in terms.items()}


class Pauses(Pix2Pix):
    """Moves the discriminator in every second step, without a word of it in `Stage.schedule_key`."""

    def updates(self, batch, clock):
        for players, terms in super().updates(batch, clock):
            if players == "G" or clock.step % 2:
                yield players, terms


class LeavesOut(Pix2Pix):
    """Has a network that no player updates."""

    def __init__(self, config):
        super().__init__(config)
        self.extra = torch.nn.Conv2d(1, 1, 1)


class Spreads(Pix2Pix):
    """A term for each sample."""

    def updates(self, batch, clock):
        for players, terms in super().updates(batch, clock):
            yield players, {**terms, "each": batch["target"].mean((1, 2, 3))}


class Noisy(Pix2Pix):
    @torch.no_grad()
    def translate(self, x, inference="deterministic", seed=0):
        return super().translate(x) * (0.9 + 0.1 * torch.rand(1))


class FixesBatch(Pix2Pix):
    """Translates as many images as the example has."""

    def forward(self, x, inference="deterministic", seed=0):
        return super().forward(x).view(len(x), *x.shape[1:])


class KnowsPlaces(Pix2Pix):
    """Adds a gradient over the image."""

    def forward(self, x, inference="deterministic", seed=0):
        return super().forward(x) / 2 + torch.linspace(0, 0.5, x.shape[-1])


class ShipsNothing(Pix2Pix):
    inference_networks = ("D",)


class WrongEntry(Pix2Pix):
    routes = (Route("sources", "target"),)


class WrongControl(Pix2Pix):
    routes = (Route("source", "target", {"inferences": "paper"}),)


class WrongArgument(Pix2Pix):
    controls = (*Pix2Pix.controls, Control("direction", "direction of translation", "a2b", ("a2b", "b2a")))


class Misspelt(Pix2Pix):
    checks = CheckConfigs(tiny={"nfg": 8})


class FullSize(Pix2Pix):
    checks = CheckConfigs()


@pytest.mark.parametrize(
    ("cls", "check", "message"),
    [
        (LeavesOut, "updates_change_only_named_players", "no `Player` has extra.weight, extra.bias: .*requires_grad_"),
        (Spreads, "updates_change_only_named_players", r"loss term each of D has shape \(2,\): expected a scalar"),
        (Noisy, "translate_is_pure", "two translations of one image differ.*random numbers"),
        (FixesBatch, "forward_is_exportable", "only 3 could be translated at a time.*write `x.shape.0.` instead"),
        (KnowsPlaces, "tiles_match_image", "must not depend on the position in the image"),
        (ShipsNothing, "saved_files_round_trip", "'NoneType' object.*`inference_networks`"),
        (WrongEntry, "batch_entries_match_data_kind", "no batch entry is called 'sources'; did you mean 'source'"),
        (WrongControl, "batch_entries_match_data_kind", "no control 'inferences'; did you mean 'inference'"),
        (
            WrongArgument,
            "translate_is_pure",
            "argument 'direction': `encode_controls` or `forward` takes",
        ),
        (Misspelt, "batch_entries_match_data_kind", "`checks.tiny`.*'nfg'; did you mean 'ngf'"),
        (FullSize, "batch_entries_match_data_kind", "`checks` is missing"),
        (Waits, "updates_never_wait_for_device", "waits for the device.*`torch.where`"),
        (Branches, "player_order_depends_on_clock", "depends on the data.*by the clock alone"),
        (Remembers, "resume_is_exact", "ends in another state.*in parameters or buffers"),
        (Sums, "gradient_accumulation_is_exact", "differs from the full batch.*`checks.independent`"),
        (Sums, "ranks_match_one_process", "two ranks differ.*`checks.independent`"),
        (Mixes, "translate_is_pure", "in a batch: use evaluation mode"),
        (Hides, "saved_files_round_trip", "translates differently.*`inference_networks`"),
        (Grows, "translate_is_pure", "carries a gradient.*no_grad"),
        (StandsStill, "updates_change_only_named_players", "left its ResNet unchanged|left its UNet unchanged"),
        (Moves, "updates_change_only_named_players", "changed in an update of"),
        (Forgets, "short_run_learns", "best constant image scores.*steps.*`checks.tiny"),
        (Counts, "cuda_graph_replay_is_exact", "replayed steps end in another state"),
        (Pauses, "player_order_depends_on_clock", "with the same `Stage.schedule_key`"),
        (Draws, "training_is_deterministic", "two runs with the same seed differ"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_broken_promise_is_caught(cls, check, message):
    with pytest.raises(AssertionError, match=message):
        CHECKS[check](MethodUnderTest(cls))
