//! `Cache-Control` of requests and responses (RFC 9111 §5.2), and `Pragma` (§5.4).
//!
//! Reading is tolerant about list syntax and strict about meaning. Where a field contradicts itself
//! or is broken, the reading that reuses less wins:
//! - A freshness directive whose argument is missing, negative, fractional or otherwise no
//!   delta-seconds counts as 0: the response is stale at once (§4.2.1 encourages that). Larger
//!   numbers than 2^31 are 2^31 (§1.2.2).
//! - The same freshness directive twice: the smaller value counts (§4.2.1 allows "the first or
//!   stale"; the smaller of both is never staler than that and never fresher than the first).
//! - `no-cache="a, b"` and `private="a, b"` (qualified forms, §5.2.2.4 and §5.2.2.7): the named
//!   fields are not stored, so that they can be neither reused without validation nor shared; the
//!   rest is handled as if the directive were absent. A qualified form whose argument is no list of
//!   field names counts as the unqualified form.
//! - A quoted string that never ends hides what follows it, so the field counts as `no-cache` too.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use smallvec::SmallVec;

use crate::list::{self, Elements};

/// The largest delta-seconds, 2^31 (RFC 9111 §1.2.2).
pub const MAX_DELTA: u32 = 1 << 31;

/// Field names in a qualified directive.
pub type FieldNames = SmallVec<[HeaderName; 2]>;

/// `no-cache` or `private`, which may name fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Qualified {
    /// The directive is not there.
    #[default]
    Absent,
    /// It concerns these fields only.
    Fields(FieldNames),
    /// It concerns the whole response.
    Whole,
}

impl Qualified {
    /// Whether the directive concerns the whole response.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        matches!(self, Self::Whole)
    }

    /// The fields it names; empty unless it is qualified.
    #[must_use]
    pub fn fields(&self) -> &[HeaderName] {
        match self {
            Self::Fields(names) => names,
            Self::Absent | Self::Whole => &[],
        }
    }

    /// Takes a further occurrence with its argument: `None` for none, `Some(None)` for one that is
    /// no list of field names.
    pub(crate) fn add(&mut self, argument: Option<Option<FieldNames>>) {
        match (argument, &mut *self) {
            (Some(Some(names)), Self::Absent) => *self = Self::Fields(names),
            (Some(Some(names)), Self::Fields(known)) => known.extend(names),
            (_, Self::Whole) => {}
            (None | Some(None), _) => *self = Self::Whole,
        }
    }
}

/// What a response says about its caching, from `Cache-Control` or from a targeted field (RFC
/// 9213).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    /// Fresh for this long in any cache (§5.2.2.1).
    pub max_age: Option<Duration>,
    /// Fresh for this long in a shared cache (§5.2.2.10).
    pub s_maxage: Option<Duration>,
    /// May be served stale this long while it is validated (RFC 5861 §3).
    pub stale_while_revalidate: Option<Duration>,
    /// May be served stale this long when the origin fails (RFC 5861 §4).
    pub stale_if_error: Option<Duration>,
    /// Not to be stored (§5.2.2.5).
    pub no_store: bool,
    /// Not to be used without validation (§5.2.2.4).
    pub no_cache: Qualified,
    /// For one user only (§5.2.2.7).
    pub private: Qualified,
    /// May be stored although it otherwise might not (§5.2.2.9).
    pub public: bool,
    /// Never to be served stale (§5.2.2.2).
    pub must_revalidate: bool,
    /// The same for shared caches (§5.2.2.8).
    pub proxy_revalidate: bool,
    /// To be stored only by who understands its status (§5.2.2.3).
    pub must_understand: bool,
    /// Not to be transformed (§5.2.2.6).
    pub no_transform: bool,
    /// Does not change while it is fresh (RFC 8246).
    pub immutable: bool,
}

