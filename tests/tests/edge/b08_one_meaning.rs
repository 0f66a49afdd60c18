//! Whatever two parsers could read differently is refused before key or origin see it.

use anypop_tests::{Edge, Origin, Reply};

const OK: &str = "Host: test.example\r\n";

/// (what, request, statuses it may get)
fn table() -> Vec<(&'static str, Vec<u8>, &'static [u16])> {
    let get = |fields: &str| format!("GET /a HTTP/1.1\r\n{fields}\r\n").into_bytes();
    let post = |fields: &str, body: &str| {
        format!("POST /a HTTP/1.1\r\n{OK}{fields}\r\n{body}").into_bytes()
    };
    let line = |line: &str| format!("{line}\r\n{OK}\r\n").into_bytes();
    vec![
        // Host
        ("no host", get(""), &[400]),
        ("empty host", get("Host:\r\n"), &[400]),
        (
            "two hosts",
            get("Host: test.example\r\nHost: test.example\r\n"),
            &[400],
        ),
        (
            "two different hosts",
            get("Host: test.example\r\nHost: evil.example\r\n"),
            &[400],
        ),
        ("host with path", get("Host: test.example/x\r\n"), &[400]),
        ("host with user", get("Host: a@test.example\r\n"), &[400]),
        ("host with space", get("Host: test .example\r\n"), &[400]),
        (
            "host list",
            get("Host: test.example, evil.example\r\n"),
            &[400],
        ),
        (
            "host with bad port",
            get("Host: test.example:port\r\n"),
            &[400],
        ),
        (
            "host with big port",
            get("Host: test.example:99999\r\n"),
            &[400],
        ),
        ("host with open bracket", get("Host: [::1\r\n"), &[400]),
        ("host not ascii", get("Host: t\u{e9}st.example\r\n"), &[400]),
        (
            "absolute form of another host",
            b"GET http://evil.example/a HTTP/1.1\r\nHost: test.example\r\n\r\n".to_vec(),
            &[400],
        ),
        (
            "absolute form with user",
            b"GET http://u@test.example/a HTTP/1.1\r\nHost: test.example\r\n\r\n".to_vec(),
            &[400],
        ),
        (
            "absolute form of another scheme",
            b"GET ftp://test.example/a HTTP/1.1\r\nHost: test.example\r\n\r\n".to_vec(),
            &[400, 421],
        ),
        // Lengths
        (
            "length and chunked",
            post(
                "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                "0\r\n\r\n",
            ),
            &[400],
        ),
        (
            "chunked and length",
            post(
                "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                "0\r\n\r\n",
            ),
            &[400],
        ),
        (
            "two lengths",
            post("Content-Length: 5\r\nContent-Length: 6\r\n", "12345"),
            &[400],
        ),
        (
            "two equal lengths",
            post("Content-Length: 5\r\nContent-Length: 5\r\n", "12345"),
            &[400],
        ),
        (
            "length list",
            post("Content-Length: 5, 5\r\n", "12345"),
            &[400],
        ),
        (
            "length with plus",
            post("Content-Length: +5\r\n", "12345"),
            &[400],
        ),
        (
            "negative length",
            post("Content-Length: -5\r\n", "12345"),
            &[400],
        ),
        (
            "hex length",
            post("Content-Length: 0x5\r\n", "12345"),
            &[400],
        ),
        ("empty length", post("Content-Length:\r\n", ""), &[400]),
        (
            "length with a word",
            post("Content-Length: 5 bytes\r\n", "12345"),
            &[400],
        ),
        (
            "length beyond 64 bits",
            post("Content-Length: 99999999999999999999999\r\n", ""),
            &[400, 413],
        ),
        // Transfer-Encoding
        (
            "identity",
            post("Transfer-Encoding: identity\r\n", ""),
            &[400, 501],
        ),
        (
            "gzip, chunked",
            post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
            &[400, 501],
        ),
        (
            "chunked, identity",
            post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
            &[400, 501],
        ),
        (
            "chunked twice",
            post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
            &[400, 501],
        ),
        (
            "chunked in two lines",
            post(
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                "0\r\n\r\n",
            ),
            &[400, 501],
        ),
        (
            "xchunked",
            post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
            &[400, 501],
        ),
        (
            "chunked with vertical tab",
            post("Transfer-Encoding: \u{b}chunked\r\n", "0\r\n\r\n"),
            &[400, 501],
        ),
        (
            "chunked in 1.0",
            format!("POST /a HTTP/1.0\r\n{OK}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
                .into_bytes(),
            &[400],
        ),
        // Field lines
        (
            "space before colon",
            get(&format!("{OK}X-A : 1\r\n")),
            &[400],
        ),
        (
            "space before a length's colon",
            post("Content-Length : 5\r\n", "12345"),
            &[400],
        ),
        ("folded line", get(&format!("{OK}X-A: 1\r\n 2\r\n")), &[400]),
        ("folded first line", get(&format!(" X: 1\r\n{OK}")), &[400]),
        ("no colon", get(&format!("{OK}X-A\r\n")), &[400]),
        ("empty name", get(&format!("{OK}: 1\r\n")), &[400]),
        ("name with a slash", get(&format!("{OK}X/A: 1\r\n")), &[400]),
        (
            "name with a control",
            get(&format!("{OK}X\u{1}: 1\r\n")),
            &[400],
        ),
        ("value with NUL", get(&format!("{OK}X: a\0b\r\n")), &[400]),
        (
            "value with bare CR",
            get(&format!("{OK}X: a\rb\r\n")),
            &[400],
        ),
        (
            "value with DEL",
            get(&format!("{OK}X: a\u{7f}b\r\n")),
            &[400],
        ),
        (
            "bare LF between fields",
            format!("GET /a HTTP/1.1\r\n{OK}X: 1\nY: 2\r\n\r\n").into_bytes(),
            &[400],
        ),
        (
            "bare LF everywhere",
            b"GET /a HTTP/1.1\nHost: test.example\n\n".to_vec(),
            &[400],
        ),
        (
            "bare LF at the end",
            format!("GET /a HTTP/1.1\r\n{OK}\n").into_bytes(),
            &[400],
        ),
        (
            "bare CR after the request line",
            format!("GET /a HTTP/1.1\r{OK}\r\n").into_bytes(),
            &[400],
        ),
        // Request line
        ("two spaces", line("GET  /a HTTP/1.1"), &[400]),
        ("tab", line("GET\t/a HTTP/1.1"), &[400]),
        ("space in target", line("GET /a b HTTP/1.1"), &[400]),
        ("space after version", line("GET /a HTTP/1.1 "), &[400]),
        ("no version", line("GET /a"), &[400]),
        ("version 2.0", line("GET /a HTTP/2.0"), &[400, 505]),
        ("version 1.2", line("GET /a HTTP/1.2"), &[400, 505]),
        ("version 1.10", line("GET /a HTTP/1.10"), &[400, 505]),
        ("lower-case version", line("GET /a http/1.1"), &[400, 505]),
        ("fragment", line("GET /a#b HTTP/1.1"), &[400]),
        ("control in target", line("GET /a\u{1} HTTP/1.1"), &[400]),
        ("target not ascii", line("GET /\u{e9} HTTP/1.1"), &[400]),
        ("relative target", line("GET a HTTP/1.1"), &[400]),
        ("star for GET", line("GET * HTTP/1.1"), &[400]),
        ("bad method", line("G@T /a HTTP/1.1"), &[400]),
        (
            "connect",
            b"CONNECT test.example:443 HTTP/1.1\r\nHost: test.example:443\r\n\r\n".to_vec(),
            &[400, 405, 501],
        ),
        (
            "TLS on a plain port",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
            &[400],
        ),
        // Chunks
        (
            "chunk size no number",
            post("Transfer-Encoding: chunked\r\n", "zz\r\n\r\n"),
            &[400],
        ),
        (
            "chunk size with 0x",
            post(
                "Transfer-Encoding: chunked\r\n",
                "0x5\r\nhello\r\n0\r\n\r\n",
            ),
            &[400],
        ),
        (
            "chunk size signed",
            post("Transfer-Encoding: chunked\r\n", "+5\r\nhello\r\n0\r\n\r\n"),
            &[400],
        ),
        (
            "chunk size empty",
            post("Transfer-Encoding: chunked\r\n", "\r\nhello\r\n0\r\n\r\n"),
            &[400],
        ),
        (
            "chunk size too big",
            post("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n"),
            &[400, 413],
        ),
        (
            "chunk size and space",
            post("Transfer-Encoding: chunked\r\n", "5 \r\nhello\r\n0\r\n\r\n"),
            &[400],
        ),
        (
            "chunk extension",
            post(
                "Transfer-Encoding: chunked\r\n",
                "5;a=b\r\nhello\r\n0\r\n\r\n",
            ),
            &[400],
        ),
        (
            "chunk ended by LF",
            post("Transfer-Encoding: chunked\r\n", "5\nhello\r\n0\r\n\r\n"),
            &[400],
        ),
        (
            "chunk longer than its size",
            post("Transfer-Encoding: chunked\r\n", "5\r\nhello!\r\n0\r\n\r\n"),
            &[400],
        ),
        (
            "chunk trailer folded",
            post("Transfer-Encoding: chunked\r\n", "0\r\nX: 1\r\n y\r\n\r\n"),
            &[400],
        ),
        // Others
        (
            "unknown expectation",
            post("Expect: 200-ok\r\nContent-Length: 0\r\n", ""),
            &[417],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_get_400_and_no_origin() {
    let origin = Origin::start().await;
    origin.on(
        "/a",
        Reply::new(200)
            .field("Cache-Control", "max-age=60")
            .body("reached"),
    );
    origin.on(
        "/evil",
        Reply::new(200)
            .field("Cache-Control", "max-age=60")
            .body("smuggled"),
    );
    let edge = Edge::before(&origin).await;
    let mut wrong = Vec::new();
    for (what, request, statuses) in table() {
        let mut client = edge.client().await;
        client.send(&request).await;
        // What follows on the connection would be the smuggled request: nobody may answer it.
        client
            .send("GET /evil HTTP/1.1\r\nHost: test.example\r\n\r\n")
            .await;
        match client.response("GET").await {
            Ok(response) if !statuses.contains(&response.status) => {
                wrong.push(format!("{what}: {}", response.status))
            }
            Ok(_) => {}
            Err(error) => wrong.push(format!("{what}: no answer ({error})")),
        }
        if !client.closed().await {
            wrong.push(format!("{what}: the connection went on"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // A body that turns out malformed may have had its head forwarded; its bytes, and what was smuggled behind it, may not.
    assert_eq!(origin.count("/evil"), 0);
    for request in origin.seen() {
        assert_eq!(request.method, "POST", "{}", request.head);
        assert!(
            request.header("transfer-encoding").is_some(),
            "{}",
            request.head
        );
        assert!(
            !String::from_utf8_lossy(&request.body).contains("GET"),
            "{request:?}"
        );
    }
    // Nothing of it is in the cache.
    assert!(!edge.get("/a").await.is_hit());
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_but_unambiguous_requests_are_served() {
    let origin = Origin::start().await;
    origin.on(
        "/a",
        Reply::new(200)
            .field("Cache-Control", "max-age=60")
            .body("reached"),
    );
    origin.on("/%e2%82%ac", Reply::new(200).body("euro"));
    let edge = Edge::before(&origin).await;
    for (what, request) in [
        (
            "absolute form",
            "GET http://test.example/a HTTP/1.1\r\nHost: test.example\r\n\r\n",
        ),
        (
            "one empty line first",
            "\r\nGET /a HTTP/1.1\r\nHost: test.example\r\n\r\n",
        ),
        (
            "no space after colon",
            "GET /a HTTP/1.1\r\nHost:test.example\r\n\r\n",
        ),
        (
            "tabs around a value",
            "GET /a HTTP/1.1\r\nHost: test.example\r\nX:\t1\t\r\n\r\n",
        ),
        (
            "upper-case host",
            "GET /a HTTP/1.1\r\nHost: TEST.example\r\n\r\n",
        ),
        (
            "odd query",
            "GET /a?x=[1]&y={}|^ HTTP/1.1\r\nHost: test.example\r\n\r\n",
        ),
        (
            "escaped path",
            "GET /%e2%82%ac HTTP/1.1\r\nHost: test.example\r\n\r\n",
        ),
        (
            "empty value",
            "GET /a HTTP/1.1\r\nHost: test.example\r\nX:\r\n\r\n",
        ),
    ] {
        let mut client = edge.client().await;
        client.send(request).await;
        assert_eq!(client.response("GET").await.unwrap().status, 200, "{what}");
        assert_eq!(
            client.get("/a").await.text(),
            "reached",
            "{what}: the connection goes on"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_arrive_whole_and_framed_anew() {
    let origin = Origin::start().await;
    origin.answer("/echo", |request| {
        Reply::new(200)
            .field("Cache-Control", "no-store")
            .body(&request.body)
    });
    let edge = Edge::before(&origin).await;
    let mut client = edge.client().await;
    client.send("POST /echo HTTP/1.1\r\nHost: test.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n00007\r\n, world\r\n0\r\n\r\n").await;
    assert_eq!(
        client.response("POST").await.unwrap().text(),
        "hello, world"
    );
    client
        .send("POST /echo HTTP/1.1\r\nHost: test.example\r\nContent-Length: 3\r\n\r\nabc")
        .await;
    assert_eq!(client.response("POST").await.unwrap().text(), "abc");
    client.send("POST /echo HTTP/1.1\r\nHost: test.example\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n").await;
    client.send("xyz").await;
    assert_eq!(client.response("POST").await.unwrap().text(), "xyz");
}
