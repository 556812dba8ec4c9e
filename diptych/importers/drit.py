"""Checkpoints of DRIT's public code (`01199.pth`, `last.pth`), which are DRIT++'s and MSGAN's too.

enc_c.conv{A,B}.I  enc_c.conv_share  enc_a.conv_{A,B}.I or enc_a.model_{a,b}.I  gen.dec{A,B}N  dis{A,A2,B,B2}
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
NETWORKS = ("enc_c", "enc_a", "gen")  # that translate
DOMAINS = {"A": 0, "B": 1, "a": 0, "b": 1}
# Biases before InstanceNorm have no effect.
IDLE = (
    r"enc_c\.conv[AB]\.[12]\.model\.1\.bias|enc_c\.(conv[AB]\.[345]|conv_share\.0)\.model\.[15]\.bias"
    r"|gen\.(dec_share\.0|dec[AB]1\.[012])\.model\.[15]\.bias|gen\.dec[AB][1-4]\.conv[12]\.0\.1\.bias"
)
LAST = re.compile(r"gen\.dec[AB](4\.0|5\.2)\.weight")  # 1x1 transposed convolutions: (in, out, 1, 1)


def fits(state: Mapping[str, Tensor]) -> bool:
    """Whether these are its keys."""
    return any(key.startswith("enc_c.convA.") for key in state)


def model(state: dict[str, Tensor], labels: Sequence[Labels], where: str) -> Conversion:
    """What `translate` needs of a file. Raises ImportRefused."""
    refuse_labels(labels, where)
    if missing := [net for net in NETWORKS if not any(key.startswith(f"{net}.") for key in state)]:
        raise ImportRefused(f"{where}: there is no {missing[0]}, without which DRIT translates nothing")
    config, found = recognise({key: value for key, value in state.items() if key.startswith(NETWORKS)}, where)
    return config, found, DRIT.inference_networks


def recognise(state: Mapping[str, Tensor], where: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Settings and weights under our names, of the networks that are there, encoders of contents at least.

    Raises ImportRefused.
    """
    try:
        concat = "gen.dec_share.0.model.1.weight" in state
        attributes = state["enc_a.fc_A.0.weight" if concat else "enc_a.model_a.16.weight"].shape[0]
        config: dict[str, Any] = {
            "in_channels": state["enc_c.convA.0.model.1.weight"].shape[1],
            "out_channels": state["enc_c.convB.0.model.1.weight"].shape[1],
            "ngf": state["enc_c.convA.0.model.1.weight"].shape[0],
            "attribute_injection": "concat" if concat else "feature_wise",
            "style_dim": attributes,
        }
        if "disA.Diss.0.0.model.1.weight" in state:
            first, layers = (
                state["disA.Diss.0.0.model.1.weight"],
                count_numbers(state, r"disA\.Diss\.0\.(\d+)\.model\."),
            )
            config |= {"num_scales": count_numbers(state, r"disA\.Diss\.(\d+)\."), "d_layers": layers}
            config |= {"ndf": first.shape[0], "d_kernel": first.shape[2]}
        elif "disA.model.0.model.1.weight" in state:
            first, layers = state["disA.model.0.model.1.weight"], count_numbers(state, r"disA\.model\.(\d+)\.model\.")
            config |= {"num_scales": 1, "d_layers": layers, "ndf": first.shape[0], "d_kernel": first.shape[2]}
    except (KeyError, IndexError) as error:
        raise refusal(error, "DRIT", where) from error
    turned = {key: value.transpose(0, 1) if LAST.fullmatch(key) else value for key, value in state.items()}
    found = rename_keys(turned, [*_content(), *_attributes(), *_decoders(), *_critics(config.get("d_layers", 0))], IDLE)
    return config, fit_to_config(DRIT, config, found, NAME, where)


