//! What a fill is told by the request that causes it, and what it tells that request.

use std::{sync::Arc, time::Instant};

use anypop_cache::{conditional, time::Timestamp, vary::Normalise};
use anypop_config::Site;
use anypop_origin::{FetchError, Informational, Request, Response};
use anypop_store::Object;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use pingora_http::RequestHeader;
use tokio::sync::{mpsc, oneshot};

use super::{
    cached::Query,
    context::{Context, OriginOutcome},
    outbound::{self, Outbound},
    parts::{self, Parts},
};
use crate::edge::Edge;

/// All that a fill needs to know of the request that caused it.
pub(super) struct Job {
    pub(super) site: Arc<Site>,
    /// The client's own fields: they select the variant and decide about sharing.
    pub(super) client_headers: HeaderMap,
    pub(super) normalise: Normalise,
    pub(super) path: String,
    pub(super) request: Request,
    pub(super) stale: Option<Arc<Object>>,
    /// Whether a part is asked for.
    pub(super) part: bool,
    /// Parts that are stored already: only what is missing is asked for.
    pub(super) parts: Option<Parts>,
    pub(super) started: Instant,
}

impl Job {
    pub(super) fn new(
        edge: &Edge,
        client: &RequestHeader,
        ctx: &Context,
        site: &Arc<Site>,
        query: &Query,
        stale: Option<Arc<Object>>,
    ) -> Self {
        let settings = site.settings(client.uri.path(), &client.method, None);
        let mut headers = client.headers.clone();
        headers.remove(header::HOST);
        conditional::strip_conditions(&mut headers);
        let part = parts::to_fetch(&client.headers).is_some() && stale.is_none();
        if !part {
            headers.remove(header::RANGE);
        }
        let outbound = Outbound {
            accept_encoding: query.normalise.accept_encoding.clone(),
            strip_cookies: settings.strip_cookies,
            upgrade: false,
        };
        outbound::prepare(
            &mut headers,
            ctx,
            site,
            &edge.identity,
            client.version,
            &outbound,
        );
        let arrived = ctx.arrived.as_ref();
        let authority = arrived.map_or("", |arrived| &arrived.authority);
        Self {
            site: site.clone(),
            client_headers: client.headers.clone(),
            normalise: query.normalise.clone(),
            path: client.uri.path().to_owned(),
            request: Request {
                method: Method::GET,
                authority: HeaderValue::from_str(authority)
                    .unwrap_or_else(|_| HeaderValue::from_static("")),
                path_and_query: Bytes::from(query.target.clone()),
                headers,
                client: arrived.map(super::context::Arrived::address),
                informational: None,
            },
            stale,
            part,
            parts: None,
            started: ctx.started,
        }
    }

    /// Asks for what is missing of `parts` only, if that is one range, and puts the whole together.
    pub(super) fn completing(mut self, parts: Option<Parts>) -> Self {
        let headers = &mut self.request.headers;
        if let Some(parts) = parts
            && !self.part
            && let Some(gap) = parts.gap()
            && conditional::set_completion(headers, parts.validators(), gap, parts.complete())
        {
            self.parts = Some(parts);
        }
        self
    }
}

/// A fill that has begun, as the request that caused it sees it.
pub(super) struct Begun {
    /// 1xx responses on the way.
    pub(super) hints: mpsc::Receiver<Informational>,
    /// What came of it; closed without a word if the fill's task died.
    pub(super) answer: oneshot::Receiver<Answer>,
}

/// What a fill brings the request that caused it.
pub(super) enum Answer {
    /// A response that is stored, or being stored.
    Stored(Arc<Object>, OriginOutcome),
    /// The stored response, validated.
    Refreshed(Arc<Object>, OriginOutcome),
    /// A response for this request alone.
    Private(Box<PrivateResponse>),
    /// The origin's own error, while a stale response might stand in.
    OriginError(Box<PrivateResponse>),
    /// None.
    Failed(FetchError),
}

/// A response that is not stored.
pub(super) struct PrivateResponse {
    /// As it came.
    pub(super) response: Response,
    /// When its header came.
    pub(super) received: Timestamp,
    /// Why it is not stored.
    pub(super) why: String,
    /// For the log.
    pub(super) origin: OriginOutcome,
}
