//! The agent's document: TOML, and every key of it.
//!
//! [`read`] parses it and says which key of which line is wrong; [`check`] finds what each key alone
//! cannot show. What is not supported is refused there, never ignored.

mod check;
mod diagnostic;
mod read;
mod sections;
mod value;

pub use check::check;
pub use diagnostic::Diagnostic;
pub use read::{Loaded, load, read};
pub use sections::{
    Agent, Bird, Control, Degraded, Document, Drain, Exabgp, Guard, HoldDown, Hooks, Level, Log,
    LogFormat, Metrics, Neighbor, NodeCheck, OnExit, Probe, Proxy, Scope, SpeakerKind, Vip,
};
pub use value::{Community, Free, LargeCommunity, NextHop, Span};

/// The JSON Schema of the document, as kept in `conf/agent.schema.json`.
pub fn schema() -> String {
    let schema = schemars::schema_for!(Document);
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}
