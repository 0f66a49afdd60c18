//! Other people's programs: curl, openssl, h2load.

use std::{ffi::OsStr, process::Stdio};

use tokio::{io::AsyncWriteExt, process::Command};

use crate::within;

/// What a program did.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Output {
    /// Both streams, for messages.
    #[must_use]
    pub fn all(&self) -> String {
        format!("exit {:?}\n{}{}", self.code, self.stdout, self.stderr)
    }
}

/// Runs a program to its end, with `stdin` as its input.
///
/// # Panics
/// When it is not installed, or does not end within the deadline.
pub async fn run<A: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = A>,
    stdin: &[u8],
) -> Output {
    let program = program.as_ref();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| {
            panic!(
                "{}: {error} (`./x setup` installs what tests need)",
                program.display()
            )
        });
    let mut input = child.stdin.take().unwrap();
    let input_bytes = stdin.to_vec();
    // A program that does not read its input must not hold the test up; dropping the pipe tells it that there is no more.
    let feed = tokio::spawn(async move {
        let _ = input.write_all(&input_bytes).await;
    });
    let output = within(&program.to_string_lossy(), child.wait_with_output())
        .await
        .unwrap();
    feed.abort();
    Output {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs curl, silent except for errors.
pub async fn curl(arguments: &[&str]) -> Output {
    let mut all = vec![
        "--silent",
        "--show-error",
        "--max-time",
        "15",
        "--noproxy",
        "*",
    ];
    all.extend(arguments);
    run("curl", all, b"").await
}
