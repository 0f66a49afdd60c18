use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::value::{ByteSize, duration};

/// What clients may ask of a node: `[limits]` in the node's document. No limit may be 0 except where 0 is said to mean off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProxyLimits {
    /// How many connections may be open in total? Further ones wait to be accepted.
    pub connections: u32,
    /// How many connections may one client have, an IPv4 address or an IPv6 /64? Further ones are closed.
    pub connections_per_client: u32,
    /// How long may a TLS handshake take?
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub tls_handshake: Duration,
    /// How long may a whole request head take, from its first byte?
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub header_timeout: Duration,
    /// How long may pass between two pieces of a request body?
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub body_timeout: Duration,
    /// How many bytes a second must a request body bring at least, over windows of 10 seconds? 0: off.
    pub body_min_rate: ByteSize,
    /// How long may a kept connection be idle between requests?
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub idle_timeout: Duration,
    /// How long may writing a response make no progress?
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub write_timeout: Duration,
    /// How large may a whole request head be?
    pub header_bytes: ByteSize,
    /// How many header fields may a request have?
    pub header_count: u32,
    /// How long may a request's target be?
    pub uri_bytes: ByteSize,
    /// How many streams may be open in one HTTP/2 connection?
    pub h2_streams: u32,
    /// How many streams may a client reset within 10 seconds in one HTTP/2 connection, before it is closed?
    pub h2_resets: u32,
    /// How large may a request's header list be in HTTP/2, counted as RFC 9113 §6.5.2 says?
    pub h2_header_list: ByteSize,
    /// How many requests may come on one connection before it is closed?
    pub keepalive_requests: u32,
}

impl ProxyLimits {
    /// Default of `connections`.
    pub const CONNECTIONS: u32 = 65_536;
    /// Default of `connections_per_client`: room for a large household or office behind one address.
    pub const CONNECTIONS_PER_CLIENT: u32 = 1_024;
    /// Default of `tls_handshake`.
    pub const TLS_HANDSHAKE: Duration = Duration::from_secs(10);
    /// Default of `header_timeout`.
    pub const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
    /// Default of `body_timeout`.
    pub const BODY_TIMEOUT: Duration = Duration::from_secs(60);
    /// Default of `body_min_rate`: off.
    pub const BODY_MIN_RATE: ByteSize = ByteSize::new(0);
    /// Default of `idle_timeout`.
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
    /// Default of `write_timeout`.
    pub const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
    /// Default of `header_bytes`.
    pub const HEADER_BYTES: ByteSize = ByteSize::kib(32);
    /// Default of `header_count`.
    pub const HEADER_COUNT: u32 = 128;
    /// Default of `uri_bytes`.
    pub const URI_BYTES: ByteSize = ByteSize::kib(16);
    /// Default of `h2_streams`.
    pub const H2_STREAMS: u32 = 128;
    /// Default of `h2_resets`.
    pub const H2_RESETS: u32 = 64;
    /// Default of `h2_header_list`.
    pub const H2_HEADER_LIST: ByteSize = ByteSize::kib(32);
    /// Default of `keepalive_requests`.
    pub const KEEPALIVE_REQUESTS: u32 = 10_000;
}

impl Default for ProxyLimits {
    fn default() -> Self {
        Self {
            connections: Self::CONNECTIONS,
            connections_per_client: Self::CONNECTIONS_PER_CLIENT,
            tls_handshake: Self::TLS_HANDSHAKE,
            header_timeout: Self::HEADER_TIMEOUT,
            body_timeout: Self::BODY_TIMEOUT,
            body_min_rate: Self::BODY_MIN_RATE,
            idle_timeout: Self::IDLE_TIMEOUT,
            write_timeout: Self::WRITE_TIMEOUT,
            header_bytes: Self::HEADER_BYTES,
            header_count: Self::HEADER_COUNT,
            uri_bytes: Self::URI_BYTES,
            h2_streams: Self::H2_STREAMS,
            h2_resets: Self::H2_RESETS,
            h2_header_list: Self::H2_HEADER_LIST,
            keepalive_requests: Self::KEEPALIVE_REQUESTS,
        }
    }
}
