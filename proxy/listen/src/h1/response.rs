//! The response as it goes onto the wire (RFC 9112 §6).

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use pingora_http::{HeaderNameVariant, ResponseHeader};

use super::chunked::chunk_head;
use super::wire::{Wire, WireError};
use crate::date::append_date;
use crate::head::{content_length, is_field_value, is_forbidden_trailer};

/// How the end of the body is told.
#[derive(Debug, Default, PartialEq, Eq)]
enum Framing {
    /// No final head has been written.
    #[default]
    Unset,
    /// The status or the method has no body; whatever is written is dropped.
    NoBody,
    /// So many bytes are still to come.
    Length(u64),
    Chunked,
    /// By closing the connection (HTTP/1.0).
    Close,
    /// After 101: no framing.
    Tunnel,
}

/// The current response.
#[derive(Debug, Default)]
pub(super) struct ResponseState {
    framing: Framing,
    ended: bool,
    /// Whether the head said that the connection stays.
    pub(super) keep_alive: bool,
    /// Body bytes, without framing.
    pub(super) body_sent: u64,
}

impl ResponseState {
    /// Whether no final head has been written yet.
    pub(super) fn is_open(&self) -> bool {
        self.framing == Framing::Unset
    }

    /// A response that was queued whole.
    pub(super) fn answered(keep_alive: bool) -> Self {
        Self {
            framing: Framing::NoBody,
            ended: true,
            keep_alive,
            body_sent: 0,
        }
    }

    /// Whether the connection has become a tunnel.
    pub(super) fn is_tunnel(&self) -> bool {
        self.framing == Framing::Tunnel
    }

    /// Whether the whole response has been queued.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }
}

