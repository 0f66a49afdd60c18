//! Heads and trailers: every function, and what is refused.

use anypop_plugins::{map, *};

use crate::{
    guests::{Guest, NUMBER, POINTER, SIZE},
    support::*,
};

const OUT: &str = "(i32.const 16) (i32.const 20)";

#[test]
fn values_are_read_whatever_the_case_and_the_first_of_several() {
    let mut guest = Guest::new();
    let (path, host, agent, none) = (
        guest.data(":path"),
        guest.data("Host"),
        guest.data("User-AGENT"),
        guest.data("x"),
    );
    let get = |key: &str| {
        format!("(call $tell (call $proxy_get_header_map_value (i32.const 0) {key} {OUT}))")
    };
    let body = [&path, &host, &agent, &none].map(|key| get(key)).join("\n");
    let guest = guest.on("request_headers", &format!("{body} (i32.const 0)"));
    let (flow, _, lines) = Pop::new().get(&guest);
    assert_eq!(flow, Flow::Continue);
    assert_eq!(
        lines,
        ["0", "/a?b=c", "0", "www.shop.example", "0", "test", "1"]
    );
}

#[test]
fn add_replace_and_remove() {
    let mut guest = Guest::new();
    let (one, new, value, agent) = (
        guest.data("X-One"),
        guest.data("x-new"),
        guest.data(" v "),
        guest.data("user-agent"),
    );
    let guest = guest.on(
        "request_headers",
        &format!(
            "(call $say (call $proxy_add_header_map_value (i32.const 0) {one} {value}))
             (call $say (call $proxy_replace_header_map_value (i32.const 0) {new} {value}))
             (call $say (call $proxy_remove_header_map_value (i32.const 0) {agent}))
             (call $say (call $proxy_remove_header_map_value (i32.const 0) {agent}))
             (i32.const 0)"
        ),
    );
    let (flow, stream, lines) = Pop::new().get(&guest);
    assert_eq!((flow, lines.concat().as_str()), (Flow::Continue, "0000"));
    let head = stream
        .released_head(Direction::Request)
        .unwrap()
        .to_headers();
    let ones: Vec<_> = head.get_all("x-one").iter().collect();
    assert_eq!(ones, ["1", "v"]);
    assert_eq!(head.get("x-new").unwrap(), "v");
    assert!(head.get("user-agent").is_none());
}

#[test]
fn whole_maps_are_read_and_written() {
    let mut guest = Guest::new();
    let pairs = [
        (":path", "/other"),
        ("set-cookie", "x"),
        ("x-two", "2"),
        ("transfer-encoding", "chunked"),
    ];
    let map = guest.data(map::serialize(
        pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())),
    ));
    let guest = guest.on(
        "request_headers",
        &format!(
            "(call $say (call $proxy_get_header_map_size (i32.const 0) (i32.const {NUMBER})))
             (call $number (i32.load (i32.const {NUMBER})))
             (call $say (call $proxy_get_header_map_pairs (i32.const 0) {OUT}))
             (call $number (i32.load (i32.const {SIZE})))
             (call $number (i32.load (i32.load (i32.const {POINTER}))))
             (call $say (call $proxy_set_header_map_pairs (i32.const 0) {map}))
             (call $say (call $proxy_set_header_map_pairs (i32.const 0) {map_short}))
             (i32.const 0)",
            map_short = "(i32.const 1024) (i32.const 7)"
        ),
    );
    let (_, stream, lines) = Pop::new().get(&guest);
    let size = map::serialized_size(request().iter()).to_string();
    assert_eq!(lines[..5], ["0", &size, "0", &size, "6"]);
    assert!(
        lines[6].contains("1 fields written to RequestHeaders were refused")
            || lines[5].contains("1 fields"),
        "{lines:?}"
    );
    assert_eq!(lines.last().unwrap(), "2");
    let head = stream.released_head(Direction::Request).unwrap();
    assert_eq!(
        (head.path(), head.method(), head.authority()),
        ("/other", "GET", "www.shop.example")
    );
    let headers = head.to_headers();
    assert_eq!(headers.len(), 2);
    assert_eq!(headers.get("x-two").unwrap(), "2");
}

#[test]
fn what_would_smuggle_is_not_written_and_no_error_for_the_guest() {
    let bad = [
        ("x-bad", "a\r\nx-injected: 1"),
        ("x-bad", "a\0b"),
        ("x bad", "v"),
        ("", "v"),
        ("content-length", "5"),
        ("Transfer-Encoding", "chunked"),
        ("connection", "close"),
        ("upgrade", "h2c"),
        ("te", "trailers"),
        (":method", "CONNECT"),
        (":method", "GET /"),
        (":path", "/a b"),
        (":path", "http://other/"),
        (":authority", "a/b"),
        (":scheme", "http"),
        (":status", "200"),
        (":unknown", "v"),
    ];
    let mut guest = Guest::new();
    let mut body = String::new();
    for (name, value) in bad {
        let (name, value) = (guest.data(name), guest.data(value));
        for function in ["add", "replace"] {
            body.push_str(&format!(
                "(call $say (call $proxy_{function}_header_map_value (i32.const 0) {name} {value}))"
            ));
        }
    }
    let path = guest.data(":path");
    body.push_str(&format!(
        "(call $say (call $proxy_remove_header_map_value (i32.const 0) {path}))"
    ));
    let guest = guest.on("request_headers", &format!("{body} (i32.const 0)"));
    let (flow, mut stream, lines) = Pop::new().get(&guest);
    assert_eq!(flow, Flow::Continue);
    assert_eq!(stream.released_head(Direction::Request).unwrap(), request());
    let (told, said): (Vec<_>, Vec<_>) =
        lines.into_iter().partition(|line| line.contains("refused"));
    assert_eq!(said.concat(), "0".repeat(35));
    assert_eq!(told.len(), 35);
    stream.finish();
}