def _content() -> list[tuple[str, str]]:
    places = {0: "0", 1: "2", 2: "5"}
    return [
        (r"enc_c\.conv_share\.0\.model\.([15])\.(\w+)", r"E_c.shared.body.\1.\2"),
        *(
            pair
            for domain in "AB"
            for pair in (
                *(
                    (rf"enc_c\.conv{domain}\.{n}\.model\.1\.(\w+)", rf"E_c.own.{DOMAINS[domain]}.{at}.\1")
                    for n, at in places.items()
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


def _attributes() -> list[tuple[str, str]]:
    found = []
    for domain in "AB":
        ours = f"E_a.{DOMAINS[domain]}"
        found += [
            (rf"enc_a\.fc_{domain}\.0\.(\w+)", rf"{ours}.mean.\1"),
            (rf"enc_a\.fcVar_{domain}\.0\.(\w+)", rf"{ours}.log_variance.\1"),
            (rf"enc_a\.conv_{domain}\.1\.(\w+)", rf"{ours}.body.0.\1"),
        ]
        for block in (2, 3, 4):
            for theirs, layer in ((r"conv\.2", "conv1"), (r"conv\.4\.1", "conv2"), (r"shortcut\.1", "shortcut")):
                found.append(
                    (rf"enc_a\.conv_{domain}\.{block}\.{theirs}\.(\w+)", rf"{ours}.body.{block - 1}.{layer}.\1")
                )
    for domain in "ab":
        ours = f"E_a.{DOMAINS[domain]}"
        found += [(rf"enc_a\.model_{domain}\.{3 * n + 1}\.(\w+)", rf"{ours}.style.body.{2 * n}.\1") for n in range(5)]
        found.append((rf"enc_a\.model_{domain}\.16\.(\w+)", rf"{ours}.style.head.\1"))
    return found


def _decoders() -> list[tuple[str, str]]:
    """Of both variants: with attributes beside the features (dec1 to dec4), and mixed into them (dec1 to dec5)."""
    found = [(r"gen\.dec_share\.0\.model\.([15])\.(\w+)", r"G.shared.body.\1.\2")]
    for domain in "AB":
        theirs, ours = rf"gen\.dec{domain}", f"G.own.{DOMAINS[domain]}"
        found += [(rf"{theirs}1\.(\d)\.model\.([15])\.(\w+)", rf"{ours}.blocks.\1.body.\2.\3")]
        found += [(rf"gen\.mlp{domain}\.(\d)\.(\w+)", rf"{ours}.mapping.\1.\2")]
        for block in range(4):
            found += [
                (rf"{theirs}{block + 1}\.conv([12])\.0\.1\.(\w+)", rf"{ours}.blocks.{block}.conv\1.\2"),
                (rf"{theirs}{block + 1}\.blk([12])\.([02])\.(\w+)", rf"{ours}.blocks.{block}.mix\1.\2.\3"),
            ]
        for level, places in enumerate((("2\\.0", "5\\.0"), ("3\\.0", "5\\.1"))):
            for place in places:
                found += [
                    (rf"{theirs}{place}\.model\.0\.(\w+)", rf"{ours}.up.{level}.0.\1"),
                    (rf"{theirs}{place}\.model\.1\.weight", rf"{ours}.up.{level}.1.scale"),
                    (rf"{theirs}{place}\.model\.1\.bias", rf"{ours}.up.{level}.1.shift"),
                ]
        found.append((rf"{theirs}(?:4\.0|5\.2)\.(\w+)", rf"{ours}.head.\1"))
    return found


def _critics(depth: int) -> list[tuple[str, str]]:
    found = [(r"disContent\.model\.4\.(\w+)", r"D_content.8.\1")]
    found += [(rf"disContent\.model\.{n}\.model\.1\.(\w+)", rf"D_content.{2 * n}.\1") for n in range(4)]
    for theirs in ("A", "A2", "B", "B2"):
        ours = f"D_{theirs.lower()}"
        for n in range(depth):
            found.append((rf"dis{theirs}\.Diss\.(\d)\.{n}\.model\.1\.(\w+)", rf"{ours}.nets.\1.{2 * n}.\2"))
            found.append((rf"dis{theirs}\.model\.{n}\.model\.1\.(\w+)", rf"{ours}.nets.0.{2 * n}.\1"))
        found.append((rf"dis{theirs}\.Diss\.(\d)\.{depth}\.(\w+)", rf"{ours}.nets.\1.{2 * depth}.\2"))
        found.append((rf"dis{theirs}\.model\.{depth}\.(\w+)", rf"{ours}.nets.0.{2 * depth}.\1"))
    return found
