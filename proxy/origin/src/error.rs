//! What can go wrong on the way to an origin, in the words of RFC 9209 §2.3.
//!
//! An error says three things: the type for the `Proxy-Status` field, the status a client gets,
//! and what the caller may do next.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use http::StatusCode;
use pingora_error::{Error, ErrorType};

/// The proxy error types of RFC 9209 §2.3 that an origin can cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No answer from the DNS in time.
    DnsTimeout,
    /// The DNS answered with an error, or with no address.
    DnsError,
    /// The site has no server.
    DestinationNotFound,
    /// The server cannot be used now.
    DestinationUnavailable,
    /// Every address is one that the node's document does not allow.
    DestinationIpProhibited,
    /// No route to the address.
    DestinationIpUnroutable,
    /// The server refused the connection.
    ConnectionRefused,
    /// The connection ended before a whole response head.
    ConnectionTerminated,
    /// The connection was not established in time.
    ConnectionTimeout,
    /// Nothing came from the server in time.
    ConnectionReadTimeout,
    /// The server took nothing in time.
    ConnectionWriteTimeout,
    /// The site's cap on exchanges with its servers is reached.
    ConnectionLimitReached,
    /// TLS failed for another reason than the two below.
    TlsProtocolError,
    /// The server's certificate was not accepted.
    TlsCertificateError,
    /// The server ended the handshake with an alert.
    TlsAlertReceived,
    /// The response ended early.
    HttpResponseIncomplete,
    /// The response head is larger than [`crate::fetch::MAX_HEAD_BYTES`] or has too many fields.
    HttpResponseHeaderSectionSize,
    /// The transfer coding of the response cannot be read.
    HttpResponseTransferCoding,
    /// The upgrade was not made.
    HttpUpgradeFailed,
    /// The response is not HTTP, or has two meanings.
    HttpProtocolError,
    /// The fault is ours.
    ProxyInternalError,
    /// The site's document cannot work.
    ProxyConfigurationError,
}

/// What the caller may do after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another address or server may do better. Look at [`FetchError::sent`] first if the request
    /// must not be made twice.
    Elsewhere,
    /// Trying again would end the same way, or cost too much time.
    GiveUp,
}

