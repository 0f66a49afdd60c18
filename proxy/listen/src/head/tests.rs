//! Tables of heads with one meaning and of heads without, and properties of all of them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;

use super::*;

fn parsed(bytes: &[u8]) -> (Parse, Vec<FieldSpan>) {
    let mut spans = Vec::new();
    (parse(bytes, &HeadLimits::default(), &mut spans), spans)
}

fn refusal(text: &str) -> Refusal {
    match parsed(text.as_bytes()).0 {
        Parse::Refused(refusal) => refusal,
        other => panic!("{text:?} is {other:?}"),
    }
}

/// Parses a head that has to be whole and shows it to `look`.
fn accepted<T>(text: &str, look: impl FnOnce(Head<'_>) -> T) -> T {
    match parsed(text.as_bytes()) {
        (Parse::Complete(parsed), spans) => {
            assert_eq!(parsed.head_len(), text.len());
            look(parsed.view(text.as_bytes(), &spans))
        }
        (other, _) => panic!("{text:?} is {other:?}"),
    }
}

#[test]
fn a_head_shows_what_was_sent() {
    let text = "GET /a/b?c=%20&d HTTP/1.1\r\nHost: WWW.Shop.Example:8080\r\nX-A:  \t1 2\t \r\nX-Empty:\r\nX-A: \u{e9}\r\n\r\n";
    accepted(text, |head| {
        assert_eq!(
            (head.method(), head.path(), head.version()),
            ("GET", "/a/b?c=%20&d", Version::Http11)
        );
        assert_eq!((head.host(), head.port()), ("WWW.Shop.Example", Some(8080)));
        assert_eq!(head.authority().unwrap().host(), "www.shop.example");
        assert_eq!(head.field("x-a"), Some(b"1 2".as_slice()));
        assert_eq!(head.field("X-EMPTY"), Some(b"".as_slice()));
        let names: Vec<&str> = head.fields().map(|(name, _)| name).collect();
        assert_eq!(names, ["Host", "X-A", "X-Empty", "X-A"]);
        assert_eq!(head.fields().last().unwrap().1, "\u{e9}".as_bytes());
        assert!(head.keep_alive() && !head.is_upgrade() && !head.expects_continue());
        assert_eq!((head.body(), head.scheme()), (BodyLength::None, None));
    });
}

#[test]
fn forms_of_the_target() {
    for (target, host, path, scheme) in [
        ("/", "a", "/", None),
        ("//a/b", "a", "//a/b", None),
        ("/?a=b|c\\d", "a", "/?a=b|c\\d", None),
        ("http://a/b?c", "a", "/b?c", Some(Scheme::Http)),
        ("HTTPS://A:443/b", "a:443", "/b", Some(Scheme::Https)),
        ("http://a", "a", "/", Some(Scheme::Http)),
        (
            "http://[2001:db8::1]/",
            "[2001:DB8::1]",
            "/",
            Some(Scheme::Http),
        ),
    ] {
        accepted(
            &format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            |head| {
                assert_eq!((head.path(), head.scheme()), (path, scheme), "{target}");
            },
        );
    }
    accepted("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", |head| {
        assert_eq!(head.path(), "*")
    });
}

#[test]
fn connections_and_bodies() {
    let body = |fields: &str| {
        accepted(
            &format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"),
            |head| head.body(),
        )
    };
    assert_eq!(body("Content-Length: 0\r\n"), BodyLength::Length(0));
    assert_eq!(body("content-length:\t007 \r\n"), BodyLength::Length(7));
    assert_eq!(
        body("Content-Length: 18446744073709551615\r\n"),
        BodyLength::Length(u64::MAX)
    );
    assert_eq!(body("Transfer-Encoding: Chunked\r\n"), BodyLength::Chunked);
    let keep = |version: &str, fields: &str| {
        accepted(
            &format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n"),
            |head| head.keep_alive(),
        )
    };
    assert!(keep("1.1", ""));
    assert!(!keep("1.1", "Connection: close\r\n"));
    assert!(!keep("1.1", "Connection: keep-alive, ,Close\r\n"));
    assert!(!keep("1.0", ""));
    assert!(keep("1.0", "Connection: Keep-Alive\r\n"));
    let upgrade = |version: &str, fields: &str| {
        accepted(
            &format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n"),
            |head| head.is_upgrade(),
        )
    };
    assert!(upgrade(
        "1.1",
        "Connection: x, upgrade\r\nUpgrade: websocket\r\n"
    ));
    assert!(!upgrade("1.1", "Upgrade: websocket\r\n"));
    assert!(!upgrade(
        "1.0",
        "Connection: upgrade\r\nUpgrade: websocket\r\n"
    ));
    accepted(
        "GET / HTTP/1.1\r\nHost: a\r\nTE: gzip;q=1, Trailers\r\nExpect: 100-Continue\r\n\r\n",
        |head| {
            assert!(head.takes_trailers() && head.expects_continue());
        },
    );
    // One empty line in front is forgiven.
    accepted("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", |head| {
        assert_eq!(head.host(), "a")
    });
}

#[test]
fn heads_without_one_meaning() {
    for (text, reason) in [
        (
            "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "request line is not three words",
        ),
        (
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "request line is not three words",
        ),
        (
            "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
            "request line is not three words",
        ),
        (
            "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
            "request line is not three words",
        ),
        ("GET /\r\n\r\n", "request line is not three words"),
        (
            "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n",
            "request line is not three words",
        ),
        ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", "method is no token"),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", "not an HTTP request"),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", "no HTTP version"),
        ("GET / HTTP/1.1x\r\nHost: a\r\n\r\n", "no HTTP version"),
        ("GET / HTTP/11\r\nHost: a\r\n\r\n", "no HTTP version"),
        (
            "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n",
            "character in the request target",
        ),
        (
            "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
            "character in the request target",
        ),
        (
            "GET /#f HTTP/1.1\r\nHost: a\r\n\r\n",
            "character in the request target",
        ),
        (
            "GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n",
            "backslash in the path",
        ),
        (
            "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
            "request target has no known form",
        ),
        (
            "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
            "request target has no known form",
        ),
        (
            "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "request target has no known form",
        ),
        (
            "GET http:/a HTTP/1.1\r\nHost: a\r\n\r\n",
            "request target has no known form",
        ),
        (
            "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "Host is not the target's host",
        ),
        (
            "GET http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "Host is not the target's host",
        ),
        (
            "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "target's host is not a host",
        ),
        (
            "GET http://a?b HTTP/1.1\r\nHost: a\r\n\r\n",
            "query without a path",
        ),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", "bare LF"),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", "bare LF"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", "bare LF"),
        ("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", "bare CR"),
        ("GET / HTTP/1.1\rHost: a", "bare CR"),
        ("GET / HTTP/1.1\r\n\r\n", "no Host"),
        ("GET / HTTP/1.0\r\n\r\n", "no Host"),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "more than one Host",
        ),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", "Host is not a host"),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "Host is not a host"),
        ("GET / HTTP/1.1\r\nHost: a:\r\n\r\n", "Host is not a host"),
        (
            "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n",
            "Host is not a host",
        ),
        ("GET / HTTP/1.1\r\nHost: a:+1\r\n\r\n", "Host is not a host"),
        ("GET / HTTP/1.1\r\nHost: a..b\r\n\r\n", "Host is not a host"),
        ("GET / HTTP/1.1\r\nHost: .a\r\n\r\n", "Host is not a host"),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "Host is not a host"),
        ("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", "Host is not a host"),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "Host is not a host"),
        ("GET / HTTP/1.1\r\nHost: %61\r\n\r\n", "Host is not a host"),
        (
            "GET / HTTP/1.1\r\nHost: \u{e9}\r\n\r\n",
            "Host is not a host",
        ),
        ("GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", "Host is not a host"),
        ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", "Host is not a host"),
        (
            "GET / HTTP/1.1\r\nHost: [::1%eth0]\r\n\r\n",
            "Host is not a host",
        ),
        (
            "GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n",
            "Host is not a host",
        ),
        (
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "field name is no token",
        ),
        ("GET / HTTP/1.1\r\n: a\r\n\r\n", "field name is no token"),
        ("GET / HTTP/1.1\r\nX(: a\r\n\r\n", "field name is no token"),
        (
            "GET / HTTP/1.1\r\nHost\r\n\r\n",
            "field line without a colon",
        ),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", "folded field line"),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
            "folded field line",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
            "control character in a field value",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n",
            "control character in a field value",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX: \x0b\r\n\r\n",
            "control character in a field value",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "Content-Length beside Transfer-Encoding",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "more than one Content-Length",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
            "Content-Length is not a number",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
            "Content-Length is not a number",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
            "Content-Length is not a number",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n",
            "Content-Length is not a number",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
            "Content-Length is not a number",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
            "Content-Length is too large",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "more than one Transfer-Encoding",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
            "Transfer-Encoding is not exactly \"chunked\"",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "Transfer-Encoding is not exactly \"chunked\"",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n",
            "Transfer-Encoding is not exactly \"chunked\"",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n",
            "Transfer-Encoding is not exactly \"chunked\"",
        ),
        (
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "Transfer-Encoding in HTTP/1.0",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\n\r\n",
            "Connection names a field that may not be dropped",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: \"x\"\r\n\r\n",
            "Connection has a member that is no token",
        ),
    ] {
        let refusal = refusal(text);
        assert_eq!((refusal.status, refusal.reason), (400, reason), "{text:?}");
    }
}

