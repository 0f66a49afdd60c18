//! From a document's text to the checked [`Node`](crate::Node) or [`Site`](crate::Site), noting everything that is wrong on the way.

mod node;
mod origin;
mod rules;
mod site;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

pub(crate) use node::{check_node, machine_name};
use serde::de::DeserializeOwned;
pub(crate) use site::{check_site, single_origin_site};

use crate::{
    diagnostic::{Diagnostic, Severity},
    key::Key,
    tree::{self, Tree},
};

/// How many things may be wrong with one document before the rest of it isn't looked at any more.
const MOST_ERRORS: usize = 200;

/// How many lines that are no TOML are listed.
const MOST_SYNTAX_ERRORS: usize = 10;

/// The largest document that is read, in bytes. Documents are written by people; larger ones are something else.
pub(crate) const LARGEST_DOCUMENT: u64 = 1 << 20;

/// A document, and what was found to be wrong with it so far.
pub(crate) struct Checker<'a> {
    tree: Tree<'a>,
    /// The file and its text; none for JSON.
    source: Option<(Arc<Path>, &'a str)>,
    /// Where relative paths start.
    base: &'a Path,
    /// Values that were wrong in themselves: no more is said about them.
    spoiled: Vec<Key>,
    /// Whether the text itself could not be parsed: what seems to be missing may then stand where the parser lost its way.
    broken: bool,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl<'a> Checker<'a> {
    /// A document in TOML.
    pub(crate) fn toml(file: &Path, text: &'a str, base: &'a Path) -> Self {
        let (tree, mut errors) = tree::from_toml(text);
        errors.sort_by_key(|error| error.place);
        let mut checker = Self {
            tree,
            source: Some((file.into(), text)),
            base,
            spoiled: Vec::new(),
            broken: !errors.is_empty(),
            diagnostics: Vec::new(),
        };
        // One slip makes the parser stumble again and again behind it: the first thing on each line tells enough.
        let mut last = 0;
        for error in errors {
            let (line, column) = position(text, error.place);
            if line > last && checker.diagnostics.len() < MOST_SYNTAX_ERRORS {
                checker.push(line, column, String::new(), error.message, Severity::Error);
                last = line;
            }
        }
        checker
    }

    /// A document in JSON.
    pub(crate) fn json(text: &'a str, base: &'a Path) -> Self {
        let (tree, error) = match tree::from_json(text) {
            Ok(tree) => (tree, None),
            Err(error) => (Tree::empty(), Some(error)),
        };
        let mut checker = Self {
            tree,
            source: None,
            base,
            spoiled: Vec::new(),
            broken: error.is_some(),
            diagnostics: Vec::new(),
        };
        if let Some(error) = error {
            checker.push(
                0,
                0,
                String::new(),
                format!("the document {error}"),
                Severity::Error,
            );
        }
        checker
    }

    /// Reads the document. Values that are wrong are noted, and then left out.
    pub(crate) fn read<T: DeserializeOwned + Default>(&mut self) -> T {
        loop {
            let mut error = match T::deserialize(&self.tree) {
                Ok(document) => return document,
                Err(error) => error,
            };
            let place = error.key();
            let message = error.kind.message(&place, &self.top::<T>());
            // Where the parser lost its way, what it made of the rest of the line says nothing new.
            let line = self.place(&place).0;
            let stumbled = self.broken && self.diagnostics.iter().any(|known| known.line == line);
            // What was given, but wrong, is not missing.
            let given = matches!(error.kind, tree::Kind::Missing(name) if self.spoiled.contains(&place.key(name)));
            if !stumbled && !given {
                self.note(&place, message, Severity::Error);
            }
            let removed = self.tree.remove(&place);
            self.spoiled.push(place);
            if !removed || self.spoiled.len() > MOST_ERRORS {
                self.broken = true;
                return T::default();
            }
        }
    }

    /// The names at the top of this kind of document.
    fn top<T: DeserializeOwned>(&self) -> Vec<&'static str> {
        let mut probe = Tree::empty();
        if let tree::Value::Table(entries) = &mut probe.value {
            entries.push(tree::Entry {
                name: "".into(),
                span: 0..0,
                tree: Tree::empty(),
            });
        }
        match T::deserialize(&probe) {
            Err(tree::ReadError {
                kind: tree::Kind::UnknownKey(known),
                ..
            }) => known.to_vec(),
            _ => Vec::new(),
        }
    }

    /// Whether there is an error. Warnings don't count.
    pub(crate) fn failed(&self) -> bool {
        self.diagnostics
            .iter()
            .any(|diagnostic| !diagnostic.is_warning())
    }

    /// The numbers that the items of a list have in the document, of those that could be read.
    fn remaining(&self, list: &Key) -> Vec<usize> {
        self.tree.remaining(list)
    }

    /// Whether nothing at or below the key was wrong in itself.
    fn is_sound(&self, key: &Key) -> bool {
        !self.spoiled.iter().any(|spoiled| spoiled.is_within(key))
    }

    /// Notes an error at a key, unless its value is known to be wrong already.
    pub(crate) fn error(&mut self, key: &Key, message: impl Into<String>) {
        let known = self
            .spoiled
            .iter()
            .any(|spoiled| spoiled.is_within(key) || key.is_within(spoiled));
        if !known && !self.broken {
            self.note(key, message.into(), Severity::Error);
        }
    }

    /// An error at a key, apart from what is noted.
    pub(crate) fn about(self, key: &Key, message: String) -> Diagnostic {
        let (line, column) = self.place(key);
        let file = self.source.as_ref().map(|(file, _)| Arc::clone(file));
        Diagnostic {
            file,
            line,
            column,
            key: key.to_string(),
            message,
            severity: Severity::Error,
        }
    }

    /// Brings what was noted into the order of the text.
    pub(crate) fn sort(&mut self) {
        self.diagnostics
            .sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
    }

    fn note(&mut self, key: &Key, message: String, severity: Severity) {
        let (line, column) = self.place(key);
        let shown = if self.source.is_some() {
            key.to_string()
        } else {
            key.pointer()
        };
        self.push(line, column, shown, message, severity);
    }

    fn push(
        &mut self,
        line: usize,
        column: usize,
        key: String,
        message: String,
        severity: Severity,
    ) {
        let file = self.source.as_ref().map(|(file, _)| Arc::clone(file));
        self.diagnostics.push(Diagnostic {
            file,
            line,
            column,
            key,
            message,
            severity,
        });
    }

    /// Line and column of a key, or of what it should stand in.
    fn place(&self, key: &Key) -> (usize, usize) {
        match &self.source {
            Some((_, text)) => position(text, self.tree.locate(key).unwrap_or(0)),
            None => (0, 0),
        }
    }

    /// Notes what stands in a list although it stood there before.
    fn no_repeats<T: std::hash::Hash + Eq + std::fmt::Display>(&mut self, key: &Key, items: &[T]) {
        let numbers = self.remaining(key);
        for at in repeated(items) {
            if let (Some(item), Some(number)) = (items.get(at), numbers.get(at)) {
                self.error(
                    &key.index(*number),
                    format!("\"{item}\" stands twice in the list"),
                );
            }
        }
    }

    /// Lets a path start at the document's folder, if it is relative.
    fn absolute(&self, path: &Path) -> PathBuf {
        // `components` drops "." and doubled slashes; ".." stays, since it may go through a symbolic link.
        self.base.join(path).components().collect()
    }

    /// A file that must be there and readable.
    fn readable(&mut self, key: &Key, path: &Path) -> PathBuf {
        let path = self.absolute(path);
        let problem = match File::open(&path).and_then(|file| file.metadata()) {
            Ok(metadata) if metadata.is_file() => return path,
            Ok(_) => format!("{} is no file", path.display()),
            Err(error) => format!("cannot read {}: {}", path.display(), reason(&error)),
        };
        self.error(key, problem);
        path
    }

    /// The same, for a key that may be absent.
    fn readable_option(&mut self, key: &Key, path: Option<&PathBuf>) -> Option<PathBuf> {
        path.map(|path| self.readable(key, path))
    }
}

/// An I/O error without the number that the standard library appends.
pub(crate) fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((reason, _)) => reason.to_ascii_lowercase(),
        None => text,
    }
}

/// Line and column, both from 1, the column in characters.
fn position(text: &str, place: usize) -> (usize, usize) {
    let before = text.get(..place).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before
        .get(line_start..)
        .map_or(0, |line| line.chars().count());
    (
        before.bytes().filter(|byte| *byte == b'\n').count() + 1,
        column + 1,
    )
}

/// Which items stand in the list before them already.
fn repeated<T: std::hash::Hash + Eq>(items: &[T]) -> Vec<usize> {
    let mut seen = std::collections::HashSet::new();
    items
        .iter()
        .enumerate()
        .filter(|(_, item)| !seen.insert(*item))
        .map(|(at, _)| at)
        .collect()
}
