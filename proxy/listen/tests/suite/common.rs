//! A small application behind real sockets, and a client that speaks in bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anypop_listen::head::Head;
use anypop_listen::tls::{Certificates, Selected};
use anypop_listen::{
    Application, ClientInfo, Event, HotResponse, Limits, ListenSettings, Listener, Mode, Server,
    Session,
};
use bytes::{BufMut, Bytes};
use http::HeaderMap;
use pingora_core::protocols::http::HttpTask;
use pingora_http::ResponseHeader;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Nothing in these tests takes this long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct App {
    pub(crate) events: mpsc::Sender<String>,
    pub(crate) gate: Arc<Notify>,
    pub(crate) entered: Arc<Notify>,
    pub(crate) hot: bool,
}

fn response(status: u16, fields: &[(&'static str, &'static str)]) -> Box<ResponseHeader> {
    let mut head = ResponseHeader::build(status, None).unwrap();
    for (name, value) in fields {
        head.append_header(*name, *value).unwrap();
    }
    Box::new(head)
}

impl App {
    async fn answer(&self, session: &mut Box<dyn Session>) -> pingora_error::Result<()> {
        let path = session.req_header().uri.path().to_owned();
        match path.as_str() {
            "/hello" => {
                session
                    .write_response_header(response(200, &[("Content-Length", "5")]), false)
                    .await?;
                session
                    .write_body(Bytes::from_static(b"hello"), true)
                    .await?;
            }
            "/echo" => {
                let mut body = Vec::new();
                while let Some(piece) = session.read_body_bytes().await? {
                    body.extend_from_slice(&piece);
                }
                let mut head = response(200, &[]);
                head.insert_header("Content-Length", body.len().to_string())
                    .unwrap();
                session.write_response_header(head, false).await?;
                session.write_body(body.into(), true).await?;
            }
            "/ignore" => {
                session
                    .write_response_header(response(200, &[("Content-Length", "2")]), false)
                    .await?;
                session.write_body(Bytes::from_static(b"ok"), true).await?;
            }
            "/chunks" => {
                session
                    .write_response_header(response(200, &[("Trailer", "X-Sum")]), false)
                    .await?;
                for piece in ["one", "two", "three"] {
                    session
                        .write_body(Bytes::from_static(piece.as_bytes()), false)
                        .await?;
                }
                let mut trailers = HeaderMap::new();
                trailers.insert("x-sum", "3".parse().unwrap());
                trailers.insert("content-length", "3".parse().unwrap());
                session.write_trailers(trailers).await?;
            }
            "/tasks" => {
                let tasks = vec![
                    HttpTask::Header(response(200, &[]), false),
                    HttpTask::Body(Some(Bytes::from_static(b"one")), false),
                    HttpTask::Body(Some(Bytes::from_static(b"two")), true),
                    HttpTask::Done,
                ];
                assert!(session.response_duplex_vec(tasks).await?);
            }
            "/queue" => {
                session.set_proxy_tasks_enabled(true);
                session.send_proxy_task(HttpTask::Header(response(200, &[]), false));
                let big = Bytes::from(vec![b'q'; 1 << 20]);
                session.send_proxy_task(HttpTask::Body(Some(big), false));
                session.send_proxy_task(HttpTask::Body(Some(Bytes::from_static(b"end")), true));
                // Cancelled again and again, nothing is lost and nothing is sent twice.
                let mut ended = false;
                while session.has_pending_proxy_tasks() {
                    tokio::select! {
                        biased;
                        done = session.write_proxy_tasks() => ended |= done?,
                        () = tokio::task::yield_now() => {}
                    }
                }
                assert!(ended);
            }
            "/short" => {
                session
                    .write_response_header(response(200, &[("Content-Length", "10")]), false)
                    .await?;
                session
                    .write_body(Bytes::from_static(b"short"), true)
                    .await?;
            }
            "/long" => {
                session
                    .write_response_header(response(200, &[("Content-Length", "4")]), false)
                    .await?;
                session
                    .write_body(Bytes::from_static(b"toolong"), true)
                    .await?;
            }
            "/drop" => return Ok(()),
            "/cut" => {
                session
                    .write_response_header(response(200, &[]), false)
                    .await?;
                session
                    .write_body(Bytes::from_static(b"begun"), false)
                    .await?;
                return Ok(());
            }
            "/hints" => {
                session
                    .write_response_header(
                        response(103, &[("Link", "</a.css>; rel=preload")]),
                        false,
                    )
                    .await?;
                session
                    .write_response_header(response(100, &[]), false)
                    .await?;
                session
                    .write_response_header(response(200, &[("Content-Length", "0")]), false)
                    .await?;
            }
            "/empty" => {
                session
                    .write_response_header(response(204, &[("Content-Length", "0")]), true)
                    .await?
            }
            "/same" => {
                session
                    .write_response_header(
                        response(304, &[("Content-Length", "99"), ("ETag", "\"a\"")]),
                        true,
                    )
                    .await?
            }
            "/dated" => {
                let fields = [
                    ("Date", "Tue, 15 Nov 1994 08:12:31 GMT"),
                    ("Content-Length", "0"),
                    ("Keep-Alive", "timeout=5"),
                ];
                session
                    .write_response_header(response(200, &fields), false)
                    .await?;
            }
            "/hop" => {
                let fields = [
                    ("Connection", "X-Gone, close"),
                    ("X-Gone", "1"),
                    ("X-Kept", "1"),
                    ("Content-Length", "0"),
                ];
                session
                    .write_response_header(response(200, &fields), false)
                    .await?;
            }
            "/upgrade" => {
                assert!(session.is_upgrade_req());
                session
                    .write_response_header(response(101, &[("Upgrade", "echo")]), false)
                    .await?;
                assert!(session.was_upgraded());
                while let Some(piece) = session.read_body_or_idle(false).await? {
                    session.write_body(piece, false).await?;
                }
            }
            "/stream" => {
                session
                    .write_response_header(response(200, &[]), false)
                    .await?;
                session
                    .write_body(Bytes::from_static(b"first"), false)
                    .await?;
                self.entered.notify_one();
                self.gate.notified().await;
                session
                    .write_body(Bytes::from_static(b"second"), true)
                    .await?;
            }
            "/watch" => {
                self.entered.notify_one();
                let error = session
                    .read_body_or_idle(true)
                    .await
                    .expect_err("only the client's end ends it");
                self.events
                    .try_send(format!("gone: {}", error.etype().as_str()))
                    .unwrap();
                return Err(error);
            }
            "/wait" => {
                self.entered.notify_one();
                self.gate.notified().await;
                session
                    .write_response_header(response(200, &[("Content-Length", "0")]), false)
                    .await?;
            }
            "/big" => {
                let body = Bytes::from(vec![b'x'; 8 << 20]);
                let mut head = response(200, &[]);
                head.insert_header("Content-Length", body.len().to_string())
                    .unwrap();
                session.write_response_header(head, false).await?;
                session.write_body(body, true).await?;
            }
            "/client" => {
                let client = session
                    .req_header()
                    .extensions
                    .get::<Arc<ClientInfo>>()
                    .unwrap()
                    .clone();
                let tls = client.tls.as_ref();
                let text = format!(
                    "{} {} {:?} tls={} sni={} subject={} resumed={} group={}",
                    client.peer,
                    client.local,
                    client.protocol,
                    tls.map_or("-", |tls| tls.version),
                    tls.and_then(|tls| tls.sni.as_deref()).unwrap_or("-"),
                    tls.and_then(|tls| tls.client_certificate.as_ref())
                        .map_or("-", |certificate| certificate.subject.as_str()),
                    tls.is_some_and(|tls| tls.resumed),
                    tls.and_then(|tls| tls.key_exchange.as_deref())
                        .unwrap_or("-"),
                );
                let mut head = response(200, &[]);
                head.insert_header("Content-Length", text.len().to_string())
                    .unwrap();
                session.write_response_header(head, false).await?;
                session.write_body(text.into(), true).await?;
            }
            other => {
                let mut head = response(404, &[]);
                head.insert_header("Content-Length", other.len().to_string())
                    .unwrap();
                session.write_response_header(head, false).await?;
                session.write_body(other.to_owned().into(), true).await?;
            }
        }
        session.finish().await
    }
}