impl ErrorKind {
    /// The token of the `error` parameter of `Proxy-Status` (RFC 9209 §2.3).
    #[must_use]
    pub fn token(self) -> &'static str {
        match self {
            Self::DnsTimeout => "dns_timeout",
            Self::DnsError => "dns_error",
            Self::DestinationNotFound => "destination_not_found",
            Self::DestinationUnavailable => "destination_unavailable",
            Self::DestinationIpProhibited => "destination_ip_prohibited",
            Self::DestinationIpUnroutable => "destination_ip_unroutable",
            Self::ConnectionRefused => "connection_refused",
            Self::ConnectionTerminated => "connection_terminated",
            Self::ConnectionTimeout => "connection_timeout",
            Self::ConnectionReadTimeout => "connection_read_timeout",
            Self::ConnectionWriteTimeout => "connection_write_timeout",
            Self::ConnectionLimitReached => "connection_limit_reached",
            Self::TlsProtocolError => "tls_protocol_error",
            Self::TlsCertificateError => "tls_certificate_error",
            Self::TlsAlertReceived => "tls_alert_received",
            Self::HttpResponseIncomplete => "http_response_incomplete",
            Self::HttpResponseHeaderSectionSize => "http_response_header_section_size",
            Self::HttpResponseTransferCoding => "http_response_transfer_coding",
            Self::HttpUpgradeFailed => "http_upgrade_failed",
            Self::HttpProtocolError => "http_protocol_error",
            Self::ProxyInternalError => "proxy_internal_error",
            Self::ProxyConfigurationError => "proxy_configuration_error",
        }
    }

    /// The status a client gets: 502, 503 or 504. RFC 9209 recommends 500 for the three that are
    /// ours; clients and monitors tell an edge from its origin more easily by 502, so that is used.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::DestinationUnavailable | Self::ConnectionLimitReached => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::DnsTimeout
            | Self::ConnectionTimeout
            | Self::ConnectionReadTimeout
            | Self::ConnectionWriteTimeout => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    /// True where the request may have reached the server: a request that must not be made twice
    /// is not made again.
    #[must_use]
    pub fn sent(self) -> bool {
        match self {
            Self::DnsTimeout
            | Self::DnsError
            | Self::DestinationNotFound
            | Self::DestinationUnavailable
            | Self::DestinationIpProhibited
            | Self::DestinationIpUnroutable
            | Self::ConnectionRefused
            | Self::ConnectionTimeout
            | Self::ConnectionLimitReached
            | Self::TlsProtocolError
            | Self::TlsCertificateError
            | Self::TlsAlertReceived
            | Self::ProxyConfigurationError => false,
            Self::ConnectionTerminated
            | Self::ConnectionReadTimeout
            | Self::ConnectionWriteTimeout
            | Self::HttpResponseIncomplete
            | Self::HttpResponseHeaderSectionSize
            | Self::HttpResponseTransferCoding
            | Self::HttpUpgradeFailed
            | Self::HttpProtocolError
            | Self::ProxyInternalError => true,
        }
    }

    /// What the caller may do next.
    #[must_use]
    pub fn next(self) -> Next {
        match self {
            Self::DestinationNotFound
            | Self::ConnectionReadTimeout
            | Self::HttpResponseIncomplete
            | Self::HttpResponseHeaderSectionSize
            | Self::HttpResponseTransferCoding
            | Self::HttpUpgradeFailed
            | Self::HttpProtocolError
            | Self::ProxyInternalError
            | Self::ProxyConfigurationError => Next::GiveUp,
            _ => Next::Elsewhere,
        }
    }

    /// True where the server (or the way to it) is at fault, so that its health suffers.
    pub(crate) fn blames_server(self) -> bool {
        !matches!(
            self,
            Self::DestinationNotFound
                | Self::ConnectionLimitReached
                | Self::HttpUpgradeFailed
                | Self::ProxyInternalError
                | Self::ProxyConfigurationError
        )
    }
}

/// One failed exchange with an origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", kind.token())]
pub struct FetchError {
    /// The type of RFC 9209.
    pub kind: ErrorKind,
    /// What happened, for the log. Never for clients: it may hold addresses.
    pub detail: Cow<'static, str>,
    /// The site whose origin it is.
    pub site: Option<Arc<str>>,
    /// The server, as `scheme://host:port`.
    pub server: Option<Arc<str>>,
    /// The address that was dialled or used.
    pub address: Option<SocketAddr>,
    /// The other side's word for it: see [`Self::rcode`] and [`Self::alert`].
    said: Option<Box<str>>,
}

