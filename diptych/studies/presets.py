"""The published studies by name: what the papers say of them; the rest are defaults of `Design`.

Numbers of raters are those of one method where each rater sees one.
"""

from typing import Any

FAKE = {"key": "fake", "text": "Which image is fake?"}
REAL = {"key": "real", "text": "Which image is real?"}
TIMED = {
    "kind": "real_or_fake",
    "presentation": "sequential",
    "exposure_ms": 1000,
    "practice": 10,
    "trials": 40,
    "one_method_each": True,
}

PRESETS: dict[str, dict[str, Any]] = {
    # Zhang, Isola, Efros 2016: 10 % of the trials are against random colours
    "colorization-2016": {**TIMED, "questions": [FAKE], "ask_for": "fake", "attention_checks": 4, "raters": 40},
    # Isola et al. 2017
    "pix2pix-2017": {**TIMED, "questions": [FAKE], "ask_for": "fake", "raters": 50},
    # Zhu et al. 2017
    "cyclegan-2017": {**TIMED, "questions": [REAL], "ask_for": "real", "raters": 25},
    # Choi et al. 2018: 30 or 40 questions, and a few logical questions to validate the worker
    "stargan-2018": {
        "kind": "best_of_n",
        "presentation": "side_by_side",
        "questions": [
            {
                "key": "best",
                "text": "Which image is the best? Consider how real it looks, how well the attribute was changed, and "
                "whether it shows the same person.",
                "show_input": True,
            }
        ],
        "ask_for": "better",
        "exposure_ms": None,
        "practice": 0,
        "trials": 40,
        "attention_checks": 3,
        "raters": 146,
    },
    # Choi et al. 2020: quality and style are asked of the same images
    "starganv2-2020": {
        "kind": "best_of_n",
        "presentation": "side_by_side",
        "questions": [
            {"key": "quality", "text": "Which image has the best quality?", "show_input": True},
            {
                "key": "style",
                "text": "Which image shows the style of the reference best?",
                "show_input": True,
                "show_reference": True,
            },
        ],
        "ask_for": "better",
        "exposure_ms": None,
        "practice": 0,
        "trials": 100,
        "attention_checks": 5,
        "raters": 10,
    },
    # Ledig et al. 2017: raters are calibrated with 20 images enlarged by nearest neighbour (1) and real ones (5)
    "srgan-mos-2017": {
        "kind": "opinion_score",
        "presentation": "single",
        "questions": [{"key": "quality", "text": "How good is the quality of this image? 1 is bad, 5 is excellent."}],
        "ask_for": "better",
        "exposure_ms": None,
        "practice": 20,
        "trials": 1128,
        "raters": 26,
        "exclude": {"bt500": True},
    },
    # Zhou et al. 2019: 100 images, half of them real, without a limit of time
    "hype-infinity": {
        "kind": "real_or_fake",
        "presentation": "single",
        "questions": [{"key": "fake", "text": "Is this image real or fake?"}],
        "ask_for": "fake",
        "exposure_ms": None,
        "practice": 10,
        "trials": 100,
        "one_method_each": True,
        "raters": 30,
    },
}
