//! `Proxy-Status` (RFC 9209): what went wrong between this proxy and the origin.

use http::{HeaderMap, HeaderName, StatusCode};

use crate::sf;

/// The field's name.
pub const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident, $token:literal, $status:literal;)*) => {
        /// The proxy error types of RFC 9209 §2.3.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ProxyError {
            $($(#[$doc])* $name,)*
        }

        impl ProxyError {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The token.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $token,)* }
            }

            const fn code(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
        }
    };
}

errors! {
    /// The name did not resolve in time.
    DnsTimeout, "dns_timeout", 504;
    /// The name did not resolve; `rcode` and `info-code` may say more.
    DnsError, "dns_error", 502;
    /// The origin is known but no address or route leads to it.
    DestinationNotFound, "destination_not_found", 500;
    /// All its servers are out of service.
    DestinationUnavailable, "destination_unavailable", 503;
    /// Its address is one that this proxy must not reach.
    DestinationIpProhibited, "destination_ip_prohibited", 502;
    /// Its address is not routable.
    DestinationIpUnroutable, "destination_ip_unroutable", 502;
    /// It refused the connection.
    ConnectionRefused, "connection_refused", 502;
    /// It closed the connection before a response came.
    ConnectionTerminated, "connection_terminated", 502;
    /// The connection was not established in time.
    ConnectionTimeout, "connection_timeout", 504;
    /// Nothing came over the connection in time.
    ConnectionReadTimeout, "connection_read_timeout", 504;
    /// Nothing could be sent over it in time.
    ConnectionWriteTimeout, "connection_write_timeout", 504;
    /// This proxy's limit of connections to it is reached.
    ConnectionLimitReached, "connection_limit_reached", 503;
    /// The TLS handshake failed for reasons of the protocol.
    TlsProtocolError, "tls_protocol_error", 502;
    /// Its certificate did not verify.
    TlsCertificateError, "tls_certificate_error", 502;
    /// It sent a TLS alert.
    TlsAlertReceived, "tls_alert_received", 502;
    /// The client's request was wrong.
    HttpRequestError, "http_request_error", 400;
    /// The client may not do this here.
    HttpRequestDenied, "http_request_denied", 403;
    /// Its response ended before it was whole.
    HttpResponseIncomplete, "http_response_incomplete", 502;
    /// Its header section is too large.
    HttpResponseHeaderSectionSize, "http_response_header_section_size", 502;
    /// One of its header lines is too large.
    HttpResponseHeaderSize, "http_response_header_size", 502;
    /// Its content is too large.
    HttpResponseBodySize, "http_response_body_size", 502;
    /// Its trailer section is too large.
    HttpResponseTrailerSectionSize, "http_response_trailer_section_size", 502;
    /// One of its trailer lines is too large.
    HttpResponseTrailerSize, "http_response_trailer_size", 502;
    /// Its transfer coding could not be decoded.
    HttpResponseTransferCoding, "http_response_transfer_coding", 502;
    /// Its content coding could not be decoded.
    HttpResponseContentCoding, "http_response_content_coding", 502;
    /// The response did not come in time.
    HttpResponseTimeout, "http_response_timeout", 504;
    /// The upgrade failed.
    HttpUpgradeFailed, "http_upgrade_failed", 502;
    /// The response is no HTTP.
    HttpProtocolError, "http_protocol_error", 502;
    /// This proxy made the response itself, e.g. by a rule.
    ProxyInternalResponse, "proxy_internal_response", 500;
    /// This proxy has an error of its own.
    ProxyInternalError, "proxy_internal_error", 500;
    /// The configuration is wrong.
    ProxyConfigurationError, "proxy_configuration_error", 500;
    /// The request came round in a circle.
    ProxyLoopDetected, "proxy_loop_detected", 502;
}

impl ProxyError {
    /// The status that RFC 9209 recommends (§2.3).
    #[must_use]
    pub fn recommended_status(self) -> StatusCode {
        // All codes in the table are valid.
        StatusCode::from_u16(self.code()).unwrap_or(StatusCode::BAD_GATEWAY)
    }
}

/// One member of the field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct ProxyStatus<'a> {
    error: Option<ProxyError>,
    next_hop: Option<&'a str>,
    next_protocol: Option<&'a str>,
    received_status: Option<u16>,
    rcode: Option<&'a str>,
    alert_id: Option<u8>,
    details: Option<&'a str>,
}

impl<'a> ProxyStatus<'a> {
    /// Nothing but the name.
    pub fn new() -> Self {
        Self::default()
    }

    /// An error (§2.1.1).
    pub fn error(error: ProxyError) -> Self {
        Self {
            error: Some(error),
            ..Self::default()
        }
    }

    /// The server that was or was to be asked (§2.1.2): a host name or an alias, not an address
    /// that is nobody's business.
    pub fn next_hop(mut self, server: &'a str) -> Self {
        self.next_hop = Some(server);
        self
    }

    /// The ALPN id of the protocol used (§2.1.3), e.g. `h2`.
    pub fn next_protocol(mut self, alpn: &'a str) -> Self {
        self.next_protocol = Some(alpn);
        self
    }

    /// The status that came (§2.1.4).
    pub fn received_status(mut self, status: StatusCode) -> Self {
        self.received_status = Some(status.as_u16());
        self
    }

    /// The DNS response code's name, with [`ProxyError::DnsError`] (§2.3.2).
    pub fn rcode(mut self, rcode: &'a str) -> Self {
        self.rcode = Some(rcode);
        self
    }

    /// The TLS alert's number, with [`ProxyError::TlsAlertReceived`] (§2.3.15).
    pub fn alert_id(mut self, alert: u8) -> Self {
        self.alert_id = Some(alert);
        self
    }

    /// Text for people (§2.1.5). Clients see it: no inner addresses, no paths.
    pub fn details(mut self, details: &'a str) -> Self {
        self.details = Some(details);
        self
    }

    /// The member under the name of the proxy.
    #[must_use]
    pub fn render(&self, name: &str) -> String {
        let only = |error| self.error == Some(error);
        sf::member(name, |member| {
            member
                .token("error", self.error.map(ProxyError::as_str))
                .token_or_string("next-hop", self.next_hop)
                .token("next-protocol", self.next_protocol)
                .integer("received-status", self.received_status.map(i64::from))
                .string("rcode", self.rcode.filter(|_| only(ProxyError::DnsError)))
                .integer(
                    "alert-id",
                    self.alert_id
                        .filter(|_| only(ProxyError::TlsAlertReceived))
                        .map(i64::from),
                )
                .string("details", self.details);
        })
    }

    /// Appends the member to a response's field, after those of proxies nearer to the origin (§2).
    pub fn append_to(&self, headers: &mut HeaderMap, name: &str) {
        sf::append(headers, PROXY_STATUS, &self.render(name));
    }
}