#[test]
fn other_refusals() {
    for (text, status) in [
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
        ("PRI * HTTP/2.0\r\n\r\n", 505),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
            501,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, x\r\n\r\n",
            417,
        ),
    ] {
        assert_eq!(refusal(text).status, status, "{text:?}");
    }
}

#[test]
fn limits() {
    let limits = HeadLimits {
        bytes: 200,
        fields: 3,
        target: 20,
    };
    let status = |text: &str| match parse(text.as_bytes(), &limits, &mut Vec::new()) {
        Parse::Refused(refusal) => refusal.status,
        Parse::Complete(_) => 200,
        Parse::Partial => 0,
    };
    assert_eq!(
        status("GET /1234567890123456789 HTTP/1.1\r\nHost: a\r\n\r\n"),
        200
    );
    assert_eq!(
        status("GET /12345678901234567890 HTTP/1.1\r\nHost: a\r\n\r\n"),
        414
    );
    assert_eq!(status(&format!("GET /{}", "1".repeat(100))), 414);
    assert_eq!(
        status("GET / HTTP/1.1\r\nHost: a\r\na: b\r\nc: d\r\n\r\n"),
        200
    );
    assert_eq!(
        status("GET / HTTP/1.1\r\nHost: a\r\na: b\r\nc: d\r\ne: f\r\n\r\n"),
        431
    );
    assert_eq!(
        status(&format!(
            "GET / HTTP/1.1\r\nHost: a\r\na: {}\r\n\r\n",
            "b".repeat(200)
        )),
        431
    );
    assert_eq!(
        status(&format!(
            "GET / HTTP/1.1\r\nHost: a\r\na: {}",
            "b".repeat(200)
        )),
        431
    );
    assert_eq!(status("GET / HTTP/1.1\r\nHost: a\r\na: b"), 0);
}

