"""What the kernel's accounting in /proc says about processes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Stat:
    """A line of /proc/PID/stat, as far as it is used here."""

    pid: int
    parent: int
    cpu_seconds: float


def parse_stat(line: str) -> Stat:
    """Reads a stat line. The command in parentheses may hold anything, parentheses too: what counts begins behind the last one."""
    pid, _, rest = line.partition(" (")
    fields = rest[rest.rindex(")") + 2 :].split()
    return Stat(pid=int(pid), parent=int(fields[1]), cpu_seconds=(int(fields[11]) + int(fields[12])) / TICK)


def parse_resident(status: str) -> int:
    """VmRSS of /proc/PID/status in bytes; 0 for a process that has none."""
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def parse_busy(stat: str) -> float:
    """Seconds that all cores together have worked, from /proc/stat: all but idle and iowait (guest time is part of user)."""
    fields = [int(field) for field in stat.splitlines()[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICK


def processes() -> dict[int, Stat]:
    """All processes of the machine."""
    found = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            stat = parse_stat(Path(entry.path, "stat").read_text())
        except (OSError, ValueError):
            continue  # It ended while we looked.
        found[stat.pid] = stat
    return found


def tree(root: int, among: dict[int, Stat] | None = None) -> list[Stat]:
    """A process and all that descend from it."""
    among = processes() if among is None else among
    members = [among[root]] if root in among else []
    for member in members:
        members.extend(stat for stat in among.values() if stat.parent == member.pid)
    return members


def cpu_seconds(root: int) -> float:
    """CPU time, user and system, that a process and its living descendants have used."""
    return sum(stat.cpu_seconds for stat in tree(root))


def resident(root: int) -> int:
    """Resident bytes of a process and its descendants. Pages that they share count for each: compare growth, not totals."""
    total = 0
    for stat in tree(root):
        try:
            total += parse_resident(Path(f"/proc/{stat.pid}/status").read_text())
        except OSError:
            continue
    return total


def busy_seconds() -> float:
    """Seconds that all cores together have worked since boot."""
    return parse_busy(Path("/proc/stat").read_text())


def pin(root: int, core: int) -> None:
    """Moves every thread of a process and its descendants to a core. Needed although it was started there: some servers set affinities of their own."""
    for stat in tree(root):
        for task in _tasks(stat.pid):
            try:
                if os.sched_getaffinity(task) != {core}:
                    os.sched_setaffinity(task, {core})
            except ProcessLookupError:
                continue


def strays(root: int, core: int) -> int:
    """How many of its threads may run on other cores."""
    count = 0
    for stat in tree(root):
        for task in _tasks(stat.pid):
            try:
                count += os.sched_getaffinity(task) != {core}
            except ProcessLookupError:
                continue
    return count


def _tasks(pid: int) -> list[int]:
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return []
