//! Responses that are not stored, on their way from a fill to the one client they are for; and the
//! hints that come before any response.

use std::{sync::Arc, time::Instant};

use anypop_cache::{
    cache_status::CacheStatus,
    conditional::{self, Outcome},
    validators::Validators,
};
use anypop_config::Site;
use anypop_origin::Informational;
use http::{HeaderMap, StatusCode, header};
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_proxy::Session;

use super::{
    cached::now,
    context::Context,
    deliver, inbound,
    job::{Answer, Begun, PrivateResponse},
};
use crate::{edge::Edge, observe::labels::CacheResult};

/// Waits for a fill's answer, forwarding 103 Early Hints (RFC 8297) that come before it. `None`:
/// the fill died without one.
///
/// # Errors
/// When the client is gone.
pub(super) async fn await_answer(session: &mut Session, begun: Begun) -> Result<Option<Answer>> {
    let Begun {
        mut hints,
        mut answer,
    } = begun;
    loop {
        tokio::select! {
            biased;
            Some(hint) = hints.recv() => forward_hint(session, hint).await?,
            answer = &mut answer => return Ok(answer.ok()),
        }
    }
}

async fn forward_hint(session: &mut Session, hint: Informational) -> Result<()> {
    if hint.status != StatusCode::EARLY_HINTS
        || session.req_header().version < http::Version::HTTP_11
    {
        return Ok(());
    }
    session
        .write_response_header(deliver::head(hint.status, hint.headers), false)
        .await
}

/// Sends a response that came for this request alone.
///
/// # Errors
/// When the client is gone, or the response broke off.
pub(super) async fn send(
    edge: &Arc<Edge>,
    session: &mut Session,
    ctx: &mut Context,
    site: &Arc<Site>,
    private: PrivateResponse,
    status: CacheStatus<'_>,
) -> Result<()> {
    let PrivateResponse {
        response,
        received,
        why,
        origin,
        ..
    } = private;
    ctx.outcome.origin = Some(origin);
    ctx.outcome.cache = Some(CacheResult::Pass);
    let mut headers = response.headers;
    inbound::prepare_private(
        &mut headers,
        edge,
        ctx,
        session,
        site,
        response.status,
        response.version,
    );
    inbound::cache_status(&mut headers, edge, ctx, session, status.detail(&why));
    let mut code = response.status;
    // The conditions were held back from the origin, since the response might have been for all.
    if code == StatusCode::OK {
        let request = session.req_header();
        let validators = Validators::of(&headers, received);
        if conditional::evaluate(&request.method, &request.headers, &validators, now())
            == Outcome::NotModified
        {
            code = StatusCode::NOT_MODIFIED;
            for name in [
                header::CONTENT_LENGTH,
                header::CONTENT_TYPE,
                header::CONTENT_ENCODING,
            ] {
                headers.remove(name);
            }
        }
    }
    write(session, ctx, code, headers, response.body).await
}

async fn write(
    session: &mut Session,
    ctx: &mut Context,
    status: StatusCode,
    headers: HeaderMap,
    mut body: anypop_origin::BodyStream,
) -> Result<()> {
    ctx.outcome.delivered.status = status.as_u16();
    session
        .write_response_header(deliver::head(status, headers), false)
        .await?;
    ctx.outcome.delivered.first_byte = Some(Instant::now());
    if status == StatusCode::NOT_MODIFIED || status == StatusCode::NO_CONTENT {
        return session.write_response_body(None, true).await;
    }
    loop {
        match body.next().await {
            Ok(Some(bytes)) => {
                ctx.outcome.delivered.body += bytes.len() as u64;
                session.write_response_body(Some(bytes), false).await?;
            }
            Ok(None) => break,
            Err(error) => {
                let mut failed = Error::explain(ErrorType::ReadError, error.to_string());
                failed.esource = ErrorSource::Upstream;
                return Err(failed);
            }
        }
    }
    match body.take_trailers() {
        Some(trailers) if !trailers.is_empty() => {
            session
                .as_downstream_mut()
                .write_response_trailers(trailers)
                .await
        }
        _ => session.write_response_body(None, true).await,
    }
}
