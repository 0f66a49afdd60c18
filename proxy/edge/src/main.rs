//! The `anypop` command. Everything it can do is in the library; see [`anypop`].

use std::process::ExitCode;

fn main() -> ExitCode {
    anypop::cli::run(std::env::args_os())
}
