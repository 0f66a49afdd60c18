//! Purging by URL, prefix, tag, host, site, everything; hard and soft; by socket and by command.

use anypop_tests::{Edge, Gate, Origin, Reply, anypop};
use serde_json::json;

fn tagged(tags: &str) -> Reply {
    Reply::new(200)
        .field("Cache-Control", "max-age=60")
        .field("Surrogate-Key", tags)
        .field("ETag", "\"one\"")
}

async fn scene() -> (Origin, Edge) {
    let origin = Origin::start().await;
    origin.on("/news/1", tagged("news one").body("1"));
    origin.on("/news/2", tagged("news two").body("2"));
    origin.on(
        "/shop/3",
        Reply::new(200)
            .field("Cache-Control", "max-age=60")
            .field("Cache-Tag", "shop, one")
            .body("3"),
    );
    let edge = Edge::before(&origin).await;
    warm(&edge).await;
    (origin, edge)
}

const ALL: [&str; 3] = ["/news/1", "/news/2", "/shop/3"];

async fn warm(edge: &Edge) {
    for path in ALL {
        edge.get(path).await;
        assert!(edge.get(path).await.is_hit(), "{path}");
    }
}

async fn hits(edge: &Edge) -> [bool; 3] {
    let mut hits = [false; 3];
    for (hit, path) in hits.iter_mut().zip(ALL) {
        *hit = edge.get(path).await.is_hit();
    }
    hits
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scope() {
    let (_origin, edge) = scene().await;
    let table = [
        (
            json!({ "site": "any", "scope": "url", "value": "http://test.example/news/1" }),
            [false, true, true],
        ),
        (
            json!({ "site": "any", "scope": "prefix", "value": "http://test.example/news/" }),
            [false, false, true],
        ),
        (
            json!({ "site": "any", "scope": "tag", "value": "one" }),
            [false, true, false],
        ),
        (
            json!({ "site": "any", "scope": "tag", "value": "on" }),
            [true, true, true],
        ),
        (
            json!({ "site": "any", "scope": "host", "value": "test.example" }),
            [false, false, false],
        ),
        (
            json!({ "site": "any", "scope": "host", "value": "other.example" }),
            [true, true, true],
        ),
        (
            json!({ "site": "any", "scope": "site" }),
            [false, false, false],
        ),
        (
            json!({ "site": "any", "scope": "everything" }),
            [false, false, false],
        ),
    ];
    for (purge, expected) in table {
        edge.purge(purge.clone()).await;
        assert_eq!(hits(&edge).await, expected, "{purge}");
        warm(&edge).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_for_us_and_not_for_clients() {
    let (_origin, edge) = scene().await;
    for path in ALL {
        let response = edge.get(path).await;
        assert_eq!(
            (
                response.header("surrogate-key"),
                response.header("cache-tag")
            ),
            (None, None),
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn soft_purge_leaves_something_to_validate() {
    let (origin, edge) = scene().await;
    edge.purge(json!({ "site": "any", "scope": "tag", "value": "news", "soft": true }))
        .await;
    edge.get("/news/1").await;
    assert_eq!(
        origin
            .seen_at("/news/1")
            .last()
            .unwrap()
            .header("if-none-match"),
        Some("\"one\"")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hard_purge_leaves_nothing_even_when_the_origin_is_gone() {
    let (origin, edge) = scene().await;
    edge.purge(json!({ "site": "any", "scope": "url", "value": "http://test.example/news/1" }))
        .await;
    drop(origin);
    assert_eq!(edge.get("/news/1").await.status, 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fill_in_flight_cannot_bring_old_bytes_back() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on("/a", tagged("t").wait(&gate).body("old"));
    let edge = Edge::before(&origin).await;
    let mut client = edge.client().await;
    client.send_get("/a", &[]).await;
    gate.reached(1).await;
    edge.purge(json!({ "site": "any", "scope": "tag", "value": "t" }))
        .await;
    origin.on("/a", tagged("t").body("new"));
    gate.open();
    assert_eq!(client.response("GET").await.unwrap().text(), "old");
    assert_eq!(edge.get("/a").await.text(), "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn sites_purge_only_themselves() {
    let origin = Origin::start().await;
    origin.on("/a", tagged("t").body("a"));
    let site = |id: &str| anypop_tests::edge::site(id, &[&format!("{id}.example")], &origin, "");
    let edge = Edge::builder()
        .site("one", &site("one"))
        .site("two", &site("two"))
        .start()
        .await;
    let get = async |host: &str| edge.get_with("/a", &[("Host", host)]).await;
    for host in ["one.example", "two.example"] {
        get(host).await;
        assert!(get(host).await.is_hit());
    }
    edge.purge(json!({ "site": "one", "scope": "tag", "value": "t" }))
        .await;
    assert!(get("two.example").await.is_hit());
    assert!(!get("one.example").await.is_hit());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_purges_too() {
    let (_origin, edge) = scene().await;
    let socket = edge
        .folder()
        .join("admin.sock")
        .to_str()
        .unwrap()
        .to_owned();
    let table: [(&[&str], [bool; 3]); 4] = [
        (
            &["--url", "http://test.example/news/1"],
            [false, true, true],
        ),
        (
            &["--prefix", "http://test.example/news/"],
            [false, false, true],
        ),
        (&["--tag", "one"], [false, true, false]),
        (&["--everything"], [false, false, false]),
    ];
    for (arguments, expected) in table {
        let all = [&["purge", "--socket", &socket, "--site", "any"], arguments].concat();
        let output = anypop(all).await;
        assert_eq!(output.code, Some(0), "{arguments:?}: {}", output.all());
        assert_eq!(hits(&edge).await, expected, "{arguments:?}");
        warm(&edge).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_purges_are_refused_with_a_reason() {
    let (_origin, edge) = scene().await;
    for purge in [
        json!({}),
        json!({ "site": "nobody", "scope": "everything" }),
        json!({ "site": "any", "scope": "galaxy", "value": "x" }),
        json!({ "site": "any", "scope": "url" }),
        json!({ "site": "any", "scope": "url", "value": "not a url" }),
        json!({ "site": "any", "scope": "tag", "value": "t", "sotf": true }),
    ] {
        let response = edge.admin("POST", "/v1/purges", Some(&purge)).await;
        assert!(
            (400..500).contains(&response.status),
            "{purge}: {} {}",
            response.status,
            response.text()
        );
        assert!(!response.body.is_empty(), "{purge}");
    }
    assert_eq!(hits(&edge).await, [true; 3]);
}
