use std::net::IpAddr;

use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::value::{ByteSize, Networks, header};

/// What a site's clients may ask: `[limits]` in a site's document.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SiteLimits {
    /// How large may a request's body be? Larger ones get 413.
    pub request_body: ByteSize,
    /// How many requests a second may one client make, an IPv4 address or an IPv6 /64? Further ones get 429. 0: no limit.
    pub requests_per_second: u32,
    /// How many requests may it make at once? 0: as many as in a second.
    pub burst: u32,
}

impl SiteLimits {
    /// Default of `request_body`.
    pub const REQUEST_BODY: ByteSize = ByteSize::mib(100);

    /// The limit on a client's requests, if there is one.
    pub fn rate(&self) -> Option<Rate> {
        let burst = if self.burst == 0 {
            self.requests_per_second
        } else {
            self.burst
        };
        (self.requests_per_second != 0).then_some(Rate {
            per_second: self.requests_per_second,
            burst,
        })
    }
}

impl Default for SiteLimits {
    fn default() -> Self {
        Self {
            request_body: Self::REQUEST_BODY,
            requests_per_second: 0,
            burst: 0,
        }
    }
}

/// A limit on a client's requests. Neither number is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second in the long run.
    pub per_second: u32,
    /// Requests at once.
    pub burst: u32,
}

/// Which clients may ask: `[acl]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Acl {
    /// Only which clients may ask? All if none is named; others get 403.
    pub allow: Networks,
    /// Which clients may not ask, even if they are allowed? They get 403.
    pub deny: Networks,
}

impl Acl {
    /// Whether this client may ask.
    pub fn permits(&self, client: IpAddr) -> bool {
        !self.deny.contains(client) && (self.allow.is_empty() || self.allow.contains(client))
    }
}

/// Which header fields are changed on the way: `[headers]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Headers {
    /// In requests to the origin?
    pub request: HeaderEdits,
    /// In responses to the client?
    pub response: HeaderEdits,
}

/// Changes to header fields: first those to remove, then those to set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderEdits {
    /// Which fields are set? They replace every field of that name.
    #[serde(with = "header::fields")]
    #[schemars(with = "std::collections::BTreeMap<header::Name, header::Value>")]
    pub set: Box<[(HeaderName, HeaderValue)]>,
    /// Which fields are removed?
    #[serde(with = "header::names")]
    #[schemars(with = "Vec<header::Name>")]
    pub remove: Box<[HeaderName]>,
}

impl HeaderEdits {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }
}
