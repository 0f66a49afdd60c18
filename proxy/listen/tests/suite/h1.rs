//! HTTP/1 over real sockets.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{NoCertificates, PATIENCE, loopback, read_all, read_until, start, start_with};
use anypop_listen::{Limits, Mode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n")
}

/// Status line, fields without Date, and body.
fn parts(answer: &str) -> (String, Vec<String>, String) {
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no head in {answer:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().to_owned();
    let fields = lines
        .map(str::to_ascii_lowercase)
        .filter(|line| !line.starts_with("date: "))
        .collect();
    (status, fields, body.to_owned())
}

#[tokio::test]
async fn a_response_and_the_next_on_one_connection() {
    let node = start().await;
    let mut stream = node.connect().await;
    for _ in 0..3 {
        stream
            .write_all(get("/hello", "").as_bytes())
            .await
            .unwrap();
        let answer = read_until(&mut stream, "hello").await;
        let (status, fields, _) = parts(&answer);
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert_eq!(fields, ["content-length: 5"]);
        assert!(answer.contains("\r\nDate: "));
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let node = start().await;
    let request = format!(
        "{}POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc{}{}",
        get("/hello", ""),
        get("/hot", ""),
        get("/nowhere", "Connection: close\r\n")
    );
    let answer = node.exchange(request).await;
    let order: Vec<usize> = ["hello", "abc", "hot", "/nowhere"]
        .iter()
        .map(|body| answer.find(body).unwrap())
        .collect();
    assert!(order.is_sorted(), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 4);
}

#[tokio::test]
async fn hot_answers_need_no_session() {
    let node = start().await;
    let answer = node.exchange(get("/hot", "Connection: close\r\n")).await;
    assert_eq!(
        answer,
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nhot"
    );
}

#[tokio::test]
async fn bodies_with_length_and_chunked() {
    let node = start().await;
    let answer = node.exchange("POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 11\r\n\r\nhello world").await;
    assert!(answer.ends_with("\r\n\r\nhello world"), "{answer}");
    let chunked = "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nhello\r\n6\r\n world\r\n0\r\nX-Trailer: 1\r\n\r\n";
    let mut stream = node.connect().await;
    for byte in chunked.as_bytes() {
        stream.write_all(&[*byte]).await.unwrap();
    }
    assert!(read_all(&mut stream).await.ends_with("\r\n\r\nhello world"));
}

#[tokio::test]
async fn malformed_chunks_are_400_and_the_end() {
    let mut node = start().await;
    for body in [
        "5;a=b\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "x\r\n",
        "0\r\nContent-Length: 1\r\n\r\n",
    ] {
        let request = format!(
            "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}{}",
            get("/hello", "")
        );
        let answer = node.exchange(request).await;
        let (status, fields, _) = parts(&answer);
        assert_eq!(status, "HTTP/1.1 400 Bad Request", "{body:?}");
        assert!(fields.contains(&"connection: close".to_owned()));
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1);
        node.event("error: ").await;
    }
}

#[tokio::test]
async fn refused_heads_are_answered_and_the_end() {
    let mut node = start().await;
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03", 400),
        (
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            400,
        ),
        ("GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
            501,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nExpect: magic\r\n\r\n", 417),
    ] {
        let answer = node.exchange(request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request:?}: {answer:?}"
        );
        assert!(answer.contains("Connection: close"));
        assert!(
            node.event("request: ")
                .await
                .starts_with(&format!("request: {status} "))
        );
    }
}

