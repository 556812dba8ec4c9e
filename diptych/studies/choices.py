"""Strengths of methods from choices between them: Bradley-Terry for pairs, Luce's rule for the best of several.

The probability to choose method i at position p of a trial is proportional to exp(strength_i + position_p). Strengths
have a mean of 0; the position term (0 for the first) takes up a preference for a side. A tie counts half for each.

Source: Bradley and Terry (1952), with the order effect of Davidson and Beaver (1977); Luce (1959).
"""

from dataclasses import dataclass, replace

import numpy as np

from diptych.errors import StudyError
from diptych.studies.rater_bootstrap import DRAWS, Estimate, estimates

RIDGE = 1e-2  # of a normal prior: strengths have the mean 0, and are finite where a method wins or loses all its trials
MAX_STEPS = 100
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Choices:
    """Trials in which a rater chose among the same number of methods.

    shown: index of the method at each position (N, P), all of a trial distinct. chosen: share of the choice of each
    position (N, P): 1 for the chosen, or 0.5 for both of a tie. raters: (N,).
    """

    methods: tuple[str, ...]
    shown: np.ndarray
    chosen: np.ndarray
    raters: np.ndarray

    def __post_init__(self) -> None:
        if self.shown.ndim != 2 or self.shown.shape[1] < 2 or self.shown.shape != self.chosen.shape:
            raise StudyError(
                f"choices: expected two arrays (trials, at least 2 positions), got {self.shown.shape} and "
                f"{self.chosen.shape}"
            )
        if not len(self.shown):
            raise StudyError("choices: there are no trials")
        if not np.allclose(self.chosen.sum(1), 1):
            raise StudyError("choices: the shares of a trial's choice do not add up to 1")
        if unlinked := self._unlinked():
            raise StudyError(
                f"choices: {', '.join(unlinked)} was never compared, directly or through others, with "
                f"{self.methods[0]}; strengths of such methods are not comparable"
            )

    def _unlinked(self) -> list[str]:
        """Return the methods that no chain of trials connects with the first."""
        linked = {0}
        while True:
            trials = np.isin(self.shown, list(linked)).any(1)
            reached = linked | set(self.shown[trials].ravel().tolist())
            if reached == linked:
                return [name for index, name in enumerate(self.methods) if index not in linked]
            linked = reached


def strengths(choices: Choices, draws: int = DRAWS) -> tuple[dict[str, Estimate], list[Estimate]]:
    """Return the strength of each method, and the term of each position after the first, with intervals over raters.

    A difference of 0.4 means a choice of 60 % in a pair. draws: of raters. StudyError for fewer than two raters.
    """
    trials = np.concatenate([choices.shown, choices.chosen], axis=1)
    _, first, kind = np.unique(trials, axis=0, return_index=True, return_inverse=True)  # equal trials count together
    distinct = replace(
        choices, shown=choices.shown[first], chosen=choices.chosen[first], raters=np.asarray(choices.raters)[first]
    )
    kind = kind.reshape(-1)

    def parameters(weights: np.ndarray) -> np.ndarray:
        return fit(distinct, np.stack([np.bincount(kind, row, len(first)) for row in weights]))

    found = estimates(choices.raters, parameters, draws, batched=True)
    count = len(choices.methods)
    return dict(zip(choices.methods, found[:count], strict=True)), found[count:]


def fit(choices: Choices, weights: np.ndarray) -> np.ndarray:
    """Return strengths and position terms (K, methods + positions - 1) of maximum likelihood, with a weak prior.

    weights: of each trial (K, N), for K fits. Newton's method; the likelihood is concave.
    """
    features = _features(choices)
    trials, positions, terms = features.shape
    flat = features.reshape(-1, terms)
    fits = len(weights)
    parameters = np.zeros((fits, terms))
    inverse = np.divide(1, weights, out=np.zeros_like(weights), where=weights > 0)
    for _ in range(MAX_STEPS):
        scores = (parameters @ flat.T).reshape(fits, trials, positions)
        probabilities = np.exp(scores - scores.max(2, keepdims=True))
        probabilities *= (weights / probabilities.sum(2))[..., None]  # sum to the weight of each trial
        gradient = (weights[..., None] * choices.chosen - probabilities).reshape(fits, -1) @ flat - RIDGE * parameters
        means = np.einsum("knp,npt->knt", probabilities, features)
        spread = (probabilities.reshape(fits, -1, 1) * flat).swapaxes(1, 2) @ flat
        spread -= means.swapaxes(1, 2) @ (means * inverse[..., None])
        step = np.linalg.solve(spread + RIDGE * np.eye(terms), gradient[..., None])[..., 0]
        parameters = parameters + step
        if np.abs(step).max() < TOLERANCE:
            break
    return parameters


def _features(choices: Choices) -> np.ndarray:
    """Return (N, P, methods + positions - 1): which method and which position a choice is."""
    trials, positions = choices.shown.shape
    features = np.zeros((trials, positions, len(choices.methods) + positions - 1))
    np.put_along_axis(features, choices.shown[..., None], 1, axis=2)
    features[:, np.arange(1, positions), len(choices.methods) + np.arange(positions - 1)] = 1
    return features


def intransitive(choices: Choices) -> list[tuple[str, str, str]]:
    """Return the triples of methods of which each beats the next in most trials: no order of strength fits them."""
    count = len(choices.methods)
    wins = np.zeros((count, count))
    for trial, chosen in zip(choices.shown, choices.chosen, strict=True):
        for winner, share in zip(trial, chosen, strict=True):
            wins[winner, trial] += share
    beats = wins > wins.T
    return [
        (choices.methods[i], choices.methods[j], choices.methods[k])
        for i in range(count)
        for j in range(count)
        for k in range(count)
        if i < min(j, k) and beats[i, j] and beats[j, k] and beats[k, i]
    ]
