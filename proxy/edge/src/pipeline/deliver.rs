//! Sending a stored response, its body as far as it has come.

use std::time::Instant;

use anypop_cache::time::Timestamp;
use anypop_store::{BodyError, BodyReader, Object};
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Method, StatusCode};
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::plan::{Parts, Stored, plan};

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
    let body = object.body();
    let stored = Stored {
        status: object.status(),
        headers: object.headers(),
        meta: object.meta(),
        length: body.length(),
    };
    let (status, parts) = plan(&method, &request.headers, &stored, &mut headers, now);
    let head_only = method == Method::HEAD || matches!(parts, Parts::Nothing);
    let mut reader = match &parts {
        Parts::Range(range) => body.range(range.clone()),
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
    match parts {
        Parts::Nothing => {}
        Parts::Whole | Parts::Range(_) => {
            copy(session, first, &mut reader, delivered).await?;
        }
        Parts::Ranges(parts, tail) => {
            for (head, range) in parts {
                send(session, head, delivered).await?;
                let mut reader = body.range(range);
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
