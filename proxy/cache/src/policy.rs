//! What a site wants of its cache, in the form that the decisions take.

use std::time::Duration;

use http::{HeaderName, StatusCode};
use smallvec::SmallVec;

use crate::targeted;

/// What happens with `Set-Cookie` in a response that is otherwise storable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetCookie {
    /// The response is not stored: one user's cookie must not reach another.
    #[default]
    Refuse,
    /// It is stored without the field.
    Strip,
    /// It is stored with the field, as RFC 9111 §7.3 permits.
    Store,
}

/// Heuristic freshness (RFC 9111 §4.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heuristic {
    /// The part of the time since `Last-Modified` for which a response counts as fresh, in percent.
    pub percent: u32,
    /// No longer than this.
    pub cap: Duration,
}

impl Default for Heuristic {
    fn default() -> Self {
        Self {
            percent: 10,
            cap: Duration::from_secs(24 * 3600),
        }
    }
}

/// A lifetime for responses with certain statuses of which the origin says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusTtl {
    /// The first status, e.g. 404.
    pub first: u16,
    /// The last status, inclusive.
    pub last: u16,
    /// Fresh for this long.
    pub ttl: Duration,
}

/// A site's caching rules after all its path and status rules were resolved for one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The targeted fields that count (RFC 9213 §2.2), best first.
    pub targets: SmallVec<[HeaderName; 3]>,
    /// Fresh for this long, whatever the origin says about freshness. `no-store`, `private` and
    /// `no-cache` still count unless [`Policy::ignore_origin`] is set.
    pub ttl: Option<Duration>,
    /// Never fresh for longer than this, whatever the source of the lifetime.
    pub max_ttl: Option<Duration>,
    /// By status, where the origin says nothing: negative caching. The first that matches counts,
    /// before [`Policy::default_ttl`] and before the heuristic.
    pub status_ttls: SmallVec<[StatusTtl; 4]>,
    /// Fresh for this long where the origin says nothing and the status is heuristically cacheable
    /// (RFC 9110 §15.1). It takes the place of the heuristic: `Some(0)` means stale at once, `None`
    /// leaves it to [`Policy::heuristic`].
    pub default_ttl: Option<Duration>,
    /// Where nobody says anything; `None` turns heuristic freshness off.
    pub heuristic: Option<Heuristic>,
    /// Acts as if the response had no `Cache-Control`, `Expires` nor targeted field. Responses to
    /// requests with `Authorization` still need the origin's permission (RFC 9111 §3.5).
    pub ignore_origin: bool,
    /// Acts as if requests had no `Cache-Control` and no `Pragma`, as CDNs use to: a client cannot
    /// force validations.
    pub ignore_client: bool,
    /// `Set-Cookie`.
    pub set_cookie: SetCookie,
    /// Served stale this long while it is validated, where the origin says nothing about it.
    pub stale_while_revalidate: Duration,
    /// Served stale this long when the origin fails, where the origin says nothing about it.
    pub stale_if_error: Duration,
    /// Whether 206 responses are stored and combined.
    pub store_partial: bool,
}

impl Default for Policy {
    /// RFC 9111 without additions.
    fn default() -> Self {
        Self {
            targets: SmallVec::from(targeted::TARGETS),
            ttl: None,
            max_ttl: None,
            status_ttls: SmallVec::new(),
            default_ttl: None,
            heuristic: Some(Heuristic::default()),
            ignore_origin: false,
            ignore_client: false,
            set_cookie: SetCookie::default(),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            store_partial: true,
        }
    }
}

impl Policy {
    /// The lifetime of [`Policy::status_ttls`] for `status`.
    #[must_use]
    pub fn status_ttl(&self, status: StatusCode) -> Option<Duration> {
        let code = status.as_u16();
        self.status_ttls
            .iter()
            .find(|rule| (rule.first..=rule.last).contains(&code))
            .map(|rule| rule.ttl)
    }
}
