//! Which status and which bytes of a stored response answer a request: its conditions and ranges.

use std::ops::Range;

use anypop_cache::{
    conditional::{self, Outcome},
    meta::StoredMeta,
    multipart::{self, Multipart},
    range::{self, ByteRange, ContentRange, Limits, Selection},
    time::Timestamp,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

/// The parts of a stored body that go out, as offsets into it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parts {
    /// The header only.
    Nothing,
    /// All of it.
    Whole,
    /// One range.
    Range(Range<u64>),
    /// Several ranges, each after its head, and what follows the last.
    Ranges(Vec<(Bytes, Range<u64>)>, Bytes),
}

/// A stored response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: &'a HeaderMap,
    pub(super) meta: &'a StoredMeta,
    /// The length of the stored body, if it is known.
    pub(super) length: Option<u64>,
}

/// Decides status and parts, and gives `headers` (the stored ones, and what the pipeline added) the
/// framing that goes with them.
pub(super) fn plan(
    method: &Method,
    request: &HeaderMap,
    stored: &Stored<'_>,
    headers: &mut HeaderMap,
    now: Timestamp,
) -> (StatusCode, Parts) {
    headers.remove(header::CONTENT_LENGTH);
    if stored.status == StatusCode::NO_CONTENT {
        return (stored.status, Parts::Nothing);
    }
    // RFC 9110, section 13.2.1: conditions count only where the answer without them would be a
    // success.
    if stored.status.is_success() {
        match conditional::evaluate(method, request, &stored.meta.validators, now) {
            Outcome::Proceed => {}
            Outcome::NotModified => {
                retain_not_modified(stored.headers, headers);
                return (StatusCode::NOT_MODIFIED, Parts::Nothing);
            }
            Outcome::PreconditionFailed => {
                for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::ETAG] {
                    headers.remove(name);
                }
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
                return (StatusCode::PRECONDITION_FAILED, Parts::Nothing);
            }
        }
    }
    let limits = Limits::default();
    let validators = &stored.meta.validators;
    match (&stored.meta.partial, stored.length) {
        (Some(partial), Some(length)) => {
            let first = partial
                .stored
                .ranges()
                .first()
                .map_or(0, |range| range.first());
            match partial.select(method, request, validators, &limits, now) {
                Some(selection) => {
                    headers.remove(header::CONTENT_RANGE);
                    select(selection, partial.complete, first, headers)
                }
                // It came for this request, and is not what was asked for: it says itself what it is.
                None => {
                    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
                    (stored.status, Parts::Whole)
                }
            }
        }
        (None, Some(length)) if stored.status == StatusCode::OK => {
            let selection = range::select(method, request, validators, length, &limits, now);
            select(selection, length, 0, headers)
        }
        (_, Some(length)) => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            (stored.status, Parts::Whole)
        }
        // Its end is not known yet, so no range of it is.
        (_, None) => (stored.status, Parts::Whole),
    }
}

/// The answer for a selection of a representation of `complete` bytes, of which the stored body
/// holds those from `first` on.
fn select(
    selection: Selection,
    complete: u64,
    first: u64,
    headers: &mut HeaderMap,
) -> (StatusCode, Parts) {
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let at =
        |range: ByteRange| range.first().saturating_sub(first)..range.end().saturating_sub(first);
    match selection {
        Selection::Single(range) => {
            let field = ContentRange::Satisfied {
                range,
                complete: Some(complete),
            };
            headers.insert(header::CONTENT_RANGE, field.header_value());
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.len()));
            return (StatusCode::PARTIAL_CONTENT, Parts::Range(at(range)));
        }
        Selection::Multi(ranges) => {
            if let Some((parts, tail)) = framed(&ranges, complete, headers) {
                let parts = parts
                    .into_iter()
                    .map(|(head, range)| (head, at(range)))
                    .collect();
                return (StatusCode::PARTIAL_CONTENT, Parts::Ranges(parts, tail));
            }
        }
        Selection::Unsatisfiable => {
            let field = ContentRange::Unsatisfied { complete };
            headers.insert(header::CONTENT_RANGE, field.header_value());
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
            headers.remove(header::CONTENT_TYPE);
            return (StatusCode::RANGE_NOT_SATISFIABLE, Parts::Nothing);
        }
        Selection::Whole => {}
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(complete));
    (StatusCode::OK, Parts::Whole)
}

type Framed = (Vec<(Bytes, ByteRange)>, Bytes);

