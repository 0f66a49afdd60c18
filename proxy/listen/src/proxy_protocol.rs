//! The PROXY protocol, versions 1 and 2, as a receiver (HAProxy's proxy-protocol.txt), strictly.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where a connection comes from and went to, by the word of a trusted balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyAddresses {
    /// The client.
    pub source: SocketAddr,
    /// The address the client connected to.
    pub destination: SocketAddr,
}

/// What [`parse_proxy_header`] made of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// Nothing is wrong so far, but the header is not whole.
    Partial,
    /// A whole header of `len` bytes. Without addresses (`UNKNOWN`, `LOCAL`, `AF_UNSPEC`, Unix sockets) the connection's own count.
    Complete {
        /// The addresses it carries.
        addresses: Option<ProxyAddresses>,
        /// Its bytes; what follows is the client's.
        len: usize,
    },
    /// No PROXY header; why not.
    Malformed(&'static str),
}

const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V1_PREFIX: &[u8; 6] = b"PROXY ";
/// The longest version 1 line with its CRLF (proxy-protocol.txt §2.1).
const V1_MAX: usize = 107;
/// Addresses and TLVs of version 2; balancers add a few hundred bytes.
const V2_MAX: usize = 4096;

/// Parses a PROXY header at the start of `bytes`.
pub fn parse_proxy_header(bytes: &[u8]) -> ProxyHeader {
    let begins_with = |prefix: &[u8]| bytes.iter().zip(prefix).all(|(a, b)| a == b);
    if begins_with(V2_SIGNATURE) {
        return version_2(bytes).unwrap_or_else(ProxyHeader::Malformed);
    }
    if begins_with(V1_PREFIX) {
        return version_1(bytes).unwrap_or_else(ProxyHeader::Malformed);
    }
    ProxyHeader::Malformed("no PROXY header")
}

fn version_1(bytes: &[u8]) -> Result<ProxyHeader, &'static str> {
    let Some(lf) = memchr::memchr(
        b'\n',
        bytes.get(..bytes.len().min(V1_MAX)).unwrap_or_default(),
    ) else {
        return if bytes.len() >= V1_MAX {
            Err("line too long")
        } else {
            Ok(ProxyHeader::Partial)
        };
    };
    let len = lf + 1;
    let Some((b'\r', line)) = bytes.get(..lf).and_then(<[u8]>::split_last) else {
        return Err("line without CRLF");
    };
    let line = std::str::from_utf8(line).map_err(|_| "not ASCII")?;
    let mut words = line.split(' ');
    // "PROXY" is known to be there.
    words.next();
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        // The rest of the line is to be ignored.
        return Ok(ProxyHeader::Complete {
            addresses: None,
            len,
        });
    }
    let (Some(source), Some(destination), Some(source_port), Some(destination_port), None) = (
        words.next(),
        words.next(),
        words.next(),
        words.next(),
        words.next(),
    ) else {
        return Err("line does not have six words");
    };
    let address = |text: &str| -> Result<IpAddr, &'static str> {
        match family {
            "TCP4" => text
                .parse::<Ipv4Addr>()
                .map(IpAddr::V4)
                .map_err(|_| "not an IPv4 address"),
            "TCP6" => text
                .parse::<Ipv6Addr>()
                .map(IpAddr::V6)
                .map_err(|_| "not an IPv6 address"),
            _ => Err("unknown family"),
        }
    };
    let port = |text: &str| -> Result<u16, &'static str> {
        let plain =
            text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        if plain {
            text.parse().map_err(|_| "not a port")
        } else {
            Err("not a port")
        }
    };
    let addresses = ProxyAddresses {
        source: SocketAddr::new(address(source)?, port(source_port)?),
        destination: SocketAddr::new(address(destination)?, port(destination_port)?),
    };
    Ok(ProxyHeader::Complete {
        addresses: Some(addresses),
        len,
    })
}

