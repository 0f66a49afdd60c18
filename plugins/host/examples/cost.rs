//! Prints what a request through a plugin costs: `cargo run --release -p anypop-plugins --example cost -- FILE.wasm
//! [CONFIGURATION]`. Without a file it takes a guest of its own that adds a header. A request is six callbacks:
//! context, request head, response head, done, log, delete. Times are wall time, medians and 99th percentiles: run it on a quiet machine.
#![allow(clippy::print_stdout, reason = "its purpose")]

use std::{error::Error, sync::Arc, time::Duration};

use anypop_plugins::*;
use http::HeaderMap;

struct Nothing;

impl Services for Nothing {
    fn log(&self, _: &LogLine<'_>) {}

    fn http_call(&self, _: HttpCall, _: CallReply) -> Result<(), Status> {
        Err(Status::InternalFailure)
    }

    fn purge(&self, _: &str, _: &Purge) -> Result<(), Status> {
        Err(Status::InternalFailure)
    }
}

const GUEST: &str = r#"(module
    (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 2)
    (data (i32.const 64) "x-pop") (data (i32.const 80) "pop1") (data (i32.const 96) ":path")
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 65536))
    (func (export "proxy_on_context_create") (param i32 i32))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $get (i32.const 0) (i32.const 96) (i32.const 5) (i32.const 0) (i32.const 4)))
        (drop (call $add (i32.const 0) (i32.const 64) (i32.const 5) (i32.const 80) (i32.const 4)))
        (i32.const 0))
    (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
        (drop (call $add (i32.const 2) (i32.const 64) (i32.const 5) (i32.const 80) (i32.const 4)))
        (i32.const 0))
    (func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
    (func (export "proxy_on_log") (param i32))
    (func (export "proxy_on_delete") (param i32)))"#;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let wasm = match arguments.next() {
        Some(path) => std::fs::read(path)?,
        None => wat::parse_str(GUEST)?,
    };
    let configuration = arguments
        .next()
        .map(|text| text.into_encoded_bytes())
        .unwrap_or_default();
    let host = Host::new(HostOptions::default(), Arc::new(Nothing))?;
    let began = std::time::Instant::now();
    let module = host.compile(&wasm)?;
    println!(
        "{:<34} {:>10.1} ms",
        "compile",
        began.elapsed().as_secs_f64() * 1e3
    );
    for (name, isolation, rounds) in [
        ("long-lived instance", Isolation::Worker, 20_000),
        ("fresh instance per request", Isolation::Request, 5_000),
    ] {
        let mut spec = PluginSpec::new("cost");
        spec.configuration = configuration.clone().into();
        spec.isolation = isolation;
        let plugin = host.plugin("site", &module, &spec)?;
        let chain = Chain::new(std::slice::from_ref(&plugin), Phase::Client);
        for _ in 0..rounds / 10 {
            request(&chain);
        }
        let mut times: Vec<Duration> = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let began = std::time::Instant::now();
            request(&chain);
            times.push(began.elapsed());
        }
        times.sort();
        let at = |share: f64| {
            // The share is below 1, so the index is within the list.
            let index = (times.len() as f64 * share) as usize;
            times
                .get(index)
                .map_or(0.0, |time| time.as_secs_f64() * 1e6)
        };
        let from = if isolation == Isolation::Request && plugin.has_snapshot() {
            " (snapshot)"
        } else {
            ""
        };
        println!(
            "{:<34} {:>10.2} µs   p99 {:.2} µs",
            format!("{name}{from}"),
            at(0.5),
            at(0.99)
        );
    }
    let before = resident()?;
    let many = 500_usize;
    let plugins: Vec<_> = (0..many)
        .map(|n| {
            let spec = PluginSpec {
                configuration: configuration.clone().into(),
                ..PluginSpec::new("cost")
            };
            host.plugin(&format!("site{n}"), &module, &spec)
        })
        .collect::<Result<_, _>>()?;
    println!(
        "{:<34} {:>10.1} KiB",
        "resident memory per instance",
        (resident()? - before) as f64 / many as f64 / 1024.0
    );
    drop(plugins);
    Ok(())
}

fn request(chain: &Chain) {
    let mut headers = HeaderMap::new();
    headers.insert("user-agent", http::HeaderValue::from_static("cost/1"));
    headers.insert("accept", http::HeaderValue::from_static("*/*"));
    let mut stream = chain.stream(0, StreamInfo::default());
    _ = stream.head(
        Direction::Request,
        Fields::request("GET", "https", "www.shop.example", "/a", &headers),
        true,
    );
    _ = stream.head(Direction::Response, Fields::response(200, &headers), true);
    stream.finish();
}

/// Bytes of this process in memory.
fn resident() -> Result<u64, Box<dyn Error>> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm
        .split_whitespace()
        .nth(1)
        .ok_or("no resident size")?
        .parse()?;
    Ok(pages * 4096)
}