impl Wire {
    /// Queues a head: any number of 1xx, then one that is final. True if it was the final one (101 is).
    pub(super) fn put_head(&mut self, head: &ResponseHeader, end: bool) -> Result<bool, WireError> {
        if !self.response.is_open() {
            return Err(WireError::Response("a second response head"));
        }
        let status = head.status;
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            return self.put_interim(head).map(|()| false);
        }
        if status == StatusCode::SWITCHING_PROTOCOLS {
            if !self.request.upgrade {
                return Err(WireError::Response("101 to a request without Upgrade"));
            }
            self.response.framing = Framing::Tunnel;
            self.request.start_tunnel();
        } else {
            self.response.framing = self.framing(head, end)?;
        }
        // What the client waits for is this response now.
        let drainable = self.request.is_drainable();
        self.response.keep_alive = self.request.keep_alive
            && !self.last
            && !self.mode.leaving()
            && drainable
            && !matches!(self.response.framing, Framing::Close | Framing::Tunnel);
        let mut out = self.out.buffer();
        self.write_head(head, end, &mut out)?;
        self.out.push_owned(out);
        self.response.ended = matches!(self.response.framing, Framing::NoBody | Framing::Length(0));
        if end && !self.response.ended {
            self.put_end()?;
        }
        Ok(true)
    }

    /// 1xx before the final response (RFC 9110 §15.2): not to HTTP/1.0, and "100 Continue" only to who waits for it.
    fn put_interim(&mut self, head: &ResponseHeader) -> Result<(), WireError> {
        if self.request.http10 {
            return Ok(());
        }
        if head.status == StatusCode::CONTINUE
            && !std::mem::take(&mut self.request.expects_continue)
        {
            return Ok(());
        }
        let mut out = self.out.buffer();
        put_status_line(head, &mut out);
        put_fields(head, &mut out, |name| {
            is_hop_by_hop(name) || name.eq_ignore_ascii_case(b"content-length")
        })?;
        out.put_slice(b"\r\n");
        self.out.push_owned(out);
        Ok(())
    }

    fn framing(&self, head: &ResponseHeader, end: bool) -> Result<Framing, WireError> {
        if self.request.head_method
            || matches!(
                head.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            )
        {
            return Ok(Framing::NoBody);
        }
        let mut lengths = head.headers.get_all(header::CONTENT_LENGTH).iter();
        if let Some(length) = lengths.next() {
            let parsed = content_length(length.as_bytes()).ok();
            return match parsed {
                Some(parsed) if lengths.all(|other| other == length) => Ok(Framing::Length(parsed)),
                _ => Err(WireError::Response(
                    "Content-Length of the response is not a number",
                )),
            };
        }
        Ok(if end {
            Framing::Length(0)
        } else if self.request.http10 {
            Framing::Close
        } else {
            Framing::Chunked
        })
    }

    fn write_head(
        &self,
        head: &ResponseHeader,
        end: bool,
        out: &mut BytesMut,
    ) -> Result<(), WireError> {
        let tunnel = self.response.framing == Framing::Tunnel;
        put_section(
            head,
            Section {
                no_length: head.status == StatusCode::NO_CONTENT || tunnel,
                tunnel,
                trailers: self.response.framing == Framing::Chunked && self.request.takes_trailers,
            },
            out,
        )?;
        if !head.headers.contains_key(header::DATE) && !tunnel {
            out.put_slice(b"Date: ");
            append_date(out);
            out.put_slice(b"\r\n");
        }
        match self.response.framing {
            Framing::Chunked => out.put_slice(b"Transfer-Encoding: chunked\r\n"),
            Framing::Length(0) if end && !head.headers.contains_key(header::CONTENT_LENGTH) => {
                out.put_slice(b"Content-Length: 0\r\n")
            }
            _ => {}
        }
        if tunnel {
            out.put_slice(b"Connection: Upgrade\r\n");
        } else if !self.response.keep_alive {
            out.put_slice(b"Connection: close\r\n");
        } else if self.request.http10 {
            out.put_slice(b"Connection: keep-alive\r\n");
        }
        out.put_slice(b"\r\n");
        Ok(())
    }

    /// Queues a piece of the body. What exceeds the announced length is dropped.
    pub(super) fn put_body(&mut self, mut data: Bytes) -> Result<(), WireError> {
        if data.is_empty() || self.response.ended {
            return Ok(());
        }
        match &mut self.response.framing {
            Framing::Unset => return Err(WireError::Response("a body before the head")),
            Framing::NoBody => return Ok(()),
            Framing::Length(left) => {
                data.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= data.len() as u64;
                self.response.ended = *left == 0;
                self.response.body_sent += data.len() as u64;
                self.out.push_bytes(data);
            }
            Framing::Chunked => {
                self.response.body_sent += data.len() as u64;
                self.out.push(chunk_head(data.len()).as_ref());
                self.out.push_bytes(data);
                self.out.push(b"\r\n");
            }
            Framing::Close | Framing::Tunnel => {
                self.response.body_sent += data.len() as u64;
                self.out.push_bytes(data);
            }
        }
        Ok(())
    }

    /// Queues the end of the body. A body that is shorter than announced is an error, and the connection is given up.
    pub(super) fn put_end(&mut self) -> Result<(), WireError> {
        self.put_end_with(None)
    }

    /// Queues the end of the body, with trailers where the framing has room for them and the client takes them (RFC 9110 §6.5).
    pub(super) fn put_end_with(&mut self, trailers: Option<&HeaderMap>) -> Result<(), WireError> {
        if self.response.ended {
            return Ok(());
        }
        match self.response.framing {
            // Nothing was begun, so there is nothing to end.
            Framing::Unset => return Ok(()),
            Framing::Length(1..) => {
                return Err(WireError::Response(
                    "the response body is shorter than its Content-Length",
                ));
            }
            Framing::Chunked => {
                let mut out = BytesMut::from(b"0\r\n".as_slice());
                if let Some(trailers) = trailers.filter(|_| self.request.takes_trailers) {
                    for (name, value) in trailers {
                        if !is_forbidden_trailer(name.as_str().as_bytes())
                            && is_field_value(value.as_bytes())
                        {
                            put_field(name.as_str().as_bytes(), value.as_bytes(), &mut out);
                        }
                    }
                }
                out.put_slice(b"\r\n");
                self.out.push_owned(out);
            }
            Framing::Tunnel => {
                // One side's end is the end of both (as Pingora does it): the request's bytes go nowhere any more.
                self.request.body = super::body::Body::Done;
            }
            Framing::NoBody | Framing::Length(0) | Framing::Close => {}
        }
        self.response.ended = true;
        Ok(())
    }
}

