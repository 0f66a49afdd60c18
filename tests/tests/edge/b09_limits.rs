//! What one client may take: time, bytes, connections.

use std::time::Instant;

use anypop_tests::{Client, Edge, Origin, Reply};

async fn origin() -> Origin {
    let origin = Origin::start().await;
    origin.on(
        "/a",
        Reply::new(200)
            .field("Cache-Control", "max-age=60")
            .body("a"),
    );
    origin.on(
        "/post",
        Reply::new(200)
            .field("Cache-Control", "no-store")
            .body("got it"),
    );
    origin
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_head_has_one_deadline() {
    let origin = origin().await;
    let edge = Edge::builder()
        .node("[limits]\nheader_timeout = \"500ms\"")
        .any_host(&origin, "")
        .start()
        .await;
    let mut client = edge.client().await;
    let begin = Instant::now();
    client
        .send("GET /a HTTP/1.1\r\nHost: test.example\r\n")
        .await;
    // One byte at a time renews nothing: the deadline is for the whole head.
    let mut drip = tokio::time::interval(std::time::Duration::from_millis(50));
    let dripping = async {
        loop {
            drip.tick().await;
            client.send("x").await;
            if begin.elapsed().as_secs() >= 10 {
                panic!("still open after ten seconds");
            }
            if let Ok(read) =
                tokio::time::timeout(std::time::Duration::from_millis(1), client.some()).await
            {
                break read.unwrap_or_default();
            }
        }
    };
    let answer = String::from_utf8_lossy(&dripping.await).into_owned();
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 408"),
        "{answer}"
    );
    assert_eq!(origin.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_says_nothing_is_closed() {
    let origin = origin().await;
    let edge = Edge::builder()
        .node("[limits]\nheader_timeout = \"300ms\"\nidle_timeout = \"300ms\"")
        .any_host(&origin, "")
        .start()
        .await;
    let mut silent = edge.client().await;
    let _ = silent.rest().await;
    let mut idle = edge.client().await;
    assert_eq!(idle.get("/a").await.text(), "a");
    assert!(idle.closed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_is_given_up() {
    let origin = origin().await;
    let edge = Edge::builder()
        .node("[limits]\nbody_timeout = \"300ms\"")
        .any_host(&origin, "")
        .start()
        .await;
    let mut client = edge.client().await;
    client
        .send("POST /post HTTP/1.1\r\nHost: test.example\r\nContent-Length: 10\r\n\r\n12345")
        .await;
    let answer = String::from_utf8_lossy(&client.rest().await.unwrap_or_default()).into_owned();
    assert!(
        answer.is_empty()
            || answer.starts_with("HTTP/1.1 408")
            || answer.starts_with("HTTP/1.1 400"),
        "{answer}"
    );
    assert!(
        origin
            .seen_at("/post")
            .iter()
            .all(|request| request.body.is_empty()),
        "half a body is no body"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_have_a_size() {
    let origin = origin().await;
    let edge = Edge::builder()
        .node("[limits]\nheader_bytes = \"4KiB\"\nheader_count = 20\nuri_bytes = \"1KiB\"")
        .any_host(&origin, "")
        .start()
        .await;
    let many = (0..30).map(|n| format!("X-{n}: 1\r\n")).collect::<String>();
    for (what, request, status) in [
        (
            "long target",
            format!(
                "GET /{} HTTP/1.1\r\nHost: test.example\r\n\r\n",
                "a".repeat(2000)
            ),
            414,
        ),
        (
            "long field",
            format!(
                "GET /a HTTP/1.1\r\nHost: test.example\r\nX: {}\r\n\r\n",
                "a".repeat(5000)
            ),
            431,
        ),
        (
            "many fields",
            format!("GET /a HTTP/1.1\r\nHost: test.example\r\n{many}\r\n"),
            431,
        ),
    ] {
        let mut client = edge.client().await;
        client.send(request).await;
        assert_eq!(
            client.response("GET").await.unwrap().status,
            status,
            "{what}"
        );
        assert!(client.closed().await, "{what}");
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_have_a_size() {
    let origin = origin().await;
    let edge = Edge::before_with(&origin, "[limits]\nrequest_body = \"1KiB\"").await;
    let mut client = edge.client().await;
    client
        .send(format!(
            "POST /post HTTP/1.1\r\nHost: test.example\r\nContent-Length: 1025\r\n\r\n{}",
            "x".repeat(1025)
        ))
        .await;
    assert_eq!(client.response("POST").await.unwrap().status, 413);
    assert_eq!(
        origin.count("/post"),
        0,
        "a length that is too big is known before the origin is"
    );

    let mut client = edge.client().await;
    client.send(format!("POST /post HTTP/1.1\r\nHost: test.example\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n{}\r\n0\r\n\r\n", "x".repeat(1025))).await;
    match client.response("POST").await {
        Ok(response) => assert_eq!(response.status, 413),
        Err(error) => panic!("no answer: {error}"),
    }
    assert!(
        origin
            .seen_at("/post")
            .iter()
            .all(|request| request.body.len() <= 1024)
    );

    let mut client = edge.client().await;
    client
        .send(format!(
            "POST /post HTTP/1.1\r\nHost: test.example\r\nContent-Length: 1024\r\n\r\n{}",
            "x".repeat(1024)
        ))
        .await;
    assert_eq!(client.response("POST").await.unwrap().text(), "got it");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_has_so_many_connections() {
    let origin = origin().await;
    let edge = Edge::builder()
        .node("[limits]\nconnections_per_client = 3")
        .any_host(&origin, "")
        .start()
        .await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut client = edge.client().await;
        assert_eq!(client.get("/a").await.status, 200);
        kept.push(client);
    }
    let mut fourth = edge.client().await;
    fourth.send_get("/a", &[]).await;
    assert!(
        fourth
            .response("GET")
            .await
            .map_or(true, |response| response.status >= 400)
    );
    // Another address of loopback is another client.
    let other = tokio::net::TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = Client::over(other.connect(edge.address()).await.unwrap());
    assert_eq!(other.get("/a").await.status, 200);
    // A connection that ends makes room, as soon as its end has been seen.
    drop(kept.pop());
    anypop_tests::within("room for one more", async {
        loop {
            let mut client = edge.client().await;
            client.send_get("/a", &[]).await;
            if client
                .response("GET")
                .await
                .is_ok_and(|response| response.status == 200)
            {
                break;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_carries_so_many_requests() {
    let origin = origin().await;
    let edge = Edge::builder()
        .node("[limits]\nkeepalive_requests = 2")
        .any_host(&origin, "")
        .start()
        .await;
    let mut client = edge.client().await;
    assert_eq!(
        client
            .get("/a")
            .await
            .header("connection")
            .unwrap_or("keep-alive"),
        "keep-alive"
    );
    assert_eq!(client.get("/a").await.header("connection"), Some("close"));
    assert!(client.closed().await);
}
