//! The first stage: who asks, by which name, and for which site.

use std::sync::Arc;

use anypop_config::{Site, site::ClientAuth};
use anypop_listen::{ClientInfo, head::Authority};
use http::{HeaderMap, HeaderName, StatusCode};
use pingora_http::RequestHeader;

use super::{
    context::{Arrived, Context},
    outbound::X_REQUEST_ID,
    respond::Reply,
};
use crate::{
    edge::Edge,
    observe::{
        labels::Refusal,
        request_id::RequestId,
        trace::{self, Trace, TraceParent},
    },
};

/// Where load balancers and the BGP agent ask whether this node serves, under any host.
const HEALTH_PATH: &str = "/.well-known/anypop/health";
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Finds out and notes it; a reply ends the request here.
pub(super) fn arrive(request: &RequestHeader, edge: &Edge, ctx: &mut Context) -> Option<Reply> {
    let client = request.extensions.get::<Arc<ClientInfo>>()?.clone();
    let authority = request.extensions.get::<Authority>()?;
    let host = authority.host().to_owned();
    let trusted = ctx
        .snapshot
        .node
        .trusted_forwarders
        .contains(client.direct_peer.ip());
    identify(&request.headers, edge, ctx, trusted);
    let site = ctx.snapshot.sites.find(&host).cloned();
    let arrived = Arrived {
        authority: with_port(&host, authority.port(), client.scheme()),
        metrics: site
            .as_ref()
            .map(|site| edge.metrics.site(site.id.as_str())),
        host,
        trusted,
        client,
        site,
    };
    let reply = if request.uri.path() == HEALTH_PATH {
        Some(health(edge))
    } else {
        match &arrived.site {
            None => Some(Reply::refusal(
                StatusCode::MISDIRECTED_REQUEST,
                Refusal::UnknownHost,
            )),
            Some(site) if !authenticated(site, &arrived.client) => Some(Reply::refusal(
                StatusCode::MISDIRECTED_REQUEST,
                Refusal::ClientCertificate,
            )),
            Some(_) => None,
        }
    };
    ctx.arrived = Some(arrived);
    reply
}

/// Request id and trace. Only a trusted peer may choose the id, or have everything recorded.
fn identify(headers: &HeaderMap, edge: &Edge, ctx: &mut Context, trusted: bool) {
    let sent = headers.get(X_REQUEST_ID).filter(|_| trusted);
    ctx.request_id = sent
        .and_then(|sent| RequestId::parse(sent.as_bytes()))
        .unwrap_or_else(RequestId::random);
    let lines = |name: &HeaderName| {
        headers
            .get_all(name)
            .iter()
            .map(http::HeaderValue::as_bytes)
            .collect::<Vec<_>>()
    };
    let parent = TraceParent::from_fields(lines(&TRACEPARENT));
    let record = edge.sampler.decide(parent.as_ref(), trusted, trace::dice());
    ctx.trace = Trace::begin(parent, trace::trace_state(lines(&TRACESTATE)), record);
}

/// A site with client certificates trusts only connections whose handshake was for that site:
/// otherwise a certificate shown to one site, or none shown to another, would open it.
fn authenticated(site: &Site, client: &ClientInfo) -> bool {
    let Some(tls) = &site.tls else { return true };
    match (tls.client_auth, &client.tls) {
        (ClientAuth::None, _) => true,
        (ClientAuth::Required, None) => tls.redirect_http,
        (ClientAuth::Optional, None) => true,
        (_, Some(shaken)) => shaken.site.as_deref() == Some(site.id.as_str()),
    }
}

fn health(edge: &Edge) -> Reply {
    let state = edge.lifecycle.standing().state;
    let status = if state.serves() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    Reply::status(status)
        .text(format!("{state}\n"))
        .with(http::header::CACHE_CONTROL, "no-store")
}

fn with_port(host: &str, port: Option<u16>, scheme: &str) -> String {
    let default = if scheme == "https" { 443 } else { 80 };
    match port {
        Some(port) if port != default => format!("{host}:{port}"),
        _ => host.to_owned(),
    }
}