/// Writes what [`HotResponse::head`](crate::HotResponse) holds of this response: status line and fields, byte for byte as a session
/// would write them for a response that has a `Date` and whose length `Content-Length` tells.
///
/// False when it is not such a response, or one without a body (204, 304), or not final; `out` is then as it was.
pub fn write_whole_head(head: &ResponseHeader, out: &mut BytesMut) -> bool {
    let lengths = head.headers.get_all(header::CONTENT_LENGTH).iter().count();
    let bodiless = matches!(
        head.status,
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
    );
    if lengths != 1
        || bodiless
        || head.status.is_informational()
        || !head.headers.contains_key(header::DATE)
    {
        return false;
    }
    let before = out.len();
    let written = put_section(head, Section::default(), out).is_ok();
    if !written {
        out.truncate(before);
    }
    written
}

/// What depends on the framing.
#[derive(Clone, Copy, Default)]
struct Section {
    /// `Content-Length` has no place.
    no_length: bool,
    /// The response switches protocols.
    tunnel: bool,
    /// Trailers will be sent.
    trailers: bool,
}

/// Status line and fields without those of the hop that is over.
fn put_section(
    head: &ResponseHeader,
    section: Section,
    out: &mut BytesMut,
) -> Result<(), WireError> {
    put_status_line(head, out);
    // Fields that the response's own Connection names were for the hop that is over (RFC 9110 §7.6.1).
    let named: Vec<Bytes> = named_by_connection(&head.headers);
    let mut length_seen = false;
    put_fields(head, out, |name| {
        if name.eq_ignore_ascii_case(b"content-length") {
            // Equal repetitions become one.
            return section.no_length || std::mem::replace(&mut length_seen, true);
        }
        if name.eq_ignore_ascii_case(b"upgrade") && section.tunnel {
            return false;
        }
        if name.eq_ignore_ascii_case(b"trailer") && section.trailers {
            return false;
        }
        is_hop_by_hop(name) || named.iter().any(|named| name.eq_ignore_ascii_case(named))
    })
}

fn put_status_line(head: &ResponseHeader, out: &mut BytesMut) {
    out.reserve(512);
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(head.status.as_str().as_bytes());
    out.put_u8(b' ');
    let reason = head.get_reason_phrase().unwrap_or_default().as_bytes();
    if is_field_value(reason) {
        out.put_slice(reason);
    }
    out.put_slice(b"\r\n");
}

fn put_field(name: &[u8], value: &[u8], out: &mut BytesMut) {
    out.put_slice(name);
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// Writes the fields that `drop` does not name, in the letter case they came in.
fn put_fields(
    head: &ResponseHeader,
    out: &mut BytesMut,
    mut drop: impl FnMut(&[u8]) -> bool,
) -> Result<(), WireError> {
    head.map(|name, value| {
        let name = match &name {
            HeaderNameVariant::Case(name) => name.as_slice(),
            HeaderNameVariant::Titled(name) => name.as_bytes(),
        };
        // The origin's values were parsed leniently; what could split a head is not passed on.
        if !drop(name) && is_field_value(value.as_bytes()) {
            put_field(name, value.as_bytes(), out);
        }
        Ok(())
    })
    .map_err(|_| WireError::Response("fields of the response"))
}

/// Fields about one hop (RFC 9110 §7.6.1); those of the next hop are written by `write_head`.
fn is_hop_by_hop(name: &[u8]) -> bool {
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    match name.len() {
        2 => is("te"),
        7 => is("upgrade") || is("trailer"),
        10 => is("connection") || is("keep-alive"),
        16 => is("proxy-connection"),
        17 => is("transfer-encoding"),
        _ => false,
    }
}

fn named_by_connection(headers: &HeaderMap) -> Vec<Bytes> {
    let mut named = Vec::new();
    for value in headers.get_all(header::CONNECTION) {
        for option in value
            .as_bytes()
            .split(|b| *b == b',')
            .map(<[u8]>::trim_ascii)
        {
            let is = |known: &str| option.eq_ignore_ascii_case(known.as_bytes());
            if !option.is_empty()
                && !is("close")
                && !is("keep-alive")
                && !is("upgrade")
                && !is("content-length")
                && !is("date")
            {
                named.push(Bytes::copy_from_slice(option));
            }
        }
    }
    named
}
