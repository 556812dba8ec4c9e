"""How often the 95 % intervals of a study cover the truth, in simulated studies of raters of known ability.

python benchmarks/study_coverage.py [--studies 300] [--processes 2]

Rates fooled, strengths (Bradley-Terry) and mean opinion scores, each with the interval of this project (over raters)
and with the usual one of independent votes. Then how many random clickers attention checks catch, and how many honest
participants they lose. Writes benchmarks/study_coverage.md.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np

from diptych.studies.choices import Choices, fit, strengths
from diptych.studies.design import Exclusion, design_of
from diptych.studies.opinion_scores import mean_opinion_scores
from diptych.studies.power import ATTENTIVE, attention_power
from diptych.studies.rater_bootstrap import estimates, weighted_mean

RATE, ICC, EACH = 0.25, 0.1, 40
STRENGTHS, SPREAD = np.array([0.6, 0.1, -0.2, -0.5]), 0.5
QUALITY, BIAS = 3.2, 0.4
TWO_SIDED = 1.96


def rates(random, raters, _):
    size = 1 / ICC - 1
    own = random.beta(RATE * size, (1 - RATE) * size, raters)
    votes = (random.random((raters, EACH)) < own[:, None]).ravel()
    [found] = estimates(np.repeat(np.arange(raters), EACH), weighted_mean(votes))
    half = TWO_SIDED * np.sqrt(votes.mean() * (1 - votes.mean()) / len(votes))
    return found.low <= RATE <= found.high, abs(votes.mean() - RATE) <= half


def choices(random, raters):
    own = STRENGTHS + random.normal(0, SPREAD, (raters, len(STRENGTHS)))
    rater = np.repeat(np.arange(raters), EACH)
    shown = np.argsort(random.random((len(rater), len(STRENGTHS))))[:, :2]
    scores = own[rater[:, None], shown] + random.gumbel(size=shown.shape)
    return Choices(tuple("abcd"), shown, np.eye(2)[scores.argmax(1)], rater)


def preferences(random, raters, truth):
    """The best method's strength; the naive interval takes each vote as a rater of its own."""
    votes = choices(random, raters)
    found = strengths(votes)[0]["a"]
    alone = Choices(votes.methods, votes.shown, votes.chosen, np.arange(len(votes.raters)))
    naive = strengths(alone, draws=100)[0]["a"]
    return found.low <= truth <= found.high, naive.low <= truth <= naive.high


def opinions(random, raters, truth):
    own = QUALITY + random.normal(0, BIAS, raters)
    scores = np.clip(np.rint(own[:, None] + random.normal(0, 0.7, (raters, EACH))), 1, 5).ravel()
    rater = np.repeat(np.arange(raters), EACH)
    found = mean_opinion_scores(scores, np.full(len(scores), "a"), rater, ("a",))["a"]
    half = TWO_SIDED * scores.std(ddof=1) / np.sqrt(len(scores))
    return found.low <= truth <= found.high, abs(scores.mean() - truth) <= half


def _mean_opinion():
    """The mean score of all participants, rounded and limited to the scale as answers are."""
    random = np.random.default_rng(1)
    return np.clip(np.rint(QUALITY + random.normal(0, np.hypot(BIAS, 0.7), 2_000_000)), 1, 5).mean()


def attention(checks):
    """Return the shares of random clickers who are caught and of honest participants who are lost."""
    return attention_power(design_of("pix2pix-2017", attention_checks=checks), methods=2)


KINDS = {"rate fooled": rates, "strength (Bradley-Terry)": preferences, "mean opinion score": opinions}


def covered(name, raters, studies, truth):
    """Return the shares of studies whose interval has the truth in it: over raters, and of independent votes."""
    random = np.random.default_rng(raters)
    return np.mean([KINDS[name](random, raters, truth) for _ in range(studies)], 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=300)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    many = choices(np.random.default_rng(5), 4000)
    truths = dict(zip(KINDS, (RATE, fit(many, np.ones((1, len(many.raters))))[0, 0], _mean_opinion()), strict=True))
    lines = [
        "# Coverage of the intervals of human studies",
        "",
        f"{options.studies} simulated studies for each row, {EACH} votes of each rater. Raters differ: rates fooled "
        f"with an intraclass correlation of {ICC}, strengths with a standard deviation of {SPREAD}, opinion scores of "
        f"{BIAS}. "
        f"Command: `python benchmarks/study_coverage.py --studies {options.studies}`.",
        "",
        "| measure | raters | intervals over raters | intervals of independent votes |",
        "|---|---|---|---|",
    ]
    with ProcessPoolExecutor(options.processes) as pool:
        cells = list(product(KINDS, (10, 25, 50)))
        found = [pool.submit(covered, name, raters, options.studies, truths[name]) for name, raters in cells]
        for (name, raters), future in zip(cells, found, strict=True):
            ours, naive = future.result()
            lines.append(f"| {name} | {raters} | {100 * ours:.1f} % | {100 * naive:.1f} % |")
            print(lines[-1], flush=True)
    lines += [
        "",
        f"Attention checks between two images, with the default rule (at least {Exclusion().min_attention:.0%} "
        f"correct, one failure allowed); honest participants answer {ATTENTIVE:.0%} of them attentively "
        f"and guess the rest:",
        "",
        "| checks | random clickers caught | honest participants lost |",
        "|---|---|---|",
    ]
    for checks in (4, 6, 10, 20):
        caught, lost = attention(checks)
        lines.append(f"| {checks} | {100 * caught:.1f} % | {100 * lost:.1f} % |")
    (Path(__file__).parent / "study_coverage.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
