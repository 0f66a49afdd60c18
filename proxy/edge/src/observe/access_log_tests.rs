#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::mpsc;

use super::super::sink::Lost;
use super::*;

/// Far longer than anything here takes: a test that reaches it fails.
const PATIENCE: Duration = Duration::from_secs(20);

fn open(target: &LogTarget, metrics: &Arc<Metrics>) -> AccessLog {
    AccessLog::open(target, "pop1-a", metrics.clone()).unwrap()
}

fn write(log: &AccessLog, path: &str) {
    log.write(&AccessRecord {
        path: path.as_bytes(),
        ..AccessRecord::default()
    });
}

fn paths(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("a whole line");
            line["path"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn a_file_is_reopened_after_a_rotation() {
    let folder = tempfile::tempdir().unwrap();
    let (current, rotated) = (
        folder.path().join("access.log"),
        folder.path().join("access.log.1"),
    );
    let metrics = Arc::new(Metrics::default());
    let log = open(&LogTarget::File(current.clone()), &metrics);
    assert!(log.is_on());
    write(&log, "/1");
    assert!(log.flush(PATIENCE));
    std::fs::rename(&current, &rotated).unwrap();
    write(&log, "/2");
    log.reopen();
    assert!(log.flush(PATIENCE));
    write(&log, "/3");
    assert!(log.close(PATIENCE));
    assert_eq!(
        paths(&rotated),
        ["/1", "/2"],
        "what was queued before goes to the old file"
    );
    assert_eq!(paths(&current), ["/3"]);
    let mode = std::fs::metadata(&current).unwrap().permissions().mode();
    assert_eq!(mode & 0o137, 0, "nobody else reads it: {mode:o}");
    assert_eq!(metrics.lost.value(LogKind::Access), 0);

    write(&log, "/4");
    assert_eq!(
        metrics.lost.value(LogKind::Access),
        1,
        "a line after the end is lost, and counted"
    );
    assert!(log.flush(PATIENCE), "nobody waits for what has ended");
}

#[test]
fn a_failed_reopening_keeps_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let (before, after) = (folder.path().join("before"), folder.path().join("after"));
    std::fs::create_dir(&before).unwrap();
    let log = open(
        &LogTarget::File(before.join("access.log")),
        &Arc::new(Metrics::default()),
    );
    std::fs::rename(&before, &after).unwrap();
    log.reopen();
    write(&log, "/1");
    assert!(log.close(PATIENCE));
    assert_eq!(paths(&after.join("access.log")), ["/1"]);
}

#[test]
fn lines_of_many_threads_stay_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let log = open(
        &LogTarget::File(file.clone()),
        &Arc::new(Metrics::default()),
    );
    std::thread::scope(|scope| {
        for thread in 0..10 {
            let log = &log;
            scope.spawn(move || (0..500).for_each(|line| write(log, &format!("/{thread}/{line}"))));
        }
    });
    assert!(log.close(PATIENCE));
    let paths = paths(&file);
    assert_eq!(paths.len(), 5000);
    for thread in 0..10 {
        let own: Vec<_> = paths
            .iter()
            .filter(|path| path.starts_with(&format!("/{thread}/")))
            .cloned()
            .collect();
        let expected: Vec<_> = (0..500).map(|line| format!("/{thread}/{line}")).collect();
        assert_eq!(own, expected, "each thread's lines keep their order");
    }
}

#[test]
fn a_full_disk_is_counted() {
    let metrics = Arc::new(Metrics::default());
    let log = open(&LogTarget::File("/dev/full".into()), &metrics);
    for _ in 0..7 {
        write(&log, "/");
    }
    assert!(log.close(PATIENCE));
    assert_eq!(metrics.lost.value(LogKind::Access), 7);
}

#[test]
fn nothing_happens_when_off_and_a_missing_folder_is_an_error() {
    let metrics = Arc::new(Metrics::default());
    let log = open(&LogTarget::Off, &metrics);
    assert!(!log.is_on());
    write(&log, "/");
    log.reopen();
    assert!(log.flush(Duration::ZERO) && log.close(Duration::ZERO));
    let missing = LogTarget::File("/nonexistent/folder/access.log".into());
    assert!(AccessLog::open(&missing, "a", metrics.clone()).is_err());
    assert!(
        AccessLog::open(
            &LogTarget::SyslogSocket("/nonexistent/log".into()),
            "a",
            metrics
        )
        .is_err()
    );
}

/// A sink that stands still until the test lets it go, and hands back what it got.
struct Stuck {
    release: mpsc::Receiver<()>,
    written: mpsc::Sender<Vec<u8>>,
}