impl FetchError {
    /// An error without a server yet.
    pub fn new(kind: ErrorKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            site: None,
            server: None,
            address: None,
            said: None,
        }
    }

    /// The same error, with the site and server it belongs to.
    #[must_use]
    pub(crate) fn at(mut self, site: &Arc<str>, server: &Arc<str>) -> Self {
        self.site.get_or_insert_with(|| Arc::clone(site));
        self.server.get_or_insert_with(|| Arc::clone(server));
        self
    }

    /// The same error, with the address if it is known and not yet said.
    #[must_use]
    pub(crate) fn address(mut self, address: Option<SocketAddr>) -> Self {
        self.address = self.address.or(address);
        self
    }

    /// The same error, with the other side's word for it.
    #[must_use]
    pub(crate) fn said(mut self, word: impl Into<Box<str>>) -> Self {
        self.said = Some(word.into());
        self
    }

    /// The DNS response code (`NXDOMAIN`), for [`ErrorKind::DnsError`].
    #[must_use]
    pub fn rcode(&self) -> Option<&str> {
        self.said
            .as_deref()
            .filter(|_| self.kind == ErrorKind::DnsError)
    }

    /// The alert's name (`HandshakeFailure`), for [`ErrorKind::TlsAlertReceived`].
    #[must_use]
    pub fn alert(&self) -> Option<&str> {
        self.said
            .as_deref()
            .filter(|_| self.kind == ErrorKind::TlsAlertReceived)
    }

    /// The status a client gets (502, 503 or 504).
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.kind.status()
    }

    /// What the caller may do next.
    #[must_use]
    pub fn next(&self) -> Next {
        self.kind.next()
    }

    /// True where the request may have reached the server.
    #[must_use]
    pub fn sent(&self) -> bool {
        self.kind.sent()
    }

    /// The value of `Proxy-Status` (RFC 9209 §2), for example
    /// `pop1-a; error=dns_error; rcode="NXDOMAIN"`. Neither address nor server is told: clients
    /// must not learn where an origin is. `intermediary` is the node's name.
    #[must_use]
    pub fn proxy_status(&self, intermediary: &str) -> String {
        let mut value = String::with_capacity(64);
        if is_token(intermediary) {
            value.push_str(intermediary);
        } else {
            push_string(&mut value, intermediary);
        }
        value.push_str("; error=");
        value.push_str(self.kind.token());
        if let Some(rcode) = self.rcode() {
            value.push_str("; rcode=");
            push_string(&mut value, rcode);
        }
        if let Some(alert) = self.alert() {
            value.push_str("; alert-message=");
            push_string(&mut value, alert);
        }
        value
    }

    /// The error behind a failure of Pingora's connectors or proxy.
    #[must_use]
    pub fn from_pingora(error: &Error) -> Self {
        if let Some(own) = error.root_cause().downcast_ref::<Self>() {
            return own.clone();
        }
        // Pingora begins with the side at fault, which is often not set.
        let detail = error.to_string().trim_start().to_owned();
        if let Some(h2) = error.root_cause().downcast_ref::<h2::Error>() {
            return Self::new(h2_kind(h2), detail);
        }
        let kind = match error.etype() {
            ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => {
                ErrorKind::ConnectionTimeout
            }
            ErrorType::ConnectRefused => ErrorKind::ConnectionRefused,
            ErrorType::ConnectNoRoute => ErrorKind::DestinationIpUnroutable,
            ErrorType::InvalidCert => ErrorKind::TlsCertificateError,
            ErrorType::TLSHandshakeFailure | ErrorType::TLSWantX509Lookup => {
                return tls_failure(detail);
            }
            ErrorType::ConnectError
            | ErrorType::ConnectProxyFailure
            | ErrorType::BindError
            | ErrorType::SocketError => ErrorKind::DestinationUnavailable,
            ErrorType::ReadTimedout => ErrorKind::ConnectionReadTimeout,
            ErrorType::WriteTimedout => ErrorKind::ConnectionWriteTimeout,
            ErrorType::ReadError | ErrorType::WriteError | ErrorType::ConnectionClosed => {
                ErrorKind::ConnectionTerminated
            }
            ErrorType::HandshakeError
            | ErrorType::InvalidHTTPHeader
            | ErrorType::H1Error
            | ErrorType::H2Error
            | ErrorType::H2Downgrade
            | ErrorType::InvalidH2 => ErrorKind::HttpProtocolError,
            ErrorType::Custom("PingTimedout") => ErrorKind::ConnectionReadTimeout,
            ErrorType::Custom("InvalidChunk" | "InvalidTrailerEnd") => {
                ErrorKind::HttpResponseTransferCoding
            }
            _ => ErrorKind::ProxyInternalError,
        };
        Self::new(kind, detail)
    }

    /// As [`Self::from_pingora`], for a failure after the response head: what ended is then the
    /// response, not only the connection.
    pub(crate) fn from_body(error: &Error) -> Self {
        let mut it = Self::from_pingora(error);
        if it.kind == ErrorKind::ConnectionTerminated {
            it.kind = ErrorKind::HttpResponseIncomplete;
        }
        it
    }
}

impl From<FetchError> for Box<Error> {
    /// For hooks of Pingora's proxy; [`FetchError::from_pingora`] finds it again.
    fn from(error: FetchError) -> Self {
        let etype = match error.kind {
            ErrorKind::ConnectionTimeout | ErrorKind::DnsTimeout => ErrorType::ConnectTimedout,
            ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
            ErrorKind::DestinationIpUnroutable => ErrorType::ConnectNoRoute,
            kind if kind.sent() => ErrorType::ReadError,
            _ => ErrorType::ConnectError,
        };
        Error::because(etype, "with an origin", error).into_up()
    }
}