fn version_2(bytes: &[u8]) -> Result<ProxyHeader, &'static str> {
    let Some((head, rest)) = bytes.split_at_checked(16) else {
        return Ok(ProxyHeader::Partial);
    };
    let &[.., command, family, high, low] = head else {
        return Ok(ProxyHeader::Partial);
    };
    let body_len = usize::from(u16::from_be_bytes([high, low]));
    if body_len > V2_MAX {
        return Err("header too long");
    }
    let proxied = match command {
        0x20 => false,
        0x21 => true,
        _ => return Err("unknown version or command"),
    };
    let Some(body) = rest.get(..body_len) else {
        return Ok(ProxyHeader::Partial);
    };
    let (address_len, addresses) = match family {
        0x11 => (12, v4(body)),
        0x21 => (36, v6(body)),
        // Unix sockets: 108 bytes for either side.
        0x31 => (216, None),
        0x00 => (0, None),
        _ => return Err("unknown family or transport"),
    };
    if body_len < address_len {
        return Err("addresses cut short");
    }
    // With LOCAL the rest is to be ignored, whatever it is.
    if proxied && family != 0 {
        check_tlvs(body.get(address_len..).unwrap_or_default())?;
    }
    Ok(ProxyHeader::Complete {
        addresses: addresses.filter(|_| proxied),
        len: 16 + body_len,
    })
}

fn v4(body: &[u8]) -> Option<ProxyAddresses> {
    let ip = |at: usize| {
        body.get(at..at + 4)?
            .first_chunk::<4>()
            .copied()
            .map(|octets| IpAddr::V4(Ipv4Addr::from(octets)))
    };
    pair(ip(0)?, ip(4)?, body.get(8..12)?)
}

fn v6(body: &[u8]) -> Option<ProxyAddresses> {
    let ip = |at: usize| {
        body.get(at..at + 16)?
            .first_chunk::<16>()
            .copied()
            .map(|octets| IpAddr::V6(Ipv6Addr::from(octets)))
    };
    pair(ip(0)?, ip(16)?, body.get(32..36)?)
}

fn pair(source: IpAddr, destination: IpAddr, ports: &[u8]) -> Option<ProxyAddresses> {
    let &[a, b, c, d] = ports else { return None };
    Some(ProxyAddresses {
        source: SocketAddr::new(source, u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([c, d])),
    })
}

