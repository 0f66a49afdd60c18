//! Bad documents and everything that must be said about them: `golden/<kind>/<name>.toml` (or `.json`) with `<name>.toml.txt` beside it.
//! After a deliberate change, `UPDATE_GOLDEN=1 cargo nextest run -p anypop-config` writes the texts anew; read the difference.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use anypop_config::{Diagnostic, Node, Site};

fn documents(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(kind);
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml" || extension == "json")
        })
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn compare(kind: &str, check: impl Fn(&str, &Path, &Path) -> Vec<Diagnostic>) {
    let mut wrong = String::new();
    for file in documents(kind) {
        let text = fs::read_to_string(&file).unwrap();
        let base = file.parent().unwrap();
        let found = check(&text, Path::new(file.file_name().unwrap()), base);
        assert!(!found.is_empty(), "{} is no bad document", file.display());
        let mut lines = String::new();
        for diagnostic in &found {
            writeln!(
                lines,
                "{}",
                diagnostic
                    .to_string()
                    .replace(&format!("{}/", base.display()), "")
                    .replace(&base.display().to_string(), ".")
            )
            .unwrap();
        }
        let expected = PathBuf::from(format!("{}.txt", file.display()));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&expected, &lines).unwrap();
        }
        let known = fs::read_to_string(&expected).unwrap_or_default();
        if known != lines {
            writeln!(
                wrong,
                "{}:\nexpected:\n{known}found:\n{lines}",
                file.display()
            )
            .unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn is_json(file: &Path) -> bool {
    file.extension()
        .is_some_and(|extension| extension == "json")
}

#[test]
fn bad_sites() {
    compare("site", |text, file, base| {
        let site = if is_json(file) {
            Site::from_json(text, base)
        } else {
            Site::from_toml(text, file, base)
        };
        site.expect_err(&format!("{} must not be a site", file.display()))
    });
}

#[test]
fn bad_nodes() {
    compare("node", |text, file, base| {
        let node = if is_json(file) {
            Node::from_json(text, base)
        } else {
            Node::from_toml(text, file, base)
        };
        node.expect_err(&format!("{} must not be a node", file.display()))
    });
}
