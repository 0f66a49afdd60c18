//! What the pipeline knows of one request, from its head to its line in the log.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anypop_cache::key::CacheKey;
use anypop_config::{Site, Snapshot};
use anypop_listen::ClientInfo;
use anypop_origin::{FetchError, Pick};

use super::{deliver::Delivered, respond::Failure};
use crate::observe::{
    labels::{CacheResult, Refusal},
    metrics::SiteMetrics,
    request_id::RequestId,
    trace::Trace,
};

/// One request's way through the pipeline.
pub struct Context {
    /// When its head had been read.
    pub started: Instant,
    /// The same by the calendar.
    pub time: SystemTime,
    /// The configuration it began with; it ends with it too.
    pub snapshot: Arc<Snapshot>,
    /// Its identity towards people.
    pub request_id: RequestId,
    /// Its place in a trace.
    pub trace: Trace,
    /// Who sent it and for whom; `None` until the first stage has run.
    pub arrived: Option<Arrived>,
    /// Its key, once it has one.
    pub key: Option<CacheKey>,
    /// What became of it.
    pub outcome: Outcome,
    /// Its way past the cache, if it takes that.
    pub pass: Option<Pass>,
}

/// Who asks, and for what.
#[derive(Clone)]
pub struct Arrived {
    /// The connection's other end.
    pub client: Arc<ClientInfo>,
    /// The site, unless nobody has the host.
    pub site: Option<Arc<Site>>,
    /// The site's counters.
    pub metrics: Option<Arc<SiteMetrics>>,
    /// The host as asked for, lower case, with its port unless it is the scheme's default.
    pub authority: String,
    /// The host without port.
    pub host: String,
    /// Whether the direct peer is one whose `Forwarded` and trace are believed.
    pub trusted: bool,
}

impl Arrived {
    /// The client's address.
    pub fn address(&self) -> IpAddr {
        self.client.peer.ip()
    }
}

/// What became of a request.
#[derive(Default)]
pub struct Outcome {
    /// What the cache did.
    pub cache: Option<CacheResult>,
    /// `Cache-Status` as sent.
    pub cache_status: String,
    /// Whether it shared another's fill.
    pub collapsed: bool,
    /// The age of what was served.
    pub age: Option<Duration>,
    /// The rest of its lifetime in seconds.
    pub ttl: Option<i64>,
    /// What went to the client.
    pub(super) delivered: Delivered,
    /// Why it was refused.
    pub refused: Option<Refusal>,
    /// What failed.
    pub(super) failure: Option<Failure>,
    /// The exchange with the origin that it caused or shared.
    pub origin: Option<OriginOutcome>,
}

/// An exchange with an origin, as the log tells it.
#[derive(Clone, Debug, Default)]
pub struct OriginOutcome {
    /// The server, as the site's document names it.
    pub server: Option<Arc<str>>,
    /// Where that was.
    pub address: Option<std::net::SocketAddr>,
    /// The status that came; 0 if none did.
    pub status: u16,
    /// When it began, after the request did.
    pub started: Duration,
    /// Until the connection stood.
    pub connect: Option<Duration>,
    /// The TLS handshake with it, where there was one.
    pub tls: Option<Duration>,
    /// Until the header of the response came.
    pub first_byte: Option<Duration>,
    /// All of it.
    pub total: Duration,
    /// Tries after the first.
    pub retries: u32,
    /// Whether a kept connection served.
    pub reused: bool,
}

/// A request's way past the cache, through Pingora's proxy.
pub struct Pass {
    /// Why it goes past.
    pub why: PassReason,
    /// The server at which it is, and those it was at.
    pub pick: Option<Pick>,
    /// Tries so far.
    pub tries: u32,
    /// What the last try ended with.
    pub error: Option<FetchError>,
    /// When it began.
    pub began: Instant,
    /// Bytes of request body that came.
    pub body_in: u64,
}

/// Why a request is not the cache's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassReason {
    /// A rule, an upgrade, or a body.
    Bypass,
    /// The method.
    Method,
    /// HEAD for which nothing usable is stored: the key is unknown, or the response is stale.
    Head(anypop_cache::cache_status::Forward),
    /// The response was found uncacheable a while ago, or just now by another request.
    Uncacheable,
    /// What is stored may not serve this request, and its fill is another's.
    Alone(anypop_cache::cache_status::Forward),
}

impl Context {
    /// A request that begins now.
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        Self {
            started: Instant::now(),
            time: SystemTime::now(),
            snapshot,
            request_id: RequestId::default(),
            trace: Trace::begin(None, None, false),
            arrived: None,
            key: None,
            outcome: Outcome::default(),
            pass: None,
        }
    }

    /// Its site, if it has one.
    pub fn site(&self) -> Option<&Arc<Site>> {
        self.arrived.as_ref()?.site.as_ref()
    }
}
