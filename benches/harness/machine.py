"""The machine, as far as it explains figures."""

from __future__ import annotations

import os
import platform
import resource
from pathlib import Path


def cpu_model(cpuinfo: str) -> str:
    """The first model name in /proc/cpuinfo; not every architecture gives one."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model", "cpu model"):
            return value.strip()
    return "unknown"


def read(path: str) -> str | None:
    """A small file's text, if it is there."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def describe() -> dict[str, object]:
    """Kernel, processor and what else changes figures."""
    return {
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "unknown"),
        "kernel": platform.release(),
        "cpu": cpu_model(read("/proc/cpuinfo") or ""),
        "cores": os.cpu_count(),
        "governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "threads_per_core_active": read("/sys/devices/system/cpu/smt/active"),
        "mitigations": {path.name: (read(str(path)) or "") for path in sorted(Path("/sys/devices/system/cpu/vulnerabilities").glob("*"))},
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load_before": os.getloadavg()[0],
    }


def raise_file_limit() -> int:
    """Lets this run and all it starts open as many files as the system allows, and says how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def cores_for(wanted: str | None) -> tuple[int, int, int]:
    """Cores of server, load generator and origin. The origin shares the load generator's where there are two only."""
    usable = sorted(os.sched_getaffinity(0))
    if wanted is not None:
        chosen = [int(core) for core in wanted.split(",")]
        if len(chosen) not in (2, 3) or not set(chosen) <= set(usable):
            raise ValueError(f"--cores {wanted}: two or three of {usable}, as in 0,1")
    elif len(usable) < 2:
        raise ValueError("two cores are needed: one for the server and one for the load")
    else:
        chosen = usable[:3]
    if chosen[0] in chosen[1:]:
        raise ValueError("the server needs a core of its own")
    return chosen[0], chosen[1], chosen[-1]
