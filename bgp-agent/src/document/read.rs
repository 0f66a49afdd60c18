//! From text to sections, with the place of every error.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use super::{Diagnostic, Document, check};

/// A document that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The document; its paths are absolute or relative to the working directory.
    pub document: Document,
    /// Its file.
    pub file: PathBuf,
}

/// Reads and checks a file, secrets and certificates that it names included.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(file: &Path) -> Result<Loaded, Vec<Diagnostic>> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| vec![Diagnostic::of_file(file, error.to_string())])?;
    let mut document = read(file, &text)?;
    resolve(&mut document, file.parent().unwrap_or(Path::new("")));
    Ok(Loaded {
        document,
        file: file.to_owned(),
    })
}

/// Reads and checks a text that came from `file`; what the document names is looked up beside it.
///
/// # Errors
/// What is wrong with it.
pub fn read(file: &Path, text: &str) -> Result<Document, Vec<Diagnostic>> {
    let places = Places::new(file, text);
    let parsed = toml::Deserializer::parse(text)
        .map_err(|error| vec![places.of_error(&error, String::new())])?;
    let document: Document = match serde_path_to_error::deserialize(parsed) {
        Ok(document) => document,
        Err(error) => {
            let key = error.path().to_string();
            let key = if key == "." { String::new() } else { key };
            return Err(vec![places.of_error(error.inner(), key)]);
        }
    };
    let mut found = Vec::new();
    let folder = file.parent().unwrap_or(Path::new(""));
    check(&document, folder, &mut |key, message| {
        found.push(places.of_key(key, message));
    });
    if found.is_empty() {
        Ok(document)
    } else {
        Err(found)
    }
}

/// Relative paths start at the document's folder.
fn resolve(document: &mut Document, folder: &Path) {
    let mut join = |path: &mut PathBuf| *path = folder.join(&path);
    join(&mut document.proxy.status_socket);
    join(&mut document.control.socket);
    document
        .neighbor
        .iter_mut()
        .filter_map(|neighbor| neighbor.password_file.as_mut())
        .chain(
            document
                .vip
                .iter_mut()
                .flat_map(|vip| &mut vip.check)
                .filter_map(|probe| probe.ca_file.as_mut()),
        )
        .chain(document.check.iter_mut().filter_map(|c| c.disk.as_mut()))
        .chain(document.agent.drain_file.as_mut())
        .chain(document.proxy.admin_socket.as_mut())
        .chain(document.guard.pops_file.as_mut())
        .chain(document.exabgp.as_mut().and_then(|e| e.pipe.as_mut()))
        .for_each(&mut join);
    if let Some(bird) = &mut document.bird {
        join(&mut bird.control_socket);
        join(&mut bird.include_file);
    }
}

/// Where keys are.
struct Places<'a> {
    file: &'a Path,
    text: &'a str,
    table: Option<toml::Spanned<DeTable<'a>>>,
}

impl<'a> Places<'a> {
    fn new(file: &'a Path, text: &'a str) -> Self {
        Self {
            file,
            text,
            table: DeTable::parse(text).ok(),
        }
    }

    fn line(&self, offset: usize) -> usize {
        let before = self.text.get(..offset).unwrap_or(self.text);
        before.bytes().filter(|byte| *byte == b'\n').count() + 1
    }

    fn of_error(&self, error: &toml::de::Error, key: String) -> Diagnostic {
        Diagnostic {
            file: self.file.to_owned(),
            line: error.span().map_or(0, |span| self.line(span.start)),
            key,
            message: error.message().trim().replace('\n', ", "),
        }
    }

    fn of_key(&self, key: String, message: String) -> Diagnostic {
        let line = self.offset(&key).map_or(0, |offset| self.line(offset));
        Diagnostic {
            file: self.file.to_owned(),
            line,
            key,
            message,
        }
    }

    /// The start of the deepest part of the key that the document holds.
    fn offset(&self, key: &str) -> Option<usize> {
        let mut table = self.table.as_ref()?.get_ref();
        let mut offset = None;
        for step in key.split('.') {
            let (name, index) = match step.split_once('[') {
                Some((name, rest)) => (name, rest.trim_end_matches(']').parse::<usize>().ok()),
                None => (step, None),
            };
            let Some((found, value)) = table
                .iter()
                .find(|(found, _)| found.get_ref().as_ref() == name)
            else {
                break;
            };
            offset = Some(found.span().start);
            let mut value = value.get_ref();
            if let (DeValue::Array(list), Some(index)) = (value, index) {
                let Some(entry) = list.get(index) else { break };
                offset = Some(entry.span().start);
                value = entry.get_ref();
            }
            match value {
                DeValue::Table(next) => table = next,
                _ => break,
            }
        }
        offset
    }
}

/// Reads a section alone; for tests and for defaults.
impl Document {
    /// A document from a TOML text, unchecked.
    ///
    /// # Errors
    /// What the parser says.
    pub fn unchecked(text: &str) -> Result<Self, toml::de::Error> {
        Self::deserialize(toml::Deserializer::parse(text)?)
    }
}
