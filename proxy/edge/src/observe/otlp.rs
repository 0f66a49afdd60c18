//! Spans toward an OpenTelemetry collector: OTLP over HTTP with JSON (`tracing.otlp`).
//!
//! Workers put spans into a bounded queue and go on; one task sends them in batches. What the collector does not take in time is dropped,
//! counted in `anypop_lost_total{log="spans"}` and reported once a minute. The collector is expected on this machine or its network:
//! plain HTTP only, one connection, kept.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::access_log::Complaint;
use super::labels::LogKind;
use super::metrics::Metrics;
pub use super::otlp_json::Resource;
use super::otlp_json::{Span, encode, origin_span, server_span};
use super::record::AccessRecord;
use super::trace::Trace;

/// Spans that wait to be sent; further ones are dropped.
const QUEUE: usize = 4096;
/// Spans in one request.
const BATCH: usize = 512;
/// How long spans gather before a batch that is not full is sent.
const LINGER: Duration = Duration::from_secs(2);
/// For one request, connecting included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often a batch is tried.
const ATTEMPTS: u32 = 4;
/// The pause after the first failure; it doubles with each.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest `Retry-After` that is followed.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// For everything that is still queued when the exporter is stopped.
const FAREWELL: Duration = Duration::from_secs(3);
/// The most bytes of an answer that are read.
const ANSWER_LIMIT: usize = 64 * 1024;

/// Where spans go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
    authority: String,
    path: String,
}

/// A value of `tracing.otlp` that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadEndpoint {
    /// It is not a URL of the form `http://host:port/path`.
    #[error("{0:?} is not a collector's URL: write http://host:4318/v1/traces")]
    Malformed(String),
    /// It wants TLS.
    #[error(
        "{0:?}: spans are sent by plain http only; run a collector on this machine that forwards them by TLS"
    )]
    Tls(String),
}

impl std::str::FromStr for Endpoint {
    type Err = BadEndpoint;

    /// Reads `http://host[:port][/path]`; the port is 4318 and the path `/v1/traces` unless given.
    fn from_str(url: &str) -> Result<Self, BadEndpoint> {
        let malformed = || BadEndpoint::Malformed(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| malformed())?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(BadEndpoint::Tls(url.to_owned())),
            _ => return Err(malformed()),
        }
        let authority = uri
            .authority()
            .filter(|authority| !authority.as_str().contains('@'))
            .ok_or_else(malformed)?;
        let host = authority.host();
        // `host:` or a port beyond 65535 leaves a colon without a port.
        let port = match authority.port_u16() {
            Some(port) => port,
            None if authority.as_str() == host => 4318,
            None => return Err(malformed()),
        };
        if host.is_empty() || port == 0 {
            return Err(malformed());
        }
        let path = match uri.path_and_query().map_or("/", |path| path.as_str()) {
            "/" => "/v1/traces",
            path => path,
        };
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            authority: format!("{host}:{port}"),
            path: path.to_owned(),
        })
    }
}

/// The workers' end of the exporter.
#[derive(Clone)]
pub struct Spans {
    queue: mpsc::Sender<Span>,
    loss: Arc<Loss>,
}

impl std::fmt::Debug for Spans {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Spans").finish_non_exhaustive()
    }
}

impl Spans {
    /// Queues the spans of a finished request: one for the request, one for the origin's part if it had any. Does nothing unless
    /// [`Trace::recorded`]. Never waits.
    pub fn send(&self, record: &AccessRecord<'_>, trace: &Trace) {
        if !trace.recorded {
            return;
        }
        self.queue(server_span(record, trace));
        if let Some(origin) = &record.origin {
            self.queue(origin_span(record, origin, trace));
        }
    }

    fn queue(&self, span: Span) {
        if self.queue.try_send(span).is_err() {
            self.loss.count(1, &"the queue is full");
        }
    }
}

/// Counts and reports spans that are lost.
struct Loss {
    metrics: Arc<Metrics>,
    complaint: Complaint,
}

impl Loss {
    fn count(&self, spans: usize, why: &dyn std::fmt::Display) {
        let spans = spans as u64;
        self.metrics.lost.add(LogKind::Spans, spans);
        if let Some(spans) = self.complaint.add(spans, Instant::now()) {
            tracing::warn!(spans, why = %why, "trace spans are lost");
        }
    }
}

/// The sending end; [`Exporter::run`] is its task.
pub struct Exporter {
    queue: mpsc::Receiver<Span>,
    sender: Sender,
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Exporter")
            .field("endpoint", &self.sender.endpoint)
            .finish_non_exhaustive()
    }
}

/// Makes both ends. Nothing is sent before [`Exporter::run`] is polled.
pub fn exporter(
    endpoint: Endpoint,
    resource: Resource,
    metrics: Arc<Metrics>,
) -> (Spans, Exporter) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let loss = Arc::new(Loss {
        metrics,
        complaint: Complaint::default(),
    });
    let spans = Spans {
        queue: sender,
        loss: loss.clone(),
    };
    (
        spans,
        Exporter {
            queue: receiver,
            sender: Sender {
                endpoint,
                resource,
                loss,
                connection: None,
            },
        },
    )
}

