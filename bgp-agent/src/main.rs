//! `anypop-bgp`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    anypop_bgp::cli::main()
}