impl ResponseDirectives {
    /// Parses all `Cache-Control` lines; `None` if there is none.
    #[must_use]
    pub fn parse(headers: &HeaderMap) -> Option<Self> {
        headers.contains_key(header::CACHE_CONTROL).then(|| {
            Self::parse_lines(
                headers
                    .get_all(header::CACHE_CONTROL)
                    .iter()
                    .map(HeaderValue::as_bytes),
            )
        })
    }

    /// Parses field lines.
    #[must_use]
    pub fn parse_lines<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut found = Self::default();
        for line in lines {
            let mut elements = Elements::new(line);
            for element in elements.by_ref() {
                if let Some((name, argument)) = directive(element) {
                    found.add(name, &argument);
                }
            }
            if elements.unterminated() {
                found.no_cache = Qualified::Whole;
            }
        }
        found
    }

    fn add(&mut self, name: &[u8], argument: &Argument<'_>) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("max-age") {
            smaller(&mut self.max_age, argument.delta());
        } else if is("s-maxage") {
            smaller(&mut self.s_maxage, argument.delta());
        } else if is("stale-while-revalidate") {
            smaller(&mut self.stale_while_revalidate, argument.delta());
        } else if is("stale-if-error") {
            smaller(&mut self.stale_if_error, argument.delta());
        } else if is("no-store") {
            self.no_store = true;
        } else if is("no-cache") {
            self.no_cache.add(argument.field_names());
        } else if is("private") {
            self.private.add(argument.field_names());
        } else if is("must-revalidate") {
            self.must_revalidate = true;
        } else if is("proxy-revalidate") {
            self.proxy_revalidate = true;
        } else if is("must-understand") {
            self.must_understand = true;
        } else if is("no-transform") {
            self.no_transform = true;
        } else if is("public") {
            // Only directives that permit something need a clean form; those above restrict,
            // whatever hangs behind them.
            self.public |= !matches!(argument, Argument::Broken);
        } else if is("immutable") {
            self.immutable |= !matches!(argument, Argument::Broken);
        }
    }
}

/// How stale a response a client takes (`max-stale`, RFC 9111 §5.2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxStale {
    /// However stale.
    Any,
    /// At most this long past its freshness.
    Within(Duration),
}

/// What a request says about the response it wants (RFC 9111 §5.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// No older than this; a broken argument is 0.
    pub max_age: Option<Duration>,
    /// Fresh for at least this long more; a broken argument is the largest.
    pub min_fresh: Option<Duration>,
    /// Stale is fine up to here; a broken argument permits nothing.
    pub max_stale: Option<MaxStale>,
    /// Stale is fine up to here if the origin fails (RFC 5861 §4); a broken argument permits
    /// nothing.
    pub stale_if_error: Option<Duration>,
    /// Not without validation; also `Pragma: no-cache` in a request without `Cache-Control` (§5.4).
    pub no_cache: bool,
    /// Nothing of this exchange is to be stored.
    pub no_store: bool,
    /// Only a stored response, else 504 (§5.2.1.7).
    pub only_if_cached: bool,
    /// No transformations.
    pub no_transform: bool,
}

impl RequestDirectives {
    /// Parses `Cache-Control` or, when there is none, `Pragma` of a request.
    #[must_use]
    pub fn parse(headers: &HeaderMap) -> Self {
        if !headers.contains_key(header::CACHE_CONTROL) {
            let no_cache = headers
                .get_all(header::PRAGMA)
                .iter()
                .flat_map(|line| Elements::new(line.as_bytes()))
                .any(|element| element.eq_ignore_ascii_case(b"no-cache"));
            return Self {
                no_cache,
                ..Self::default()
            };
        }
        Self::parse_lines(
            headers
                .get_all(header::CACHE_CONTROL)
                .iter()
                .map(HeaderValue::as_bytes),
        )
    }

