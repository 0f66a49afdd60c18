"""The origin behind all peers, which knows how often it was asked."""

from __future__ import annotations

import http.client
import os
import re
from pathlib import Path

from harness import client, places, process
from harness.places import BENCHES, Ports

OBJECTS = {"1k": 1024, "16k": 16 * 1024, "1m": 1024 * 1024}
"""The objects by name, with their sizes in bytes."""


def parse_requests(status: str) -> int:
    """The third number under nginx's "server accepts handled requests"."""
    match = re.search(r"^ *(\d+) +(\d+) +(\d+) *$", status, re.MULTILINE)
    if match is None:
        raise ValueError(f"no stub_status page: {status!r}")
    return int(match.group(3))


class Origin:
    """A running nginx with the objects."""

    def __init__(self, nginx: str, ports: Ports, folder: Path, core: int) -> None:
        self.port = ports.take()
        self._asked = 0
        objects = folder / "objects"
        objects.mkdir(parents=True)
        for name, size in OBJECTS.items():
            # Not compressible, so that no peer gains by trying.
            (objects / name).write_bytes(os.urandom(size))
        for readable in (folder, objects):
            readable.chmod(0o755)
        values = {"dir": str(folder), "http_port": str(self.port)}
        config = folder / "nginx.conf"
        config.write_text(places.render((BENCHES / "origin" / "nginx.conf").read_text(), values))
        self.process = process.start("origin", [nginx, "-p", str(folder), "-c", str(config)], folder, core)
        process.wait_until(lambda: client.answers(self.port, "/hot/1k"), self.process, 10)

    def requests(self) -> int:
        """How often it was asked so far, by anyone but this method."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/requests")
            count = parse_requests(connection.getresponse().read().decode())
        finally:
            connection.close()
        self._asked += 1
        return count - self._asked

    def stop(self) -> None:
        self.process.stop()
