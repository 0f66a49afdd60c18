"""Table, plot and JSON of a made-up run."""

import json
import unittest
import xml.etree.ElementTree as ElementTree

from harness import cases, peers
from harness.measure import Sample
from harness.memory import Weight
from harness.report import Run, document, plot, table
from harness.report.figures import figures
from harness.rounds import Results
from harness.sites import Sites
from harness.stats import judge


def sample(rate: float, cpu: float = 10.0, p99: float = 100.0) -> Sample:
    latency = {"p50_us": p99 / 2, "p90_us": p99 * 0.9, "p99_us": p99, "p999_us": p99 * 2}
    return Sample(rate, cpu, 0.99, latency, 0, None, 0.0)


def made_up() -> Run:
    chosen = cases.choose(["h1-1k-64", "pass-64", "latency-hit", "tls-1k-64"])
    results = Results()
    for name, rate in (("nginx", 90.0), ("haproxy", 100.0), ("anypop", 150.0), ("limit", 160.0)):
        results.samples["h1-1k-64", name] = [sample(rate - 1), sample(rate), sample(rate + 1)]
        if name != "limit":
            results.samples["pass-64", name] = [sample(rate / 4)]
            results.samples["latency-hit", name] = [sample(rate * 0.7, p99=rate)]
    results.missing["tls-1k-64", "varnish"] = "ends no <TLS>"
    machine: dict[str, object] = {"system": "Debian", "kernel": "6", "cores": 2, "cpu": "a & b", "load_before": 0.1}
    return Run(
        when="2026-01-01 00:00 UTC",
        machine=machine,
        options={"cores": "0,1,1", "rounds": 3, "seconds": 4},
        versions={"nginx": "1.22"},
        peers=[peers.read(name) for name in peers.names()],
        cases=chosen,
        results=results,
        noise=judge([[159.0, 160.0, 161.0]], [0.0]),
        idle={("h1", "anypop"): Weight(1000, 1 << 20, (1 << 20) + 4096 * 1000), ("tls", "varnish"): "does not speak it"},
        sites=Sites(100_000, 5.0, 0.1, 300 << 20, 30 << 20, 100.0, 101.0),
    )


class Report(unittest.TestCase):
    def setUp(self) -> None:
        self.run_ = made_up()

    def test_the_best_peer_is_neither_anypop_nor_the_limit(self) -> None:
        self.assertEqual(self.run_.best_peer(self.run_.cases[0]), ("haproxy", 100.0))

    def test_figures(self) -> None:
        found = {figure.title: (round(figure.value, 3), figure.met) for figure in figures(self.run_)}
        self.assertEqual(found["h1-1k-64: rate, x best peer (haproxy)"], (1.5, True))
        self.assertEqual(found["h1-1k-64: CPU each, x limit"], (1.0, True))
        self.assertEqual(found["pass-64: rate, x nginx"], (1.667, True))
        self.assertEqual(found["latency-hit: p99, x best peer's"], (1.667, False))
        self.assertEqual(found["memory for each idle connection, h1"], (4.0, True))

    def test_table(self) -> None:
        words = table.render(self.run_)
        for expected in ("1.67", "quiet enough", "ends no <TLS>", "2.8 KiB resident for each site", "at least 1.25"):
            self.assertIn(expected, words)

    def test_plot_is_well_formed(self) -> None:
        root = ElementTree.fromstring(plot.render(self.run_))
        self.assertGreater(len(root.findall("{http://www.w3.org/2000/svg}rect")), 10)

    def test_document(self) -> None:
        again = json.loads(json.dumps(document.document(self.run_)))
        self.assertEqual(len(again["cases"][0]["samples"]["nginx"]), 3)
        self.assertEqual(again["sites"]["sites"], 100_000)
        self.assertFalse(again["noise"]["noisy"])


if __name__ == "__main__":
    unittest.main()