#[tokio::test]
async fn chunked_responses_with_trailers_for_those_who_take_them() {
    let node = start().await;
    let answer = node
        .exchange(get("/chunks", "Connection: close, TE\r\nTE: trailers\r\n"))
        .await;
    let (_, fields, body) = parts(&answer);
    assert_eq!(
        fields,
        [
            "trailer: x-sum",
            "transfer-encoding: chunked",
            "connection: close"
        ]
    );
    assert_eq!(
        body,
        "3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\nx-sum: 3\r\n\r\n"
    );
    let answer = node.exchange(get("/chunks", "Connection: close\r\n")).await;
    assert!(answer.ends_with("5\r\nthree\r\n0\r\n\r\n"), "{answer}");
    let answer = node.exchange(get("/tasks", "Connection: close\r\n")).await;
    assert!(
        answer.ends_with("3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn http_1_0() {
    let node = start().await;
    let answer = node
        .exchange("GET /chunks HTTP/1.0\r\nHost: a\r\n\r\n")
        .await;
    let (status, fields, body) = parts(&answer);
    assert_eq!(
        (status.as_str(), body.as_str()),
        ("HTTP/1.1 200 OK", "onetwothree")
    );
    assert_eq!(fields, ["connection: close"]);
    // Kept only when asked for, and when the length is known.
    let mut stream = node.connect().await;
    stream
        .write_all(b"GET /hello HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
        .await
        .unwrap();
    assert!(
        read_until(&mut stream, "hello")
            .await
            .contains("Connection: keep-alive")
    );
    stream
        .write_all(b"GET /hints HTTP/1.0\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let answer = read_all(&mut stream).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("Connection: close"),
        "{answer}"
    );
}

#[tokio::test]
async fn responses_without_bodies() {
    let node = start().await;
    let answer = node
        .exchange("HEAD /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    let (_, fields, body) = parts(&answer);
    assert_eq!(
        (fields.as_slice(), body.as_str()),
        (
            [
                "content-length: 5".to_owned(),
                "connection: close".to_owned()
            ]
            .as_slice(),
            ""
        )
    );
    let (_, fields, body) = parts(
        &node
            .exchange("HEAD /chunks HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await,
    );
    assert_eq!(
        (fields.as_slice(), body.as_str()),
        (["connection: close".to_owned()].as_slice(), "")
    );
    let (status, fields, body) =
        parts(&node.exchange(get("/empty", "Connection: close\r\n")).await);
    assert_eq!(
        (status.as_str(), body.as_str()),
        ("HTTP/1.1 204 No Content", "")
    );
    assert_eq!(fields, ["connection: close"]);
    let (_, fields, body) = parts(&node.exchange(get("/same", "Connection: close\r\n")).await);
    assert_eq!(body, "");
    assert_eq!(
        fields,
        ["content-length: 99", "etag: \"a\"", "connection: close"]
    );
}

#[tokio::test]
async fn fields_of_the_hop_are_ours_and_date_is_the_origins() {
    let node = start().await;
    let answer = node.exchange(get("/dated", "Connection: close\r\n")).await;
    assert_eq!(answer.matches("Date: ").count(), 1);
    assert!(answer.contains("Date: Tue, 15 Nov 1994 08:12:31 GMT\r\n"));
    assert!(!answer.to_ascii_lowercase().contains("keep-alive"));
    let mut stream = node.connect().await;
    stream.write_all(get("/hop", "").as_bytes()).await.unwrap();
    let (_, fields, _) = parts(&read_until(&mut stream, "\r\n\r\n").await);
    assert_eq!(fields, ["x-kept: 1", "content-length: 0"]);
}

#[tokio::test]
async fn early_hints_pass_and_unasked_continues_do_not() {
    let node = start().await;
    let answer = node.exchange(get("/hints", "Connection: close\r\n")).await;
    assert!(
        answer.starts_with(
            "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n"
        ),
        "{answer}"
    );
}

#[tokio::test]
async fn continue_comes_when_the_body_is_wanted() {
    let node = start().await;
    let mut stream = node.connect().await;
    stream
        .write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(
        read_until(&mut stream, "\r\n\r\n").await,
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    stream.write_all(b"ok").await.unwrap();
    assert!(read_all(&mut stream).await.ends_with("\r\n\r\nok"));
    // Not wanted: an answer, no 100, and the end, because the client may or may not send the body.
    let answer = node
        .exchange(
            "POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n",
        )
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.contains("Connection: close"),
        "{answer}"
    );
}

#[tokio::test]
async fn unread_bodies_are_drained_or_end_the_connection() {
    let node = start().await;
    let small = format!(
        "POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello{}",
        get("/hello", "Connection: close\r\n")
    );
    let answer = node.exchange(small).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2);
    let answer = node
        .exchange("POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\nhello")
        .await;
    assert!(
        answer.contains("Connection: close") && answer.ends_with("ok"),
        "{answer}"
    );
}

#[tokio::test]
async fn never_more_and_never_less_than_announced() {
    let node = start().await;
    let answer = node.exchange(get("/long", "Connection: close\r\n")).await;
    assert!(answer.ends_with("\r\n\r\ntool"), "{answer}");
    for path in ["/short", "/cut"] {
        let mut stream = node.connect().await;
        stream.write_all(get(path, "").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let end = timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .unwrap();
        assert_eq!(
            end.unwrap_err().kind(),
            std::io::ErrorKind::ConnectionReset,
            "{path}"
        );
    }
    assert!(
        node.exchange(get("/drop", ""))
            .await
            .starts_with("HTTP/1.1 500 ")
    );
}

#[tokio::test]
async fn what_is_written_goes_out_when_the_application_waits() {
    let node = start().await;
    let mut stream = node.connect().await;
    stream
        .write_all(get("/stream", "Connection: close\r\n").as_bytes())
        .await
        .unwrap();
    read_until(&mut stream, "5\r\nfirst\r\n").await;
    node.gate.notify_one();
    assert_eq!(read_all(&mut stream).await, "6\r\nsecond\r\n0\r\n\r\n");
}

#[tokio::test]
async fn upgrades_become_tunnels() {
    let node = start().await;
    let mut stream = node.connect().await;
    // What comes with the request is the tunnel's already.
    stream
        .write_all(
            (get("/upgrade", "Connection: Upgrade\r\nUpgrade: echo\r\n") + "early ").as_bytes(),
        )
        .await
        .unwrap();
    let answer = read_until(&mut stream, "early ").await;
    let (status, fields, _) = parts(&answer);
    assert_eq!(status, "HTTP/1.1 101 Switching Protocols");
    assert_eq!(fields, ["upgrade: echo", "connection: upgrade"]);
    stream
        .write_all(b"\0\x01GET / HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut stream, "GET / HTTP/1.1\r\n\r\n").await;
    stream.shutdown().await.unwrap();
    assert_eq!(read_all(&mut stream).await, "");
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed() {
    let mut node = start().await;
    let mut stream = node.connect().await;
    stream
        .write_all(get("/watch", "").as_bytes())
        .await
        .unwrap();
    node.entered.notified().await;
    drop(stream);
    assert_eq!(node.event("gone").await, "gone: ConnectionClosed");
}

#[tokio::test]
async fn deadlines() {
    let limits = Limits {
        header_timeout: Duration::from_millis(200),
        body_timeout: Duration::from_millis(200),
        idle_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let node = start_with(loopback(), limits, Arc::new(NoCertificates)).await;
    // A head that does not get whole.
    assert!(
        node.exchange("GET / HTTP/1.1\r\nHost: a")
            .await
            .starts_with("HTTP/1.1 408 ")
    );
    // Silence from the start, and after a request.
    assert_eq!(node.exchange("").await, "");
    assert!(node.exchange(get("/hello", "")).await.ends_with("hello"));
    // A body that does not come.
    let answer = node
        .exchange("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhello")
        .await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off() {
    let limits = Limits {
        write_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let mut node = start_with(loopback(), limits, Arc::new(NoCertificates)).await;
    let mut stream = node.connect().await;
    stream.write_all(get("/big", "").as_bytes()).await.unwrap();
    let error = node.event("error: ").await;
    assert!(error.contains("WriteTimedout"), "{error}");
    node.event("closed").await;
}

#[tokio::test]
async fn a_slow_reader_gets_everything() {
    let node = start().await;
    let mut stream = node.connect().await;
    stream
        .write_all(get("/big", "Connection: close\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer.iter().filter(|byte| **byte == b'x').count(), 8 << 20);
}

#[tokio::test]
async fn requests_per_connection_are_limited() {
    let limits = Limits {
        keepalive_requests: 2,
        ..Limits::default()
    };
    let node = start_with(loopback(), limits, Arc::new(NoCertificates)).await;
    let answer = node.exchange(get("/hello", "").repeat(3)).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2);
    assert_eq!(answer.matches("Connection: close").count(), 1);
}

#[tokio::test]
async fn connections_per_client_and_in_total() {
    let limits = Limits {
        connections: 3,
        connections_per_client: 2,
        ..Limits::default()
    };
    let mut node = start_with(loopback(), limits, Arc::new(NoCertificates)).await;
    let mut first = node.connect().await;
    let mut second = node.connect().await;
    for stream in [&mut first, &mut second] {
        stream
            .write_all(get("/hello", "").as_bytes())
            .await
            .unwrap();
        read_until(stream, "hello").await;
    }
    let _third = node.connect().await;
    assert_eq!(node.event("refused").await, "refused: PerClient");
    drop(first);
    node.event("closed").await;
    assert!(
        node.exchange(get("/hello", "Connection: close\r\n"))
            .await
            .ends_with("hello")
    );
}

#[tokio::test]
async fn leaving_closes_the_idle_and_finishes_the_rest() {
    let mut node = start().await;
    let mut idle = node.connect().await;
    idle.write_all(get("/hello", "").as_bytes()).await.unwrap();
    read_until(&mut idle, "hello").await;
    let mut busy = node.connect().await;
    busy.write_all(get("/wait", "").as_bytes()).await.unwrap();
    node.entered.notified().await;

    node.mode.send(Mode::Bleed).unwrap();
    assert_eq!(read_all(&mut idle).await, "");
    // New connections are still served, one request each.
    let answer = node.exchange(get("/hello", "")).await;
    assert!(answer.contains("Connection: close") && answer.ends_with("hello"));

    node.mode.send(Mode::Stop).unwrap();
    node.gate.notify_one();
    let answer = read_all(&mut busy).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("Connection: close"),
        "{answer}"
    );
    timeout(PATIENCE, &mut node.running)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(node.server.open_connections(), 0);
}

#[tokio::test]
async fn queued_tasks_can_be_cancelled() {
    let node = start().await;
    let answer = node.exchange(get("/queue", "Connection: close\r\n")).await;
    assert_eq!(answer.matches('q').count(), 1 << 20);
    assert!(answer.ends_with("3\r\nend\r\n0\r\n\r\n"));
}

#[tokio::test]
async fn a_panic_ends_its_connection_only() {
    let mut node = start().await;
    // "/upgrade" asserts that it is asked for one.
    assert_eq!(node.exchange(get("/upgrade", "")).await, "");
    node.event("closed").await;
    assert_eq!(node.server.open_connections(), 0);
    assert!(
        node.exchange(get("/hello", "Connection: close\r\n"))
            .await
            .ends_with("hello")
    );
}
