//! Seeing what the node does: the access log, metrics, traces, and the daemon's own log.
//!
//! - [`record`]: what one request leaves behind, and its line of JSON
//! - [`access_log`]: where the lines go, without a worker ever waiting for it
//! - [`metrics`]: counters, and their exposition for Prometheus
//! - [`request_id`] and [`trace`]: what ties a request here to the same request elsewhere
//! - [`otlp`]: spans, exported to a collector
//! - [`daemon_log`]: the daemon's own log on stderr
//! - [`labels`]: the small enumerations that all of these share
//!
//! When a request ends, the pipeline fills one [`record::AccessRecord`] and hands it to [`metrics::Metrics::record`],
//! [`access_log::AccessLog::write`] and, when its trace is recorded, [`otlp::Spans::send`].

pub mod access_log;
pub mod daemon_log;
mod json;
pub mod labels;
pub mod metrics;
pub mod otlp;
mod otlp_json;
pub mod record;
pub mod request_id;
mod sink;
mod slot;
mod stamp;
pub mod trace;
