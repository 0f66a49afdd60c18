//! The documents that an anypop node is run by: one for the node, one for each site. They are TOML files, or the same structure as JSON.
//!
//! In the order in which a document passes through:
//! - `tree`: the text as a tree of values that know their place, whether it was TOML or JSON.
//! - [`document`]: what may stand in a document, key by key, and [`schema`], the same for editors.
//! - [`value`]: the values that stand there: durations, sizes, host names, patterns.
//! - `check`: what no single value shows: keys that need each other, files that must be readable. Everything that is wrong is a [`Diagnostic`].
//! - [`node`] and [`site`]: the sections, and the checked [`Node`] and [`Site`] that the daemon works with.
//! - `intern`: one copy of what many sites have in common.
//! - [`SiteIndex`]: which site answers for a host.
//! - [`load_node`]: all of it, from files, to a [`Snapshot`]; [`Live`] holds the one that is in force.

mod check;
mod diagnostic;
pub mod document;
mod index;
mod intern;
mod key;
mod load;
pub mod node;
pub mod schema;
pub mod site;
mod snapshot;
mod tree;
pub mod value;

pub use diagnostic::{Diagnostic, Severity};
pub use document::{NodeDocument, SiteDocument};
pub use index::{Conflict, SiteIndex};
pub use load::{Loaded, load_node, load_site, load_sites};
pub use node::Node;
pub use site::Site;
pub use snapshot::{Live, Snapshot};
