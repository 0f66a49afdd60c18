//! The response as the client gets it: what is stripped, what is added.

use anypop_cache::{cache_status::CacheStatus, fields};
use anypop_config::Site;
use anypop_store::Object;
use http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use pingora_proxy::Session;

use super::{
    cached::now,
    context::Context,
    outbound::{self, DEBUG, X_REQUEST_ID},
};
use crate::edge::Edge;

/// A stored response's fields, as they go out.
pub(super) fn prepare_cached(
    headers: &mut HeaderMap,
    edge: &Edge,
    ctx: &Context,
    session: &Session,
    site: &Site,
    object: &Object,
) {
    let request = session.req_header();
    let status = object.status();
    let settings = site.settings(request.uri.path(), &request.method, Some(status));
    if let Some(ttl) = settings.browser_ttl
        && status.as_u16() < 400
    {
        fields::set_browser_ttl(headers, ttl, object.meta().clock.age(now()));
    }
    // HTTP/1.1 is what fills speak of; what version the origin spoke then, nobody needs.
    finish(headers, edge, ctx, site, Version::HTTP_11);
}

/// A response that is not stored, as it goes out. `received` is the version it came by.
pub(super) fn prepare_private(
    headers: &mut HeaderMap,
    edge: &Edge,
    ctx: &Context,
    session: &Session,
    site: &Site,
    status: StatusCode,
    received: Version,
) {
    if status != StatusCode::SWITCHING_PROTOCOLS {
        fields::strip_hop_by_hop(headers);
    }
    let request = session.req_header();
    let settings = site.settings(request.uri.path(), &request.method, None);
    if settings.strip_cookies && request.method.is_safe() {
        headers.remove(header::SET_COOKIE);
    }
    finish(headers, edge, ctx, site, received);
}

/// What is done to every response last, but for `Cache-Status`.
pub(super) fn finish(
    headers: &mut HeaderMap,
    edge: &Edge,
    ctx: &Context,
    site: &Site,
    received: Version,
) {
    fields::strip_for_client(headers);
    edge.identity.sign_response(headers, received);
    let over_tls = ctx
        .arrived
        .as_ref()
        .is_some_and(|arrived| arrived.client.tls.is_some());
    // RFC 6797, section 7.2: never over plain HTTP.
    if over_tls
        && let Some(hsts) = site.tls.as_ref().and_then(|tls| tls.hsts.as_ref())
        && let Ok(value) = HeaderValue::from_str(&hsts.field_value())
    {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, value);
    }
    if let Ok(id) = HeaderValue::from_str(ctx.request_id.as_str()) {
        headers.insert(X_REQUEST_ID, id);
    }
    outbound::edit(headers, &site.headers.response);
}

/// Adds this cache's member to `Cache-Status` and notes it. The key is for authorised debuggers.
pub(super) fn cache_status(
    headers: &mut HeaderMap,
    edge: &Edge,
    ctx: &mut Context,
    session: &Session,
    status: CacheStatus<'_>,
) {
    let shown = session.req_header().headers.get(DEBUG);
    let authorised = shown.is_some_and(|shown| {
        let token = ctx.snapshot.node.debug_token.as_ref();
        token.is_some_and(|token| token.matches(shown.as_bytes()))
    });
    let key = ctx
        .key
        .as_ref()
        .filter(|_| authorised)
        .map(ToString::to_string);
    let status = match &key {
        Some(key) => status.key(key),
        None => status,
    };
    ctx.outcome.cache_status = status.render(edge.name());
    status.append_to(headers, edge.name());
}
