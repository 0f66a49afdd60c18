//! What is more than one request and one response: interim responses, trailers, upgrades, bodies both ways.

use anypop_tests::{Client, Edge, Gate, Origin, Reply};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

#[tokio::test(flavor = "multi_thread")]
async fn early_hints_come_through() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nCache-Control: max-age=60\r\n\r\npage";
    origin.on("/apart", Reply::raw(hints).wait(&gate).then(last));
    origin.on("/together", Reply::raw(format!("{hints}{last}")));
    gate.open();
    let edge = Edge::before(&origin).await;
    for path in ["/apart", "/together"] {
        let response = edge.get(path).await;
        assert_eq!(
            (response.status, response.text().as_str()),
            (200, "page"),
            "{path}"
        );
        assert_eq!(response.interim.len(), 1, "{path}");
        assert_eq!(response.interim[0].0, 103);
        assert_eq!(
            response.interim[0].1.first("link"),
            Some("</a.css>; rel=preload")
        );
        assert!(edge.get(path).await.is_hit(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_of_an_http2_origin_come_through_to_who_wants_them() {
    let edge = edge_with_trailers().await;
    let response = edge.get_with("/a", &[("TE", "trailers")]).await;
    assert_eq!(response.text(), "body");
    assert_eq!(response.trailers.first("x-sum"), Some("42"));
    let response = edge.get("/a").await;
    assert_eq!(response.text(), "body");
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_of_an_http1_origin_do_no_harm() {
    let origin = Origin::start().await;
    let reply = Reply::new(200)
        .field("Cache-Control", "max-age=60")
        .chunked()
        .chunk("body")
        .last_chunk(&[("X-Sum", "42")]);
    origin.on("/a", reply);
    let edge = Edge::before(&origin).await;
    for _ in 0..2 {
        let response = edge.get_with("/a", &[("TE", "trailers")]).await;
        assert_eq!(response.text(), "body");
        assert_eq!(
            response.header("x-sum"),
            None,
            "a trailer field is never merged into the head"
        );
    }
}

/// An edge before an HTTP/2 origin that answers everything with `body` and a trailer.
pub(super) async fn edge_with_trailers() -> Edge {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else {
                    return;
                };
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let head = http::Response::builder()
                        .header("cache-control", "no-store")
                        .body(())
                        .unwrap();
                    let trailers = http::HeaderMap::from_iter([(
                        http::HeaderName::from_static("x-sum"),
                        http::HeaderValue::from_static("42"),
                    )]);
                    let Ok(mut body) = respond.send_response(head, false) else {
                        continue;
                    };
                    let _ = body.send_data("body".into(), false);
                    let _ = body.send_trailers(trailers);
                }
            });
        }
    });
    let text = format!(
        "id = \"any\"\nhostnames = [\"*\"]\n[origin]\nservers = [{{ url = \"http://{address}\" }}]\nhttp2 = \"h2c\"\n"
    );
    Edge::builder().site("any", &text).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_streams_before_it_is_whole() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on(
        "/a",
        Reply::new(200)
            .field("Cache-Control", "no-store")
            .chunked()
            .chunk("one")
            .wait(&gate)
            .chunk("two")
            .last_chunk(&[]),
    );
    let edge = Edge::before(&origin).await;
    let mut client = edge.client().await;
    client.send_get("/a", &[]).await;
    client.response_head().await.unwrap();
    assert_eq!(client.exactly(8).await.unwrap(), b"3\r\none\r\n");
    gate.open();
    assert_eq!(client.exactly(13).await.unwrap(), b"3\r\ntwo\r\n0\r\n\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_body_streams_before_it_is_whole() {
    let origin = Origin::start().await;
    origin.answer("/up", |request| {
        Reply::new(200).body(request.body.len().to_string())
    });
    let edge = Edge::before(&origin).await;
    let mut client = edge.client().await;
    client
        .send("POST /up HTTP/1.1\r\nHost: test.example\r\nContent-Length: 6\r\n\r\nabc")
        .await;
    origin.received(1).await;
    client.send("def").await;
    assert_eq!(client.response("POST").await.unwrap().text(), "6");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_gets_no_chunks() {
    let origin = Origin::start().await;
    origin.on(
        "/a",
        Reply::new(200)
            .field("Cache-Control", "no-store")
            .chunked()
            .chunk("body")
            .last_chunk(&[]),
    );
    let edge = Edge::before(&origin).await;
    let mut client = edge.client().await;
    client
        .send("GET /a HTTP/1.0\r\nHost: test.example\r\n\r\n")
        .await;
    let response = client.response("GET").await.unwrap();
    assert_eq!(response.text(), "body");
    assert_eq!(response.header("transfer-encoding"), None);
}

/// A server that only upgrades, written with somebody else's WebSocket library.
async fn websocket_origin() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
                    return;
                };
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_close() || socket.send(message).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_pass_through() {
    let address = websocket_origin().await;
    let text = format!(
        "id = \"any\"\nhostnames = [\"*\"]\n[origin]\nservers = [{{ url = \"http://{address}\" }}]\n"
    );
    let edge = Edge::builder().site("any", &text).start().await;
    let stream = tokio::net::TcpStream::connect(edge.address())
        .await
        .unwrap();
    let request = "ws://test.example/chat".into_client_request().unwrap();
    let (mut socket, response) = anypop_tests::within(
        "the handshake",
        tokio_tungstenite::client_async(request, stream),
    )
    .await
    .unwrap();
    assert_eq!(response.status().as_u16(), 101);
    for size in [1, 100, 70_000] {
        let message = Message::text("x".repeat(size));
        socket.send(message.clone()).await.unwrap();
        assert_eq!(
            anypop_tests::within("the echo", socket.next())
                .await
                .unwrap()
                .unwrap(),
            message
        );
    }
    socket.close(None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn other_upgrades_pass_through_and_refused_ones_stay_http() {
    let origin = Origin::start().await;
    origin.on(
        "/yes",
        Reply::raw(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
        )
        .echo(),
    );
    origin.on(
        "/no",
        Reply::new(200)
            .field("Cache-Control", "no-store")
            .body("no"),
    );
    let edge = Edge::before(&origin).await;
    let upgrade = [("Connection", "Upgrade"), ("Upgrade", "echo")];
    let mut client: Client = edge.client().await;
    client.send_get("/no", &upgrade).await;
    assert_eq!(client.response("GET").await.unwrap().text(), "no");

    let mut client = edge.client().await;
    client.send_get("/yes", &upgrade).await;
    assert_eq!(client.response("GET").await.unwrap().status, 101);
    client.send("any bytes\0 at all").await;
    assert_eq!(client.exactly(17).await.unwrap(), b"any bytes\0 at all");
}
