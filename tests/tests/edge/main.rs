//! The edge from outside, from basic to complex. One program, because linking it is what takes the time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod b00_support;
mod b01_hits;
mod b02_conditions;
mod b03_ranges;
mod b04_stale;
mod b05_fills;
mod b06_purge;
mod b07_sites;
mod b08_one_meaning;
mod b09_limits;
mod b10_origins;
mod b11_streams;
mod b12_tls;
mod b13_http2;
mod b14_proxy_protocol;
mod b15_seeing;
mod b16_bad_documents;
mod b17_lifecycle;
mod b18_demo;
mod b19_parts;
mod b20_disk;
