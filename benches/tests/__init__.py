"""Tests of the harness's pure parts: `./benches/test`."""
