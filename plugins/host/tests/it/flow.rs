//! Pausing, resuming, answering, and chains of several plugins.

use anypop_plugins::*;

use crate::{
    guests::{Guest, say},
    support::*,
};

/// A guest that adds a field and logs, so that its place in the chain shows.
fn marker(name: &str) -> Guest {
    let mut guest = Guest::new();
    let (key, value) = (guest.data("x-order"), guest.data(name));
    let logged = say(&mut guest, name);
    guest
        .on("request_headers", &format!("{logged} (drop (call $proxy_add_header_map_value (i32.const 0) {key} {value})) (i32.const 0)"))
        .on("response_headers", &format!("{logged} (drop (call $proxy_add_header_map_value (i32.const 2) {key} {value})) (i32.const 0)"))
        .on("request_body", "(i32.const 0)")
        .on("response_body", "(i32.const 0)")
}

#[test]
fn requests_meet_plugins_in_order_and_responses_in_reverse() {
    let pop = Pop::new();
    let (a, b) = (
        pop.attach(&marker("a"), |s| s.name = "a".into()),
        pop.attach(&marker("b"), |s| s.name = "b".into()),
    );
    let mut stream = pop.stream(&[&a, &b]);
    assert_eq!(
        stream.head(Direction::Request, request(), true),
        Flow::Continue
    );
    assert_eq!(
        stream.head(Direction::Response, response(), false),
        Flow::Continue
    );
    assert_eq!(
        stream.body(Direction::Response, "body".into(), true),
        Flow::Continue
    );
    assert_eq!(stream.take_body(Direction::Response), "body");
    assert_eq!(pop.lines(), ["a", "b", "b", "a"]);
    let order = |direction| {
        let head = stream.released_head(direction).unwrap().to_headers();
        head.get_all("x-order")
            .iter()
            .map(|v| v.to_str().unwrap().to_owned())
            .collect::<String>()
    };
    assert_eq!(
        (order(Direction::Request), order(Direction::Response)),
        ("ab".to_owned(), "ba".to_owned())
    );
}

#[test]
fn an_empty_chain_passes_everything() {
    let mut stream = Chain::default().stream(3, StreamInfo::default());
    assert!(Chain::default().is_empty());
    assert_eq!(
        stream.head(Direction::Request, request(), false),
        Flow::Continue
    );
    assert_eq!(
        stream.body(Direction::Request, "x".into(), true),
        Flow::Continue
    );
    assert_eq!(stream.take_body(Direction::Request), "x");
    assert!(stream.is_complete(Direction::Request));
}

/// Pauses the head; `proxy_on_foreign_function` with a context's number resumes that one.
fn pausing() -> Guest {
    Guest::new()
        .on(
            "request_headers",
            "(call $number (local.get 0)) (i32.const 1)",
        )
        .on(
            "request_body",
            "(call $number (local.get 1)) (i32.eqz (local.get 2))",
        )
        .on(
            "foreign_function",
            "(call $say (call $proxy_set_effective_context (local.get 1)))
             (call $say (call $proxy_continue_stream (i32.const 0)))",
        )
}

#[test]
fn a_paused_head_waits_until_it_is_resumed_and_the_body_with_it() {
    let pop = Pop::new();
    let (a, b) = (
        pop.attach(&pausing(), |_| {}),
        pop.attach(&marker("b"), |s| s.name = "b".into()),
    );
    let mut stream = pop.stream(&[&a, &b]);
    assert_eq!(
        stream.head(Direction::Request, request(), false),
        Flow::Pause
    );
    assert_eq!(
        stream.body(Direction::Request, "early".into(), true),
        Flow::Pause
    );
    assert_eq!(stream.released_head(Direction::Request), None);
    assert!(!is_resumed(&mut stream));
    a.call_foreign(0, 2, bytes::Bytes::new()).unwrap();
    assert!(is_resumed(&mut stream));
    assert_eq!(stream.proceed(Direction::Request), Flow::Continue);
    assert_eq!(stream.take_body(Direction::Request), "early");
    assert!(stream.is_complete(Direction::Request));
    let mut lines = pop.lines();
    lines.sort();
    assert_eq!(lines, ["0", "0", "2", "5", "b"]);
}

