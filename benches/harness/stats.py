"""Medians, ratios, and whether the machine was quiet enough to believe them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

NOISY_SPREAD = 0.15
"""The limit program does the same work every time: when its own figure varies more than this, others' do too."""
NOISY_FOREIGN = 0.05
"""Share of one core that processes outside the benchmark may take before it is called noise."""


@dataclass(frozen=True)
class Summary:
    """Several rounds' figures."""

    median: float
    low: float
    high: float
    rounds: int

    @property
    def spread(self) -> float:
        """(highest - lowest) / median."""
        return (self.high - self.low) / self.median if self.median else 0.0


def summarize(values: list[float]) -> Summary:
    """Of at least one figure."""
    return Summary(statistics.median(values), min(values), max(values), len(values))


def ratio(value: float | None, to: float | None) -> float | None:
    """`value / to` where both are known and `to` is not 0."""
    if value is None or not to:
        return None
    return value / to


@dataclass(frozen=True)
class Noise:
    """How far the figures can be trusted."""

    spread: float | None
    """Of the limit program over the rounds, the worst of its cases; none with fewer than 2 rounds."""
    foreign: float | None
    """Cores' worth of CPU that others took, the median over all measurements."""

    @property
    def noisy(self) -> bool:
        return (self.spread or 0.0) > NOISY_SPREAD or (self.foreign or 0.0) > NOISY_FOREIGN

    def verdict(self) -> str:
        """One line for people."""
        spread = "cannot be judged (it takes the limit and several rounds)" if self.spread is None else f"varied by {self.spread:.0%}"
        foreign = "an unknown share" if self.foreign is None else f"{self.foreign:.0%}"
        facts = f"the limit program's own figure {spread}, other processes took {foreign} of a core"
        if self.noisy:
            return f"TOO NOISY, do not trust these figures: {facts} (more than {NOISY_SPREAD:.0%} or {NOISY_FOREIGN:.0%} is noise)"
        return f"quiet enough: {facts}"


def judge(limit: list[list[float]], foreign: list[float]) -> Noise:
    """`limit`: for each of the limit program's cases, its figure in each round."""
    spreads = [summarize(values).spread for values in limit if len(values) > 1]
    return Noise(max(spreads, default=None), statistics.median(foreign) if foreign else None)
