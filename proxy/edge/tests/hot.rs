//! The hot path beside the pipeline: both answer byte for byte the same, or the hot path declines; and what changes is
//! noticed at the very next request.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anypop::server::{self, Doors, Running};
use anypop_cache::time::Timestamp;
use anypop_config::{Site, Snapshot, value::Network};
use anypop_store::{PurgeRequest, PurgeScope};
use parking_lot::Mutex;
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// Requests until an answer is surely prepared, whatever was asked before.
const UNTIL_PREPARED: usize = 20;
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Default)]
struct Origin {
    replies: Arc<Mutex<HashMap<String, Vec<u8>>>>,
    asked: Arc<Mutex<HashMap<String, usize>>>,
}

impl Origin {
    /// Starts to answer; a connection carries one request.
    async fn start() -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let origin = Self::default();
        let serving = origin.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        (origin, address)
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        *self.asked.lock().entry(path.clone()).or_default() += 1;
        let reply = self.replies.lock().get(&path).cloned();
        let _ = stream.write_all(&reply.unwrap_or_default()).await;
    }

    fn on(&self, path: &str, status: &str, fields: &[(&str, &str)], body: &[u8]) {
        let mut reply = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
        for (name, value) in fields {
            reply.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut reply = format!("{reply}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
        reply.extend_from_slice(body);
        self.replies.lock().insert(path.to_owned(), reply);
    }

    fn asked(&self, path: &str) -> usize {
        self.asked.lock().get(path).copied().unwrap_or(0)
    }
}

struct Node {
    running: Running,
    origin: Origin,
    address: SocketAddr,
    upstream: SocketAddr,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

impl Node {
    async fn start() -> Self {
        let (origin, upstream) = Origin::start().await;
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("access.log");
        let mut snapshot = Snapshot::for_single_origin(
            format!("http://{upstream}").parse().unwrap(),
            "127.0.0.1:0".parse().unwrap(),
            [Network::of(upstream.ip())],
        );
        let node = Arc::make_mut(&mut snapshot.node);
        node.log.access = format!("file:{}", log.display()).parse().unwrap();
        let running = server::start(snapshot, Doors::None, None).await.unwrap();
        let address = running.ready().listeners[0].address;
        Self {
            running,
            origin,
            address,
            upstream,
            log,
            _folder: folder,
        }
    }

    fn answered(&self) -> u64 {
        self.running.edge().hot.answered()
    }

    /// Sends bytes and the end of them, and reads all that comes.
    async fn raw(&self, request: &[u8]) -> Vec<u8> {
        let exchange = async {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(request).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut reply = Vec::new();
            stream.read_to_end(&mut reply).await.unwrap();
            reply
        };
        timeout(PATIENCE, exchange).await.unwrap()
    }

    async fn get(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n");
        String::from_utf8(self.raw(request.as_bytes()).await).unwrap()
    }

    /// Asks until the answer is prepared, and says what it is.
    async fn prepared(&self, path: &str) -> String {
        let before = self.answered();
        for _ in 0..UNTIL_PREPARED {
            let reply = self.get(path).await;
            if self.answered() > before {
                return reply;
            }
        }
        panic!("{path} was never answered by the hot path");
    }

    /// The answers of pipeline and hot path, and whether the latter gave one.
    async fn both(&self, request: &[u8]) -> (Vec<u8>, Vec<u8>, bool) {
        for _ in 0..5 {
            let hot = &self.running.edge().hot;
            hot.set_off(true);
            // The first may be a miss, of its variant for one.
            self.raw(request).await;
            let slow = self.raw(request).await;
            hot.set_off(false);
            let before = self.answered();
            let mut fast = Vec::new();
            // Heard once, prepared at the second time; what is put off is not worth waiting for here.
            for _ in 0..3 {
                fast = self.raw(request).await;
                if self.answered() > before {
                    break;
                }
            }
            let answered = self.answered() > before;
            let (slow, slow_age) = comparable(&slow);
            let (fast, fast_age) = comparable(&fast);
            // The second may have turned in between.
            if slow_age == fast_age || !answered {
                return (slow, fast, answered);
            }
        }
        panic!("the second turned five times");
    }

    fn purge(&self, path: &str, soft: bool) {
        let scope = PurgeScope::Url {
            site: "default".into(),
            host: "a.test".into(),
            path: path.into(),
            query: None,
        };
        let now = Timestamp::from(std::time::SystemTime::now());
        self.running
            .edge()
            .store
            .purge(&PurgeRequest { scope, soft }, now);
    }

    /// The one site's document, with these sections.
    fn site(&self, sections: &str) -> Arc<Site> {
        let text = format!(
            "id = \"default\"\nhostnames = [\"*\"]\n{sections}\n[origin]\nservers = [{{ url = \"http://{}\" }}]\n",
            self.upstream
        );
        Arc::new(Site::from_toml(&text, Path::new("site.toml"), Path::new("/")).unwrap())
    }

    fn reload(&self, sections: &str) {
        self.running
            .edge()
            .live
            .put_site(self.site(sections))
            .unwrap();
    }

    async fn stop(self) {
        self.running.stop().await;
    }
}

/// A reply without its id, and its age.
fn comparable(reply: &[u8]) -> (Vec<u8>, Option<String>) {
    let end = memchr::memmem::find(reply, b"\r\n\r\n").unwrap_or(reply.len());
    let (head, body) = reply.split_at(end);
    let head = String::from_utf8_lossy(head).into_owned();
    let value = |name: &str| {
        head.lines()
            .find_map(|line| {
                Some(line.split_once(": ")?).filter(|(n, _)| n.eq_ignore_ascii_case(name))
            })
            .map(|(_, value)| value.to_owned())
    };
    let id = value("x-request-id").unwrap_or_default();
    let mut all = head.replace(&id, "ID").into_bytes();
    all.extend_from_slice(body);
    (all, value("age"))
}

fn field(reply: &str, name: &str) -> Option<String> {
    reply
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(": "))
        .find(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.to_owned())
}

fn is_hit(reply: &str) -> bool {
    reply
        .lines()
        .take_while(|line| !line.is_empty())
        .any(|line| line.starts_with("cache-status: anypop;hit"))
}

type Fields = Vec<(&'static str, &'static str)>;

#[derive(Clone, Debug)]
struct Stored {
    status: &'static str,
    fields: Fields,
    body: usize,
}

fn stored() -> impl Strategy<Value = Stored> {
    let status = prop_oneof![
        8 => Just("200 OK"),
        1 => Just("404 Not Found"),
        1 => Just("301 Moved Permanently"),
        1 => Just("204 No Content"),
        1 => Just("203 Non-Authoritative Information"),
    ];
    let optional = proptest::sample::subsequence(
        vec![
            ("ETag", "\"v1\""),
            ("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT"),
            ("Content-Type", "text/html; charset=utf-8"),
            ("Server", "origin/1.0 (x)"),
            ("Vary", "Accept-Encoding"),
            ("Vary", "Cookie"),
            ("Age", "7"),
            ("Date", "Mon, 01 Jan 2024 00:00:00 GMT"),
            ("Cache-Status", "inner;hit;ttl=5"),
            ("Cache-Status", "\"broken"),
            ("Via", "1.0 fred, 1.1 p.example"),
            ("Surrogate-Key", "a b c"),
            ("Surrogate-Control", "max-age=600"),
            ("Cache-Tag", "x,y"),
            ("X-Request-Id", "of-the-origin"),
            ("Keep-Alive", "timeout=5"),
            ("Trailer", "X-Sum"),
            ("Upgrade", "h2c"),
            ("Content-Encoding", "gzip"),
            ("X-Long", "a value, with, commas; and=more, \"quoted\""),
            ("X-Twice", "1"),
            ("X-Twice", "2"),
            ("Set-Cookie", "a=b; path=/"),
            ("Accept-Ranges", "none"),
            ("Content-Range", "bytes 0-1/2"),
            ("Link", "</a.css>; rel=preload"),
            ("Strict-Transport-Security", "max-age=1"),
            ("Expires", "Mon, 01 Jan 2034 00:00:00 GMT"),
        ],
        0..9,
    );
    let control = proptest::sample::select(vec![
        "max-age=3600",
        "public, s-maxage=600, max-age=1",
        "max-age=3600, must-revalidate",
        "max-age=3600, stale-while-revalidate=60",
        "no-cache, max-age=60",
        "private, max-age=60",
        "max-age=0",
        "max-age=100000000000",
    ]);
    let body = prop_oneof![
        Just(0usize),
        1usize..64,
        Just(4096),
        Just(4097),
        Just(65_536),
        Just(65_537),
        Just(200_000)
    ];
    (status, optional, control, body).prop_map(|(status, mut fields, control, body)| {
        fields.push(("Cache-Control", control));
        Stored {
            status,
            fields,
            body: if status.starts_with("204") { 0 } else { body },
        }
    })
}

#[derive(Clone, Debug)]
struct Asked {
    method: &'static str,
    version: &'static str,
    host: &'static str,
    query: &'static str,
    fields: Fields,
}

fn asked() -> impl Strategy<Value = Asked> {
    let fields = proptest::sample::subsequence(
        vec![
            ("User-Agent", "test \"quoted\" \\ agent"),
            ("Referer", "http://elsewhere.test/"),
            ("Accept", "*/*"),
            ("Accept-Encoding", "gzip, br"),
            ("Accept-Encoding", "identity"),
            ("Cookie", "a=b"),
            ("Connection", "close"),
            ("Connection", "keep-alive, x-y"),
            ("TE", "trailers"),
            ("Range", "bytes=0-3"),
            ("Range", "bytes=1-2,4-5"),
            ("If-None-Match", "\"v1\""),
            ("If-Modified-Since", "Mon, 01 Jan 2024 00:00:00 GMT"),
            ("If-Match", "\"v2\""),
            ("If-Range", "\"v1\""),
            ("Cache-Control", "max-age=5"),
            ("Cache-Control", "only-if-cached"),
            ("Pragma", "no-cache"),
            ("Authorization", "Basic eDp5"),
            ("X-Request-Id", "chosen"),
            ("Anypop-Debug", "1"),
            ("Content-Length", "0"),
            ("CDN-Loop", "other"),
            (
                "traceparent",
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            ),
        ],
        0..3,
    );
    (
        proptest::sample::select(vec!["GET", "GET", "GET", "HEAD"]),
        proptest::sample::select(vec!["HTTP/1.1", "HTTP/1.1", "HTTP/1.0"]),
        proptest::sample::select(vec!["a.test", "a.test", "A.Test", "a.test:80", "a.test."]),
        proptest::sample::select(vec!["", "", "?", "?a=1&b=2", "?b=2&a=1"]),
        fields,
    )
        .prop_map(|(method, version, host, query, fields)| Asked {
            method,
            version,
            host,
            query,
            fields,
        })
}

#[tokio::test]
async fn the_hot_path_says_what_the_pipeline_says() {
    let node = Node::start().await;
    let cases = std::env::var("HOT_CASES").map_or(150, |cases| cases.parse().unwrap());
    let mut runner = TestRunner::new(Config::default());
    let mut answered = 0;
    for number in 0..cases {
        let stored = stored().new_tree(&mut runner).unwrap().current();
        let path = format!("/{number}");
        let body: Vec<u8> = (0..stored.body).map(|at| b'a' + (at % 23) as u8).collect();
        for query in ["", "?", "?a=1&b=2", "?b=2&a=1"] {
            let target = format!("{path}{query}");
            node.origin
                .on(&target, stored.status, &stored.fields, &body);
        }
        for _ in 0..4 {
            let asked = asked().new_tree(&mut runner).unwrap().current();
            let target = format!("{path}{}", asked.query);
            // Something to find, if it can be stored.
            node.get(&target).await;
            let mut request = format!(
                "{} {target} {}\r\nHost: {}\r\n",
                asked.method, asked.version, asked.host
            );
            for (name, value) in &asked.fields {
                request.push_str(&format!("{name}: {value}\r\n"));
            }
            request.push_str("\r\n");
            let (slow, fast, hot) = node.both(request.as_bytes()).await;
            if hot {
                answered += 1;
                assert_eq!(
                    String::from_utf8_lossy(&fast),
                    String::from_utf8_lossy(&slow),
                    "{stored:?} {asked:?}"
                );
                let text = String::from_utf8_lossy(&fast).into_owned();
                assert!(is_hit(&text), "{text}");
            }
        }
    }
    assert!(
        answered * 6 > cases,
        "only {answered} of {} requests were answered by the hot path",
        cases * 4
    );
    node.stop().await;
}

#[tokio::test]
async fn the_log_says_what_the_pipeline_logs() {
    let node = Node::start().await;
    node.origin.on(
        "/a?b",
        "200 OK",
        &[("Cache-Control", "max-age=600")],
        b"hello",
    );
    node.get("/a?b").await;
    let request = b"GET /a?b HTTP/1.1\r\nHost: a.test\r\nUser-Agent: \r\nUser-Agent: two\r\nReferer: x\"y\r\n\r\n";
    let (_, _, hot) = node.both(request).await;
    assert!(hot);
    assert!(node.running.edge().access_log.flush(PATIENCE));
    let log = std::fs::read_to_string(&node.log).unwrap();
    let mut lines: Vec<serde_json::Map<String, serde_json::Value>> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (slow, mut fast) = (lines.remove(1), lines.pop().unwrap());
    for name in [
        "time",
        "request_id",
        "trace_id",
        "span_id",
        "client_port",
        "duration",
        "first_byte",
    ] {
        assert!(slow.contains_key(name), "{name}");
        let other = fast.insert(name.to_owned(), slow[name].clone()).unwrap();
        assert!(name == "duration" || name == "first_byte" || other != slow[name]);
    }
    // The second may turn between the two.
    for name in ["age", "ttl", "cache_status"] {
        fast.insert(name.to_owned(), slow[name].clone()).unwrap();
    }
    assert_eq!(slow, fast);
    node.stop().await;
}

#[tokio::test]
async fn a_purge_is_noticed_at_the_next_request() {
    let node = Node::start().await;
    for soft in [false, true] {
        let path = format!("/{soft}");
        node.origin
            .on(&path, "200 OK", &[("Cache-Control", "max-age=600")], b"old");
        node.prepared(&path).await;
        node.origin
            .on(&path, "200 OK", &[("Cache-Control", "max-age=600")], b"new");
        let (answered, asked) = (node.answered(), node.origin.asked(&path));
        node.purge(&path, soft);
        let reply = node.get(&path).await;
        assert!(!is_hit(&reply), "{reply}");
        assert!(reply.ends_with("new"));
        assert_eq!(node.answered(), answered);
        assert_eq!(node.origin.asked(&path), asked + 1);
        assert!(node.prepared(&path).await.ends_with("new"));
    }
    node.stop().await;
}

#[tokio::test]
async fn a_newer_response_is_noticed_at_the_next_request() {
    let node = Node::start().await;
    node.origin
        .on("/a", "200 OK", &[("Cache-Control", "max-age=600")], b"old");
    node.prepared("/a").await;
    node.origin
        .on("/a", "200 OK", &[("Cache-Control", "max-age=600")], b"new");
    let again = b"GET /a HTTP/1.1\r\nHost: a.test\r\nCache-Control: no-cache\r\n\r\n";
    assert!(node.raw(again).await.ends_with(b"new"));
    let reply = node.get("/a").await;
    assert!(reply.ends_with("new"), "{reply}");
    assert!(is_hit(&reply));
    node.stop().await;
}

#[tokio::test]
async fn what_another_field_selects_is_not_answered_for_it() {
    let node = Node::start().await;
    let on = |vary: &str, body: &[u8]| {
        let fields = [("Cache-Control", "max-age=600"), ("Vary", vary)];
        node.origin.on("/a", "200 OK", &fields, body);
    };
    on("Accept-Encoding", b"plain");
    assert!(node.prepared("/a").await.ends_with("plain"));
    on("Cookie", b"cookie");
    let cookie =
        b"GET /a HTTP/1.1\r\nHost: a.test\r\nCookie: a=b\r\nCache-Control: no-cache\r\n\r\n";
    assert!(node.raw(cookie).await.ends_with(b"cookie"));
    let cookie = b"GET /a HTTP/1.1\r\nHost: a.test\r\nCookie: a=b\r\n\r\n";
    for _ in 0..UNTIL_PREPARED {
        assert!(node.get("/a").await.ends_with("plain"));
        assert!(node.raw(cookie).await.ends_with(b"cookie"));
    }
    node.stop().await;
}

#[tokio::test]
async fn an_end_of_freshness_is_noticed() {
    let node = Node::start().await;
    node.origin
        .on("/a", "200 OK", &[("Cache-Control", "max-age=2")], b"a");
    node.prepared("/a").await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let reply = node.get("/a").await;
        if !is_hit(&reply) {
            break;
        }
        let age: u64 = field(&reply, "age").unwrap().parse().unwrap();
        assert!(age < 2, "{reply}");
        assert!(Instant::now() < deadline, "it never went stale");
    }
    assert_eq!(node.origin.asked("/a"), 2);
    node.stop().await;
}

