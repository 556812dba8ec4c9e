"""Import of checkpoints of the DRIT code (`01199.pth`, `last.pth`), also of DRIT++ and of MSGAN's DRIT.

Keys: enc_c.conv{A,B}.I  enc_c.conv_share  enc_a.conv_{A,B}.I or enc_a.model_{a,b}.I  gen.dec{A,B}N  dis{A,A2,B,B2}
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from diptych.contract import Labels
from diptych.errors import ImportRefused
from diptych.importers.rename_keys import Conversion, count_numbers, fit_to_config, refusal, refuse_labels, rename_keys
from diptych.methods.drit import DRIT

NAME = "drit"
NETWORKS = ("enc_c", "enc_a", "gen")  # required for translation
DOMAINS = {"A": 0, "B": 1, "a": 0, "b": 1}
# Convolution biases before InstanceNorm, which cancels them.
UNUSED_BIASES = (
    r"enc_c\.conv[AB]\.[12]\.model\.1\.bias|enc_c\.(conv[AB]\.[345]|conv_share\.0)\.model\.[15]\.bias"
    r"|gen\.(dec_share\.0|dec[AB]1\.[012])\.model\.[15]\.bias|gen\.dec[AB][1-4]\.conv[12]\.0\.1\.bias"
)
OUTPUT_WEIGHT = re.compile(r"gen\.dec[AB](4\.0|5\.2)\.weight")  # 1x1 transposed convolutions: (in, out, 1, 1)


def fits(state: Mapping[str, Tensor]) -> bool:
    """Return whether the state dict has the keys of DRIT's content encoder."""
    return any(key.startswith("enc_c.convA.") for key in state)


def model(state: dict[str, Tensor], labels: Sequence[Labels], where: str) -> Conversion:
    """Return the config, the renamed weights and the names of the imported networks. Raises ImportRefused."""
    refuse_labels(labels, where)
    if missing := [net for net in NETWORKS if not any(key.startswith(f"{net}.") for key in state)]:
        raise ImportRefused(f"{where}: there is no {missing[0]}, without which DRIT translates nothing")
    config, weights = recognise({key: value for key, value in state.items() if key.startswith(NETWORKS)}, where)
    return config, weights, DRIT.inference_networks


