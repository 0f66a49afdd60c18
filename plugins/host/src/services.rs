//! What the host needs of the edge around it.

use std::{sync::Weak, time::Duration};

use bytes::Bytes;

use crate::{
    abi::{LogLevel, Status},
    fields::Fields,
    instance::InstanceCell,
};

/// The edge, as plugins see it. Every method is called during a guest's callback, so none may block: a call-out
/// starts here and ends by [`CallReply::complete`]; a purge is put in a queue.
pub trait Services: Send + Sync + 'static {
    /// Writes a plugin's line. The default uses `tracing`.
    fn log(&self, line: &LogLine<'_>) {
        trace_line(line);
    }

    /// The lowest level worth formatting (`proxy_get_log_level`).
    fn log_level(&self, site: &str, plugin: &str) -> LogLevel {
        _ = (site, plugin);
        LogLevel::Info
    }

    /// Starts a call-out. Its upstream is one that the plugin's document names; the edge resolves it and sends it
    /// through the same guard as origins, and calls [`CallReply::complete`] from wherever it likes. A reply that is
    /// dropped completes as failed.
    ///
    /// # Errors
    /// [`Status::BadArgument`] for an upstream that does not exist, [`Status::InternalFailure`] when none can be sent.
    fn http_call(&self, call: HttpCall, reply: CallReply) -> Result<(), Status>;

    /// Purges in this site's cache only (foreign function `anypop.purge`).
    ///
    /// # Errors
    /// The status that the guest gets.
    fn purge(&self, site: &str, purge: &Purge) -> Result<(), Status>;

    /// Foreign functions besides those of this crate ([`crate::foreign`]). `None`: there is none of that name.
    fn foreign(
        &self,
        site: &str,
        plugin: &str,
        name: &str,
        arguments: &[u8],
    ) -> Option<Result<Bytes, Status>> {
        _ = (site, plugin, name, arguments);
        None
    }
}

/// One line that a plugin logs.
#[derive(Debug, Clone, Copy)]
pub struct LogLine<'a> {
    /// Whose plugin.
    pub site: &'a str,
    /// The plugin's name.
    pub plugin: &'a str,
    /// How loud.
    pub level: LogLevel,
    /// What it says, without control characters.
    pub message: &'a str,
}

/// A call-out to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpCall {
    /// Whose plugin.
    pub site: String,
    /// The plugin's name.
    pub plugin: String,
    /// The upstream's name, one of the plugin's list.
    pub upstream: String,
    /// The request's head; `:method`, `:path` and `:authority` are there and checked.
    pub head: Fields,
    /// The request's body.
    pub body: Bytes,
    /// The request's trailers.
    pub trailers: Fields,
    /// The whole call's time.
    pub timeout: Duration,
    /// Longest body that may come back, in bytes; the edge fails the call beyond it.
    pub most: usize,
}

/// What a call-out brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallResponse {
    /// The head, with `:status`.
    pub head: Fields,
    /// The body.
    pub body: Bytes,
    /// The trailers.
    pub trailers: Fields,
}

/// Where a call-out's end is told. Dropping it tells of a failure.
#[derive(Debug)]
pub struct CallReply {
    pub(crate) cell: Weak<InstanceCell>,
    pub(crate) token: u32,
    pub(crate) told: bool,
}

impl CallReply {
    /// Tells the plugin what came, or that nothing did, on the calling thread, and wakes the stream that waits.
    /// Does nothing when the plugin's instance is gone.
    pub fn complete(mut self, response: Option<CallResponse>) {
        self.told = true;
        if let Some(cell) = self.cell.upgrade() {
            cell.call_completed(self.token, response);
        }
    }

    /// True when nobody waits any more: the edge may give up.
    pub fn is_abandoned(&self) -> bool {
        self.cell.upgrade().is_none_or(|cell| cell.is_dead())
    }
}

impl Drop for CallReply {
    fn drop(&mut self) {
        if !self.told
            && let Some(cell) = self.cell.upgrade()
        {
            cell.call_completed(self.token, None);
        }
    }
}

/// What a plugin purges in its own site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purge {
    /// What goes.
    pub what: PurgeWhat,
    /// True: it becomes stale instead of going.
    pub soft: bool,
}

/// What goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PurgeWhat {
    /// Everything with this tag.
    Tag(String),
    /// One URL.
    Url(String),
    /// All URLs that begin so.
    Prefix(String),
    /// All of the site.
    Site,
}

pub(crate) fn trace_line(line: &LogLine<'_>) {
    let LogLine {
        site,
        plugin,
        level,
        message,
    } = *line;
    match level {
        LogLevel::Trace => tracing::trace!(target: "anypop::plugin", site, plugin, "{message}"),
        LogLevel::Debug => tracing::debug!(target: "anypop::plugin", site, plugin, "{message}"),
        LogLevel::Info => tracing::info!(target: "anypop::plugin", site, plugin, "{message}"),
        LogLevel::Warn => tracing::warn!(target: "anypop::plugin", site, plugin, "{message}"),
        LogLevel::Error | LogLevel::Critical => {
            tracing::error!(target: "anypop::plugin", site, plugin, "{message}")
        }
    }
}