#[test]
fn every_prefix_is_partial() {
    let text = "\r\nPOST http://a.example/x HTTP/1.1\r\nHost: a.example\r\nX-Y: z\r\nContent-Length: 12\r\n\r\n";
    for end in 0..text.len() {
        assert_eq!(parsed(&text.as_bytes()[..end]).0, Parse::Partial, "{end}");
    }
    accepted(text, |head| assert_eq!(head.body(), BodyLength::Length(12)));
    // What follows belongs to somebody else.
    let (longer, _) = parsed(format!("{text}GET /").as_bytes());
    assert_eq!(longer, parsed(text.as_bytes()).0);
}

/// Bytes that look like heads, with the mistakes that matter.
fn almost_a_head() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(vec![
            "GET", "POST", " ", " ", "/", "/a?b", "http://a/", "HTTP/1.1", "HTTP/1.0", "\r\n", "\r\n", "\r\n", "\r\n\r\n", "Host: a", "Host: b",
            "Content-Length: 5", "Transfer-Encoding: chunked", "X: y", ":", "\n", "\r", "\t", "\0", "Connection: close", "Host", "a", "\u{e9}",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    let loose = prop::collection::vec(piece.clone(), 0..24).prop_map(|pieces| pieces.concat());
    let framed = (prop::collection::vec(piece, 0..6), 0usize..60).prop_map(|(pieces, at)| {
        let mut head = b"GET /a HTTP/1.1\r\nHost: a\r\nX: y\r\nAccept: */*\r\n\r\n".to_vec();
        let at = at.min(head.len());
        head.splice(at..at, pieces.concat());
        head
    });
    prop_oneof![loose, framed]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_accepted_means_the_same_to_httparse(bytes in almost_a_head()) {
        let (outcome, spans) = parsed(&bytes);
        if let Parse::Complete(parsed) = outcome {
            let mut fields = [httparse::EMPTY_HEADER; 128];
            let mut request = httparse::Request::new(&mut fields);
            let other = request.parse(&bytes).unwrap();
            prop_assert_eq!(other, httparse::Status::Complete(parsed.head_len()));
            let head = parsed.view(&bytes, &spans);
            prop_assert_eq!(request.method, Some(head.method()));
            prop_assert!(request.path.unwrap().ends_with(head.path()) || head.path() == "/");
            prop_assert_eq!(request.version, Some(if head.version() == Version::Http11 { 1 } else { 0 }));
            let theirs: Vec<(&str, &[u8])> = request.headers.iter().map(|field| (field.name, field.value)).collect();
            let ours: Vec<(&str, &[u8])> = head.fields().collect();
            prop_assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn more_bytes_change_no_verdict(bytes in almost_a_head(), end in 0usize..80) {
        let prefix = &bytes[..end.min(bytes.len())];
        match parsed(prefix).0 {
            Parse::Partial => {}
            // What it is refused for may change, that it is refused may not.
            Parse::Refused(_) => prop_assert!(matches!(parsed(&bytes).0, Parse::Refused(_))),
            verdict => prop_assert_eq!(verdict, parsed(&bytes).0),
        }
    }

    #[test]
    fn authorities_survive_normalising(text in "[a-zA-Z0-9.:\\[\\]_-]{0,24}") {
        if let Some(authority) = Authority::parse(text.as_bytes()) {
            let again = match authority.port() {
                Some(port) => format!("{}:{port}", authority.host()),
                None => authority.host().to_owned(),
            };
            prop_assert_eq!(Authority::parse(again.as_bytes()), Some(authority));
        }
    }
}
