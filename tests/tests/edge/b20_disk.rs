//! The disk tier: what is cached and what is purged survive a kill.

use anypop_tests::{Edge, Origin, Reply, within};
use serde_json::json;

const DISK: &str =
    "[cache]\nadmission = \"always\"\n[[cache.disk]]\npath = \"disk\"\nsize = \"64MiB\"";

async fn scene() -> (Origin, Edge) {
    let origin = Origin::start().await;
    for path in ["/a", "/b"] {
        let reply = Reply::new(200)
            .field("Cache-Control", "max-age=600")
            .field("Surrogate-Key", &path[1..])
            .field("ETag", "\"one\"")
            .body("x".repeat(30_000));
        origin.on(path, reply);
    }
    let edge = Edge::builder()
        .node(DISK)
        .any_host(&origin, "")
        .start()
        .await;
    for path in ["/a", "/b"] {
        assert!(!edge.get(path).await.is_hit());
    }
    within("both objects to be written", async {
        while disk(&edge).await["objects"] != 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    (origin, edge)
}

async fn disk(edge: &Edge) -> serde_json::Value {
    edge.admin_json("/v1/status").await["cache"]["disks"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_there_after_a_kill() {
    let (origin, mut edge) = scene().await;
    edge.kill_and_restart().await;
    let response = edge.get("/a").await;
    assert!(response.is_hit(), "{}", response.cache_status());
    assert_eq!(response.body.len(), 30_000);
    assert_eq!(response.header("surrogate-key"), None);
    assert_eq!(
        edge.get_with("/b", &[("Range", "bytes=5-9")]).await.status,
        206
    );
    assert_eq!(origin.count("/a") + origin.count("/b"), 2);
    let disk = disk(&edge).await;
    assert_eq!(disk["online"], true);
    assert_eq!(disk["hits"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_purged_does_not_come_back() {
    let (origin, mut edge) = scene().await;
    edge.purge(json!({ "site": "any", "scope": "tag", "value": "a" }))
        .await;
    edge.kill_and_restart().await;
    assert!(!edge.get("/a").await.is_hit());
    assert!(edge.get("/b").await.is_hit());
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successful_post_invalidates_what_is_only_on_disk() {
    let (origin, mut edge) = scene().await;
    edge.kill_and_restart().await;
    let mut client = edge.client().await;
    client.request("POST", "/a", &[]).await;
    assert!(!edge.get("/a").await.is_hit());
    assert_eq!(origin.count("/a"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_cannot_be_used_leaves_the_node_serving() {
    let origin = Origin::start().await;
    origin.on(
        "/a",
        Reply::new(200)
            .field("Cache-Control", "max-age=600")
            .body("a"),
    );
    let edge = Edge::builder()
        .node("[[cache.disk]]\npath = \"/nowhere/at/all\"\nsize = \"64MiB\"")
        .any_host(&origin, "")
        .start()
        .await;
    edge.get("/a").await;
    assert!(edge.get("/a").await.is_hit(), "from memory");
    let disk = disk(&edge).await;
    assert_eq!(disk["online"], false);
    assert!(!disk["reason"].as_str().unwrap().is_empty());
}
