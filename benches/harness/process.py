"""Starting servers pinned to a core, and stopping exactly those."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness import procfs


class Failed(Exception):
    """Something could not be started, or did not do what it is there for. The message is for the reader."""


@dataclass
class Process:
    """A server that this run has started."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.popen.pid

    def alive(self) -> bool:
        return self.popen.poll() is None

    def last_words(self) -> str:
        """The end of what it printed."""
        lines = self.log.read_text(errors="replace").strip().splitlines()[-15:]
        return "\n  ".join(lines) or "(it printed nothing)"

    def stop(self) -> None:
        """SIGTERM, then SIGKILL for what is left of it after 10 s: it and its descendants, nobody else."""
        if not self.alive():
            return
        family = [stat.pid for stat in procfs.tree(self.pid)]
        self.popen.terminate()
        try:
            self.popen.wait(10)
        except subprocess.TimeoutExpired:
            for pid in family:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self.popen.wait(10)


def pinned(core: int, command: list[str]) -> list[str]:
    """The command on one core."""
    return ["taskset", "-c", str(core), *command]


def start(name: str, command: list[str], folder: Path, core: int, environment: dict[str, str] | None = None) -> Process:
    """Starts a server; its output goes to `folder`/output.log."""
    log = folder / "output.log"
    with log.open("ab") as output:
        try:
            popen = subprocess.Popen(
                pinned(core, command),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
                start_new_session=True,  # Ctrl-C reaches the harness only, which then stops everything in order.
            )
        except OSError as error:
            raise Failed(f"{name}: {command[0]}: {error.strerror}") from error
    return Process(name, popen, log)


def run(command: list[str], timeout: float, core: int | None = None) -> str:
    """Runs a tool to its end and gives its stdout."""
    full = command if core is None else pinned(core, command)
    try:
        done = subprocess.run(full, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{command[0]} did not end within {timeout:.0f} s") from error
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise Failed(f"{Path(command[0]).name} failed ({done.returncode}): {' / '.join(said)}")
    return done.stdout


def wait_until(ready: Callable[[], bool], process: Process, seconds: float) -> None:
    """Calls `ready` until it says true; a server that ends or takes too long is an error with its last words."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not process.alive():
            raise Failed(f"{process.name} ended by itself:\n  {process.last_words()}")
        if ready():
            return
        time.sleep(0.01)
    raise Failed(f"{process.name} did not serve within {seconds:.0f} s:\n  {process.last_words()}")
