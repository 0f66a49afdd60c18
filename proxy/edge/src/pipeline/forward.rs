//! The fields a proxy adds to what it forwards: `Via`, `CDN-Loop`, `Forwarded` and its elders.

use std::{fmt::Write as _, net::IpAddr};

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

/// Who forwards, as other servers see it.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `Via` for a message received by HTTP/1.0, 1.1 and 2, ready to append.
    via: [HeaderValue; 3],
    /// This node's member of `CDN-Loop`.
    cdn_loop: HeaderValue,
    /// The node parameter's value, to recognise ourselves by.
    node: String,
}

/// The CDN's identifier in `CDN-Loop` (RFC 8586, section 2) and the pseudonym in `Via`.
const PSEUDONYM: &str = "anypop";
/// How many anypop nodes one request may pass, whosever they are: a chain of shields is shorter.
const LONGEST_CHAIN: usize = 8;

/// `cdn-loop`, RFC 8586.
pub(super) const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");
/// `x-forwarded-for`
pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `x-forwarded-proto`
pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `x-forwarded-host`
pub(super) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

impl Identity {
    /// The identity of the node named `node`.
    pub fn new(node: &str) -> Self {
        let node: String = node
            .chars()
            .filter(|c| c.is_ascii_graphic() && !"\"\\,;".contains(*c))
            .collect();
        let value = |text: String| {
            HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(PSEUDONYM))
        };
        Self {
            via: ["1.0", "1.1", "2"].map(|version| value(format!("{version} {PSEUDONYM}"))),
            cdn_loop: value(format!("{PSEUDONYM}; node=\"{node}\"")),
            node,
        }
    }

    /// Whether the request has passed this node before, or too many of its kind (RFC 8586).
    pub fn loops(&self, headers: &HeaderMap) -> bool {
        let mut chain = 0;
        for line in headers.get_all(CDN_LOOP) {
            for member in line.as_bytes().split(|byte| *byte == b',') {
                let member = member.trim_ascii();
                let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
                if !parts
                    .next()
                    .is_some_and(|id| id.eq_ignore_ascii_case(PSEUDONYM.as_bytes()))
                {
                    continue;
                }
                chain += 1;
                let ours = parts.any(|parameter| {
                    parameter.strip_prefix(b"node=").is_some_and(|value| {
                        value.trim_ascii() == format!("\"{}\"", self.node).as_bytes()
                            || value == self.node.as_bytes()
                    })
                });
                if ours || chain >= LONGEST_CHAIN {
                    return true;
                }
            }
        }
        false
    }

    /// Adds this node to `CDN-Loop` and `Via` of a request on its way to the origin.
    pub fn sign_request(&self, headers: &mut HeaderMap, received: Version) {
        headers.append(CDN_LOOP, self.cdn_loop.clone());
        self.sign_response(headers, received);
    }

    /// Adds this node to `Via` (RFC 9110, section 7.6.3); `received` is the version of the message
    /// as it came in.
    pub fn sign_response(&self, headers: &mut HeaderMap, received: Version) {
        let via = match received {
            Version::HTTP_09 | Version::HTTP_10 => &self.via[0],
            Version::HTTP_11 => &self.via[1],
            _ => &self.via[2],
        };
        headers.append(header::VIA, via.clone());
    }
}

/// What the origin is told about the client's connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival<'a> {
    /// The client, after PROXY protocol.
    pub client: IpAddr,
    /// `http` or `https`, as the client spoke.
    pub scheme: &'a str,
    /// The host the client asked for, with its port if it gave one.
    pub host: &'a str,
    /// Whether the peer is a forwarder whose own statements are believed.
    pub trusted: bool,
}

/// Sets `X-Forwarded-For`, `-Proto` and `-Host`. What an untrusted peer says there is replaced.
pub(super) fn x_forwarded(headers: &mut HeaderMap, arrival: Arrival<'_>) {
    let mut chain = String::new();
    if arrival.trusted {
        for line in headers.get_all(X_FORWARDED_FOR) {
            if let Ok(line) = line.to_str() {
                let _ = write!(chain, "{line}, ");
            }
        }
    }
    let _ = write!(chain, "{}", arrival.client);
    set(headers, X_FORWARDED_FOR, &chain);
    if !(arrival.trusted && headers.contains_key(X_FORWARDED_PROTO)) {
        set(headers, X_FORWARDED_PROTO, arrival.scheme);
    }
    if !(arrival.trusted && headers.contains_key(X_FORWARDED_HOST)) {
        set(headers, X_FORWARDED_HOST, arrival.host);
    }
}

