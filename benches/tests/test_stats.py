"""Medians, ratios, noise."""

import unittest

from harness import stats


class Summaries(unittest.TestCase):
    def test_median_and_spread(self) -> None:
        summary = stats.summarize([100.0, 90.0, 120.0])
        self.assertEqual((summary.median, summary.low, summary.high, summary.rounds), (100.0, 90.0, 120.0, 3))
        self.assertAlmostEqual(summary.spread, 0.3)

    def test_ratio_of_what_is_not_known(self) -> None:
        self.assertEqual(stats.ratio(3.0, 2.0), 1.5)
        self.assertIsNone(stats.ratio(None, 2.0))
        self.assertIsNone(stats.ratio(1.0, None))
        self.assertIsNone(stats.ratio(1.0, 0.0))


class Noise(unittest.TestCase):
    def test_quiet(self) -> None:
        noise = stats.judge([[100.0, 105.0], [50.0, 51.0]], [0.01, 0.02, 0.9])
        self.assertFalse(noise.noisy)
        self.assertTrue(noise.verdict().startswith("quiet enough"))

    def test_the_worst_case_of_the_limit_counts(self) -> None:
        noise = stats.judge([[100.0, 101.0], [50.0, 60.0]], [0.0])
        self.assertTrue(noise.noisy)
        self.assertIn("TOO NOISY", noise.verdict())

    def test_others_at_work(self) -> None:
        self.assertTrue(stats.judge([[100.0, 101.0]], [0.5]).noisy)

    def test_one_round_tells_nothing(self) -> None:
        noise = stats.judge([[100.0]], [])
        self.assertFalse(noise.noisy)
        self.assertIn("cannot be judged", noise.verdict())


if __name__ == "__main__":
    unittest.main()
