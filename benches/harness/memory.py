"""What an idle connection weighs in a server's resident memory."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

from harness import client, peers, procfs
from harness.install import say
from harness.load import loadgen
from harness.peers import Peer, Surroundings
from harness.process import Failed

KINDS = {"h1": ("http", False), "tls": ("https", False), "h2": ("https", True)}
"""Scheme, and whether HTTP/2."""


@dataclass(frozen=True)
class Weight:
    """One server with so many connections, each of which has made one request and is idle."""

    connections: int
    before: int
    """Resident bytes when a first request had been answered."""
    after: int

    @property
    def each(self) -> float:
        """Bytes for each connection. The kernel's socket memory is not resident memory of the server and not in it."""
        return (self.after - self.before) / self.connections

    def document(self) -> dict[str, object]:
        return {**asdict(self), "each": self.each}


def weigh(chosen: list[Peer], around: Surroundings, connections: int, load_core: int) -> dict[tuple[str, str], Weight | str]:
    """By kind and peer; a reason in words where there is no figure. Every weighing starts a fresh server: what an allocator kept would hide growth."""
    found: dict[tuple[str, str], Weight | str] = {}
    for kind, (scheme, h2) in KINDS.items():
        for peer in chosen:
            if peer.fixed:
                continue
            if (scheme == "https" and not peer.tls) or (h2 and not peer.h2):
                found[kind, peer.name] = "does not speak it"
                continue
            try:
                weight = _one(peer, around, kind, scheme, h2, connections, load_core)
            except (Failed, OSError) as error:
                found[kind, peer.name] = str(error)
                say(f"idle {kind}: {peer.name}: no figure: {error}")
                continue
            found[kind, peer.name] = weight
            say(f"idle {kind}: {peer.name:14} {weight.each / 1024:8.1f} KiB for each of {connections} connections")
    return found


def _one(peer: Peer, around: Surroundings, kind: str, scheme: str, h2: bool, connections: int, load_core: int) -> Weight:
    server = peers.start(peer, around, f"idle-{kind}-{peer.name}")
    try:
        for _ in range(20):
            client.get(server.https_port if scheme == "https" else server.http_port, "/hot/1k", tls=scheme == "https")
        before = procfs.resident(server.process.pid)
        with loadgen.holding(server.url(scheme, "/hot/1k"), connections, load_core, h2):
            after = _settled(server.process.pid)
    finally:
        server.stop()
    return Weight(connections, before, after)


def _settled(pid: int) -> int:
    """Resident bytes once they have been the same for half a second, or after five: buffers are given back a moment after the last byte."""
    deadline = time.monotonic() + 5
    last, since = procfs.resident(pid), time.monotonic()
    while time.monotonic() < deadline and time.monotonic() - since < 0.5:
        time.sleep(0.05)
        now = procfs.resident(pid)
        if now != last:
            last, since = now, time.monotonic()
    return last
