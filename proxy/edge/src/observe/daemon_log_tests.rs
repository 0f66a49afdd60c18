#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing_log::log;

use super::*;

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The gate of `log` is one for the process: tests that move it take turns.
static TURN: Mutex<()> = Mutex::new(());

/// What is written while `act` runs.
fn logged(
    level: LevelFilter,
    form: Form,
    act: impl FnOnce(&reload::Handle<Targets, Registry>),
) -> String {
    let _turn = TURN.lock();
    let kept = Kept::default();
    let writer = kept.clone();
    let (subscriber, handle) = subscriber(level, form, move || writer.clone());
    // Another test of this process may have been first.
    let _ = tracing_log::LogTracer::init();
    tracing::subscriber::with_default(subscriber, || act(&handle));
    let bytes = kept.0.lock().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn one_line_for_one_event() {
    let text = logged(LevelFilter::INFO, Form::Text, |_| {
        tracing::warn!(target: "anypop::test", path = "/a\nb\u{1b}[31m", "two\nlines");
        tracing::debug!("not shown");
    });
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("  WARN anypop::test: two\\nlines"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
    assert_eq!(text.as_bytes()[10], b'T', "{text}");
}

#[test]
fn priorities_for_the_journal() {
    let text = logged(LevelFilter::DEBUG, Form::Journal, |_| {
        tracing::error!(target: "anypop", "e");
        tracing::info!(target: "anypop", count = 3, "i");
        tracing::debug!(target: "anypop", "d");
    });
    assert_eq!(text, "<3>anypop: e\n<6>anypop: i count=3\n<7>anypop: d\n");
}

#[test]
fn json_lines() {
    let text = logged(LevelFilter::INFO, Form::Json, |_| {
        tracing::info!(target: "anypop", count = 3, "said \"so\"");
        log::warn!(target: "pingora_core::server", "by log");
    });
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["message"], "said \"so\"");
    assert_eq!(lines[0]["count"], 3);
    assert_eq!(lines[0]["level"], "INFO");
    assert_eq!(lines[1]["target"], "pingora_core::server");
}

#[test]
fn pingoras_words_about_single_requests_are_for_debugging() {
    let speak = |_: &reload::Handle<Targets, Registry>| {
        log::error!(target: "pingora_proxy", "request failed");
        log::warn!(target: "pingora_core::protocols::http::v1", "client left");
        log::warn!(target: "pingora_core::server", "worth knowing");
        log::info!(target: "rustls::server", "also");
        log::debug!(target: "rustls::server", "insides");
    };
    let text = logged(LevelFilter::INFO, Form::Journal, speak);
    assert_eq!(
        text,
        "<4>pingora_core::server: worth knowing\n<6>rustls::server: also\n"
    );
    let text = logged(LevelFilter::DEBUG, Form::Journal, speak);
    assert!(
        text.contains("<3>pingora_proxy: request failed\n")
            && text.contains("client left")
            && !text.contains("insides"),
        "{text}"
    );
    assert!(logged(LevelFilter::TRACE, Form::Journal, speak).contains("insides"));
    assert_eq!(logged(LevelFilter::OFF, Form::Journal, speak), "");
}

#[test]
fn the_level_changes_while_running() {
    let text = logged(LevelFilter::WARN, Form::Journal, |filter| {
        tracing::info!(target: "anypop", "before");
        let log = DaemonLog {
            filter: filter.clone(),
        };
        log.set_level(LevelFilter::INFO);
        tracing::info!(target: "anypop", "after");
        // Others in this process log too.
        log::set_max_level(log::LevelFilter::Trace);
    });
    assert_eq!(text, "<6>anypop: after\n");
}

#[test]
fn the_journals_stream_is_recognised() {
    assert_eq!(Form::for_stderr(None), Form::Text);
    assert_eq!(
        Form::for_stderr(Some("1:1")),
        Form::Text,
        "inherited, but redirected since"
    );
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::MetadataExt as _;
    let stderr = std::fs::File::from(io::stderr().as_fd().try_clone_to_owned().unwrap())
        .metadata()
        .unwrap();
    assert_eq!(
        Form::for_stderr(Some(&format!("{}:{}", stderr.dev(), stderr.ino()))),
        Form::Journal
    );
}
