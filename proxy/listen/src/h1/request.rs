//! From a parsed head to the request header that the pipeline works on.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Version as HttpVersion};
use pingora_http::RequestHeader;

use crate::client::ClientInfo;
use crate::head::{FieldSpan, Parsed, Refusal, Version};

/// Builds the header from the head's bytes, which names and values go on to share. The target gets its origin form.
pub(super) fn build(
    head: &Bytes,
    parsed: &Parsed,
    spans: &[FieldSpan],
    client: &Arc<ClientInfo>,
) -> Result<RequestHeader, Refusal> {
    const TARGET: Refusal = Refusal::bad("character in the request target");
    let view = parsed.view(head, spans);
    let method = Method::from_bytes(view.method().as_bytes())
        .map_err(|_| Refusal::bad("method is no token"))?;
    let mut request = RequestHeader::build(method, view.path().as_bytes(), Some(spans.len()))
        .map_err(|_| TARGET)?;
    request.set_version(match view.version() {
        Version::Http10 => HttpVersion::HTTP_10,
        Version::Http11 => HttpVersion::HTTP_11,
    });
    for field in view.spans() {
        let value = HeaderValue::from_maybe_shared(slice(head, field.value.range()))
            .map_err(|_| Refusal::bad("control character in a field value"))?;
        request
            .append_header(slice(head, field.name.range()), value)
            .map_err(|_| Refusal::bad("field name is no token"))?;
    }
    let extensions = request.extensions_mut();
    extensions.insert(Arc::clone(client));
    if let Some(authority) = view.authority() {
        extensions.insert(authority);
    }
    Ok(request)
}

/// As `Bytes::slice`, without its panic.
fn slice(bytes: &Bytes, range: std::ops::Range<usize>) -> Bytes {
    if range.start <= range.end && range.end <= bytes.len() {
        bytes.slice(range)
    } else {
        Bytes::new()
    }
}
