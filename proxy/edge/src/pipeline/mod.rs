//! A request's way, top to bottom:
//!
//! 1. [`arrive`]: who asks, for which site ([`context`] keeps it).
//! 2. [`guard`]: access list, rate ([`rate`]), methods, loops, redirect to TLS, size.
//! 3. [`rules`]: what the site's document says for this path.
//! 4. [`cached`]: the cache's decisions; [`fill`] fetches what is missing
//!    (a [`job`] of its own), [`deliver`] sends what
//!    is stored ([`plan`]: which bytes of it), [`private`] what may not be.
//! 5. [`pass`]: what is not the cache's business goes through Pingora's proxy.
//! 6. [`outbound`] and [`inbound`]: the fields of requests to origins and responses to clients,
//!    with those of [`forward`].
//! 7. [`respond`]: what the node answers itself.
//! 8. [`record`]: the line in the log, and the counters.
//!
//! [`whole`] does stages 1 to 6 ahead of time, for the hot path ([`crate::hot`]).

mod arrive;
mod cached;
pub mod context;
mod deliver;
mod explain;
mod fill;
mod forward;
mod guard;
mod inbound;
mod invalidate;
mod job;
mod outbound;
mod parts;
mod pass;
mod plan;
mod private;
mod rate;
mod record;
mod respond;
pub(crate) mod rules;
pub(crate) mod whole;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use pingora_core::{modules::http::HttpModules, protocols::Digest, upstreams::peer::HttpPeer};
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};

use crate::edge::Edge;

use cached::Flow;
use context::{Context, Pass, PassReason};
use respond::Reply;

pub(crate) use cached::now;
pub use explain::{Asked, Explanation, explain};
pub use forward::Identity;
pub(crate) use guard::within_rate;
pub use rate::RateLimiter;
pub use record::record_refused;

/// The pipeline, as Pingora's proxy drives it.
pub struct Pipeline {
    edge: Arc<Edge>,
}

impl Pipeline {
    /// A pipeline over `edge`.
    pub fn new(edge: Arc<Edge>) -> Self {
        Self { edge }
    }

    /// Stages 1 to 4. What is left to [`pass`] is not answered yet.
    async fn serve(&self, session: &mut Session, ctx: &mut Context) -> Result<Flow> {
        let edge = &self.edge;
        if let Some(reply) = arrive::arrive(session.req_header(), edge, ctx) {
            return self.reply(session, ctx, reply).await;
        }
        let (Some(arrived), Some(site)) = (ctx.arrived.clone(), ctx.site().cloned()) else {
            return Error::e_explain(
                ErrorType::InternalError,
                "a request reached the pipeline without passing the listeners",
            );
        };
        let request = session.req_header();
        let looked_at = guard::Request {
            method: &request.method,
            headers: &request.headers,
            host: &arrived.host,
            target: target(request),
            client: arrived.address(),
            tls: arrived.client.tls.is_some(),
        };
        if let Some(reply) =
            guard::check(looked_at, &site, &edge.identity, &edge.rates, ctx.started)
        {
            return self.reply(session, ctx, reply).await;
        }
        if let Some(why) = not_for_the_cache(session, &site) {
            return Ok(Flow::Pass(why));
        }
        cached::serve(edge, session, ctx, &site).await
    }

    async fn reply(&self, session: &mut Session, ctx: &mut Context, reply: Reply) -> Result<Flow> {
        respond::send(session, ctx, reply).await?;
        Ok(Flow::Done)
    }
}

/// Why the cache has nothing to do with a request, if so.
fn not_for_the_cache(session: &mut Session, site: &anypop_config::Site) -> Option<PassReason> {
    if !matches!(session.req_header().method, Method::GET | Method::HEAD) {
        return Some(PassReason::Method);
    }
    if session.is_upgrade_req() || !session.as_downstream_mut().is_body_empty() {
        return Some(PassReason::Bypass);
    }
    let request = session.req_header();
    site.settings(request.uri.path(), &request.method, None)
        .bypass
        .then_some(PassReason::Bypass)
}

/// Path and query as the client sent them.
fn target(request: &RequestHeader) -> &str {
    request
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str())
}

#[async_trait]
impl ProxyHttp for Pipeline {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::new(self.edge.live.snapshot())
    }

    fn init_downstream_modules(&self, _: &mut HttpModules) {
        // Pingora's compression would run again at every hit.
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        match self.serve(session, ctx).await? {
            Flow::Done => Ok(true),
            Flow::Pass(why) => {
                ctx.pass = Some(Pass::new(why));
                Ok(false)
            }
        }
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> Result<Box<HttpPeer>> {
        pass::peer(&self.edge, session, ctx)
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        reused: bool,
        _peer: &HttpPeer,
        _fd: std::os::unix::io::RawFd,
        digest: Option<&Digest>,
        ctx: &mut Context,
    ) -> Result<()> {
        pass::connected(ctx, reused, digest);
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        pass::request(&self.edge, session, request, ctx)
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<()> {
        pass::request_body(body.as_ref(), ctx)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        pass::response(&self.edge, session, response, ctx).await
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<Option<Duration>> {
        ctx.outcome.delivered.body += body.as_ref().map_or(0, |body| body.len() as u64);
        Ok(None)
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Context,
        error: Box<Error>,
    ) -> Box<Error> {
        pass::failed(session, ctx, error, false)
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Context,
        reused: bool,
    ) -> Box<Error> {
        pass::failed(session, ctx, error, reused)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Context,
    ) -> FailToProxy {
        let reply = pass::final_reply(&self.edge, ctx, error);
        let silent = session.response_written().is_some() || client_is_gone(error);
        if !silent {
            // Nothing more can be done for a client that does not take the answer.
            let _ = respond::send(session, ctx, reply).await;
        }
        FailToProxy {
            error_code: ctx.outcome.delivered.status,
            can_reuse_downstream: false,
        }
    }

    fn suppress_error_log(&self, _session: &Session, _ctx: &Context, _error: &Error) -> bool {
        // The access log has it, with more about it.
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &Context,
        _error: &Error,
        _log: pingora_proxy::ProxyWarnLogContext,
    ) -> bool {
        true
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Context) {
        record::record(&self.edge, session, error, ctx);
    }
}

fn client_is_gone(error: &Error) -> bool {
    error.esource() == &ErrorSource::Downstream
        && matches!(
            error.etype(),
            ErrorType::ReadError
                | ErrorType::WriteError
                | ErrorType::ConnectionClosed
                | ErrorType::WriteTimedout
        )
}
