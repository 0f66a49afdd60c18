//! Prometheus metrics: what is counted, and the handles by which it is. `render` writes the exposition; docs/metrics.md lists it.
//!
//! Counting is a relaxed addition to a cache line that few threads share; labels are enumerations whose place is arithmetic. Only the
//! `site` label is open: series of a site begin with its first request and are capped ([`SITE_CAP`]).

mod counters;
mod process;
mod render;
mod site;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

pub use counters::{BOUNDS, Counter, Counters, HistogramValue, Histograms, Labels, Level};
pub use render::CONTENT_TYPE;
pub use site::{NO_SITE, OTHER, SITE_CAP, SiteMetrics};

use super::labels::{
    CacheResult, ConnectionRefusal, Direction, FillEvent, FillFailure, HandshakeResult, Health,
    LogKind, Outcome, Protocol, PurgeKind, PurgeScope, Refusal, Resumption, StatusClass,
    TlsVersion,
};
use super::record::AccessRecord;
use site::SiteTable;

/// Everything the node counts.
#[derive(Debug)]
pub struct Metrics {
    /// Connections open now.
    pub connections_open: Level,
    /// Connections accepted.
    pub connections_accepted: Counter,
    /// Connections closed before they could send a request.
    pub connections_refused: Counters<ConnectionRefusal>,
    /// TLS handshakes with clients.
    pub handshakes: Counters<Handshake>,
    /// Requests refused before they reached the cache.
    pub refusals: Counters<Refusal>,
    /// Time from a request's first byte to its response's last.
    pub duration: Histograms<CacheResult>,
    /// Time from a request's first byte to its response's first.
    pub first_byte: Histograms<CacheResult>,
    /// Requests being served now.
    pub requests_open: Level,
    /// Fills going on now.
    pub fills_open: Level,
    /// What became of fills.
    pub fills: Counters<FillEvent>,
    /// Why fills failed.
    pub fill_failures: Counters<FillFailure>,
    /// Requests that wait for, or read from, somebody else's fill now.
    pub waiters: Level,
    /// Requests that waited for, or read from, somebody else's fill.
    pub collapsed: Counter,
    /// Purges done.
    pub purges: Counters<(PurgeScope, PurgeKind)>,
    /// Log lines and spans that were lost.
    pub lost: Counters<LogKind>,
    /// Spans delivered to the collector.
    pub spans_sent: Counter,
    /// Attempts to load the configuration while running.
    pub reloads: Counters<Outcome>,
    generation: AtomicU64,
    site_count: AtomicU64,
    last_reload: Mutex<Option<(Outcome, SystemTime)>>,
    started: SystemTime,
    sites: SiteTable,
    build: Build,
    sources: RwLock<Sources>,
}

/// A TLS handshake: version, result, and whether a session was resumed.
pub type Handshake = (TlsVersion, HandshakeResult, Resumption);

/// What runs, for `anypop_build_info`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Build {
    /// The program's version.
    pub version: &'static str,
    /// The commit it was built from; empty when unknown.
    pub commit: &'static str,
}

/// The store's figures at the time of a scrape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreFigures {
    /// Objects held.
    pub objects: u64,
    /// Bytes held, heads and bookkeeping included.
    pub bytes: u64,
    /// Bytes that it may hold.
    pub capacity: u64,
    /// Objects evicted to make room, since the start.
    pub evictions: u64,
}

/// The health of one origin server at the time of a scrape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginHealth {
    /// The site's id.
    pub site: String,
    /// The server's URL.
    pub server: String,
    /// Its state.
    pub health: Health,
}

type Source<T> = Box<dyn Fn() -> T + Send + Sync>;

/// Who is asked at a scrape.
#[derive(Default)]
struct Sources {
    store: Option<Source<Vec<(&'static str, StoreFigures)>>>,
    origins: Option<Source<Vec<OriginHealth>>>,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Sources").finish_non_exhaustive()
    }
}

/// What is counted of a request, for the hot path, which has no [`AccessRecord`].
#[derive(Debug, Clone, Copy)]
pub struct RequestSample {
    /// The status sent; 0 for none.
    pub status: u16,
    /// What the cache did.
    pub cache: CacheResult,
    /// The client's protocol.
    pub protocol: Protocol,
    /// Bytes of the request.
    pub bytes_in: u64,
    /// Bytes of the response.
    pub bytes_out: u64,
    /// From the first byte in to the last byte out.
    pub duration: Duration,
    /// From the first byte in to the first byte out; `None` when no response was sent.
    pub first_byte: Option<Duration>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(Build::default())
    }
}

