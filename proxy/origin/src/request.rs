//! A request without a body, and its head on the wire.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use pingora_http::RequestHeader;
use tokio::sync::mpsc;

use crate::error::{ErrorKind, FetchError};

/// A request without a body, cleaned of hop-by-hop fields.
#[derive(Clone, Debug)]
pub struct Request {
    /// GET or HEAD.
    pub method: Method,
    /// What is sent as Host or `:authority`, unless the site says another.
    pub authority: HeaderValue,
    /// The target in origin form, `/path?query`.
    pub path_and_query: Bytes,
    /// All other fields. Framing and hop-by-hop fields among them are not sent.
    pub headers: HeaderMap,
    /// The client, for [`Balance::ClientHash`](crate::Balance::ClientHash).
    pub client: Option<IpAddr>,
    /// Where informational responses go (103 Early Hints, RFC 8297). What finds it full is lost:
    /// hints are not worth waiting for.
    pub informational: Option<mpsc::Sender<Informational>>,
}

/// A 1xx response.
#[derive(Clone, Debug)]
pub struct Informational {
    /// 100 or 102 to 199.
    pub status: StatusCode,
    /// Its fields.
    pub headers: HeaderMap,
}

/// Fields that frame a message or belong to one connection; there is no body to frame.
fn is_ours(name: &HeaderName) -> bool {
    [
        HOST,
        CONNECTION,
        CONTENT_LENGTH,
        TRANSFER_ENCODING,
        UPGRADE,
        EXPECT,
        TE,
        TRAILER,
    ]
    .contains(name)
        || matches!(
            name.as_str(),
            "keep-alive" | "proxy-connection" | "http2-settings"
        )
}

/// The head for HTTP/1.1 (RFC 9112 §3).
pub(crate) fn head_h1(
    request: &Request,
    host: &HeaderValue,
) -> Result<Box<RequestHeader>, FetchError> {
    let fields = request.headers.len() + 1;
    let path = &request.path_and_query;
    let build = || -> pingora_error::Result<RequestHeader> {
        let mut header = RequestHeader::build_no_case(request.method.clone(), path, Some(fields))?;
        header.append_header(HOST, host.clone())?;
        copy(request, &mut header)?;
        Ok(header)
    };
    build()
        .map(Box::new)
        .map_err(|error| unsendable(&error.to_string()))
}

/// The head for HTTP/2: an authority instead of Host (RFC 9113 §8.3.1).
pub(crate) fn head_h2(
    request: &Request,
    authority: &HeaderValue,
    tls: bool,
) -> Result<Box<RequestHeader>, FetchError> {
    let uri = Uri::builder()
        .scheme(if tls { "https" } else { "http" })
        .authority(authority.as_bytes())
        .path_and_query(&*request.path_and_query)
        .build()
        .map_err(|error| unsendable(&error.to_string()))?;
    let fields = Some(request.headers.len());
    let build = || -> pingora_error::Result<RequestHeader> {
        let mut header = RequestHeader::build_no_case(request.method.clone(), b"/", fields)?;
        header.set_uri(uri.clone());
        copy(request, &mut header)?;
        Ok(header)
    };
    build()
        .map(Box::new)
        .map_err(|error| unsendable(&error.to_string()))
}

fn copy(request: &Request, header: &mut RequestHeader) -> pingora_error::Result<()> {
    for (name, value) in &request.headers {
        if !is_ours(name) {
            header.append_header(name.clone(), value.clone())?;
        }
    }
    Ok(())
}

fn unsendable(why: &str) -> FetchError {
    let detail = format!("the request cannot be sent: {why}");
    FetchError::new(ErrorKind::ProxyInternalError, detail)
}
