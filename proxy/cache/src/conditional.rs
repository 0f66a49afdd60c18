//! Conditional requests: those of clients against a stored response (RFC 9110 §13, RFC 9111
//! §4.3.2), and those of this cache to the origin (RFC 9111 §4.3.1).

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::date;
use crate::list;
use crate::range::ByteRange;
use crate::targeted;
use crate::time::Timestamp;
use crate::validators::{self, ETag, Validators};

/// What a client's conditions come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answer as if there were none.
    Proceed,
    /// 304.
    NotModified,
    /// 412.
    PreconditionFailed,
}

/// Evaluates the conditions of a GET or HEAD against a stored or just fetched response with a 2xx
/// status, in the order of RFC 9110 §13.2.2. Call it only if the response without conditions would
/// be a 2xx (§13.2.1); `If-Range` is [`crate::range::if_range`]'s.
///
/// RFC 9111 §4.3.2 leaves `If-Match` and `If-Unmodified-Since` to origins. A gateway is the origin
/// to its clients (RFC 9110 §3.7), so they are evaluated here too. Dates that are none, and
/// repeated date fields, are ignored.
#[must_use]
pub fn evaluate(
    method: &Method,
    request: &HeaderMap,
    stored: &Validators,
    now: Timestamp,
) -> Outcome {
    let date = |name| date::parse_field(request, name, now).flatten();
    let tag = stored.etag.as_ref();
    if request.contains_key(header::IF_MATCH) {
        if !validators::matches(request, &header::IF_MATCH, tag, true) {
            return Outcome::PreconditionFailed;
        }
    } else if let (Some(limit), Some(modified)) =
        (date(header::IF_UNMODIFIED_SINCE), stored.last_modified)
        && modified > limit
    {
        return Outcome::PreconditionFailed;
    }
    let reads = method == Method::GET || method == Method::HEAD;
    if request.contains_key(header::IF_NONE_MATCH) {
        return match validators::matches(request, &header::IF_NONE_MATCH, tag, false) {
            true if reads => Outcome::NotModified,
            true => Outcome::PreconditionFailed,
            false => Outcome::Proceed,
        };
    }
    if reads && let Some(since) = date(header::IF_MODIFIED_SINCE) {
        // Without Last-Modified the Date counts, and without that the time of receipt (RFC 9111
        // §4.3.2).
        if stored.last_modified.unwrap_or(stored.date.floor_to_secs()) <= since {
            return Outcome::NotModified;
        }
    }
    Outcome::Proceed
}

/// Whether the request has conditions that [`evaluate`] reads.
#[must_use]
pub fn is_conditional(request: &HeaderMap) -> bool {
    CONDITIONS.iter().any(|name| request.contains_key(name))
}

const CONDITIONS: [HeaderName; 4] = [
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
];

/// Removes the client's conditions from a request to the origin.
///
/// A fill is for everybody, so it must bring the whole response: what the client asked is then
/// [`evaluate`]d against that. Used on a miss, and before [`set_validation`], since a validator of
/// the client's says nothing about what is stored here.
pub fn strip_conditions(request: &mut HeaderMap) {
    for name in &CONDITIONS {
        request.remove(name);
    }
    request.remove(header::IF_RANGE);
}

/// Turns a request to the origin into the validation of stored responses (RFC 9111 §4.3.1); returns
/// whether there is anything to validate by.
///
/// `stored` are the headers of the candidates: the one selected, or all variants of the key, of
/// which a 304 then selects one by its entity tag ([`crate::update::select`]). `If-None-Match`
/// lists their entity tags as they came; `If-Modified-Since` is the first one's `Last-Modified` as
/// it came. The client's own conditions, its `Range` and `If-Range` go.
pub fn set_validation<'s>(
    request: &mut HeaderMap,
    stored: impl IntoIterator<Item = &'s HeaderMap>,
) -> bool {
    strip_conditions(request);
    request.remove(header::RANGE);
    let mut tags: Vec<u8> = Vec::new();
    let mut modified = None;
    for (at, headers) in stored.into_iter().enumerate() {
        // An invalid tag is sent as it came too: the origin may know what it meant.
        if let Some(tag) = sendable_tag(headers) {
            if !tags.is_empty() {
                tags.extend_from_slice(b", ");
            }
            tags.extend_from_slice(tag);
        }
        if at == 0 {
            modified = headers.get(header::LAST_MODIFIED).cloned();
        }
    }
    let tags = (!tags.is_empty())
        .then(|| HeaderValue::from_bytes(&tags).ok())
        .flatten();
    let any = tags.is_some() || modified.is_some();
    if let Some(tags) = tags {
        request.insert(header::IF_NONE_MATCH, tags);
    }
    if let Some(modified) = modified {
        request.insert(header::IF_MODIFIED_SINCE, modified);
    }
    any
}

/// Turns a request to the origin into one for what is missing of a stored, incomplete
/// representation (RFC 9111 §3.4); returns whether that can be done, and else leaves the request
/// unconditional and whole.
///
/// `missing` lies within the whole of `complete` bytes. `If-Range` makes sure that the part that
/// comes fits: without a strong entity tag nothing could be combined anyway
/// ([`crate::partial::may_combine`]), so the whole is asked for.
pub fn set_completion(
    request: &mut HeaderMap,
    stored: &Validators,
    missing: ByteRange,
    complete: u64,
) -> bool {
    strip_conditions(request);
    request.remove(header::RANGE);
    let Some(tag) = stored.strong_etag().and_then(ETag::header_value) else {
        return false;
    };
    let range = if missing.end() >= complete {
        format!("bytes={}-", missing.first())
    } else {
        format!("bytes={}-{}", missing.first(), missing.last())
    };
    let Ok(range) = HeaderValue::try_from(range) else {
        return false;
    };
    request.insert(header::RANGE, range);
    request.insert(header::IF_RANGE, tag);
    true
}

/// The stored `ETag` if it can stand in a list without spoiling it: a valid tag, or one that at
/// least has no comma nor quote.
fn sendable_tag(headers: &HeaderMap) -> Option<&[u8]> {
    let value = list::trim(headers.get(header::ETAG)?.as_bytes());
    let harmless = !value.is_empty()
        && value != b"*"
        && !value.iter().any(|b| matches!(b, b',' | b'"' | b' '));
    (ETag::parse(value).is_some() || harmless).then_some(value)
}

/// The fields of a 304 made from a stored response (RFC 9110 §15.4.5): those that a 200 would have
/// had and that guide a cache, plus `Last-Modified` where there is no `ETag`, targeted fields for
/// caches downstream, and what browsers check on every response (CORS). `Age` and `Cache-Status`
/// are the caller's.
#[must_use]
pub fn not_modified_headers(stored: &HeaderMap) -> HeaderMap {
    const KEPT: [HeaderName; 7] = [
        header::CACHE_CONTROL,
        header::CONTENT_LOCATION,
        header::DATE,
        header::ETAG,
        header::EXPIRES,
        header::VARY,
        targeted::CDN_CACHE_CONTROL,
    ];
    let has_etag = stored.contains_key(header::ETAG);
    stored
        .iter()
        .filter(|(name, _)| {
            KEPT.contains(name)
                || (!has_etag && **name == header::LAST_MODIFIED)
                || name.as_str().starts_with("access-control-")
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        })
}
