//! Logs, metrics, the admin socket.

use anypop_tests::{Edge, Origin, Reply, anypop};
use serde_json::Value;

async fn scene() -> (Origin, Edge) {
    let origin = Origin::start().await;
    origin.on(
        "/a",
        Reply::new(200)
            .field("Cache-Control", "max-age=60")
            .body("hello"),
    );
    let edge = Edge::before(&origin).await;
    (origin, edge)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_leaves_a_line() {
    let (_origin, edge) = scene().await;
    for result in ["miss", "hit"] {
        edge.get("/a").await;
        let line = edge.access_log(&["/a", result]).await;
        let record: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(record["status"], 200, "{line}");
        assert_eq!(record["site"], "any", "{line}");
    }
    edge.client()
        .await
        .send("GET /bad path HTTP/1.1\r\nHost: test.example\r\n\r\n")
        .await;
    let line = edge.access_log(&["400"]).await;
    serde_json::from_str::<Value>(&line).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_sends_stays_one_line_of_json() {
    let (_origin, edge) = scene().await;
    let agent = "quote\" back\\slash \u{e9} {\"status\":500}";
    let mut client = edge.client().await;
    client
        .send(format!(
            "GET /escaped?a=%22 HTTP/1.1\r\nHost: test.example\r\nUser-Agent: {agent}\r\n\r\n"
        ))
        .await;
    let _ = client.response("GET").await;
    let line = edge.access_log(&["/escaped"]).await;
    serde_json::from_str::<Value>(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_socket_answers() {
    let (_origin, edge) = scene().await;
    edge.get("/a").await;
    edge.get("/a").await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(edge.admin("GET", path, None).await.status, 200, "{path}");
    }
    let status = edge.admin_json("/v1/status").await;
    assert_eq!(
        status["pid"].as_u64(),
        Some(u64::from(edge.pid())),
        "{status}"
    );
    let sites = edge.admin_json("/v1/sites").await;
    assert!(sites.to_string().contains("\"any\""), "{sites}");
    let metrics = edge.admin("GET", "/metrics", None).await;
    assert_eq!(metrics.status, 200);
    let text = metrics.text();
    assert!(
        text.lines().any(|line| line.starts_with("anypop_")
            && line.contains("hit")
            && line.contains("any")),
        "{text}"
    );
    assert_eq!(edge.admin("GET", "/v1/nothing", None).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_tells_why() {
    let (_origin, edge) = scene().await;
    let target = "/v1/explain?url=http%3A%2F%2Ftest.example%2Fa";
    let before = edge.admin_json(target).await;
    assert!(before.to_string().contains("any"), "{before}");
    edge.get("/a").await;
    let after = edge.admin_json(target).await;
    assert_ne!(before, after, "what is stored shows");
    assert_eq!(edge.admin("GET", "/v1/explain", None).await.status, 400);
    assert_eq!(
        edge.admin("GET", "/v1/explain?url=nonsense", None)
            .await
            .status,
        400
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_command_is_for_people_and_programs() {
    let (_origin, edge) = scene().await;
    let socket = edge.folder().join("admin.sock").display().to_string();
    let text = anypop(["status", "--socket", &socket]).await;
    assert_eq!(text.code, Some(0), "{}", text.all());
    assert!(text.stdout.contains("ready"), "{}", text.stdout);
    let json = anypop(["status", "--socket", &socket, "--json"]).await;
    serde_json::from_str::<Value>(&json.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", json.all()));
    let nobody = anypop(["status", "--socket", "/nonexistent/admin.sock"]).await;
    assert_ne!(nobody.code, Some(0));
    assert!(
        nobody.stderr.contains("/nonexistent/admin.sock"),
        "{}",
        nobody.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_port_wants_its_token() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("admin.token");
    std::fs::write(&token, "correct-horse-battery\n").unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let origin = Origin::start().await;
    let edge = Edge::builder()
        .any_host(&origin, "")
        .admin(&format!(
            "address = \"{port}\"\ntoken_file = \"{}\"",
            token.display()
        ))
        .start()
        .await;
    for (fields, status) in [
        (vec![], 401),
        (vec![("Authorization", "Bearer wrong")], 401),
        (vec![("Authorization", "Bearer correct-horse-battery")], 200),
    ] {
        let mut client = anypop_tests::Client::connect(port).await;
        assert_eq!(
            client.request("GET", "/v1/status", &fields).await.status,
            status,
            "{fields:?}"
        );
    }
    drop(edge);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_stream_says_ready_at_once() {
    let (_origin, edge) = scene().await;
    let stream = tokio::net::UnixStream::connect(edge.folder().join("status.sock"))
        .await
        .unwrap();
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(stream));
    let mut last = 0;
    for round in 0..2 {
        let line = anypop_tests::within("a status line", lines.next_line())
            .await
            .unwrap()
            .unwrap();
        let status: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (status["state"].as_str(), status["pid"].as_u64()),
            (Some("ready"), Some(u64::from(edge.pid()))),
            "{line}"
        );
        let seq = status["seq"].as_u64().unwrap();
        assert!(
            round == 0 || seq == last,
            "nothing has changed, so this is the same word again: {line}"
        );
        last = seq;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_for_who_has_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("debug.token");
    std::fs::write(&token, "open-sesame-open-sesame\n").unwrap();
    let origin = Origin::start().await;
    origin.on(
        "/a",
        Reply::new(200)
            .field("Cache-Control", "max-age=60")
            .body("hello"),
    );
    let edge = Edge::builder()
        .node(&format!(
            "[node]\ndebug_token_file = \"{}\"",
            token.display()
        ))
        .any_host(&origin, "")
        .start()
        .await;
    assert!(!edge.get("/a").await.cache_status().contains("key="));
    assert!(
        !edge
            .get_with("/a", &[("anypop-debug", "wrong")])
            .await
            .cache_status()
            .contains("key=")
    );
    let told = edge
        .get_with("/a", &[("anypop-debug", "open-sesame-open-sesame")])
        .await;
    assert!(
        told.cache_status().contains("key="),
        "{}",
        told.cache_status()
    );
    assert!(
        origin
            .seen()
            .iter()
            .all(|request| request.header("anypop-debug").is_none()),
        "the token goes no further"
    );
}
