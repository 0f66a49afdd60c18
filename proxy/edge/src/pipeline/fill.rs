//! A fill: one fetch from the origin into the store. It is a task of its own, so no client holds
//! it up by being slow, or ends it by leaving.

use std::sync::Arc;

use anypop_cache::{
    conditional,
    control::Control,
    fields, freshness,
    meta::{Receipt, Refreshed, StoredMeta},
    policy::Policy,
    range::ContentRange,
    status,
    storability::{self, Exchange, Storability},
    tags::{self, Tags},
    time::Timestamp,
    update,
    validators::Validators,
};
use anypop_config::value::ByteSize;
use anypop_origin::{FetchError, Pool, Response};
use anypop_store::{AbortReason, BodyWriter, FillPermit, Object};
use http::{Method, StatusCode, header};
use tokio::sync::{mpsc, oneshot};

use super::{
    cached::now,
    context::OriginOutcome,
    job::{Answer, Begun, Job, PrivateResponse},
    parts::{self, Parts},
    record, rules,
};
use crate::{
    edge::{Edge, Raised},
    observe::{
        labels::{Direction, FillEvent, FillFailure},
        metrics::SiteMetrics,
    },
};

/// The reason of a failed fill whose origin did answer, with an error of its own.
pub(super) const ORIGIN_SAID_SO: &str = "origin_error_response";
/// Hints that may wait for their client.
const HINTS: usize = 4;

/// Begins a fill on a task of its own.
pub(super) fn begin(edge: &Arc<Edge>, mut job: Job, permit: FillPermit) -> Begun {
    let (hint, hints) = mpsc::channel(HINTS);
    let (to, answer) = oneshot::channel();
    job.request.informational = Some(hint);
    let fill = Fill {
        edge: edge.clone(),
        job,
        to: Some(to),
    };
    edge.metrics.fills.inc(FillEvent::Started);
    edge.tasks.spawn(fill.run(permit));
    Begun { hints, answer }
}

struct Fill {
    edge: Arc<Edge>,
    job: Job,
    to: Option<oneshot::Sender<Answer>>,
}

/// What one exchange with the origin came to.
struct Fetched {
    response: Response,
    requested: Timestamp,
    received: Timestamp,
}

impl Fill {
    async fn run(mut self, permit: FillPermit) {
        let edge = self.edge.clone();
        let _open = Raised::new(&edge.metrics.fills_open);
        let Some(pool) = self.edge.pools.site(self.job.site.id.as_str()) else {
            // The site went away with a reload while this request was on its way.
            permit.fail(StatusCode::SERVICE_UNAVAILABLE, "destination_unavailable");
            return;
        };
        let stale = self.job.stale.clone();
        let validating = stale.as_ref().is_some_and(|stale| {
            conditional::set_validation(&mut self.job.request.headers, [stale.headers()])
        });
        let fetched = match self.fetch(&pool).await {
            Ok(fetched) => fetched,
            Err(error) => return self.fail(permit, error),
        };
        if self.missed_the_gap(&fetched) {
            // It is another version than that of the parts, or an origin that does not do ranges.
            drop(fetched);
            self.job.parts = None;
            conditional::strip_conditions(&mut self.job.request.headers);
            self.job.request.headers.remove(header::RANGE);
            return match self.fetch(&pool).await {
                Ok(fetched) => self.take(permit, fetched).await,
                Err(error) => self.fail(permit, error),
            };
        }
        if fetched.response.status != StatusCode::NOT_MODIFIED || !validating {
            return self.take(permit, fetched).await;
        }
        // The connection is free for others again while the store is told.
        let Some(stale) = stale else {
            return self.take(permit, fetched).await;
        };
        let permit = match self.refresh(permit, &stale, &fetched) {
            None => return,
            Some(permit) => permit,
        };
        // The 304 was about something else, or what it confirmed has been purged: ask again.
        conditional::strip_conditions(&mut self.job.request.headers);
        match self.fetch(&pool).await {
            Ok(fetched) => self.take(permit, fetched).await,
            Err(error) => self.fail(permit, error),
        }
    }

    /// Whether only what is missing was asked for, and something else came that is no answer to
    /// the client's own request.
    fn missed_the_gap(&self, fetched: &Fetched) -> bool {
        let Fetched {
            response, received, ..
        } = fetched;
        let asked = matches!(
            response.status,
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE
        );
        let new = Validators::of(&response.headers, *received);
        asked
            && self.job.parts.as_ref().is_some_and(|parts| {
                !parts.are_completed_by(response.status, &response.headers, &new)
            })
    }

    async fn fetch(&self, pool: &Arc<Pool>) -> Result<Fetched, FetchError> {
        let requested = now();
        let fetched = self.edge.origin.fetch(pool, &self.job.request).await;
        let received = now();
        match fetched {
            Ok(response) => Ok(Fetched {
                response,
                requested,
                received,
            }),
            Err(error) => {
                self.metrics().origin(record::result(error.kind));
                Err(error)
            }
        }
    }

