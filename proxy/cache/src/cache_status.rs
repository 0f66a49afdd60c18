//! `Cache-Status` (RFC 9211): what this cache did with a request.

use http::{HeaderMap, StatusCode, header};

use crate::sf;

/// Why a request went to the origin (RFC 9211 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Forward {
    /// The cache was told not to handle the request.
    Bypass,
    /// The method requires it.
    Method,
    /// No response is stored for the URI.
    UriMiss,
    /// Responses are stored for the URI, but none for these `Vary` fields.
    VaryMiss,
    /// No response could be used, for another or an unknown reason.
    Miss,
    /// The stored response was fresh, but the request's directives asked for more.
    Request,
    /// The stored response was stale.
    Stale,
    /// Only a part of the response was stored.
    Partial,
}

impl Forward {
    /// The token.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Miss => "miss",
            Self::Request => "request",
            Self::Stale => "stale",
            Self::Partial => "partial",
        }
    }
}

/// One member of the field. Start with [`CacheStatus::hit`], [`CacheStatus::forward`] or, for
/// answers made without either, [`CacheStatus::new`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct CacheStatus<'a> {
    hit: bool,
    fwd: Option<Forward>,
    fwd_status: Option<u16>,
    ttl: Option<i64>,
    stored: bool,
    collapsed: bool,
    key: Option<&'a str>,
    detail: Option<&'a str>,
}

impl<'a> CacheStatus<'a> {
    /// Neither hit nor forwarded, e.g. an answer to `only-if-cached`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answered from the cache without going forward.
    pub fn hit() -> Self {
        Self {
            hit: true,
            ..Self::default()
        }
    }

    /// Went forward.
    pub fn forward(why: Forward) -> Self {
        Self {
            fwd: Some(why),
            ..Self::default()
        }
    }

    /// The status that came from the origin, where it differs from the one sent (§2.3); only after
    /// [`CacheStatus::forward`].
    pub fn forward_status(mut self, status: StatusCode) -> Self {
        self.fwd_status = Some(status.as_u16());
        self
    }

    /// The rest of the lifetime in seconds, negative if stale (§2.4):
    /// [`crate::freshness::Clock::ttl_seconds`].
    pub fn ttl(mut self, seconds: i64) -> Self {
        self.ttl = Some(seconds);
        self
    }

    /// Whether the response was stored (§2.5); only after [`CacheStatus::forward`].
    pub fn stored(mut self, stored: bool) -> Self {
        self.stored = stored;
        self
    }

    /// Whether the request shared the fill of another (§2.6); only after [`CacheStatus::forward`].
    pub fn collapsed(mut self, collapsed: bool) -> Self {
        self.collapsed = collapsed;
        self
    }

    /// The cache key (§2.7), for authorised debuggers only.
    pub fn key(mut self, key: &'a str) -> Self {
        self.key = Some(key);
        self
    }

    /// Anything else worth knowing (§2.8), e.g. [`crate::storability::Reason`] as text.
    pub fn detail(mut self, detail: &'a str) -> Self {
        self.detail = Some(detail);
        self
    }

    /// The member under the name of the cache: `anypop`, or the node's name.
    #[must_use]
    pub fn render(&self, name: &str) -> String {
        let forwarded = self.fwd.is_some();
        sf::member(name, |member| {
            member
                .flag("hit", self.hit)
                .token("fwd", self.fwd.map(Forward::as_str))
                .integer(
                    "fwd-status",
                    self.fwd_status.filter(|_| forwarded).map(i64::from),
                )
                .integer("ttl", self.ttl)
                .flag("stored", self.stored && forwarded)
                .flag("collapsed", self.collapsed && forwarded)
                .string("key", self.key)
                .token_or_string("detail", self.detail);
        })
    }

    /// Appends the member to a response's field, after those of caches nearer to the origin (§2).
    pub fn append_to(&self, headers: &mut HeaderMap, name: &str) {
        sf::append(headers, header::CACHE_STATUS, &self.render(name));
    }
}
