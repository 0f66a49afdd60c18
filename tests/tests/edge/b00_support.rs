//! The tests' own tools, without an edge between them: what fails here is not the edge's fault.

use anypop_tests::{Authority, Client, Gate, Origin, Reply, command::curl};

#[tokio::test(flavor = "multi_thread")]
async fn client_and_origin_understand_each_other() {
    let origin = Origin::start().await;
    origin.on("/length", Reply::new(200).field("X-A", "1").body("hello"));
    origin.on(
        "/chunks",
        Reply::new(200)
            .chunked()
            .chunk("one")
            .chunk("two")
            .last_chunk(&[("X-Sum", "2")]),
    );
    origin.on(
        "/hints",
        Reply::raw("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No\r\n\r\n"),
    );
    origin.answer("/echo", |request| Reply::new(200).body(&request.body));
    let mut client = Client::connect(origin.address()).await;
    let response = client.get("/length?q").await;
    assert_eq!(
        (
            response.status,
            response.header("x-a"),
            response.text().as_str()
        ),
        (200, Some("1"), "hello")
    );
    let response = client.get("/chunks").await;
    assert_eq!(
        (response.text().as_str(), response.trailers.first("x-sum")),
        ("onetwo", Some("2"))
    );
    let response = client.get("/hints").await;
    assert_eq!((response.status, response.interim[0].0), (204, 103));
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").await;
    assert_eq!(client.response("POST").await.unwrap().text(), "abc");
    assert_eq!(client.get("/nowhere").await.status, 404);
    assert_eq!(
        (
            origin.connections(),
            origin.seen().len(),
            origin.count("/length")
        ),
        (1, 5, 1)
    );
    assert_eq!(origin.seen()[0].target, "/length?q");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_is_an_error() {
    let origin = Origin::start().await;
    origin.on(
        "/length",
        Reply::new(200).announce(10).then("short").close(),
    );
    origin.on("/chunks", Reply::new(200).chunked().chunk("short").close());
    origin.on("/nothing", Reply::raw("").close());
    for path in ["/length", "/chunks", "/nothing"] {
        let mut client = Client::connect(origin.address()).await;
        client.send_get(path, &[]).await;
        assert!(client.response("GET").await.is_err(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_holds_and_tells() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on(
        "/a",
        Reply::new(200)
            .chunked()
            .chunk("one")
            .wait(&gate)
            .chunk("two")
            .last_chunk(&[]),
    );
    let mut client = Client::connect(origin.address()).await;
    client.send_get("/a", &[]).await;
    gate.reached(1).await;
    client.response_head().await.unwrap();
    assert_eq!(client.exactly(8).await.unwrap(), b"3\r\none\r\n");
    gate.open();
    assert_eq!(client.exactly(13).await.unwrap(), b"3\r\ntwo\r\n0\r\n\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_good_enough_for_curl() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    let origin = Origin::start_tls(&authority.issue("a", &["127.0.0.1"])).await;
    origin.on("/a", Reply::new(200).body("secure"));
    let url = format!("{}/a", origin.url());
    let ca = authority.file().display().to_string();
    assert_eq!(curl(&["--cacert", &ca, &url]).await.stdout, "secure");
    assert_ne!(curl(&[&url]).await.code, Some(0));
}
