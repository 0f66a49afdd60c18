//! Conditional requests (RFC 9110 §13), from the cache and to the origin.

use anypop_tests::{Edge, Origin, Reply};

const DATE: &str = "Mon, 06 Jan 2020 10:00:00 GMT";

async fn edge_with_tagged(origin: &Origin) -> Edge {
    origin.on(
        "/a",
        Reply::new(200)
            .field("Cache-Control", "max-age=60")
            .field("ETag", "\"one\"")
            .field("Last-Modified", DATE)
            .body("hello"),
    );
    let edge = Edge::before(origin).await;
    edge.get("/a").await;
    edge
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_are_answered_from_the_cache() {
    let origin = Origin::start().await;
    let edge = edge_with_tagged(&origin).await;
    let table: &[(&[(&str, &str)], u16)] = &[
        (&[("If-None-Match", "\"one\"")], 304),
        (&[("If-None-Match", "W/\"one\"")], 304),
        (&[("If-None-Match", "\"zero\", \"one\"")], 304),
        (&[("If-None-Match", "*")], 304),
        (&[("If-None-Match", "\"two\"")], 200),
        (&[("If-Modified-Since", DATE)], 304),
        (
            &[("If-Modified-Since", "Mon, 06 Jan 2020 09:59:59 GMT")],
            200,
        ),
        (&[("If-Modified-Since", "yesterday")], 200),
        (
            &[("If-None-Match", "\"two\""), ("If-Modified-Since", DATE)],
            200,
        ),
        (&[("If-Match", "\"one\"")], 200),
        (&[("If-Match", "W/\"one\"")], 412),
        (&[("If-Match", "\"two\"")], 412),
        (&[("If-Unmodified-Since", DATE)], 200),
        (
            &[("If-Unmodified-Since", "Mon, 06 Jan 2020 09:59:59 GMT")],
            412,
        ),
    ];
    for (fields, status) in table {
        let response = edge.get_with("/a", fields).await;
        assert_eq!(response.status, *status, "{fields:?}");
        if *status == 304 {
            assert_eq!(response.header("etag"), Some("\"one\""), "{fields:?}");
            assert!(response.body.is_empty());
        }
    }
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_is_validated_and_a_304_updates_what_is_stored() {
    let origin = Origin::start().await;
    origin.answer("/a", |request| {
        // `Age` beyond the lifetime makes it stale on arrival: no test has to wait.
        let reply = |status| Reply::new(status).field("ETag", "\"one\"");
        match request.header("if-none-match") {
            Some("\"one\"") => reply(304)
                .field("Cache-Control", "max-age=60")
                .field("X-Version", "2")
                .end_head(),
            _ => reply(200)
                .field("Cache-Control", "max-age=10")
                .field("Age", "20")
                .field("X-Version", "1")
                .body("hello"),
        }
    });
    let edge = Edge::before(&origin).await;
    assert_eq!(edge.get("/a").await.header("x-version"), Some("1"));
    let validated = edge.get("/a").await;
    assert_eq!(
        (
            validated.status,
            validated.text().as_str(),
            validated.header("x-version")
        ),
        (200, "hello", Some("2"))
    );
    assert!(
        validated.cache_status().contains("fwd=stale"),
        "{}",
        validated.cache_status()
    );
    assert!(
        validated.cache_status().contains("fwd-status=304"),
        "{}",
        validated.cache_status()
    );
    let hit = edge.get("/a").await;
    assert!(hit.is_hit(), "{}", hit.cache_status());
    assert_eq!(
        (hit.text().as_str(), hit.header("x-version")),
        ("hello", Some("2"))
    );
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cache_is_stored_and_validated_each_time() {
    let origin = Origin::start().await;
    origin.answer("/a", |request| match request.header("if-none-match") {
        Some(_) => Reply::new(304)
            .field("ETag", "\"one\"")
            .field("Cache-Control", "no-cache")
            .end_head(),
        None => Reply::new(200)
            .field("ETag", "\"one\"")
            .field("Cache-Control", "no-cache")
            .body("hello"),
    });
    let edge = Edge::before(&origin).await;
    for _ in 0..3 {
        assert_eq!(edge.get("/a").await.text(), "hello");
    }
    let seen = origin.seen_at("/a");
    assert_eq!(seen.len(), 3);
    assert!(
        seen[1..]
            .iter()
            .all(|request| request.header("if-none-match") == Some("\"one\""))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_ask_for_validation() {
    let origin = Origin::start().await;
    let edge = edge_with_tagged(&origin).await;
    edge.get_with("/a", &[("Cache-Control", "no-cache")]).await;
    assert_eq!(origin.count("/a"), 2);
    edge.get_with("/a", &[("Cache-Control", "max-age=0")]).await;
    assert_eq!(origin.count("/a"), 3);
    edge.get_with("/a", &[("Pragma", "no-cache")]).await;
    assert_eq!(origin.count("/a"), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_may_say_that_clients_have_no_say() {
    let origin = Origin::start().await;
    origin.on(
        "/a",
        Reply::new(200)
            .field("Cache-Control", "max-age=60")
            .body("a"),
    );
    let edge = Edge::before_with(&origin, "[cache]\nclient_directives = false").await;
    edge.get("/a").await;
    assert!(
        edge.get_with("/a", &[("Cache-Control", "no-cache")])
            .await
            .is_hit()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_variant_goes_beyond_the_sites_limit() {
    let origin = Origin::start().await;
    let reply = Reply::new(200)
        .field("Cache-Control", "max-age=60")
        .field("Vary", "Accept-Language")
        .body("hello");
    origin.on("/page", reply);
    let edge = Edge::before_with(&origin, "[cache]\nvary_limit = 2").await;
    let hit = async |language| {
        let fields = [("Accept-Language", language)];
        edge.get_with("/page", &fields).await.is_hit()
    };
    for language in ["de", "en", "fr"] {
        assert!(!hit(language).await, "{language} is new");
    }
    assert!(hit("fr").await && hit("en").await, "two are kept");
    assert!(!hit("de").await, "the oldest had to go");
}
