"""What a study found: rates fooled, preferences, strengths, opinion scores, with and without exclusions."""

import csv
import io
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from diptych.errors import StudyError
from diptych.studies.agreement import Scale, krippendorff_alpha
from diptych.studies.choices import Choices, intransitive, strengths
from diptych.studies.design import REAL
from diptych.studies.detection import forced_choice_d_prime, holm, sign_test, yes_no_d_prime
from diptych.studies.opinion_scores import mean_opinion_scores, normalised
from diptych.studies.rater_bootstrap import MIN_RATERS, Estimate, estimates, weighted_mean
from diptych.studies.sessions import TIE
from diptych.studies.staircase import threshold
from diptych.studies.store import Answer
from diptych.studies.study_folder import StudyFolder
from diptych.studies.votes import Vote, excluded, votes_of

STRENGTHS = (
    "strengths of Bradley and Terry: 0.4 more is chosen in 60 % of pairs; position N is the strength of that position "
    "over the first"
)


@dataclass(frozen=True)
class Row:
    """One line of a result: a measure of a method, for one question."""

    question: str
    measure: str
    method: str
    estimate: Estimate


@dataclass(frozen=True)
class Comparison:
    """Raters who chose one method more often than the other, and the sign test's p value, adjusted by Holm."""

    question: str
    methods: tuple[str, str]
    raters: tuple[int, int]
    p: float


@dataclass(frozen=True)
class StudyResults:
    """The result of one set of raters."""

    raters: int
    votes: int
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...] = ()
    notes: tuple[str, ...] = ()

    def row(self, measure: str, method: str, question: str = "") -> Row:
        """Return the row of a measure and method, of the only question or a given one. Raises StudyError."""
        for row in self.rows:
            if (row.measure, row.method) == (measure, method) and question in ("", row.question):
                return row
        raise StudyError(f"the study has no {measure} of {method}")


@dataclass(frozen=True)
class Analysis:
    """The results without the excluded participants and with all, who was excluded and why, and wrong exposures."""

    study: StudyFolder
    included: StudyResults
    everyone: StudyResults
    reasons: dict[int, str]
    off: int  # votes with an exposure off by more than a frame
    shown: int  # votes
    joined: int  # participants


def analyse(study: StudyFolder, answers: Sequence[Answer], joined: int = 0) -> Analysis:
    """Return the analysis of all answers. Votes with an exposure off by more than a frame do not count.

    StudyError if fewer than two participants remain.
    """
    votes = votes_of(study, answers)
    due = (len(study.trials(1)) - study.design.practice) * len(study.design.questions)
    reasons = excluded(study.design, votes, due)
    raters = {vote.rater for vote in votes}
    kept = [vote for vote in votes if vote.rater not in reasons]
    if (count := len(raters - reasons.keys())) < MIN_RATERS:
        raise StudyError(
            f"{study.path}: {len(raters)} participants answered, {len(reasons)} of them are excluded by the rules of "
            f"the design; {count} remain, and an analysis needs at least {MIN_RATERS}. --simulated analyses the "
            f"answers of `diptych study simulate`"
        )
    return Analysis(
        study,
        included=results_of(study, kept),
        everyone=results_of(study, votes),
        reasons=reasons,
        off=sum(vote.off for vote in votes),
        shown=len(votes),
        joined=joined or len(raters),
    )


def results_of(study: StudyFolder, votes: Sequence[Vote]) -> StudyResults:
    """Return the results of the main trials."""
    main = [vote for vote in votes if vote.phase == "main" and not vote.off]
    kinds: dict[str, Callable[[StudyFolder, str, Sequence[Vote]], StudyResults]] = {
        "real_or_fake": _detection,
        "a_b": _preference,
        "best_of_n": _preference,
        "opinion_score": _opinion,
    }
    measure = _thresholds if study.design.staircase else kinds[study.design.kind]
    parts = [
        measure(study, question.key, [vote for vote in main if vote.question == question.key])
        for question in study.design.questions
    ]
    by_question = zip(study.design.questions, parts, strict=True)
    notes = [(question.key, note) for question, part in by_question for note in part.notes]
    several = len(parts) > 1
    return StudyResults(
        len({vote.rater for vote in votes}),
        len(main),
        tuple(row for part in parts for row in part.rows),
        tuple(each for part in parts for each in part.comparisons),
        (*(f"{key}: {note}" if several else note for key, note in notes), *_test_retest(votes)),
    )