impl Exporter {
    /// Sends spans until `stop` resolves or every [`Spans`] is gone, then tries for up to three seconds to send what is queued.
    /// Must run on a tokio runtime with time and I/O. A batch that is under way when `stop` resolves is sent again.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self {
            mut queue,
            mut sender,
        } = self;
        let mut stop = pin!(stop);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let gathered = tokio::select! {
                () = &mut stop => false,
                open = gather(&mut queue, &mut batch) => open,
            };
            let delivered = gathered
                && tokio::select! {
                    () = &mut stop => false,
                    () = sender.deliver(&batch) => true,
                };
            if !delivered {
                break;
            }
            batch.clear();
        }
        queue.close();
        while let Ok(span) = queue.try_recv() {
            batch.push(span);
        }
        let mut left = batch.len();
        let farewell = async {
            for part in batch.chunks(BATCH) {
                sender.deliver(part).await;
                left -= part.len();
            }
        };
        if timeout(FAREWELL, farewell).await.is_err() {
            sender.loss.count(left, &"the node stops");
        }
    }
}

/// Fills `batch` until it is full or its first span has waited long enough. Returns false when no more spans will come. Dropping it in
/// between loses nothing: what was received is in `batch`.
async fn gather(queue: &mut mpsc::Receiver<Span>, batch: &mut Vec<Span>) -> bool {
    if queue.recv_many(batch, BATCH).await == 0 {
        return false;
    }
    let mut full = pin!(sleep(LINGER));
    while batch.len() < BATCH {
        let room = BATCH - batch.len();
        tokio::select! {
            () = &mut full => break,
            count = queue.recv_many(batch, room) => {
                if count == 0 {
                    return false;
                }
            }
        }
    }
    true
}

/// The connection to the collector, and how a batch gets there.
struct Sender {
    endpoint: Endpoint,
    resource: Resource,
    loss: Arc<Loss>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no answer within {TIMEOUT:?}")]
    Timeout,
    #[error("cannot connect to the collector: {0}")]
    Connect(std::io::Error),
    #[error("the connection to the collector failed: {0}")]
    Http(#[from] hyper::Error),
    #[error("the collector answered {status}")]
    Status {
        status: StatusCode,
        retry_after: Option<Duration>,
    },
    #[error("the request cannot be built: {0}")]
    Request(#[from] http::Error),
}

impl Failure {
    /// How long to wait before another try; `None` when there is no use in one (OTLP, "Failures").
    fn pause(&self, attempt: u32) -> Option<Duration> {
        let doubled = PAUSE.saturating_mul(1 << attempt.min(10));
        match self {
            Self::Timeout | Self::Connect(_) | Self::Http(_) => Some(doubled),
            Self::Status {
                status,
                retry_after,
            } => matches!(status.as_u16(), 429 | 502 | 503 | 504)
                .then(|| retry_after.unwrap_or(doubled).min(LONGEST_PAUSE)),
            Self::Request(_) => None,
        }
    }
}

impl Sender {
    /// Sends one batch, with retries. What cannot be sent is counted as lost.
    async fn deliver(&mut self, batch: &[Span]) {
        if batch.is_empty() {
            return;
        }
        let body = match encode(&self.resource, batch) {
            Ok(body) => Bytes::from(body),
            Err(error) => return self.loss.count(batch.len(), &error),
        };
        let mut attempt = 0;
        loop {
            let outcome = match timeout(TIMEOUT, self.post(body.clone())).await {
                Ok(outcome) => outcome,
                Err(_) => Err(Failure::Timeout),
            };
            let failure = match outcome {
                Ok(rejected) => {
                    let rejected = rejected.min(batch.len());
                    self.loss
                        .metrics
                        .spans_sent
                        .add((batch.len() - rejected) as u64);
                    if rejected > 0 {
                        self.loss.count(rejected, &"the collector rejected them");
                    }
                    return;
                }
                Err(failure) => failure,
            };
            self.connection = None;
            attempt += 1;
            match failure.pause(attempt - 1) {
                Some(pause) if attempt < ATTEMPTS => sleep(pause).await,
                _ => return self.loss.count(batch.len(), &failure),
            }
        }
    }

    /// Sends one request; returns how many of its spans the collector rejected.
    async fn post(&mut self, body: Bytes) -> Result<usize, Failure> {
        let request = Request::post(self.endpoint.path.as_str())
            .header(HOST, self.endpoint.authority.as_str())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        // Taken, and put back only after a whole answer: a request that was cut off leaves no half-read connection.
        let mut connection = match self.connection.take() {
            Some(connection) if !connection.is_closed() => connection,
            _ => self.connect().await?,
        };
        connection.ready().await?;
        let response = connection.send_request(request).await?;
        let rejected = answer(response).await?;
        self.connection = Some(connection);
        Ok(rejected)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let stream = TcpStream::connect((self.endpoint.host.as_str(), self.endpoint.port))
            .await
            .map_err(Failure::Connect)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // It ends when the sender is dropped; its error reaches the sender too.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}

/// Reads the collector's answer: an error, or the number of spans it rejected (`ExportTracePartialSuccess`).
async fn answer(response: Response<Incoming>) -> Result<usize, Failure> {
    let status = response.status();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.trim().parse().ok())
        .map(Duration::from_secs);
    let body = Limited::new(response.into_body(), ANSWER_LIMIT)
        .collect()
        .await;
    if !status.is_success() {
        return Err(Failure::Status {
            status,
            retry_after,
        });
    }
    // The spans arrived, whatever else the answer says.
    let Ok(body) = body else { return Ok(0) };
    let answer: serde_json::Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
    let rejected = &answer["partialSuccess"]["rejectedSpans"];
    let rejected = rejected
        .as_u64()
        .or_else(|| rejected.as_str().and_then(|count| count.parse().ok()));
    Ok(rejected
        .and_then(|count| usize::try_from(count).ok())
        .unwrap_or(0))
}

#[cfg(test)]
#[path = "otlp_tests.rs"]
mod tests;
