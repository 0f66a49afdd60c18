"""The command line."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from harness import cases, install, machine, memory, peers, places, rounds, sites, stats, tls
from harness.install import say
from harness.measure import Setting
from harness.origin import Origin
from harness.peers import Fleet, Peer, Surroundings
from harness.process import Failed
from harness.report import ANYPOP, LIMIT, NGINX, Run, document, plot, table

EXTRAS = ("idle", "sites")
"""What is measured beside the cases."""


def parser() -> argparse.ArgumentParser:
    """All options."""
    names = ", ".join(peers.names())
    made = argparse.ArgumentParser(
        prog="./x bench",
        description="anypop beside nginx, Varnish, Traffic Server, HAProxy and Envoy on this machine. docs/benchmarks.md says what it means.",
    )
    made.add_argument("--quick", action="store_true", help="about a minute: a 1 KiB hit beside nginx and the limit, and 100,000 sites")
    made.add_argument("--cases", metavar="GLOBS", default="*", help="names with * and ?, comma between; also: idle, sites, none (default: all)")
    made.add_argument("--peers", metavar="NAMES", default=",".join(peers.names()), help=f"comma between (default: {names})")
    made.add_argument("--rounds", type=positive, help="measurements of each figure (default: 5; with --quick 3)")
    made.add_argument("--seconds", type=positive, help="of each measurement (default: 4; with --quick 2)")
    made.add_argument("--sites", type=positive, default=100_000, help="in the many-sites case (default: 100000)")
    made.add_argument("--idle", type=positive, default=10_000, help="connections held for memory (default: 10000)")
    made.add_argument("--cores", metavar="S,L[,O]", help="cores of server, load generator and origin (default: the first ones)")
    made.add_argument("--anypop", metavar="FILE", help="a binary in place of a release build made now")
    made.add_argument("--json", metavar="FILE", type=Path, help="write everything as JSON, configurations included")
    made.add_argument("--plot", metavar="FILE", type=Path, help="write a plot as SVG")
    made.add_argument("--list", action="store_true", help="list the cases and do nothing else")
    return made


def positive(word: str) -> int:
    """A whole number from 1."""
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def main(words: list[str]) -> int:
    """Exit code 0: measured (noisy or not); 1: something failed; 2: the command line."""
    options = parser().parse_args(words)
    if options.list:
        for case in cases.every():
            print(f"{case.name:16} {cases.GROUPS[case.group]}: {case.title}")
        print("idle             resident memory for each idle connection: h1, TLS, h2\nsites            start-up and memory with many sites")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run = measure(options)
    except (Failed, ValueError) as error:
        say(f"bench: {error}")
        return 1
    except KeyboardInterrupt:
        say("bench: interrupted; everything that was started is stopped")
        return 130
    print(table.render(run))
    if options.json:
        options.json.write_text(json.dumps(document.document(run), indent=1) + "\n")
    if options.plot:
        options.plot.write_text(plot.render(run))
    return 0


def measure(options: argparse.Namespace) -> Run:
    """Installs, starts, measures, stops."""
    chosen_peers = options.peers.split(",")
    chosen, extras = choose(options.cases.split(","))
    if options.quick:
        chosen_peers, chosen, extras = [NGINX, ANYPOP, LIMIT], cases.choose(list(cases.QUICK)), ["sites"]
    seconds, count = options.seconds or (2 if options.quick else 4), options.rounds or (3 if options.quick else 5)
    cores = machine.cores_for(options.cores)
    files = machine.raise_file_limit()
    if files < options.idle + 2_000 and ("idle" in extras or any(case.idle for case in chosen)):
        raise Failed(f"{options.idle} connections need more open files than the {files} allowed here (ulimit -Hn)")
    found = bring(chosen_peers, options.anypop)
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    described = machine.describe()
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="anypop-bench-", dir=places.memory_folder()))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)  # Some servers give up root before they read their files.
        ports = places.Ports()
        origin = Origin(program("nginx"), ports, folder / "origin", cores[2])
        stack.callback(origin.stop)
        around = Surroundings(ports, folder, origin.port, tls.make(folder / "tls"), cores[0])
        fleet = Fleet(around)
        stack.callback(fleet.stop)
        results = rounds.run(chosen, found, fleet, origin, count, Setting(seconds, cores[1], cores[0]))
        configurations = fleet.configurations()
        # Nothing else may run beside what is weighed and timed next.
        fleet.stop()
        idle = memory.weigh(found, around, options.idle, cores[1]) if "idle" in extras else {}
        anypop = next((peer for peer in found if peer.name == ANYPOP), None)
        many = sites.run(anypop, around, options.sites, seconds, cores[1]) if "sites" in extras and anypop else None
    samples = [sample for several in results.samples.values() for sample in several]
    noise = stats.judge([results.rates(case.name, LIMIT) for case in chosen], [sample.foreign for sample in samples])
    given = {"cores": ",".join(map(str, cores)), "rounds": count, "seconds": seconds, "cases": options.cases, "quick": options.quick}
    versions = {peer.title: peers.version_of(peer) for peer in found if peer.version}
    return Run(when, described, given, versions, found, chosen, results, noise, configurations, idle, many)


def choose(patterns: list[str]) -> tuple[list[cases.Case], list[str]]:
    """Cases and extras; `*` is everything and `none` is nothing."""
    if patterns == ["*"]:
        return cases.every(), list(EXTRAS)
    extras = [name for name in EXTRAS if name in patterns]
    return cases.choose([pattern for pattern in patterns if pattern not in (*EXTRAS, "none")]), extras


def bring(names: list[str], anypop: str | None) -> list[Peer]:
    """Installs and builds what the peers need, and reads their folders, in the order that tables have."""
    if unknown := set(names) - set(peers.names()):
        raise ValueError(f"--peers: unknown: {', '.join(sorted(unknown))}")
    wanted = [name for name in peers.names() if name in names]
    programs = [peers.read(name).program for name in wanted]
    install.packages([*programs, "nginx", "wrk", "h2load", "openssl", "taskset"])
    install.tools()
    paths = {LIMIT: lambda: str(places.TOOLS / "limit"), "envoy": install.envoy}
    paths[ANYPOP] = lambda: str(Path(anypop).resolve()) if anypop else install.anypop()
    return [peers.read(name, paths[name]() if name in paths else program(peers.read(name).program)) for name in wanted]


def program(name: str) -> str:
    """The path of an installed program."""
    path = install.find(name)
    if path is None:
        raise Failed(f"{name} is not installed")
    return path