#[tokio::test]
async fn a_new_configuration_is_noticed_at_the_next_request() {
    let node = Node::start().await;
    node.origin
        .on("/a", "200 OK", &[("Cache-Control", "max-age=600")], b"a");
    let hit = node.prepared("/a").await;
    assert_eq!(field(&hit, "x-pop"), None);
    node.reload("[headers.response]\nset = { x-pop = \"here\" }");
    let edited = node.get("/a").await;
    assert!(is_hit(&edited));
    assert_eq!(field(&edited, "x-pop").as_deref(), Some("here"));
    node.reload("[acl]\ndeny = [\"127.0.0.0/8\"]");
    assert!(node.get("/a").await.starts_with("HTTP/1.1 403"));
    node.reload("methods = [\"HEAD\"]");
    assert!(node.get("/a").await.starts_with("HTTP/1.1 405"));
    node.reload("[cache]\nenabled = false");
    assert!(!is_hit(&node.get("/a").await));
    node.reload("");
    assert!(is_hit(&node.prepared("/a").await));
    let answered = node.answered();
    assert!(node.running.edge().live.remove_site("default").is_some());
    assert!(node.get("/a").await.starts_with("HTTP/1.1 421"));
    assert_eq!(node.answered(), answered);
    node.stop().await;
}