fn framed(ranges: &[ByteRange], complete: u64, headers: &mut HeaderMap) -> Option<Framed> {
    let boundary = multipart::boundary(rand::random());
    let content_type = headers.get(header::CONTENT_TYPE).cloned();
    let frame = Multipart {
        boundary: &boundary,
        content_type: content_type.as_ref(),
        complete,
    };
    let length = frame.content_length(ranges)?;
    let parts = ranges
        .iter()
        .map(|range| (frame.part_head(*range), *range))
        .collect();
    headers.insert(header::CONTENT_TYPE, frame.content_type()?);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Some((parts, frame.tail()))
}

/// Of `headers`, a 304 carries those that [`conditional::not_modified_headers`] names and those
/// that the pipeline added.
fn retain_not_modified(stored: &HeaderMap, headers: &mut HeaderMap) {
    let kept = conditional::not_modified_headers(stored);
    let names: Vec<_> = headers.keys().cloned().collect();
    for name in names {
        if stored.contains_key(&name) && !kept.contains_key(&name) && !added(&name) {
            headers.remove(&name);
        }
    }
}

/// Fields that the pipeline writes whether the stored response has them or not.
fn added(name: &HeaderName) -> bool {
    [header::AGE, header::VIA, header::CACHE_STATUS].contains(name)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use anypop_cache::{
        control::Control, meta::Receipt, policy::Policy, tags::Tags, vary::Normalise,
    };

    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn answer(
        status: u16,
        fields: &[(&'static str, &str)],
        length: u64,
        request: &[(&'static str, &str)],
    ) -> (u16, Parts, HeaderMap) {
        let stored_headers = headers(fields);
        let now = Timestamp::from_secs(1_700_000_000);
        let status = StatusCode::from_u16(status).unwrap();
        let receipt = Receipt {
            site: "s",
            request: &HeaderMap::new(),
            normalise: &Normalise::default(),
            status,
            response: &stored_headers,
            requested: now,
            received: now,
            purge_seq: 0,
        };
        let policy = Policy::default();
        let control = Control::read(&stored_headers, &policy.targets, now);
        let meta = StoredMeta::new(&receipt, &control, &Tags::default(), &policy).unwrap();
        let stored = Stored {
            status,
            headers: &stored_headers,
            meta: &meta,
            length: Some(length),
        };
        let mut sent = stored_headers.clone();
        let (status, parts) = plan(&Method::GET, &headers(request), &stored, &mut sent, now);
        (status.as_u16(), parts, sent)
    }

    #[test]
    fn a_part_answers_what_lies_within_it_at_its_own_offsets() {
        let part = [("content-range", "bytes 100-199/1000"), ("etag", "\"a\"")];
        let (status, parts, sent) = answer(206, &part, 100, &[("range", "bytes=150-159")]);
        assert_eq!((status, parts), (206, Parts::Range(50..60)));
        assert_eq!(sent[header::CONTENT_RANGE], "bytes 150-159/1000");
        assert_eq!(sent[header::CONTENT_LENGTH], "10");
        let (status, parts, sent) = answer(206, &part, 100, &[("range", "bytes=-10")]);
        assert_eq!(
            (status, parts),
            (206, Parts::Whole),
            "as it came, for who caused it"
        );
        assert_eq!(sent[header::CONTENT_RANGE], "bytes 100-199/1000");
    }

    #[test]
    fn a_whole_response_answers_ranges_and_conditions() {
        let whole = [
            ("etag", "\"a\""),
            ("content-type", "text/plain"),
            ("x-other", "1"),
        ];
        let (status, parts, _) = answer(200, &whole, 1000, &[("range", "bytes=-10")]);
        assert_eq!((status, parts), (206, Parts::Range(990..1000)));
        let (status, parts, sent) = answer(200, &whole, 1000, &[("range", "bytes=2000-")]);
        assert_eq!((status, parts), (416, Parts::Nothing));
        assert_eq!(sent[header::CONTENT_RANGE], "bytes */1000");
        let (status, parts, sent) = answer(200, &whole, 1000, &[("if-none-match", "\"a\"")]);
        assert_eq!((status, parts), (304, Parts::Nothing));
        assert!(!sent.contains_key("x-other") && sent.contains_key("etag"));
        let (status, ..) = answer(200, &whole, 1000, &[("if-match", "\"b\"")]);
        assert_eq!(status, 412);
        let (status, parts, _) = answer(404, &whole, 9, &[("if-none-match", "\"a\"")]);
        assert_eq!(
            (status, parts),
            (404, Parts::Whole),
            "no condition changes an error"
        );
    }
}
