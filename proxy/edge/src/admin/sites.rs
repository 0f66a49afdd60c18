//! `GET /v1/sites`

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::edge::Edge;

/// The sites of the node.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Sites {
    /// Counts the configurations applied since start.
    generation: u64,
    /// In the order of their ids.
    sites: Vec<SiteSummary>,
}

/// One site.
#[derive(Debug, Serialize, ToSchema)]
struct SiteSummary {
    id: String,
    hostnames: Vec<String>,
    origins: Vec<String>,
    tls: bool,
}

/// The sites that are served.
#[utoipa::path(get, path = "/v1/sites", responses((status = 200, body = Sites)))]
pub(super) async fn sites(State(edge): State<Arc<Edge>>) -> Json<Sites> {
    let snapshot = edge.live.load();
    let mut sites: Vec<_> = snapshot
        .sites
        .iter()
        .map(|site| SiteSummary {
            id: site.id.to_string(),
            hostnames: site.hostnames.iter().map(ToString::to_string).collect(),
            origins: site
                .origin
                .servers
                .iter()
                .map(|server| server.url.to_string())
                .collect(),
            tls: site.tls.is_some(),
        })
        .collect();
    sites.sort_by(|a, b| a.id.cmp(&b.id));
    Json(Sites {
        generation: snapshot.generation,
        sites,
    })
}
