//! HTTP/2 by prior knowledge over real sockets.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{NoCertificates, Node, PATIENCE, loopback, start, start_with};
use anypop_listen::{Limits, Mode};
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::timeout;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

struct Client {
    send: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

async fn client(node: &Node) -> Client {
    let stream = node.connect().await;
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    Client {
        send,
        connection: tokio::spawn(connection),
    }
}

fn get(path: &str) -> http::request::Builder {
    Request::builder().uri(format!("http://a.example{path}"))
}

impl Client {
    async fn open(
        &mut self,
        request: http::request::Builder,
        end: bool,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        self.send = timeout(PATIENCE, self.send.clone().ready())
            .await
            .unwrap()
            .unwrap();
        self.send
            .send_request(request.body(()).unwrap(), end)
            .unwrap()
    }

    async fn get(&mut self, path: &str) -> (Response<()>, Vec<u8>, Option<HeaderMap>) {
        let (response, _) = self.open(get(path), true).await;
        whole(response).await.unwrap()
    }

    async fn status(&mut self, request: http::request::Builder) -> u16 {
        let (response, _) = self.open(request, true).await;
        whole(response).await.unwrap().0.status().as_u16()
    }
}

async fn whole(
    response: ResponseFuture,
) -> Result<(Response<()>, Vec<u8>, Option<HeaderMap>), h2::Error> {
    let read = async {
        let (parts, mut body) = response.await?.into_parts();
        let mut bytes = Vec::new();
        while let Some(piece) = body.data().await {
            let piece = piece?;
            body.flow_control().release_capacity(piece.len())?;
            bytes.extend_from_slice(&piece);
        }
        let trailers = body.trailers().await?;
        Ok((Response::from_parts(parts, ()), bytes, trailers))
    };
    timeout(PATIENCE, read).await.expect("a response in time")
}

#[tokio::test]
async fn responses() {
    let node = start().await;
    let mut client = client(&node).await;
    let (response, body, trailers) = client.get("/hello").await;
    assert_eq!(
        (response.status().as_u16(), body.as_slice(), trailers),
        (200, b"hello".as_slice(), None)
    );
    assert!(response.headers().contains_key("date"));
    let (response, body, trailers) = client.get("/chunks").await;
    assert_eq!(body, b"onetwothree");
    assert!(!response.headers().contains_key("transfer-encoding"));
    let trailers = trailers.unwrap();
    assert_eq!(trailers["x-sum"], "3");
    assert!(!trailers.contains_key("content-length"));
    assert_eq!(client.get("/tasks").await.1, b"onetwo");
    let (_, body, _) = client.get("/queue").await;
    assert_eq!((body.len(), body.ends_with(b"qend")), ((1 << 20) + 3, true));
    assert_eq!(client.get("/long").await.1, b"tool");
    let (response, body, _) = client.get("/empty").await;
    assert_eq!((response.status().as_u16(), body.len()), (204, 0));
    assert!(!response.headers().contains_key("content-length"));
    let (response, ..) = client.get("/same").await;
    assert_eq!(
        (
            response.status().as_u16(),
            &response.headers()["content-length"]
        ),
        (304, &"99".parse().unwrap())
    );
    let (response, ..) = client.get("/dated").await;
    assert_eq!(response.headers()["date"], "Tue, 15 Nov 1994 08:12:31 GMT");
    assert!(!response.headers().contains_key("keep-alive"));
    let (response, ..) = client.get("/hop").await;
    assert!(
        !response.headers().contains_key("x-gone") && response.headers().contains_key("x-kept")
    );
    let (head, _) = client.open(get("/hello").method("HEAD"), true).await;
    let (response, body, _) = whole(head).await.unwrap();
    assert_eq!(
        (&response.headers()["content-length"], body.len()),
        (&"5".parse().unwrap(), 0)
    );
    assert_eq!(client.get("/big").await.1.len(), 8 << 20);
    assert_eq!(client.status(get("/drop")).await, 500);
}

#[tokio::test]
async fn what_is_not_whole_is_reset() {
    let node = start().await;
    let mut client = client(&node).await;
    for path in ["/short", "/cut"] {
        let (response, _) = client.open(get(path), true).await;
        let error = whole(response).await.unwrap_err();
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR), "{path}");
    }
    // The connection goes on.
    assert_eq!(client.get("/hello").await.1, b"hello");
}

