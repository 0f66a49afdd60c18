//! Values that a document holds as text and the agent as types.

use std::{fmt, net::IpAddr, str::FromStr, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

/// A length of time: a whole number and `ms`, `s`, `m`, `h` or `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String", extend("pattern" = r"^[0-9]+(ms|s|m|h|d)$"))]
pub struct Span(pub Duration);

impl Span {
    /// So many milliseconds.
    pub const fn millis(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    /// So many seconds.
    pub const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no length of time; write it like \"500ms\", \"9s\" or \"5m\"");
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        let scale = match text.get(digits.len()..) {
            Some("ms") => 1,
            Some("s") => 1_000,
            Some("m") => 60_000,
            Some("h") => 3_600_000,
            Some("d") => 86_400_000,
            _ => return Err(wrong()),
        };
        // A year is more than anything here can mean, and small enough for every addition.
        number
            .checked_mul(scale)
            .filter(|ms| *ms <= 366 * 86_400_000)
            .map(|ms| Self(Duration::from_millis(ms)))
            .ok_or_else(|| format!("{text:?} is longer than a year"))
    }
}

/// A community, RFC 1997: `ASN:VALUE`, each at most 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String", extend("pattern" = r"^[0-9]+:[0-9]+$"))]
pub struct Community(pub u32);

impl Community {
    /// `GRACEFUL_SHUTDOWN`, RFC 8326.
    pub const GRACEFUL_SHUTDOWN: Self = Self(0xFFFF_0000);
}

impl fmt::Display for Community {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.0 >> 16, self.0 & 0xFFFF)
    }
}

impl TryFrom<String> for Community {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts: Vec<u16> = numbers(&text);
        match parts.as_slice() {
            [high, low] => Ok(Self(u32::from(*high) << 16 | u32::from(*low))),
            _ => Err(format!(
                "{text:?} is no community; write it like \"64512:100\", both at most 65535, or use large_communities"
            )),
        }
    }
}

/// A large community, RFC 8092: `ASN:DATA:DATA`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String", extend("pattern" = r"^[0-9]+:[0-9]+:[0-9]+$"))]
pub struct LargeCommunity(pub [u32; 3]);

impl fmt::Display for LargeCommunity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c] = self.0;
        write!(formatter, "{a}:{b}:{c}")
    }
}

impl TryFrom<String> for LargeCommunity {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts: Vec<u32> = numbers(&text);
        match parts.as_slice() {
            [a, b, c] => Ok(Self([*a, *b, *c])),
            _ => Err(format!(
                "{text:?} is no large community; write it like \"64512:1:100\""
            )),
        }
    }
}

/// The numbers between colons; empty if one of them is none.
fn numbers<N: FromStr>(text: &str) -> Vec<N> {
    text.split(':')
        .map(|part| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse().ok().filter(|_| digits)
        })
        .collect::<Option<_>>()
        .unwrap_or_default()
}

/// The next hop that a route names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub enum NextHop {
    /// The session's own address.
    #[default]
    Own,
    /// This address.
    Address(IpAddr),
}

impl TryFrom<String> for NextHop {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "self" {
            return Ok(Self::Own);
        }
        text.parse()
            .map(Self::Address)
            .map_err(|_| format!("{text:?} is no next hop; write \"self\" or an address"))
    }
}

/// How much of a file system must be free.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String", extend("pattern" = r"^[0-9]+(%|B|KiB|MiB|GiB|TiB)$"))]
pub enum Free {
    /// Of all of it, 1 to 99.
    Percent(u8),
    /// Bytes.
    Bytes(u64),
}

impl TryFrom<String> for Free {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no amount of space; write it like \"5%\" or \"10GiB\"");
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        let shift = match text.get(digits.len()..) {
            Some("%") => {
                return u8::try_from(number)
                    .ok()
                    .filter(|percent| (1..100).contains(percent))
                    .map(Self::Percent)
                    .ok_or_else(wrong);
            }
            Some("B") => 0,
            Some("KiB") => 10,
            Some("MiB") => 20,
            Some("GiB") => 30,
            Some("TiB") => 40,
            _ => return Err(wrong()),
        };
        number
            .checked_mul(1 << shift)
            .map(Self::Bytes)
            .ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn values_say_what_they_are_and_refuse_what_they_are_not() {
        let span = |text: &str| Span::try_from(text.to_owned());
        assert_eq!(span("500ms").unwrap(), Span::millis(500));
        assert_eq!(span("2m").unwrap(), Span::secs(120));
        for wrong in [
            "",
            "5",
            "s",
            "-1s",
            "1.5s",
            "9 s",
            "99999999999999999999s",
            "367d",
        ] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
        let community = |text: &str| Community::try_from(text.to_owned());
        assert_eq!(community("65535:0").unwrap(), Community::GRACEFUL_SHUTDOWN);
        assert_eq!(community("64512:100").unwrap().to_string(), "64512:100");
        for wrong in ["", "1", "1:65536", "1:2:3", "+1:2", "1: 2"] {
            assert!(community(wrong).is_err(), "{wrong}");
        }
        let large = LargeCommunity::try_from("4200000000:1:2".to_owned()).unwrap();
        assert_eq!(large.to_string(), "4200000000:1:2");
        assert!(Free::try_from("0%".to_owned()).is_err());
        assert_eq!(
            Free::try_from("1KiB".to_owned()).unwrap(),
            Free::Bytes(1024)
        );
        assert_eq!(NextHop::try_from("self".to_owned()).unwrap(), NextHop::Own);
        assert!(NextHop::try_from("eth0".to_owned()).is_err());
    }
}
