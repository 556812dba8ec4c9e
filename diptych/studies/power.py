"""What a budget of votes can show, before the study: width of intervals and power, with votes clustered by rater.

The variance of a rate from raters with m trials each is 1 + (m - 1) ICC times that of independent votes (the design
effect), where the intraclass correlation ICC says how alike the answers of one rater are.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

from diptych.errors import ConfigError
from diptych.studies.design import Design

ATTENTIVE = 0.97  # probability that an honest participant looks at an attention check; else they guess
ICC = 0.05  # a usual value for real-or-fake answers of crowd workers
NORMAL = NormalDist()


@dataclass(frozen=True)
class Budget:
    """A number of raters, votes of each, and the intraclass correlation of votes. ConfigError for invalid values."""

    raters: int
    votes_each: int
    icc: float = ICC

    def __post_init__(self) -> None:
        if self.raters < 2 or self.votes_each < 1:
            raise ConfigError(f"{self.raters} raters with {self.votes_each} votes each: expected at least 2 and 1")
        if not 0 <= self.icc <= 1:
            raise ConfigError(f"icc={self.icc}: an intraclass correlation is between 0 and 1")

    @property
    def design_effect(self) -> float:
        return 1 + (self.votes_each - 1) * self.icc

    @property
    def effective_votes(self) -> float:
        """Number of independent votes that would say as much."""
        return self.raters * self.votes_each / self.design_effect


def half_width(budget: Budget, rate: float = 0.5) -> float:
    """Return half of the 95 % interval of a rate."""
    return NORMAL.inv_cdf(0.975) * math.sqrt(rate * (1 - rate) / budget.effective_votes)


def power(budget: Budget, rate: float, chance: float = 0.5) -> float:
    """Return the probability that a two-sided test at 5 % tells `rate` from `chance`."""
    error = math.sqrt(chance * (1 - chance) / budget.effective_votes)
    spread = math.sqrt(rate * (1 - rate) / budget.effective_votes)
    limit = NORMAL.inv_cdf(0.975) * error
    return NORMAL.cdf((abs(rate - chance) - limit) / spread) + NORMAL.cdf((-abs(rate - chance) - limit) / spread)


def votes_needed(rate: float, chance: float = 0.5, wanted: float = 0.8, votes_each: int = 1, icc: float = ICC) -> int:
    """Return the number of votes in total that tell `rate` from `chance` with power `wanted`.

    ConfigError if the rates are equal.
    """
    if rate == chance:
        raise ConfigError(f"a rate of {rate} cannot be told from {chance}: give the smallest difference that matters")
    spread = math.sqrt(rate * (1 - rate)), math.sqrt(chance * (1 - chance))
    independent = ((NORMAL.inv_cdf(0.975) * spread[1] + NORMAL.inv_cdf(wanted) * spread[0]) / (rate - chance)) ** 2
    return math.ceil(independent * (1 + (votes_each - 1) * icc))


def attention_power(design: Design, methods: int) -> tuple[float, float]:
    """Return the shares of random clickers that attention checks exclude, and of honest participants."""
    checks = design.attention_checks * len(design.questions)
    if design.kind == "opinion_score":
        chance = 2 / (design.scores[1] - design.scores[0] + 1)  # the lowest score and the next are correct
    else:
        chance = 1 / (methods if design.kind == "best_of_n" else 2)
    honest = ATTENTIVE + (1 - ATTENTIVE) * chance

    def excluded(correct: float) -> float:
        needed = checks - design.exclude.failures_allowed(checks)
        return sum(math.comb(checks, n) * correct**n * (1 - correct) ** (checks - n) for n in range(needed))

    return excluded(chance), excluded(honest)


def planned(design: Design, methods: int) -> str:
    """Return what the planned participants of a design can show, as a line for people."""
    raters = design.raters * (methods if design.one_method_each else 1)
    line = f"{raters} participants"
    if design.attention_checks and design.exclude.min_attention:
        line += ", of whom attention checks exclude {:.0%} if they click at random and {:.1%} if honest".format(
            *attention_power(design, methods)
        )
    if design.kind == "opinion_score" or design.staircase:
        return line
    shared = design.kind == "real_or_fake" and not design.one_method_each  # a trial is about one of the methods
    budget = Budget(max(design.raters, 2), max(design.trials // (methods if shared else 1), 1))
    return f"{line}; the rate of a method is then known to within {100 * half_width(budget):.1f} points"
