"""h2load: HTTP/2 with TLS."""

from __future__ import annotations

import re

from harness.load import Load

UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}


def command(url: str, connections: int, streams: int, seconds: float, headers: dict[str, str]) -> list[str]:
    """`streams`: requests under way at a time on each connection."""
    words = ["h2load", "-t1", f"-c{connections}", f"-m{streams}", f"-D{max(1, round(seconds))}", "--npn-list=h2"]
    for name, value in headers.items():
        words += ["-H", f"{name}: {value}"]
    return [*words, url]


def parse(output: str) -> Load:
    """Reads what h2load prints."""
    rate = re.search(r"finished in [\d.]+(?:us|ms|s), ([\d.]+) req/s", output)
    counts = re.search(r"requests: .*?(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output)
    if rate is None or counts is None:
        raise ValueError(f"not h2load's output: {output!r}")
    succeeded, failed, _errored, timeout = (int(count) for count in counts.groups())
    latency = {}
    times = re.search(r"time for request: +([\d.]+)(us|ms|s) +([\d.]+)(us|ms|s) +([\d.]+)(us|ms|s)", output)
    if times is not None:
        latency["max_us"] = float(times.group(3)) * UNITS[times.group(4)]
        latency["mean_us"] = float(times.group(5)) * UNITS[times.group(6)]
    # "errored" is a part of "failed".
    return Load(succeeded, float(rate.group(1)), failed + timeout, latency)