impl Sink for Stuck {
    fn write(&mut self, lines: &[u8]) -> Result<(), Lost> {
        // A dropped sender means: no more standing still.
        let _ = self.release.recv();
        self.written.send(lines.to_vec()).unwrap();
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stuck_sink_costs_lines_and_not_workers() {
    let (release, released) = mpsc::channel();
    let (written, lines) = mpsc::channel();
    let metrics = Arc::new(Metrics::default());
    let log = AccessLog::with_sink(
        Box::new(Stuck {
            release: released,
            written,
        }),
        metrics.clone(),
    )
    .unwrap();
    // More than this thread's buffer and the batch that the sink holds.
    let long = "x".repeat(10_000);
    let total = 3 * BUFFER_LIMIT / long.len();
    (0..total).for_each(|_| write(&log, &long));
    let lost = metrics.lost.value(LogKind::Access);
    assert!(lost > 0, "the buffer is bounded");
    assert!(!log.flush(Duration::from_millis(1)), "it is stuck indeed");
    drop(release);
    assert!(log.close(PATIENCE));
    drop(log);
    let arrived: usize = lines
        .iter()
        .map(|batch| batch.iter().filter(|&&byte| byte == b'\n').count())
        .sum();
    assert_eq!(
        arrived as u64 + lost,
        total as u64,
        "every line is written or counted"
    );
}

#[test]
fn dropping_the_log_ends_its_thread_after_the_queue() {
    let (written, lines) = mpsc::channel();
    let (_, released) = mpsc::channel();
    let log = AccessLog::with_sink(
        Box::new(Stuck {
            release: released,
            written,
        }),
        Arc::new(Metrics::default()),
    )
    .unwrap();
    write(&log, "/last");
    drop(log);
    let all: Vec<u8> = lines.iter().flatten().collect();
    assert!(
        String::from_utf8(all).unwrap().contains("/last"),
        "the channel ends only when the thread drops its sink"
    );
}

/// Splits an RFC 5424 message as a receiver would.
fn parse_syslog(message: &[u8]) -> (Vec<String>, serde_json::Value) {
    let text = String::from_utf8(message.to_vec()).unwrap();
    let (head, json) = text.split_at(text.find('{').expect("a JSON message"));
    (
        head.split_whitespace().map(str::to_owned).collect(),
        serde_json::from_str(json).unwrap(),
    )
}

fn receive_unix(socket: &UnixDatagram) -> Vec<u8> {
    let mut message = vec![0; 100_000];
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = socket.recv(&mut message).unwrap();
    message.truncate(length);
    message
}

#[test]
fn syslog_on_a_socket_survives_a_restart_of_its_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let daemon = UnixDatagram::bind(&path).unwrap();
    let metrics = Arc::new(Metrics::default());
    let log = open(&LogTarget::SyslogSocket(path.clone()), &metrics);
    write(&log, "/1");
    write(&log, "/2");
    let (head, json) = parse_syslog(&receive_unix(&daemon));
    let pid = std::process::id().to_string();
    assert_eq!(
        head,
        [
            "<134>1",
            "1970-01-01T00:00:00.000000Z",
            "pop1-a",
            "anypop",
            &pid,
            "access",
            "-"
        ]
    );
    assert_eq!(json["path"], "/1");
    assert_eq!(
        parse_syslog(&receive_unix(&daemon)).1["path"],
        "/2",
        "one message a line"
    );

    drop(daemon);
    std::fs::remove_file(&path).unwrap();
    write(&log, "/3");
    write(&log, "/4");
    assert!(log.flush(PATIENCE));
    assert_eq!(metrics.lost.value(LogKind::Access), 2, "nobody listens");

    let daemon = UnixDatagram::bind(&path).unwrap();
    write(&log, "/5");
    assert!(log.close(PATIENCE));
    assert_eq!(parse_syslog(&receive_unix(&daemon)).1["path"], "/5");
}

#[test]
fn syslog_by_udp_loses_only_lines_beyond_a_datagram() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let metrics = Arc::new(Metrics::default());
    let log = open(
        &LogTarget::SyslogUdp(server.local_addr().unwrap().to_string()),
        &metrics,
    );
    // Each control character becomes six bytes: the longest text outgrows a datagram.
    write(&log, &"\u{1}".repeat(16_000));
    write(&log, "/after");
    assert!(log.close(PATIENCE));
    let mut message = vec![0; 70_000];
    let length = server.recv(&mut message).unwrap();
    assert_eq!(parse_syslog(&message[..length]).1["path"], "/after");
    assert_eq!(metrics.lost.value(LogKind::Access), 1);
}

#[test]
fn a_warning_a_minute() {
    let complaint = Complaint::default();
    let at = |seconds| complaint.start + Duration::from_secs(seconds);
    assert_eq!(complaint.add(3, at(0)), Some(3));
    assert_eq!(complaint.add(1, at(1)), None);
    assert_eq!(complaint.add(2, at(59)), None);
    assert_eq!(
        complaint.add(1, at(61)),
        Some(4),
        "with all that was lost in between"
    );
    assert_eq!(complaint.add(1, at(62)), None);
}
