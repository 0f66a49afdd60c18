//! Guests that mean harm. None of them may cost more than its own stream.

use std::time::{Duration, Instant};

use anypop_plugins::*;

use crate::{guests::Guest, support::*};

const FOREVER: &str = "(loop $l (br $l))";

/// Longest that anything here may take, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(20);

fn short(spec: &mut PluginSpec) {
    spec.limits.callback = Duration::from_millis(5);
    spec.limits.start = Duration::from_millis(20);
}

#[test]
fn loops_end_in_every_callback_of_a_stream() {
    for callback in [
        "context_create",
        "request_headers",
        "request_body",
        "request_trailers",
        "response_headers",
        "response_body",
        "response_trailers",
    ] {
        let body = if callback == "context_create" {
            // The root context's must end.
            "(if (i32.eq (local.get 0) (i32.const 1)) (then (return))) (loop $l (br $l))".to_owned()
        } else {
            format!("{FOREVER} (i32.const 0)")
        };
        let guest = Guest::new().on(callback, &body);
        let guest = if callback == "context_create" {
            guest.on("request_headers", "(i32.const 0)")
        } else {
            guest
        };
        let pop = Pop::new();
        let plugin = pop.attach(&guest, short);
        let mut stream = pop.stream(&[&plugin]);
        let began = Instant::now();
        let mut last = Flow::Continue;
        let trailers = || Fields::plain(&headers(&[("x-t", "1")]));
        for step in 0..6 {
            if last != Flow::Continue {
                break;
            }
            last = match step {
                0 => stream.head(Direction::Request, request(), false),
                1 => stream.body(Direction::Request, "x".into(), false),
                2 => stream.trailers(Direction::Request, trailers()),
                3 => stream.head(Direction::Response, response(), false),
                4 => stream.body(Direction::Response, "x".into(), false),
                _ => stream.trailers(Direction::Response, trailers()),
            };
        }
        assert!(began.elapsed() < PATIENCE, "{callback}");
        assert_eq!(stream.failures()[0].fault, Fault::Deadline, "{callback}");
        let begun = callback == "response_body" || callback == "response_trailers";
        assert_eq!(last == Flow::Reset, begun, "{callback}: {last:?}");
    }
}

#[test]
fn loops_end_where_no_stream_waits() {
    for callback in ["done", "log", "delete"] {
        let result = if callback == "done" {
            "(i32.const 1)"
        } else {
            ""
        };
        let guest = Guest::new()
            .on("request_headers", "(i32.const 0)")
            .on(callback, &format!("{FOREVER} {result}"));
        let pop = Pop::new();
        let plugin = pop.attach(&guest, short);
        let mut stream = pop.stream(&[&plugin]);
        assert_eq!(
            stream.head(Direction::Request, request(), true),
            Flow::Continue
        );
        stream.finish();
        assert_eq!(plugin.status(Instant::now()).crashes, 1, "{callback}");
    }
    let guest = Guest::new()
        .on(
            "configure",
            "(drop (call $proxy_set_tick_period_milliseconds (i32.const 1))) (i32.const 1)",
        )
        .on("tick", FOREVER);
    let pop = Pop::new();
    let plugin = pop.attach(&guest, short);
    pop.host.run_due(Instant::now() + Duration::from_secs(1));
    assert_eq!(plugin.status(Instant::now()).crashes, 1);
}

#[test]
fn loops_end_while_starting() {
    for callback in [
        "_initialize",
        "_start",
        "context_create",
        "vm_start",
        "configure",
    ] {
        let result = if matches!(callback, "vm_start" | "configure") {
            "(i32.const 1)"
        } else {
            ""
        };
        let guest = Guest::new().on(callback, &format!("{FOREVER} {result}"));
        let began = Instant::now();
        let error = Pop::new()
            .try_attach("site", &guest.wasm(), short)
            .unwrap_err();
        assert!(
            matches!(error, PluginError::Start(Fault::Deadline)),
            "{callback}: {error}"
        );
        assert!(began.elapsed() < PATIENCE);
    }
    let guest = Guest::new().with(&format!("(func $begin {FOREVER}) (start $begin)"));
    let error = Pop::new()
        .try_attach("site", &guest.wasm(), short)
        .unwrap_err();
    assert!(
        matches!(error, PluginError::Start(Fault::Deadline)),
        "start: {error}"
    );
}

/// Asks for its path, for which the host needs the guest's allocator.
fn asking(guest: Guest) -> Guest {
    let mut guest = guest;
    let path = guest.data(":path");
    guest.on(
        "request_headers",
        &format!("(call $say (call $proxy_get_header_map_value (i32.const 0) {path} (i32.const 16) (i32.const 20))) (i32.const 0)"),
    )
}