#[test]
fn a_plugin_may_see_the_whole_body_before_the_head_goes_on() {
    let pop = Pop::new();
    let mut guest = Guest::new();
    let (key, value, new) = (
        guest.data("x-decided"),
        guest.data("yes"),
        guest.data("0123456789"),
    );
    let guest = guest.on("request_headers", "(i32.const 1)").on(
        "request_body",
        &format!(
            "(if (i32.eqz (local.get 2)) (then (return (i32.const 1))))
             (call $number (local.get 1))
             (drop (call $proxy_add_header_map_value (i32.const 0) {key} {value}))
             (drop (call $proxy_set_buffer_bytes (i32.const 0) (i32.const 0) (i32.const -1) {new}))
             (i32.const 0)"
        ),
    );
    let plugin = pop.attach(&guest, |spec| spec.body_before_headers = true);
    let last = pop.attach(&marker("b"), |s| s.name = "b".into());
    let mut stream = pop.stream(&[&plugin, &last]);
    assert_eq!(
        stream.head(Direction::Request, post(4), false),
        Flow::NeedBody
    );
    assert_eq!(
        stream.body(Direction::Request, "ab".into(), false),
        Flow::NeedBody
    );
    assert_eq!(stream.take_body(Direction::Request), "");
    assert_eq!(
        stream.body(Direction::Request, "cd".into(), true),
        Flow::Continue
    );
    let head = stream.released_head(Direction::Request).unwrap();
    assert_eq!(
        (head.text("x-decided"), head.text("content-length")),
        (Some("yes"), Some("10"))
    );
    assert_eq!(stream.take_body(Direction::Request), "0123456789");
    assert_eq!(pop.lines(), ["4", "b"]);
}

#[test]
fn without_that_option_the_body_waits_with_the_head() {
    let pop = Pop::new();
    let plugin = pop.attach(&pausing(), |_| {});
    let mut stream = pop.stream(&[&plugin]);
    assert_eq!(
        stream.head(Direction::Request, request(), false),
        Flow::Pause
    );
    stream.body(Direction::Request, "ab".into(), false);
    assert_eq!(pop.lines(), ["2"]);
}

#[test]
fn a_pause_that_lasts_too_long_is_the_plugins_failure() {
    for (policy, passes) in [(FailPolicy::Open, true), (FailPolicy::Closed, false)] {
        let pop = Pop::new();
        let plugin = pop.attach(&pausing(), |spec| spec.fail_policy = policy);
        let mut stream = pop.stream(&[&plugin]);
        assert_eq!(
            stream.head(Direction::Request, request(), true),
            Flow::Pause
        );
        assert_eq!(stream.pause_limit(), plugin.limits().pause);
        let flow = stream.expire(Direction::Request);
        assert_eq!(flow == Flow::Continue, passes, "{flow:?}");
        assert_eq!(stream.failures()[0].fault, Fault::PausedTooLong);
        // The instance did nothing wrong: others go on with it.
        assert_eq!(plugin.status(std::time::Instant::now()).crashes, 0);
    }
}

fn answering(callback: &str, status: u32) -> Guest {
    let mut guest = Guest::new();
    let pairs = [
        ("location", "/there"),
        ("x-bad", "a\r\nb"),
        ("content-length", "99"),
        ("set-cookie", "a=1"),
    ];
    let map = guest.data(map::serialize(
        pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())),
    ));
    let (details, body) = (guest.data("because"), guest.data("hello"));
    let result = if callback.ends_with("trailers")
        || callback.ends_with("headers")
        || callback.ends_with("body")
    {
        "(i32.const 1)"
    } else {
        ""
    };
    guest.on(
        callback,
        &format!("(call $say (call $proxy_send_local_response (i32.const {status}) {details} {body} {map} (i32.const -1))) {result}"),
    )
}

#[test]
fn a_guest_answers_itself_from_any_callback_before_the_head_is_sent() {
    for callback in [
        "request_headers",
        "request_body",
        "request_trailers",
        "response_headers",
    ] {
        let pop = Pop::new();
        let plugin = pop.attach(&answering(callback, 302), |_| {});
        let mut stream = pop.stream(&[&plugin]);
        let mut flow = stream.head(Direction::Request, request(), false);
        if flow == Flow::Continue {
            flow = stream.body(Direction::Request, "x".into(), false);
        }
        if flow == Flow::Continue {
            flow = stream.trailers(Direction::Request, Fields::plain(&headers(&[("x-t", "1")])));
        }
        if flow == Flow::Continue {
            flow = stream.head(Direction::Response, response(), false);
        }
        let Flow::Respond(answer) = flow else {
            panic!("{callback}: {flow:?}")
        };
        assert_eq!(
            (answer.status, answer.body.as_ref(), answer.details.as_str()),
            (302, &b"hello"[..], "because")
        );
        assert_eq!(answer.grpc_status, None);
        let fields = answer.headers.to_headers();
        assert_eq!(fields.len(), 2, "{fields:?}");
        assert_eq!(fields.get("location").unwrap(), "/there");
        // Whatever the edge does next gets the same answer.
        assert_eq!(stream.proceed(Direction::Request), Flow::Respond(answer));
        assert!(pop.lines().contains(&"0".to_owned()));
    }
}

#[test]
fn an_answer_after_the_head_is_sent_resets_the_stream() {
    let pop = Pop::new();
    let plugin = pop.attach(&answering("response_body", 403), |_| {});
    let mut stream = pop.stream(&[&plugin]);
    stream.head(Direction::Request, request(), true);
    assert_eq!(
        stream.head(Direction::Response, response(), false),
        Flow::Continue
    );
    assert_eq!(
        stream.body(Direction::Response, "secret".into(), true),
        Flow::Reset
    );
}