    /// A 304 for what is stored. Gives the permit back where it does not apply.
    fn refresh(
        &mut self,
        permit: FillPermit,
        stale: &Arc<Object>,
        fetched: &Fetched,
    ) -> Option<FillPermit> {
        let new = Validators::of(&fetched.response.headers, fetched.received);
        if update::select([&stale.meta().validators], &new).is_none() {
            return Some(permit);
        }
        self.count_exchange(&fetched.response);
        let origin = self.origin_outcome(&fetched.response);
        let policy = self.policy(stale.status());
        let mut headers = stale.headers().clone();
        let receipt = self.receipt(&permit, fetched);
        let limits = tags::Limits::default();
        let Refreshed { meta, verdict } =
            stale
                .meta()
                .refresh(&mut headers, &receipt, &limits, &policy);
        if let Storability::NotStorable(why) = verdict
            && !why.is_about_request()
        {
            // The origin has changed its mind about sharing it. It is still this request's answer,
            // fetched anew so that it is nobody else's.
            self.edge.store.remove(stale);
            return Some(permit);
        }
        match permit.refresh(stale, &headers, meta) {
            Ok(object) => {
                self.edge.metrics.fills.inc(FillEvent::Renewed);
                self.tell(Answer::Refreshed(object, origin));
                None
            }
            Err(refused) => Some(refused.0),
        }
    }

    /// A full response: stored if it may be, else for its requester alone.
    async fn take(mut self, permit: FillPermit, fetched: Fetched) {
        let response = &fetched.response;
        if status::is_origin_error(response.status) && self.job.stale.is_some() {
            // Requests that hold a stale response decide whether it stands in.
            self.count_failure(FillFailure::Other);
            let status = response.status;
            let private = self.private(fetched, "origin-error".to_owned());
            self.tell(Answer::OriginError(private));
            permit.fail(status, ORIGIN_SAID_SO);
            return;
        }
        let parts = self.job.parts.take().filter(|parts| {
            let new = Validators::of(&response.headers, fetched.received);
            parts.are_completed_by(response.status, &response.headers, &new)
        });
        let policy = self.policy(response.status);
        let control = Control::read(&response.headers, &policy.targets, fetched.received);
        let lifetime = freshness::lifetime(response.status, &control, &policy);
        let exchange = Exchange {
            method: &Method::GET,
            request: &self.job.client_headers,
            status: response.status,
            response: &response.headers,
            control: &control,
            lifetime: &lifetime,
        };
        let why = match storability::decide(&exchange, &policy) {
            Storability::Storable if parts.is_none() && !self.fits(&fetched.response) => {
                "misplaced-part".to_owned()
            }
            Storability::Storable if self.too_large(&fetched.response) => "too-large".to_owned(),
            Storability::Storable => match self.meta(&permit, &fetched, &control, &policy) {
                Some(meta) => {
                    return self
                        .store(permit, fetched, meta, &control, &policy, parts)
                        .await;
                }
                None => "unusable-header".to_owned(),
            },
            Storability::NotStorable(reason) => reason.to_string(),
        };
        self.edge.metrics.fills.inc(FillEvent::Uncacheable);
        let private = self.private(fetched, why);
        self.tell(Answer::Private(private));
        permit.uncacheable(self.job.site.cache.hit_for_pass);
    }

    /// Whether a part was asked for, if it is one, and its content is as long as it says.
    fn fits(&self, response: &Response) -> bool {
        if response.status != StatusCode::PARTIAL_CONTENT {
            return true;
        }
        let length = response.body.expected();
        self.job.part
            && ContentRange::part(&response.headers)
                .is_some_and(|(range, _)| length.is_none_or(|length| length == range.len()))
    }

    /// Whether the response says that it is larger than what the site stores.
    fn too_large(&self, response: &Response) -> bool {
        let limit = self.job.site.cache.max_object.map(ByteSize::bytes);
        let declared = response.body.expected();
        limit.is_some_and(|limit| declared.is_some_and(|declared| declared > limit))
    }

    fn meta(
        &self,
        permit: &FillPermit,
        fetched: &Fetched,
        control: &Control,
        policy: &Policy,
    ) -> Option<StoredMeta> {
        let receipt = self.receipt(permit, fetched);
        let tags = Tags::of(&fetched.response.headers, &tags::Limits::default());
        if tags.refused > 0 {
            tracing::warn!(
                site = %self.job.site.id,
                path = self.job.path,
                refused = tags.refused,
                "the response has tags that cannot be kept; it is not stored, or a purge could miss it",
            );
            return None;
        }
        StoredMeta::new(&receipt, control, &tags, policy)
    }

    fn receipt<'a>(&'a self, permit: &FillPermit, fetched: &'a Fetched) -> Receipt<'a> {
        Receipt {
            site: self.job.site.id.as_str(),
            request: &self.job.client_headers,
            normalise: &self.job.normalise,
            status: fetched.response.status,
            response: &fetched.response.headers,
            requested: fetched.requested,
            received: fetched.received,
            purge_seq: permit.began().0,
        }
    }