/// Sets `Forwarded` (RFC 7239). What an untrusted peer says there is replaced.
pub(super) fn forwarded(headers: &mut HeaderMap, arrival: Arrival<'_>) {
    let mut element = match arrival.client {
        IpAddr::V4(client) => format!("for={client}"),
        IpAddr::V6(client) => format!("for=\"[{client}]\""),
    };
    // A host with a port or brackets is no token and needs quotes; quotes are never wrong.
    let _ = write!(
        element,
        ";host=\"{}\";proto={}",
        arrival.host, arrival.scheme
    );
    let Ok(element) = HeaderValue::from_str(&element) else {
        return;
    };
    if arrival.trusted {
        headers.append(header::FORWARDED, element);
    } else {
        headers.insert(header::FORWARDED, element);
    }
}

/// Removes what only this node may say, so that a client cannot say it.
pub(super) fn remove_claims(headers: &mut HeaderMap) {
    for name in [
        X_FORWARDED_FOR,
        X_FORWARDED_PROTO,
        X_FORWARDED_HOST,
        header::FORWARDED,
    ] {
        headers.remove(name);
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    match HeaderValue::from_str(value) {
        Ok(value) => headers.insert(name, value),
        Err(_) => headers.remove(name),
    };
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn with(name: HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&name, value.parse().unwrap());
        }
        headers
    }

    fn arrival(trusted: bool) -> Arrival<'static> {
        Arrival {
            client: "192.0.2.9".parse().unwrap(),
            scheme: "https",
            host: "www.example",
            trusted,
        }
    }

    #[test]
    fn a_request_that_came_by_here_loops() {
        let us = Identity::new("pop1-a");
        let mut headers = with(CDN_LOOP, &["other-cdn; x=1"]);
        assert!(!us.loops(&headers));
        us.sign_request(&mut headers, Version::HTTP_11);
        assert!(us.loops(&headers));
        assert!(
            !Identity::new("pop1-b").loops(&headers),
            "a shield of the same kind is no loop"
        );
        assert!(us.loops(&with(CDN_LOOP, &["x, anypop;node=pop1-a"])));
        assert!(
            us.loops(&with(CDN_LOOP, &[&["anypop"; 8].join(",")])),
            "but not without end"
        );
        assert_eq!(headers[header::VIA], "1.1 anypop");
    }

    #[test]
    fn only_a_trusted_forwarder_is_believed() {
        let mut headers = with(X_FORWARDED_FOR, &["10.0.0.1"]);
        headers.insert(X_FORWARDED_PROTO, "gopher".parse().unwrap());
        let mut believed = headers.clone();
        x_forwarded(&mut headers, arrival(false));
        assert_eq!(headers[X_FORWARDED_FOR], "192.0.2.9");
        assert_eq!(headers[X_FORWARDED_PROTO], "https");
        assert_eq!(headers[X_FORWARDED_HOST], "www.example");
        x_forwarded(&mut believed, arrival(true));
        assert_eq!(believed[X_FORWARDED_FOR], "10.0.0.1, 192.0.2.9");
        assert_eq!(believed[X_FORWARDED_PROTO], "gopher");
    }

    #[test]
    fn forwarded_quotes_what_is_no_token() {
        let mut headers = with(header::FORWARDED, &["for=spoofed"]);
        let six = Arrival {
            client: "2001:db8::1".parse().unwrap(),
            ..arrival(false)
        };
        forwarded(&mut headers, six);
        assert_eq!(
            headers[header::FORWARDED],
            "for=\"[2001:db8::1]\";host=\"www.example\";proto=https"
        );
        assert_eq!(headers.get_all(header::FORWARDED).iter().count(), 1);
    }
}
