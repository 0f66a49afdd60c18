//! HTTP/2 by ALPN and by prior knowledge, as curl, h2load and a library see it.

use anypop_tests::{
    Edge, Gate, Origin, Reply,
    command::{curl, run},
    within,
};
use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;

async fn origin() -> Origin {
    let origin = Origin::start().await;
    origin.on(
        "/a",
        Reply::new(200)
            .field("Cache-Control", "max-age=60")
            .body("hello"),
    );
    origin
}

async fn h2c(edge: &Edge) -> SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(edge.address())
        .await
        .unwrap();
    let (client, connection) = within("the preface", h2::client::handshake(stream))
        .await
        .unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("http://test.example{path}"))
        .body(())
        .unwrap()
}

async fn whole(body: &mut h2::RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut bytes = Vec::new();
    while let Some(piece) = within("data", body.data()).await {
        let piece = piece?;
        let _ = body.flow_control().release_capacity(piece.len());
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_speaks_it_with_prior_knowledge() {
    let origin = origin().await;
    let edge = Edge::before(&origin).await;
    let url = format!("http://{}/a", edge.address());
    for _ in 0..2 {
        let output = curl(&["--http2-prior-knowledge", "--include", &url]).await;
        assert!(output.stdout.starts_with("HTTP/2 200"), "{}", output.all());
        assert!(output.stdout.ends_with("hello"));
    }
    assert!(
        edge.get_with("/a", &[("Host", &edge.address().to_string())])
            .await
            .is_hit(),
        "H1 and H2 share what is stored"
    );
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn h2load_finds_no_error() {
    let origin = origin().await;
    let edge = Edge::before(&origin).await;
    let url = format!("http://{}/a", edge.address());
    let output = run("h2load", ["-n", "2000", "-c", "10", "-m", "20", &url], b"").await;
    assert!(
        output
            .stdout
            .contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"),
        "{}",
        output.all()
    );
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_do_not_wait_for_each_other() {
    let origin = origin().await;
    let gate = Gate::new();
    origin.on(
        "/slow",
        Reply::new(200)
            .field("Cache-Control", "no-store")
            .wait(&gate)
            .body("slow"),
    );
    let edge = Edge::before(&origin).await;
    let mut client = h2c(&edge).await.ready().await.unwrap();
    let (slow, _) = client.send_request(get("/slow"), true).unwrap();
    gate.reached(1).await;
    let (fast, _) = client.send_request(get("/a"), true).unwrap();
    let mut fast = within("the fast one", fast).await.unwrap();
    assert_eq!(whole(fast.body_mut()).await.unwrap(), b"hello");
    gate.open();
    let mut slow = within("the slow one", slow).await.unwrap();
    assert_eq!(whole(slow.body_mut()).await.unwrap(), b"slow");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_trailers_go_both_ways() {
    let origin = Origin::start().await;
    origin.answer("/up", |request| {
        Reply::new(200)
            .field("Cache-Control", "no-store")
            .chunked()
            .chunk(&request.body)
            .last_chunk(&[("X-Sum", "42")])
    });
    let edge = Edge::before(&origin).await;
    let mut client = h2c(&edge).await.ready().await.unwrap();
    let request = Request::post("http://test.example/up")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (response, mut body) = client.send_request(request, false).unwrap();
    body.send_data("abc".into(), false).unwrap();
    body.send_data("def".into(), true).unwrap();
    let mut response = within("the response", response).await.unwrap();
    assert_eq!(whole(response.body_mut()).await.unwrap(), b"abcdef");
    let trailers = within("trailers", response.body_mut().trailers())
        .await
        .unwrap();
    assert_eq!(trailers.unwrap()["x-sum"], "42");
}

#[tokio::test(flavor = "multi_thread")]
async fn early_hints_come_through() {
    let origin = Origin::start().await;
    origin.on(
        "/a",
        Reply::raw("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 1\r\n\r\na"),
    );
    let edge = Edge::before(&origin).await;
    let url = format!("http://{}/a", edge.address());
    let output = curl(&["--http2-prior-knowledge", "--include", &url]).await;
    assert!(output.stdout.starts_with("HTTP/2 103"), "{}", output.all());
    assert!(output.stdout.contains("HTTP/2 200"), "{}", output.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_response_is_a_reset_stream() {
    let origin = Origin::start().await;
    origin.on(
        "/a",
        Reply::new(200)
            .field("Cache-Control", "max-age=60")
            .announce(100)
            .then("half")
            .close(),
    );
    let edge = Edge::before(&origin).await;
    let mut client = h2c(&edge).await.ready().await.unwrap();
    let (response, _) = client.send_request(get("/a"), true).unwrap();
    match within("the response", response).await {
        Ok(mut response) => {
            if response.status() == 200 {
                assert!(
                    whole(response.body_mut()).await.is_err(),
                    "a cut body must not look whole"
                );
            }
        }
        Err(error) => assert!(error.is_reset(), "{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pseudo_fields_have_one_meaning() {
    let origin = origin().await;
    let edge = Edge::before(&origin).await;
    for (what, request) in [
        (
            "host against authority",
            Request::get("http://test.example/a")
                .header("host", "evil.example")
                .body(())
                .unwrap(),
        ),
        (
            "two hosts",
            Request::get("http://test.example/a")
                .header("host", "test.example")
                .header("host", "evil.example")
                .body(())
                .unwrap(),
        ),
        (
            "te other than trailers",
            Request::get("http://test.example/a")
                .header("te", "gzip")
                .body(())
                .unwrap(),
        ),
        (
            "length that lies",
            Request::get("http://test.example/a")
                .header("content-length", "5")
                .body(())
                .unwrap(),
        ),
        (
            "user in authority",
            Request::get("http://u@test.example/a").body(()).unwrap(),
        ),
    ] {
        let mut client = h2c(&edge).await.ready().await.unwrap();
        let refused = match client.send_request(request, true) {
            Err(_) => true,
            Ok((response, _)) => match within(what, response).await {
                Ok(response) => response.status() == 400,
                Err(_) => true,
            },
        };
        assert!(refused, "{what}");
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_resets_end_the_connection_and_nothing_else() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on(
        "/slow",
        Reply::new(200)
            .field("Cache-Control", "no-store")
            .wait(&gate)
            .body("slow"),
    );
    origin.on(
        "/a",
        Reply::new(200)
            .field("Cache-Control", "max-age=60")
            .body("hello"),
    );
    let edge = Edge::builder()
        .node("[limits]\nh2_resets = 16")
        .any_host(&origin, "")
        .start()
        .await;
    let mut client = h2c(&edge).await;
    let ended = within("the end of the connection", async {
        for _ in 0..5000 {
            let Ok(ready) = client.ready().await else {
                return true;
            };
            client = ready;
            match client.send_request(get("/slow"), false) {
                Ok((_, mut body)) => body.send_reset(h2::Reason::CANCEL),
                Err(_) => return true,
            }
            tokio::task::yield_now().await;
        }
        false
    })
    .await;
    assert!(ended, "five thousand resets were let through");
    gate.open();
    assert_eq!(edge.get("/a").await.text(), "hello");
}
