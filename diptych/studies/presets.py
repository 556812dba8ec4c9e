"""The published studies by name: what the papers say of them; the rest are defaults of `Design`.

Numbers of raters are those of one method where each rater sees one.
"""

from typing import Any

FAKE = {"key": "fake", "text": {"en": "Which image is fake?", "zh": "哪张图像是生成的？"}}
REAL = {"key": "real", "text": {"en": "Which image is real?", "zh": "哪张图像是真实的？"}}
REAL_OR_FAKE = {"key": "fake", "text": {"en": "Is this image real or fake?", "zh": "这张图像是真实的还是生成的？"}}
TIMED = {
    "kind": "real_or_fake",
    "presentation": "sequential",
    "exposure_ms": 1000,
    "practice": 10,
    "trials": 40,
    "one_method_each": True,
}

PRESETS: dict[str, dict[str, Any]] = {
    # Zhang, Isola, Efros 2016: 4 of the 40 pairs are a real image beside itself with the colours of another; the paper
    # reports the share of passed ones (87 %) and excludes nobody by them
    "colorization-2016": {
        **TIMED,
        "questions": [FAKE],
        "ask_for": "fake",
        "trials": 36,
        "attention_checks": 4,
        "obvious": "random_colours",
        "raters": 40,
        "exclude": {"min_attention": 0},
    },
    # Isola et al. 2017
    "pix2pix-2017": {**TIMED, "questions": [FAKE], "ask_for": "fake", "raters": 50},
    # Zhu et al. 2017
    "cyclegan-2017": {**TIMED, "questions": [REAL], "ask_for": "real", "raters": 25},
    # Choi et al. 2018: 30 or 40 questions, and a few logical questions to validate the worker; six is our choice
    "stargan-2018": {
        "kind": "best_of_n",
        "presentation": "side_by_side",
        "questions": [
            {
                "key": "best",
                "text": {
                    "en": "Which image is the best? Consider how real it looks, how well the attribute was changed, "
                    "and whether it shows the same person.",
                    "zh": "哪张图像最好？请考虑图像是否逼真、属性改变得是否到位，以及是否仍是同一个人。",
                },
                "show_input": True,
            }
        ],
        "ask_for": "better",
        "exposure_ms": None,
        "practice": 0,
        "trials": 40,
        "attention_checks": 6,
        "raters": 146,
    },
    # Choi et al. 2020: quality and style are asked of the same images
    "starganv2-2020": {
        "kind": "best_of_n",
        "presentation": "side_by_side",
        "questions": [
            {
                "key": "quality",
                "text": {"en": "Which image has the best quality?", "zh": "哪张图像的质量最好？"},
                "show_input": True,
            },
            {
                "key": "style",
                "text": {
                    "en": "Which image shows the style of the reference best?",
                    "zh": "哪张图像最符合参考图像的风格？",
                },
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
        "questions": [
            {
                "key": "quality",
                "text": {
                    "en": "How good is the quality of this image? 1 is bad, 5 is excellent.",
                    "zh": "这张图像的质量如何？1 表示很差，5 表示极好。",
                },
            }
        ],
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
        "questions": [REAL_OR_FAKE],
        "ask_for": "fake",
        "exposure_ms": None,
        "practice": 10,
        "trials": 100,
        "one_method_each": True,
        "raters": 30,
    },
    # Zhou et al. 2019: three blocks of 150 images, half of them real, each block from 500 ms, with feedback. The paper
    # aims at 75 % right answers, but says that a wrong answer adds 10 ms and a right one takes off 30 ms, which would
    # hold 25 %: the steps are the other way round here. A cross of the same time replaces the countdown of three
    # numbers, and noise until the answer the four masks of 30 ms.
    "hype-time": {
        "kind": "real_or_fake",
        "presentation": "single",
        "questions": [REAL_OR_FAKE],
        "ask_for": "fake",
        "exposure_ms": 500,
        "staircase": {"blocks": 3, "up_ms": 30, "down_ms": 10, "min_ms": 100, "max_ms": 1000},
        "fixation_ms": 1500,
        "mask": "noise",
        "practice": 0,
        "trials": 450,
        "break_every": 150,
        "one_method_each": True,
        "raters": 30,
    },
}