#[test]
fn allocators_that_loop_trap_lie_or_call_back() {
    let run = |allocator: &str| {
        let pop = Pop::new();
        let plugin = pop.attach(&asking(Guest::new().allocator(allocator)), short);
        let mut stream = pop.stream(&[&plugin]);
        let flow = stream.head(Direction::Request, request(), true);
        (
            flow,
            stream
                .failures()
                .first()
                .map(|failure| failure.fault.clone()),
            pop.lines(),
        )
    };
    let (_, fault, _) = run("(loop $l (br $l)) (i32.const 0)");
    assert_eq!(fault, Some(Fault::Deadline));
    let (_, fault, _) = run("unreachable");
    assert!(matches!(fault, Some(Fault::Trap(_))));
    let (flow, _, lines) = run("(i32.const 0)");
    assert_eq!((flow, lines.concat().as_str()), (Flow::Continue, ":"));
    let (flow, _, lines) = run("(i32.const -8)");
    assert_eq!((flow, lines.concat().as_str()), (Flow::Continue, "6"));
    // Asks from within the allocator: refused there, so the recursion ends at once.
    let (flow, _, lines) = run(
        "(call $say (call $proxy_get_header_map_pairs (i32.const 0) (i32.const 40) (i32.const 44))) (i32.const 4096)",
    );
    assert_eq!((flow, lines.concat().as_str()), (Flow::Continue, ":0"));
    let (_, fault, _) = run("(call $allocate (local.get 0))");
    assert!(matches!(fault, Some(Fault::Trap(_))), "{fault:?}");
}

