//! Call-outs.

use std::time::Duration;

use anypop_plugins::*;

use crate::{guests::Guest, support::*};

/// Calls `auth` from the request's head and pauses; the answer resumes stream 2.
fn caller(upstream: &str, pairs: &[(&str, &str)], timeout: u32) -> Guest {
    let mut guest = Guest::new();
    let upstream = guest.data(upstream);
    let map = guest.data(map::serialize(
        pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())),
    ));
    let body = guest.data("ask");
    let status = guest.data(":status");
    guest
        .on(
            "request_headers",
            &format!(
                "(call $say (call $proxy_http_call {upstream} {map} {body} (i32.const 0) (i32.const 0) (i32.const {timeout}) (i32.const 24)))
                 (i32.const 1)"
            ),
        )
        .on(
            "http_call_response",
            &format!(
                "(call $number (local.get 0))
                 (call $number (i32.eq (local.get 1) (i32.load (i32.const 24))))
                 (call $number (local.get 2)) (call $number (local.get 3)) (call $number (local.get 4))
                 (call $tell (call $proxy_get_header_map_value (i32.const 6) {status} (i32.const 16) (i32.const 20)))
                 (call $tell (call $proxy_get_buffer_bytes (i32.const 4) (i32.const 0) (i32.const -1) (i32.const 16) (i32.const 20)))
                 (call $say (call $proxy_get_status (i32.const 28) (i32.const 16) (i32.const 20)))
                 (call $number (i32.load (i32.const 28)))
                 (drop (call $proxy_set_effective_context (i32.const 2)))
                 (call $say (call $proxy_continue_stream (i32.const 0)))"
            ),
        )
}

const HEAD: &[(&str, &str)] = &[
    (":method", "POST"),
    (":path", "/check"),
    (":authority", "auth.example"),
    ("x-token", "t"),
    ("content-length", "3"),
];

#[test]
fn a_call_out_is_sent_and_its_answer_resumes_the_stream() {
    let pop = Pop::new();
    let plugin = pop.attach(&caller("auth", HEAD, 250), |spec| {
        spec.upstreams = vec!["auth".to_owned()]
    });
    let mut stream = pop.stream(&[&plugin]);
    assert_eq!(
        stream.head(Direction::Request, request(), true),
        Flow::Pause
    );
    assert_eq!(pop.lines(), ["0"]);
    let (call, reply) = pop.edge.calls.lock().pop().unwrap();
    assert_eq!(
        (
            call.site.as_str(),
            call.plugin.as_str(),
            call.upstream.as_str()
        ),
        ("site", "plugin", "auth")
    );
    assert_eq!(
        (call.head.method(), call.head.path(), call.head.authority()),
        ("POST", "/check", "auth.example")
    );
    assert_eq!(
        (call.head.text("x-token"), call.head.text("content-length")),
        (Some("t"), None)
    );
    assert_eq!(
        (call.body.as_ref(), call.timeout),
        (&b"ask"[..], Duration::from_millis(250))
    );
    assert!(!reply.is_abandoned());
    assert!(!is_resumed(&mut stream));
    reply.complete(Some(CallResponse {
        head: Fields::response(204, &headers(&[("x-user", "ann")])),
        body: "fine".into(),
        trailers: Fields::new(),
    }));
    assert!(is_resumed(&mut stream));
    assert_eq!(stream.proceed(Direction::Request), Flow::Continue);
    assert_eq!(
        pop.lines(),
        [
            "1", "1", "2", "4", "0", "0", "204", "0", "fine", "0", "204", "0"
        ]
    );
}

#[test]
fn a_failed_or_forgotten_call_has_no_head() {
    for forget in [true, false] {
        let pop = Pop::new();
        let plugin = pop.attach(&caller("auth", HEAD, 0), |spec| {
            spec.upstreams = vec!["auth".to_owned()]
        });
        let mut stream = pop.stream(&[&plugin]);
        stream.head(Direction::Request, request(), true);
        pop.lines();
        let (call, reply) = pop.edge.calls.lock().pop().unwrap();
        assert_eq!(call.timeout, Limits::default().call_timeout);
        if forget {
            drop(reply)
        } else {
            reply.complete(None)
        }
        assert_eq!(
            pop.lines(),
            ["1", "1", "0", "0", "0", "1", "0", "", "0", "503", "0"]
        );
        assert_eq!(stream.proceed(Direction::Request), Flow::Continue);
    }
}

