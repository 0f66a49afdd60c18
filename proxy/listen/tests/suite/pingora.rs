//! Pingora's proxy pipeline on these sessions, in front of an origin that speaks in bytes.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::common::{NoCertificates, PATIENCE, loopback, read_all, read_until};
use anypop_listen::{Application, Limits, Listener, Mode, Server, Session};
use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{HttpProxy, ProxyHttp, http_proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

struct Proxy {
    origin: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(
        &self,
        _session: &mut pingora_proxy::Session,
        _ctx: &mut (),
    ) -> pingora_error::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.origin, false, String::new())))
    }
}

struct App {
    proxy: Arc<HttpProxy<Proxy>>,
    shutdown: watch::Receiver<bool>,
    _keep: watch::Sender<bool>,
}

impl Application for App {
    async fn serve(&self, session: Box<dyn Session>) {
        let reused = self
            .proxy
            .process_new_http(ServerSession::new_custom(session), &self.shutdown)
            .await;
        assert!(
            reused.is_none(),
            "the session keeps its connection to itself"
        );
    }
}

struct Node {
    address: SocketAddr,
    origin: TcpListener,
    _mode: watch::Sender<Mode>,
}

async fn start() -> Node {
    let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = http_proxy(
        &Arc::new(ServerConf::default()),
        Proxy {
            origin: origin.local_addr().unwrap(),
        },
    );
    let (keep, shutdown) = watch::channel(false);
    let app = App {
        proxy: Arc::new(proxy),
        shutdown,
        _keep: keep,
    };
    let (mode, watch) = watch::channel(Mode::Serve);
    let server = Arc::new(Server::new(
        Arc::new(app),
        Limits::default(),
        Arc::new(NoCertificates),
        watch,
    ));
    let listener = Listener::bind(loopback()).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(listener.run(server));
    Node {
        address,
        origin,
        _mode: mode,
    }
}

impl Node {
    async fn client(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn origin(&self) -> TcpStream {
        timeout(PATIENCE, self.origin.accept())
            .await
            .expect("the proxy connects")
            .unwrap()
            .0
    }
}

#[tokio::test]
async fn requests_one_after_another() {
    let node = start().await;
    let mut client = node
        .client("GET /a?b HTTP/1.1\r\nHost: a.example\r\nX-Y: z\r\n\r\n")
        .await;
    let mut origin = node.origin().await;
    let request = read_until(&mut origin, "\r\n\r\n").await;
    assert!(
        request.starts_with("GET /a?b HTTP/1.1\r\n")
            && request.contains("Host: a.example")
            && request.contains("X-Y: z"),
        "{request}"
    );
    origin.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\n\r\nhello").await.unwrap();
    let answer = read_until(&mut client, "hello").await;
    assert!(
        answer.contains("Date: Tue, 15 Nov 1994 08:12:31 GMT") && !answer.contains("Connection"),
        "{answer}"
    );
    drop(origin);

    client.write_all(b"POST /p HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").await.unwrap();
    let mut origin = node.origin().await;
    let request = read_until(&mut origin, "3\r\nabc\r\n0\r\n\r\n").await;
    assert!(request.starts_with("POST /p HTTP/1.1\r\n"), "{request}");
    origin
        .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut client, "2\r\nok\r\n0\r\n\r\n").await;
    drop(origin);

