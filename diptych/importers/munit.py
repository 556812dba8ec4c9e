"""Import of checkpoints of the MUNIT code: `gen_%08d.pt` (autoencoders of both domains) and `dis_%08d.pt`.

Keys: a.enc_style.model.I  a.enc_content.model.I  a.dec.model.I  a.mlp.model.I  a.cnns.SCALE.I, and the same for b
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from diptych.contract import Labels
from diptych.importers.rename_keys import Conversion, count_numbers, fit_to_config, refusal, refuse_labels, rename_keys
from diptych.methods.munit import MUNIT

NAME = "munit"


def fits(state: Mapping[str, Tensor]) -> bool:
    """Return whether the state dict has the keys of MUNIT's content encoder."""
    return any(key.startswith("a.enc_content.") for key in state)


def model(state: dict[str, Tensor], labels: Sequence[Labels], where: str) -> Conversion:
    """Return the config, the renamed weights and the names of the imported networks. Raises ImportRefused."""
    refuse_labels(labels, where)
    config, weights = recognise(state, where)
    return config, weights, MUNIT.inference_networks


def recognise(state: Mapping[str, Tensor], where: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the config and the renamed weights of the autoencoders and, if present, the discriminators.

    Raises ImportRefused.
    """
    try:
        n_downsample = _count_downsampling(state)
        first_a, first_b = state["a.enc_content.model.0.conv.weight"], state["b.enc_content.model.0.conv.weight"]
        config = {
            "in_channels": first_a.shape[1],
            "out_channels": first_b.shape[1],
            "ngf": first_a.shape[0],
            "n_blocks": count_numbers(state, rf"a\.enc_content\.model\.{n_downsample + 1}\.model\.(\d+)\."),
            "n_downsample": n_downsample,
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
    weights = rename_keys(state, _patterns(state, n_downsample), _ignored_keys(n_downsample))
    return config, fit_to_config(MUNIT, config, weights, NAME, where)


def _count_downsampling(state: Mapping[str, Tensor]) -> int:
    """Return the number of downsampling convolutions in the content encoder."""
    return count_numbers(state, r"a\.enc_content\.model\.(\d)\.conv\.") - 1


def _ignored_keys(n_downsample: int) -> str:
    """Return a pattern of ignored keys: biases before InstanceNorm and AdaIN, and unused running statistics."""
    conv_indices = "|".join(map(str, range(n_downsample + 1)))
    return (
        rf"[ab]\.(enc_content\.model\.({conv_indices})\.conv\.bias"
        rf"|(enc_content\.model\.{n_downsample + 1}|dec\.model\.0)\.model\..*\.conv\.bias"
        r"|.*\.running_(mean|var)|.*\.num_batches_tracked)"
    )


def _patterns(state: Mapping[str, Tensor], n_downsample: int) -> list[tuple[str, str]]:
    """Return the key patterns of all networks."""
    blocks_index, up_indices = n_downsample + 1, range(n_downsample)
    return [
        *((rf"([ab])\.enc_style\.model\.{n}\.conv\.(\w+)", rf"G_\1.style.body.{2 * n}.\2") for n in range(5)),
        (r"([ab])\.enc_style\.model\.6\.(\w+)", r"G_\1.style.head.\2"),
        *((rf"([ab])\.enc_content\.model\.{n}\.conv\.(\w+)", rf"G_\1.content.{n}.0.\2") for n in range(blocks_index)),
        *(
            (
                rf"([ab])\.enc_content\.model\.{blocks_index}\.model\.{n}\.model\.{index}\.conv\.(\w+)",
                rf"G_\1.content.{n + blocks_index}.body.{layer}.\2",
            )
            for n in range(count_numbers(state, rf"a\.enc_content\.model\.{blocks_index}\.model\.(\d+)\."))
            for index, layer in ((0, 1), (1, 5))
        ),
        *(
            (
                rf"([ab])\.dec\.model\.0\.model\.(\d+)\.model\.{index}\.conv\.(\w+)",
                rf"G_\1.decoder.blocks.\2.conv{index + 1}.\3",
            )
            for index in (0, 1)
        ),
        *(
            (rf"([ab])\.dec\.model\.{2 * n + 2}\.{source}", rf"G_\1.decoder.up.{n}.{target}")
            for n in up_indices
            for source, target in ((r"conv\.(\w+)", r"1.\2"), (r"norm\.gamma", "2.scale"), (r"norm\.beta", "2.shift"))
        ),
        (rf"([ab])\.dec\.model\.{2 * n_downsample + 1}\.conv\.(\w+)", r"G_\1.decoder.head.\2"),
        *((rf"([ab])\.mlp\.model\.{n}\.fc\.(\w+)", rf"G_\1.mapping.{2 * n}.\2") for n in range(3)),
        *(
            (rf"([ab])\.cnns\.(\d+)\.{n}\.(?:conv\.)?(\w+)", rf"D_\1.nets.\2.{2 * n}.\3")
            for n in range(count_numbers(state, r"a\.cnns\.0\.(\d+)\."))
        ),
    ]
