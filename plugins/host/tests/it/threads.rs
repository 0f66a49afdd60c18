//! Many threads at once: streams that share instances, ticks that reach into them, crashes in between.

use std::{thread, time::Duration};

use anypop_plugins::*;

use crate::{guests::Guest, support::*};

#[test]
fn streams_ticks_and_crashes_at_once() {
    let mut guest = Guest::new();
    let (kill, name, value) = (guest.data("x-kill"), guest.data("x-tick"), guest.data("v"));
    let guest = guest
        .on("configure", "(drop (call $proxy_set_tick_period_milliseconds (i32.const 1))) (i32.const 1)")
        // A tick that writes into whatever stream has the lowest number.
        .on(
            "tick",
            &format!(
                "(local.set $a (i32.const 2))
                 (loop $next
                    (if (call $proxy_set_effective_context (local.get $a)) (then
                        (local.set $a (i32.add (local.get $a) (i32.const 1)))
                        (br_if $next (i32.lt_u (local.get $a) (i32.const 50))))
                    (else
                        (drop (call $proxy_add_header_map_value (i32.const 0) {name} {value}))
                        (drop (call $proxy_continue_stream (i32.const 0))))))"
            ),
        )
        .on(
            "request_headers",
            &format!("(if (i32.eqz (call $proxy_get_header_map_value (i32.const 0) {kill} (i32.const 16) (i32.const 20))) (then unreachable)) (i32.const 0)"),
        )
        .on("request_body", "(i32.eqz (local.get 2))");
    let breaker = BreakerPolicy {
        base: Duration::ZERO,
        most: Duration::ZERO,
        crashes: 1_000_000,
        ..BreakerPolicy::default()
    };
    let pop = Pop::with(|options| {
        (options.breaker, options.workers, options.background) = (breaker, 2, true);
    });
    let plugin = pop.attach(&guest, |spec| {
        spec.fail_policy = FailPolicy::Open;
        spec.limits.tick = Duration::from_millis(1);
    });
    let chain = Chain::new(std::slice::from_ref(&plugin), Phase::Client);
    thread::scope(|scope| {
        for worker in 0..4 {
            let chain = chain.clone();
            scope.spawn(move || {
                for round in 0..200 {
                    let mut stream = chain.stream(worker, StreamInfo::default());
                    let head = if round % 50 == 49 {
                        Fields::request("GET", "https", "a", "/", &headers(&[("x-kill", "1")]))
                    } else {
                        request()
                    };
                    assert_eq!(stream.head(Direction::Request, head, false), Flow::Continue);
                    assert_eq!(
                        stream.body(Direction::Request, "a".into(), false),
                        Flow::Continue
                    );
                    assert_eq!(
                        stream.body(Direction::Request, "b".into(), true),
                        Flow::Continue
                    );
                    assert!(stream.is_complete(Direction::Request));
                }
            });
        }
    });
    assert_eq!(plugin.status(std::time::Instant::now()).streams, 800);
}

#[test]
fn warming_builds_every_workers_instance() {
    let pop = Pop::with(|options| options.workers = 3);
    let plugin = pop.attach(&Guest::new(), |_| {});
    assert_eq!(plugin.status(std::time::Instant::now()).instances, 1);
    plugin.warm().unwrap();
    let status = plugin.status(std::time::Instant::now());
    assert_eq!((status.instances, status.streams), (3, 0));
}