    client
        .write_all(b"HEAD /h HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut origin = node.origin().await;
    read_until(&mut origin, "\r\n\r\n").await;
    origin
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")
        .await
        .unwrap();
    let answer = read_all(&mut client).await;
    assert!(
        answer.contains("Content-Length: 99") && answer.ends_with("Connection: close\r\n\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_malformed_body_never_gets_whole() {
    let node = start().await;
    let mut client = node
        .client("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        .await;
    let mut origin = node.origin().await;
    read_until(&mut origin, "abc\r\n").await;
    client
        .write_all(b"3;x\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let answer = read_all(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1);
    assert_eq!(read_all(&mut origin).await, "");
}

#[tokio::test]
async fn web_sockets() {
    let node = start().await;
    let mut client = node
        .client("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n")
        .await;
    let mut origin = node.origin().await;
    let request = read_until(&mut origin, "\r\n\r\n")
        .await
        .to_ascii_lowercase();
    assert!(
        request.contains("upgrade: websocket") && request.contains("connection: upgrade"),
        "{request}"
    );
    origin.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfirst").await.unwrap();
    let answer = read_until(&mut client, "first").await;
    assert!(
        answer.starts_with("HTTP/1.1 101 ") && answer.contains("Upgrade: websocket"),
        "{answer}"
    );
    client.write_all(b"\x81\x02hi").await.unwrap();
    let mut frame = [0; 4];
    timeout(PATIENCE, origin.read_exact(&mut frame))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&frame, b"\x81\x02hi");
    origin.write_all(b"bye").await.unwrap();
    read_until(&mut client, "bye").await;
    drop(origin);
    assert_eq!(read_all(&mut client).await, "");
}

#[tokio::test]
async fn early_hints() {
    let node = start().await;
    let mut client = node
        .client("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    let mut origin = node.origin().await;
    read_until(&mut origin, "\r\n\r\n").await;
    origin
        .write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        .await
        .unwrap();
    read_until(
        &mut client,
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
    )
    .await;
    origin
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await
        .unwrap();
    assert!(read_all(&mut client).await.ends_with("\r\n\r\nok"));
}

#[tokio::test]
async fn what_the_origin_cuts_short_is_cut_short() {
    let node = start().await;
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let mut client = node.client("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut origin = node.origin().await;
        read_until(&mut origin, "\r\n\r\n").await;
        origin.write_all(response.as_bytes()).await.unwrap();
        let head = read_until(
            &mut client,
            if response.contains("chunked") {
                "hello\r\n"
            } else {
                "hello"
            },
        )
        .await;
        assert!(head.starts_with("HTTP/1.1 200"));
        drop(origin);
        let error = timeout(PATIENCE, client.read(&mut [0; 10]))
            .await
            .unwrap()
            .unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn an_origin_that_is_down_is_502_and_a_client_that_leaves_leaves() {
    let node = start().await;
    let mut client = node.client("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    drop(node.origin().await);
    let answer = read_until(&mut client, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    // The connection is whole and goes on.
    client
        .write_all(b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut origin = node.origin().await;
    read_until(&mut origin, "\r\n\r\n").await;
    drop(client);
    assert_eq!(read_all(&mut origin).await, "");
}

#[tokio::test]
async fn the_same_over_http_2() {
    let node = start().await;
    let stream = TcpStream::connect(node.address).await.unwrap();
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("http://a.example/x?y")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(())
        .unwrap();
    let (mut response, mut body) = send.send_request(request, false).unwrap();
    body.send_data(Bytes::from_static(b"abc"), true).unwrap();
    let mut origin = node.origin().await;
    let request = read_until(&mut origin, "3\r\nabc\r\n0\r\n\r\n").await;
    let lower = request.to_ascii_lowercase();
    assert!(request.starts_with("POST /x?y HTTP/1.1\r\n"), "{request}");
    assert!(
        lower.contains("host: a.example\r\n") && lower.contains("cookie: a=1; b=2\r\n"),
        "{request}"
    );
    origin
        .write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        .await
        .unwrap();
    let interim = timeout(
        PATIENCE,
        std::future::poll_fn(|cx| response.poll_informational(cx)),
    )
    .await
    .unwrap()
    .unwrap()
    .unwrap();
    assert_eq!(interim.status(), 103);
    origin.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: X-Z\r\nX-Z: 1\r\n\r\n2\r\nok\r\n0\r\n\r\n").await.unwrap();
    let response = timeout(PATIENCE, response).await.unwrap().unwrap();
    assert_eq!(response.status(), 200);
    assert!(
        !response.headers().contains_key("transfer-encoding")
            && !response.headers().contains_key("x-z")
    );
    let mut body = response.into_body();
    assert_eq!(
        timeout(PATIENCE, body.data())
            .await
            .unwrap()
            .unwrap()
            .unwrap(),
        "ok"
    );
    assert!(timeout(PATIENCE, body.data()).await.unwrap().is_none());

    drop(origin);

    // Cut short by the origin, reset by us.
    let (response, _) = send
        .send_request(
            http::Request::get("http://a.example/").body(()).unwrap(),
            true,
        )
        .unwrap();
    let mut origin = node.origin().await;
    read_until(&mut origin, "\r\n\r\n").await;
    origin
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        .await
        .unwrap();
    let mut body = timeout(PATIENCE, response)
        .await
        .unwrap()
        .unwrap()
        .into_body();
    drop(origin);
    let error = loop {
        match timeout(PATIENCE, body.data()).await.unwrap() {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("a clean end"),
        }
    };
    assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR));
}
