//! The request as the origin gets it: the same for fills and for requests that pass.

use anypop_cache::{
    encoding::AcceptEncoding,
    fields,
    surrogate::{self, SURROGATE_CAPABILITY},
};
use anypop_config::{
    Site,
    site::{ForwardedStyle, HeaderEdits},
};
use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use super::{
    context::Context,
    forward::{self, Arrival, Identity},
};

/// `x-request-id`
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The field by which an authorised debugger shows the node's token.
pub(super) const DEBUG: HeaderName = HeaderName::from_static("anypop-debug");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What differs between a fill and a request that passes.
#[derive(Clone, Debug, Default)]
pub(super) struct Outbound {
    /// `Accept-Encoding` as the variants are told apart by; `None` leaves the client's.
    pub(super) accept_encoding: Option<AcceptEncoding>,
    /// Whether cookies stay here.
    pub(super) strip_cookies: bool,
    /// Whether `Connection` and `Upgrade` go on: the request asks for another protocol.
    pub(super) upgrade: bool,
}

/// Makes the client's fields those of a request to the origin. `Host` is not touched.
pub(super) fn prepare(
    headers: &mut HeaderMap,
    context: &Context,
    site: &Site,
    identity: &Identity,
    version: Version,
    outbound: &Outbound,
) {
    let Some(arrived) = &context.arrived else {
        return;
    };
    let upgrade = outbound
        .upgrade
        .then(|| headers.get(header::UPGRADE).cloned())
        .flatten();
    let trailers = wants_trailers(headers);
    fields::strip_hop_by_hop(headers);
    if let Some(protocol) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    headers.remove(DEBUG);
    if let Some(accepted) = &outbound.accept_encoding {
        headers.insert(header::ACCEPT_ENCODING, accepted.header_value());
    }
    if outbound.strip_cookies {
        headers.remove(header::COOKIE);
    }
    let arrival = Arrival {
        client: arrived.address(),
        scheme: arrived.client.scheme(),
        host: &arrived.authority,
        trusted: arrived.trusted,
    };
    if !arrived.trusted {
        forward::remove_claims(headers);
    }
    if matches!(
        site.origin.forwarded,
        ForwardedStyle::XForwarded | ForwardedStyle::Both
    ) {
        forward::x_forwarded(headers, arrival);
    }
    if matches!(
        site.origin.forwarded,
        ForwardedStyle::Forwarded | ForwardedStyle::Both
    ) {
        forward::forwarded(headers, arrival);
    }
    headers.append(SURROGATE_CAPABILITY, surrogate::capability());
    identity.sign_request(headers, version);
    insert(headers, X_REQUEST_ID, context.request_id.as_str());
    insert(headers, TRACEPARENT, &context.trace.traceparent());
    match context.trace.tracestate() {
        Some(state) => insert(headers, TRACESTATE, state),
        None => {
            headers.remove(TRACESTATE);
        }
    }
    edit(headers, &site.headers.request);
}

/// Applies a site's edits.
pub(super) fn edit(headers: &mut HeaderMap, edits: &HeaderEdits) {
    for name in &edits.remove {
        headers.remove(name);
    }
    for (name, value) in &edits.set {
        headers.insert(name, value.clone());
    }
}

/// Whether the client takes trailers (RFC 9110, section 10.1.4).
fn wants_trailers(headers: &HeaderMap) -> bool {
    headers.get_all(header::TE).iter().any(|line| {
        line.as_bytes()
            .split(|byte| *byte == b',')
            .any(|member| member.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    })
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
