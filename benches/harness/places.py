"""Folders, free ports, and configuration files made from templates."""

from __future__ import annotations

import random
import re
import socket
from pathlib import Path

BENCHES = Path(__file__).resolve().parent.parent
REPOSITORY = BENCHES.parent
TOOLS = BENCHES / "tools" / "target" / "release"
CACHE = REPOSITORY / "target" / "bench"
"""What outlives a run: Envoy."""

HOST = "localhost"
"""The name that every request asks for. wrk and h2load take SNI and Host from the URL, so it must resolve to loopback."""

PLACEHOLDER = re.compile(r"@\{(\w+)\}")


def render(template: str, values: dict[str, str]) -> str:
    """Replaces each `@{name}`; a name that has no value is an error (KeyError)."""
    return PLACEHOLDER.sub(lambda match: values[match.group(1)], template)


def memory_folder() -> Path:
    """Where caches that insist on files have them: in memory where that is possible, so that no disk is measured."""
    shm = Path("/dev/shm")
    return shm if shm.is_dir() else Path("/tmp")


class Ports:
    """Free loopback ports below the kernel's ephemeral range, so that no client connection takes one meanwhile."""

    def __init__(self, seed: int | None = None) -> None:
        candidates = list(range(20_000, 32_000))
        random.Random(seed).shuffle(candidates)
        self._candidates = candidates

    def take(self) -> int:
        """A port that nobody listens at now and that this object has not given out before."""
        while self._candidates:
            port = self._candidates.pop()
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return port
        raise RuntimeError("no free port between 20000 and 32000")