impl Metrics {
    /// Counters at zero, with series for up to [`SITE_CAP`] sites.
    pub fn new(build: Build) -> Self {
        Self::with_site_cap(build, SITE_CAP)
    }

    /// As [`Metrics::new`], with another cap of sites.
    pub fn with_site_cap(build: Build, cap: usize) -> Self {
        Self {
            connections_open: Level::default(),
            connections_accepted: Counter::default(),
            connections_refused: Counters::default(),
            handshakes: Counters::default(),
            refusals: Counters::default(),
            duration: Histograms::default(),
            first_byte: Histograms::default(),
            requests_open: Level::default(),
            fills_open: Level::default(),
            fills: Counters::default(),
            fill_failures: Counters::default(),
            waiters: Level::default(),
            collapsed: Counter::default(),
            purges: Counters::default(),
            lost: Counters::default(),
            spans_sent: Counter::default(),
            reloads: Counters::default(),
            generation: AtomicU64::new(0),
            site_count: AtomicU64::new(0),
            last_reload: Mutex::new(None),
            started: SystemTime::now(),
            sites: SiteTable::new(cap),
            build,
            sources: RwLock::default(),
        }
    }

    /// The handle of a site's counters, made when there is none and room for one. Look it up once, at the site's first request, and keep
    /// it. The empty id stands for requests that belong to no site.
    pub fn site(&self, id: &str) -> Arc<SiteMetrics> {
        self.sites.site(id)
    }

    /// Drops the series of sites that `keep` does not want: call it when sites were removed. A handle that is still in use goes on
    /// counting, unseen.
    pub fn retain_sites(&self, keep: impl Fn(&str) -> bool) {
        self.sites.retain(keep);
    }

    /// Counts a finished request.
    #[inline]
    pub fn request(&self, site: &SiteMetrics, sample: &RequestSample) {
        site.request(
            StatusClass::of(sample.status),
            sample.cache,
            sample.protocol,
        );
        site.bytes(Direction::ClientIn, sample.bytes_in);
        site.bytes(Direction::ClientOut, sample.bytes_out);
        self.duration.observe(sample.cache, sample.duration);
        if let Some(first_byte) = sample.first_byte {
            self.first_byte.observe(sample.cache, first_byte);
        }
    }

    /// Counts a finished request by its record: the request, its part at the origin, its refusal and whether it was collapsed. Earlier
    /// tries at the origin count as retries here; their results are counted by whoever made them ([`SiteMetrics::origin`]).
    pub fn record(&self, site: &SiteMetrics, record: &AccessRecord<'_>) {
        self.request(
            site,
            &RequestSample {
                status: record.status,
                cache: record.cache,
                protocol: record.protocol,
                bytes_in: record.bytes_in,
                bytes_out: record.bytes_out,
                duration: record.duration,
                first_byte: record.first_byte,
            },
        );
        if let Some(origin) = &record.origin {
            site.origin(origin.result);
            site.bytes(Direction::OriginIn, origin.bytes_in);
            site.bytes(Direction::OriginOut, origin.bytes_out);
            if origin.retries > 0 {
                site.retries(u64::from(origin.retries));
            }
        }
        if let Some(refusal) = record.refused {
            self.refusals.inc(refusal);
        }
        if record.collapsed {
            self.collapsed.inc();
        }
    }

    /// Counts an attempt to load the configuration: at start, and at each reload. `generation` and `sites` describe what is in force
    /// afterwards.
    pub fn reloaded(&self, outcome: Outcome, generation: u64, sites: u64, at: SystemTime) {
        self.reloads.inc(outcome);
        self.generation.store(generation, Ordering::Relaxed);
        self.site_count.store(sites, Ordering::Relaxed);
        *self.last_reload.lock() = Some((outcome, at));
    }

    /// Says who knows the store's figures, by tier (for example `memory`). It is asked at each scrape.
    pub fn set_store_source(
        &self,
        source: impl Fn() -> Vec<(&'static str, StoreFigures)> + Send + Sync + 'static,
    ) {
        self.sources.write().store = Some(Box::new(source));
    }

    /// Says who knows the origins' health. It is asked at each scrape; servers of sites without series are only counted.
    pub fn set_origin_source(
        &self,
        source: impl Fn() -> Vec<OriginHealth> + Send + Sync + 'static,
    ) {
        self.sources.write().origins = Some(Box::new(source));
    }

    /// When this process began to count, in seconds since 1970.
    fn started_seconds(&self) -> f64 {
        self.started
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64()
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