def _test_retest(votes: Sequence[Vote]) -> list[str]:
    """Return how often the same image was chosen when a trial was repeated, with the sides exchanged."""
    chosen = {(vote.rater, vote.trial, vote.question): _chosen(vote) for vote in votes}
    pairs = [
        (_chosen(vote), chosen.get((vote.rater, vote.repeats, vote.question)))
        for vote in votes
        if vote.repeats is not None
    ]
    if not pairs:
        return []
    same = sum(first == second for first, second in pairs)
    return [f"repeated trials: the same answer in {same} of {len(pairs)}"]


def _chosen(vote: Vote) -> Hashable:
    """Return the image that was chosen; the answer itself for ties, scores and single images."""
    return vote.shown[vote.answer] if len(vote.shown) > 1 and vote.answer != TIE else vote.answer


def _detection(study: StudyFolder, question: str, votes: Sequence[Vote]) -> StudyResults:
    """Rate fooled of each method, with d'; for single images also the rate of real images called fake."""
    rows: list[Row | None] = []
    notes: list[str] = []
    sensitivities: list[str] = []
    is_single = study.design.presentation == "single"
    reals = [vote for vote in votes if is_single and vote.shown[0].arm == REAL]
    for method in study.table.methods:
        own = [vote for vote in votes if method in [each.arm for each in vote.shown]]
        if not own:
            continue
        fooled = np.array([vote.answer != vote.correct for vote in own])
        rows.append(_rate(question, "rate fooled", method, fooled, own, notes))
        if is_single:
            alarms = sum(vote.answer == 1 for vote in reals)
            d_prime = yes_no_d_prime(int((~fooled).sum()), len(own), alarms, len(reals))[0]
        else:
            d_prime = forced_choice_d_prime(int((~fooled).sum()), len(own))
        sensitivities.append(f"{method} {d_prime:.2f}")
    if reals:
        called = np.array([vote.answer == 1 for vote in reals])
        rows.append(_rate(question, "called fake", REAL, called, reals, notes))
    notes.append(f"sensitivity d' (0: nobody tells the images from real ones): {', '.join(sensitivities) or 'none'}")
    units = [f"{vote.shown[0]}{vote.shown[-1]}" if is_single else str(sorted(map(str, vote.shown))) for vote in votes]
    notes.extend(_agreement([vote.answer == vote.correct for vote in votes], units))
    return StudyResults(0, 0, tuple(row for row in rows if row), (), tuple(notes))


def _thresholds(study: StudyFolder, question: str, votes: Sequence[Vote]) -> StudyResults:
    """Exposure that raters need to tell the images of each method from real ones, by a staircase."""
    design, notes = study.design, list[str]()
    assert design.staircase is not None
    up, down = design.staircase.up_ms, design.staircase.down_ms
    by_rater: dict[int, list[Vote]] = {}
    for vote in votes:
        by_rater.setdefault(vote.rater, []).append(vote)
    rows: list[Row | None] = []
    for method in study.table.methods:
        own = [each for each in by_rater.values() if method in {vote.shown[0].arm for vote in each}]
        values = [
            threshold(design, [vote.trial for vote in each], [vote.exposure_ms or 0 for vote in each]) for each in own
        ]
        if own:
            of_votes = np.repeat(values, [len(each) for each in own])
            flat = [vote for each in own for vote in each]
            rows.append(_rate(question, "threshold in ms", method, of_votes, flat, notes))
    right = sum(vote.answer == vote.correct for vote in votes) / max(len(votes), 1)
    notes.append(f"{right:.0%} of answers are right; the staircase holds {up / (up + down):.0%} within its limits")
    return StudyResults(0, 0, tuple(row for row in rows if row), (), tuple(notes))


def _rate(
    question: str, measure: str, method: str, values: np.ndarray, votes: Sequence[Vote], notes: list[str]
) -> Row | None:
    raters = np.array([vote.rater for vote in votes])
    if len(set(raters.tolist())) < MIN_RATERS:
        notes.append(f"{method}: one participant only; no interval")
        return None
    return Row(question, measure, method, estimates(raters, weighted_mean(values))[0])


