//! The guards: what is refused or answered before the cache or an origin hears of it.

use std::{net::IpAddr, time::Instant};

use anypop_config::Site;
use http::{HeaderMap, Method, StatusCode, header};

use super::{
    forward::Identity,
    rate::{Rate, RateLimiter},
    respond::Reply,
};
use crate::observe::labels::Refusal;

/// What the guards look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    /// The method.
    pub(super) method: &'a Method,
    /// The request's fields.
    pub(super) headers: &'a HeaderMap,
    /// The host as asked for.
    pub(super) host: &'a str,
    /// Path and query.
    pub(super) target: &'a str,
    /// The client.
    pub(super) client: IpAddr,
    /// Whether it came over TLS.
    pub(super) tls: bool,
}

/// Refuses `request`, or answers it by a redirect; `None` lets it through.
pub(super) fn check(
    request: Request<'_>,
    site: &Site,
    identity: &Identity,
    rates: &RateLimiter,
    now: Instant,
) -> Option<Reply> {
    if !site.acl.permits(request.client) {
        return Some(Reply::refusal(StatusCode::FORBIDDEN, Refusal::Acl));
    }
    if let Some(rate) = site.limits.rate() {
        let rate = Rate {
            per_second: f64::from(rate.per_second),
            burst: rate.burst,
        };
        if let Err(wait) = rates.admit(site.id.as_str(), request.client, rate, now) {
            return Some(
                Reply::refusal(StatusCode::TOO_MANY_REQUESTS, Refusal::Rate)
                    .with(header::RETRY_AFTER, &wait.as_secs().max(1).to_string()),
            );
        }
    }
    if !site.methods.contains(request.method) {
        let allowed = site.methods.names().collect::<Vec<_>>().join(", ");
        return Some(
            Reply::refusal(StatusCode::METHOD_NOT_ALLOWED, Refusal::Method)
                .with(header::ALLOW, &allowed),
        );
    }
    if identity.loops(request.headers) {
        return Some(Reply::refusal(StatusCode::LOOP_DETECTED, Refusal::Loop));
    }
    if site.tls.as_ref().is_some_and(|tls| tls.redirect_http) && !request.tls {
        return Some(to_https(request));
    }
    if let Some(length) = content_length(request.headers)
        && length > site.limits.request_body.bytes()
    {
        return Some(Reply::refusal(StatusCode::PAYLOAD_TOO_LARGE, Refusal::BodySize).closing());
    }
    None
}

/// Whether a client is within its rate at `site`. Asking counts a request.
pub(crate) fn within_rate(site: &Site, rates: &RateLimiter, client: IpAddr, now: Instant) -> bool {
    site.limits.rate().is_none_or(|rate| {
        let rate = Rate {
            per_second: f64::from(rate.per_second),
            burst: rate.burst,
        };
        rates.admit(site.id.as_str(), client, rate, now).is_ok()
    })
}

/// A redirect to the same URL over TLS. 308 keeps method and body where there may be one.
fn to_https(request: Request<'_>) -> Reply {
    let status = match *request.method {
        Method::GET | Method::HEAD => StatusCode::MOVED_PERMANENTLY,
        _ => StatusCode::PERMANENT_REDIRECT,
    };
    // The port that was spoken to is the plain one: TLS is at its default port.
    let location = format!("https://{}{}", request.host, request.target);
    Reply::status(status).with(header::LOCATION, &location)
}

/// `Content-Length`; the gate has seen to it that there is at most one and that it is a number.
fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}
