//! Lengths of time: a whole number and a unit (`ms`, `s`, `m`, `h`, `d`), e.g. `"250ms"`, `"5m"`, `"365d"`. A day has 24 hours.
//!
//! For use as `#[serde(with = "…")]`, so that the fields themselves are plain [`std::time::Duration`]s.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer};

use super::{ValueError, shown};

/// The longest time that a document may name: 100 years of 365 days. Longer ones are mistakes, and this bound keeps every sum with a clock free of overflow.
pub const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Units from the largest to the smallest, with their milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Parses a text such as `"1d"`.
///
/// # Errors
/// When it is not a whole number directly followed by a unit, or longer than [`LONGEST`].
pub fn parse(text: &str) -> Result<Duration, ValueError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let scale = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, scale)| *scale);
    let (Some(scale), false) = (scale, number.is_empty()) else {
        return Err(ValueError(format!(
            "\"{}\" is no length of time: write a whole number and a unit (ms, s, m, h, d), such as \"30s\"",
            shown(text)
        )));
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(scale))
        .map(Duration::from_millis)
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| ValueError(format!("\"{}\" is longer than 100 years", shown(text))))
}

/// The shortest text that [`parse`] reads as this time. Parts of a millisecond are cut off.
pub fn render(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (unit, scale) = UNITS
        .iter()
        .find(|(_, scale)| millis != 0 && millis.is_multiple_of(*scale))
        .copied()
        .unwrap_or(("s", 1_000));
    format!("{}{unit}", millis / scale)
}

/// For `#[serde(with)]`.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&render(*duration))
}

/// For `#[serde(with)]`.
///
/// # Errors
/// As [`parse`].
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    Text::deserialize(deserializer).map(|text| text.0)
}

/// The same for keys that may be absent.
pub mod option {
    use super::{Deserialize, Deserializer, Duration, Serializer, Text, render};

    /// For `#[serde(with)]`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_some(&render(*duration)),
            None => serializer.serialize_none(),
        }
    }

    /// For `#[serde(with)]`.
    ///
    /// # Errors
    /// As [`parse`](super::parse).
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Text>::deserialize(deserializer)?.map(|text| text.0))
    }
}

/// A length of time as documents write it; the type that the JSON Schemas name, and what maps hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(pub Duration);

impl std::str::FromStr for Text {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        parse(text).map(Self)
    }
}

impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&render(self.0))
    }
}

super::as_text!(Text, "a length of time such as \"30s\"", {
    "type": "string",
    "pattern": "^[0-9]+(ms|s|m|h|d)$",
    "description": "A length of time: a whole number and a unit (ms, s, m, h, d)."
});