#[tokio::test]
async fn hits_of_the_hot_path_count_for_a_clients_rate() {
    let node = Node::start().await;
    node.origin
        .on("/a", "200 OK", &[("Cache-Control", "max-age=600")], b"a");
    node.prepared("/a").await;
    node.reload("[limits]\nrequests_per_second = 1\nburst = 5");
    let started = Instant::now();
    let mut served = 0;
    while node.get("/a").await.starts_with("HTTP/1.1 200") {
        served += 1;
        assert!(served <= 6 + started.elapsed().as_secs(), "no end of it");
    }
    assert!(served >= 5, "only {served} were served");
    assert!(node.get("/a").await.starts_with("HTTP/1.1 429"));
    node.stop().await;
}

type Parts = (u16, Vec<(String, String)>, Vec<u8>);

/// The reply to a request over an HTTP/2 connection of its own; the id apart.
async fn h2(node: &Node, method: &str, path: &str, fields: &[(&str, &str)]) -> Parts {
    let stream = TcpStream::connect(node.address).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut request = http::Request::builder()
        .method(method)
        .uri(format!("http://a.test{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(()).unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    let response = timeout(PATIENCE, response).await.unwrap().unwrap();
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        bytes.extend_from_slice(&piece);
    }
    let fields = head
        .headers
        .iter()
        .filter(|(name, _)| *name != "x-request-id")
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    assert_eq!(head.headers["x-request-id"].len(), 32);
    (head.status.as_u16(), fields, bytes)
}

#[tokio::test]
async fn streams_are_answered_as_the_pipeline_answers_them() {
    let node = Node::start().await;
    let long = vec![b'x'; 60_000];
    for (path, status, body) in [
        ("/empty", "200 OK", &b""[..]),
        ("/short", "200 OK", b"hello"),
        ("/long", "200 OK", &long),
        ("/not", "404 Not Found", b"nothing"),
    ] {
        let fields = [
            ("Cache-Control", "max-age=600"),
            ("ETag", "\"v1\""),
            ("Cache-Status", "inner;hit"),
            ("Keep-Alive", "timeout=5"),
        ];
        node.origin.on(path, status, &fields, body);
        node.get(path).await;
        for method in ["GET", "HEAD"] {
            for sent in [&[][..], &[("accept-encoding", "br"), ("cookie", "a=b")]] {
                let mut tries = 0;
                loop {
                    let hot = &node.running.edge().hot;
                    hot.set_off(true);
                    let slow = h2(&node, method, path, sent).await;
                    hot.set_off(false);
                    h2(&node, method, path, sent).await;
                    let before = node.answered();
                    let fast = h2(&node, method, path, sent).await;
                    assert_eq!(node.answered(), before + 1, "{method} {path}");
                    // The second may have turned in between.
                    tries += 1;
                    if slow == fast {
                        assert_eq!(fast.2.len(), if method == "GET" { body.len() } else { 0 });
                        break;
                    }
                    assert!(tries < 5, "{slow:?}\n{fast:?}");
                }
            }
        }
    }
    let before = node.answered();
    let (status, ..) = h2(&node, "GET", "/short", &[("if-none-match", "\"v1\"")]).await;
    assert_eq!((status, node.answered()), (304, before));
    node.purge("/short", false);
    let (_, fields, _) = h2(&node, "GET", "/short", &[]).await;
    assert_eq!(node.answered(), before);
    assert!(
        fields
            .iter()
            .any(|(_, value)| value.contains("fwd=uri-miss"))
    );
    node.stop().await;
}

#[tokio::test]
async fn a_stream_whose_window_is_closed_waits_without_the_others() {
    let node = Node::start().await;
    let long = vec![b'x'; 60_000];
    node.origin.on(
        "/long",
        "200 OK",
        &[("Cache-Control", "max-age=600")],
        &long,
    );
    node.get("/long").await;
    h2(&node, "GET", "/long", &[]).await;
    h2(&node, "GET", "/long", &[]).await;
    let before = node.answered();
    let stream = TcpStream::connect(node.address).await.unwrap();
    let (mut client, connection) = h2::client::Builder::new()
        .initial_window_size(1000)
        .handshake::<_, bytes::Bytes>(stream)
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut bodies = Vec::new();
    for _ in 0..3 {
        let request = http::Request::get("http://a.test/long").body(()).unwrap();
        let (response, _) = client.send_request(request, true).unwrap();
        let response = timeout(PATIENCE, response).await.unwrap().unwrap();
        bodies.push(response.into_body());
    }
    assert_eq!(node.answered(), before + 3);
    for body in bodies.iter_mut().rev() {
        let mut all = 0;
        while let Some(piece) = timeout(PATIENCE, body.data()).await.unwrap() {
            let piece = piece.unwrap();
            all += piece.len();
            body.flow_control().release_capacity(piece.len()).unwrap();
        }
        assert_eq!(all, long.len());
    }
    node.stop().await;
}