    /// Parses field lines of a request's `Cache-Control`.
    #[must_use]
    pub fn parse_lines<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut found = Self::default();
        for line in lines {
            for element in Elements::new(line) {
                if let Some((name, argument)) = directive(element) {
                    found.add(name, &argument);
                }
            }
        }
        found
    }

    fn add(&mut self, name: &[u8], argument: &Argument<'_>) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("max-age") {
            smaller(&mut self.max_age, argument.delta());
        } else if is("min-fresh") {
            let delta = argument
                .valid_delta()
                .unwrap_or(Duration::from_secs(MAX_DELTA.into()));
            self.min_fresh = Some(self.min_fresh.map_or(delta, |known| known.max(delta)));
        } else if is("max-stale") {
            let new = match argument {
                Argument::None => MaxStale::Any,
                _ => MaxStale::Within(argument.delta()),
            };
            self.max_stale = Some(match (self.max_stale, new) {
                (Some(MaxStale::Within(a)), MaxStale::Within(b)) => MaxStale::Within(a.min(b)),
                (Some(known @ MaxStale::Within(_)), MaxStale::Any) => known,
                (_, new) => new,
            });
        } else if is("stale-if-error") {
            smaller(&mut self.stale_if_error, argument.delta());
        } else if is("no-cache") {
            self.no_cache = true;
        } else if is("no-store") {
            self.no_store = true;
        } else if is("only-if-cached") {
            self.only_if_cached = true;
        } else if is("no-transform") {
            self.no_transform = true;
        }
    }
}

/// What follows a directive's name.
#[derive(Debug)]
enum Argument<'a> {
    None,
    Token(&'a [u8]),
    Quoted(&'a [u8]),
    Broken,
}

impl Argument<'_> {
    fn valid_delta(&self) -> Option<Duration> {
        match self {
            // The grammar has a token; recipients ought to take both forms (§5.2).
            Argument::Token(text) | Argument::Quoted(text) => delta_seconds(text),
            Argument::None | Argument::Broken => None,
        }
    }

    fn delta(&self) -> Duration {
        self.valid_delta().unwrap_or_default()
    }

    fn field_names(&self) -> Option<Option<FieldNames>> {
        match self {
            Argument::None => None,
            Argument::Quoted(text) => Some(field_names(text)),
            Argument::Token(_) | Argument::Broken => Some(None),
        }
    }
}

/// Splits a list element into the directive's name and argument; `None` if it begins with no token.
fn directive(element: &[u8]) -> Option<(&[u8], Argument<'_>)> {
    let end = element
        .iter()
        .position(|b| !list::is_tchar(*b))
        .unwrap_or(element.len());
    let (name, rest) = element.split_at(end);
    if name.is_empty() {
        return None;
    }
    let argument = match rest {
        [] => Argument::None,
        [b'=', value @ ..] if list::is_token(value) => Argument::Token(value),
        [b'=', value @ ..] => list::unquote(value).map_or(Argument::Broken, Argument::Quoted),
        _ => Argument::Broken,
    };
    Some((name, argument))
}

/// Parses delta-seconds (RFC 9111 §1.2.2): digits only, clamped to [`MAX_DELTA`].
#[must_use]
pub fn delta_seconds(text: &[u8]) -> Option<Duration> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let secs = text.iter().fold(0u32, |n, b| {
        n.saturating_mul(10)
            .saturating_add(u32::from(b - b'0'))
            .min(MAX_DELTA)
    });
    Some(Duration::from_secs(secs.into()))
}

/// A comma-separated list of field names; `None` if it has no or an invalid member.
pub(crate) fn field_names(text: &[u8]) -> Option<FieldNames> {
    let names: Option<FieldNames> = Elements::new(text)
        .map(|name| HeaderName::from_bytes(name).ok())
        .collect();
    names.filter(|names| !names.is_empty())
}

fn smaller(known: &mut Option<Duration>, new: Duration) {
    *known = Some(known.map_or(new, |known| known.min(new)));
}
