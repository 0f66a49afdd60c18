"""One measurement: a load on a server, and what the kernel says the server used for it."""

from __future__ import annotations

import contextlib
import resource
import time
from dataclasses import asdict, dataclass

from harness import process, procfs
from harness.cases import LOAD_SHARE, Case
from harness.load import Load, h2load, loadgen, wrk
from harness.origin import Origin
from harness.peers import Server
from harness.places import HOST
from harness.process import Failed

WARM_UP = 1.0
"""Seconds of load before each measurement."""


CLOSED = ("wrk", "h2load", "closed")
"""Drivers whose connections send a request when they have the answer to the last."""


@dataclass(frozen=True)
class Sample:
    """What one measurement found."""

    rate: float
    """Requests (or connections) a second."""
    cpu_us: float
    """CPU of the server for each request, in microseconds."""
    server_busy: float
    """Share of its core that the server used: far below 1, something else was the bottleneck."""
    latency: dict[str, float]
    """Percentiles in microseconds."""
    errors: int
    resumed: float | None
    foreign: float
    """Cores' worth of CPU that processes outside the benchmark took meanwhile."""

    def document(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class Setting:
    """How a run measures."""

    seconds: float
    load_core: int
    server_core: int


def take(server: Server, case: Case, headers: dict[str, str], origin: Origin, setting: Setting, peak: float | None) -> Sample:
    """Measures once. Raises Failed where the load generator fails or the figures would be about something else."""
    if strays := procfs.strays(server.process.pid, setting.server_core):
        procfs.pin(server.process.pid, setting.server_core)
        if procfs.strays(server.process.pid, setting.server_core):
            raise Failed(f"{strays} threads cannot be kept on one core")
    with contextlib.ExitStack() as stack:
        if case.idle:
            stack.enter_context(loadgen.holding(server.url("http", "/hot/1k"), case.idle, setting.load_core))
        if case.driver in CLOSED:
            # The rate driver warms up by itself, and handshakes have nothing to warm.
            drive(server, case, headers, WARM_UP, setting.load_core, peak)
        before = Account.now(server, origin)
        load = drive(server, case, headers, setting.seconds, setting.load_core, peak)
        used = Account.now(server, origin).since(before)
    validate(case, load, used, fixed=server.peer.fixed)
    return Sample(
        rate=load.rate,
        cpu_us=used.server / max(load.requests, 1) * 1e6,
        server_busy=used.server / used.elapsed,
        latency=load.latency,
        errors=load.errors,
        resumed=load.resumed,
        foreign=used.foreign / used.elapsed,
    )


@dataclass(frozen=True)
class Account:
    """Counters at one moment, or what they grew by."""

    elapsed: float
    server: float
    busy: float
    """Of the whole machine."""
    ours: float
    """Of server, origin, load generators and this program."""
    asked: int
    """Requests that the origin got."""

    @staticmethod
    def now(server: Server, origin: Origin) -> Account:
        asked = origin.requests()
        server_cpu = procfs.cpu_seconds(server.process.pid)
        ours = server_cpu + procfs.cpu_seconds(origin.process.pid)
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            usage = resource.getrusage(who)
            ours += usage.ru_utime + usage.ru_stime
        return Account(time.monotonic(), server_cpu, procfs.busy_seconds(), ours, asked)

    def since(self, before: Account) -> Account:
        return Account(
            self.elapsed - before.elapsed,
            self.server - before.server,
            self.busy - before.busy,
            self.ours - before.ours,
            self.asked - before.asked,
        )

    @property
    def foreign(self) -> float:
        return max(0.0, self.busy - self.ours)


def drive(server: Server, case: Case, headers: dict[str, str], seconds: float, core: int, peak: float | None) -> Load:
    """Calls the case's load generator."""
    # A number of its own for each call: a path that was asked for once must never be asked for again.
    unique = f"{time.monotonic_ns():x}-" if case.unique else None
    named, numbered = server.url(case.scheme, case.path, HOST), server.url(case.scheme, case.path)
    timeout = seconds + 60
    match case.driver:
        case "wrk":
            command = wrk.command(named, case.connections, seconds, headers, unique)
            return wrk.parse(process.run(command, timeout, core))
        case "h2load":
            command = h2load.command(named, case.connections, case.streams, seconds, headers)
            return h2load.parse(process.run(command, timeout, core))
        case "closed":
            command = loadgen.closed_command(numbered, case.connections, seconds, headers)
            return loadgen.parse_rate(process.run(command, timeout, core))
        case "handshakes":
            command = loadgen.handshakes_command(numbered, case.connections, seconds, case.resume)
            return loadgen.parse_handshakes(process.run(command, timeout, core))
        case "rate":
            if peak is None:
                raise Failed(f"its peak in {case.latency_of} is not known")
            command = loadgen.rate_command(numbered, case.connections, peak * LOAD_SHARE, WARM_UP, seconds)
            return loadgen.parse_rate(process.run(command, timeout, core))


def validate(case: Case, load: Load, used: Account, fixed: bool) -> None:
    """Raises Failed where the load was not what the case says."""
    if load.requests == 0:
        raise Failed("no request was answered")
    if case.driver in CLOSED and load.requests <= case.connections:
        raise Failed(f"only {load.requests} answers on {case.connections} connections: they stall, or the time is too short for them")
    if load.errors > load.requests * 0.001:
        raise Failed(f"{load.errors} errors beside {load.requests} answers")
    if case.resume and (load.resumed or 0.0) < 0.9:
        raise Failed(f"only {load.resumed or 0.0:.0%} of its handshakes were resumed")
    if fixed:
        return
    # Requests under way when the load generator stops are asked for, and not counted by it.
    if not case.from_origin and used.asked > load.requests * 0.001 + 5:
        raise Failed(f"the origin was asked {used.asked} times for {load.requests} hits")
    if case.from_origin and used.asked < load.requests * 0.99:
        raise Failed(f"the origin was asked {used.asked} times only for {load.requests} misses")
