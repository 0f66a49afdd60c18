//! Requests past the cache: through Pingora's proxy, with the origin's pools choosing the server.

use std::time::Instant;

use anypop_cache::cache_status::{CacheStatus, Forward};
use anypop_origin::{Connected, ErrorKind, FetchError};
use http::{HeaderMap, Method, StatusCode, Version, header};
use pingora_core::{
    protocols::Digest,
    upstreams::peer::{H1UpgradePolicy, HttpPeer},
};
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use super::{
    context::{Context, OriginOutcome, Pass, PassReason},
    deliver, inbound, invalidate,
    outbound::{self, Outbound},
    respond::Reply,
};
use crate::{
    edge::Edge,
    observe::labels::{CacheResult, Refusal},
};

impl Pass {
    pub(super) fn new(why: PassReason) -> Self {
        Self {
            why,
            pick: None,
            tries: 0,
            error: None,
            began: Instant::now(),
            body_in: 0,
        }
    }
}

/// The server for the next try.
///
/// # Errors
/// When the site has none, or none that may take another request.
pub(super) fn peer(edge: &Edge, session: &mut Session, ctx: &mut Context) -> Result<Box<HttpPeer>> {
    let address = ctx.arrived.as_ref().map(super::context::Arrived::address);
    let site = ctx.site().map(|site| site.id.clone());
    let outcome_started = ctx.started.elapsed();
    let Some(pass) = &mut ctx.pass else {
        return Error::e_explain(ErrorType::InternalError, "no pass");
    };
    if pass.pick.is_none() {
        let pool = site.and_then(|site| edge.pools.site(site.as_str()));
        let picked = match pool {
            Some(pool) => pool.pick(address),
            None => Err(FetchError::new(
                ErrorKind::DestinationUnavailable,
                "the site is gone",
            )),
        };
        match picked {
            Ok(pick) => pass.pick = Some(pick),
            Err(error) => {
                pass.error = Some(error);
                return Err(refused());
            }
        }
    }
    let Some(pick) = &pass.pick else {
        return Err(refused());
    };
    ctx.outcome.origin = Some(OriginOutcome {
        server: Some(pick.server().clone()),
        started: outcome_started,
        retries: pass.tries,
        ..OriginOutcome::default()
    });
    ctx.outcome.cache = Some(match pass.why {
        PassReason::Bypass | PassReason::Method => CacheResult::Bypass,
        _ => CacheResult::Pass,
    });
    let mut peer = pick.peer();
    if session.is_upgrade_req() {
        // HTTP/2 has no Upgrade (RFC 9113, section 8.6).
        peer.options.set_http_version(1, 1);
        // The request filter leaves what belongs to the upgrade, and nothing else of its kind.
        peer.options.http_upstream_request_policy.h1_upgrade = H1UpgradePolicy::Preserve;
    }
    Ok(peer)
}

fn refused() -> Box<Error> {
    let mut error = Error::explain(ErrorType::ConnectError, "no origin server");
    error.esource = ErrorSource::Upstream;
    error.set_retry(false);
    error
}

/// The connection to the origin stands.
pub(super) fn connected(ctx: &mut Context, reused: bool, digest: Option<&Digest>) {
    let connected = digest.and_then(Connected::of);
    if let Some(origin) = &mut ctx.outcome.origin {
        origin.reused = reused;
        origin.address = connected.as_ref().map(|connected| connected.address);
        origin.connect = connected.map(|connected| connected.connect);
    }
    if let (Some(address), Some(pick)) = (
        ctx.outcome
            .origin
            .as_ref()
            .and_then(|origin| origin.address),
        ctx.pass.as_ref().and_then(|pass| pass.pick.as_ref()),
    ) {
        pick.used(address);
    }
}

/// The request as the origin gets it.
///
/// # Errors
/// When a field cannot be set.
pub(super) fn request(
    edge: &Edge,
    session: &Session,
    request: &mut RequestHeader,
    ctx: &mut Context,
) -> Result<()> {
    let Some(site) = ctx.site().cloned() else {
        return Ok(());
    };
    let client = session.req_header();
    let settings = site.settings(client.uri.path(), &client.method, None);
    let cacheable = matches!(client.method, Method::GET | Method::HEAD) && !settings.bypass;
    let outbound = Outbound {
        accept_encoding: None,
        strip_cookies: cacheable && settings.strip_cookies,
        upgrade: session.is_upgrade_req(),
    };
    let mut headers = request.headers.clone();
    outbound::prepare(
        &mut headers,
        ctx,
        &site,
        &edge.identity,
        client.version,
        &outbound,
    );
    replace_fields(request, &headers)?;
    let authority = match &site.origin.host {
        Some(host) => host.to_string(),
        None => ctx
            .arrived
            .as_ref()
            .map(|arrived| arrived.authority.clone())
            .unwrap_or_default(),
    };
    request.insert_header(header::HOST, authority.as_str())?;
    if request.version == Version::HTTP_2 {
        let tls = ctx
            .pass
            .as_ref()
            .and_then(|pass| pass.pick.as_ref())
            .is_some_and(|pick| pick.tls());
        let uri = http::Uri::builder()
            .scheme(if tls { "https" } else { "http" })
            .authority(authority)
            .path_and_query(super::target(client))
            .build();
        match uri {
            Ok(uri) => request.set_uri(uri),
            Err(error) => {
                return Error::e_explain(ErrorType::InvalidHTTPHeader, error.to_string());
            }
        }
    }
    Ok(())
}

