//! Start, stop, sudden death.

use anypop_tests::{Edge, Gate, Origin, Reply};

fn fresh(body: &str) -> Reply {
    Reply::new(200)
        .field("Cache-Control", "max-age=60")
        .body(body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_ends_before_the_daemon_does() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on(
        "/a",
        Reply::new(200)
            .field("Cache-Control", "no-store")
            .wait(&gate)
            .body("whole"),
    );
    let mut edge = Edge::before(&origin).await;
    let mut client = edge.client().await;
    client.send_get("/a", &[]).await;
    gate.reached(1).await;
    edge.signal("TERM").await;
    gate.open();
    assert_eq!(client.response("GET").await.unwrap().text(), "whole");
    drop(client);
    assert_eq!(edge.ended().await, Some(0), "{}", edge.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupt_stops_at_once() {
    let origin = Origin::start().await;
    let mut edge = Edge::before(&origin).await;
    let _idle = edge.client().await;
    edge.signal("INT").await;
    edge.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_started_again_it_serves() {
    let origin = Origin::start().await;
    origin.on("/a", fresh("a"));
    let mut edge = Edge::before(&origin).await;
    for _ in 0..2 {
        edge.get("/a").await;
        assert!(edge.get("/a").await.is_hit());
        // The sockets of the dead process still lie there.
        edge.kill_and_restart().await;
        assert_eq!(edge.admin("GET", "/healthz", None).await.status, 200);
    }
    assert_eq!(edge.get("/a").await.text(), "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_within_its_bound() {
    let origin = Origin::start().await;
    let body = "z".repeat(256 * 1024);
    origin.on("/a", fresh(&body));
    let edge = Edge::builder()
        .node("[cache]\nmemory = \"16MiB\"\nmax_object = \"1MiB\"")
        .any_host(&origin, "")
        .start()
        .await;
    edge.get("/a?warm").await;
    let before = edge.resident();
    let mut client = edge.client().await;
    for n in 0..400 {
        assert_eq!(client.get(&format!("/a?{n}")).await.body.len(), body.len());
    }
    let grown = edge.resident().saturating_sub(before);
    assert!(
        grown < 64 * 1024 * 1024,
        "100 MiB went through a cache of 16 MiB, and {} MiB stayed",
        grown >> 20
    );
}
