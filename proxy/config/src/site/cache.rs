use std::{fmt, time::Duration};

use http::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::value::{ByteSize, CookieName, StatusTtls, duration, header};

/// What is kept, and for how long: `[cache]` in a site's document.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CachePolicy {
    /// Is anything kept at all?
    pub enabled: bool,
    /// How long is a response fresh where the origin says nothing?
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub default_ttl: Duration,
    /// How long is a response fresh at most, whatever the origin says?
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub max_ttl: Duration,
    /// Which query parameters tell responses apart?
    pub query: QueryRule,
    /// Which request header fields tell responses apart, besides those that the origin names in `Vary`?
    #[serde(with = "header::names")]
    #[schemars(with = "Vec<header::Name>")]
    pub key_headers: Box<[HeaderName]>,
    /// Which cookies tell responses apart?
    pub key_cookies: Box<[CookieName]>,
    /// How many variants of one URL are kept at most?
    #[schemars(range(min = 1))]
    pub vary_limit: u32,
    /// Which codings of `Accept-Encoding` are told apart, and passed to the origin? The best first.
    pub accept_encoding: Box<[Coding]>,
    /// How long may a stale response be served while it is fetched anew in the background, where the origin says nothing (RFC 5861 §3)?
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub stale_while_revalidate: Duration,
    /// How long may a stale response be served when the origin fails, where it says nothing (RFC 5861 §4)?
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub stale_if_error: Duration,
    /// How long are responses of some statuses fresh where the origin says nothing?
    pub negative: StatusTtls,
    /// Is freshness guessed from `Last-Modified` where the origin says nothing: a tenth of the response's age (RFC 9111 §4.2.2)?
    pub heuristic: bool,
    /// How long is such a guess at most?
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub heuristic_max: Duration,
    /// Is a request's `Cache-Control` honoured (RFC 9111 §5.2.1)?
    pub client_directives: bool,
    /// Are responses with `Set-Cookie` kept: `false`, `true` (without that field) or `"keep"` (with it)?
    pub store_set_cookie: SetCookie,
    /// Do cookies stay out of cacheable requests: `Cookie` is not sent to the origin, `Set-Cookie` not to the client?
    pub strip_cookies: bool,
    /// Which `max-age` do clients see instead of the origin's? The origin's if not given.
    #[serde(with = "duration::option")]
    #[schemars(with = "Option<duration::Text>")]
    pub browser_ttl: Option<Duration>,
    /// How long is it remembered that a response cannot be kept?
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub hit_for_pass: Duration,
    /// Do requests for the same thing wait for one fetch?
    pub collapse: bool,
    /// How large may an object be? At most the node's limit, which holds if not given.
    pub max_object: Option<ByteSize>,
}

impl CachePolicy {
    /// Default of `default_ttl`.
    pub const DEFAULT_TTL: Duration = Duration::ZERO;
    /// Default of `max_ttl`: 365 days.
    pub const MAX_TTL: Duration = Duration::from_secs(365 * 86_400);
    /// Default of `vary_limit`.
    pub const VARY_LIMIT: u32 = 16;
    /// Default of `heuristic_max`: a day.
    pub const HEURISTIC_MAX: Duration = Duration::from_secs(86_400);
    /// Default of `hit_for_pass`: two minutes.
    pub const HIT_FOR_PASS: Duration = Duration::from_secs(120);
}

impl Default for CachePolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            default_ttl: Self::DEFAULT_TTL,
            max_ttl: Self::MAX_TTL,
            query: QueryRule::default(),
            key_headers: Box::default(),
            key_cookies: Box::default(),
            vary_limit: Self::VARY_LIMIT,
            accept_encoding: [Coding::Br, Coding::Gzip].into(),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            negative: StatusTtls::default(),
            heuristic: true,
            heuristic_max: Self::HEURISTIC_MAX,
            client_directives: true,
            store_set_cookie: SetCookie::default(),
            strip_cookies: false,
            browser_ttl: None,
            hit_for_pass: Self::HIT_FOR_PASS,
            collapse: true,
            max_object: None,
        }
    }
}

/// Which query parameters tell responses apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueryRule {
    /// `all` of them, those that `names` names (`allow`), all but those (`deny`), or `none`?
    pub mode: QueryMode,
    /// Which names do `allow` and `deny` mean? As they stand in URLs, percent-encoded.
    pub names: Box<[Box<str>]>,
    /// Does their order not matter?
    pub sort: bool,
}

/// Which query parameters count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum QueryMode {
    /// All.
    #[default]
    All,
    /// Those that are named.
    Allow,
    /// All but those that are named.
    Deny,
    /// None.
    None,
}

/// A content coding (RFC 9110 §8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Coding {
    /// Brotli (RFC 7932).
    Br,
    /// Gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
    /// Deflate (RFC 1950).
    Deflate,
}

impl Coding {
    /// Its name in `Accept-Encoding`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Br => "br",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Deflate => "deflate",
        }
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether responses with `Set-Cookie` are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SetCookie {
    /// They are not: `false`.
    #[default]
    Refuse,
    /// They are, without that field: `true`.
    Drop,
    /// They are, with it, so that every client gets the same cookie: `"keep"`.
    Keep,
}

impl Serialize for SetCookie {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Refuse => serializer.serialize_bool(false),
            Self::Drop => serializer.serialize_bool(true),
            Self::Keep => serializer.serialize_str("keep"),
        }
    }
}

impl<'de> Deserialize<'de> for SetCookie {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Choice;
        impl serde::de::Visitor<'_> for Choice {
            type Value = SetCookie;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or \"keep\"")
            }
            fn visit_bool<E: serde::de::Error>(self, on: bool) -> Result<SetCookie, E> {
                Ok(if on {
                    SetCookie::Drop
                } else {
                    SetCookie::Refuse
                })
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<SetCookie, E> {
                if text == "keep" {
                    Ok(SetCookie::Keep)
                } else {
                    Err(E::invalid_value(serde::de::Unexpected::Str(text), &self))
                }
            }
        }
        deserializer.deserialize_any(Choice)
    }
}

impl JsonSchema for SetCookie {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SetCookie".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "enum": [true, false, "keep"] })
    }
}
