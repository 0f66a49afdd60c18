//! The edge: what every request, the admin API and the status stream share.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Instant,
};

use anypop_config::Live;
use anypop_listen::tls::CertificateStore;
use anypop_origin::{Client, Pools};
use anypop_store::Store;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::{
    hot::Hot,
    lifecycle::Lifecycle,
    observe::{
        access_log::AccessLog,
        metrics::{Level, Metrics},
        otlp::Spans,
        trace::Sampler,
    },
    pipeline::{Identity, RateLimiter},
    server::Reloader,
    status_stream::Vitals,
};

/// Idle connections to origins kept by fills, over all sites.
pub(crate) const IDLE_ORIGIN_CONNECTIONS: usize = 4096;

/// A node's shared parts.
pub struct Edge {
    /// The configuration that holds now.
    pub live: Live,
    /// The cache's storage.
    pub store: Store,
    /// Fetches for fills.
    pub origin: Client,
    /// Every site's origin.
    pub pools: Pools,
    /// Every site's certificate.
    pub certificates: Arc<CertificateStore>,
    /// The state, and who is told.
    pub lifecycle: Arc<Lifecycle>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where finished requests are written.
    pub access_log: AccessLog,
    /// Where spans go, with a collector.
    pub spans: Option<Spans>,
    /// Which requests have spans.
    pub sampler: Sampler,
    /// Who this node is to other servers.
    pub identity: Identity,
    /// Requests per client.
    pub rates: RateLimiter,
    /// Answers that stand ready.
    pub hot: Hot,
    /// Fills under way.
    pub tasks: TaskTracker,
    /// Told whenever a client's connection is closed.
    pub(crate) closed: Notify,
    /// Since the process serves.
    pub started: Instant,
    pub(crate) listeners: OnceLock<Vec<Bound>>,
    /// For nodes with a document.
    pub(crate) reloader: OnceLock<Reloader>,
    /// Held while a configuration comes into force.
    pub(crate) reloading: Mutex<()>,
}

/// An address that is listened at.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Bound {
    /// With the port that the system chose, where port 0 was asked for.
    pub address: SocketAddr,
    /// Whether TLS is spoken there.
    pub tls: bool,
}

impl Edge {
    /// The name under which this cache and proxy appears in `Cache-Status` and `Proxy-Status`.
    pub fn name(&self) -> &'static str {
        "anypop"
    }

    /// Where clients are accepted.
    pub fn listeners(&self) -> &[Bound] {
        self.listeners.get().map_or(&[], Vec::as_slice)
    }
}

impl Vitals for Edge {
    fn connections(&self) -> u64 {
        self.metrics.connections_open.value()
    }

    fn vips(&self) -> Vec<String> {
        let mut vips: Vec<String> = self
            .listeners()
            .iter()
            .map(|bound| bound.address.ip())
            .filter(|ip| !ip.is_unspecified())
            .map(|ip| format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 }))
            .collect();
        vips.sort_unstable();
        vips.dedup();
        vips
    }
}

/// Holds a [`Level`] one higher for as long as it lives.
pub(crate) struct Raised<'a>(&'a Level);

impl<'a> Raised<'a> {
    pub(crate) fn new(level: &'a Level) -> Self {
        level.up();
        Self(level)
    }
}

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.down();
    }
}