#[tokio::test]
async fn bodies_and_expectations() {
    let node = start().await;
    let mut client = client(&node).await;
    let (response, mut body) = client.open(get("/echo").method("POST"), false).await;
    let expected = vec![b'y'; 300_000];
    let mut rest = Bytes::from(expected.clone());
    while !rest.is_empty() {
        body.reserve_capacity(rest.len());
        let room = std::future::poll_fn(|cx| body.poll_capacity(cx))
            .await
            .unwrap()
            .unwrap();
        body.send_data(rest.split_to(room.min(rest.len())), false)
            .unwrap();
    }
    body.send_trailers(HeaderMap::new()).unwrap();
    assert_eq!(whole(response).await.unwrap().1, expected);

    let request = get("/echo")
        .method("POST")
        .header("expect", "100-continue")
        .header("content-length", "2");
    let (mut response, mut body) = client.open(request, false).await;
    let interim = timeout(
        PATIENCE,
        std::future::poll_fn(|cx| response.poll_informational(cx)),
    )
    .await
    .unwrap()
    .unwrap()
    .unwrap();
    assert_eq!(interim.status(), 100);
    body.send_data("ok".into(), true).unwrap();
    assert_eq!(whole(response).await.unwrap().1, b"ok");
}

#[tokio::test]
async fn early_hints() {
    let node = start().await;
    let mut client = client(&node).await;
    let (mut response, _) = client.open(get("/hints"), true).await;
    let interim = timeout(
        PATIENCE,
        std::future::poll_fn(|cx| response.poll_informational(cx)),
    )
    .await
    .unwrap()
    .unwrap()
    .unwrap();
    assert_eq!(
        (interim.status().as_u16(), &interim.headers()["link"]),
        (103, &"</a.css>; rel=preload".parse().unwrap())
    );
    assert_eq!(whole(response).await.unwrap().0.status(), 200);
}

#[tokio::test]
async fn one_meaning_or_none() {
    let mut node = start().await;
    let mut client = client(&node).await;
    for (request, status) in [
        (get("/a").header("host", "b.example"), 400),
        (
            get("/a")
                .header("host", "a.example")
                .header("host", "a.example"),
            400,
        ),
        (get("/a").header("host", "A.EXAMPLE"), 404),
        (get("/a\\b"), 400),
        (Request::builder().uri("http://user@a.example/"), 400),
        (Request::builder().uri("ftp://a.example/"), 400),
        (Request::builder().uri("http://a..example/"), 400),
        (get("/a").header("expect", "magic"), 417),
        (get("/a").header("x", " y"), 400),
        (
            get("/a")
                .header("content-length", "0")
                .header("content-length", "0"),
            400,
        ),
        (get(&format!("/{}", "a".repeat(17_000))), 414),
    ] {
        let text = format!("{request:?}");
        assert_eq!(client.status(request).await, status, "{text}");
        if status != 404 {
            node.event("request: ").await;
        }
    }
    let mut many = get("/a");
    for index in 0..200 {
        many = many.header(format!("x-{index}"), "y");
    }
    assert_eq!(client.status(many).await, 431);
    let (connect, _) = client
        .open(
            Request::builder().method("CONNECT").uri("a.example:443"),
            true,
        )
        .await;
    assert_eq!(whole(connect).await.unwrap().0.status(), 405);
    assert_eq!(client.get("/hello").await.1, b"hello");
}

#[tokio::test]
async fn a_length_that_is_not_the_bodys_is_a_protocol_error() {
    let node = start().await;
    let mut client = client(&node).await;
    let (response, _) = client
        .open(get("/a").header("content-length", "5"), true)
        .await;
    assert_eq!(
        whole(response).await.unwrap_err().reason(),
        Some(Reason::PROTOCOL_ERROR)
    );
    let (response, mut body) = client
        .open(
            get("/echo").method("POST").header("content-length", "5"),
            false,
        )
        .await;
    body.send_data("toolong".into(), true).unwrap();
    assert!(whole(response).await.is_err());
    assert_eq!(client.get("/hello").await.1, b"hello");
}

#[tokio::test]
async fn requests_look_like_those_of_http_1() {
    let node = start().await;
    let mut client = client(&node).await;
    let (response, body, _) = client.get("/client").await;
    assert_eq!(response.status(), 200);
    assert!(String::from_utf8(body).unwrap().contains(" H2 tls=- "));
}

#[tokio::test]
async fn a_stream_that_is_reset_is_noticed() {
    let mut node = start().await;
    let mut client = client(&node).await;
    let (response, mut body) = client.open(get("/watch"), true).await;
    node.entered.notified().await;
    body.send_reset(Reason::CANCEL);
    drop(response);
    assert_eq!(node.event("gone").await, "gone: ConnectionClosed");
    assert_eq!(client.get("/hello").await.1, b"hello");
}

