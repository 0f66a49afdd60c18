//! What is stored, what is not, and what the client is told about it.

use anypop_tests::{Edge, Origin, Reply};

fn fresh() -> Reply {
    Reply::new(200).field("Cache-Control", "max-age=60")
}

#[tokio::test(flavor = "multi_thread")]
async fn second_request_is_a_hit() {
    let origin = Origin::start().await;
    origin.on(
        "/a",
        fresh().field("Content-Type", "text/plain").body("hello"),
    );
    let edge = Edge::before(&origin).await;

    let first = edge.get("/a").await;
    assert_eq!((first.status, first.text().as_str()), (200, "hello"));
    assert!(
        first.cache_status().contains("fwd=uri-miss"),
        "{}",
        first.cache_status()
    );
    assert!(
        first.cache_status().contains("stored"),
        "{}",
        first.cache_status()
    );

    let second = edge.get("/a").await;
    assert_eq!((second.status, second.text().as_str()), (200, "hello"));
    assert!(second.is_hit(), "{}", second.cache_status());
    assert!(
        second.cache_status().contains("ttl="),
        "{}",
        second.cache_status()
    );
    assert_eq!(second.header("content-type"), Some("text/plain"));
    assert!(second.header("age").is_some());
    assert_eq!(
        second.header("date"),
        first.header("date"),
        "a stored response keeps the origin's date"
    );
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_carries_hits_and_misses() {
    let origin = Origin::start().await;
    origin.on("/a", fresh().body("a"));
    origin.on(
        "/b",
        Reply::new(200)
            .field("Cache-Control", "no-store")
            .body("bb"),
    );
    let edge = Edge::before(&origin).await;
    let mut client = edge.client().await;
    for _ in 0..3 {
        assert_eq!(client.get("/a").await.text(), "a");
        assert_eq!(client.get("/b").await.text(), "bb");
    }
    assert_eq!((origin.count("/a"), origin.count("/b")), (1, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::start().await;
    origin.on("/a", fresh().body("first"));
    origin.on(
        "/b",
        Reply::new(200)
            .field("Cache-Control", "no-store")
            .body("second"),
    );
    let edge = Edge::before(&origin).await;
    let mut client = edge.client().await;
    let get = |path| anypop_tests::client::request("GET", path, &[]);
    client
        .send([get("/a"), get("/b"), get("/a")].concat())
        .await;
    for expected in ["first", "second", "first"] {
        assert_eq!(client.response("GET").await.unwrap().text(), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_answered_from_a_stored_get() {
    let origin = Origin::start().await;
    origin.on("/a", fresh().body("hello"));
    let edge = Edge::before(&origin).await;
    edge.get("/a").await;
    let mut client = edge.client().await;
    let head = client.request("HEAD", "/a", &[]).await;
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("5"))
    );
    assert!(head.is_hit());
    // No byte of a body came: the next response starts where it should.
    assert_eq!(client.get("/a").await.text(), "hello");
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_stored_is_not() {
    let origin = Origin::start().await;
    let table: &[(&str, &[(&str, &str)])] = &[
        ("/no-store", &[("Cache-Control", "no-store, max-age=60")]),
        ("/private", &[("Cache-Control", "private, max-age=60")]),
        (
            "/cookie",
            &[("Cache-Control", "max-age=60"), ("Set-Cookie", "session=1")],
        ),
        (
            "/vary-star",
            &[("Cache-Control", "max-age=60"), ("Vary", "*")],
        ),
        ("/silent", &[]),
        (
            "/targeted",
            &[
                ("Cache-Control", "max-age=60"),
                ("CDN-Cache-Control", "no-store"),
            ],
        ),
    ];
    for (path, fields) in table {
        let reply = fields.iter().fold(Reply::new(200), |reply, (name, value)| {
            reply.field(name, value)
        });
        origin.on(path, reply.body("body"));
    }
    let edge = Edge::before(&origin).await;
    for (path, fields) in table {
        for round in 0..2 {
            let response = edge.get(path).await;
            assert_eq!(response.text(), "body", "{path}");
            assert!(
                !response.is_hit(),
                "{path} round {round}: {}",
                response.cache_status()
            );
            for (name, value) in *fields {
                assert_eq!(response.header(name), Some(*value), "{path}: {name}");
            }
        }
        assert_eq!(origin.count(path), 2, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn authorization_is_kept_apart() {
    let origin = Origin::start().await;
    origin.on("/secret", fresh().body("for one"));
    origin.on(
        "/shared",
        Reply::new(200)
            .field("Cache-Control", "public, max-age=60")
            .body("for all"),
    );
    let edge = Edge::before(&origin).await;
    let who = [("Authorization", "Basic eDp5")];
    edge.get_with("/secret", &who).await;
    assert!(!edge.get("/secret").await.is_hit());
    edge.get_with("/shared", &who).await;
    assert!(edge.get("/shared").await.is_hit());
}

#[tokio::test(flavor = "multi_thread")]
async fn targeted_fields_rule_here_and_the_own_one_ends_here() {
    let origin = Origin::start().await;
    origin.on(
        "/a",
        Reply::new(200)
            .field("Cache-Control", "no-store")
            .field("CDN-Cache-Control", "max-age=60")
            .body("a"),
    );
    origin.on(
        "/b",
        Reply::new(200)
            .field("CDN-Cache-Control", "no-store")
            .field("Anypop-Cache-Control", "max-age=60")
            .body("b"),
    );
    let edge = Edge::before(&origin).await;
    for path in ["/a", "/b"] {
        edge.get(path).await;
        let second = edge.get(path).await;
        assert!(second.is_hit(), "{path}: {}", second.cache_status());
        assert_eq!(second.header("anypop-cache-control"), None);
    }
    assert_eq!(
        edge.get("/a").await.header("cdn-cache-control"),
        Some("max-age=60"),
        "other caches below may read it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn vary_keeps_variants_apart() {
    let origin = Origin::start().await;
    origin.answer("/a", |request| {
        let language = request
            .header("accept-language")
            .unwrap_or("none")
            .to_owned();
        fresh().field("Vary", "Accept-Language").body(language)
    });
    let edge = Edge::before(&origin).await;
    for _ in 0..2 {
        for language in ["de", "fr"] {
            assert_eq!(
                edge.get_with("/a", &[("Accept-Language", language)])
                    .await
                    .text(),
                language
            );
        }
        assert_eq!(edge.get("/a").await.text(), "none");
    }
    assert_eq!(origin.count("/a"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn accept_encoding_has_few_forms() {
    let origin = Origin::start().await;
    origin.answer("/a", |request| {
        fresh()
            .field("Vary", "Accept-Encoding")
            .body(request.header("accept-encoding").unwrap_or("identity"))
    });
    let edge = Edge::before(&origin).await;
    edge.get_with("/a", &[("Accept-Encoding", "gzip, deflate, br")])
        .await;
    assert!(
        edge.get_with("/a", &[("Accept-Encoding", "br;q=1.0,gzip;q=0.8, *;q=0.1")])
            .await
            .is_hit()
    );
    assert!(
        !edge
            .get_with("/a", &[("Accept-Encoding", "gzip")])
            .await
            .is_hit()
    );
    assert!(
        edge.get_with("/a", &[("Accept-Encoding", "gzip, br;q=0")])
            .await
            .is_hit()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn query_rules_decide_what_is_one_resource() {
    let origin = Origin::start().await;
    origin.answer("/a", |request| fresh().body(&request.target));
    let edge = Edge::before_with(
        &origin,
        "[cache]\nquery = { mode = \"allow\", names = [\"v\", \"size\"], sort = true }",
    )
    .await;
    edge.get("/a?v=1&utm_source=x&size=2").await;
    assert!(edge.get("/a?size=2&v=1").await.is_hit());
    assert!(edge.get("/a?size=2&utm_campaign=y&v=1").await.is_hit());
    assert!(!edge.get("/a?size=3&v=1").await.is_hit());
    assert!(!edge.get("/a").await.is_hit());
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_replace_what_the_origin_says() {
    let origin = Origin::start().await;
    origin.on("/static/a.css", Reply::new(200).body("css"));
    origin.on("/account/a", fresh().body("mine"));
    origin.on("/page", fresh().body("page"));
    let rules = "[[rules]]\npath = \"/static/*\"\nttl = \"1h\"\nbrowser_ttl = \"5m\"\n[[rules]]\npath = \"/account/*\"\nbypass = true";
    let edge = Edge::before_with(&origin, rules).await;
    edge.get("/static/a.css").await;
    let second = edge.get("/static/a.css").await;
    assert!(second.is_hit(), "{}", second.cache_status());
    assert!(
        second
            .header("cache-control")
            .unwrap_or_default()
            .contains("max-age=300"),
        "{second:?}"
    );
    edge.get("/account/a").await;
    let second = edge.get("/account/a").await;
    assert!(
        second.cache_status().contains("fwd=bypass"),
        "{}",
        second.cache_status()
    );
    edge.get("/page").await;
    assert!(edge.get("/page").await.is_hit());
}

#[tokio::test(flavor = "multi_thread")]
async fn unsafe_methods_invalidate() {
    let origin = Origin::start().await;
    origin.on("/a", fresh().body("a"));
    origin.on("/b", fresh().body("b"));
    let edge = Edge::before(&origin).await;
    edge.get("/a").await;
    edge.get("/b").await;
    origin.answer("/a", |request| match request.method.as_str() {
        "POST" => Reply::new(201).field("Location", "/b").body("made"),
        _ => fresh().body("a"),
    });
    let posted = edge
        .client()
        .await
        .request("POST", "/a", &[("Content-Length", "0")])
        .await;
    assert_eq!(posted.status, 201);
    assert!(!edge.get("/a").await.is_hit());
    assert!(!edge.get("/b").await.is_hit());
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_named_fields_are_neither_stored_nor_passed_on() {
    let origin = Origin::start().await;
    origin.on(
        "/a",
        fresh()
            .field("Connection", "X-Hop")
            .field("X-Hop", "secret")
            .field("Keep-Alive", "timeout=9")
            .body("a"),
    );
    let edge = Edge::before(&origin).await;
    for _ in 0..2 {
        let response = edge
            .get_with(
                "/a",
                &[("Connection", "X-Mine"), ("X-Mine", "1"), ("TE", "gzip")],
            )
            .await;
        assert_eq!(response.header("x-hop"), None);
        assert_eq!(response.header("keep-alive"), None);
    }
    let seen = &origin.seen_at("/a")[0];
    assert_eq!(seen.header("x-mine"), None, "{}", seen.head);
    assert_eq!(seen.header("te"), None, "{}", seen.head);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_if_cached_never_reaches_the_origin() {
    let origin = Origin::start().await;
    origin.on("/a", fresh().body("a"));
    let edge = Edge::before(&origin).await;
    let only = [("Cache-Control", "only-if-cached")];
    assert_eq!(edge.get_with("/a", &only).await.status, 504);
    assert_eq!(origin.connections(), 0);
    edge.get("/a").await;
    assert!(edge.get_with("/a", &only).await.is_hit());
}
