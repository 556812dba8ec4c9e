"""The promises of the contract for forms that the `tiny` of their methods leaves out, as far as one process shows."""

from dataclasses import replace

import pytest

from diptych.methods.cut import CUT
from diptych.methods.cyclegan import CycleGAN
from diptych.methods.diat import DIAT
from diptych.methods.drit import DRIT
from diptych.methods.dtn import DTN
from diptych.methods.msgan import MSGAN
from diptych.methods.munit import MUNIT
from diptych.methods.pix2pix import Pix2Pix
from diptych.testing import CHECKS, MethodUnderTest

SLOW = {"resume_is_exact", "ranks_match_one_process", "short_run_learns"}  # fresh processes, and some seconds each


class Adaptive(DIAT):
    """DIAT-A: it looks through its own D, is lent nothing, and has no denoiser."""

    checks = replace(DIAT.checks, tiny={**DIAT.checks.tiny, **DIAT.presets["adaptive"]})


class Judged(DTN):
    """DTN that reads as a judge does."""

    checks = replace(
        DTN.checks,
        tiny={
            **DTN.checks.tiny,
            "f_network": "classifier",
            "f_base_channels": 4,
            "f_n_downsample": 3,
            "embedding_dim": 16,
        },
    )


class Mixed(DRIT):
    """Attributes without a variance, mixed into the features."""

    checks = replace(DRIT.checks, tiny={**DRIT.checks.tiny, **DRIT.presets["shapes"], "ngf": 4, "ndf": 4})


class WithoutNorm(CUT):
    """A generator without norm, of too few blocks for the last layer that PatchNCE takes features from."""

    checks = replace(CUT.checks, tiny={**CUT.checks.tiny, "norm": "none", "n_blocks": 3})


class Interpolating(MSGAN):
    """Sizes doubled by interpolation."""

    checks = replace(MSGAN.checks, tiny={**MSGAN.checks.tiny, "upsample": "resize_conv"})


class Shuffling(CycleGAN):
    """Sizes doubled by pixel shuffle."""

    checks = replace(CycleGAN.checks, tiny={**CycleGAN.checks.tiny, "upsample": "pixel_shuffle"})


class Shallow(MUNIT):
    """Contents at half the size of images."""

    checks = replace(MUNIT.checks, tiny={**MUNIT.checks.tiny, "n_downsample": 1})


class Biased(Pix2Pix):
    """A BatchNorm U-Net with biases where no norm follows."""

    checks = replace(
        Pix2Pix.checks,
        tiny={**Pix2Pix.checks.tiny, "use_bias": True},
        independent={**Pix2Pix.checks.independent, "use_bias": False},  # which has no effect with its norm
    )


INEXACT = {  # forms whose micro-batches cannot equal the whole batch to 1e-6
    WithoutNorm,  # its features start below CUT's epsilon, so that Adam enlarges rounding errors to whole steps
}
FORMS = [Adaptive, Judged, Mixed, WithoutNorm, Interpolating, Shuffling, Shallow, Biased]
PROMISES = [
    (cls, check)
    for cls in FORMS
    for check in CHECKS
    if check not in SLOW and not (check == "gradient_accumulation_is_exact" and cls in INEXACT)
]


@pytest.mark.parametrize(("cls", "check"), PROMISES)
def test_forms_of_a_method_hold_the_contract(cls, check):
    CHECKS[check](MethodUnderTest(cls))
