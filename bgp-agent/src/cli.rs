//! The command line.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use http_body_util::BodyExt;
use tracing_subscriber::filter::LevelFilter;

use crate::{
    agent,
    ask::{build, connect, request},
    control::{Answer, DrainRequest},
    document::{self, Diagnostic, Level, Loaded, LogFormat},
    status::Status,
};

/// It was tried and failed.
const FAILED: u8 = 1;
/// What it was given is wrong.
const WRONG: u8 = 2;

/// Announces a PoP's addresses exactly while it serves.
///
/// Exit codes: 0 done; 1 it was tried and failed; 2 what it was given is wrong, and nothing was started.
#[derive(Debug, Parser)]
#[command(name = "anypop-bgp", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the agent.
    Run {
        /// The agent's document.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Speaks to nobody, touches nothing, and logs what it would do.
        #[arg(long)]
        dry_run: bool,
    },
    /// Says everything that is wrong with a document.
    Check {
        /// The agent's document.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Prints the JSON Schema of the document.
    Schema,
    /// How the running agent is.
    Status {
        #[command(flatten)]
        target: Target,
        /// Again at every change, until interrupted.
        #[arg(long)]
        watch: bool,
        /// As JSON; with --watch one document a line.
        #[arg(long)]
        json: bool,
    },
    /// Takes the node out: bleed, quiesce, shift, withdraw.
    Drain {
        #[command(flatten)]
        target: Target,
        /// Why, for the log and for whoever looks.
        #[arg(long, default_value = "")]
        reason: String,
        /// Also when too few other PoPs are announced; says what that overrides.
        #[arg(long)]
        force: bool,
        /// Returns only when everything is withdrawn.
        #[arg(long)]
        wait: bool,
        /// The answer as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Brings it back, from any step of a drain.
    Undrain {
        #[command(flatten)]
        target: Target,
        /// The answer as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Which agent.
#[derive(Debug, Args)]
struct Target {
    /// The agent's control socket.
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    socket: Option<PathBuf>,
    /// The agent's document, which names the socket.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Target {
    fn socket(&self) -> Result<PathBuf, ExitCode> {
        match (&self.socket, &self.config) {
            (Some(socket), _) => Ok(socket.clone()),
            (None, Some(file)) => load(file).map(|loaded| loaded.document.control.socket),
            (None, None) => Ok(document::Control::default().socket),
        }
    }
}

/// Does what the arguments say.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // One thread: see `agent`.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.to_string(), FAILED),
    };
    let code = runtime.block_on(Box::pin(dispatch(cli.command)));
    // A check of a hung file system must not keep the agent from ending.
    runtime.shutdown_background();
    code
}

async fn dispatch(command: Command) -> ExitCode {
    match command {
        Command::Run { config, dry_run } => match load(&config) {
            Ok(loaded) => {
                log(&loaded);
                match agent::run(loaded, dry_run).await {
                    Ok(()) => ExitCode::SUCCESS,
                    Err(error) => fail(&error, WRONG),
                }
            }
            Err(code) => code,
        },
        Command::Check { config } => match load(&config) {
            Ok(_) => say(&format!("{}: ok\n", config.display())),
            Err(code) => code,
        },
        Command::Schema => say(&document::schema()),
        Command::Status {
            target,
            watch,
            json,
        } => with(target, async |socket| status(socket, watch, json).await).await,
        Command::Drain {
            target,
            reason,
            force,
            wait,
            json,
        } => {
            let body = DrainRequest { reason, force };
            with(target, async |socket| {
                let body = serde_json::to_string(&body).map_err(|error| error.to_string())?;
                order(socket, "/v1/drain", body, json).await?;
                if wait { drained(socket).await } else { Ok(()) }
            })
            .await
        }
        Command::Undrain { target, json } => {
            with(target, async |socket| {
                order(socket, "/v1/undrain", String::new(), json).await
            })
            .await
        }
    }
}

async fn with(target: Target, act: impl AsyncFnOnce(&Path) -> Result<(), String>) -> ExitCode {
    match target.socket() {
        Ok(socket) => match act(&socket).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, FAILED),
        },
        Err(code) => code,
    }
}

fn load(file: &Path) -> Result<Loaded, ExitCode> {
    document::load(file).map_err(|found: Vec<Diagnostic>| {
        let lines: String = found.iter().map(|d| format!("{d}\n")).collect();
        let _ = io::stderr().write_all(lines.as_bytes());
        ExitCode::from(WRONG)
    })
}

fn log(loaded: &Loaded) {
    let level = match loaded.document.log.level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr);
    match loaded.document.log.format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => builder.with_ansi(false).init(),
    }
}

async fn status(socket: &Path, watch: bool, json: bool) -> Result<(), String> {
    if !watch {
        let (code, body) = request(socket, "GET", "/v1/status", String::new()).await?;
        if code != 200 {
            return Err(body.trim().to_owned());
        }
        return show(body.as_bytes(), json);
    }
    let mut sender = connect(socket).await?;
    let response = sender
        .send_request(build("GET", "/v1/watch", String::new())?)
        .await
        .map_err(|error| error.to_string())?;
    let mut body = response.into_body();
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data.as_ref()));
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            show(&line, json)?;
        }
    }
    Err("the agent has ended".to_owned())
}

fn show(line: &[u8], json: bool) -> Result<(), String> {
    let status: Status = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let mut text = if json {
        serde_json::to_string(&status).map_err(|error| error.to_string())?
    } else {
        status.text()
    };
    text.push('\n');
    put(&text).map_err(|error| error.to_string())
}

async fn order(socket: &Path, path: &str, body: String, json: bool) -> Result<(), String> {
    let (code, body) = request(socket, "POST", path, body).await?;
    if code != 200 {
        return Err(body.trim().to_owned());
    }
    let answer: Answer = serde_json::from_str(&body).map_err(|error| error.to_string())?;
    let text = if json {
        format!("{}\n", body.trim())
    } else {
        match answer.overridden {
            Some(overridden) => format!("{}\noverridden: {overridden}\n", answer.message),
            None => format!("{}\n", answer.message),
        }
    };
    put(&text).map_err(|error| error.to_string())
}

/// Follows the agent until nothing is announced.
async fn drained(socket: &Path) -> Result<(), String> {
    let mut sender = connect(socket).await?;
    let response = sender
        .send_request(build("GET", "/v1/watch", String::new())?)
        .await
        .map_err(|error| error.to_string())?;
    let mut body = response.into_body();
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data.as_ref()));
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            let status: Status =
                serde_json::from_slice(&line).map_err(|error| error.to_string())?;
            match status.policy.drain.step.as_str() {
                "drained" => return Ok(()),
                "none" => return Err("the drain was taken back".to_owned()),
                _ => {}
            }
        }
    }
    Err("the agent has ended".to_owned())
}

fn put(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}

fn say(text: &str) -> ExitCode {
    match put(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string(), FAILED),
    }
}

fn fail(error: &str, code: u8) -> ExitCode {
    // There is nowhere left to complain to when this fails.
    let _ = writeln!(io::stderr(), "anypop-bgp: {error}");
    ExitCode::from(code)
}
