//! Request collapsing: one fill, and who may hold whom up.

use anypop_tests::{Edge, Gate, Origin, Reply};

fn fresh() -> Reply {
    Reply::new(200).field("Cache-Control", "max-age=60")
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_one_fill_and_everyone_streams() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on(
        "/a",
        fresh()
            .chunked()
            .chunk("first,")
            .wait(&gate)
            .chunk("second")
            .last_chunk(&[]),
    );
    let edge = Edge::before(&origin).await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = edge.client().await;
        client.send_get("/a", &[]).await;
        clients.push(client);
    }
    // Everyone has the first bytes while the origin holds the rest back.
    let mut tails = Vec::new();
    for mut client in clients {
        let head = client.response_head().await.unwrap();
        assert_eq!(head.status, 200);
        let mut bytes = Vec::new();
        while !String::from_utf8_lossy(&bytes).contains("first,") {
            let more = client.some().await.unwrap();
            assert!(!more.is_empty(), "the stream ended early");
            bytes.extend(more);
        }
        tails.push((client, bytes));
    }
    assert_eq!(origin.count("/a"), 1);
    gate.open();
    for (mut client, mut bytes) in tails {
        while !bytes.ends_with(b"0\r\n\r\n") {
            let more = client.some().await.unwrap();
            assert!(!more.is_empty(), "the stream ended early");
            bytes.extend(more);
        }
        assert!(String::from_utf8_lossy(&bytes).contains("second"));
    }
    assert_eq!(origin.count("/a"), 1);
    assert!(edge.get("/a").await.is_hit());
}

#[tokio::test(flavor = "multi_thread")]
async fn collapsed_requests_say_so() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on("/a", fresh().wait(&gate).body("a"));
    let edge = Edge::before(&origin).await;
    let mut first = edge.client().await;
    first.send_get("/a", &[]).await;
    gate.reached(1).await;
    // The second one is sent first and only then the gate opened; which of the two states it meets, it must not cause a second fill.
    let mut second = edge.client().await;
    second.send_get("/a", &[]).await;
    gate.open();
    assert_eq!(first.response("GET").await.unwrap().text(), "a");
    let second = second.response("GET").await.unwrap();
    assert_eq!(second.text(), "a");
    assert!(
        second.is_hit() || second.cache_status().contains("collapsed"),
        "{}",
        second.cache_status()
    );
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_does_not_stop_its_fill() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on(
        "/a",
        fresh()
            .chunked()
            .chunk("first,")
            .wait(&gate)
            .chunk("second")
            .last_chunk(&[]),
    );
    let edge = Edge::before(&origin).await;
    let mut client = edge.client().await;
    client.send_get("/a", &[]).await;
    client.response_head().await.unwrap();
    gate.reached(1).await;
    drop(client);
    let mut other = edge.client().await;
    other.send_get("/a", &[]).await;
    other.response_head().await.unwrap();
    gate.open();
    assert_eq!(edge.get("/a").await.text(), "first,second");
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_request_holds_nobody_up() {
    let origin = Origin::start().await;
    origin.on("/a", fresh().body("a"));
    let edge = Edge::before(&origin).await;
    let mut slow = edge.client().await;
    slow.send("GET /a HTTP/1.1\r\nHost: test.example\r\nContent-Length: 5\r\n\r\n")
        .await;
    for _ in 0..3 {
        assert_eq!(edge.get("/a").await.text(), "a");
    }
    slow.send("12345").await;
    assert_eq!(slow.response("GET").await.unwrap().text(), "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_holds_nobody_up() {
    let origin = Origin::start().await;
    let big = "x".repeat(4 * 1024 * 1024);
    origin.on("/big", fresh().body(&big));
    let edge = Edge::before(&origin).await;
    let mut slow = edge.client().await;
    slow.send_get("/big", &[]).await;
    slow.response_head().await.unwrap();
    for _ in 0..2 {
        assert_eq!(edge.get("/big").await.body.len(), big.len());
    }
    assert_eq!(slow.exactly(big.len()).await.unwrap().len(), big.len());
    assert_eq!(origin.count("/big"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_turns_out_uncacheable_releases_everybody() {
    let origin = Origin::start().await;
    let (first, rest) = (Gate::new(), Gate::new());
    let turn = std::sync::atomic::AtomicUsize::new(0);
    let gates = (first.clone(), rest.clone());
    origin.answer("/a", move |_| {
        let reply = Reply::new(200).field("Cache-Control", "no-store");
        match turn.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            // Head only: the waiters must not wait for its body.
            0 => reply.wait(&gates.0).announce(4).wait(&gates.1).then("mine"),
            _ => reply.body("mine"),
        }
    });
    let edge = Edge::before(&origin).await;
    let mut leader = edge.client().await;
    leader.send_get("/a", &[]).await;
    first.reached(1).await;
    let mut waiters = Vec::new();
    for _ in 0..5 {
        let mut client = edge.client().await;
        client.send_get("/a", &[]).await;
        waiters.push(client);
    }
    first.open();
    for mut waiter in waiters {
        assert_eq!(waiter.response("GET").await.unwrap().text(), "mine");
    }
    rest.open();
    assert_eq!(leader.response("GET").await.unwrap().text(), "mine");
    assert_eq!(origin.count("/a"), 6, "everyone got an answer of their own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_fill_is_an_error_for_every_reader_and_is_not_stored() {
    for script in [
        fresh().announce(100).then("half"),
        fresh().chunked().chunk("half"),
        fresh().chunked().chunk("half").then("zz\r\nnot a chunk"),
    ] {
        let origin = Origin::start().await;
        let gate = Gate::new();
        origin.on("/a", script.wait(&gate).close());
        let edge = Edge::before(&origin).await;
        let mut clients = Vec::new();
        for _ in 0..3 {
            let mut client = edge.client().await;
            client.send_get("/a", &[]).await;
            clients.push(client);
        }
        gate.reached(1).await;
        gate.open();
        for mut client in clients {
            match client.response("GET").await {
                Err(_) => {}
                // A reader that came after the end of the first fill may have met the next one's failure before any byte.
                Ok(response) => assert!(response.status >= 500, "{response:?}"),
            }
        }
        origin.on("/a", fresh().body("whole"));
        let response = edge.get("/a").await;
        assert_eq!(response.text(), "whole");
        assert!(!response.is_hit());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_big_for_the_cache_still_arrives_whole() {
    let origin = Origin::start().await;
    let big = "y".repeat(300_000);
    origin.on("/known", fresh().body(&big));
    let chunks = big
        .as_bytes()
        .chunks(10_000)
        .fold(fresh().chunked(), |reply, piece| reply.chunk(piece));
    origin.on("/unknown", chunks.last_chunk(&[]));
    let edge = Edge::before_with(&origin, "[cache]\nmax_object = \"100KiB\"").await;
    for path in ["/known", "/unknown"] {
        for _ in 0..2 {
            let response = edge.get(path).await;
            assert_eq!(response.body.len(), big.len(), "{path}");
            assert!(!response.is_hit());
        }
    }
}
