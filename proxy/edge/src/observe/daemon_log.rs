//! The daemon's own log on stderr: what an operator should know, not what clients did.
//!
//! Pingora logs through the `log` crate and reports every failed request as an error. Requests are the access log's business, so those
//! modules are silent unless the level is `debug` or `trace`.

use std::fmt;
use std::time::SystemTime;

use tracing::{Event, Level, Subscriber};
use tracing_log::NormalizeEvent as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer, Registry, reload};

pub use tracing::level_filters::LevelFilter;

use super::stamp;

/// Modules that log about single requests and connections.
const PER_REQUEST: [&str; 6] = [
    "pingora_cache",
    "pingora_core::apps",
    "pingora_core::connectors",
    "pingora_core::protocols",
    "pingora_core::upstreams",
    "pingora_proxy",
];
/// Libraries whose debug lines are about their own insides; only `trace` shows them.
const INSIDES: [&str; 7] = [
    "h2",
    "hickory_proto",
    "hickory_resolver",
    "hyper",
    "hyper_util",
    "mio",
    "rustls",
];

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `2026-02-03T04:05:06.123456Z  WARN anypop::…: message key=value`
    Text,
    /// `<4>anypop::…: message key=value`: for the systemd journal, which keeps time and priority itself (sd-daemon(3)).
    Journal,
    /// One JSON object a line.
    Json,
}

impl Form {
    /// [`Form::Journal`] when stderr is the journal's stream, else [`Form::Text`]. `journal_stream` is the variable `JOURNAL_STREAM`
    /// (systemd.exec(5)): device and inode of that stream. A child whose stderr was redirected inherits the variable, but not the stream.
    pub fn for_stderr(journal_stream: Option<&str>) -> Self {
        use std::os::fd::AsFd as _;
        use std::os::unix::fs::MetadataExt as _;
        let stream = std::io::stderr()
            .as_fd()
            .try_clone_to_owned()
            .map(std::fs::File::from)
            .and_then(|file| file.metadata());
        match (journal_stream, stream) {
            (Some(variable), Ok(stream))
                if variable == format!("{}:{}", stream.dev(), stream.ino()) =>
            {
                Self::Journal
            }
            _ => Self::Text,
        }
    }
}

/// The running log; keep it to change the level later.
#[derive(Debug)]
pub struct DaemonLog {
    filter: reload::Handle<Targets, Registry>,
}

impl DaemonLog {
    /// Sends all logging of this process, through `tracing` or `log`, to stderr. Fails when logging was set up before.
    pub fn start(level: LevelFilter, form: Form) -> Result<Self, TryInitError> {
        let (subscriber, filter) = subscriber(level, form, std::io::stderr);
        subscriber.try_init()?;
        Ok(Self { filter })
    }

    /// Changes the level, for example after the configuration was loaded anew.
    pub fn set_level(&self, level: LevelFilter) {
        // It fails only when the subscriber is gone, which is global and is not.
        let _ = self.filter.reload(targets(level));
        // `log` has a gate of its own in front, which was set at start.
        tracing_log::log::set_max_level(tracing_log::AsLog::as_log(&level));
    }
}

fn subscriber<W>(
    level: LevelFilter,
    form: Form,
    writer: W,
) -> (
    impl Subscriber + Send + Sync,
    reload::Handle<Targets, Registry>,
)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(targets(level));
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    let layer = match form {
        Form::Text => layer.event_format(Line { journal: false }).boxed(),
        Form::Journal => layer.event_format(Line { journal: true }).boxed(),
        Form::Json => layer
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
    };
    (Registry::default().with(filter).with(layer), handle)
}

fn targets(level: LevelFilter) -> Targets {
    let requests = if level >= LevelFilter::DEBUG {
        level
    } else {
        LevelFilter::OFF
    };
    let insides = if level >= LevelFilter::TRACE {
        level
    } else {
        level.min(LevelFilter::INFO)
    };
    Targets::new()
        .with_default(level)
        .with_targets(PER_REQUEST.map(|target| (target, requests)))
        .with_targets(INSIDES.map(|target| (target, insides)))
}

/// Text and journal lines.
struct Line {
    journal: bool,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let normal = event.normalized_metadata();
        let metadata = normal.as_ref().unwrap_or_else(|| event.metadata());
        if self.journal {
            write!(out, "<{}>", priority(*metadata.level()))?;
        } else {
            let now = stamp::rfc3339(SystemTime::now());
            write!(
                out,
                "{} {:>5} ",
                std::str::from_utf8(&now).unwrap_or_default(),
                metadata.level()
            )?;
        }
        write!(out, "{}: ", metadata.target())?;
        let mut fields = String::new();
        context.format_fields(Writer::new(&mut fields), event)?;
        // One event is one line, and a value that came from the network cannot steer a terminal.
        for character in fields.chars() {
            if character.is_control() {
                write!(out, "{}", character.escape_default())?;
            } else {
                out.write_char(character)?;
            }
        }
        out.write_char('\n')
    }
}

/// syslog(3)'s priorities, as the journal reads them.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

#[cfg(test)]
#[path = "daemon_log_tests.rs"]
mod tests;