/// Type, two bytes of length, value; repeated to the end.
fn check_tlvs(mut rest: &[u8]) -> Result<(), &'static str> {
    while !rest.is_empty() {
        let Some((&[_, high, low], tail)) = rest.split_first_chunk::<3>() else {
            return Err("TLV cut short");
        };
        rest = tail
            .get(usize::from(u16::from_be_bytes([high, low]))..)
            .ok_or("TLV cut short")?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addresses(source: &str, destination: &str) -> Option<ProxyAddresses> {
        Some(ProxyAddresses {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        })
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = V2_SIGNATURE.to_vec();
        bytes.extend_from_slice(&[command, family]);
        bytes.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    const V4_BODY: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 2, 0x30, 0x39, 0x01, 0xbb];

    #[test]
    fn version_1_lines() {
        let line = b"PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\nGET /";
        let expected = ProxyHeader::Complete {
            addresses: addresses("192.0.2.1:12345", "198.51.100.2:443"),
            len: line.len() - 5,
        };
        assert_eq!(parse_proxy_header(line), expected);
        for end in 0..line.len() - 5 {
            assert_eq!(
                parse_proxy_header(&line[..end]),
                ProxyHeader::Partial,
                "{end}"
            );
        }
        let v6 = b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n";
        let expected = ProxyHeader::Complete {
            addresses: addresses("[2001:db8::1]:1", "[2001:db8::2]:2"),
            len: v6.len(),
        };
        assert_eq!(parse_proxy_header(v6), expected);
        assert_eq!(
            parse_proxy_header(b"PROXY UNKNOWN\r\n"),
            ProxyHeader::Complete {
                addresses: None,
                len: 15
            }
        );
        assert_eq!(
            parse_proxy_header(b"PROXY UNKNOWN a b c\r\n"),
            ProxyHeader::Complete {
                addresses: None,
                len: 21
            }
        );
    }

    #[test]
    fn version_1_refused() {
        for line in [
            "PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\n",
            "PROXY  TCP4 192.0.2.1 198.51.100.2 12345 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 12345\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 12345 443 1\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 01 443\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n",
            "PROXY TCP4 192.0.2.256 198.51.100.2 1 2\r\n",
            "GET / HTTP/1.1\r\n",
            "proxy TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
        ] {
            assert!(
                matches!(
                    parse_proxy_header(line.as_bytes()),
                    ProxyHeader::Malformed(_)
                ),
                "{line:?}"
            );
        }
        assert!(matches!(
            parse_proxy_header(&[b"PROXY ".as_slice(), &[b'x'; 110]].concat()),
            ProxyHeader::Malformed(_)
        ));
    }

    #[test]
    fn version_2_headers() {
        let bytes = v2(0x21, 0x11, V4_BODY);
        let expected = ProxyHeader::Complete {
            addresses: addresses("192.0.2.1:12345", "198.51.100.2:443"),
            len: 28,
        };
        assert_eq!(parse_proxy_header(&bytes), expected);
        for end in 0..bytes.len() {
            assert_eq!(
                parse_proxy_header(&bytes[..end]),
                ProxyHeader::Partial,
                "{end}"
            );
        }
        let with_tlv = v2(0x21, 0x11, &[V4_BODY, &[0x04, 0, 2, 9, 9]].concat());
        assert!(matches!(
            parse_proxy_header(&with_tlv),
            ProxyHeader::Complete {
                addresses: Some(_),
                len: 33
            }
        ));
        assert_eq!(
            parse_proxy_header(&v2(0x20, 0, &[])),
            ProxyHeader::Complete {
                addresses: None,
                len: 16
            }
        );
        assert_eq!(
            parse_proxy_header(&v2(0x20, 0x11, V4_BODY)),
            ProxyHeader::Complete {
                addresses: None,
                len: 28
            }
        );
        assert!(matches!(
            parse_proxy_header(&v2(0x21, 0x21, &[1; 36])),
            ProxyHeader::Complete {
                addresses: Some(_),
                ..
            }
        ));
    }

    #[test]
    fn version_2_refused() {
        for bytes in [
            v2(0x22, 0x11, V4_BODY),
            v2(0x11, 0x11, V4_BODY),
            v2(0x21, 0x12, V4_BODY),
            v2(0x21, 0x11, &V4_BODY[..11]),
            v2(0x21, 0x11, &[V4_BODY, &[0x04, 0, 3, 9, 9]].concat()),
            v2(0x21, 0x11, &[V4_BODY, &[0x04]].concat()),
            v2(0x21, 0x21, V4_BODY),
            v2(0x21, 0x11, &[0; 5000]),
        ] {
            assert!(
                matches!(parse_proxy_header(&bytes), ProxyHeader::Malformed(_)),
                "{bytes:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_never_claims_more_than_there_is(tail in prop::collection::vec(any::<u8>(), 0..300), two in any::<bool>()) {
            let mut bytes = if two { V2_SIGNATURE.to_vec() } else { V1_PREFIX.to_vec() };
            bytes.extend_from_slice(&tail);
            if let ProxyHeader::Complete { len, .. } = parse_proxy_header(&bytes) {
                prop_assert!(len <= bytes.len());
                // A whole header stays whole, and the same, whatever follows.
                prop_assert_eq!(parse_proxy_header(&bytes[..len]), parse_proxy_header(&bytes));
            }
            let _ = parse_proxy_header(&tail);
        }
    }
}
