#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use super::*;

/// A line that was cut by a failing sink spoils no other.
#[test]
fn a_torn_line_is_ended_before_the_next() {
    // A stream that takes a part of a batch and then fails: its reader closes after some bytes.
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut sink = FileSink {
        file: File::from(OwnedFd::from(ours)),
        path: None,
        torn: false,
    };
    let batch = b"0123456789abcdef\n".repeat(500_000);
    let reader = std::thread::spawn(move || {
        let mut some = [0; 1000];
        theirs.read_exact(&mut some).unwrap();
    });
    let lost = sink.write(&batch).unwrap_err();
    reader.join().unwrap();
    assert!(lost.lines > 0 && lost.lines < 500_000, "{lost:?}");

    let (ours, mut theirs) = UnixStream::pair().unwrap();
    sink.file = File::from(OwnedFd::from(ours));
    sink.torn = true;
    sink.write(b"next\n").unwrap();
    assert!(!sink.torn);
    sink.write(b"last\n").unwrap();
    drop(sink);
    let mut all = String::new();
    theirs.read_to_string(&mut all).unwrap();
    assert_eq!(all, "\nnext\nlast\n");
}

/// Somebody made stdout non-blocking: a full pipe is waited for, not an error.
#[test]
fn a_full_pipe_is_waited_for() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut sink = FileSink {
        file: File::from(OwnedFd::from(ours)),
        path: None,
        torn: false,
    };
    let batch = b"0123456789abcdef\n".repeat(100_000);
    let expected = batch.len();
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        theirs.read_to_end(&mut all).unwrap();
        all.len()
    });
    sink.write(&batch).unwrap();
    drop(sink);
    assert_eq!(reader.join().unwrap(), expected);
}
