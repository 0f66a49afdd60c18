"""wrk: HTTP/1.1, plain and TLS, as fast as it goes."""

from __future__ import annotations

import re
from pathlib import Path

from harness.load import Load

UNIQUE = Path(__file__).with_name("unique.lua")
UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 6e7, "h": 3.6e9}


def command(url: str, connections: int, seconds: float, headers: dict[str, str], unique: str | None) -> list[str]:
    """`unique`: when given, each request asks for another path: the URL's, this and a number."""
    words = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency", "--timeout", "10s"]
    for name, value in headers.items():
        words += ["-H", f"{name}: {value}"]
    if unique is not None:
        words += ["-s", str(UNIQUE), url, "--", unique]
    else:
        words.append(url)
    return words


def parse(output: str) -> Load:
    """Reads what wrk prints. Its latencies are those of a closed loop: they say nothing about a load that does not wait."""
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m|h),", output)
    rate = re.search(r"Requests/sec: +([\d.]+)", output)
    if total is None or rate is None:
        raise ValueError(f"not wrk's output: {output!r}")
    errors = 0
    socket = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    if socket is not None:
        errors += sum(int(count) for count in socket.groups())
    status = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    if status is not None:
        errors += int(status.group(1))
    latency = {}
    for percent, value, unit in re.findall(r"^ +(50|75|90|99)% +([\d.]+)(us|ms|s|m)$", output, re.MULTILINE):
        latency[f"p{percent}_us"] = float(value) * UNITS[unit]
    return Load(int(total.group(1)), float(rate.group(1)), errors, latency)
