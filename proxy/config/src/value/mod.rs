//! The values that documents are made of. Each is parsed once, where the document is read; behind that point nothing is a bare string any more.
//!
//! Every type here has one text form, shared by TOML, JSON, [`Display`](std::fmt::Display) and the JSON Schema.

pub mod duration;
mod glob;
pub mod header;
mod host;
mod log;
mod method;
mod network;
mod server;
mod site_id;
mod size;
mod status;
mod token;

pub use glob::PathGlob;
pub use header::CookieName;
pub use host::{Host, HostPattern, Hostname};
pub use log::{AccessLog, SyslogTarget};
pub use method::MethodSet;
pub use network::{Network, Networks};
pub use server::{HttpUrl, Scheme, ServerUrl};
pub use site_id::SiteId;
pub use size::ByteSize;
pub use status::StatusTtls;
pub use token::{Token, TokenError};

/// Why a text is no value of the type that a key asks for. The message names the text and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(pub(crate) String);

/// Shortens a hostile or endless text so that it can stand in an error message on one line.
pub(crate) fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut out: String = text
        .chars()
        .take(LONGEST)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        out.push('…');
    }
    out
}

/// Serde and JSON Schema by `FromStr` and `Display`, for a type that documents write as a string.
macro_rules! as_text {
    ($type:ty, $what:literal, $schema:tt) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct FromText;
                impl serde::de::Visitor<'_> for FromText {
                    type Value = $type;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($what)
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(FromText)
            }
        }

        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}
pub(crate) use as_text;
