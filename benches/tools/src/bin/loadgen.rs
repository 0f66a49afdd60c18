//! The load that wrk and h2load cannot make. One JSON line on stdout is the result.

use std::process::ExitCode;
use std::time::Duration;

use anypop_bench_tools::args::Args;
use anypop_bench_tools::target::Target;
use anypop_bench_tools::{handshakes, hold, rate};

const USAGE: &str = "\
loadgen rate --url URL --host NAME [--rate N] --connections N --warm-up SECONDS --seconds SECONDS [--unique MARK] [--field FIELD]
loadgen handshakes --url URL --host NAME --connections N --seconds SECONDS [--resume]
loadgen hold --url URL --host NAME --connections N [--h2]   (until the end of stdin)";

fn main() -> ExitCode {
    match run() {
        Ok(result) => {
            println!("{result}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("loadgen: {message}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<String, String> {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let mut args = Args::parse(words, &["resume", "h2"])?;
    if !matches!(command.as_str(), "rate" | "handshakes" | "hold") {
        return Err(format!("how to use it:\n{USAGE}"));
    }
    let url: String = args.required("url")?;
    let host: String = args.required("host")?;
    let target = Target::parse(&url, &host)?;
    let connections = args.required("connections")?;
    let result = match command.as_str() {
        "rate" => {
            let plan = rate::Plan {
                target,
                connections,
                rate: args.optional("rate")?,
                warm_up: seconds(&mut args, "warm-up")?,
                duration: seconds(&mut args, "seconds")?,
                unique: args.optional("unique")?,
                fields: args
                    .optional::<String>("field")?
                    .map_or_else(String::new, |field| field + "\r\n"),
            };
            if plan.rate.is_some_and(|rate| rate <= 0.0) {
                return Err("--rate must be above 0".to_owned());
            }
            args.finish()?;
            rate::run(&plan)
        }
        "handshakes" => {
            let duration = seconds(&mut args, "seconds")?;
            let plan = handshakes::Plan {
                target,
                connections,
                duration,
                resume: args.flag("resume"),
            };
            args.finish()?;
            handshakes::run(&plan)
        }
        _ => {
            let plan = hold::Plan {
                target,
                connections,
                h2: args.flag("h2"),
            };
            args.finish()?;
            hold::run(&plan)
        }
    };
    result.map_err(|error| error.to_string())
}

fn seconds(args: &mut Args, name: &str) -> Result<Duration, String> {
    let seconds: f64 = args.required(name)?;
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("--{name}: {seconds} is no duration"))
}
