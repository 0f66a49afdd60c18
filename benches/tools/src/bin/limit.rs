//! `limit --listen 127.0.0.1:0 --body 1024`: answers every request alike, as fast as the machine allows.

use std::process::ExitCode;

use anypop_bench_tools::args::Args;
use anypop_bench_tools::limit;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("limit: {message}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), String> {
    let mut args = Args::parse(std::env::args().skip(1), &[])?;
    let (listen, body) = (args.required("listen")?, args.required("body")?);
    args.finish()?;
    limit::serve(listen, body).map_err(|error| error.to_string())
}
