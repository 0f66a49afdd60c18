//! The documents that an anypop node is run by: one for the node, one for each site. They are TOML files, or the same structure as JSON.
//!
//! In the order in which a document passes through:
//! - [`document`]: what may stand in a document, key by key.
//! - [`value`]: the values that stand there: durations, sizes, host names, patterns.
//! - [`node`] and [`site`]: the sections, and the checked [`Node`] and [`Site`] that the daemon works with.

pub mod document;
pub mod node;
pub mod site;
pub mod value;

pub use document::{NodeDocument, SiteDocument};
pub use node::Node;
pub use site::Site;
