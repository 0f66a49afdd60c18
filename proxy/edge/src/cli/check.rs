//! `anypop check`

use anypop_config::Diagnostic;
use serde_json::json;

use super::{Failure, args::Check, print};
use crate::server;

pub(super) fn run(args: Check) -> Result<(), Failure> {
    let (found, sites) = match anypop_config::load_node(&args.config) {
        Ok(loaded) => {
            let mut found: Vec<String> = Vec::new();
            let unusable = server::check(&loaded.snapshot);
            let sites = loaded.snapshot.sites.len();
            found.extend(unusable.iter().map(ToString::to_string));
            (
                Found {
                    errors: found,
                    warnings: loaded.warnings,
                },
                sites,
            )
        }
        Err(diagnostics) => (Found::sort(diagnostics), 0),
    };
    if args.json {
        let warnings: Vec<_> = found.warnings.iter().map(ToString::to_string).collect();
        let document = json!({ "errors": found.errors, "warnings": warnings, "sites": sites });
        print(format!("{document:#}\n"))?;
        return match found.errors.len() {
            0 => Ok(()),
            count => Err(Failure::wrong(format!(
                "{count} errors in {}",
                args.config.display()
            ))),
        };
    }
    for warning in &found.warnings {
        print(format!("warning: {warning}\n"))?;
    }
    if found.errors.is_empty() {
        print(format!("{}: ok, {sites} sites\n", args.config.display()))
    } else {
        Err(Failure::Wrong(found.errors))
    }
}

struct Found {
    errors: Vec<String>,
    warnings: Vec<Diagnostic>,
}

impl Found {
    fn sort(diagnostics: Vec<Diagnostic>) -> Self {
        let (warnings, errors): (Vec<_>, Vec<_>) =
            diagnostics.into_iter().partition(Diagnostic::is_warning);
        Self {
            errors: errors.iter().map(ToString::to_string).collect(),
            warnings,
        }
    }
}

/// What a command says when a document it needs is wrong.
pub(super) fn failure(diagnostics: Vec<Diagnostic>) -> Failure {
    Failure::Wrong(Found::sort(diagnostics).errors)
}