    async fn store(
        &mut self,
        permit: FillPermit,
        fetched: Fetched,
        meta: StoredMeta,
        control: &Control,
        policy: &Policy,
        parts: Option<Parts>,
    ) {
        self.count_exchange(&fetched.response);
        let origin = self.origin_outcome(&fetched.response);
        let Fetched {
            response, received, ..
        } = fetched;
        let mut headers = response.headers;
        fields::prepare_for_storage(&mut headers, control, policy, received);
        let length = meta.length.known();
        let mut body = response.body;
        let stored = match &parts {
            Some(parts) => parts::whole(headers, meta, parts.complete()),
            None => anypop_store::Response {
                status: response.status,
                headers,
                meta,
                length,
            },
        };
        let mut writer = permit.store(stored);
        if let Some(limit) = self.job.site.cache.max_object {
            writer.limit(limit.bytes());
        }
        self.make_room_for_variants(writer.object());
        self.tell(Answer::Stored(writer.object().clone(), origin));
        let metrics = self.metrics();
        let gap = parts.as_ref().and_then(Parts::gap);
        if let (Some(parts), Some(gap)) = (&parts, gap)
            && let Err(error) = parts.write(&mut writer, 0, gap.first()).await
        {
            return self.parts_lost(writer, &error);
        }
        loop {
            match body.next().await {
                Ok(Some(bytes)) => {
                    metrics.bytes(Direction::OriginIn, bytes.len() as u64);
                    if let Err(error) = writer.write(bytes).await {
                        tracing::debug!(site = %self.job.site.id, path = self.job.path, %error, "a fill ended early");
                        self.count_failure(FillFailure::Store);
                        return;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(site = %self.job.site.id, path = self.job.path, %error, "a fill broke off");
                    self.count_failure(record::fill_failure(error.kind));
                    writer.abort(AbortReason::Fill(Arc::from(error.kind.token())));
                    return;
                }
            }
        }
        if let (Some(parts), Some(gap)) = (&parts, gap)
            && let Err(error) = parts.write(&mut writer, gap.end(), parts.complete()).await
        {
            return self.parts_lost(writer, &error);
        }
        match writer.finish(body.take_trailers()) {
            Ok(object) => {
                self.edge.metrics.fills.inc(FillEvent::Stored);
                parts::combine(&self.edge.store, &object).await;
            }
            Err(error) => {
                tracing::warn!(site = %self.job.site.id, path = self.job.path, %error, "a fill was not whole");
                self.count_failure(FillFailure::Truncated);
            }
        }
    }

    fn parts_lost(&self, writer: BodyWriter, error: &str) {
        tracing::debug!(site = %self.job.site.id, path = self.job.path, error, "parts were lost");
        self.count_failure(FillFailure::Store);
        writer.abort(AbortReason::from(error));
    }

    /// Keeps to the site's number of variants: the oldest go.
    fn make_room_for_variants(&self, newest: &Arc<Object>) {
        let limit = self.job.site.cache.vary_limit as usize;
        for surplus in self
            .edge
            .store
            .variants(newest.key())
            .into_iter()
            .skip(limit)
        {
            self.edge.store.remove(&surplus.object);
        }
    }

    fn fail(mut self, permit: FillPermit, error: FetchError) {
        self.count_failure(record::fill_failure(error.kind));
        let (status, reason) = (error.status(), error.kind.token());
        self.tell(Answer::Failed(error));
        permit.fail(status, reason);
    }

    /// Tells the request that caused the fill, if it is still there: a refresh in the background
    /// has nobody who waits.
    fn tell(&mut self, answer: Answer) {
        if let Some(to) = self.to.take() {
            let _ = to.send(answer);
        }
    }

    fn private(&self, fetched: Fetched, why: String) -> Box<PrivateResponse> {
        let Fetched {
            response, received, ..
        } = fetched;
        let origin = self.origin_outcome(&response);
        Box::new(PrivateResponse {
            response,
            received,
            why,
            origin,
        })
    }

    fn origin_outcome(&self, response: &Response) -> OriginOutcome {
        OriginOutcome {
            server: Some(response.server.clone()),
            address: response.address,
            status: response.status.as_u16(),
            started: self.job.started.elapsed(),
            connect: Some(response.timings.connect),
            tls: response
                .server
                .starts_with("https")
                .then_some(response.timings.tls),
            first_byte: Some(response.timings.first_byte),
            retries: response.retries,
            reused: response.reused,
            ..OriginOutcome::default()
        }
    }

    /// Counts an exchange, unless the record of the request that caused it tells of it.
    fn count_exchange(&self, response: &Response) {
        if self.to.as_ref().is_some_and(|to| !to.is_closed()) {
            return;
        }
        let metrics = self.metrics();
        metrics.origin(record::result_of_status(response.status.as_u16()));
        metrics.retries(u64::from(response.retries));
    }

    fn metrics(&self) -> Arc<SiteMetrics> {
        self.edge.metrics.site(self.job.site.id.as_str())
    }

    fn policy(&self, status: StatusCode) -> Policy {
        rules::response_policy(&self.job.site, &self.job.path, &Method::GET, status)
    }

    fn count_failure(&self, failure: FillFailure) {
        self.edge.metrics.fills.inc(FillEvent::Failed);
        self.edge.metrics.fill_failures.inc(failure);
    }
}
