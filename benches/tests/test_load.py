"""What the load generators print."""

import unittest

from harness.load import h2load, loadgen, wrk

WRK = """\
Running 2s test @ http://localhost:20901/hot/1k
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.06ms    1.56ms  18.06ms   90.28%
    Req/Sec    48.71k    10.17k   67.52k    75.00%
  Latency Distribution
     50%  595.00us
     75%    1.05ms
     90%    2.66ms
     99%    8.81ms
  97249 requests in 2.01s, 103.70MB read
Requests/sec:  48382.23
Transfer/sec:     51.59MB
"""

WRK_ERRORS = """\
  10 requests in 1.00m, 1.00MB read
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 5
Requests/sec:      0.17
"""

H2LOAD = """\
finished in 2.00s, 32012.50 req/s, 33.55MB/s
requests: 64025 total, 64665 started, 64025 done, 64020 succeeded, 5 failed, 5 errored, 0 timeout
status codes: 64035 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 67.10MB (70360675) total, 3.18MB (3331365) headers (space savings 74.00%), 62.52MB (65561600) data
                     min         max         mean         sd        +/- sd
time for request:      532us     83.58ms     19.96ms      3.63ms    91.34%
time for connect:    21.83ms     51.13ms     38.45ms      8.31ms    64.06%
"""


class Wrk(unittest.TestCase):
    def test_reads_counts_rate_and_percentiles(self) -> None:
        load = wrk.parse(WRK)
        self.assertEqual((load.requests, load.rate, load.errors), (97249, 48382.23, 0))
        self.assertEqual(load.latency, {"p50_us": 595.0, "p75_us": 1050.0, "p90_us": 2660.0, "p99_us": 8810.0})

    def test_adds_all_errors(self) -> None:
        self.assertEqual(wrk.parse(WRK_ERRORS).errors, 15)

    def test_refuses_anything_else(self) -> None:
        with self.assertRaises(ValueError):
            wrk.parse("unable to connect to localhost:1 Connection refused")

    def test_command(self) -> None:
        words = wrk.command("http://localhost:1/", 64, 2, {"Range": "bytes=0-1"}, "mark-")
        self.assertIn("Range: bytes=0-1", words)
        self.assertEqual(words[-3:], ["http://localhost:1/", "--", "mark-"])


class H2load(unittest.TestCase):
    def test_reads_counts_and_rate(self) -> None:
        load = h2load.parse(H2LOAD)
        self.assertEqual((load.requests, load.rate, load.errors), (64020, 32012.5, 5))
        self.assertEqual(load.latency, {"max_us": 83580.0, "mean_us": 19960.0})

    def test_refuses_anything_else(self) -> None:
        with self.assertRaises(ValueError):
            h2load.parse("")


class Loadgen(unittest.TestCase):
    def test_requests_without_end_are_errors(self) -> None:
        line = '{"sent":100,"recorded":80,"errors":1,"unfinished":2,"seconds":1.000,"rate":80.0,"latency":{"p50_us":20.5}}\n'
        load = loadgen.parse_rate(line)
        self.assertEqual((load.requests, load.errors, load.latency), (100, 3, {"p50_us": 20.5}))

    def test_share_of_resumed_handshakes(self) -> None:
        load = loadgen.parse_handshakes('{"full":10,"resumed":90,"errors":0,"seconds":2.000}')
        self.assertEqual((load.requests, load.rate, load.resumed), (100, 50.0, 0.9))
        self.assertEqual(loadgen.parse_handshakes('{"full":0,"resumed":0,"errors":3,"seconds":2.0}').resumed, 0.0)


if __name__ == "__main__":
    unittest.main()
