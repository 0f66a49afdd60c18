//! How long a response is fresh, how old it is, and whether it may answer a request (RFC 9111 §4.2,
//! RFC 5861).

use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::control::{Control, Expires, Origin};
use crate::directives::{MAX_DELTA, MaxStale, RequestDirectives};
use crate::policy::Policy;
use crate::status;
use crate::time::Timestamp;

/// Where a lifetime came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Nobody gave one: stale at once.
    None,
    /// The site's rule, over the origin.
    Rule,
    /// A targeted field (RFC 9213).
    Targeted,
    /// `s-maxage`.
    SMaxage,
    /// `max-age`.
    MaxAge,
    /// `Expires` minus `Date`.
    Expires,
    /// The site's lifetime for this status, the origin having said nothing.
    StatusDefault,
    /// The site's default, the origin having said nothing.
    Default,
    /// A part of the time since `Last-Modified` (RFC 9111 §4.2.2).
    Heuristic,
}

/// How long a response may be used, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifetime {
    /// Fresh while it is younger than this.
    pub fresh_for: Duration,
    /// Where that came from.
    pub source: Source,
    /// May be served while it is validated, this long past its freshness; zero where the origin
    /// forbids it.
    pub stale_while_revalidate: Duration,
    /// May be served when the origin fails, this long past its freshness; zero where the origin
    /// forbids it.
    pub stale_if_error: Duration,
    /// No client may ask for it stale: `must-revalidate`, `proxy-revalidate`, and `s-maxage`, which
    /// implies it (RFC 9111 §5.2.2.10).
    pub must_revalidate: bool,
    /// Must be validated at every use (`no-cache`).
    pub no_cache: bool,
}

/// The lifetime of a response under a policy (RFC 9111 §4.2.1).
///
/// `s-maxage` implies `proxy-revalidate`; where the same field grants `stale-while-revalidate` or
/// `stale-if-error` in so many words, that grant counts (and only it: the site's defaults do not),
/// because the origin cannot have meant it to do nothing. An explicit `must-revalidate` or
/// `proxy-revalidate` overrules every grant.
#[must_use]
pub fn lifetime(status: StatusCode, control: &Control, policy: &Policy) -> Lifetime {
    let (fresh_for, source) = freshness_lifetime(status, control, policy);
    let fresh_for = policy.max_ttl.map_or(fresh_for, |max| fresh_for.min(max));
    if policy.ignore_origin {
        return Lifetime {
            fresh_for,
            source,
            stale_while_revalidate: policy.stale_while_revalidate,
            stale_if_error: policy.stale_if_error,
            must_revalidate: false,
            no_cache: false,
        };
    }
    let said = &control.directives;
    let forbidden = said.must_revalidate || said.proxy_revalidate || said.no_cache.is_whole();
    // A rule of the site takes the place of s-maxage, which then is not applicable (RFC 9111
    // §4.2.4).
    let implied = said.s_maxage.is_some() && policy.ttl.is_none();
    let grant = |explicit: Option<Duration>, default: Duration| match explicit {
        _ if forbidden => Duration::ZERO,
        Some(granted) => granted,
        None if implied => Duration::ZERO,
        None => default,
    };
    Lifetime {
        fresh_for,
        source,
        stale_while_revalidate: grant(said.stale_while_revalidate, policy.stale_while_revalidate),
        stale_if_error: grant(said.stale_if_error, policy.stale_if_error),
        must_revalidate: forbidden || implied,
        no_cache: said.no_cache.is_whole(),
    }
}

fn freshness_lifetime(
    status: StatusCode,
    control: &Control,
    policy: &Policy,
) -> (Duration, Source) {
    if let Some(ttl) = policy.ttl {
        return (ttl, Source::Rule);
    }
    if !policy.ignore_origin {
        let said = &control.directives;
        let targeted = matches!(control.origin, Origin::Targeted(_));
        let source = |own| if targeted { Source::Targeted } else { own };
        if let Some(age) = said.s_maxage {
            return (age, source(Source::SMaxage));
        }
        if let Some(age) = said.max_age {
            return (age, source(Source::MaxAge));
        }
        match control.expires {
            Expires::At(at) => return (at.since(control.date), Source::Expires),
            Expires::Invalid => return (Duration::ZERO, Source::Expires),
            Expires::Absent => {}
        }
    }
    if let Some(ttl) = policy.status_ttl(status) {
        return (ttl, Source::StatusDefault);
    }
    // RFC 9111 §4.2.2: only statuses that are defined so, or responses that say `public`.
    let public = !policy.ignore_origin && control.directives.public;
    if !status::is_heuristically_cacheable(status) && !public {
        return (Duration::ZERO, Source::None);
    }
    if let Some(ttl) = policy.default_ttl {
        return (ttl, Source::Default);
    }
    match (policy.heuristic, control.last_modified) {
        (Some(heuristic), Some(modified)) => {
            let unchanged = control.date.since(modified);
            let part = unchanged.saturating_mul(heuristic.percent) / 100;
            // Whole seconds, as everything that is sent.
            (
                Duration::from_secs(part.min(heuristic.cap).as_secs()),
                Source::Heuristic,
            )
        }
        _ => (Duration::ZERO, Source::None),
    }
}

