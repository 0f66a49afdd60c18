//! Buffers.

use anypop_plugins::*;

use crate::{guests::Guest, support::*};

const OUT: &str = "(i32.const 16) (i32.const 20)";
const ALL: &str = "(i32.const 0) (i32.const -1)";

fn feed(guest: &Guest, chunks: &[&'static str]) -> (Vec<Flow>, String, Vec<String>) {
    let pop = Pop::new();
    let plugin = pop.attach(guest, |_| {});
    let mut stream = pop.stream(&[&plugin]);
    let mut flows = vec![stream.head(Direction::Request, request(), false)];
    let mut out = String::new();
    for (index, chunk) in chunks.iter().enumerate() {
        flows.push(stream.body(
            Direction::Request,
            (*chunk).into(),
            index + 1 == chunks.len(),
        ));
        out.push_str(std::str::from_utf8(&stream.take_body(Direction::Request)).unwrap());
    }
    (flows, out, pop.lines())
}

#[test]
fn each_chunk_passes_by_when_the_guest_goes_on() {
    let guest = Guest::new().on(
        "request_body",
        &format!(
            "(call $number (local.get 1)) (call $number (local.get 2))
             (call $tell (call $proxy_get_buffer_bytes (i32.const 0) {ALL} {OUT})) (i32.const 0)"
        ),
    );
    let (flows, out, lines) = feed(&guest, &["ab", "cde"]);
    assert_eq!(flows, [Flow::Continue, Flow::Continue, Flow::Continue]);
    assert_eq!(out, "abcde");
    assert_eq!(lines, ["2", "0", "0", "ab", "3", "1", "0", "cde"]);
}

#[test]
fn a_paused_guest_sees_all_it_holds() {
    let guest = Guest::new().on(
        "request_body",
        "(call $number (local.get 1)) (i32.eqz (local.get 2))",
    );
    let (flows, out, lines) = feed(&guest, &["ab", "cde", "f"]);
    assert_eq!(
        flows,
        [
            Flow::Continue,
            Flow::Continue,
            Flow::Continue,
            Flow::Continue
        ]
    );
    assert_eq!((out.as_str(), lines.concat().as_str()), ("abcdef", "256"));
}

#[test]
fn set_prepends_appends_injects_and_replaces() {
    let cases = [
        ("(i32.const 0) (i32.const 0)", "XYabcdef"),
        ("(i32.const -1) (i32.const 0)", "abcdefXY"),
        ("(i32.const 6) (i32.const 5)", "abcdefXY"),
        ("(i32.const 2) (i32.const 2)", "abXYef"),
        ("(i32.const 2) (i32.const 0)", "abXYcdef"),
        ("(i32.const 4) (i32.const -1)", "abcdXY"),
        ("(i32.const 0) (i32.const -1)", "XY"),
    ];
    for (range, expected) in cases {
        let mut guest = Guest::new();
        let new = guest.data("XY");
        let guest = guest.on(
            "request_body",
            &format!("(call $say (call $proxy_set_buffer_bytes (i32.const 0) {range} {new})) (i32.const 0)"),
        );
        let (_, out, lines) = feed(&guest, &["abcdef"]);
        assert_eq!(
            (out.as_str(), lines.concat().as_str()),
            (expected, "0"),
            "{range}"
        );
    }
}

#[test]
fn part_of_a_buffer_and_its_size() {
    let guest = Guest::new().on(
        "request_body",
        &format!(
            "(call $tell (call $proxy_get_buffer_bytes (i32.const 0) (i32.const 2) (i32.const 2) {OUT}))
             (call $tell (call $proxy_get_buffer_bytes (i32.const 0) (i32.const 6) (i32.const 2) {OUT}))
             (call $say (call $proxy_get_buffer_bytes (i32.const 0) (i32.const 7) (i32.const 2) {OUT}))
             (call $say (call $proxy_get_buffer_status (i32.const 0) (i32.const 24) (i32.const 28)))
             (call $number (i32.load (i32.const 24)))
             (i32.const 0)"
        ),
    );
    let (_, _, lines) = feed(&guest, &["abcdef"]);
    assert_eq!(lines, ["0", "cd", "0", "", "2", "0", "6"]);
}

#[test]
fn buffers_are_there_only_in_their_callbacks() {
    let look = |buffer: u32| {
        format!("(call $say (call $proxy_get_buffer_bytes (i32.const {buffer}) {ALL} {OUT}))")
    };
    let all: String = (0..10).map(look).collect();
    let mut guest = Guest::new();
    let x = guest.data("x");
    let guest = guest
        .on("vm_start", &format!("{all} (i32.const 1)"))
        .on("request_headers", &format!("{all} (call $say (call $proxy_set_buffer_bytes (i32.const 0) {ALL} {x})) (call $say (call $proxy_set_buffer_bytes (i32.const 7) {ALL} {x})) (i32.const 0)"));
    let (_, _, lines) = Pop::new().get(&guest);
    assert_eq!(
        lines
            .iter()
            .filter(|line| !line.is_empty())
            .cloned()
            .collect::<String>(),
        "1111110012111111101211"
    );
}

#[test]
fn configurations_are_read() {
    let tell = |buffer: u32| {
        format!("(call $tell (call $proxy_get_buffer_bytes (i32.const {buffer}) {ALL} {OUT}))")
    };
    let guest = Guest::new()
        .on(
            "vm_start",
            &format!("(call $number (local.get 1)) {} (i32.const 1)", tell(6)),
        )
        .on(
            "configure",
            &format!("(call $number (local.get 1)) {} (i32.const 1)", tell(7)),
        );
    let pop = Pop::new();
    pop.attach(&guest, |spec| {
        spec.vm_configuration = "vm".into();
        spec.configuration = "{\"a\":1}".into();
    });
    assert_eq!(pop.lines(), ["2", "0", "vm", "7", "0", "{\"a\":1}"]);
}

#[test]
fn a_body_that_grows_beyond_the_limit_fails_the_plugin() {
    let guest = Guest::new().on("request_body", "(i32.const 1)");
    for (policy, expected) in [
        (FailPolicy::Open, Flow::Continue),
        (FailPolicy::Closed, Flow::Pause),
    ] {
        let pop = Pop::new();
        let plugin = pop.attach(&guest, |spec| {
            spec.limits.buffer = 8;
            spec.fail_policy = policy;
        });
        let mut stream = pop.stream(&[&plugin]);
        stream.head(Direction::Request, request(), false);
        assert_eq!(
            stream.body(Direction::Request, "12345".into(), false),
            Flow::Continue
        );
        let flow = stream.body(Direction::Request, "67890".into(), false);
        match expected {
            Flow::Continue => {
                assert_eq!(flow, Flow::Continue);
                assert_eq!(stream.take_body(Direction::Request), "1234567890");
                assert_eq!(
                    stream.body(Direction::Request, "!".into(), true),
                    Flow::Continue
                );
                assert_eq!(stream.take_body(Direction::Request), "!");
            }
            _ => assert!(matches!(flow, Flow::Respond(response) if response.status == 503)),
        }
        assert_eq!(stream.failures()[0].fault, Fault::BufferFull);
    }
}

#[test]
fn a_changed_body_under_an_old_content_length_is_cut_off_not_passed_for_whole() {
    let mut guest = Guest::new();
    let new = guest.data("longer than before");
    let guest = guest.on(
        "request_body",
        &format!("(drop (call $proxy_set_buffer_bytes (i32.const 0) {ALL} {new})) (i32.const 0)"),
    );
    let pop = Pop::new();
    let plugin = pop.attach(&guest, |_| {});
    let mut stream = pop.stream(&[&plugin]);
    assert_eq!(
        stream.head(Direction::Request, post(3), false),
        Flow::Continue
    );
    assert_eq!(
        stream.body(Direction::Request, "abc".into(), true),
        Flow::Reset
    );
}
