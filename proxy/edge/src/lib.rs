//! anypop's edge: a caching HTTP reverse proxy for many sites. The binary's wiring is here, and
//! here only; each part of the work has a crate of its own.
//!
//! From the command line inwards:
//! - [`cli`]: commands, options, exit codes.
//! - [`server`]: a node from its documents: what is bound, what is started, how it ends.
//! - [`settings`]: the documents' values in the forms that the other crates take.
//! - [`edge`]: what every request shares.
//! - [`application`]: between the listeners and the pipeline.
//! - [`hot`]: requests that are answered before they become sessions, from what was prepared.
//! - [`pipeline`]: a request's way, stage by stage.
//! - [`admin`]: the API for operators; [`lifecycle`] and [`status_stream`]: the node's state, and
//!   how the BGP agent hears of it.
//! - [`observe`]: logs, metrics, traces.

pub mod admin;
pub mod application;
pub mod cli;
pub mod edge;
pub mod hot;
pub mod lifecycle;
pub mod observe;
pub mod pipeline;
pub mod server;
pub mod settings;
pub mod status_stream;
pub mod unix_socket;
