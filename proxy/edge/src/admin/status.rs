//! `GET /v1/status`, `/healthz`, `/readyz` and `/metrics`.

use std::sync::Arc;

use anypop_store::{DiskState, DiskStats};
use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::edge::Edge;

/// How the node is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Status {
    /// The node's name.
    node: String,
    /// The PoP it belongs to.
    pop: String,
    /// starting, ready, bleeding, drained or failing.
    state: String,
    /// Why, where the state does not say it all.
    reason: String,
    /// The program's version.
    version: &'static str,
    /// The process.
    pid: u32,
    /// Since the process started.
    uptime_seconds: u64,
    /// Counts the configurations applied since start.
    generation: u64,
    /// How many sites are served.
    sites: usize,
    /// Open client connections.
    connections: u64,
    /// Where clients are accepted.
    listeners: Vec<ListenerStatus>,
    cache: CacheStatus,
}

#[derive(Debug, Serialize, ToSchema)]
struct ListenerStatus {
    address: String,
    tls: bool,
}

#[derive(Debug, Serialize, ToSchema)]
struct CacheStatus {
    /// Stored responses, variants counted each.
    objects: u64,
    /// Bytes they take, keys and fields included.
    bytes: u64,
    /// The bound.
    limit_bytes: u64,
    /// Fills in progress.
    fills: u64,
    /// Objects that had to leave for others.
    evictions: u64,
    /// The disks, in the order of the document.
    disks: Vec<DiskStatus>,
}

#[derive(Debug, Serialize, ToSchema)]
struct DiskStatus {
    /// Its directory.
    path: String,
    /// Whether it is in service.
    online: bool,
    /// Why not.
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    /// Objects it holds.
    objects: u64,
    /// Bytes it takes.
    bytes: u64,
    /// Bytes it may take.
    limit_bytes: u64,
    /// Objects read from it.
    hits: u64,
    /// Objects whose bytes were not those written; they were fetched again.
    damaged: u64,
    /// Errors of the disk itself.
    errors: u64,
}

impl From<DiskStats> for DiskStatus {
    fn from(disk: DiskStats) -> Self {
        let (online, reason) = match disk.state {
            DiskState::Online => (true, String::new()),
            DiskState::Offline(why) => (false, why),
        };
        Self {
            path: disk.path,
            online,
            reason,
            objects: disk.objects,
            bytes: disk.used,
            limit_bytes: disk.size,
            hits: disk.hits,
            damaged: disk.damaged,
            errors: disk.errors,
        }
    }
}

/// How the node is.
#[utoipa::path(get, path = "/v1/status", responses((status = 200, body = Status)))]
pub(super) async fn status(State(edge): State<Arc<Edge>>) -> Json<Status> {
    let standing = edge.lifecycle.standing();
    let snapshot = edge.live.load();
    let store = edge.store.stats();
    Json(Status {
        node: snapshot.node.name.clone(),
        pop: snapshot.node.pop.clone(),
        state: standing.state.to_string(),
        reason: standing.reason.to_string(),
        version: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        uptime_seconds: edge.started.elapsed().as_secs(),
        generation: snapshot.generation,
        sites: snapshot.sites.len(),
        connections: edge.metrics.connections_open.value(),
        listeners: edge
            .listeners()
            .iter()
            .map(|bound| ListenerStatus {
                address: bound.address.to_string(),
                tls: bound.tls,
            })
            .collect(),
        cache: CacheStatus {
            objects: store.objects,
            bytes: store.bytes,
            limit_bytes: store.limit,
            fills: store.fills,
            evictions: store.evictions,
            disks: edge
                .store
                .disks()
                .into_iter()
                .map(DiskStatus::from)
                .collect(),
        },
    })
}

/// Whether the process lives.
#[utoipa::path(get, path = "/healthz", responses((status = 200, description = "It lives.")))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether the node serves requests.
#[utoipa::path(get, path = "/readyz", responses(
    (status = 200, description = "It serves."),
    (status = 503, description = "It does not; the body names the state.")
))]
pub(super) async fn readyz(State(edge): State<Arc<Edge>>) -> impl IntoResponse {
    let state = edge.lifecycle.standing().state;
    let code = if state.serves() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, format!("{state}\n"))
}

/// Metrics in the OpenMetrics text format.
#[utoipa::path(get, path = "/metrics", responses((status = 200, description = "OpenMetrics.")))]
pub(super) async fn metrics(State(edge): State<Arc<Edge>>) -> impl IntoResponse {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    (
        [(header::CONTENT_TYPE, OPEN_METRICS)],
        edge.metrics.render(),
    )
}
