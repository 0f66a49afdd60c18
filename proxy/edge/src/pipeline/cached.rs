//! The cache's decisions: is something stored that may answer, must it be validated, who fetches.

use std::{ops::ControlFlow, sync::Arc, time::SystemTime};

use anypop_cache::{
    cache_status::{CacheStatus, Forward},
    cookies,
    directives::RequestDirectives,
    encoding::AcceptEncoding,
    freshness::{Because, Freshness},
    key::{CacheKey, ExtraKind, Scheme},
    range::Limits,
    time::Timestamp,
    vary::{Normalise, VaryKey},
};
use anypop_config::Site;
use anypop_store::{FillError, FillOutcome, Found, Join, Lookup, Missed, Object};
use http::{HeaderMap, Method, StatusCode, header};
use pingora_error::Result;
use pingora_http::RequestHeader;
use pingora_proxy::Session;

use super::{
    context::{Arrived, Context, PassReason},
    deliver,
    explain::Asked,
    fill, inbound,
    job::{Answer, Begun, Job, PrivateResponse},
    parts::{self, Parts},
    private,
    respond::{self, Failure, Reply},
    rules,
};
use crate::{
    edge::{Edge, Raised},
    observe::labels::CacheResult,
};

/// Where a request goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// Nowhere: it is answered.
    Done,
    /// Past the cache.
    Pass(PassReason),
}

/// How often a request looks again after a fill that was not for it.
const LOOKS: usize = 4;

/// What of a request selects and judges stored responses.
pub(super) struct Query {
    pub(super) key: CacheKey,
    pub(super) directives: RequestDirectives,
    pub(super) normalise: Normalise,
    pub(super) method: Method,
    /// Path and query for the origin: what went into the key, so that no two requests to the
    /// origin share one.
    pub(super) target: String,
}

impl Query {
    /// Reads a request for `site`.
    pub(super) fn of(request: &RequestHeader, arrived: &Arrived, site: &Site) -> Self {
        let asked = Asked {
            tls: arrived.client.tls.is_some(),
            authority: &arrived.authority,
            path: request.uri.path(),
            query: request.uri.query(),
            headers: &request.headers,
        };
        Self::for_target(site, &asked, &request.method)
    }

    /// The same for a request that need not exist.
    pub(super) fn for_target(site: &Site, asked: &Asked<'_>, method: &Method) -> Self {
        let Asked {
            tls,
            authority,
            path,
            query,
            headers,
        } = *asked;
        let settings = site.settings(path, method, None);
        let query_rules = rules::query(settings.query);
        let query = query_rules.apply(query);
        let scheme = if tls { Scheme::Https } else { Scheme::Http };
        let mut key =
            CacheKey::builder(site.id.as_str(), scheme, authority).target(path, query.as_deref());
        for name in settings.key_headers {
            let value = anypop_cache::fields::combined(headers, name);
            let value = value.as_ref().map(http::HeaderValue::as_bytes);
            key = key.extra(ExtraKind::Header, name.as_str().as_bytes(), value);
        }
        for name in settings.key_cookies {
            let value = cookies::value(headers, name.as_str());
            key = key.extra(
                ExtraKind::Cookie,
                name.as_str().as_bytes(),
                value.as_deref(),
            );
        }
        let codings: Vec<_> = rules::codings(site).collect();
        Self {
            key: key.build(),
            directives: if site.cache.client_directives {
                RequestDirectives::parse(headers)
            } else {
                RequestDirectives::default()
            },
            method: method.clone(),
            normalise: Normalise {
                accept_encoding: Some(AcceptEncoding::normalise(headers, &codings)),
                ..Normalise::default()
            },
            target: match query {
                Some(query) => format!("{path}?{query}"),
                None => path.to_owned(),
            },
        }
    }

    /// Whether `object` is a response to this request's variant.
    pub(super) fn selects(&self, object: &Object, headers: &HeaderMap) -> bool {
        let meta = object.meta();
        let has_the_bytes = meta.partial.as_ref().is_none_or(|partial| {
            let limits = Limits::default();
            partial
                .select(&self.method, headers, &meta.validators, &limits, now())
                .is_some()
        });
        meta.matches(headers, &self.normalise) && has_the_bytes
    }

    /// Whether what was found may answer.
    pub(super) fn judge(&self, found: &Found, now: Timestamp) -> Freshness {
        found
            .object
            .meta()
            .clock
            .evaluate(&self.directives, now, found.purged)
    }
}

