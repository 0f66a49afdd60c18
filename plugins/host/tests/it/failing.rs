//! What becomes of requests and plugins when plugins fail.

use std::time::{Duration, Instant};

use anypop_plugins::*;

use crate::{guests::Guest, support::*};

/// Traps on requests that carry `x-kill`, after changing what it can.
fn fragile() -> Guest {
    let mut guest = Guest::new();
    let (kill, new, value, tag) = (
        guest.data("x-kill"),
        guest.data("x-new"),
        guest.data("v"),
        guest.data("anypop.set_ttl"),
    );
    let ttl = guest.data("9");
    guest
        .on(
            "request_headers",
            &format!(
                "(call $say (i32.const 0))
                 (drop (call $proxy_add_header_map_value (i32.const 0) {new} {value}))
                 (drop (call $proxy_call_foreign_function {tag} {ttl} (i32.const 16) (i32.const 20)))
                 (if (i32.eqz (call $proxy_get_header_map_value (i32.const 0) {kill} (i32.const 16) (i32.const 20)))
                    (then unreachable))
                 (i32.const 0)"
            ),
        )
        .on("response_headers", "(call $say (i32.const 1)) (i32.const 0)")
}

fn killer() -> Fields {
    Fields::request(
        "GET",
        "https",
        "www.shop.example",
        "/",
        &headers(&[("x-kill", "1")]),
    )
}

fn patient() -> BreakerPolicy {
    BreakerPolicy {
        base: Duration::from_secs(3600),
        most: Duration::from_secs(7200),
        ..BreakerPolicy::default()
    }
}

#[test]
fn closed_answers_503_until_the_plugin_is_built_again() {
    let pop = Pop::with(|options| options.breaker = patient());
    let plugin = pop.attach(&fragile(), |_| {});
    let mut other = pop.stream(&[&plugin]);
    assert_eq!(
        other.head(Direction::Request, request(), true),
        Flow::Continue
    );
    let is_503 = |flow: Flow| matches!(flow, Flow::Respond(response) if response.status == 503);
    assert!(is_503(pop.stream(&[&plugin]).head(
        Direction::Request,
        killer(),
        true
    )));
    pop.lines();
    // The instance is never called again: neither for new streams nor for the one that was open on it.
    assert!(is_503(pop.stream(&[&plugin]).head(
        Direction::Request,
        request(),
        true
    )));
    assert!(is_503(other.head(Direction::Response, response(), true)));
    assert_eq!(other.failures()[0].fault, Fault::Gone);
    drop(other);
    assert!(pop.lines().is_empty());
    let status = plugin.status(Instant::now());
    assert_eq!(
        (
            status.state,
            status.crashes,
            status.failed,
            status.instances
        ),
        ("waiting", 1, 3, 0)
    );
    assert!(status.last_fault.unwrap().contains("trapped"));
}

#[test]
fn open_goes_on_without_it_even_with_the_request_that_broke_it() {
    let pop = Pop::with(|options| options.breaker = patient());
    let plugin = pop.attach(&fragile(), |spec| spec.fail_policy = FailPolicy::Open);
    let mut stream = pop.stream(&[&plugin]);
    assert_eq!(
        stream.head(Direction::Request, killer(), true),
        Flow::Continue
    );
    // As if it had not been there.
    assert_eq!(stream.released_head(Direction::Request).unwrap(), killer());
    assert_eq!(stream.cache_wishes(), CacheWishes::default());
    assert_eq!(
        stream.head(Direction::Response, response(), true),
        Flow::Continue
    );
    assert!(stream.failures()[0].bypassed);
    let mut next = pop.stream(&[&plugin]);
    assert_eq!(
        next.head(Direction::Request, request(), true),
        Flow::Continue
    );
    assert_eq!(next.released_head(Direction::Request).unwrap(), request());
    assert_eq!(plugin.status(Instant::now()).bypassed, 2);
}

#[test]
fn open_lets_go_of_the_body_that_a_failing_plugin_held() {
    let guest = Guest::new().on(
        "request_body",
        "(if (local.get 2) (then unreachable)) (i32.const 1)",
    );
    let pop = Pop::new();
    let plugin = pop.attach(&guest, |spec| spec.fail_policy = FailPolicy::Open);
    let mut stream = pop.stream(&[&plugin]);
    stream.head(Direction::Request, post(6), false);
    assert_eq!(
        stream.body(Direction::Request, "abc".into(), false),
        Flow::Continue
    );
    assert_eq!(
        stream.body(Direction::Request, "def".into(), true),
        Flow::Continue
    );
    assert_eq!(stream.take_body(Direction::Request), "abcdef");
    assert!(stream.is_complete(Direction::Request));
}

#[test]
fn reload_builds_the_next_request_an_instance_at_once() {
    let pop = Pop::with(|options| options.breaker = patient());
    let plugin = pop.attach(&fragile(), |spec| spec.fail_policy = FailPolicy::Reload);
    let run = |head: Fields| pop.stream(&[&plugin]).head(Direction::Request, head, true);
    assert!(matches!(run(killer()), Flow::Respond(_)));
    assert_eq!(run(request()), Flow::Continue);
    // The second crash in a row waits.
    assert!(matches!(run(killer()), Flow::Respond(_)));
    assert!(matches!(run(request()), Flow::Respond(_)));
    assert_eq!(plugin.status(Instant::now()).state, "waiting");
}

