//! A stored response as it goes out whole: the cache's decisions and the client's fields for requests
//! that ask for nothing more, taken ahead of time.
//!
//! It uses the parts that the pipeline's stages use, in their order, so that what is prepared here
//! reads byte for byte as what [`super::cached`] sends.

use std::sync::Arc;

use anypop_cache::{
    cache_status::CacheStatus, freshness::Freshness, key::CacheKey, time::Timestamp,
};
use anypop_config::{Site, Snapshot, site::ClientAuth};
use anypop_listen::ClientInfo;
use anypop_store::{Found, Object};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use pingora_http::ResponseHeader;

use super::{
    cached::Query,
    context::{Arrived, Context},
    deliver,
    explain::Asked,
    inbound,
};
use crate::{edge::Edge, observe::request_id::RequestId};

pub(crate) use super::record::connection;

/// A request without a body, in the terms of the first stage.
#[derive(Clone, Copy)]
pub(crate) struct Plain<'a> {
    pub(crate) client: &'a Arc<ClientInfo>,
    pub(crate) site: &'a Arc<Site>,
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    pub(crate) headers: &'a HeaderMap,
    /// The host as asked for, with its port unless it is the scheme's default.
    pub(crate) authority: &'a str,
}

/// What a prepared header is filled with.
#[derive(Clone, Copy)]
pub(crate) struct Filling {
    pub(crate) age: u64,
    pub(crate) ttl: i64,
    pub(crate) request_id: RequestId,
}

/// The key of a request that the cache may answer, if nothing but host, target, method and
/// `Accept-Encoding` decides which response it gets.
///
/// The client's address is not looked at: access list and rate are for each request to pass.
pub(crate) fn key(plain: &Plain<'_>) -> Option<(Selector, CacheKey)> {
    let site = plain.site;
    let over_tls = plain.client.tls.is_some();
    if let Some(tls) = &site.tls
        && (tls.client_auth != ClientAuth::None || (tls.redirect_http && !over_tls))
    {
        return None;
    }
    let settings = site.settings(plain.path, plain.method, None);
    if !site.methods.contains(plain.method)
        || settings.bypass
        || !settings.key_headers.is_empty()
        || !settings.key_cookies.is_empty()
    {
        return None;
    }
    let asked = Asked {
        tls: over_tls,
        authority: plain.authority,
        path: plain.path,
        query: plain.query,
        headers: plain.headers,
    };
    let query = Query::for_target(site, &asked, plain.method);
    let key = query.key.clone();
    Some((Selector(query), key))
}

/// Selects among what is stored under a key.
pub(crate) struct Selector(Query);

impl Selector {
    /// The fresh and complete response that answers, where no other field of a request could select
    /// another one of `variants` (newest first).
    pub(crate) fn select(
        &self,
        variants: impl IntoIterator<Item = Found>,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Option<Arc<Object>> {
        for found in variants {
            let meta = found.object.meta();
            if meta.vary.iter().any(|name| name != header::ACCEPT_ENCODING) {
                return None;
            }
            if self.0.selects(&found.object, headers) {
                let fresh = matches!(self.0.judge(&found, now), Freshness::Fresh { .. });
                return (fresh && found.purged.is_none()).then_some(found.object);
            }
        }
        None
    }
}

/// The header with which `object` goes out whole, filled with `filling`; `None` where it depends on
/// more than that.
pub(crate) fn header(
    edge: &Edge,
    snapshot: &Arc<Snapshot>,
    plain: &Plain<'_>,
    object: &Object,
    filling: Filling,
) -> Option<Box<ResponseHeader>> {
    let status = object.status();
    // A part, or a response without a body, has a header of its own kind.
    if matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED
    ) || object.meta().partial.is_some()
        || object.headers().contains_key(header::CONTENT_RANGE)
    {
        return None;
    }
    let settings = plain.site.settings(plain.path, plain.method, Some(status));
    if settings.browser_ttl.is_some() {
        return None;
    }
    let length = object.body().try_complete()?.length();
    let mut context = Context::new(snapshot.clone());
    context.request_id = filling.request_id;
    context.arrived = Some(Arrived {
        client: plain.client.clone(),
        site: Some(plain.site.clone()),
        metrics: None,
        authority: plain.authority.to_owned(),
        host: plain.authority.to_owned(),
        trusted: false,
    });
    let mut headers = object.headers().clone();
    headers.insert(header::AGE, filling.age.into());
    inbound::finish(&mut headers, edge, &context, plain.site, Version::HTTP_11);
    hit(filling.ttl).append_to(&mut headers, edge.name());
    headers.remove(header::CONTENT_LENGTH);
    if status == StatusCode::OK {
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Some(deliver::head(status, headers))
}

/// What `Cache-Status` says of a fresh hit.
pub(crate) fn hit(ttl: i64) -> CacheStatus<'static> {
    CacheStatus::hit().ttl(ttl)
}
