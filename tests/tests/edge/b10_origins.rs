//! Toward origins: what is sent, what is refused, what a failure looks like.

use anypop_tests::{Authority, Edge, Gate, Origin, Reply};

#[tokio::test(flavor = "multi_thread")]
async fn the_origin_learns_who_asks() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::new(200).body("a"));
    let edge = Edge::before(&origin).await;
    edge.get_with(
        "/a",
        &[
            ("X-Forwarded-For", "203.0.113.99"),
            ("X-Real-IP", "203.0.113.99"),
            ("Forwarded", "for=203.0.113.99"),
        ],
    )
    .await;
    let seen = &origin.seen_at("/a")[0];
    assert_eq!(seen.header("host"), Some("test.example"));
    assert_eq!(
        seen.header("x-forwarded-for"),
        Some("127.0.0.1"),
        "what a client says about itself is replaced\n{}",
        seen.head
    );
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-forwarded-host"), Some("test.example"));
    assert!(!seen.head.contains("for=203.0.113.99"), "{}", seen.head);
    assert!(
        seen.header("via").unwrap().contains("1.1 "),
        "{}",
        seen.head
    );
    assert!(seen.header("cdn-loop").is_some());
    assert!(seen.header("traceparent").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_forwarder_is_appended_to() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::new(200).body("a"));
    let edge = Edge::builder()
        .node("[node]\ntrusted_forwarders = [\"127.0.0.0/8\"]")
        .any_host(&origin, "")
        .start()
        .await;
    edge.get_with("/a", &[("X-Forwarded-For", "203.0.113.99")])
        .await;
    assert_eq!(
        origin.seen_at("/a")[0].header("x-forwarded-for"),
        Some("203.0.113.99, 127.0.0.1")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn host_is_what_the_site_says() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::new(200).body("a"));
    let text = format!(
        "id = \"any\"\nhostnames = [\"*\"]\n[origin]\nservers = [{{ url = \"{}\" }}]\nhost = \"internal.example\"\nforwarded = \"forwarded\"\n",
        origin.url()
    );
    let edge = Edge::builder().site("any", &text).start().await;
    edge.get("/a").await;
    let seen = &origin.seen_at("/a")[0];
    assert_eq!(seen.header("host"), Some("internal.example"));
    let forwarded = seen.header("forwarded").unwrap();
    assert!(
        forwarded.contains("for=127.0.0.1")
            && forwarded.contains("host=")
            && forwarded.contains("proto=http"),
        "{forwarded}"
    );
    assert_eq!(seen.header("x-forwarded-for"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_kept() {
    let origin = Origin::start().await;
    origin.on(
        "/a",
        Reply::new(200).field("Cache-Control", "no-store").body("a"),
    );
    let edge = Edge::builder()
        .node("[node]\nthreads = 1")
        .any_host(&origin, "")
        .start()
        .await;
    for _ in 0..5 {
        edge.get("/a").await;
    }
    assert_eq!(origin.count("/a"), 5);
    assert!(origin.connections() <= 2, "{}", origin.connections());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_is_tried() {
    let good = Origin::start().await;
    good.on(
        "/a",
        Reply::new(200)
            .field("Cache-Control", "no-store")
            .body("good"),
    );
    let gone = Origin::start().await;
    let dead = gone.url();
    drop(gone);
    let text = format!(
        "id = \"any\"\nhostnames = [\"*\"]\n[origin]\nservers = [{{ url = \"{dead}\" }}, {{ url = \"{}\" }}]\n",
        good.url()
    );
    let edge = Edge::builder().site("any", &text).start().await;
    for _ in 0..4 {
        let response = edge.get("/a").await;
        assert_eq!((response.status, response.text().as_str()), (200, "good"));
    }
    // What may have had an effect is not sent twice: a POST on a connection that died under it is an error.
    good.on("/post", Reply::raw("").close());
    let response = edge
        .client()
        .await
        .request("POST", "/post", &[("Content-Length", "0")])
        .await;
    assert_eq!(response.status, 502);
    assert_eq!(good.count("/post"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_told_as_proxy_status() {
    let origin = Origin::start().await;
    let never = Gate::new();
    origin.on("/hangs", Reply::new(200).wait(&never).body("never"));
    origin.on("/closes", Reply::raw("").close());
    origin.on("/nonsense", Reply::raw("this is not HTTP\r\n\r\n").close());
    origin.on(
        "/half-head",
        Reply::raw("HTTP/1.1 200 OK\r\nContent-Le").close(),
    );
    origin.on(
        "/two-lengths",
        Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab").close(),
    );
    let text = format!(
        "id = \"any\"\nhostnames = [\"*\"]\n[origin]\nservers = [{{ url = \"{}\" }}]\nfirst_byte_timeout = \"500ms\"\nretries = 0\n",
        origin.url()
    );
    let edge = Edge::builder().site("any", &text).start().await;
    for (path, statuses) in [
        ("/hangs", &[504][..]),
        ("/closes", &[502]),
        ("/nonsense", &[502]),
        ("/half-head", &[502]),
        ("/two-lengths", &[502]),
    ] {
        let response = edge.get(path).await;
        assert!(
            statuses.contains(&response.status),
            "{path}: {}",
            response.status
        );
        let status = response
            .header("proxy-status")
            .unwrap_or_else(|| panic!("{path}: no Proxy-Status"));
        assert!(status.contains("error="), "{path}: {status}");
    }
    let (hangs, closes) = (edge.get("/hangs").await, edge.get("/closes").await);
    assert!(
        hangs.header("proxy-status").unwrap().contains("timeout"),
        "{hangs:?}"
    );
    assert!(
        closes
            .header("proxy-status")
            .unwrap()
            .contains("connection_terminated")
            || closes
                .header("proxy-status")
                .unwrap()
                .contains("http_response_incomplete"),
        "{closes:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn private_addresses_are_no_origins() {
    let origin = Origin::start().await;
    origin.on("/", Reply::new(200).body("metadata"));
    let port = origin.address().port();
    for url in [
        format!("http://127.0.0.1:{port}"),
        format!("http://localhost:{port}"),
        format!("http://[::ffff:127.0.0.1]:{port}"),
        "http://169.254.169.254".to_owned(),
        "http://10.0.0.1".to_owned(),
        "http://[fe80::1]".to_owned(),
        "http://0.0.0.0".to_owned(),
    ] {
        let text = format!(
            "id = \"any\"\nhostnames = [\"*\"]\n[origin]\nservers = [{{ url = \"{url}\" }}]\nconnect_timeout = \"2s\"\n"
        );
        let edge = Edge::builder()
            .node("[origin]\nallow = []")
            .site("any", &text)
            .start()
            .await;
        let response = edge.get("/").await;
        assert_eq!(response.status, 502, "{url}");
        let status = response.header("proxy-status").unwrap_or_default();
        assert!(
            status.contains("destination_ip_prohibited"),
            "{url}: {status}"
        );
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origins_certificate_is_verified() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    let pair = authority.issue("origin", &["origin.example", "127.0.0.1"]);
    let origin = Origin::start_tls(&pair).await;
    origin.on(
        "/a",
        Reply::new(200)
            .field("Cache-Control", "no-store")
            .body("secure"),
    );
    let ca = authority.file().display().to_string();
    for (more, status) in [
        (String::new(), 502),
        (format!("ca = \"{ca}\""), 200),
        (format!("ca = \"{ca}\"\nsni = \"origin.example\""), 200),
        (format!("ca = \"{ca}\"\nsni = \"other.example\""), 502),
        ("verify = false".to_owned(), 200),
    ] {
        let text = format!(
            "id = \"any\"\nhostnames = [\"*\"]\n[origin]\nservers = [{{ url = \"{}\" }}]\n{more}\n",
            origin.url()
        );
        let edge = Edge::builder().site("any", &text).start().await;
        let response = edge.get("/a").await;
        assert_eq!(response.status, status, "{more}: {}", edge.log());
        if status == 502 {
            let told = response.header("proxy-status").unwrap_or_default();
            assert!(
                told.contains("tls_") || told.contains("certificate"),
                "{more}: {told}"
            );
        }
    }
}
