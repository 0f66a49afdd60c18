//! What the cache would do with a request, told without doing it.

use anypop_cache::{
    date,
    freshness::{Because, Freshness, Source},
    key::ExtraKind,
    time::Timestamp,
};
use anypop_config::Site;
use anypop_store::{Found, Lookup};
use http::{HeaderMap, Method};
use serde::Serialize;
use utoipa::ToSchema;

use super::cached::{Query, now};
use crate::edge::Edge;

/// A request that was not made.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Whether by TLS.
    pub tls: bool,
    /// Host, with its port unless it is the default.
    pub authority: &'a str,
    /// Path.
    pub path: &'a str,
    /// Query.
    pub query: Option<&'a str>,
    /// Fields that matter.
    pub headers: &'a HeaderMap,
}

/// What the cache would do with a request.
#[derive(Debug, Serialize, ToSchema)]
pub struct Explanation {
    /// The site's id.
    site: String,
    /// hit, stale, updating, revalidate, miss, pass or bypass: what would happen now.
    verdict: &'static str,
    /// Why, in words.
    why: String,
    key: KeyParts,
    /// What is stored under the key, newest first.
    variants: Vec<Variant>,
}

/// The parts of the cache key.
#[derive(Debug, Serialize, ToSchema)]
struct KeyParts {
    /// All of it, as an authorised debugger sees it in Cache-Status.
    key: String,
    site: String,
    scheme: &'static str,
    host: String,
    path: String,
    /// The query as the site's rules leave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    /// Fields and cookies in the key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    extra: Vec<String>,
}

/// One stored response.
#[derive(Debug, Serialize, ToSchema)]
struct Variant {
    /// Whether the request selects it (Vary).
    selected: bool,
    status: u16,
    /// Bytes of body, as far as known.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_bytes: Option<u64>,
    /// Whether its body is still on its way.
    filling: bool,
    /// When it was received or last validated.
    received: String,
    age_seconds: u64,
    /// The rest of its lifetime; negative when stale.
    ttl_seconds: i64,
    fresh_for_seconds: u64,
    /// Where the lifetime came from.
    lifetime_from: &'static str,
    /// Whether it was purged softly.
    soft_purged: bool,
    /// Names of the request fields it varies by.
    vary: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    /// How many tags it has.
    tags: usize,
    stale_while_revalidate_seconds: u64,
    stale_if_error_seconds: u64,
}

/// Explains a GET.
pub async fn explain(edge: &Edge, site: &Site, asked: &Asked<'_>) -> Explanation {
    let settings = site.settings(asked.path, &Method::GET, None);
    let query = Query::for_target(site, asked, &Method::GET);
    let now = now();
    let found = edge.store.find_variants(&query.key).await;
    let selected = found
        .iter()
        .find(|found| query.selects(&found.object, asked.headers));
    let (verdict, why) = if settings.bypass {
        (
            "bypass",
            "the site's document keeps this path out of the cache".to_owned(),
        )
    } else {
        match selected {
            Some(found) => judge(&query, found, now),
            None if known_uncacheable(edge, &query) => (
                "pass",
                "a response to it was found uncacheable a while ago, which is remembered for \
                 cache.hit_for_pass; requests are not collapsed until then"
                    .to_owned(),
            ),
            None if found.is_empty() => ("miss", "nothing is stored under the key".to_owned()),
            None => (
                "miss",
                "responses are stored under the key, but none for these request fields (Vary)"
                    .to_owned(),
            ),
        }
    };
    Explanation {
        site: site.id.to_string(),
        verdict,
        why,
        key: key_parts(&query),
        variants: found
            .iter()
            .map(|found| variant(found, query.selects(&found.object, asked.headers), now))
            .collect(),
    }
}

fn known_uncacheable(edge: &Edge, query: &Query) -> bool {
    matches!(edge.store.lookup(&query.key, |_| false), Lookup::Missed(missed) if missed.pass)
}

fn judge(query: &Query, found: &Found, now: Timestamp) -> (&'static str, String) {
    match query.judge(found, now) {
        Freshness::Fresh { ttl } => ("hit", format!("it is fresh for {} s more", ttl.as_secs())),
        Freshness::StaleServable { staleness } => (
            "stale",
            format!(
                "stale for {} s, which the request's max-stale takes",
                staleness.as_secs()
            ),
        ),
        Freshness::StaleWhileRevalidate { staleness } => (
            "updating",
            format!(
                "stale for {} s; stale-while-revalidate lets it answer while it is fetched anew",
                staleness.as_secs()
            ),
        ),
        Freshness::MustRevalidate { because } => (
            "revalidate",
            match because {
                Because::Stale => "it is stale and has to be validated first".to_owned(),
                Because::NoCache => "it says no-cache: validated at every use".to_owned(),
                Because::Request => {
                    "it is fresh, but the request's Cache-Control asks for more".to_owned()
                }
            },
        ),
    }
}

fn key_parts(query: &Query) -> KeyParts {
    let key = &query.key;
    KeyParts {
        key: key.to_string(),
        site: key.site().to_owned(),
        scheme: key.scheme().as_str(),
        host: key.host().to_owned(),
        path: key.path().to_owned(),
        query: key.query().map(ToOwned::to_owned),
        extra: key
            .extras()
            .map(|(kind, name, value)| {
                let kind = match kind {
                    ExtraKind::Header => "header",
                    ExtraKind::Cookie => "cookie",
                    ExtraKind::Plugin => "plugin",
                    ExtraKind::Variant => "variant",
                };
                let value = value.map_or_else(
                    || "(absent)".to_owned(),
                    |value| value.escape_ascii().to_string(),
                );
                format!("{kind} {}: {value}", name.escape_ascii())
            })
            .collect(),
    }
}

fn variant(found: &Found, selected: bool, now: Timestamp) -> Variant {
    let object = &found.object;
    let meta = object.meta();
    let life = &meta.clock.lifetime;
    Variant {
        selected,
        status: object.status().as_u16(),
        body_bytes: object.body().length(),
        filling: !object.body().is_complete(),
        received: date::format(meta.clock.received),
        age_seconds: meta.clock.age(now).as_secs(),
        ttl_seconds: meta.clock.ttl_seconds(now),
        fresh_for_seconds: life.fresh_for.as_secs(),
        lifetime_from: match life.source {
            Source::None => "nothing",
            Source::Rule => "the site's rule",
            Source::Targeted => "a targeted field (CDN-Cache-Control)",
            Source::SMaxage => "s-maxage",
            Source::MaxAge => "max-age",
            Source::Expires => "Expires",
            Source::StatusDefault => "the site's TTL for this status",
            Source::Default => "the site's default TTL",
            Source::Heuristic => "a part of the time since Last-Modified",
        },
        soft_purged: found.purged.is_some(),
        vary: meta.vary.iter().map(ToString::to_string).collect(),
        etag: object
            .headers()
            .get(http::header::ETAG)
            .map(|tag| tag.as_bytes().escape_ascii().to_string()),
        tags: object.tags().len(),
        stale_while_revalidate_seconds: life.stale_while_revalidate.as_secs(),
        stale_if_error_seconds: life.stale_if_error.as_secs(),
    }
}
