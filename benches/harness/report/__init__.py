"""What a run found, for people (table, plot) and for programs (JSON)."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.cases import Case
from harness.memory import Weight
from harness.peers import Peer
from harness.rounds import Results
from harness.sites import Sites
from harness.stats import Noise, Summary, summarize

ANYPOP = "anypop"
LIMIT = "limit"
NGINX = "nginx"


@dataclass(frozen=True)
class Run:
    """Everything that a report is made of."""

    when: str
    """Start of the run, UTC."""
    machine: dict[str, object]
    options: dict[str, object]
    versions: dict[str, str]
    peers: list[Peer]
    cases: list[Case]
    results: Results
    noise: Noise
    configurations: dict[str, dict[str, str]] = field(default_factory=dict)
    idle: dict[tuple[str, str], Weight | str] = field(default_factory=dict)
    sites: Sites | None = None
    """None where it was not asked for."""

    def rate(self, case: Case, peer: str) -> Summary | None:
        """Requests a second over the rounds."""
        rates = self.results.rates(case.name, peer)
        return summarize(rates) if rates else None

    def figure(self, case: Case, peer: str, name: str) -> float | None:
        """The median of another figure: `cpu_us`, `server_busy`, or a percentile such as `p99_us`."""
        samples = self.results.samples.get((case.name, peer), [])
        values = [sample.latency.get(name) if name.startswith("p") else getattr(sample, name) for sample in samples]
        known = [value for value in values if value is not None]
        return summarize(known).median if known else None

    def best_peer(self, case: Case) -> tuple[str, float] | None:
        """The peer with the highest rate and that rate; anypop and the limit are none."""
        rates = {peer.name: self.rate(case, peer.name) for peer in self.peers if peer.name not in (ANYPOP, LIMIT)}
        known = {name: summary.median for name, summary in rates.items() if summary is not None}
        return max(known.items(), key=lambda item: item[1]) if known else None
