//! Logs, time, properties, foreign functions, WASI.

use std::time::Duration;

use anypop_plugins::*;

use crate::{
    guests::{Guest, say},
    support::*,
};

const OUT: &str = "(i32.const 16) (i32.const 20)";

#[test]
fn logs_have_levels_and_stay_one_line() {
    let mut guest = Guest::new();
    let text = guest.data("a\r\nb\u{1b}[31m");
    let log = |level: u32| format!("(call $say (call $proxy_log (i32.const {level}) {text}))");
    let body: String = [0, 1, 3, 5, 6].map(log).concat();
    let guest = guest.on("request_headers", &format!("{body} (call $say (call $proxy_get_log_level (i32.const 24))) (call $number (i32.load (i32.const 24))) (i32.const 0)"));
    let pop = Pop::new();
    let plugin = pop.attach(&guest, |_| {});
    pop.stream(&[&plugin])
        .head(Direction::Request, request(), true);
    let lines = pop.edge.lines.lock().clone();
    let texts: Vec<_> = lines.iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(
        texts,
        ["0", "0", "a  b [31m", "0", "a  b [31m", "0", "2", "0", "2"]
    );
    assert_eq!(
        (lines[2].0, lines[4].0),
        (LogLevel::Warn, LogLevel::Critical)
    );
}

#[test]
fn floods_of_logs_and_long_lines_are_cut() {
    let mut guest = Guest::new();
    let text = guest.data("x".repeat(100));
    let guest = guest.on(
        "request_headers",
        &format!(
            "(local.set $a (i32.const 10000))
             (loop $again
                (drop (call $proxy_log (i32.const 2) {text}))
                (local.set $a (i32.sub (local.get $a) (i32.const 1)))
                (br_if $again (local.get $a)))
             (i32.const 0)"
        ),
    );
    let pop = Pop::new();
    let plugin = pop.attach(&guest, |spec| {
        (spec.limits.log_lines, spec.limits.log_line) = (5, 10);
        spec.limits.callback = Duration::from_secs(20);
    });
    pop.stream(&[&plugin])
        .head(Direction::Request, request(), true);
    let lines = pop.lines();
    // The flood may cross from one second to the next.
    assert!((5..=60).contains(&lines.len()), "{}", lines.len());
    assert_eq!(lines[0], "xxxxxxxxxx");
}

#[test]
fn properties_of_the_request_the_connection_and_the_node() {
    let paths = [
        "plugin_root_id",
        "plugin_name",
        "plugin_vm_id",
        "anypop\0site",
        "anypop\0pop",
        "anypop\0node",
        "anypop\0cache\0status",
        "request\0path",
        "request\0url_path",
        "request\0query",
        "request\0host",
        "request\0method",
        "request\0scheme",
        "request\0headers\0x-one",
        "request\0headers\0nope",
        "request\0id",
        "request\0protocol",
        "source\0address",
        "source\0port\0",
        "connection\0tls_version",
        "connection\0requested_server_name",
        "connection\0mtls",
        "upstream\0address",
        "response\0code",
        "nothing",
        "",
        "request",
        "metadata\0x",
    ];
    let mut guest = Guest::new();
    let body: String = paths
        .iter()
        .map(|path| {
            let path = guest.data(path);
            format!("(call $tell (call $proxy_get_property {path} {OUT}))")
        })
        .collect();
    let guest = guest.on("request_headers", &format!("{body} (i32.const 0)"));
    let pop = Pop::new();
    let plugin = pop.attach(&guest, |spec| {
        (spec.root_id, spec.vm_id) = (String::new(), "vm".to_owned());
        spec.limits.log_lines = 1000;
    });
    let info = StreamInfo {
        source: Some("192.0.2.7:4711".parse().unwrap()),
        tls_version: Some("TLSv1.3".to_owned()),
        server_name: Some("www.shop.example".to_owned()),
        protocol: "HTTP/2".to_owned(),
        request_id: "r1".to_owned(),
        cache_status: Some("hit".to_owned()),
        ..StreamInfo::default()
    };
    let mut stream = Chain::new(&[plugin], Phase::Client).stream(0, info);
    stream.head(Direction::Request, request(), true);
    let port = String::from_utf8_lossy(&4711_u64.to_le_bytes())
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect::<String>();
    let expected = [
        Some(""),
        Some("plugin"),
        Some("vm"),
        Some("site"),
        Some("pop1"),
        Some("pop1-a"),
        Some("hit"),
        Some("/a?b=c"),
        Some("/a"),
        Some("b=c"),
        Some("www.shop.example"),
        Some("GET"),
        Some("https"),
        Some("1"),
        None,
        Some("r1"),
        Some("HTTP/2"),
        Some("192.0.2.7:4711"),
        Some(port.as_str()),
        Some("TLSv1.3"),
        Some("www.shop.example"),
        Some(" "),
        None,
        None,
        None,
        None,
        None,
        None,
    ];
    let flat: Vec<String> = expected
        .iter()
        .flat_map(|value| match value {
            Some(value) => vec!["0".to_owned(), (*value).to_owned()],
            None => vec!["1".to_owned()],
        })
        .collect();
    assert_eq!(pop.lines(), flat);
}