impl Application for App {
    async fn serve(&self, mut session: Box<dyn Session>) {
        if let Err(error) = self.answer(&mut session).await {
            // A test that does not look at events has dropped their receiver.
            let _ = self.events.try_send(format!("error: {error}"));
        }
    }

    fn hot(
        &self,
        head: &Head<'_>,
        _client: &Arc<ClientInfo>,
        response: &mut HotResponse<'_>,
    ) -> bool {
        if !self.hot || head.path() != "/hot" {
            return false;
        }
        response
            .head
            .put_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n");
        response.body = Bytes::from_static(b"hot");
        true
    }

    fn event(&self, event: Event<'_>) {
        let text = match event {
            Event::Opened(_) => "opened".to_owned(),
            Event::Closed(_) => "closed".to_owned(),
            Event::Refused { limit, .. } => format!("refused: {limit:?}"),
            Event::HandshakeFailed {
                failure, detail, ..
            } => format!("handshake: {failure:?}: {detail}"),
            Event::RequestRefused { status, reason, .. } => format!("request: {status} {reason}"),
            Event::Abuse { reason, .. } => format!("abuse: {reason}"),
            Event::AcceptFailed(error) => format!("accept: {error}"),
        };
        let _ = self.events.try_send(text);
    }
}

pub(crate) struct NoCertificates;

