use std::{fmt, sync::Arc};

use super::{ValueError, shown};

/// A site's name: 1 to 64 characters of `a-z`, `0-9` and `-`. It stands in cache keys, logs and metrics. Cloning shares the text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteId(Arc<str>);

impl SiteId {
    /// The id of the one site that a node without documents has: `default`.
    pub fn default_site() -> Self {
        Self("default".into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for SiteId {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=64).contains(&text.len()) && text.bytes().all(known) {
            Ok(Self(text.into()))
        } else {
            Err(ValueError(format!(
                "\"{}\" is no site id: use 1 to 64 of a-z, 0-9 and \"-\"",
                shown(text)
            )))
        }
    }
}

impl fmt::Display for SiteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for SiteId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

super::as_text!(SiteId, "a site id such as \"shop\"", { "type": "string", "pattern": "^[a-z0-9-]{1,64}$" });
