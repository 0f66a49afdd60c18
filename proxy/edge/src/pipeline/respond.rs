//! Responses that the node makes itself: refusals, redirects, errors.

use anypop_cache::proxy_status::{PROXY_STATUS, ProxyError, ProxyStatus};
use anypop_origin::FetchError;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use pingora_error::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::{context::Context, outbound::X_REQUEST_ID};
use crate::observe::labels::{CacheResult, Refusal};

/// A response without a stored or fetched one behind it.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    /// Its status.
    pub(super) status: StatusCode,
    /// Its fields beside those that every reply has.
    pub(super) headers: HeaderMap,
    /// Why the request was refused, if it was.
    pub(super) refused: Option<Refusal>,
    /// What failed on the way to the origin.
    pub(super) failure: Option<Failure>,
    /// Whether the connection ends with it.
    pub(super) close: bool,
    /// The body; the status in words where empty.
    pub(super) body: Bytes,
}

/// What failed on the way to the origin.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// The type of error, as RFC 9209 names it.
    pub(super) error: &'static str,
    /// More about it, for operators.
    pub(super) detail: String,
    /// The member of `Proxy-Status` that says so.
    pub(super) proxy_status: String,
}

impl Failure {
    /// In the words of RFC 9209, under the name of this proxy.
    pub(super) fn of(error: &FetchError, proxy: &str) -> Self {
        Self {
            error: error.kind.token(),
            detail: error.to_string(),
            proxy_status: error.proxy_status(proxy),
        }
    }
}

impl Failure {
    /// As [`Failure::of`], for a request that shared another's fill: it knows the type only.
    pub(super) fn shared(error: &str, proxy: &str) -> Self {
        let known = ProxyError::ALL
            .iter()
            .copied()
            .find(|known| known.as_str() == error);
        let known = known.unwrap_or(ProxyError::ProxyInternalError);
        Self {
            error: known.as_str(),
            detail: "shared with the request that began the fill".to_owned(),
            proxy_status: ProxyStatus::error(known).render(proxy),
        }
    }
}

impl Reply {
    /// A plain response with `status`.
    pub(super) fn status(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            refused: None,
            failure: None,
            close: false,
            body: Bytes::new(),
        }
    }

    /// A refusal.
    pub(super) fn refusal(status: StatusCode, why: Refusal) -> Self {
        Self {
            refused: Some(why),
            ..Self::status(status)
        }
    }

    /// An error on the way to the origin: 502, 503 or 504.
    pub(super) fn failure(error: &FetchError, proxy: &str) -> Self {
        Self {
            failure: Some(Failure::of(error, proxy)),
            ..Self::status(error.status())
        }
    }

    /// Adds a field. A value that cannot stand in a header is left out.
    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Makes the connection end after it.
    pub(super) fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// Gives it a body of text.
    pub(super) fn text(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The header, and the body that goes with it.
    ///
    /// # Errors
    /// Never for the statuses that this crate uses; Pingora's builder is fallible.
    pub(super) fn render(self) -> Result<(Box<ResponseHeader>, Bytes)> {
        let body = if self.body.is_empty() && !bodiless(self.status) {
            Bytes::from(format!(
                "{} {}\n",
                self.status.as_u16(),
                self.status.canonical_reason().unwrap_or("")
            ))
        } else {
            self.body
        };
        let mut response = ResponseHeader::build_no_case(self.status, Some(8))?;
        for (name, value) in &self.headers {
            response.append_header(name, value)?;
        }
        if let Some(failure) = &self.failure {
            response.insert_header(PROXY_STATUS, failure.proxy_status.as_str())?;
        }
        if !bodiless(self.status) {
            response.insert_header(header::CONTENT_TYPE, "text/plain; charset=utf-8")?;
            response.insert_header(header::CONTENT_LENGTH, body.len())?;
        }
        if self.status.is_client_error() || self.status.is_server_error() {
            response.insert_header(header::CACHE_CONTROL, "no-store")?;
        }
        if self.close {
            response.insert_header(header::CONNECTION, "close")?;
        }
        Ok((Box::new(response), body))
    }
}

fn bodiless(status: StatusCode) -> bool {
    status.is_informational() || matches!(status.as_u16(), 204 | 304)
}

/// Writes a whole response.
///
/// # Errors
/// When the client is gone or too slow.
async fn write(session: &mut Session, header: Box<ResponseHeader>, body: Bytes) -> Result<()> {
    let head_only = session.req_header().method == http::Method::HEAD;
    if head_only || body.is_empty() {
        session.write_response_header(header, true).await?;
        return session.write_response_body(None, true).await;
    }
    session.write_response_header(header, false).await?;
    session.write_response_body(Some(body), true).await
}

/// Sends a reply and notes what was sent.
///
/// # Errors
/// When the client is gone or too slow.
pub(super) async fn send(session: &mut Session, ctx: &mut Context, reply: Reply) -> Result<()> {
    let outcome = &mut ctx.outcome;
    outcome.cache = Some(CacheResult::Synthetic);
    outcome.refused = reply.refused;
    outcome.delivered.status = reply.status.as_u16();
    if let Some(failure) = &reply.failure {
        outcome.failure = Some(failure.clone());
    }
    let (mut header, body) = reply.render()?;
    header.insert_header(X_REQUEST_ID, ctx.request_id.as_str())?;
    if session.req_header().method != http::Method::HEAD {
        outcome.delivered.body = body.len() as u64;
    }
    outcome.delivered.first_byte = Some(std::time::Instant::now());
    write(session, header, body).await
}
