"""Peers: what a folder in `peers/` says, and running servers made of it.

A folder holds `peer.toml` and the server's configuration files as templates: `@{name}` stands for a port, a path or the origin's address.
All files but `peer.toml` are rendered into a folder of the run.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from harness import client, places, process, procfs
from harness.places import BENCHES, Ports
from harness.process import Failed, Process

PEERS = BENCHES / "peers"
START_SECONDS = 60


@dataclass(frozen=True)
class Peer:
    """One folder in `peers/`."""

    name: str
    title: str
    """What people call it."""
    program: str
    """Path of its binary, once found."""
    tls: bool
    """Whether it ends TLS."""
    h2: bool
    """Whether it speaks HTTP/2 with TLS."""
    command: list[str] = field(default_factory=list)
    """Arguments, as templates."""
    version: list[str] = field(default_factory=list)
    """Arguments that make it print its version."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables, as templates."""
    directories: list[str] = field(default_factory=list)
    """Folders that it wants to find."""
    fixed: bool = False
    """Whether it knows one answer only, whose size is given at start."""


def names() -> list[str]:
    """All that have a folder, anypop and the limit last."""
    found = sorted(path.parent.name for path in PEERS.glob("*/peer.toml"))
    return sorted(found, key=lambda name: (name in ("anypop", "limit"), name))


def read(name: str, program: str | None = None) -> Peer:
    """The peer in a folder; `program` in place of what the folder says."""
    document = tomllib.loads((PEERS / name / "peer.toml").read_text())
    if program is not None:
        document["program"] = program
    return Peer(name=name, **document)


def version_of(peer: Peer) -> str:
    """The first line of what it says about itself; some say it on stderr."""
    if not peer.version:
        return ""
    done = subprocess.run([peer.program, *peer.version], capture_output=True, text=True, timeout=30, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].replace(peer.program, "").strip() if lines else "unknown"


@dataclass(frozen=True)
class Surroundings:
    """What all peers of a run share."""

    ports: Ports
    folder: Path
    """Each server gets a folder below this."""
    origin_port: int
    tls_folder: Path
    """Holds bench.crt, bench.key and bench.pem (both)."""
    core: int


@dataclass
class Server:
    """A running peer."""

    peer: Peer
    process: Process
    http_port: int
    https_port: int
    configuration: dict[str, str]
    """Its files as rendered, by name."""
    start_seconds: float

    def url(self, scheme: str, path: str, host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.https_port if scheme == 'https' else self.http_port}{path}"

    def stop(self) -> None:
        self.process.stop()


def values_for(around: Surroundings, folder: Path, body: int) -> dict[str, str]:
    """What templates may name. Each call takes two ports."""
    certificate = around.tls_folder / "bench.crt"
    return {
        "dir": str(folder),
        "http_port": str(around.ports.take()),
        "https_port": str(around.ports.take()),
        "origin": f"127.0.0.1:{around.origin_port}",
        "origin_host": "127.0.0.1",
        "origin_port": str(around.origin_port),
        "tls_dir": str(around.tls_folder),
        "certificate": str(certificate),
        "key": str(certificate.with_suffix(".key")),
        "pem": str(certificate.with_suffix(".pem")),
        "body": str(body),
    }


def render_all(peer: Peer, folder: Path, values: dict[str, str]) -> dict[str, str]:
    """Writes the peer's files into its folder and gives them by name."""
    rendered = {}
    for source in sorted((PEERS / peer.name).rglob("*")):
        if not source.is_file() or source.name == "peer.toml":
            continue
        name = str(source.relative_to(PEERS / peer.name))
        rendered[name] = places.render(source.read_text(), values)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(rendered[name])
    return rendered


def start(peer: Peer, around: Surroundings, label: str, body: int = 1024, path: str = "/hot/1k") -> Server:
    """Starts a peer in its own folder (`label`) and waits until it answers."""
    folder = around.folder / label
    folder.mkdir()
    folder.chmod(0o755)
    values = values_for(around, folder, body)
    rendered = render_all(peer, folder, values)
    for name in peer.directories:
        (folder / name).mkdir(exist_ok=True)
    command = [peer.program, *(places.render(word, values) for word in peer.command)]
    environment = {name: places.render(value, values) for name, value in peer.environment.items()}
    began = time.monotonic()
    running = process.start(peer.name, command, folder, around.core, environment)
    port = int(values["http_port"])
    try:
        process.wait_until(lambda: client.answers(port, path), running, START_SECONDS)
    except BaseException:
        running.stop()
        raise
    started = time.monotonic() - began
    procfs.pin(running.pid, around.core)
    rendered["command"] = " ".join(command)
    return Server(peer, running, port, int(values["https_port"]), rendered, started)


class Fleet:
    """The servers of a run: each is started when it is first needed, and kept."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._servers: dict[str, Server] = {}
        self._failed: dict[str, str] = {}

    def server(self, peer: Peer, body: int) -> Server:
        """A running server of the peer; one for each size of body where it knows one answer only."""
        label = f"{peer.name}-{body}" if peer.fixed else peer.name
        if label in self._failed:
            raise Failed(self._failed[label])
        running = self._servers.get(label)
        if running is None:
            try:
                running = self._servers[label] = start(peer, self._around, label, body)
            except Failed as error:
                # Once is enough: the next case would wait as long for the same.
                self._failed[label] = str(error)
                raise
        elif not running.process.alive():
            self._failed[label] = f"{label} died:\n  {running.process.last_words()}"
            raise Failed(self._failed[label])
        return running

    def configurations(self) -> dict[str, dict[str, str]]:
        """The rendered files of all servers, by label."""
        return {label: server.configuration for label, server in self._servers.items()}

    def stop(self) -> None:
        """Stops all of them, whatever happens to one."""
        with contextlib.ExitStack() as stack:
            for server in self._servers.values():
                stack.callback(server.stop)
