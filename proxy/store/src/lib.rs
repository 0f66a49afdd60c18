//! Where a node keeps responses.
//!
//! In the order data passes through it:
//!
//! - [`store`]: the way in. A request looks up its key, and on a miss joins a fill or begins one.
//! - [`fill`]: the permit to fill, those who wait, and the writer of the body.
//! - [`object`]: a stored response: immutable header and metadata over a [`body`].
//! - [`body`]: bytes that readers follow while they are written, from any offset; windows for what is not stored.
//! - [`purge`]: clocks that say what is gone.
//! - [`disk`]: the tier under memory: segments that outlive the process.
//! - [`limits`], [`stats`], [`listing`]: what it may use, what it counts, what is in it.
//!
//! Beneath: the sharded `index`, `memory` (the bytes) over `s3fifo` and its `ghost` (who goes next), `pass` (what is
//! known to be uncacheable), `headers` (maps that own their bytes).
//!
//! # A second tier
//! Without disks ([`Store::new`]) all of this is in memory. With them ([`Store::open`]) disks are asked on a miss
//! ([`Store::find`]), and told when an object is complete, hit again, given new metadata, removed or evicted. What is too
//! big for memory goes to disk while it comes. Purge clocks hold for both, and are journaled on every disk.

pub mod body;
pub mod disk;
mod disks;
pub mod fill;
mod ghost;
mod headers;
mod index;
pub mod limits;
pub mod listing;
mod memory;
pub mod object;
mod pass;
pub mod purge;
mod s3fifo;
pub mod stats;
pub mod store;

pub use body::{AbortReason, Body, BodyError, BodyReader, WindowLimits, WriteError};
pub use disk::{
    Admission, DiskSettings, DiskState, DiskStats, Listed, Progress, TierSettings, Verified,
};
pub use fill::{BodyWriter, FillError, FillOutcome, FillPermit, FillWatch, RefreshRefused};
pub use limits::Limits;
pub use listing::Filter;
pub use memory::SiteUse;
pub use object::{Object, Response};
pub use purge::{NotDurable, PurgeLimits, PurgeRequest, PurgeScope, PurgeSeq, Purges, Verdict};
pub use stats::Stats;
pub use store::{Epoch, Found, FoundList, Join, Lookup, Missed, Store};