/// The time, for the cache's arithmetic.
pub(crate) fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

/// One request at the cache.
struct Serving<'a> {
    edge: &'a Arc<Edge>,
    session: &'a mut Session,
    ctx: &'a mut Context,
    site: &'a Arc<Site>,
    query: Query,
    /// How it was told to go forward, as `Cache-Status` says it.
    forward: Forward,
    collapsed: bool,
}

/// Serves a GET or HEAD without a body from the cache, filling it where needed.
///
/// # Errors
/// When the client is gone, or the response broke off on its way.
pub(super) async fn serve(
    edge: &Arc<Edge>,
    session: &mut Session,
    ctx: &mut Context,
    site: &Arc<Site>,
) -> Result<Flow> {
    let Some(arrived) = &ctx.arrived else {
        return Ok(Flow::Pass(PassReason::Bypass));
    };
    let query = Query::of(session.req_header(), arrived, site);
    ctx.key = Some(query.key.clone());
    let mut serving = Serving {
        edge,
        session,
        ctx,
        site,
        query,
        forward: Forward::UriMiss,
        collapsed: false,
    };
    for _ in 0..LOOKS {
        if let ControlFlow::Break(flow) = serving.look().await? {
            return Ok(flow);
        }
    }
    Ok(Flow::Pass(PassReason::Alone(serving.forward)))
}

type Step = Result<ControlFlow<Flow>>;

