"""All measurements, interleaved: in each round every case, in each case every peer in turn.

So a machine that is slower for a while is slower for all.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from harness import check, measure
from harness.cases import Case
from harness.install import say
from harness.measure import Sample, Setting
from harness.origin import Origin
from harness.peers import Fleet, Peer
from harness.process import Failed


@dataclass
class Results:
    """What all rounds found."""

    samples: dict[tuple[str, str], list[Sample]] = field(default_factory=dict)
    """By case and peer."""
    missing: dict[tuple[str, str], str] = field(default_factory=dict)
    """Why a peer has no part in a case, by case and peer."""
    failed: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """Why rounds have no figure, by case and peer."""

    def note(self, case: str, peer: str) -> str | None:
        """What a reader must know beside the figures."""
        if (reason := self.missing.get((case, peer))) is not None:
            return f"none: {reason}"
        if reasons := self.failed.get((case, peer)):
            return f"{len(reasons)} of {len(reasons) + len(self.rates(case, peer))} rounds failed, the last one: {reasons[-1]}"
        return None

    def rates(self, case: str, peer: str) -> list[float]:
        return [sample.rate for sample in self.samples.get((case, peer), [])]


def run(cases: list[Case], peers: list[Peer], fleet: Fleet, origin: Origin, rounds: int, setting: Setting) -> Results:
    """Measures everything; what a peer does not do or fails at is noted, and the others go on."""
    results = Results()
    headers: dict[tuple[str, str], dict[str, str]] = {}
    for number in range(rounds):
        for case in cases:
            for peer in _turned(peers, number):
                key = (case.name, peer.name)
                if key in results.missing or (peer.fixed and not case.with_limit):
                    continue
                try:
                    sample = _one(case, peer, fleet, origin, setting, headers, results)
                except check.NotThis as error:
                    results.missing[key] = str(error)
                    say(f"round {number + 1}: {case.name}: {peer.name}: no figure: {error}")
                    continue
                except (Failed, ValueError) as error:
                    # It may do better in the next round; the report says how many are missing.
                    results.failed.setdefault(key, []).append(str(error))
                    say(f"round {number + 1}: {case.name}: {peer.name}: failed: {error}")
                    continue
                results.samples.setdefault(key, []).append(sample)
                say(f"round {number + 1}/{rounds}: {case.name:14} {peer.name:14} {sample.rate:10,.0f}/s {sample.cpu_us:8.1f} µs CPU each")
    return results


def _turned(peers: list[Peer], number: int) -> list[Peer]:
    """Another one begins in each round, so that nobody always follows the same neighbour's warm-up or the round's first chill."""
    turn = number % len(peers)
    return peers[turn:] + peers[:turn]


def _one(
    case: Case,
    peer: Peer,
    fleet: Fleet,
    origin: Origin,
    setting: Setting,
    headers: dict[tuple[str, str], dict[str, str]],
    results: Results,
) -> Sample:
    server = fleet.server(peer, case.body)
    key = (case.name, peer.name)
    if key not in headers:
        headers[key] = check.prepare(server, case, origin)
    peaks = results.rates(case.latency_of, peer.name) if case.latency_of else []
    return measure.take(server, case, headers[key], origin, setting, peaks[-1] if peaks else None)