fn replace_fields(request: &mut RequestHeader, fields: &HeaderMap) -> Result<()> {
    let names: Vec<_> = request.headers.keys().cloned().collect();
    for name in names {
        request.remove_header(&name);
    }
    for (name, value) in fields {
        request.append_header(name, value)?;
    }
    Ok(())
}

/// Counts a piece of the request's body.
///
/// # Errors
/// When the body outgrows the site's limit.
pub(super) fn request_body(body: Option<&bytes::Bytes>, ctx: &mut Context) -> Result<()> {
    let limit = ctx
        .site()
        .map_or(u64::MAX, |site| site.limits.request_body.bytes());
    let Some(pass) = &mut ctx.pass else {
        return Ok(());
    };
    pass.body_in += body.map_or(0, |body| body.len() as u64);
    if pass.body_in > limit {
        ctx.outcome.refused = Some(Refusal::BodySize);
        let mut error = Error::explain(
            ErrorType::HTTPStatus(413),
            "the body is longer than the site allows",
        );
        error.esource = ErrorSource::Downstream;
        error.set_retry(false);
        return Err(error);
    }
    Ok(())
}

/// The response on its way to the client.
///
/// # Errors
/// When a field cannot be set.
pub(super) async fn response(
    edge: &Edge,
    session: &Session,
    response: &mut ResponseHeader,
    ctx: &mut Context,
) -> Result<()> {
    if response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(());
    }
    let (Some(site), Some(why)) = (ctx.site().cloned(), ctx.pass.as_ref().map(|pass| pass.why))
    else {
        return Ok(());
    };
    if let Some(pick) = ctx.pass.as_ref().and_then(|pass| pass.pick.as_ref()) {
        pick.answered(response.status);
    }
    if let Some(origin) = &mut ctx.outcome.origin {
        origin.status = response.status.as_u16();
        origin.first_byte = ctx.pass.as_ref().map(|pass| pass.began.elapsed());
    }
    let request = session.req_header();
    match why {
        PassReason::Head(_) => {
            invalidate::by_head(
                edge,
                ctx,
                &site,
                request,
                response.status,
                &response.headers,
            )
            .await;
        }
        _ => {
            invalidate::by_method(
                edge,
                ctx,
                &site,
                request,
                response.status,
                &response.headers,
            )
            .await;
        }
    }
    let version = response.version;
    let mut headers = response.headers.clone();
    let status = response.status;
    inbound::prepare_private(&mut headers, edge, ctx, session, &site, status, version);
    inbound::cache_status(&mut headers, edge, ctx, session, cache_status(why));
    *response = *deliver::head(status, headers);
    response.set_version(version);
    ctx.outcome.delivered.status = status.as_u16();
    ctx.outcome.delivered.first_byte = Some(Instant::now());
    Ok(())
}

fn cache_status(why: PassReason) -> CacheStatus<'static> {
    match why {
        PassReason::Bypass => CacheStatus::forward(Forward::Bypass),
        PassReason::Method => CacheStatus::forward(Forward::Method),
        PassReason::Head(forward) | PassReason::Alone(forward) => CacheStatus::forward(forward),
        PassReason::Uncacheable => {
            CacheStatus::forward(Forward::Bypass).detail("known to be uncacheable")
        }
    }
}

/// A try failed; says in the error whether there is another.
pub(super) fn failed(
    session: &Session,
    ctx: &mut Context,
    mut error: Box<Error>,
    reused: bool,
) -> Box<Error> {
    if error.esource() != &ErrorSource::Upstream {
        error.set_retry(false);
        return error;
    }
    let request = session.req_header();
    let replayable = request.method.is_idempotent()
        && !session.as_ref().retry_buffer_truncated()
        && !session.is_upgrade_req();
    let failure = FetchError::from_pingora(&error);
    let nothing_sent = session.response_written().is_none();
    let Some(pass) = &mut ctx.pass else {
        return error;
    };
    let again = nothing_sent
        && pass.pick.as_mut().is_some_and(|pick| {
            // A kept connection that the server had closed says nothing about the server.
            let closed_meanwhile = reused
                && replayable
                && pass.tries == 0
                && failure.kind == ErrorKind::ConnectionTerminated;
            closed_meanwhile || pick.retry(&failure, replayable)
        });
    let mut failure = failure;
    if let Some(pick) = &pass.pick {
        failure.site = Some(pick.site().clone());
        failure.server = Some(pick.server().clone());
    }
    tracing::debug!(error = %failure, again, "a try at the origin failed");
    pass.error = Some(failure);
    pass.tries += u32::from(again);
    error.set_retry(again);
    error
}

/// What the client gets when nothing more can be tried.
pub(super) fn final_reply(edge: &Edge, ctx: &Context, error: &Error) -> Reply {
    if let ErrorType::HTTPStatus(code) = error.etype()
        && let Ok(status) = StatusCode::from_u16(*code)
    {
        let reply = Reply::status(status).closing();
        return match ctx.outcome.refused {
            Some(why) => Reply {
                refused: Some(why),
                ..reply
            },
            None => reply,
        };
    }
    if let Some(failure) = ctx.pass.as_ref().and_then(|pass| pass.error.as_ref()) {
        return Reply::failure(failure, edge.name());
    }
    match error.esource() {
        ErrorSource::Downstream => Reply::status(StatusCode::BAD_REQUEST).closing(),
        ErrorSource::Upstream => Reply::failure(&FetchError::from_pingora(error), edge.name()),
        ErrorSource::Internal | ErrorSource::Unset => {
            tracing::error!(%error, "a request failed for reasons of our own");
            Reply::failure(
                &FetchError::new(ErrorKind::ProxyInternalError, "internal error"),
                edge.name(),
            )
        }
    }
}