#[test]
fn with_an_instance_per_request_a_crash_costs_that_request_only() {
    let pop = Pop::with(|options| options.breaker = patient());
    let plugin = pop.attach(&fragile(), |spec| spec.isolation = Isolation::Request);
    let run = |head: Fields| pop.stream(&[&plugin]).head(Direction::Request, head, true);
    for _ in 0..3 {
        assert!(matches!(run(killer()), Flow::Respond(_)));
        assert_eq!(run(request()), Flow::Continue);
    }
    assert_eq!(plugin.status(Instant::now()).crashes, 3);
}

#[test]
fn crashed_plugins_come_back_after_their_wait() {
    let breaker = BreakerPolicy {
        base: Duration::from_millis(1),
        ..BreakerPolicy::default()
    };
    let pop = Pop::with(|options| options.breaker = breaker);
    let plugin = pop.attach(&fragile(), |_| {});
    pop.stream(&[&plugin])
        .head(Direction::Request, killer(), true);
    let deadline = Instant::now() + Duration::from_secs(20);
    while plugin.status(Instant::now()).instances == 0 {
        assert!(Instant::now() < deadline);
        pop.host.run_due(Instant::now());
    }
    assert_eq!(
        pop.stream(&[&plugin])
            .head(Direction::Request, request(), true),
        Flow::Continue
    );
}

#[test]
fn the_breaker_turns_a_plugin_off_and_says_so() {
    let breaker = BreakerPolicy {
        base: Duration::ZERO,
        most: Duration::ZERO,
        crashes: 3,
        ..BreakerPolicy::default()
    };
    let pop = Pop::with(|options| (options.breaker, options.workers) = (breaker, 2));
    let plugin = pop.attach(&fragile(), |spec| spec.fail_policy = FailPolicy::Open);
    let chain = Chain::new(std::slice::from_ref(&plugin), Phase::Client);
    for _ in 0..3 {
        chain
            .stream(0, StreamInfo::default())
            .head(Direction::Request, killer(), true);
    }
    let status = plugin.status(Instant::now());
    assert_eq!((status.state, status.crashes), ("off", 3));
    assert!(status.for_ms.unwrap() > 290_000);
    pop.lines();
    // Off means off, on every worker.
    for worker in 0..2 {
        let mut stream = chain.stream(worker, StreamInfo::default());
        assert_eq!(
            stream.head(Direction::Request, request(), true),
            Flow::Continue
        );
        assert_eq!(stream.failures()[0].fault, Fault::Off);
    }
    assert!(pop.lines().is_empty());
}

#[test]
fn one_plugins_crash_is_nobody_elses() {
    let pop = Pop::new();
    let fragile_ = pop.attach_to("a", &fragile(), |_| {});
    let sound = pop.attach_to("b", &fragile(), |_| {});
    assert!(matches!(
        pop.stream(&[&fragile_])
            .head(Direction::Request, killer(), true),
        Flow::Respond(_)
    ));
    assert_eq!(
        pop.stream(&[&sound])
            .head(Direction::Request, request(), true),
        Flow::Continue
    );
    assert_eq!(sound.status(Instant::now()).state, "running");
}

#[test]
fn paused_streams_hear_of_their_instances_end() {
    let mut guest = Guest::new();
    let kill = guest.data("x-kill");
    let guest = guest.on(
        "request_headers",
        &format!(
            "(if (i32.eqz (call $proxy_get_header_map_value (i32.const 0) {kill} (i32.const 16) (i32.const 20))) (then unreachable))
             (i32.const 1)"
        ),
    );
    for (policy, goes_on) in [(FailPolicy::Open, true), (FailPolicy::Closed, false)] {
        let pop = Pop::new();
        let plugin = pop.attach(&guest, |spec| spec.fail_policy = policy);
        let mut waiting = pop.stream(&[&plugin]);
        assert_eq!(
            waiting.head(Direction::Request, request(), true),
            Flow::Pause
        );
        pop.stream(&[&plugin])
            .head(Direction::Request, killer(), true);
        assert!(is_resumed(&mut waiting));
        assert_eq!(
            waiting.proceed(Direction::Request) == Flow::Continue,
            goes_on
        );
    }
}

#[test]
fn a_loop_in_one_plugin_leaves_the_others_their_time() {
    let pop = Pop::with(|options| options.workers = 2);
    let spinning = pop.attach_to(
        "a",
        &Guest::new().on("request_headers", "(loop $l (br $l)) (i32.const 0)"),
        |spec| {
            spec.limits.callback = Duration::from_millis(5);
            spec.fail_policy = FailPolicy::Open;
        },
    );
    let sound = pop.attach_to(
        "b",
        &Guest::new().on("request_headers", "(i32.const 0)"),
        |_| {},
    );
    for _ in 0..20 {
        assert_eq!(
            pop.stream(&[&spinning])
                .head(Direction::Request, request(), true),
            Flow::Continue
        );
        assert_eq!(
            pop.stream(&[&sound])
                .head(Direction::Request, request(), true),
            Flow::Continue
        );
    }
    assert_eq!(sound.status(Instant::now()).failed, 0);
    // Most of those never ran: the first crash made it wait.
    assert!(spinning.status(Instant::now()).crashes < 10);
}
