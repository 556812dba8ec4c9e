"""How often the 95 % intervals of a study cover the truth, in simulated studies of raters of known ability.

python benchmarks/study_coverage.py [--studies 300]

Rates fooled, strengths (Bradley-Terry) and mean opinion scores, each with the interval of this project (over raters)
and with the usual one of independent votes. Then how many random clickers attention checks catch, and how many honest
participants they lose. Writes benchmarks/study_coverage.md.
"""

import argparse
from pathlib import Path

import numpy as np

from diptych.studies.choices import Choices, fit, strengths
from diptych.studies.design import Exclusion
from diptych.studies.opinion_scores import mean_opinion_scores
from diptych.studies.rater_bootstrap import estimates, weighted_mean
from diptych.studies.simulate import ATTENTIVE

RATE, ICC, EACH = 0.25, 0.1, 40
STRENGTHS, SPREAD = np.array([0.6, 0.1, -0.2, -0.5]), 0.5
QUALITY, BIAS = 3.2, 0.4
TWO_SIDED = 1.96


def rates(random, raters):
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
    naive = estimates(alone.raters, lambda weights: fit(alone, weights)[0], draws=100)[0]
    return found.low <= truth <= found.high, naive.low <= truth <= naive.high


def opinions(random, raters):
    own = QUALITY + random.normal(0, BIAS, raters)
    scores = np.clip(np.rint(own[:, None] + random.normal(0, 0.7, (raters, EACH))), 1, 5).ravel()
    rater = np.repeat(np.arange(raters), EACH)
    found = mean_opinion_scores(scores, np.full(len(scores), "a"), rater, ("a",))["a"]
    half = TWO_SIDED * scores.std(ddof=1) / np.sqrt(len(scores))
    truth = _mean_opinion()
    return found.low <= truth <= found.high, abs(scores.mean() - truth) <= half


def _mean_opinion():
    """The mean score of all participants, rounded and limited to the scale as answers are."""
    random = np.random.default_rng(1)
    return np.clip(np.rint(QUALITY + random.normal(0, np.hypot(BIAS, 0.7), 2_000_000)), 1, 5).mean()


def attention(checks):
    """Return the shares of random clickers who are caught and of honest participants who are lost."""
    needed = int(np.ceil(Exclusion().min_attention * checks - 1e-9))
    random, count = np.random.default_rng(0), 100_000
    honest = ATTENTIVE + (1 - ATTENTIVE) / 2  # who slips, guesses
    passes = {p: (random.random((count, checks)) < p).sum(1) >= needed for p in (0.5, honest)}
    return 1 - passes[0.5].mean(), 1 - passes[honest].mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=300)
    studies = parser.parse_args().studies
    many = choices(np.random.default_rng(5), 4000)
    truth = fit(many, np.ones(len(many.raters)))[0]
    kinds = {
        "rate fooled": rates,
        "strength (Bradley-Terry)": lambda random, raters: preferences(random, raters, truth),
        "mean opinion score": opinions,
    }
    lines = [
        "# Coverage of the intervals of human studies",
        "",
        f"{studies} simulated studies for each row, {EACH} votes of each rater. Raters differ: rates fooled with an "
        f"intraclass correlation of {ICC}, strengths with a standard deviation of {SPREAD}, opinion scores of {BIAS}. "
        f"Command: `python benchmarks/study_coverage.py`.",
        "",
        "| measure | raters | intervals over raters | intervals of independent votes |",
        "|---|---|---|---|",
    ]
    for name, simulate in kinds.items():
        for raters in (10, 25, 50):
            random = np.random.default_rng(raters)
            covered = np.mean([simulate(random, raters) for _ in range(studies)], 0)
            lines.append(f"| {name} | {raters} | {100 * covered[0]:.1f} % | {100 * covered[1]:.1f} % |")
            print(lines[-1], flush=True)
    lines += [
        "",
        f"Attention checks between two images, with the default rule (at least {Exclusion().min_attention:.0%} "
        f"correct); honest participants answer {ATTENTIVE:.0%} of them attentively and guess the rest:",
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
