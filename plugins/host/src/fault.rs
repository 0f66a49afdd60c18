//! What can go wrong with a plugin.

use crate::{calls::Exit, state::State};

/// Why a plugin could not run, or no longer runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its code trapped.
    #[error("trapped: {0}")]
    Trap(String),
    /// A callback took more CPU time than the plugin may have.
    #[error(
        "took more CPU time than a callback may; raise limits.callback (or limits.start) if it needs more"
    )]
    Deadline,
    /// It asked for more memory than it may have, and did not survive the refusal.
    #[error("asked for more memory than limits.memory and trapped: {0}")]
    Memory(String),
    /// It refused its configuration.
    #[error("refused {0}")]
    Refused(&'static str),
    /// All callbacks of one stream together took too long.
    #[error("took more CPU time for one request than limits.request")]
    RequestTime,
    /// It paused a stream for longer than it may.
    #[error("paused the stream for longer than limits.pause")]
    PausedTooLong,
    /// It held back more of a body than it may.
    #[error("held back more of a body than limits.buffer")]
    BufferFull,
    /// The instance ended in another stream's callback.
    #[error("its instance ended in another stream's callback")]
    Gone,
    /// The pool has no room, or the plugin has as many streams as it may.
    #[error("has no room for another instance or stream")]
    NoRoom,
    /// It crashed a moment ago and is not rebuilt yet.
    #[error("waits before it is built again after a crash")]
    Waiting,
    /// It crashed too often.
    #[error("is turned off because it crashed too often")]
    Off,
}

impl Fault {
    /// True when the instance is no more and the breaker counts it.
    pub(crate) fn is_crash(&self) -> bool {
        matches!(
            self,
            Self::Trap(_) | Self::Deadline | Self::Memory(_) | Self::Refused(_)
        )
    }

    /// A short name for logs and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Trap(_) => "trap",
            Self::Deadline => "deadline",
            Self::Memory(_) => "memory",
            Self::Refused(_) => "refused",
            Self::RequestTime => "request_time",
            Self::PausedTooLong => "pause",
            Self::BufferFull => "buffer",
            Self::Gone => "gone",
            Self::NoRoom => "no_room",
            Self::Waiting => "waiting",
            Self::Off => "off",
        }
    }

    pub(crate) fn of(error: &wasmtime::Error, state: &State) -> Self {
        if error.is::<wasmtime::PoolConcurrencyLimitError>() {
            return Self::NoRoom;
        }
        if state.deadline.passed {
            return Self::Deadline;
        }
        let message = match (
            error.downcast_ref::<wasmtime::Trap>(),
            error.downcast_ref::<Exit>(),
        ) {
            (Some(trap), _) => trap.to_string(),
            (None, Some(exit)) => exit.to_string(),
            (None, None) => error.root_cause().to_string(),
        };
        if state.limiter.denied {
            Self::Memory(message)
        } else {
            Self::Trap(message)
        }
    }
}

/// One plugin's failure on one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which plugin.
    pub plugin: String,
    /// What happened.
    pub fault: Fault,
    /// True when the stream went on without the plugin.
    pub bypassed: bool,
}