#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let limits = Limits {
        h2_resets: 8,
        ..Limits::default()
    };
    let mut node = start_with(loopback(), limits, Arc::new(NoCertificates)).await;
    let mut stream = node.connect().await;
    let mut wire = PREFACE.to_vec();
    for index in 0..40u8 {
        let id = index * 2 + 1;
        // GET http://a/wait, and a reset.
        wire.extend_from_slice(&[
            0, 0, 12, 1, 5, 0, 0, 0, id, 0x82, 0x86, 0x44, 5, b'/', b'w', b'a', b'i', b't', 0x41,
            1, b'a',
        ]);
        wire.extend_from_slice(&[0, 0, 4, 3, 0, 0, 0, 0, id, 0, 0, 0, 8]);
    }
    stream.write_all(&wire).await.unwrap();
    assert!(node.event("abuse").await.starts_with("abuse: too many "));
    let mut answer = Vec::new();
    // The end may be a reset, as the client has sent what nobody read.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .unwrap();
    node.event("closed").await;
}

#[tokio::test]
async fn a_flood_of_pings_or_continuations_ends_the_connection() {
    let mut node = start().await;
    let ping = b"\0\0\x08\x06\0\0\0\0\x0012345678".repeat(300);
    let mut stream = node.connect().await;
    stream.write_all(&[PREFACE, &ping].concat()).await.unwrap();
    assert_eq!(node.event("abuse").await, "abuse: too many control frames");

    let mut stream = node.connect().await;
    let continuation = b"\0\0\x01\x09\0\0\0\0\x01\x82".repeat(40);
    stream
        .write_all(&[PREFACE, b"\0\0\x01\x01\0\0\0\0\x01\x82", &continuation].concat())
        .await
        .unwrap();
    node.event("closed").await;
}

#[tokio::test]
async fn field_lists_are_bounded() {
    let limits = Limits {
        h2_header_list: 2048,
        ..Limits::default()
    };
    let node = start_with(loopback(), limits, Arc::new(NoCertificates)).await;
    let mut client = client(&node).await;
    let (response, _) = client
        .open(get("/a").header("x", "y".repeat(3000)), true)
        .await;
    match whole(response).await {
        Ok((response, ..)) => assert_eq!(response.status(), 431),
        Err(error) => assert!(error.reason().is_some(), "{error}"),
    }
}

#[tokio::test]
async fn deadlines() {
    let limits = Limits {
        body_timeout: Duration::from_millis(200),
        header_timeout: Duration::from_millis(200),
        idle_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let mut node = start_with(loopback(), limits, Arc::new(NoCertificates)).await;
    // A body that does not come.
    let mut slow = client(&node).await;
    let (response, _body) = slow.open(get("/echo").method("POST"), false).await;
    assert_eq!(whole(response).await.unwrap().0.status(), 408);
    // Then nothing at all.
    timeout(PATIENCE, slow.connection)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    node.event("closed").await;
    // A preface that does not get whole.
    let mut stream = node.connect().await;
    stream.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    // A field block that does not get whole.
    let mut stream = node.connect().await;
    let begun = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\0\0\0\0\x01\x82";
    stream.write_all(begun).await.unwrap();
    assert_eq!(
        node.event("abuse").await,
        "abuse: field block takes too long"
    );
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off() {
    let limits = Limits {
        write_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let mut node = start_with(loopback(), limits, Arc::new(NoCertificates)).await;
    let mut client = client(&node).await;
    let (response, _) = client.open(get("/big"), true).await;
    let mut body = timeout(PATIENCE, response)
        .await
        .unwrap()
        .unwrap()
        .into_body();
    let error = node.event("error: ").await;
    assert!(error.contains("WriteTimedout"), "{error}");
    let end = async {
        loop {
            match body.data().await {
                Some(Ok(_)) => {}
                other => return other,
            }
        }
    };
    let error = timeout(PATIENCE, end).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
}

#[tokio::test]
async fn leaving_says_goaway_and_finishes_what_is_open() {
    let mut node = start().await;
    let mut idle = client(&node).await;
    idle.get("/hello").await;
    let mut busy = client(&node).await;
    let (response, _) = busy.open(get("/wait"), true).await;
    node.entered.notified().await;
    node.mode.send(Mode::Bleed).unwrap();
    timeout(PATIENCE, idle.connection)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    // A new connection is served one request.
    let mut new = client(&node).await;
    assert_eq!(new.get("/hello").await.1, b"hello");
    timeout(PATIENCE, new.connection)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    node.mode.send(Mode::Stop).unwrap();
    node.gate.notify_one();
    assert_eq!(whole(response).await.unwrap().0.status(), 200);
    timeout(PATIENCE, busy.connection)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    timeout(PATIENCE, &mut node.running)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(node.server.open_connections(), 0);
}
