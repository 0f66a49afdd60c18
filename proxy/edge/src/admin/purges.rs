//! `POST /v1/purges`

use std::sync::Arc;

use anypop_cache::tags::Tag;
use anypop_config::{Site, Snapshot};
use anypop_listen::head::Authority;
use anypop_store::{PurgeRequest, PurgeScope};
use axum::{Json, body::Bytes, extract::State, http::StatusCode};
use http::Method;
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

use super::Refusal;
use crate::{
    edge::Edge,
    observe::labels::{PurgeKind, PurgeScope as Label},
    pipeline::{now, rules},
};

/// What to purge.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Purge {
    /// The site's id; without it only `everything` makes sense.
    #[serde(default)]
    site: Option<String>,
    /// What kind of thing `value` is.
    scope: Scope,
    /// An absolute URL for `url` and `prefix`, a tag, or a host; none for `site` and `everything`.
    #[serde(default)]
    value: Option<String>,
    /// Stale instead of gone: may be served while it is refreshed, or on an origin's error.
    #[serde(default)]
    soft: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Scope {
    Url,
    Prefix,
    Tag,
    Host,
    Site,
    Everything,
}

/// A purge that is in force.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Purged {
    /// The purge clock after it: what was fetched before is not served any more.
    clock: u64,
}

/// Purges. When the answer comes, no request is served what it hits, and no kill brings it back.
#[utoipa::path(post, path = "/v1/purges", request_body = Purge, responses(
    (status = 200, body = Purged),
    (status = 400, body = Refusal, description = "The request does not say what to purge."),
    (status = 404, body = Refusal, description = "There is no such site."),
    (status = 500, body = Refusal, description = "It holds, but no disk could write it down."),
))]
pub(super) async fn purge(
    State(edge): State<Arc<Edge>>,
    body: Bytes,
) -> Result<Json<Purged>, Refusal> {
    let purge: Purge = serde_json::from_slice(&body)
        .map_err(|error| Refusal::bad_request(format!("the body is no purge: {error}")))?;
    let snapshot = edge.live.snapshot();
    let scope = scope(&purge, &snapshot)?;
    let request = PurgeRequest {
        scope,
        soft: purge.soft,
    };
    let kind = if purge.soft {
        PurgeKind::Soft
    } else {
        PurgeKind::Hard
    };
    edge.metrics.purges.inc((label(&request.scope), kind));
    let store = edge.store.clone();
    let asked = request.clone();
    let purged = tokio::task::spawn_blocking(move || store.purge_durably(&asked, now())).await;
    match purged {
        Ok(Ok(clock)) => {
            tracing::info!(?request, clock = clock.0, "purged");
            Ok(Json(Purged { clock: clock.0 }))
        }
        Ok(Err(error)) => {
            tracing::error!(?request, %error, "purged, but not durably");
            Err(Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                error.to_string(),
            ))
        }
        Err(error) => Err(Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            error.to_string(),
        )),
    }
}

fn scope(purge: &Purge, snapshot: &Snapshot) -> Result<PurgeScope, Refusal> {
    let value = || {
        purge
            .value
            .as_deref()
            .filter(|value| !value.is_empty())
            .ok_or_else(|| {
                Refusal::bad_request("this scope needs a 'value': a URL, a tag or a host")
            })
    };
    if purge.value.is_some() && matches!(purge.scope, Scope::Site | Scope::Everything) {
        return Err(Refusal::bad_request("this scope takes no 'value'"));
    }
    let Some(id) = &purge.site else {
        return match purge.scope {
            Scope::Everything => Ok(PurgeScope::Everything),
            _ => Err(Refusal::bad_request("this scope needs a 'site'")),
        };
    };
    let site = snapshot
        .sites
        .by_id(id)
        .ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, format!("there is no site {id:?}")))?;
    let id = site.id.to_string();
    Ok(match purge.scope {
        Scope::Site | Scope::Everything => PurgeScope::Site { site: id },
        Scope::Tag => {
            let tag =
                Tag::new(value()?).map_err(|error| Refusal::bad_request(error.to_string()))?;
            PurgeScope::Tag { site: id, tag }
        }
        Scope::Host => {
            let host = value()?;
            let authority = Authority::parse(host.as_bytes())
                .ok_or_else(|| Refusal::bad_request(format!("{host:?} is no host")))?;
            of_site(site, snapshot, authority.host())?;
            PurgeScope::Host {
                site: id,
                host: host.to_ascii_lowercase(),
            }
        }
        Scope::Url | Scope::Prefix => {
            let target = Target::parse(value()?)?;
            of_site(site, snapshot, &target.host)?;
            if purge.scope == Scope::Prefix {
                if target.query.is_some() {
                    return Err(Refusal::bad_request("a prefix ends before the query"));
                }
                PurgeScope::Prefix {
                    site: id,
                    host: target.authority,
                    prefix: target.path,
                }
            } else {
                // Keys hold the query as the site's rules leave it.
                let rules = rules::query(site.settings(&target.path, &Method::GET, None).query);
                PurgeScope::Url {
                    site: id,
                    host: target.authority,
                    query: rules.apply(target.query.as_deref()).map(String::from),
                    path: target.path,
                }
            }
        }
    })
}

/// A URL in the parts that a key has, spelled as in the URL: a key knows no other spelling.
pub(super) struct Target {
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) authority: String,
    pub(super) path: String,
    pub(super) query: Option<String>,
}

impl Target {
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        let refuse = |why: &str| {
            Refusal::bad_request(format!("{text:?} is no absolute http or https URL: {why}"))
        };
        let (tls, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            _ => return Err(refuse("it must begin with http:// or https://")),
        };
        // The parser decides whether it is a URL; its spelling is not used.
        Url::parse(text).map_err(|error| refuse(&error.to_string()))?;
        let rest = rest.split('#').next().unwrap_or(rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let parsed = Authority::parse(authority.as_bytes())
            .ok_or_else(|| refuse("its host is malformed"))?;
        let default = if tls { 443 } else { 80 };
        let host = parsed.host().to_owned();
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        Ok(Self {
            tls,
            authority: match parsed.port() {
                Some(port) if port != default => format!("{host}:{port}"),
                _ => host.clone(),
            },
            host,
            path: if path.is_empty() {
                "/".to_owned()
            } else {
                path.to_owned()
            },
            query,
        })
    }
}

/// A purge for a host that the site does not have would hit nothing, in silence.
fn of_site(site: &Site, snapshot: &Snapshot, host: &str) -> Result<(), Refusal> {
    match snapshot.sites.find(host) {
        Some(found) if found.id == site.id => Ok(()),
        _ => Err(Refusal::bad_request(format!(
            "{host:?} is not a host of site {}",
            site.id
        ))),
    }
}

fn label(scope: &PurgeScope) -> Label {
    match scope {
        PurgeScope::Url { .. } => Label::Url,
        PurgeScope::Prefix { .. } => Label::Prefix,
        PurgeScope::Tag { .. } => Label::Tag,
        PurgeScope::Host { .. } => Label::Host,
        PurgeScope::Site { .. } => Label::Site,
        PurgeScope::Everything => Label::All,
    }
}