#[test]
fn upstreams_that_the_document_does_not_name_and_half_requests_are_refused() {
    let cases: [(&str, &[(&str, &str)]); 5] = [
        ("other", HEAD),
        ("http://169.254.169.254/", HEAD),
        ("auth", &[(":method", "GET"), (":path", "/")]),
        (
            "auth",
            &[
                (":method", "GET"),
                (":path", "/\r\nx: y"),
                (":authority", "a"),
            ],
        ),
        (
            "auth",
            &[
                (":method", "GET"),
                (":path", "/"),
                (":authority", "a"),
                ("x-a", "b\r\nc"),
            ],
        ),
    ];
    for (upstream, head) in cases {
        let pop = Pop::new();
        let plugin = pop.attach(&caller(upstream, head, 0), |spec| {
            spec.upstreams = vec!["auth".to_owned()]
        });
        pop.stream(&[&plugin])
            .head(Direction::Request, request(), true);
        assert_eq!(pop.lines().last().unwrap(), "2");
        assert!(pop.edge.calls.lock().is_empty());
    }
}

#[test]
fn the_edge_may_refuse_even_while_it_holds_the_reply() {
    let pop = Pop::new();
    *pop.edge.refuse_calls.lock() = Some(Status::InternalFailure);
    let plugin = pop.attach(&caller("auth", HEAD, 0), |spec| {
        spec.upstreams = vec!["auth".to_owned()]
    });
    let mut stream = pop.stream(&[&plugin]);
    assert_eq!(
        stream.head(Direction::Request, request(), true),
        Flow::Pause
    );
    assert_eq!(pop.lines(), [":"]);
}

#[test]
fn calls_are_limited_per_stream_and_per_instance() {
    let mut guest = Guest::new();
    let upstream = guest.data("auth");
    let map = guest.data(map::serialize(
        HEAD.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())),
    ));
    let one = format!(
        "(call $say (call $proxy_http_call {upstream} {map} (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 9) (i32.const 24)))"
    );
    let guest = guest.on(
        "request_headers",
        &format!("{one} {one} {one} (i32.const 0)"),
    );
    let pop = Pop::new();
    let plugin = pop.attach(&guest, |spec| {
        spec.upstreams = vec!["auth".to_owned()];
        (spec.limits.calls_per_stream, spec.limits.calls) = (2, 3);
    });
    pop.stream(&[&plugin])
        .head(Direction::Request, request(), true);
    assert_eq!(pop.lines().concat(), "00:");
    pop.stream(&[&plugin])
        .head(Direction::Request, request(), true);
    assert_eq!(pop.lines().concat(), "0::");
    assert_eq!(pop.edge.calls.lock().len(), 3);
}

#[test]
fn an_answer_for_a_dead_instance_goes_nowhere() {
    let guest = caller("auth", HEAD, 0).on("request_body", "unreachable");
    let pop = Pop::new();
    let plugin = pop.attach(&guest, |spec| spec.upstreams = vec!["auth".to_owned()]);
    let mut waiting = pop.stream(&[&plugin]);
    assert_eq!(
        waiting.head(Direction::Request, request(), true),
        Flow::Pause
    );
    let (_, reply) = pop.edge.calls.lock().pop().unwrap();
    drop(plugin);
    drop(waiting);
    assert!(reply.is_abandoned());
    reply.complete(None);
}

#[test]
fn grpc_fails_as_the_abi_allows() {
    let zeros = |count: usize| "(i32.const 0)".repeat(count);
    let guest = Guest::new().on(
        "request_headers",
        &format!(
            "(call $say (call $proxy_grpc_call {})) (call $say (call $proxy_grpc_stream {}))
             (call $say (call $proxy_grpc_send {})) (call $say (call $proxy_grpc_cancel {})) (call $say (call $proxy_grpc_close {}))
             (i32.const 0)",
            zeros(12), zeros(9), zeros(4), zeros(1), zeros(1)
        ),
    );
    assert_eq!(Pop::new().get(&guest).2.concat(), "::111");
}