impl Serving<'_> {
    /// Looks once, and does what follows. `Continue` means: look again.
    async fn look(&mut self) -> Step {
        let headers = &self.session.req_header().headers;
        let query = &self.query;
        let lookup = self
            .edge
            .store
            .find(&query.key, |object| query.selects(object, headers))
            .await;
        match lookup {
            Lookup::Found(found) => self.found(found).await,
            Lookup::Missed(missed) => {
                self.forward = if missed.others.is_empty() {
                    Forward::UriMiss
                } else if self.parts(&missed).is_some() {
                    Forward::Partial
                } else {
                    Forward::VaryMiss
                };
                self.fetch(None, Some(&missed)).await
            }
        }
    }

    async fn found(&mut self, found: Found) -> Step {
        let now = now();
        match self.query.judge(&found, now) {
            Freshness::Fresh { .. } => self.deliver(&found.object, Served::Hit).await,
            Freshness::StaleServable { .. } => self.deliver(&found.object, Served::Stale).await,
            Freshness::StaleWhileRevalidate { .. } => {
                self.refresh(&found);
                self.deliver(&found.object, Served::Updating).await
            }
            Freshness::MustRevalidate { because } => {
                self.forward = match because {
                    Because::Stale | Because::NoCache => Forward::Stale,
                    Because::Request => Forward::Request,
                };
                self.fetch(Some(found), None).await
            }
        }
    }

    /// Renews a stale object in the background, unless somebody does already.
    fn refresh(&mut self, found: &Found) {
        let hint = found.object.meta().vary_key.clone();
        let stale = found.object.clone();
        let join = self
            .edge
            .store
            .join_or_begin(&self.query.key, Some(&hint), |newer| {
                !Arc::ptr_eq(&newer.object, &stale) && newer.object.supersedes(&stale)
            });
        if let Join::Begin(permit) = join {
            let job = self.job(Some(stale));
            drop(fill::begin(self.edge, job, permit));
        }
    }

    /// Gets the response from the origin: by a fill of its own, or by another's.
    async fn fetch(&mut self, stale: Option<Found>, missed: Option<&Missed>) -> Step {
        if self.query.directives.only_if_cached {
            // RFC 9111, section 5.2.1.7.
            let reply = Reply::status(StatusCode::GATEWAY_TIMEOUT);
            respond::send(self.session, self.ctx, reply).await?;
            return Ok(ControlFlow::Break(Flow::Done));
        }
        let request = self.session.req_header();
        if request.method == Method::HEAD {
            return Ok(ControlFlow::Break(Flow::Pass(PassReason::Head(
                self.forward,
            ))));
        }
        if missed.is_some_and(|missed| missed.pass) && wants_a_part(&request.headers) {
            // Known to be uncacheable: the origin itself may answer range and condition.
            return Ok(ControlFlow::Break(Flow::Pass(PassReason::Uncacheable)));
        }
        match self.join(stale.as_ref(), missed) {
            Join::Ready(found) => self.deliver(&found.object, Served::Hit).await,
            Join::Begin(permit) => {
                let job = self
                    .job(stale.as_ref().map(|found| found.object.clone()))
                    .completing(missed.and_then(|missed| self.parts(missed)));
                let begun = fill::begin(self.edge, job, permit);
                self.own(begun, stale).await
            }
            Join::Wait(watch) => {
                self.collapsed = true;
                let edge = self.edge.clone();
                let _waiting = Raised::new(&edge.metrics.waiters);
                let outcome = watch.outcome().await;
                self.others(outcome, stale).await
            }
        }
    }

    /// Parts of what this request wants.
    fn parts(&self, missed: &Missed) -> Option<Parts> {
        let headers = &self.session.req_header().headers;
        Parts::among(&missed.others, |meta| {
            meta.matches(headers, &self.query.normalise)
        })
    }

    fn join(&self, stale: Option<&Found>, missed: Option<&Missed>) -> Join {
        let store = &self.edge.store;
        let headers = &self.session.req_header().headers;
        let alone = !self.site.cache.collapse
            || parts::to_fetch(headers).is_some()
            || headers.contains_key(header::AUTHORIZATION)
            || self.query.directives.no_store;
        if alone {
            return Join::Begin(store.begin(&self.query.key));
        }
        // Where variants are stored, their Vary tells who may wait for whom.
        let hint = match (stale, missed) {
            (Some(found), _) => Some(found.object.meta().vary_key.clone()),
            (None, Some(missed)) => missed.others.first().map(|found| {
                VaryKey::new(&found.object.meta().vary, headers, &self.query.normalise)
            }),
            (None, None) => None,
        };
        let known = stale.map(|found| found.object.clone());
        let now = now();
        store.join_or_begin(&self.query.key, hint.as_ref(), |found| {
            !known
                .as_ref()
                .is_some_and(|known| Arc::ptr_eq(known, &found.object))
                && self.query.selects(&found.object, headers)
                && matches!(self.query.judge(found, now), Freshness::Fresh { .. })
        })
    }

    /// The request's own fill: whatever comes of it is the answer.
    async fn own(&mut self, begun: Begun, stale: Option<Found>) -> Step {
        match private::await_answer(self.session, begun).await? {
            Some(Answer::Stored(object, origin)) => {
                self.ctx.outcome.origin = Some(origin);
                return self.deliver(&object, Served::Filled).await;
            }
            Some(Answer::Refreshed(object, origin)) => {
                self.ctx.outcome.origin = Some(origin);
                return self.deliver(&object, Served::Revalidated).await;
            }
            Some(Answer::Private(response)) => self.send_private(*response).await?,
            Some(Answer::OriginError(response)) => {
                if !self.stale_on_error(stale.as_ref()).await? {
                    self.send_private(*response).await?;
                }
            }
            Some(Answer::Failed(error)) => {
                let failure = Failure::of(&error, self.edge.name());
                return self.failed(failure, error.status(), stale).await;
            }
            None => return Ok(ControlFlow::Continue(())),
        }
        Ok(ControlFlow::Break(Flow::Done))
    }

    async fn send_private(&mut self, response: PrivateResponse) -> Result<()> {
        let status = self.forward_status();
        private::send(
            self.edge,
            self.session,
            self.ctx,
            self.site,
            response,
            status,
        )
        .await
    }

    /// Another's fill: it answers this request too, or it does not.
    async fn others(&mut self, outcome: FillOutcome, stale: Option<Found>) -> Step {
        match outcome {
            FillOutcome::Stored(object) | FillOutcome::Refreshed(object) => {
                let headers = &self.session.req_header().headers;
                if !self.query.selects(&object, headers) {
                    return Ok(ControlFlow::Continue(()));
                }
                if object.meta().clock.lifetime.no_cache {
                    // RFC 9111, section 5.2.2.4: for no other request without validation.
                    return self.alone();
                }
                self.deliver(&object, Served::Filled).await
            }
            FillOutcome::Uncacheable => Ok(ControlFlow::Break(Flow::Pass(PassReason::Uncacheable))),
            FillOutcome::Failed(FillError::Origin { status, reason }) => {
                if &*reason != fill::ORIGIN_SAID_SO {
                    let failure = Failure::shared(&reason, self.edge.name());
                    return self.failed(failure, status, stale).await;
                }
                if self.stale_on_error(stale.as_ref()).await? {
                    return Ok(ControlFlow::Break(Flow::Done));
                }
                self.alone()
            }
            FillOutcome::Failed(FillError::Dropped | FillError::Purged) => {
                Ok(ControlFlow::Continue(()))
            }
        }
    }

    /// Past the cache: what is stored, or being stored, is not for this request.
    fn alone(&self) -> Step {
        Ok(ControlFlow::Break(Flow::Pass(PassReason::Alone(
            self.forward,
        ))))
    }

    /// The origin gave no response: what is stale may stand in (RFC 5861), else an error.
    async fn failed(&mut self, failure: Failure, status: StatusCode, stale: Option<Found>) -> Step {
        self.ctx.outcome.failure = Some(failure.clone());
        if !self.stale_on_error(stale.as_ref()).await? {
            let reply = Reply {
                failure: Some(failure),
                ..Reply::status(status)
            };
            respond::send(self.session, self.ctx, reply).await?;
        }
        Ok(ControlFlow::Break(Flow::Done))
    }

    /// Serves what is stale if it may be when the origin fails; says whether it did.
    async fn stale_on_error(&mut self, stale: Option<&Found>) -> Result<bool> {
        let Some(found) = stale else { return Ok(false) };
        let now = now();
        let clock = &found.object.meta().clock;
        if !clock.may_serve_on_error(&self.query.directives, now, found.purged) {
            return Ok(false);
        }
        let step = self.deliver(&found.object, Served::StaleOnError).await?;
        Ok(step == ControlFlow::Break(Flow::Done))
    }

    fn forward_status(&self) -> CacheStatus<'static> {
        CacheStatus::forward(self.forward).collapsed(self.collapsed)
    }

    /// Whether the object is in the store: a body that is too large for it only passes through.
    fn is_kept(&self, object: &Arc<Object>) -> bool {
        let length = object.body().length();
        length.is_none_or(|length| self.edge.store.keeps(object.key(), length))
    }

    /// Sends a stored response. A body too large for the store may have passed by already: then
    /// the request gets one of its own.
    async fn deliver(&mut self, object: &Arc<Object>, served: Served) -> Step {
        let now = now();
        let clock = &object.meta().clock;
        let ttl = clock.ttl_seconds(now);
        let status = match served {
            Served::Hit | Served::Stale | Served::Updating => CacheStatus::hit(),
            Served::Filled => self.forward_status().stored(self.is_kept(object)),
            Served::Revalidated => self
                .forward_status()
                .forward_status(StatusCode::NOT_MODIFIED)
                .stored(true),
            Served::StaleOnError => CacheStatus::hit().detail("stale-if-error"),
        };
        let mut headers = object.headers().clone();
        headers.insert(header::AGE, clock.age_field(now).into());
        inbound::prepare_cached(
            &mut headers,
            self.edge,
            self.ctx,
            self.session,
            self.site,
            object,
        );
        inbound::cache_status(
            &mut headers,
            self.edge,
            self.ctx,
            self.session,
            status.ttl(ttl),
        );
        let outcome = &mut self.ctx.outcome;
        outcome.cache = Some(match served {
            Served::Hit => CacheResult::Hit,
            Served::Stale | Served::StaleOnError => CacheResult::Stale,
            Served::Updating => CacheResult::Updating,
            Served::Filled => CacheResult::Miss,
            Served::Revalidated => CacheResult::Revalidated,
        });
        outcome.age = Some(clock.age(now));
        outcome.ttl = Some(ttl);
        outcome.collapsed = self.collapsed;
        let delivered = &mut self.ctx.outcome.delivered;
        if deliver::stored(self.session, object, headers, now, delivered).await? {
            Ok(ControlFlow::Break(Flow::Done))
        } else {
            self.alone()
        }
    }

    /// A fill for this request.
    fn job(&self, stale: Option<Arc<Object>>) -> Job {
        Job::new(
            self.edge,
            self.session.req_header(),
            self.ctx,
            self.site,
            &self.query,
            stale,
        )
    }
}

/// How a stored object came to answer.
#[derive(Clone, Copy)]
enum Served {
    Hit,
    /// Stale, and the client takes that.
    Stale,
    /// Stale, while it is refreshed.
    Updating,
    /// Fetched for this request, or for one that it joined.
    Filled,
    /// Validated for this request, or for one that it joined.
    Revalidated,
    /// Stale, because the origin failed.
    StaleOnError,
}

/// Whether the request asks for less than the whole.
fn wants_a_part(headers: &HeaderMap) -> bool {
    headers.contains_key(header::RANGE) || anypop_cache::conditional::is_conditional(headers)
}
