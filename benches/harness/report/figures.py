"""The ratios that anypop is built for, where a run has what they need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.cases import Case
from harness.memory import Weight
from harness.report import ANYPOP, LIMIT, NGINX, Run


@dataclass(frozen=True)
class Figure:
    """One of anypop's figures and what it should be."""

    title: str
    value: float
    aim: float
    at_least: bool
    unit: str = ""

    @property
    def direction(self) -> str:
        return "at least" if self.at_least else "at most"

    @property
    def met(self) -> bool:
        return self.value >= self.aim if self.at_least else self.value <= self.aim


def figures(run: Run) -> Iterator[Figure]:
    """Those that this run can tell."""
    for case in run.cases:
        yield from _of_rate(run, case)
        yield from _of_cpu(run, case)
        yield from _of_latency(run, case)
    for kind, aim in (("h1", 8.0), ("tls", 24.0)):
        weight = run.idle.get((kind, ANYPOP))
        if isinstance(weight, Weight):
            yield Figure(f"memory for each idle connection, {kind}", weight.each / 1024, aim, False, " KiB")


def rate_aim(case: Case) -> tuple[str, float] | None:
    """With whom anypop's rate is compared, and the least ratio; none where no aim is set."""
    if case.group == "hit":
        return ("best", 1.0 if case.object == "1m" else 1.25)
    if case.group in ("hit-tls", "hit-h2"):
        return ("best", 1.15)
    if case.group == "miss":
        return (NGINX, 1.0)
    return None


def _of_rate(run: Run, case: Case) -> Iterator[Figure]:
    aim = rate_aim(case)
    own = run.rate(case, ANYPOP)
    if aim is None or own is None:
        return
    best = run.best_peer(case)
    nginx = run.rate(case, NGINX)
    if aim[0] == "best" and best is not None:
        yield Figure(f"{case.name}: rate, x best peer ({best[0]})", own.median / best[1], aim[1], True)
    if aim[0] == NGINX and nginx is not None:
        yield Figure(f"{case.name}: rate, x nginx", own.median / nginx.median, aim[1], True)


def _of_cpu(run: Run, case: Case) -> Iterator[Figure]:
    if case.group != "hit" or case.object != "1k":
        return
    own, limit = run.figure(case, ANYPOP, "cpu_us"), run.figure(case, LIMIT, "cpu_us")
    if own is not None and limit:
        yield Figure(f"{case.name}: CPU each, x limit", own / limit, 1.3, False)


def _of_latency(run: Run, case: Case) -> Iterator[Figure]:
    if not case.is_latency:
        return
    own = run.figure(case, ANYPOP, "p99_us")
    others = [run.figure(case, peer.name, "p99_us") for peer in run.peers if peer.name not in (ANYPOP, LIMIT)]
    known = [value for value in others if value]
    if own is not None and known:
        yield Figure(f"{case.name}: p99, x best peer's", own / min(known), 1.0, False)
