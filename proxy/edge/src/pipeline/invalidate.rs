//! What requests past the cache say about what is stored: unsafe methods invalidate it (RFC 9111,
//! section 4.4), HEAD updates it (section 4.3.5).

use anypop_cache::{
    invalidate::{self, Target},
    key::Scheme,
    meta::{Receipt, Refreshed},
    storability::Storability,
    tags,
    update::{self, HeadEffect},
};
use anypop_config::Site;
use anypop_store::{PurgeRequest, PurgeScope};
use http::{HeaderMap, Method, StatusCode};
use pingora_http::RequestHeader;

use super::{
    cached::{Query, now},
    context::Context,
    rules,
};
use crate::edge::Edge;

/// Invalidates what a successful unsafe request changed: its own URL, and those in `Location` and
/// `Content-Location` that have the same origin. A purge clock each, so that a fill that began
/// before the change cannot bring the old response back.
pub(super) async fn by_method(
    edge: &Edge,
    ctx: &Context,
    site: &Site,
    request: &RequestHeader,
    status: StatusCode,
    response: &HeaderMap,
) {
    let Some(arrived) = &ctx.arrived else { return };
    if invalidate::is_safe(&request.method) {
        return;
    }
    let over_tls = arrived.client.tls.is_some();
    let target = Target {
        scheme: if over_tls {
            Scheme::Https
        } else {
            Scheme::Http
        },
        host: arrived.authority.clone(),
        path_and_query: super::target(request).to_owned(),
    };
    for hit in invalidate::targets(&request.method, status, &target, response) {
        let (path, query) = match hit.path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (hit.path_and_query.as_str(), None),
        };
        // Keys hold the query as the rules for reading leave it.
        let rules = rules::query(site.settings(path, &Method::GET, None).query);
        let request = PurgeRequest {
            scope: PurgeScope::Url {
                site: site.id.to_string(),
                host: hit.host,
                path: path.to_owned(),
                query: rules.apply(query).map(String::from),
            },
            soft: false,
        };
        let store = edge.store.clone();
        // It is written to disk before it counts as done. A purge that could not be written is
        // logged by the store, and holds until a restart.
        let _ = tokio::task::spawn_blocking(move || store.purge(&request, now())).await;
    }
}

/// Updates or invalidates the stored response to GET by a response to HEAD.
pub(super) async fn by_head(
    edge: &Edge,
    ctx: &Context,
    site: &Site,
    request: &RequestHeader,
    status: StatusCode,
    response: &HeaderMap,
) {
    let Some(arrived) = &ctx.arrived else { return };
    let query = Query::of(request, arrived, site);
    let received = now();
    for found in edge.store.find_variants(&query.key).await {
        let object = found.object;
        if !query.selects(&object, &request.headers) {
            continue;
        }
        let effect = update::head_effect(
            &request.method,
            status,
            response,
            received,
            object.headers(),
            object.body().length(),
        );
        match effect {
            HeadEffect::Ignore => {}
            HeadEffect::Invalidate => {
                edge.store.remove(&object);
            }
            HeadEffect::Update => {
                let policy = rules::response_policy(site, request.uri.path(), &Method::GET, status);
                let mut headers = object.headers().clone();
                let receipt = Receipt {
                    site: site.id.as_str(),
                    request: &request.headers,
                    normalise: &query.normalise,
                    status,
                    response,
                    requested: received,
                    received,
                    // The body was not validated: purges since its fill stay in force.
                    purge_seq: object.meta().purge_seq,
                };
                let limits = tags::Limits::default();
                let Refreshed { meta, verdict } =
                    object
                        .meta()
                        .refresh(&mut headers, &receipt, &limits, &policy);
                if let Storability::NotStorable(why) = verdict
                    && !why.is_about_request()
                {
                    edge.store.remove(&object);
                    continue;
                }
                edge.store.update(&object, &headers, meta);
            }
        }
    }
}