def recognise(state: Mapping[str, Tensor], where: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the config and the renamed weights of all networks in the state dict.

    The encoders are required, the discriminators optional. Raises ImportRefused.
    """
    try:
        concat = "gen.dec_share.0.model.1.weight" in state
        style_dim = state["enc_a.fc_A.0.weight" if concat else "enc_a.model_a.16.weight"].shape[0]
        config: dict[str, Any] = {
            "in_channels": state["enc_c.convA.0.model.1.weight"].shape[1],
            "out_channels": state["enc_c.convB.0.model.1.weight"].shape[1],
            "ngf": state["enc_c.convA.0.model.1.weight"].shape[0],
            "attribute_injection": "concat" if concat else "feature_wise",
            "style_dim": style_dim,
        }
        if "disA.Diss.0.0.model.1.weight" in state:
            first_conv, d_layers = (
                state["disA.Diss.0.0.model.1.weight"],
                count_numbers(state, r"disA\.Diss\.0\.(\d+)\.model\."),
            )
            config |= {"num_scales": count_numbers(state, r"disA\.Diss\.(\d+)\."), "d_layers": d_layers}
            config |= {"ndf": first_conv.shape[0], "d_kernel": first_conv.shape[2]}
        elif "disA.model.0.model.1.weight" in state:
            first_conv, d_layers = (
                state["disA.model.0.model.1.weight"],
                count_numbers(state, r"disA\.model\.(\d+)\.model\."),
            )
            config |= {
                "num_scales": 1,
                "d_layers": d_layers,
                "ndf": first_conv.shape[0],
                "d_kernel": first_conv.shape[2],
            }
    except (KeyError, IndexError) as error:
        raise refusal(error, "DRIT", where) from error
    transposed = {key: value.transpose(0, 1) if OUTPUT_WEIGHT.fullmatch(key) else value for key, value in state.items()}
    weights = rename_keys(
        transposed,
        [
            *_content_encoder_patterns(),
            *_attribute_encoder_patterns(),
            *_decoder_patterns(),
            *_discriminator_patterns(config.get("d_layers", 0)),
        ],
        UNUSED_BIASES,
    )
    return config, fit_to_config(DRIT, config, weights, NAME, where)


def _content_encoder_patterns() -> list[tuple[str, str]]:
    """Return the key patterns of the content encoders."""
    layer_indices = {0: "0", 1: "2", 2: "5"}
    return [
        (r"enc_c\.conv_share\.0\.model\.([15])\.(\w+)", r"E_c.shared.body.\1.\2"),
        *(
            pattern
            for domain in "AB"
            for pattern in (
                *(
                    (rf"enc_c\.conv{domain}\.{n}\.model\.1\.(\w+)", rf"E_c.own.{DOMAINS[domain]}.{index}.\1")
                    for n, index in layer_indices.items()
                ),
                *(
                    (
                        rf"enc_c\.conv{domain}\.{n}\.model\.([15])\.(\w+)",
                        rf"E_c.own.{DOMAINS[domain]}.{n + 5}.body.\1.\2",
                    )
                    for n in (3, 4, 5)
                ),
            )
        ),
    ]


def _attribute_encoder_patterns() -> list[tuple[str, str]]:
    """Return the key patterns of the attribute encoders."""
    patterns = []
    for domain in "AB":
        prefix = f"E_a.{DOMAINS[domain]}"
        patterns += [
            (rf"enc_a\.fc_{domain}\.0\.(\w+)", rf"{prefix}.mean.\1"),
            (rf"enc_a\.fcVar_{domain}\.0\.(\w+)", rf"{prefix}.log_variance.\1"),
            (rf"enc_a\.conv_{domain}\.1\.(\w+)", rf"{prefix}.body.0.\1"),
        ]
        for block in (2, 3, 4):
            for source_layer, layer in ((r"conv\.2", "conv1"), (r"conv\.4\.1", "conv2"), (r"shortcut\.1", "shortcut")):
                patterns.append(
                    (rf"enc_a\.conv_{domain}\.{block}\.{source_layer}\.(\w+)", rf"{prefix}.body.{block - 1}.{layer}.\1")
                )
    for domain in "ab":
        prefix = f"E_a.{DOMAINS[domain]}"
        patterns += [
            (rf"enc_a\.model_{domain}\.{3 * n + 1}\.(\w+)", rf"{prefix}.style.body.{2 * n}.\1") for n in range(5)
        ]
        patterns.append((rf"enc_a\.model_{domain}\.16\.(\w+)", rf"{prefix}.style.head.\1"))
    return patterns


def _decoder_patterns() -> list[tuple[str, str]]:
    """Return the key patterns of both decoder variants: `concat` (dec1 to dec4) and `feature_wise` (dec1 to dec5)."""
    patterns = [(r"gen\.dec_share\.0\.model\.([15])\.(\w+)", r"G.shared.body.\1.\2")]
    for domain in "AB":
        source, prefix = rf"gen\.dec{domain}", f"G.own.{DOMAINS[domain]}"
        patterns += [(rf"{source}1\.(\d)\.model\.([15])\.(\w+)", rf"{prefix}.blocks.\1.body.\2.\3")]
        patterns += [(rf"gen\.mlp{domain}\.(\d)\.(\w+)", rf"{prefix}.mapping.\1.\2")]
        for block in range(4):
            patterns += [
                (rf"{source}{block + 1}\.conv([12])\.0\.1\.(\w+)", rf"{prefix}.blocks.{block}.conv\1.\2"),
                (rf"{source}{block + 1}\.blk([12])\.([02])\.(\w+)", rf"{prefix}.blocks.{block}.mix\1.\2.\3"),
            ]
        for level, stages in enumerate((("2\\.0", "5\\.0"), ("3\\.0", "5\\.1"))):
            for stage in stages:
                patterns += [
                    (rf"{source}{stage}\.model\.0\.(\w+)", rf"{prefix}.up.{level}.0.\1"),
                    (rf"{source}{stage}\.model\.1\.weight", rf"{prefix}.up.{level}.1.scale"),
                    (rf"{source}{stage}\.model\.1\.bias", rf"{prefix}.up.{level}.1.shift"),
                ]
        patterns.append((rf"{source}(?:4\.0|5\.2)\.(\w+)", rf"{prefix}.head.\1"))
    return patterns


def _discriminator_patterns(depth: int) -> list[tuple[str, str]]:
    """Return the key patterns of the discriminators, which have `depth` convolutions before the output layer."""
    patterns = [(r"disContent\.model\.4\.(\w+)", r"D_content.8.\1")]
    patterns += [(rf"disContent\.model\.{n}\.model\.1\.(\w+)", rf"D_content.{2 * n}.\1") for n in range(4)]
    for name in ("A", "A2", "B", "B2"):
        prefix = f"D_{name.lower()}"
        for n in range(depth):
            patterns.append((rf"dis{name}\.Diss\.(\d)\.{n}\.model\.1\.(\w+)", rf"{prefix}.nets.\1.{2 * n}.\2"))
            patterns.append((rf"dis{name}\.model\.{n}\.model\.1\.(\w+)", rf"{prefix}.nets.0.{2 * n}.\1"))
        patterns.append((rf"dis{name}\.Diss\.(\d)\.{depth}\.(\w+)", rf"{prefix}.nets.\1.{2 * depth}.\2"))
        patterns.append((rf"dis{name}\.model\.{depth}\.(\w+)", rf"{prefix}.nets.0.{2 * depth}.\1"))
    return patterns
