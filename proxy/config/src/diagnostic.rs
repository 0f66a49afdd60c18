use std::{fmt, path::Path, sync::Arc};

/// How bad a [`Diagnostic`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The document cannot be used.
    Error,
    /// It can, but probably isn't what is meant.
    Warning,
}

/// One thing that is wrong with a document.
///
/// Shown on one line: `file:line: key: message`; for a document that came as JSON, `pointer: message`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Diagnostic {
    /// The document's file; none if it came as JSON.
    pub file: Option<Arc<Path>>,
    /// The line, from 1; 0 where it isn't known: a whole file or directory, or JSON.
    pub line: usize,
    /// The column in characters, from 1; 0 where it isn't known.
    pub column: usize,
    /// The key: dotted for TOML, a JSON Pointer (RFC 6901) for JSON; empty for the document itself.
    pub key: String,
    /// What is wrong, and what to do.
    pub message: String,
    /// How bad it is.
    pub severity: Severity,
}

impl Diagnostic {
    /// An error about a file or directory as a whole.
    pub(crate) fn of_file(file: &Path, message: String) -> Self {
        Self {
            file: Some(file.into()),
            line: 0,
            column: 0,
            key: String::new(),
            message,
            severity: Severity::Error,
        }
    }

    /// Whether the document can be used all the same.
    pub fn is_warning(&self) -> bool {
        self.severity == Severity::Warning
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", file.display())?;
            if self.line != 0 {
                write!(f, "{}:", self.line)?;
            }
            f.write_str(" ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        if self.is_warning() {
            f.write_str("warning: ")?;
        }
        f.write_str(&self.message)
    }
}
