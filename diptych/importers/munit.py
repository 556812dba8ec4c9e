"""Checkpoints of MUNIT's public code: `gen_%08d.pt` with the coders of both domains, `dis_%08d.pt` with the others.

a.enc_style.model.I  a.enc_content.model.I  a.dec.model.I  a.mlp.model.I  and b;  a.cnns.SCALE.I
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from diptych.contract import Labels
from diptych.importers.rename_keys import Conversion, count_numbers, fit_to_config, refusal, refuse_labels, rename_keys
from diptych.methods.munit import MUNIT

NAME = "munit"


def fits(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the keys of its coders."""
    return any(key.startswith("a.enc_content.") for key in state)


def model(state: dict[str, Tensor], labels: Sequence[Labels], where: str) -> Conversion:
    """What `translate` needs of a file: both coders. Raises ImportRefused."""
    refuse_labels(labels, where)
    config, found = recognise(state, where)
    return config, found, MUNIT.inference_networks


def recognise(state: Mapping[str, Tensor], where: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Settings and weights under our names, of coders and, if they are there, discriminators. Raises ImportRefused."""
    try:
        halvings = _halvings(state)
        first, second = state["a.enc_content.model.0.conv.weight"], state["b.enc_content.model.0.conv.weight"]
        config = {
            "in_channels": first.shape[1],
            "out_channels": second.shape[1],
            "ngf": first.shape[0],
            "n_blocks": count_numbers(state, rf"a\.enc_content\.model\.{halvings + 1}\.model\.(\d+)\."),
            "n_downsample": halvings,
            "style_dim": state["a.mlp.model.0.fc.weight"].shape[1],
            "mlp_dim": state["a.mlp.model.0.fc.weight"].shape[0],
        }
        if "a.cnns.0.0.conv.weight" in state:
            config |= {
                "ndf": state["a.cnns.0.0.conv.weight"].shape[0],
                "num_scales": count_numbers(state, r"a\.cnns\.(\d+)\."),
                "d_layers": count_numbers(state, r"a\.cnns\.0\.(\d+)\.conv\."),
            }
    except (KeyError, IndexError) as error:
        raise refusal(error, "MUNIT", where) from error
    found = rename_keys(state, _patterns(state, halvings), _idle(halvings))
    return config, fit_to_config(MUNIT, config, found, NAME, where)


def _halvings(state: Mapping[str, Tensor]) -> int:
    """`n_downsample`: how many convolutions stand between the first one of the content encoder and its blocks."""
    return count_numbers(state, r"a\.enc_content\.model\.(\d)\.conv\.") - 1


def _idle(halvings: int) -> str:
    """Biases before InstanceNorm and AdaIN, which have no effect, and statistics, which were never used."""
    plain = "|".join(map(str, range(halvings + 1)))
    return (
        rf"[ab]\.(enc_content\.model\.({plain})\.conv\.bias"
        rf"|(enc_content\.model\.{halvings + 1}|dec\.model\.0)\.model\..*\.conv\.bias"
        r"|.*\.running_(mean|var)|.*\.num_batches_tracked)"
    )


def _patterns(state: Mapping[str, Tensor], halvings: int) -> list[tuple[str, str]]:
    blocks, ups = halvings + 1, range(halvings)
    return [
        *((rf"([ab])\.enc_style\.model\.{n}\.conv\.(\w+)", rf"G_\1.style.body.{2 * n}.\2") for n in range(5)),
        (r"([ab])\.enc_style\.model\.6\.(\w+)", r"G_\1.style.head.\2"),
        *((rf"([ab])\.enc_content\.model\.{n}\.conv\.(\w+)", rf"G_\1.content.{n}.0.\2") for n in range(blocks)),
        *(
            (
                rf"([ab])\.enc_content\.model\.{blocks}\.model\.{n}\.model\.{at}\.conv\.(\w+)",
                rf"G_\1.content.{n + blocks}.body.{our}.\2",
            )
            for n in range(count_numbers(state, rf"a\.enc_content\.model\.{blocks}\.model\.(\d+)\."))
            for at, our in ((0, 1), (1, 5))
        ),
        *(
            (
                rf"([ab])\.dec\.model\.0\.model\.(\d+)\.model\.{at}\.conv\.(\w+)",
                rf"G_\1.decoder.blocks.\2.conv{at + 1}.\3",
            )
            for at in (0, 1)
        ),
        *(
            (rf"([ab])\.dec\.model\.{2 * n + 2}\.{theirs}", rf"G_\1.decoder.up.{n}.{ours}")
            for n in ups
            for theirs, ours in ((r"conv\.(\w+)", r"1.\2"), (r"norm\.gamma", "2.scale"), (r"norm\.beta", "2.shift"))
        ),
        (rf"([ab])\.dec\.model\.{2 * halvings + 1}\.conv\.(\w+)", r"G_\1.decoder.head.\2"),
        *((rf"([ab])\.mlp\.model\.{n}\.fc\.(\w+)", rf"G_\1.mapping.{2 * n}.\2") for n in range(3)),
        *(
            (rf"([ab])\.cnns\.(\d+)\.{n}\.(?:conv\.)?(\w+)", rf"D_\1.nets.\2.{2 * n}.\3")
            for n in range(count_numbers(state, r"a\.cnns\.0\.(\d+)\."))
        ),
    ]