#[test]
fn memory_bombs_stop_at_the_limit() {
    let guest = Guest::new().on(
        "request_headers",
        "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (call $number (memory.size)) unreachable",
    );
    let pop = Pop::new();
    let plugin = pop.attach(&guest, |spec| spec.limits.memory = 2 << 20);
    let mut stream = pop.stream(&[&plugin]);
    assert!(matches!(
        stream.head(Direction::Request, request(), true),
        Flow::Respond(_)
    ));
    assert!(
        matches!(stream.failures()[0].fault, Fault::Memory(_)),
        "{:?}",
        stream.failures()
    );
    assert_eq!(pop.lines()[0], "17");
    // A module that begins with more than it may have does not start.
    let big = wat::parse_str(
        "(module (func (export \"proxy_abi_version_0_2_1\")) (memory (export \"memory\") 100)
            (func (export \"malloc\") (param i32) (result i32) unreachable))",
    )
    .unwrap();
    assert!(
        pop.try_attach("site", &big, |spec| spec.limits.memory = 2 << 20)
            .is_err()
    );
}

#[test]
fn deep_recursion_and_traps() {
    for (body, word) in [
        ("(call $deep) (i32.const 0)", "stack"),
        ("unreachable", "unreachable"),
        ("(i32.div_u (i32.const 1) (local.get $a))", "divide"),
        ("(i32.load (i32.const -4))", "out of bounds"),
        ("(call_indirect (result i32) (i32.const 5))", "table"),
    ] {
        let guest = Guest::new()
            .with("(table 1 funcref) (func $deep (call $deep))")
            .on("request_headers", body);
        let (flow, stream, lines) = Pop::new().get(&guest);
        let Flow::Respond(response) = flow else {
            panic!("{body}: {flow:?}")
        };
        assert_eq!(response.status, 503);
        assert_eq!(
            response.headers.text("proxy-status"),
            Some("anypop; error=proxy_internal_error; details=\"plugin plugin: trap\"")
        );
        assert!(lines[0].contains(word), "{lines:?}");
        drop(stream);
    }
}

#[test]
fn bad_pointers_are_answered_everywhere() {
    // Every function with its pointers at the memory's end, and lengths that overflow.
    let functions = [
        ("proxy_log", "(i32.const 2) P", 1),
        ("proxy_get_log_level", "E", 1),
        ("proxy_get_current_time_nanoseconds", "E", 1),
        ("proxy_get_header_map_size", "(i32.const 0) E", 1),
        ("proxy_get_header_map_pairs", "(i32.const 0) E E", 1),
        ("proxy_set_header_map_pairs", "(i32.const 0) P", 1),
        ("proxy_get_header_map_value", "(i32.const 0) P E E", 1),
        ("proxy_add_header_map_value", "(i32.const 0) P P", 1),
        ("proxy_replace_header_map_value", "(i32.const 0) P P", 1),
        ("proxy_remove_header_map_value", "(i32.const 0) P", 1),
        (
            "proxy_get_buffer_bytes",
            "(i32.const 7) (i32.const 0) (i32.const 9) E E",
            1,
        ),
        ("proxy_get_buffer_status", "(i32.const 7) E E", 1),
        ("proxy_get_status", "E E E", 1),
        (
            "proxy_send_local_response",
            "(i32.const 200) P P P (i32.const -1)",
            1,
        ),
        ("proxy_http_call", "P P P P (i32.const 0) E", 1),
        ("proxy_get_shared_data", "P E E E", 1),
        ("proxy_set_shared_data", "P P (i32.const 0)", 1),
        ("proxy_register_shared_queue", "P E", 1),
        ("proxy_resolve_shared_queue", "P P E", 1),
        ("proxy_enqueue_shared_queue", "(i32.const 1) P", 1),
        ("proxy_define_metric", "(i32.const 0) P E", 1),
        ("proxy_get_property", "P E E", 1),
        ("proxy_set_property", "P P", 1),
        ("proxy_call_foreign_function", "P P E E", 1),
    ];
    for (pointer, length) in [
        ("(i32.const 65535)", "(i32.const 2)"),
        ("(i32.const 1)", "(i32.const -1)"),
        ("(i32.const -1)", "(i32.const -1)"),
    ] {
        let body: String = functions
            .iter()
            .map(|(name, arguments, _)| {
                let arguments = arguments
                    .replace('P', &format!("{pointer} {length}"))
                    .replace('E', "(i32.const 65534)");
                format!("(call $say (call ${name} {arguments}))")
            })
            .collect();
        let guest = Guest::new().on("request_headers", &format!("{body} (i32.const 0)"));
        let pop = Pop::new();
        let plugin = pop.attach(&guest, |spec| spec.configuration = "x".into());
        let mut stream = pop.stream(&[&plugin]);
        assert_eq!(
            stream.head(Direction::Request, request(), true),
            Flow::Continue
        );
        assert_eq!(pop.lines().concat(), "6".repeat(functions.len()));
    }
}

#[test]
fn all_callbacks_together_have_a_limit_too() {
    // Each callback stays within its own time.
    let guest = Guest::new().on(
        "request_body",
        "(local.set $a (i32.const 3000000))
         (loop $l (local.set $a (i32.sub (local.get $a) (i32.const 1))) (br_if $l (local.get $a)))
         (i32.const 0)",
    );
    let pop = Pop::new();
    let plugin = pop.attach(&guest, |spec| {
        spec.limits.request = Duration::from_millis(5)
    });
    let mut stream = pop.stream(&[&plugin]);
    stream.head(Direction::Request, request(), false);
    let began = Instant::now();
    let flow = loop {
        assert!(began.elapsed() < PATIENCE, "never ended");
        match stream.body(Direction::Request, "x".into(), false) {
            Flow::Continue => {}
            flow => break flow,
        }
    };
    assert!(matches!(flow, Flow::Respond(_)));
    assert_eq!(stream.failures()[0].fault, Fault::RequestTime);
    // That is no crash: the instance lives.
    assert_eq!(plugin.status(Instant::now()).crashes, 0);
    assert_eq!(
        pop.stream(&[&plugin])
            .head(Direction::Request, request(), true),
        Flow::Continue
    );
}

#[test]
fn streams_of_one_instance_are_bounded_and_so_is_the_pool() {
    let guest = Guest::new().on("request_headers", "(i32.const 0)");
    let pop = Pop::new();
    let plugin = pop.attach(&guest, |spec| spec.limits.streams = 2);
    let mut streams: Vec<Stream> = (0..3).map(|_| pop.stream(&[&plugin])).collect();
    let flows: Vec<Flow> = streams
        .iter_mut()
        .map(|stream| stream.head(Direction::Request, request(), true))
        .collect();
    assert_eq!(flows[..2], [Flow::Continue, Flow::Continue]);
    assert!(matches!(flows[2], Flow::Respond(_)));
    drop(streams);
    assert_eq!(
        pop.stream(&[&plugin])
            .head(Direction::Request, request(), true),
        Flow::Continue
    );

    let pop = Pop::with(|options| options.pool.instances = 3);
    let plugin = pop.attach(&guest, |spec| {
        (spec.isolation, spec.fail_policy) = (Isolation::Request, FailPolicy::Open)
    });
    let mut streams: Vec<Stream> = (0..4).map(|_| pop.stream(&[&plugin])).collect();
    for stream in &mut streams {
        assert_eq!(
            stream.head(Direction::Request, request(), true),
            Flow::Continue
        );
    }
    assert_eq!(streams[3].failures()[0].fault, Fault::NoRoom);
}
