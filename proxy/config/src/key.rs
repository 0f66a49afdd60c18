//! Where something stands in a document.

use std::fmt;

/// One step from a value to one inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Into a table.
    Key(Box<str>),
    /// Into a list.
    Index(usize),
}

/// The way from a document's root to a value. Shown as dotted keys, `rules[2].path`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Key(Vec<Step>);

impl Key {
    /// The document itself.
    pub(crate) fn root() -> Self {
        Self::default()
    }

    /// A way through tables, its names parted by dots.
    pub(crate) fn of(names: &str) -> Self {
        Self(
            names
                .split('.')
                .map(|name| Step::Key(name.into()))
                .collect(),
        )
    }

    /// A way whose steps were noted from its end.
    pub(crate) fn from_reversed(mut steps: Vec<Step>) -> Self {
        steps.reverse();
        Self(steps)
    }

    /// One step further, into a table.
    pub(crate) fn key(&self, name: &str) -> Self {
        self.then(Step::Key(name.into()))
    }

    /// One step further, into a list.
    pub(crate) fn index(&self, index: usize) -> Self {
        self.then(Step::Index(index))
    }

    fn then(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Whether this is the other way or leads further along it.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// As a JSON Pointer (RFC 6901).
    pub(crate) fn pointer(&self) -> String {
        let mut out = String::new();
        for step in &self.0 {
            out.push('/');
            match step {
                Step::Key(name) => out.push_str(&name.replace('~', "~0").replace('/', "~1")),
                Step::Index(index) => out.push_str(&index.to_string()),
            }
        }
        out
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(name) => {
                    if at != 0 {
                        f.write_str(".")?;
                    }
                    let bare = !name.is_empty()
                        && name.bytes().all(|byte| {
                            byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
                        });
                    if bare {
                        f.write_str(name)?;
                    } else {
                        write!(f, "\"{}\"", crate::value::shown(name))?;
                    }
                }
            }
        }
        Ok(())
    }
}
