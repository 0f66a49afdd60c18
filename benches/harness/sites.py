"""A node with very many sites: how long it takes to start, what it weighs, and whether requests notice."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

from harness import client, measure, peers, process, procfs
from harness.install import say
from harness.load import wrk
from harness.peers import Peer, Surroundings
from harness.process import Failed

DOCUMENT = """\
id = "site-{number}"
hostnames = ["www.site-{number}.example", "*.img.site-{number}.example"]

[origin]
servers = [{{ url = "http://127.0.0.1:{port}" }}]

[cache]
default_ttl = "1m"
query = {{ mode = "deny", names = ["utm_source"] }}
"""

START_SECONDS = 300


@dataclass(frozen=True)
class Sites:
    """What was found."""

    sites: int
    start_seconds: float
    """From the start of the process to the first answer."""
    start_seconds_one: float
    """The same with one site."""
    resident: int
    """Bytes after some load."""
    resident_one: int
    """The same with one site."""
    rate: float
    """1 KiB hits a second of one site among all, 64 connections."""
    rate_one: float
    """The same of one site alone."""

    @property
    def each(self) -> float:
        """Resident bytes for each site."""
        return (self.resident - self.resident_one) / max(self.sites - 1, 1)

    def document(self) -> dict[str, object]:
        return {**asdict(self), "each": self.each}


@dataclass(frozen=True)
class _One:
    start_seconds: float
    resident: int
    rate: float


def run(anypop: Peer, around: Surroundings, count: int, seconds: float, load_core: int) -> Sites:
    """Measures with one site and with `count`."""
    one = _measure(anypop, around, 1, seconds, load_core)
    many = _measure(anypop, around, count, seconds, load_core)
    result = Sites(count, many.start_seconds, one.start_seconds, many.resident, one.resident, many.rate, one.rate)
    say(f"{count} sites: serves after {result.start_seconds:.2f} s, {result.resident / 2**20:.0f} MiB resident, {result.rate:,.0f}/s")
    return result


def _measure(anypop: Peer, around: Surroundings, count: int, seconds: float, load_core: int) -> _One:
    folder = around.folder / f"sites-{count}"
    folder.mkdir()
    values = peers.values_for(around, folder, 0)
    peers.render_all(anypop, folder, values)
    _documents(folder / "sites", count, around.origin_port)
    command = [anypop.program, "serve", "--config", str(folder / "node.toml")]
    port = int(values["http_port"])
    host = f"www.site-{count // 2}.example"
    began = time.monotonic()
    running = process.start("anypop", command, folder, around.core)
    try:
        process.wait_until(lambda: client.answers(port, "/hot/1k", host), running, START_SECONDS)
        started = time.monotonic() - began
        procfs.pin(running.pid, around.core)
        load = [
            wrk.parse(process.run(wrk.command(f"http://localhost:{port}/hot/1k", 64, length, {"Host": host}, None), 60, load_core))
            for length in (measure.WARM_UP, seconds)
        ][-1]
        if load.errors:
            raise Failed(f"{load.errors} errors with {count} sites")
        return _One(started, procfs.resident(running.pid), load.rate)
    finally:
        running.stop()


def _documents(folder: Path, count: int, port: int) -> None:
    for number in range(count):
        (folder / f"{number}.toml").write_text(DOCUMENT.format(number=number, port=port))
