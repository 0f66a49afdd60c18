"""What is measured: one `Case` for each line of figures."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field
from typing import Literal

from harness.origin import OBJECTS

Driver = Literal["wrk", "h2load", "closed", "rate", "handshakes"]


@dataclass(frozen=True)
class Case:
    """A load, and what must be true of the answers."""

    name: str
    title: str
    group: str
    """Cases of a group stand together in table and plot."""
    object: str = "1k"
    """A name in OBJECTS."""
    folder: str = "hot"
    """Of the path; the origin decides by it whether the object may be stored."""
    driver: Driver = "wrk"
    tls: bool = False
    h2: bool = False
    connections: int = 64
    streams: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    conditional: bool = False
    """Each request carries the ETag that the peer gave."""
    unique: bool = False
    """Each request asks for another path."""
    status: int = 200
    length: int | None = None
    """Of the body; the object's size where nothing is said."""
    idle: int = 0
    """Idle connections beside."""
    resume: bool = False
    latency_of: str | None = None
    """The case whose peak rate, of the same peer and round, is the measure: it is driven at 70 % of that."""

    @property
    def path(self) -> str:
        return f"/{self.folder}/" if self.unique else f"/{self.folder}/{self.object}"

    @property
    def scheme(self) -> str:
        return "https" if self.tls else "http"

    @property
    def body(self) -> int:
        """Bytes of body that each answer must have."""
        return OBJECTS[self.object] if self.length is None else self.length

    @property
    def from_origin(self) -> bool:
        """Whether every request must reach the origin; otherwise none may."""
        return self.folder != "hot"

    @property
    def with_limit(self) -> bool:
        """Whether the bare loop's figure says something about this case."""
        return self.group == "hit" and not self.tls

    @property
    def is_latency(self) -> bool:
        return self.latency_of is not None


SIZES = {"1k": "1 KiB", "16k": "16 KiB", "1m": "1 MiB"}
CONNECTIONS = (64, 256, 1000)
LOAD_SHARE = 0.7
"""Of the peak rate, for latency."""


def every() -> list[Case]:
    """All cases, those that others refer to first."""
    cases = []
    for size, words in SIZES.items():
        for count in CONNECTIONS:
            cases.append(Case(f"h1-{size}-{count}", f"{words}, {count} connections", "hit", size, connections=count))
    cases.append(Case("h1-1k-64-idle", "1 KiB, 64 connections, 10 000 idle ones beside", "hit-idle", idle=10_000))
    by_tls = [(size, words, count) for size, words in SIZES.items() for count in (CONNECTIONS if size == "1k" else (64,))]
    for size, words, count in by_tls:
        cases.append(Case(f"tls-{size}-{count}", f"{words}, {count} connections", "hit-tls", size, tls=True, connections=count))
    for size, words, count in by_tls:
        streams = 2 if size == "1m" else 10
        title = f"{words}, {count} connections, {streams} streams each"
        cases.append(Case(f"h2-{size}-{count}", title, "hit-h2", size, driver="h2load", tls=True, h2=True, connections=count, streams=streams))
    cases += [
        Case("not-modified", "If-None-Match, answered 304", "hit-more", driver="closed", conditional=True, status=304, length=0),
        Case("range", "1 KiB out of 1 MiB, answered 206", "hit-more", "1m", headers={"Range": "bytes=524288-525311"}, status=206, length=1024),
        Case("pass-64", "not storable, 64 connections", "miss", folder="pass"),
        Case("pass-256", "not storable, 256 connections", "miss", folder="pass", connections=256),
        Case("fill-64", "stored, each URL once, 64 connections", "miss", folder="fill", unique=True),
        Case("tls-full", "full handshake and one request", "handshake", driver="handshakes", tls=True),
        Case("tls-resumed", "resumed handshake and one request", "handshake", driver="handshakes", tls=True, resume=True),
        Case("latency-hit", "1 KiB hit, 64 connections", "latency", driver="rate", latency_of="h1-1k-64"),
        Case("latency-tls", "1 KiB hit by TLS, 64 connections", "latency", driver="rate", tls=True, latency_of="tls-1k-64"),
        Case("latency-pass", "not storable, 64 connections", "latency", folder="pass", driver="rate", latency_of="pass-64"),
    ]
    return cases


GROUPS = {
    "hit": "Hot hit, HTTP/1.1 with keep-alive",
    "hit-idle": "Hot hit, HTTP/1.1, beside idle connections",
    "hit-tls": "Hot hit, HTTP/1.1 by TLS 1.3",
    "hit-h2": "Hot hit, HTTP/2 by TLS 1.3",
    "hit-more": "Hot hit, conditional and range",
    "miss": "Miss, origin on the same machine",
    "handshake": "TLS 1.3 connections, one request each",
    "latency": f"Latency at {LOAD_SHARE:.0%} of the peer's own peak, constant rate",
}

QUICK = ("h1-1k-64",)


def choose(patterns: list[str]) -> list[Case]:
    """The cases whose names fit one of the patterns, and those they refer to. A pattern that fits none is an error (ValueError)."""
    cases = {case.name: case for case in every()}
    wanted: set[str] = set()
    for pattern in patterns:
        fitting = fnmatch.filter(cases, pattern)
        if not fitting:
            raise ValueError(f"no case is named like {pattern!r}; --list shows them")
        wanted.update(fitting)
    wanted.update(case.latency_of for case in cases.values() if case.name in wanted and case.latency_of is not None)
    return [case for case in cases.values() if case.name in wanted]