#[test]
fn a_response_has_its_own_rules_and_many_cookies() {
    let mut guest = Guest::new();
    let (status, value, cookie, c) = (
        guest.data(":status"),
        guest.data("404"),
        guest.data("Set-Cookie"),
        guest.data("c=3"),
    );
    let bad = guest.data("101");
    let guest = guest.on(
        "response_headers",
        &format!(
            "(call $say (call $proxy_replace_header_map_value (i32.const 2) {status} {value}))
             (call $say (call $proxy_replace_header_map_value (i32.const 2) {status} {bad}))
             (call $say (call $proxy_add_header_map_value (i32.const 2) {cookie} {c}))
             (i32.const 0)"
        ),
    );
    let pop = Pop::new();
    let plugin = pop.attach(&guest, |_| {});
    let mut stream = pop.stream(&[&plugin]);
    assert_eq!(
        stream.head(Direction::Request, request(), true),
        Flow::Continue
    );
    assert_eq!(
        stream.head(Direction::Response, response(), true),
        Flow::Continue
    );
    let head = stream.released_head(Direction::Response).unwrap();
    assert_eq!(head.status(), Some(404));
    assert_eq!(
        head.to_headers()
            .get_all("set-cookie")
            .iter()
            .collect::<Vec<_>>(),
        ["a=1", "b=2", "c=3"]
    );
}

#[test]
fn after_the_head_has_gone_on_writes_have_no_effect() {
    let mut guest = Guest::new();
    let (name, value) = (guest.data("x-late"), guest.data("v"));
    let write =
        format!("(call $say (call $proxy_add_header_map_value (i32.const 0) {name} {value}))");
    let read =
        format!("(call $tell (call $proxy_get_header_map_value (i32.const 0) {name} {OUT}))");
    let guest = guest
        .on("response_headers", &format!("{write} {read} (i32.const 0)"))
        .on("log", &write);
    let pop = Pop::new();
    let plugin = pop.attach(&guest, |_| {});
    let mut stream = pop.stream(&[&plugin]);
    stream.head(Direction::Request, request(), true);
    stream.head(Direction::Response, response(), true);
    stream.finish();
    let lines = pop.lines();
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.len() == 1)
            .cloned()
            .collect::<String>(),
        "010"
    );
    assert_eq!(plugin.status(std::time::Instant::now()).refused_writes, 2);
}

#[test]
fn trailers_are_read_and_written_and_added_with_the_last_bytes() {
    let mut guest = Guest::new();
    let (name, value, grpc, framing) = (
        guest.data("x-sum"),
        guest.data("1"),
        guest.data("grpc-status"),
        guest.data("content-length"),
    );
    let guest = guest
        .on(
            "request_trailers",
            &format!(
                "(call $number (local.get 1))
                 (call $tell (call $proxy_get_header_map_value (i32.const 1) {grpc} {OUT}))
                 (call $say (call $proxy_add_header_map_value (i32.const 1) {name} {value}))
                 (call $say (call $proxy_add_header_map_value (i32.const 1) {framing} {value}))
                 (i32.const 0)"
            ),
        )
        .on(
            "response_body",
            &format!("(call $say (call $proxy_add_header_map_value (i32.const 3) {name} {value})) (i32.const 0)"),
        );
    let pop = Pop::new();
    let plugin = pop.attach(&guest, |_| {});
    let mut stream = pop.stream(&[&plugin]);
    stream.head(Direction::Request, request(), false);
    stream.body(Direction::Request, "abc".into(), false);
    assert_eq!(stream.take_body(Direction::Request), "abc");
    let trailers = Fields::plain(&headers(&[("grpc-status", "0")]));
    assert_eq!(
        stream.trailers(Direction::Request, trailers),
        Flow::Continue
    );
    assert!(stream.is_complete(Direction::Request));
    let trailers = stream
        .released_trailers(Direction::Request)
        .unwrap()
        .to_headers();
    assert_eq!(
        (trailers.len(), trailers.get("x-sum").unwrap().as_bytes()),
        (2, &b"1"[..])
    );
    stream.head(Direction::Response, response(), false);
    assert_eq!(
        stream.body(Direction::Response, "xyz".into(), true),
        Flow::Continue
    );
    assert_eq!(stream.take_body(Direction::Response), "xyz");
    assert_eq!(
        stream
            .released_trailers(Direction::Response)
            .unwrap()
            .text("x-sum"),
        Some("1")
    );
    let lines: String = pop
        .lines()
        .into_iter()
        .filter(|line| line.len() == 1)
        .collect();
    assert_eq!(lines, "100000");
}

#[test]
fn unknown_maps_are_bad_arguments_and_absent_ones_empty() {
    let mut guest = Guest::new();
    let key = guest.data("x");
    let body: String = (0..10)
        .map(|map| {
            format!(
                "(call $say (call $proxy_get_header_map_pairs (i32.const {map}) {OUT}))
                 (call $say (call $proxy_get_header_map_value (i32.const {map}) {key} {OUT}))
                 (call $say (call $proxy_add_header_map_value (i32.const {map}) {key} {key}))"
            )
        })
        .collect();
    let guest = guest.on("configure", &format!("{body} (i32.const 1)"));
    let pop = Pop::new();
    pop.attach(&guest, |_| {});
    let mut expected = "012".repeat(8);
    expected.push_str("222222");
    assert_eq!(pop.lines().concat(), expected);
}
