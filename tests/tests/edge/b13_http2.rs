//! HTTP/2 by ALPN and by prior knowledge, as curl, h2load and a library see it.

use anypop_tests::{
    Edge, Gate, Origin, Reply,
    command::{curl, run},
    within,
};
use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;

async fn origin() -> Origin {
    let origin = Origin::start().await;
    origin.on(
        "/a",
        Reply::new(200)
            .field("Cache-Control", "max-age=60")
            .body("hello"),
    );
    origin
}

async fn h2c(edge: &Edge) -> SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(edge.address())
        .await
        .unwrap();
    let (client, connection) = within("the preface", h2::client::handshake(stream))
        .await
        .unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("http://test.example{path}"))
        .body(())
        .unwrap()
}

async fn whole(body: &mut h2::RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut bytes = Vec::new();
    while let Some(piece) = within("data", body.data()).await {
        let piece = piece?;
        let _ = body.flow_control().release_capacity(piece.len());
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_speaks_it_with_prior_knowledge() {
    let origin = origin().await;
    let edge = Edge::before(&origin).await;
    let url = format!("http://{}/a", edge.address());
    for _ in 0..2 {
        let output = curl(&["--http2-prior-knowledge", "--include", &url]).await;
        assert!(output.stdout.starts_with("HTTP/2 200"), "{}", output.all());
        assert!(output.stdout.ends_with("hello"));
    }
    assert!(
        edge.get_with("/a", &[("Host", &edge.address().to_string())])
            .await
            .is_hit(),
        "H1 and H2 share what is stored"
    );
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn h2load_finds_no_error() {
    let origin = origin().await;
    let edge = Edge::before(&origin).await;
    let url = format!("http://{}/a", edge.address());
    let output = run("h2load", ["-n", "2000", "-c", "10", "-m", "20", &url], b"").await;
    assert!(
        output
            .stdout
            .contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"),
        "{}",
        output.all()
    );
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_do_not_wait_for_each_other() {
    let origin = origin().await;
    let gate = Gate::new();
    origin.on(
        "/slow",
        Reply::new(200)
            .field("Cache-Control", "no-store")
            .wait(&gate)
            .body("slow"),
    );
    let edge = Edge::before(&origin).await;
    let mut client = h2c(&edge).await.ready().await.unwrap();
    let (slow, _) = client.send_request(get("/slow"), true).unwrap();
    gate.reached(1).await;
    let (fast, _) = client.send_request(get("/a"), true).unwrap();
    let mut fast = within("the fast one", fast).await.unwrap();
    assert_eq!(whole(fast.body_mut()).await.unwrap(), b"hello");
    gate.open();
    let mut slow = within("the slow one", slow).await.unwrap();
    assert_eq!(whole(slow.body_mut()).await.unwrap(), b"slow");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_go_both_ways() {
    let origin = Origin::start().await;
    origin.answer("/up", |request| {
        Reply::new(200)
            .field("Cache-Control", "no-store")
            .body(&request.body)
    });
    let edge = Edge::before(&origin).await;
    let mut client = h2c(&edge).await.ready().await.unwrap();
    let request = Request::post("http://test.example/up").body(()).unwrap();
    let (response, mut body) = client.send_request(request, false).unwrap();
    body.send_data("abc".into(), false).unwrap();
    origin.received(1).await;
    body.send_data("def".into(), true).unwrap();
    let mut response = within("the response", response).await.unwrap();
    assert_eq!(whole(response.body_mut()).await.unwrap(), b"abcdef");
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_come_through() {
    let edge = crate::b11_streams::edge_with_trailers().await;
    let mut client = h2c(&edge).await.ready().await.unwrap();
    let request = Request::get("http://test.example/a")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    let mut response = within("the response", response).await.unwrap();
    assert_eq!(whole(response.body_mut()).await.unwrap(), b"body");
    let trailers = within("trailers", response.body_mut().trailers())
        .await
        .unwrap();
    assert_eq!(trailers.unwrap()["x-sum"], "42");
}

#[tokio::test(flavor = "multi_thread")]
async fn early_hints_come_through() {
    let origin = Origin::start().await;
    origin.on(
        "/a",
        Reply::raw("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 1\r\n\r\na"),
    );
    let edge = Edge::before(&origin).await;
    let url = format!("http://{}/a", edge.address());
    let output = curl(&["--http2-prior-knowledge", "--include", &url]).await;
    assert!(output.stdout.starts_with("HTTP/2 103"), "{}", output.all());
    assert!(output.stdout.contains("HTTP/2 200"), "{}", output.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_response_is_a_reset_stream() {
    let origin = Origin::start().await;
    origin.on(
        "/a",
        Reply::new(200)
            .field("Cache-Control", "max-age=60")
            .announce(100)
            .then("half")
            .close(),
    );
    let edge = Edge::before(&origin).await;
    let mut client = h2c(&edge).await.ready().await.unwrap();
    let (response, _) = client.send_request(get("/a"), true).unwrap();
    match within("the response", response).await {
        Ok(mut response) => {
            if response.status() == 200 {
                assert!(
                    whole(response.body_mut()).await.is_err(),
                    "a cut body must not look whole"
                );
            }
        }
        Err(error) => assert!(error.is_reset(), "{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pseudo_fields_have_one_meaning() {
    let origin = origin().await;
    let edge = Edge::before(&origin).await;
    for (what, request) in [
        (
            "host against authority",
            Request::get("http://test.example/a")
                .header("host", "evil.example")
                .body(())
                .unwrap(),
        ),
        (
            "two hosts",
            Request::get("http://test.example/a")
                .header("host", "test.example")
                .header("host", "evil.example")
                .body(())
                .unwrap(),
        ),
        (
            "te other than trailers",
            Request::get("http://test.example/a")
                .header("te", "gzip")
                .body(())
                .unwrap(),
        ),
        (
            "length that lies",
            Request::get("http://test.example/a")
                .header("content-length", "5")
                .body(())
                .unwrap(),
        ),
        (
            "user in authority",
            Request::get("http://u@test.example/a").body(()).unwrap(),
        ),
    ] {
        let mut client = h2c(&edge).await.ready().await.unwrap();
        let refused = match client.send_request(request, true) {
            Err(_) => true,
            Ok((response, _)) => match within(what, response).await {
                Ok(response) => response.status() == 400,
                Err(_) => true,
            },
        };
        assert!(refused, "{what}");
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_resets_end_the_connection_and_nothing_else() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on(
        "/slow",
        Reply::new(200)
            .field("Cache-Control", "no-store")
            .wait(&gate)
            .body("slow"),
    );
    origin.on(
        "/a",
        Reply::new(200)
            .field("Cache-Control", "max-age=60")
            .body("hello"),
    );
    let edge = Edge::builder()
        .node("[limits]\nh2_resets = 16")
        .any_host(&origin, "")
        .start()
        .await;
    // By hand: a library need not send what was reset before its turn came.
    let request = raw::literals(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/slow"),
        (":authority", "test.example"),
    ]);
    const END_STREAM_AND_HEADERS: u8 = 1 | 4;
    const CANCEL: [u8; 4] = [0, 0, 0, 8];
    let burst: Vec<u8> = (0..200)
        .map(|number| 1 + 2 * number)
        .flat_map(|stream| {
            let headers = raw::frame(raw::HEADERS, END_STREAM_AND_HEADERS, stream, &request);
            [headers, raw::frame(raw::RESET, 0, stream, &CANCEL)].concat()
        })
        .collect();
    let mut client = raw::connect(&edge).await;
    client.send(burst).await;
    within("the end of the connection", raw::ended(&mut client)).await;
    gate.open();
    assert_eq!(edge.get("/a").await.text(), "hello");
}

/// HTTP/2 by hand, for what no library lets one send.
mod raw {
    use anypop_tests::{Client, Edge};

    pub(super) const HEADERS: u8 = 1;
    pub(super) const RESET: u8 = 3;
    const GOAWAY: u8 = 7;
    pub(super) const CONTINUATION: u8 = 9;
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    /// Fields as HPACK literals that nobody indexes (RFC 7541 §6.2.2).
    pub(super) fn literals(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in fields {
            for (prefix, text) in [(Some(0), name), (None, value)] {
                block.extend(prefix);
                assert!(text.len() < 127, "one byte of length is enough for a test");
                block.push(u8::try_from(text.len()).unwrap());
                block.extend(text.as_bytes());
            }
        }
        block
    }

    /// A connection whose preface and settings are through.
    pub(super) async fn connect(edge: &Edge) -> Client {
        let mut client = edge.client().await;
        client.send([PREFACE, &frame(4, 0, 0, &[])].concat()).await;
        client
    }

    #[derive(Debug, PartialEq, Eq)]
    pub(super) enum End {
        Served,
        Refused,
    }

    /// The next frame's type and payload; `None` at the connection's end.
    async fn next(client: &mut Client) -> Option<(u8, Vec<u8>)> {
        let head = client.exactly(9).await.ok()?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        Some((head[3], client.exactly(length).await.ok()?))
    }

    /// Reads frames until stream 1 has an answer or the connection an end.
    pub(super) async fn end(client: &mut Client) -> End {
        loop {
            match next(client).await {
                // 0x88 is ":status: 200" of the static table; any other status refuses.
                Some((HEADERS, payload)) if payload.first() == Some(&0x88) => return End::Served,
                Some((HEADERS | RESET | GOAWAY, _)) | None => return End::Refused,
                Some(_) => {}
            }
        }
    }

    /// Reads frames until the server ends the connection.
    pub(super) async fn ended(client: &mut Client) {
        while !matches!(next(client).await, Some((GOAWAY, _)) | None) {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_fields_are_refused() {
    let origin = origin().await;
    let edge = Edge::before(&origin).await;
    let usual = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/a"),
        (":authority", "test.example"),
    ];
    let with = |extra: &[(&'static str, &'static str)]| [&usual[..], extra].concat();
    let instead = |name: &str, value: &'static str| {
        usual
            .map(|(n, v)| if n == name { (n, value) } else { (n, v) })
            .to_vec()
    };
    let without = |name: &str| {
        usual
            .into_iter()
            .filter(|(n, _)| *n != name)
            .collect::<Vec<_>>()
    };
    let table: Vec<(&str, Vec<(&str, &str)>)> = vec![
        ("no method", without(":method")),
        ("no scheme", without(":scheme")),
        ("no path", without(":path")),
        ("no authority", without(":authority")),
        ("empty path", instead(":path", "")),
        ("relative path", instead(":path", "a")),
        ("star for GET", instead(":path", "*")),
        ("absolute path", instead(":path", "http://test.example/a")),
        // A fragment is no case: the h2 library drops it before anybody else sees the target.
        ("space in path", instead(":path", "/a b")),
        ("line end in path", instead(":path", "/a HTTP/1.1\r\nX: y")),
        ("empty authority", instead(":authority", "")),
        ("user in authority", instead(":authority", "u@test.example")),
        (
            "slash in authority",
            instead(":authority", "test.example/x"),
        ),
        ("other scheme", instead(":scheme", "gopher")),
        ("space in method", instead(":method", "GET /x")),
        ("two paths", with(&[(":path", "/b")])),
        ("two authorities", with(&[(":authority", "evil.example")])),
        ("unknown pseudo-field", with(&[(":evil", "1")])),
        ("response pseudo-field", with(&[(":status", "200")])),
        (
            "pseudo-field behind a field",
            [&[("x", "1")][..], &usual].concat(),
        ),
        ("upper-case name", with(&[("X-Evil", "1")])),
        ("space in name", with(&[("x evil", "1")])),
        ("colon in name", with(&[("x:evil", "1")])),
        ("line end in value", with(&[("x", "1\r\ny: 2")])),
        ("NUL in value", with(&[("x", "a\0b")])),
        ("connection", with(&[("connection", "close")])),
        ("keep-alive", with(&[("keep-alive", "1")])),
        ("proxy-connection", with(&[("proxy-connection", "close")])),
        (
            "transfer-encoding",
            with(&[("transfer-encoding", "chunked")]),
        ),
        ("upgrade", with(&[("upgrade", "websocket")])),
        ("te", with(&[("te", "gzip")])),
        ("length and no body", with(&[("content-length", "5")])),
        (
            "length that is no number",
            with(&[("content-length", "+0")]),
        ),
        (
            "two lengths",
            with(&[("content-length", "0"), ("content-length", "5")]),
        ),
        ("host against authority", with(&[("host", "evil.example")])),
    ];
    let mut wrong = Vec::new();
    for (what, fields) in table {
        let mut client = raw::connect(&edge).await;
        client
            .send(raw::frame(raw::HEADERS, 5, 1, &raw::literals(&fields)))
            .await;
        if raw::end(&mut client).await != raw::End::Refused {
            wrong.push(what);
        }
    }
    assert!(wrong.is_empty(), "served: {wrong:?}");
    assert_eq!(origin.connections(), 0);

    let mut client = raw::connect(&edge).await;
    client
        .send(raw::frame(raw::HEADERS, 5, 1, &raw::literals(&usual)))
        .await;
    assert_eq!(
        raw::end(&mut client).await,
        raw::End::Served,
        "the usual is served, so the table tests what it says"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn continuations_without_end_are_cut() {
    let origin = origin().await;
    let edge = Edge::before(&origin).await;
    let before = edge.resident();
    let piece = raw::frame(
        raw::CONTINUATION,
        0,
        1,
        &raw::literals(&[("x", &"y".repeat(100))]).repeat(100),
    );
    let mut flood = raw::connect(&edge).await;
    flood
        .send(raw::frame(
            raw::HEADERS,
            1,
            1,
            &raw::literals(&[(":method", "GET")]),
        ))
        .await;
    for _ in 0..2000 {
        flood.send(&piece).await;
    }
    // It ends by the edge: this side never closes.
    let _ = flood.rest().await;
    let grown = edge.resident().saturating_sub(before);
    assert!(
        grown < 16 * 1024 * 1024,
        "{} KiB stayed of 20 MiB of continuations",
        grown >> 10
    );
    assert_eq!(edge.get("/a").await.text(), "hello");
}
