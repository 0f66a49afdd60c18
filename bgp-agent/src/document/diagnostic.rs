use std::{
    fmt,
    path::{Path, PathBuf},
};

/// One thing that is wrong with a document: `file:line: key: message`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Diagnostic {
    /// The document's file.
    pub file: PathBuf,
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// The key, dotted; empty for the document itself.
    pub key: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Diagnostic {
    /// About a file as a whole.
    pub(crate) fn of_file(file: &Path, message: String) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            key: String::new(),
            message,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:", self.file.display())?;
        if self.line != 0 {
            write!(formatter, "{}:", self.line)?;
        }
        if !self.key.is_empty() {
            write!(formatter, " {}:", self.key)?;
        }
        write!(formatter, " {}", self.message)
    }
}
