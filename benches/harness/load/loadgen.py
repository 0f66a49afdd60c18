"""Our own load generator (tools/): a constant rate, handshakes, idle connections."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator

from harness.load import Load
from harness.places import HOST, TOOLS
from harness.process import Failed, pinned

PROGRAM = str(TOOLS / "loadgen")


def rate_command(url: str, connections: int, rate: float, warm_up: float, seconds: float) -> list[str]:
    """Requests at a constant rate, timed from when each was due."""
    return [*_requests(url, connections, warm_up, seconds), "--rate", f"{rate:.1f}"]


def closed_command(url: str, connections: int, seconds: float, headers: dict[str, str]) -> list[str]:
    """As fast as the answers come, like wrk, for answers that wrk does not understand: it waits for the body that the Content-Length of a 304 tells of."""
    words = _requests(url, connections, 0, seconds)
    for name, value in headers.items():
        words += ["--field", f"{name}: {value}"]
    return words


def _requests(url: str, connections: int, warm_up: float, seconds: float) -> list[str]:
    words = [PROGRAM, "rate", "--url", url, "--host", HOST, "--connections", str(connections)]
    return [*words, "--warm-up", str(warm_up), "--seconds", str(seconds)]


def parse_rate(output: str) -> Load:
    """Reads the result of `loadgen rate`. Requests that never ended count as errors."""
    result = json.loads(output)
    errors = result["errors"] + result["unfinished"]
    return Load(result["sent"], result["rate"], errors, dict(result["latency"]))


def handshakes_command(url: str, connections: int, seconds: float, resume: bool) -> list[str]:
    """A connection for each request."""
    words = [PROGRAM, "handshakes", "--url", url, "--host", HOST, "--connections", str(connections), "--seconds", str(seconds)]
    return [*words, "--resume"] if resume else words


def parse_handshakes(output: str) -> Load:
    """Reads the result of `loadgen handshakes`."""
    result = json.loads(output)
    total = result["full"] + result["resumed"]
    return Load(total, total / result["seconds"], result["errors"], resumed=result["resumed"] / total if total else 0.0)


@contextlib.contextmanager
def holding(url: str, connections: int, core: int, h2: bool = False) -> Iterator[None]:
    """Within this, so many idle connections are open that have made one request each."""
    words = [PROGRAM, "hold", "--url", url, "--host", HOST, "--connections", str(connections)]
    if h2:
        words.append("--h2")
    holder = subprocess.Popen(
        pinned(core, words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert holder.stdout is not None and holder.stdin is not None and holder.stderr is not None
    try:
        # It gives up by itself after a minute.
        if not holder.stdout.readline().startswith("holding"):
            raise Failed(f"idle connections: {holder.stderr.read().strip()}")
        yield
        holder.stdin.close()
        result = json.loads(holder.stdout.readline())
        if result["lost"] > connections // 100:
            raise Failed(f"the server closed {result['lost']} of {connections} idle connections")
    finally:
        holder.kill()
        holder.wait()
        for pipe in (holder.stdin, holder.stdout, holder.stderr):
            pipe.close()