/// The age of a response when it was received: `corrected_initial_age` of RFC 9111 §4.2.3.
///
/// `requested` is when the request was sent, `received` when the response's header came. The
/// apparent age is in whole seconds, since `Date` has no finer grain.
#[must_use]
pub fn initial_age(control: &Control, requested: Timestamp, received: Timestamp) -> Duration {
    let apparent = received.floor_to_secs().since(control.date);
    let corrected = control.age.saturating_add(received.since(requested));
    apparent.max(corrected)
}

/// When a stored response was received, how old it was, and how long it lasts: all that freshness
/// needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// When it was received or last validated.
    pub received: Timestamp,
    /// [`initial_age`].
    pub initial_age: Duration,
    /// [`lifetime`].
    pub lifetime: Lifetime,
}

/// Whether a stored response may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Yes, for this long more.
    Fresh {
        /// The rest of the lifetime.
        ttl: Duration,
    },
    /// It is stale, and the client's `max-stale` takes it.
    StaleServable {
        /// How long past its lifetime.
        staleness: Duration,
    },
    /// It is stale, and may answer while it is validated in the background.
    StaleWhileRevalidate {
        /// How long past its lifetime.
        staleness: Duration,
    },
    /// Not before validation. With `only-if-cached` the answer is 504.
    MustRevalidate {
        /// Why.
        because: Because,
    },
}

/// Why a stored response has to be validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// It is stale.
    Stale,
    /// The response says `no-cache`.
    NoCache,
    /// The request asks for it: `no-cache`, `max-age` or `min-fresh`.
    Request,
}

impl Clock {
    /// `current_age` (RFC 9111 §4.2.3).
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Duration {
        self.initial_age.saturating_add(now.since(self.received))
    }

    /// The value of the `Age` field: whole seconds, at most 2^31.
    #[must_use]
    pub fn age_field(&self, now: Timestamp) -> u64 {
        self.age(now).as_secs().min(MAX_DELTA.into())
    }

    /// The rest of the lifetime in seconds, negative when stale: the `ttl` of `Cache-Status` (RFC
    /// 9211 §2.4).
    #[must_use]
    pub fn ttl_seconds(&self, now: Timestamp) -> i64 {
        let signed = |d: Duration| i64::try_from(d.as_secs()).unwrap_or(i64::MAX);
        signed(self.lifetime.fresh_for).saturating_sub(signed(self.age(now)))
    }

    /// When it goes stale.
    #[must_use]
    pub fn fresh_until(&self) -> Timestamp {
        self.received
            .plus(self.lifetime.fresh_for.saturating_sub(self.initial_age))
    }

    /// How long it has been stale: `None` while fresh. A soft purge at `purged` makes it stale from
    /// that moment on.
    #[must_use]
    pub fn staleness(&self, now: Timestamp, purged: Option<Timestamp>) -> Option<Duration> {
        let by_age = {
            let age = self.age(now);
            (age >= self.lifetime.fresh_for).then(|| age - self.lifetime.fresh_for)
        };
        let by_purge = purged.map(|at| now.since(at));
        by_age.max(by_purge)
    }

    /// Whether the stored response may answer a request at `now` (RFC 9111 §4.2.4, §5.2.1).
    ///
    /// `purged`: when it was purged softly, if it was. With [`Policy::ignore_client`] pass the
    /// default `request`.
    #[must_use]
    pub fn evaluate(
        &self,
        request: &RequestDirectives,
        now: Timestamp,
        purged: Option<Timestamp>,
    ) -> Freshness {
        let life = &self.lifetime;
        if life.no_cache {
            return Freshness::MustRevalidate {
                because: Because::NoCache,
            };
        }
        // `max-age=0` is how clients ask for validation: also of what came in this very millisecond.
        let too_old = |max: Duration| max.is_zero() || self.age(now) > max;
        if request.no_cache || request.max_age.is_some_and(too_old) {
            return Freshness::MustRevalidate {
                because: Because::Request,
            };
        }
        let Some(staleness) = self.staleness(now, purged) else {
            let ttl = life.fresh_for.saturating_sub(self.age(now));
            if request.min_fresh.is_some_and(|min| ttl < min) {
                return Freshness::MustRevalidate {
                    because: Because::Request,
                };
            }
            return Freshness::Fresh { ttl };
        };
        let stale = Freshness::MustRevalidate {
            because: Because::Stale,
        };
        if request.min_fresh.is_some() {
            return stale;
        }
        let client_takes = !life.must_revalidate
            && match request.max_stale {
                Some(MaxStale::Any) => true,
                Some(MaxStale::Within(limit)) => staleness <= limit,
                None => false,
            };
        // A soft purge is the site's word that the content changed: no client may pass over it for
        // longer than the site grants.
        if client_takes && purged.is_none() {
            return Freshness::StaleServable { staleness };
        }
        if staleness < life.stale_while_revalidate {
            return Freshness::StaleWhileRevalidate { staleness };
        }
        stale
    }

    /// Whether it may answer at `now` because the origin failed ([`status::is_origin_error`], or no
    /// response at all; RFC 5861 §4).
    #[must_use]
    pub fn may_serve_on_error(
        &self,
        request: &RequestDirectives,
        now: Timestamp,
        purged: Option<Timestamp>,
    ) -> bool {
        let life = &self.lifetime;
        if life.no_cache {
            return false;
        }
        let client = if life.must_revalidate {
            None
        } else {
            request.stale_if_error
        };
        let grace = life.stale_if_error.max(client.unwrap_or_default());
        self.staleness(now, purged)
            .is_none_or(|staleness| staleness < grace)
    }
}