/// What the other side says or the network does ends the connection; what our library says is that
/// the other side broke the protocol.
fn h2_kind(error: &h2::Error) -> ErrorKind {
    if error.is_io() || error.is_remote() {
        ErrorKind::ConnectionTerminated
    } else {
        ErrorKind::HttpProtocolError
    }
}

/// Pingora passes a TLS failure on as text only; rustls' words for the two cases that operators
/// must tell apart are stable enough to look for, and anything else is a protocol error.
fn tls_failure(detail: String) -> FetchError {
    const ALERT: &str = "received fatal alert: ";
    if let Some(at) = detail.find(ALERT) {
        let rest = detail.get(at + ALERT.len()..).unwrap_or_default();
        let alert: String = rest
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        return FetchError::new(ErrorKind::TlsAlertReceived, detail).said(alert);
    }
    let kind = if detail.contains("invalid peer certificate") {
        ErrorKind::TlsCertificateError
    } else {
        ErrorKind::TlsProtocolError
    };
    FetchError::new(kind, detail)
}

fn is_token(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&b))
}

/// An sf-string (RFC 9651 §3.3.3); what it cannot hold becomes `%XX`.
fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            0x20..=0x7e => out.push(char::from(byte)),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_status_is_a_structured_field_that_tells_no_address() {
        let error = FetchError::new(ErrorKind::DnsError, "10.0.0.1 said no").said("NXDOMAIN");
        assert_eq!(
            error.proxy_status("pop1-a"),
            "pop1-a; error=dns_error; rcode=\"NXDOMAIN\""
        );
        let error = FetchError::new(ErrorKind::ConnectionTimeout, "");
        assert_eq!(
            error.proxy_status("1 \"node\" é"),
            "\"1 \\\"node\\\" %C3%A9\"; error=connection_timeout"
        );
    }

    #[test]
    fn pingoras_errors_have_a_kind() {
        use ErrorKind as K;
        use ErrorType as T;
        for (etype, kind) in [
            (T::ConnectTimedout, K::ConnectionTimeout),
            (T::ConnectRefused, K::ConnectionRefused),
            (T::ConnectNoRoute, K::DestinationIpUnroutable),
            (T::ReadTimedout, K::ConnectionReadTimeout),
            (T::WriteTimedout, K::ConnectionWriteTimeout),
            (T::ConnectionClosed, K::ConnectionTerminated),
            (T::InvalidHTTPHeader, K::HttpProtocolError),
            (T::InvalidCert, K::TlsCertificateError),
            (T::InternalError, K::ProxyInternalError),
        ] {
            let error = Error::explain(etype, "context");
            assert_eq!(FetchError::from_pingora(&error).kind, kind);
        }
    }

    #[test]
    fn tls_failures_are_told_apart() {
        let of = |text: &'static str| {
            let error = Error::explain(ErrorType::TLSHandshakeFailure, text);
            FetchError::from_pingora(&error)
        };
        let alert = of("TLS connect() failed: received fatal alert: HandshakeFailure, SNI: x");
        assert_eq!(alert.kind, ErrorKind::TlsAlertReceived);
        assert_eq!(alert.alert(), Some("HandshakeFailure"));
        let certificate = of("TLS connect() failed: invalid peer certificate: UnknownIssuer");
        assert_eq!(certificate.kind, ErrorKind::TlsCertificateError);
        assert_eq!(of("TLS handshake eof").kind, ErrorKind::TlsProtocolError);
    }

    #[test]
    fn our_own_error_comes_back_through_pingora() {
        let own = FetchError::new(ErrorKind::DestinationIpProhibited, "no");
        let inner: Box<Error> = own.clone().into();
        let outer = inner.more_context("more");
        assert_eq!(FetchError::from_pingora(&outer), own);
    }
}