def _preference(study: StudyFolder, question: str, votes: Sequence[Vote]) -> StudyResults:
    """Share of trials in which each method was chosen, its strength, and sign tests of pairs."""
    if not votes:
        return StudyResults(0, 0, (), (), ("no answers",))
    methods = study.table.methods
    index = {name: at for at, name in enumerate(methods)}
    shown = np.array([[index[each.arm] for each in vote.shown] for vote in votes])
    positions = shown.shape[1]
    chosen = np.array(
        [np.full(positions, 1 / positions) if vote.answer == TIE else np.eye(positions)[vote.answer] for vote in votes]
    )
    raters = np.array([vote.rater for vote in votes])
    rows = []
    for name in methods:
        has = (shown == index[name]).any(1)
        share = (chosen * (shown == index[name])).sum(1)[has]
        rows.append(Row(question, "chosen", name, estimates(raters[has], weighted_mean(share))[0]))
    choices = Choices(methods, shown, chosen, raters)
    found, positional = strengths(choices)
    rows += [Row(question, "strength", name, estimate) for name, estimate in found.items()]
    rows += [Row(question, f"position {at}", "", estimate) for at, estimate in enumerate(positional, 2)]
    notes = [STRENGTHS, *(f"{' > '.join(circle)} > {circle[0]}: no order fits" for circle in intransitive(choices))]
    units = [vote.shown[0].image + str(sorted(each.arm for each in vote.shown)) for vote in votes]
    named = [vote.shown[vote.answer].arm if vote.answer != TIE else "" for vote in votes]
    return StudyResults(0, 0, tuple(rows), _sign_tests(question, choices), (*notes, *_agreement(named, units)))


def _sign_tests(question: str, choices: Choices) -> tuple[Comparison, ...]:
    """Return for each pair of methods how many raters chose the one more often than the other."""
    pairs, counts = [], []
    for one in range(len(choices.methods)):
        for other in range(one + 1, len(choices.methods)):
            both = (choices.shown == one).any(1) & (choices.shown == other).any(1)
            lead = (choices.chosen * ((choices.shown == one) * 1.0 - (choices.shown == other))).sum(1)
            sums = [lead[both & (choices.raters == rater)].sum() for rater in np.unique(choices.raters)]
            pairs.append((choices.methods[one], choices.methods[other]))
            counts.append((sum(value > 0 for value in sums), sum(value < 0 for value in sums)))
    adjusted = holm([sign_test(first, first + second) for first, second in counts])
    return tuple(
        Comparison(question, pair, (int(first), int(second)), p)
        for pair, (first, second), p in zip(pairs, counts, adjusted, strict=True)
    )


def _opinion(study: StudyFolder, question: str, votes: Sequence[Vote]) -> StudyResults:
    """Mean opinion score of each method, as given and normalised per rater."""
    scores = np.array([vote.answer for vote in votes], float)
    arms, raters = np.array([vote.shown[0].arm for vote in votes]), np.array([vote.rater for vote in votes])
    names = tuple(name for name in (*study.table.methods, REAL) if name in arms)
    rows = [
        Row(question, measure, name, estimate)
        for measure, values in (("MOS", scores), ("MOS, normalised", normalised(scores, raters)))
        for name, estimate in mean_opinion_scores(values, arms, raters, names).items()
    ]
    units = [f"{vote.shown[0].arm}/{vote.shown[0].image}" for vote in votes]
    return StudyResults(0, 0, tuple(rows), (), tuple(_agreement([vote.answer for vote in votes], units, "ordinal")))


def _agreement(answers: Sequence[Hashable], units: Sequence[str], scale: Scale = "nominal") -> list[str]:
    try:
        alpha = krippendorff_alpha(answers, units, scale)
    except StudyError:
        return ["agreement: no image has the answers of two participants"]
    return [f"agreement of participants: Krippendorff's alpha {alpha:.2f} (0: as by chance, 1: complete)"]


def as_csv(analysis: Analysis, simulated: bool = False) -> str:
    """Return the rows of both sets of participants as CSV; `participants` says whether they are simulated."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["participants", "question", "measure", "method", "value", "low", "high", "votes", "raters"])
    kind = "simulated, " if simulated else ""
    for name, part in ((f"{kind}included", analysis.included), (f"{kind}all", analysis.everyone)):
        for row in part.rows:
            each = row.estimate
            numbers = [f"{value:.6g}" for value in (each.value, each.low, each.high)]
            writer.writerow([name, row.question, row.measure, row.method, *numbers, each.votes, each.raters])
    return text.getvalue()