impl Certificates for NoCertificates {
    fn select(&self, _server_name: Option<&str>, _http2: bool) -> Option<Selected> {
        None
    }
}

pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) server: Arc<Server<App>>,
    pub(crate) mode: watch::Sender<Mode>,
    pub(crate) events: mpsc::Receiver<String>,
    pub(crate) gate: Arc<Notify>,
    pub(crate) entered: Arc<Notify>,
    pub(crate) running: JoinHandle<std::io::Result<()>>,
}

impl Node {
    /// Waits for an event that starts like this.
    pub(crate) async fn event(&mut self, start: &str) -> String {
        let wait = async {
            loop {
                let event = self.events.recv().await.expect("the node is there");
                if event.starts_with(start) {
                    return event;
                }
            }
        };
        timeout(PATIENCE, wait)
            .await
            .unwrap_or_else(|_| panic!("no event {start:?}"))
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes, closes nothing, and reads until the server closes.
    pub(crate) async fn exchange(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_ref()).await.unwrap();
        read_all(&mut stream).await
    }
}

pub(crate) async fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("the server closes")
        .unwrap();
    String::from_utf8(answer).unwrap()
}

/// Reads until what came ends like this.
pub(crate) async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut answer = Vec::new();
    let read = async {
        let mut buffer = [0; 4096];
        while !answer.ends_with(end.as_bytes()) {
            let n = stream.read(&mut buffer).await.unwrap();
            assert!(n > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&buffer[..n]);
        }
    };
    let done = timeout(PATIENCE, read).await.is_ok();
    let answer = String::from_utf8(answer).unwrap();
    assert!(done, "no {end:?} after {answer:?}");
    answer
}

pub(crate) fn loopback() -> ListenSettings {
    ListenSettings::new("127.0.0.1:0".parse().unwrap())
}

pub(crate) async fn start() -> Node {
    start_with(loopback(), Limits::default(), Arc::new(NoCertificates)).await
}

pub(crate) async fn start_with(
    settings: ListenSettings,
    limits: Limits,
    certificates: Arc<dyn Certificates>,
) -> Node {
    let (events, receiver) = mpsc::channel(10_000);
    let (gate, entered) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let app = App {
        events,
        gate: gate.clone(),
        entered: entered.clone(),
        hot: true,
    };
    let (mode, watch) = watch::channel(Mode::Serve);
    let server = Arc::new(Server::new(Arc::new(app), limits, certificates, watch));
    let listener = Listener::bind(settings).unwrap();
    let address = listener.local_addr().unwrap();
    let running = tokio::spawn(listener.run(server.clone()));
    Node {
        address,
        server,
        mode,
        events: receiver,
        gate,
        entered,
        running,
    }
}
