//! The values that logs and metrics share: small enumerations, so that no label set can grow with what clients send.

/// An enumeration whose values name one label of a metric.
pub trait Label: Copy + 'static {
    /// The label's name in the exposition.
    const NAME: &'static str;
    /// Every value, in the order of [`Label::index`].
    const ALL: &'static [Self];
    /// The value's place in [`Label::ALL`].
    fn index(self) -> usize;
    /// The value as it appears in logs and metrics.
    fn as_str(self) -> &'static str;
}

macro_rules! labels {
    ($($(#[$meta:meta])* $name:ident, $label:literal { $($(#[$vmeta:meta])* $variant:ident = $text:literal),+ $(,)? })+) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl Label for $name {
            const NAME: &'static str = $label;
            const ALL: &'static [Self] = &[$(Self::$variant),+];
            fn index(self) -> usize { self as usize }
            fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    )+};
}

labels! {
    /// What the cache did for a request.
    CacheResult, "cache" {
        /// A fresh stored response was served.
        Hit = "hit",
        /// The response came from the origin and is (or is being) stored.
        Miss = "miss",
        /// A stale stored response was served because the origin failed or the client allowed it.
        Stale = "stale",
        /// A stored response was served after the origin confirmed it with 304.
        Revalidated = "revalidated",
        /// A stale stored response was served while a fill in the background renews it.
        Updating = "updating",
        /// The request did not look into the cache: a rule, the method, or the client said so.
        Bypass = "bypass",
        /// The origin's response may not be stored and was passed on.
        Pass = "pass",
        /// The node made the response itself: a redirect, a refusal, an error.
        Synthetic = "synthetic",
        /// No response was sent: the client left first.
        None = "none",
    }
    /// The protocol a client spoke.
    Protocol, "protocol" {
        /// HTTP/1.0.
        Http10 = "HTTP/1.0",
        /// HTTP/1.1.
        Http11 = "HTTP/1.1",
        /// HTTP/2, by ALPN or prior knowledge.
        Http2 = "HTTP/2",
    }
    /// The first digit of a response's status.
    StatusClass, "status" {
        /// No response was sent.
        None = "none",
        /// 1xx: an upgrade (101) that became a tunnel.
        Informational = "1xx",
        /// 2xx.
        Success = "2xx",
        /// 3xx.
        Redirection = "3xx",
        /// 4xx.
        ClientError = "4xx",
        /// 5xx.
        ServerError = "5xx",
    }
    /// Which way bytes went, and between whom.
    Direction, "direction" {
        /// From clients to the node.
        ClientIn = "client_in",
        /// From the node to clients.
        ClientOut = "client_out",
        /// From origins to the node.
        OriginIn = "origin_in",
        /// From the node to origins.
        OriginOut = "origin_out",
    }
    /// Why a connection was closed before it could send a request.
    ConnectionRefusal, "reason" {
        /// The node's limit of connections.
        NodeLimit = "node_limit",
        /// The limit of connections of one client.
        ClientLimit = "client_limit",
        /// A PROXY header was missing, malformed or not allowed from this network.
        ProxyHeader = "proxy_header",
        /// The kernel refused the accept, for example for want of descriptors.
        Accept = "accept_error",
    }
    /// The TLS version a handshake agreed on.
    TlsVersion, "version" {
        /// TLS 1.2.
        Tls12 = "1.2",
        /// TLS 1.3.
        Tls13 = "1.3",
        /// The handshake ended before a version was agreed on.
        Unknown = "unknown",
    }
    /// How a TLS handshake ended.
    HandshakeResult, "result" {
        /// It succeeded.
        Ok = "ok",
        /// It took longer than `limits.tls_handshake`.
        Timeout = "timeout",
        /// The client named no host, or one that no site has.
        UnknownName = "unknown_name",
        /// Anything else: nothing in common, a client certificate that is missing or not accepted, a client that left, bytes that
        /// are not TLS. The daemon's log says which, at level `debug`.
        Error = "error",
    }
    /// Whether a TLS session was resumed.
    Resumption, "resumed" {
        /// A full handshake.
        Full = "no",
        /// Resumed by a ticket.
        Resumed = "yes",
    }
    /// Why a request was refused before it reached the cache.
    Refusal, "reason" {
        /// Malformed request line.
        RequestLine = "request_line",
        /// Malformed header field or line ending.
        Field = "field",
        /// Missing, repeated or malformed Host, or one that contradicts the target.
        Host = "host",
        /// Content-Length or Transfer-Encoding with more than one meaning.
        Framing = "framing",
        /// Malformed chunk of a request body.
        Chunk = "chunk",
        /// Header bytes, header count or target beyond the limits.
        HeaderSize = "header_size",
        /// The request head, or the next piece of the body, did not come in time.
        Timeout = "timeout",
        /// A request body longer than the site allows.
        BodySize = "body_size",
        /// HTTP/2 resets, CONTINUATION frames or malformed frames beyond tolerance.
        Http2Abuse = "http2_abuse",
        /// No site has this host.
        UnknownHost = "unknown_host",
        /// The site does not allow the method.
        Method = "method",
        /// The request has passed here before (CDN-Loop, RFC 8586).
        Loop = "loop",
        /// The site's access list.
        Acl = "acl",
        /// The site's limit of requests per client.
        Rate = "rate",
        /// The site wants a client certificate.
        ClientCertificate = "client_certificate",
        /// HTTP version or expectation that is not supported.
        Unsupported = "unsupported",
    }
    /// What became of a fill.
    FillEvent, "event" {
        /// It began.
        Started = "started",
        /// Its response was stored whole.
        Stored = "stored",
        /// A 304 renewed what was stored.
        Renewed = "renewed",
        /// Its response may not be stored.
        Uncacheable = "uncacheable",
        /// It failed; the reasons have a metric of their own.
        Failed = "failed",
    }
    /// Why a fill failed.
    FillFailure, "reason" {
        /// No connection to the origin.
        Connect = "connect",
        /// The origin was too slow.
        Timeout = "timeout",
        /// The origin's response was malformed.
        Protocol = "protocol",
        /// The origin closed before the response was whole.
        Truncated = "truncated",
        /// The response outgrew the largest object allowed.
        TooLarge = "too_large",
        /// The store could not take it.
        Store = "store",
        /// Anything else.
        Other = "other",
    }
    /// How one try at an origin ended.
    OriginResult, "result" {
        /// 1xx, 2xx or 3xx.
        Ok = "ok",
        /// 4xx.
        ClientError = "4xx",
        /// 5xx.
        ServerError = "5xx",
        /// The name did not resolve.
        Dns = "dns",
        /// The guard against private addresses refused it.
        Guard = "guard",
        /// The TCP connection failed.
        Connect = "connect",
        /// The TLS handshake or the certificate failed.
        Tls = "tls",
        /// A timeout after the connection stood.
        Timeout = "timeout",
        /// The connection broke, or the response was malformed.
        Protocol = "protocol",
        /// No server was available, or all were at their limit.
        Unavailable = "unavailable",
    }
    /// What a purge covers.
    PurgeScope, "scope" {
        /// One URL.
        Url = "url",
        /// URLs with a common beginning.
        Prefix = "prefix",
        /// Responses that carry a tag.
        Tag = "tag",
        /// One host of a site.
        Host = "host",
        /// A whole site.
        Site = "site",
        /// Every site.
        All = "all",
    }
    /// What a purge leaves behind.
    PurgeKind, "kind" {
        /// Nothing: what it covers is never served again.
        Hard = "hard",
        /// Stale responses, to be revalidated.
        Soft = "soft",
    }
    /// The outcome of something that succeeds or fails.
    Outcome, "result" {
        /// It succeeded.
        Ok = "ok",
        /// It failed.
        Failed = "failed",
    }
    /// Which stream of observations lost an entry.
    LogKind, "log" {
        /// The access log.
        Access = "access",
        /// Spans toward the OTLP collector.
        Spans = "spans",
    }
    /// What an origin server's health is.
    Health, "state" {
        /// Requests are sent to it.
        Up = "up",
        /// It failed and is left alone for now.
        Down = "down",
    }
}

impl StatusClass {
    /// The class of a status code; 0 (no response) and codes outside 100–599 are [`StatusClass::None`].
    pub fn of(status: u16) -> Self {
        match status / 100 {
            1 => Self::Informational,
            2 => Self::Success,
            3 => Self::Redirection,
            4 => Self::ClientError,
            5 => Self::ServerError,
            _ => Self::None,
        }
    }
}

impl Refusal {
    /// The kind of a refusal by the listeners, which give a status for the client and a reason for people.
    pub fn of(status: u16, reason: &str) -> Self {
        match status {
            400 => Self::of_malformed(reason),
            405 => Self::Method,
            408 => Self::Timeout,
            413 => Self::BodySize,
            414 | 431 => Self::HeaderSize,
            421 => Self::UnknownHost,
            417 | 501 | 505 => Self::Unsupported,
            508 => Self::Loop,
            _ => Self::Field,
        }
    }

    /// By the words in the reason: the part of the request that it speaks of.
    fn of_malformed(reason: &str) -> Self {
        let speaks_of = |words: &[&str]| words.iter().any(|word| reason.contains(word));
        if speaks_of(&["Content-Length", "Transfer-Encoding"]) {
            Self::Framing
        } else if speaks_of(&["Host", "host", ":authority"]) {
            Self::Host
        } else if speaks_of(&["chunk", "trailer"]) {
            Self::Chunk
        } else if speaks_of(&["request line", "target", "method", "path", "HTTP"]) {
            Self::RequestLine
        } else {
            Self::Field
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_follow_the_order_of_all() {
        for (at, value) in Refusal::ALL.iter().enumerate() {
            assert_eq!(value.index(), at);
        }
        for (at, value) in CacheResult::ALL.iter().enumerate() {
            assert_eq!(value.index(), at);
        }
    }

    #[test]
    fn status_classes() {
        for (status, class) in [
            (0, StatusClass::None),
            (101, StatusClass::Informational),
            (204, StatusClass::Success),
            (599, StatusClass::ServerError),
            (600, StatusClass::None),
        ] {
            assert_eq!(StatusClass::of(status), class, "{status}");
        }
    }

    #[test]
    fn kinds_of_refusals() {
        for (status, reason, kind) in [
            (400, "more than one Host", Refusal::Host),
            (400, "target's host is not a host", Refusal::Host),
            (
                400,
                "Content-Length beside Transfer-Encoding",
                Refusal::Framing,
            ),
            (400, "chunk size is too large", Refusal::Chunk),
            (400, "bare LF in the trailers", Refusal::Chunk),
            (400, "request line is not three words", Refusal::RequestLine),
            (400, "not an HTTP request", Refusal::RequestLine),
            (400, "folded field line", Refusal::Field),
            (400, "bare CR", Refusal::Field),
            (408, "request head takes too long", Refusal::Timeout),
            (431, "too many fields", Refusal::HeaderSize),
            (505, "HTTP version not supported", Refusal::Unsupported),
        ] {
            assert_eq!(Refusal::of(status, reason), kind, "{status} {reason}");
        }
    }
}