#[test]
fn properties_are_set_bounded_and_never_ours() {
    let mut guest = Guest::new();
    let (own, ours, value, big) = (
        guest.data("log\0user"),
        guest.data("request\0path"),
        guest.data("ann"),
        guest.data("x".repeat(200)),
    );
    let guest = guest.on(
        "request_headers",
        &format!(
            "(call $say (call $proxy_set_property {own} {value}))
             (call $say (call $proxy_set_property {ours} {value}))
             (call $say (call $proxy_set_property {own} {big}))
             (call $tell (call $proxy_get_property {own} {OUT})) (i32.const 0)"
        ),
    );
    let pop = Pop::new();
    let plugin = pop.attach(&guest, |spec| spec.limits.properties = 100);
    let mut stream = pop.stream(&[&plugin]);
    stream.head(Direction::Request, request(), true);
    assert_eq!(pop.lines(), ["0", "2", ":", "0", "ann"]);
    assert_eq!(
        stream.properties(),
        [(b"log\0user".to_vec(), bytes::Bytes::from("ann"))]
    );
}

#[test]
fn foreign_functions_of_the_cdn() {
    let mut guest = Guest::new();
    let mut call = |name: &str, arguments: &str| {
        let (name, arguments) = (guest.data(name), guest.data(arguments));
        format!("(call $tell (call $proxy_call_foreign_function {name} {arguments} {OUT}))")
    };
    let calls = [
        call("anypop.set_cache_key", "b-variant"),
        call("anypop.set_ttl", "60"),
        call("anypop.set_ttl", "a while"),
        call("anypop.add_tags", "red  blue"),
        call("anypop.purge", "soft tag red"),
        call("anypop.purge", "everything"),
        call("test.echo", "hello"),
        call("test.fail", ""),
        call("nobody.knows", ""),
    ]
    .concat();
    let late = call("anypop.set_cache_key", "late") + &call("anypop.set_ttl", "1");
    let guest = guest
        .on("request_headers", &format!("{calls} (i32.const 0)"))
        .on("response_headers", &format!("{late} (i32.const 0)"));
    let pop = Pop::new();
    let plugin = pop.attach(&guest, |_| {});
    let mut stream = pop.stream(&[&plugin]);
    stream.head(Direction::Request, request(), true);
    assert_eq!(
        pop.lines(),
        [
            "0",
            "",
            "0",
            "",
            "2",
            "0",
            "",
            "0",
            "",
            "2",
            "0",
            "site:hello",
            "2",
            "1"
        ]
    );
    stream.head(Direction::Response, response(), true);
    assert_eq!(pop.lines(), ["2", "2"]);
    let wishes = stream.cache_wishes();
    assert_eq!(wishes.key.as_deref(), Some(&b"b-variant"[..]));
    assert_eq!(wishes.ttl, Some(Duration::from_secs(60)));
    assert_eq!(wishes.tags, ["red", "blue"]);
    let purges = pop.edge.purges.lock().clone();
    assert_eq!(
        purges,
        [(
            "site".to_owned(),
            Purge {
                what: PurgeWhat::Tag("red".to_owned()),
                soft: true
            }
        )]
    );
}

#[test]
fn purges_are_read_strictly() {
    for (text, what) in [
        ("site", Some(PurgeWhat::Site)),
        (
            "url https://a/b",
            Some(PurgeWhat::Url("https://a/b".to_owned())),
        ),
        (
            "prefix https://a/",
            Some(PurgeWhat::Prefix("https://a/".to_owned())),
        ),
        ("tag a b", None),
        ("tag", None),
        ("url a b", None),
        ("", None),
        ("soft", None),
    ] {
        assert_eq!(
            foreign::parse_purge(text.as_bytes())
                .ok()
                .map(|purge| purge.what),
            what,
            "{text}"
        );
    }
}

#[test]
fn effective_contexts_are_the_plugins_own() {
    let guest = Guest::new().on(
        "request_headers",
        "(call $say (call $proxy_set_effective_context (i32.const 1)))
         (call $say (call $proxy_set_effective_context (local.get 0)))
         (call $say (call $proxy_set_effective_context (i32.const 99)))
         (call $say (call $proxy_set_effective_context (i32.const 0)))
         (i32.const 0)",
    );
    assert_eq!(Pop::new().get(&guest).2.concat(), "0022");
}

