"""Load generators: how each is called, and what its output means."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Load:
    """What a load generator says it did."""

    requests: int
    """All that were answered, for CPU per request."""
    rate: float
    """Answered a second."""
    errors: int
    """Failed, refused or answered with another status."""
    latency: dict[str, float] = field(default_factory=dict)
    """Percentiles in microseconds: p50_us, p99_us and so on, where the generator measures them."""
    resumed: float | None = None
    """Share of TLS handshakes that were resumed."""
