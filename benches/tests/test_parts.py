"""/proc, templates, ports, cores, the origin's counter, cases and peers' folders."""

import os
import unittest
from unittest import mock

from harness import cases, cli, machine, origin, peers, places, procfs
from harness.measure import Account, validate
from harness.load import Load
from harness.process import Failed


class Procfs(unittest.TestCase):
    def test_a_command_may_hold_anything(self) -> None:
        line = f"42 (a) b ( c) S 7 1 1 0 -1 4194560 1 2 3 4 {procfs.TICK} {2 * procfs.TICK} 5 6 20 0 1 0 100"
        self.assertEqual(procfs.parse_stat(line), procfs.Stat(42, 7, 3.0))

    def test_resident(self) -> None:
        self.assertEqual(procfs.parse_resident("Name:\tx\nVmRSS:\t   12 kB\n"), 12 * 1024)
        self.assertEqual(procfs.parse_resident("Name:\tkthreadd\n"), 0)

    def test_busy_leaves_out_idle_iowait_and_guests(self) -> None:
        ticks = " ".join(str(procfs.TICK * n) for n in (1, 2, 3, 100, 200, 4, 5, 6, 50, 50))
        self.assertAlmostEqual(procfs.parse_busy(f"cpu  {ticks}\ncpu0 1 2 3\n"), 21.0)

    def test_tree(self) -> None:
        stats = {pid: procfs.Stat(pid, parent, 1.0) for pid, parent in ((1, 0), (2, 1), (3, 2), (4, 1), (5, 9))}
        self.assertEqual([stat.pid for stat in procfs.tree(1, stats)], [1, 2, 4, 3])
        self.assertEqual(procfs.tree(8, stats), [])

    def test_this_process(self) -> None:
        self.assertGreater(procfs.resident(os.getpid()), 1 << 20)
        self.assertGreater(procfs.cpu_seconds(os.getpid()), 0)


class Places(unittest.TestCase):
    def test_render(self) -> None:
        self.assertEqual(places.render('"@type": @{a}/$b', {"a": "1"}), '"@type": 1/$b')
        with self.assertRaises(KeyError):
            places.render("@{nothing}", {})

    def test_ports_are_given_once_and_are_below_the_ephemeral_range(self) -> None:
        ports = places.Ports(seed=1)
        taken = {ports.take() for _ in range(20)}
        self.assertEqual(len(taken), 20)
        self.assertLess(max(taken), 32_768)


class Machine(unittest.TestCase):
    def test_cores(self) -> None:
        with mock.patch("os.sched_getaffinity", return_value={0, 1, 2, 3}):
            self.assertEqual(machine.cores_for(None), (0, 1, 2))
            self.assertEqual(machine.cores_for("2,3"), (2, 3, 3))
            self.assertEqual(machine.cores_for("3,1,0"), (3, 1, 0))
            for wrong in ("0,0", "0,1,0", "0", "0,9"):
                with self.assertRaises(ValueError):
                    machine.cores_for(wrong)
        with mock.patch("os.sched_getaffinity", return_value={0}), self.assertRaises(ValueError):
            machine.cores_for(None)

    def test_cpu_model(self) -> None:
        self.assertEqual(machine.cpu_model("processor\t: 0\nmodel name\t: AMD EPYC\n"), "AMD EPYC")
        self.assertEqual(machine.cpu_model(""), "unknown")


class Origin(unittest.TestCase):
    def test_requests(self) -> None:
        page = "Active connections: 1 \nserver accepts handled requests\n 3 4 1234 \nReading: 0 Writing: 1 Waiting: 0 \n"
        self.assertEqual(origin.parse_requests(page), 1234)
        with self.assertRaises(ValueError):
            origin.parse_requests("<html>")


class Cases(unittest.TestCase):
    def test_names_are_unique_and_what_they_refer_to_comes_first(self) -> None:
        seen: set[str] = set()
        for case in cases.every():
            self.assertNotIn(case.name, seen)
            self.assertIn(case.group, cases.GROUPS)
            if case.latency_of is not None:
                self.assertIn(case.latency_of, seen)
            seen.add(case.name)

    def test_choosing_brings_what_is_referred_to(self) -> None:
        self.assertEqual([case.name for case in cases.choose(["latency-pass"])], ["pass-64", "latency-pass"])
        with self.assertRaises(ValueError):
            cases.choose(["no-such-case"])

    def test_extras(self) -> None:
        self.assertEqual(cli.choose(["sites", "none"]), ([], ["sites"]))
        self.assertEqual(len(cli.choose(["*"])[0]), len(cases.every()))


class Peers(unittest.TestCase):
    def test_every_folder_is_whole(self) -> None:
        values = {name: "1" for name in ("dir", "http_port", "https_port", "origin", "origin_host", "origin_port")}
        values |= {name: "/x" for name in ("tls_dir", "certificate", "key", "pem", "body")}
        for name in peers.names():
            peer = peers.read(name)
            for word in peer.command:
                places.render(word, values)
            for file in (peers.PEERS / name).rglob("*"):
                if file.is_file():
                    places.render(file.read_text(), values)
        self.assertEqual(peers.names()[-2:], ["anypop", "limit"])


class Validation(unittest.TestCase):
    def check(self, name: str, load: Load, asked: int) -> None:
        case = cases.choose([name])[-1]
        validate(case, load, Account(1.0, 1.0, 1.0, 1.0, asked), fixed=False)

    def test_hits_and_misses(self) -> None:
        load = Load(100_000, 1.0, 0)
        self.check("h1-1k-64", load, 3)
        self.check("pass-64", load, 100_010)
        for name, asked in (("h1-1k-64", 5_000), ("pass-64", 50_000)):
            with self.assertRaises(Failed):
                self.check(name, load, asked)

    def test_errors_and_resumption(self) -> None:
        with self.assertRaises(Failed):
            self.check("h1-1k-64", Load(1000, 1.0, 5), 0)
        with self.assertRaises(Failed):
            self.check("h1-1k-64", Load(0, 0.0, 0), 0)
        with self.assertRaises(Failed):
            self.check("h1-1k-64", Load(64, 16.0, 0), 0)
        with self.assertRaises(Failed):
            self.check("tls-resumed", Load(1000, 1.0, 0, resumed=0.5), 0)
        self.check("tls-resumed", Load(1000, 1.0, 0, resumed=0.99), 0)


if __name__ == "__main__":
    unittest.main()