#[test]
fn time_is_told() {
    let guest = Guest::new().on(
        "request_headers",
        "(call $say (call $proxy_get_current_time_nanoseconds (i32.const 24)))
         (call $number (i64.gt_u (i64.load (i32.const 24)) (i64.const 1700000000000000000)))
         (call $say (call $proxy_get_current_time_nanoseconds (i32.const -4)))
         (i32.const 0)",
    );
    assert_eq!(Pop::new().get(&guest).2.concat(), "016");
}

#[test]
fn wasi_under_both_names_and_stubs_for_the_rest() {
    for module in ["wasi_snapshot_preview1", "wasi_unstable"] {
        let mut guest = Guest::new();
        let text = guest.data("to stderr");
        let (pointer, length) = text.split_once(") (").unwrap();
        let (pointer, length) = (format!("{pointer})"), format!("({length}"));
        let imports = [
            ("fd_write", "i32 i32 i32 i32", "i32"), ("environ_sizes_get", "i32 i32", "i32"), ("args_sizes_get", "i32 i32", "i32"),
            ("environ_get", "i32 i32", "i32"), ("args_get", "i32 i32", "i32"), ("clock_time_get", "i32 i64 i32", "i32"),
            ("random_get", "i32 i32", "i32"), ("fd_close", "i32", "i32"), ("fd_fdstat_get", "i32 i32", "i32"),
            ("fd_prestat_get", "i32 i32", "i32"), ("sched_yield", "", "i32"), ("poll_oneoff", "i32 i32 i32 i32", "i32"),
            ("fd_seek", "i32 i64 i32 i32", "i32"), ("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32", "i32"),
        ]
        .map(|(name, parameters, result)| {
            format!("(import \"{module}\" \"{name}\" (func ${name} (param {parameters}) (result {result})))\n")
        })
        .concat();
        let imports = imports
            + "(import \"env\" \"proxy_redis_call\" (func $redis (param i32) (result i32)))\n";
        let guest = guest.with(&imports).on(
            "request_headers",
            &format!(
                "(i32.store (i32.const 200) {pointer}) (i32.store (i32.const 204) {length})
                 (call $number (call $fd_write (i32.const 2) (i32.const 200) (i32.const 1) (i32.const 24)))
                 (call $number (i32.load (i32.const 24)))
                 (call $number (call $fd_write (i32.const 3) (i32.const 200) (i32.const 1) (i32.const 24)))
                 (call $number (call $fd_write (i32.const 1) (i32.const -1) (i32.const 1) (i32.const 24)))
                 (call $number (call $environ_sizes_get (i32.const 24) (i32.const 28)))
                 (call $number (call $args_sizes_get (i32.const 24) (i32.const 28)))
                 (call $number (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 24)))
                 (call $number (call $clock_time_get (i32.const 7) (i64.const 0) (i32.const 24)))
                 (call $number (call $random_get (i32.const 300) (i32.const 32)))
                 (call $number (i64.ne (i64.load (i32.const 300)) (i64.const 0)))
                 (call $number (call $random_get (i32.const 0) (i32.const -1)))
                 (call $number (call $fd_close (i32.const 9)))
                 (call $number (call $sched_yield))
                 (call $number (call $poll_oneoff (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
                 (call $number (call $redis (i32.const 0)))
                 (i32.const 0)"
            ),
        );
        let pop = Pop::new();
        let wasm = guest.wasm();
        let module_ = pop.host.compile(&wasm).unwrap();
        let unimplemented = module_.inspection().unimplemented.clone();
        assert!(
            unimplemented.contains(&"env.proxy_redis_call".to_owned()),
            "{unimplemented:?}"
        );
        assert!(unimplemented.contains(&format!("{module}.poll_oneoff")));
        assert!(!unimplemented.contains(&format!("{module}.fd_write")));
        let (_, _, lines) = pop.get(&guest);
        assert_eq!(
            lines,
            [
                "to stderr",
                "0",
                "9",
                "8",
                "21",
                "0",
                "0",
                "0",
                "58",
                "0",
                "1",
                "28",
                "8",
                "0",
                "52",
                "12"
            ]
        );
    }
}

#[test]
fn exiting_is_a_trap_except_at_the_end_of_start() {
    let exit = "(import \"wasi_snapshot_preview1\" \"proc_exit\" (func $exit (param i32)))\n";
    let mut good = Guest::new().with(exit);
    let started = say(&mut good, "started");
    let good = good.on("_start", &format!("{started} (call $exit (i32.const 0))"));
    let pop = Pop::new();
    pop.attach(&good, |_| {});
    assert_eq!(pop.lines(), ["started"]);
    let bad = Guest::new()
        .with(exit)
        .on("_start", "(call $exit (i32.const 1))");
    let error = pop
        .try_attach("site", &bad.wasm(), |_| {})
        .unwrap_err()
        .to_string();
    assert!(error.contains("exited with code 1"), "{error}");
}
