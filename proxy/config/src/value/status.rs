use std::{collections::BTreeMap, time::Duration};

use http::StatusCode;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{ValueError, duration, shown};

/// How long responses of certain statuses are kept: `{ "404" = "10s" }`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct StatusTtls(
    /// In the order of the status.
    Box<[(u16, Duration)]>,
);

impl StatusTtls {
    /// The TTL for a status, if one is set.
    pub fn ttl(&self, status: StatusCode) -> Option<Duration> {
        let at = self
            .0
            .binary_search_by_key(&status.as_u16(), |(status, _)| *status)
            .ok()?;
        self.0.get(at).map(|(_, ttl)| *ttl)
    }

    /// All of them, in the order of the status.
    pub fn iter(&self) -> impl Iterator<Item = (u16, Duration)> + '_ {
        self.0.iter().copied()
    }
}

/// A final status code as a key: three digits from 200 to 599.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Status(u16);

impl std::str::FromStr for Status {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let status = if text.len() == 3 {
            text.parse().ok()
        } else {
            None
        };
        match status {
            Some(status @ 200..=599) => Ok(Self(status)),
            _ => Err(ValueError(format!(
                "\"{}\" is no final status code: write a number from 200 to 599",
                shown(text)
            ))),
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

super::as_text!(Status, "a status code such as \"404\"", { "type": "string", "pattern": "^[2-5][0-9]{2}$" });

impl<'de> Deserialize<'de> for StatusTtls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = BTreeMap::<Status, duration::Text>::deserialize(deserializer)?;
        Ok(Self(
            map.into_iter()
                .map(|(status, ttl)| (status.0, ttl.0))
                .collect(),
        ))
    }
}

impl Serialize for StatusTtls {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            self.iter()
                .map(|(status, ttl)| (status.to_string(), duration::Text(ttl))),
        )
    }
}

impl schemars::JsonSchema for StatusTtls {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StatusTtls".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let ttl = duration::Text::json_schema(generator);
        schemars::json_schema!({
            "type": "object",
            "patternProperties": { "^[2-5][0-9]{2}$": ttl },
            "additionalProperties": false
        })
    }
}
