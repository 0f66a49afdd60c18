#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::super::record::tests::whole;
use super::*;

/// What the collector got: the request's first line, its body, and the number of the connection it came on.
struct Got {
    line: String,
    body: serde_json::Value,
    connection: usize,
}

impl Got {
    fn spans(&self) -> usize {
        self.body["resourceSpans"][0]["scopeSpans"][0]["spans"]
            .as_array()
            .unwrap()
            .len()
    }
}

/// A collector that gives the answers in order, the last one again and again.
async fn collector(answers: &'static [&'static str]) -> (String, mpsc::Receiver<Got>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::channel(100);
    tokio::spawn(async move {
        let mut answered = 0;
        for connection in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            while let Some((line, body)) = request(&mut stream, &mut bytes).await {
                let answer = answers[answered.min(answers.len() - 1)];
                answered += 1;
                stream.write_all(answer.as_bytes()).await.unwrap();
                sender
                    .send(Got {
                        line,
                        body,
                        connection,
                    })
                    .await
                    .unwrap();
            }
        }
    });
    (url, receiver)
}

/// Reads one request with a Content-Length; `None` at the connection's end.
async fn request(
    stream: &mut TcpStream,
    bytes: &mut Vec<u8>,
) -> Option<(String, serde_json::Value)> {
    loop {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .unwrap();
            let whole = end + 4 + length.parse::<usize>().unwrap();
            if bytes.len() >= whole {
                let body = serde_json::from_slice(&bytes[end + 4..whole]).unwrap();
                bytes.drain(..whole);
                return Some((head.lines().next().unwrap().to_owned(), body));
            }
        }
        if stream.read_buf(bytes).await.unwrap() == 0 {
            return None;
        }
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
const BUSY: &str = "HTTP/1.1 503 Busy\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n";
const REFUSED: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
const PARTIAL: &str =
    "HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\n{\"partialSuccess\":{\"rejectedSpans\":\"1\"}}";

struct Running {
    spans: Spans,
    metrics: Arc<Metrics>,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

fn start(url: &str) -> Running {
    let metrics = Arc::new(Metrics::default());
    let (spans, exporter) = exporter(url.parse().unwrap(), Resource::default(), metrics.clone());
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(exporter.run(async { drop(stopped.await) }));
    Running {
        spans,
        metrics,
        stop,
        task,
    }
}

impl Running {
    /// Stops the exporter, which sends what is queued, and returns the counts of spans sent and lost.
    async fn stop(self) -> (u64, u64) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
        (
            self.metrics.spans_sent.value(),
            self.metrics.lost.value(LogKind::Spans),
        )
    }
}

fn recorded() -> Trace {
    Trace::begin(None, None, true)
}

#[tokio::test]
async fn a_request_and_its_fetch_arrive() {
    let (url, mut got) = collector(&[OK]).await;
    let running = start(&url);
    let trace = recorded();
    running.spans.send(&whole(), &trace);
    running
        .spans
        .send(&whole(), &Trace::begin(None, None, false));
    assert_eq!(running.stop().await, (2, 0));
    let got = got.recv().await.unwrap();
    assert_eq!(got.line, "POST /v1/traces HTTP/1.1");
    assert_eq!(
        got.spans(),
        2,
        "and none of the request that is not recorded"
    );
    let spans = &got.body["resourceSpans"][0]["scopeSpans"][0]["spans"];
    assert_eq!(spans[0]["traceId"], trace.trace_id.to_string());
    assert_eq!(spans[1]["parentSpanId"], spans[0]["spanId"]);
}

#[tokio::test]
async fn full_batches_go_at_once_and_on_one_connection() {
    let (url, mut got) = collector(&[OK]).await;
    let running = start(&url);
    for _ in 0..2 {
        for _ in 0..BATCH / 2 {
            running.spans.send(&whole(), &recorded());
        }
        let got = got.recv().await.unwrap();
        assert_eq!((got.spans(), got.connection), (BATCH, 0));
    }
    assert_eq!(running.stop().await, (2 * BATCH as u64, 0));
}

#[tokio::test]
async fn a_busy_collector_is_asked_again() {
    let (url, mut got) = collector(&[BUSY, BUSY, OK]).await;
    let running = start(&url);
    running.spans.send(&whole(), &recorded());
    assert_eq!(running.stop().await, (2, 0));
    for _ in 0..3 {
        assert_eq!(got.recv().await.unwrap().spans(), 2);
    }
}

#[tokio::test]
async fn what_the_collector_refuses_is_lost() {
    let (url, mut got) = collector(&[REFUSED]).await;
    let running = start(&url);
    running.spans.send(&whole(), &recorded());
    assert_eq!(running.stop().await, (0, 2));
    got.recv().await.unwrap();
    assert!(got.try_recv().is_err(), "no second try");

    let (url, _got) = collector(&[PARTIAL]).await;
    let running = start(&url);
    running.spans.send(&whole(), &recorded());
    assert_eq!(running.stop().await, (1, 1));
}

#[tokio::test]
async fn the_queue_is_bounded_and_the_end_of_all_senders_ends_the_task() {
    let (url, _got) = collector(&[OK]).await;
    let metrics = Arc::new(Metrics::default());
    let (spans, exporter) = exporter(url.parse().unwrap(), Resource::default(), metrics.clone());
    let record = AccessRecord::default();
    for _ in 0..QUEUE + 10 {
        spans.send(&record, &recorded());
    }
    assert_eq!(metrics.lost.value(LogKind::Spans), 10);
    drop(spans);
    exporter.run(std::future::pending()).await;
    assert_eq!(metrics.spans_sent.value(), QUEUE as u64);
}

#[test]
fn pauses() {
    let status = |status, retry_after: Option<u64>| Failure::Status {
        status: StatusCode::from_u16(status).unwrap(),
        retry_after: retry_after.map(Duration::from_secs),
    };
    for (failure, attempt, seconds) in [
        (Failure::Timeout, 0, Some(1)),
        (Failure::Timeout, 2, Some(4)),
        (status(503, None), 1, Some(2)),
        (status(429, Some(7)), 0, Some(7)),
        (status(429, Some(u64::MAX)), 0, Some(30)),
        (status(404, Some(1)), 0, None),
        (status(500, None), 0, None),
    ] {
        assert_eq!(
            failure.pause(attempt),
            seconds.map(Duration::from_secs),
            "{failure}"
        );
    }
}

#[test]
fn endpoints() {
    for (url, host, port, authority, path) in [
        (
            "http://127.0.0.1:4318/v1/traces",
            "127.0.0.1",
            4318,
            "127.0.0.1:4318",
            "/v1/traces",
        ),
        (
            "http://collector",
            "collector",
            4318,
            "collector:4318",
            "/v1/traces",
        ),
        (
            "http://collector:80/",
            "collector",
            80,
            "collector:80",
            "/v1/traces",
        ),
        ("http://[::1]:9/x?y=z", "::1", 9, "[::1]:9", "/x?y=z"),
    ] {
        let expected = Endpoint {
            host: host.into(),
            port,
            authority: authority.into(),
            path: path.into(),
        };
        assert_eq!(url.parse(), Ok(expected));
    }
    for bad in [
        "",
        "collector:4318",
        "/v1/traces",
        "ftp://x",
        "http://",
        "http://a@b:1/",
        "http://a:",
        "http://a:0",
        "http://a:99999/",
    ] {
        assert!(
            matches!(bad.parse::<Endpoint>(), Err(BadEndpoint::Malformed(_))),
            "{bad}"
        );
    }
    let error = "https://collector:4318".parse::<Endpoint>().unwrap_err();
    assert!(error.to_string().contains("plain http only"), "{error}");
}