#[test]
fn statuses_that_are_no_final_ones_are_refused() {
    for status in [0, 99, 101, 199, 600, 65_736] {
        let pop = Pop::new();
        let (flow, _, lines) = pop.get(&answering("request_headers", status));
        assert_eq!(
            (flow, lines.concat().as_str()),
            (Flow::Pause, "2"),
            "{status}"
        );
    }
}

#[test]
fn streams_are_closed_and_other_kinds_of_stream_are_not_there() {
    let close = |stream: u32| {
        Guest::new().on(
            "request_headers",
            &format!("(call $say (call $proxy_close_stream (i32.const {stream}))) (i32.const 0)"),
        )
    };
    let cases = [
        (0, "0", Flow::Reset),
        (1, "0", Flow::Reset),
        (2, "<", Flow::Continue),
        (9, "2", Flow::Continue),
    ];
    for (stream, said, expected) in cases {
        let (flow, _, lines) = Pop::new().get(&close(stream));
        assert_eq!((flow, lines.concat().as_str()), (expected, said));
    }
}

#[test]
fn actions_above_one_pause_too() {
    let guest = Guest::new().on("request_headers", "(i32.const 4)");
    assert_eq!(Pop::new().get(&guest).0, Flow::Pause);
}

#[test]
fn a_response_that_is_paused_is_resumed_too() {
    let guest = Guest::new().on("response_headers", "(i32.const 1)").on(
        "foreign_function",
        "(drop (call $proxy_set_effective_context (local.get 1))) (drop (call $proxy_continue_stream (i32.const 1)))",
    );
    let pop = Pop::new();
    let plugin = pop.attach(&guest, |_| {});
    let mut stream = pop.stream(&[&plugin]);
    stream.head(Direction::Request, request(), true);
    assert_eq!(
        stream.head(Direction::Response, response(), true),
        Flow::Pause
    );
    plugin.call_foreign(0, 2, bytes::Bytes::new()).unwrap();
    // A plugin without request callbacks has its context since the response.
    assert_eq!(stream.proceed(Direction::Response), Flow::Continue);
}

#[test]
fn contexts_end_with_done_log_and_delete() {
    let mut guest = Guest::new();
    let (log, delete) = (say(&mut guest, "log"), say(&mut guest, "delete"));
    let done = say(&mut guest, "done");
    let guest = guest
        .on("request_headers", "(i32.const 0)")
        .on("done", &format!("{done} (i32.const 1)"))
        .on("log", &log)
        .on("delete", &delete);
    let pop = Pop::new();
    let (_, mut stream, _) = pop.get(&guest);
    stream.finish();
    drop(stream);
    assert_eq!(pop.lines(), ["done", "log", "delete"]);
}

#[test]
fn a_guest_that_only_logs_is_told_of_streams_too() {
    let mut guest = Guest::new();
    let log = say(&mut guest, "log");
    let pop = Pop::new();
    let (flow, stream, _) = pop.get(&guest.on("log", &log));
    assert_eq!(flow, Flow::Continue);
    drop(stream);
    assert_eq!(pop.lines(), ["log"]);
}

#[test]
fn a_guest_may_delay_its_end() {
    let mut guest = Guest::new();
    let (log, delete) = (say(&mut guest, "log"), say(&mut guest, "delete"));
    let guest = guest
        .on(
            "request_headers",
            "(call $say (call $proxy_done)) (i32.const 0)",
        )
        .on("done", "(i32.const 0)")
        .on("log", &log)
        .on("delete", &delete)
        .on(
            "foreign_function",
            "(drop (call $proxy_set_effective_context (local.get 1)))
             (call $say (call $proxy_done)) (call $say (call $proxy_done))",
        );
    let pop = Pop::new();
    let plugin = pop.attach(&guest, |_| {});
    let mut stream = pop.stream(&[&plugin]);
    stream.head(Direction::Request, request(), true);
    drop(stream);
    assert_eq!(pop.lines(), ["1"]);
    plugin.call_foreign(0, 2, bytes::Bytes::new()).unwrap();
    assert_eq!(pop.lines(), ["0", "1", "log", "delete"]);
    plugin.call_foreign(0, 2, bytes::Bytes::new()).unwrap();
    assert_eq!(pop.lines(), ["1", "1"]);
}

#[test]
fn phases_run_apart() {
    let pop = Pop::new();
    let client = pop.attach(&marker("c"), |s| s.name = "c".into());
    let origin = pop.attach(&marker("o"), |s| {
        s.name = "o".into();
        s.phase = Phase::Origin;
    });
    let plugins = [client, origin];
    let names = |phase| {
        Chain::new(&plugins, phase)
            .plugins()
            .iter()
            .map(|p| p.name().to_owned())
            .collect::<String>()
    };
    assert_eq!(
        (names(Phase::Client), names(Phase::Origin)),
        ("c".to_owned(), "o".to_owned())
    );
    let chain = Chain::new(&plugins, Phase::Client);
    assert!(chain.sees_head(Direction::Request) && chain.sees_body(Direction::Response));
}
