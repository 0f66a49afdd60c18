//! The command line: what may be asked, and which exit code answers.
//!
//! Exit codes: 0 done; 1 it failed while running, or the daemon said no; 2 the command line, a
//! document or a file it names is wrong, and nothing was started; 3 no daemon answers.

mod args;
mod check;
mod control;
mod demo;
mod serve;

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use clap::{CommandFactory, Parser};

use args::{Arguments, Command};

/// Why a command did not succeed. Each variant is one exit code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// It failed while running, or the daemon refused.
    #[error("{0}")]
    Running(String),
    /// The command line or a document is wrong; one line for each thing.
    #[error("{}", .0.join("\n"))]
    Wrong(Vec<String>),
    /// No daemon answers on the control socket.
    #[error("{0}")]
    Unreachable(String),
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::Running(_) => 1,
            Failure::Wrong(_) => 2,
            Failure::Unreachable(_) => 3,
        })
    }

    /// One wrong thing.
    pub(crate) fn wrong(message: impl Into<String>) -> Self {
        Failure::Wrong(vec![message.into()])
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Running(error.to_string())
    }
}

/// Parses `arguments`, does what they ask, and returns the exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // `--help` and `--version` come here too, with code 0.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let done = match arguments.command {
        Command::Serve(serve) => serve::run(serve),
        Command::Check(check) => check::run(check),
        Command::Demo(demo) => demo::run(demo),
        Command::Status(status) => control::status(status),
        Command::Purge(purge) => control::purge(purge),
        Command::Explain(explain) => control::explain(explain),
        Command::Sites(sites) => control::sites(sites),
        Command::Reload(reload) => control::reload(reload),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "anypop", &mut text);
            print(&text)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(io::stderr(), "anypop: {failure}");
            failure.exit_code()
        }
    }
}

/// Writes `text` to stdout; a reader that went away (`| head`) is no failure.
pub(crate) fn print(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_ref())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
