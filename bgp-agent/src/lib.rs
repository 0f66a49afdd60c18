//! The BGP agent: announce while the node can serve, withdraw within milliseconds, drain without
//! breaking anyone.
//!
//! In the order in which things pass through it:
//! - [`document`]: what the operator wants, read and checked.
//! - [`stream`]: what the proxy says of itself. [`probe`]: what the agent sees itself. [`address`]:
//!   whether the VIPs are on this machine.
//! - [`policy`]: what follows from that, as a pure state machine.
//! - [`speaker`]: who tells the routers: the agent itself, BIRD or ExaBGP.
//! - [`ask`]: what the proxy is asked during a drain. [`hooks`]: what is run at transitions.
//!   [`fleet`]: whether the other PoPs can do without this one.
//! - [`agent`]: the loop that holds it together. [`control`], [`status`], [`metrics`], [`notify`] and
//!   [`cli`]: how people and programs see it.

pub mod address;
pub mod agent;
pub mod ask;
pub mod cli;
pub mod control;
pub mod document;
pub mod fleet;
pub mod hooks;
pub mod metrics;
pub mod notify;
pub mod policy;
pub mod probe;
pub mod speaker;
pub mod status;
pub mod stream;
