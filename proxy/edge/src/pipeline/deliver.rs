//! Sending a stored response: its conditions, its ranges, its body as far as it has come.

use std::time::Instant;

use anypop_cache::{
    conditional::{self, Outcome},
    multipart::{self, Multipart},
    range::{self, ByteRange, ContentRange, Limits, Selection},
    time::Timestamp,
    validators::Validators,
};
use anypop_store::{BodyError, BodyReader, Object};
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

/// What came of a delivery, for log and metrics.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delivered {
    /// The status sent.
    pub(super) status: u16,
    /// Bytes of body sent.
    pub(super) body: u64,
    /// When the header was written.
    pub(super) first_byte: Option<Instant>,
}

/// The parts of a response that go out.
enum Plan {
    /// Header only.
    Nothing,
    /// The whole body.
    Whole,
    /// One range.
    Range(ByteRange),
    /// Several ranges, framed.
    Ranges(Vec<(Bytes, ByteRange)>, Bytes),
}

/// Sends `object` as the answer to the session's request. `headers` are the object's own, already
/// with the fields that the pipeline adds (`Age`, `Cache-Status`, `Via` and the site's edits).
///
/// `false`: nothing was sent, since the body's beginning is not there any more.
///
/// # Errors
/// When the client is gone or too slow, or the fill that the body follows failed: the connection
/// is then not in order, and the client must see a truncation.
pub(super) async fn stored(
    session: &mut Session,
    object: &Object,
    mut headers: HeaderMap,
    now: Timestamp,
    delivered: &mut Delivered,
) -> Result<bool> {
    let request = session.req_header();
    let method = request.method.clone();
    let (status, plan) = plan(&method, &request.headers, object, &mut headers, now);
    let body = object.body();
    let head_only = method == Method::HEAD || matches!(plan, Plan::Nothing);
    let mut reader = match &plan {
        Plan::Range(range) => body.range(range.first()..range.end()),
        _ => body.reader(),
    };
    // What is there at once; a reader that comes too late hears of it before anything is sent.
    let first = if head_only {
        None
    } else {
        reader.next().now_or_never()
    };
    if let Some(Err(BodyError::Gone)) = first {
        return Ok(false);
    }
    delivered.status = status.as_u16();
    session
        .write_response_header(head(status, headers), head_only)
        .await?;
    delivered.first_byte = Some(Instant::now());
    if head_only {
        session.write_response_body(None, true).await?;
        return Ok(true);
    }
    match plan {
        Plan::Nothing => {}
        Plan::Whole | Plan::Range(_) => {
            copy(session, first, &mut reader, delivered).await?;
        }
        Plan::Ranges(parts, tail) => {
            for (head, range) in parts {
                send(session, head, delivered).await?;
                let mut reader = body.range(range.first()..range.end());
                copy(session, None, &mut reader, delivered).await?;
            }
            send(session, tail, delivered).await?;
        }
    }
    match reader
        .trailers()
        .filter(|trailers| status == StatusCode::OK && !trailers.is_empty())
    {
        Some(trailers) => {
            session
                .as_downstream_mut()
                .write_response_trailers(trailers)
                .await?
        }
        None => session.write_response_body(None, true).await?,
    }
    Ok(true)
}

/// A response header of these parts.
pub(super) fn head(status: StatusCode, headers: HeaderMap) -> Box<ResponseHeader> {
    let mut response = http::Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Box::new(ResponseHeader::from(response.into_parts().0))
}

/// Decides status and parts, and gives `headers` the framing that goes with them.
fn plan(
    method: &Method,
    request: &HeaderMap,
    object: &Object,
    headers: &mut HeaderMap,
    now: Timestamp,
) -> (StatusCode, Plan) {
    let status = object.status();
    let length = object.body().length();
    headers.remove(header::CONTENT_LENGTH);
    if bodiless(status) {
        return (status, Plan::Nothing);
    }
    let validators = Validators::of(object.headers(), object.meta().clock.received);
    // RFC 9110 §13.2.1: conditions count only where the answer without them would be a success.
    if status.is_success() {
        match conditional::evaluate(method, request, &validators, now) {
            Outcome::Proceed => {}
            Outcome::NotModified => {
                retain_not_modified(object.headers(), headers);
                return (StatusCode::NOT_MODIFIED, Plan::Nothing);
            }
            Outcome::PreconditionFailed => {
                for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::ETAG] {
                    headers.remove(name);
                }
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
                return (StatusCode::PRECONDITION_FAILED, Plan::Nothing);
            }
        }
    }
    let Some(length) = length else {
        return (status, Plan::Whole);
    };
    if status == StatusCode::OK {
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        match range::select(
            method,
            request,
            &validators,
            length,
            &Limits::default(),
            now,
        ) {
            Selection::Whole => {}
            Selection::Single(range) => {
                let field = ContentRange::Satisfied {
                    range,
                    complete: Some(length),
                };
                headers.insert(header::CONTENT_RANGE, field.header_value());
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.len()));
                return (StatusCode::PARTIAL_CONTENT, Plan::Range(range));
            }
            Selection::Multi(ranges) => {
                if let Some(plan) = multipart_plan(&ranges, length, headers) {
                    return (StatusCode::PARTIAL_CONTENT, plan);
                }
            }
            Selection::Unsatisfiable => {
                let field = ContentRange::Unsatisfied { complete: length };
                headers.insert(header::CONTENT_RANGE, field.header_value());
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
                headers.remove(header::CONTENT_TYPE);
                return (StatusCode::RANGE_NOT_SATISFIABLE, Plan::Nothing);
            }
        }
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    (status, Plan::Whole)
}

fn multipart_plan(ranges: &[ByteRange], complete: u64, headers: &mut HeaderMap) -> Option<Plan> {
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
    Some(Plan::Ranges(parts, frame.tail()))
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
fn added(name: &http::HeaderName) -> bool {
    *name == header::AGE || *name == header::VIA || name.as_str() == "cache-status"
}

fn bodiless(status: StatusCode) -> bool {
    status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

/// Sends what a reader gives; `first` is what it gave already.
async fn copy(
    session: &mut Session,
    mut first: Option<Result<Option<Bytes>, BodyError>>,
    reader: &mut BodyReader,
    delivered: &mut Delivered,
) -> Result<()> {
    loop {
        let next = match first.take() {
            Some(next) => next,
            None => reader.next().await,
        };
        match next {
            Ok(Some(bytes)) => send(session, bytes, delivered).await?,
            Ok(None) => return Ok(()),
            Err(error) => {
                let mut failed = Error::explain(ErrorType::ReadError, error.to_string());
                failed.esource = ErrorSource::Upstream;
                return Err(failed);
            }
        }
    }
}

async fn send(session: &mut Session, bytes: Bytes, delivered: &mut Delivered) -> Result<()> {
    let length = bytes.len() as u64;
    session.write_response_body(Some(bytes), false).await?;
    delivered.body += length;
    Ok(())
}
