use std::fmt;

use serde::de::{self, Expected, Unexpected};

use crate::key::{Key, Step};

/// Why a value in a tree cannot be read, and where it is.
#[derive(Debug)]
pub(crate) struct ReadError {
    /// From the value outwards.
    steps: Vec<Step>,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    /// The key isn't one of these.
    UnknownKey(&'static [&'static str]),
    /// The table has no such key.
    Missing(&'static str),
    /// The text isn't one of these.
    UnknownChoice(String, &'static [&'static str]),
    /// Anything else.
    Other(String),
}

impl ReadError {
    fn new(kind: Kind) -> Self {
        Self {
            steps: Vec::new(),
            kind,
        }
    }

    pub(crate) fn within(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Where the value is.
    pub(crate) fn key(&mut self) -> Key {
        Key::from_reversed(std::mem::take(&mut self.steps))
    }
}

impl Kind {
    /// The message; for a key, also its name, and the names that may stand at the top of the document.
    pub(crate) fn message(&self, key: &Key, top: &[&str]) -> String {
        match self {
            Self::UnknownKey(known) => {
                let name = match key.steps().last() {
                    Some(Step::Key(name)) => name,
                    _ => "",
                };
                if let Some(near) = nearest(name, known) {
                    format!("unknown key; did you mean \"{near}\"?")
                } else if key.steps().len() > 1 && top.contains(&name) {
                    format!(
                        "unknown key; \"{name}\" belongs at the top of the document, before the first [section]"
                    )
                } else {
                    format!("unknown key; here may stand: {}", known.join(", "))
                }
            }
            Self::Missing(name) => format!("\"{name}\" is missing"),
            Self::UnknownChoice(text, known) => match nearest(text, known) {
                Some(near) => format!(
                    "\"{}\" is no choice here; did you mean \"{near}\"?",
                    crate::value::shown(text)
                ),
                None => format!(
                    "\"{}\" is no choice here; write {}",
                    crate::value::shown(text),
                    alternatives(known)
                ),
            },
            Self::Other(message) => message.clone(),
        }
    }
}

fn alternatives(known: &[&str]) -> String {
    let quoted: Vec<String> = known.iter().map(|name| format!("\"{name}\"")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// The known name that the text was probably meant to be.
fn nearest<'a>(text: &str, known: &[&'a str]) -> Option<&'a str> {
    const LONGEST: usize = 64;
    if text.len() > LONGEST {
        return None;
    }
    let text = text.to_ascii_lowercase().replace('-', "_");
    known
        .iter()
        .map(|name| (distance(&text, &name.replace('-', "_")), *name))
        .filter(|(distance, name)| *distance <= (name.len() / 3).min(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// How many characters must be put in, taken out, replaced, or swapped with their neighbour to get from one to the other.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX - 1);
            let mut best = (at(&last, j) + usize::from(a != b))
                .min(at(&last, j + 1) + 1)
                .min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && from.get(i - 1) == Some(b) && to.get(j - 1) == Some(a);
            if swapped {
                best = best.min(at(&before_last, j - 1) + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

/// What is expected, in the words of the manual instead of Rust's.
fn expected(exp: &dyn Expected) -> String {
    let text = exp.to_string();
    match &*text {
        "a boolean" => "true or false".into(),
        "a sequence" => "a list".into(),
        "path string" => "a path".into(),
        "socket address" => "an address and port such as \"0.0.0.0:443\"".into(),
        "u8" => format!("a whole number from 0 to {}", u8::MAX),
        "u16" => format!("a whole number from 0 to {}", u16::MAX),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "f64" => "a number".into(),
        _ if text.starts_with("struct ") || text == "a map" => "a table".into(),
        _ => text,
    }
}

/// What is there instead.
fn unexpected(unexp: Unexpected<'_>) -> String {
    match unexp {
        Unexpected::Bool(flag) => flag.to_string(),
        Unexpected::Unsigned(number) => number.to_string(),
        Unexpected::Signed(number) => number.to_string(),
        Unexpected::Float(number) => number.to_string(),
        Unexpected::Str(text) => format!("the text \"{}\"", crate::value::shown(text)),
        Unexpected::Unit => "null".into(),
        Unexpected::Seq => "a list".into(),
        Unexpected::Map => "a table".into(),
        Unexpected::Other(what) => what.into(),
        _ => "something else".into(),
    }
}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let mut message = message.to_string();
        // The words of `std` for a socket address name neither the form nor an example.
        if message == "invalid socket address syntax" {
            message = "is no address and port, such as \"0.0.0.0:443\" or \"[::]:443\"".into();
        }
        Self::new(Kind::Other(message))
    }
    fn invalid_type(unexp: Unexpected<'_>, exp: &dyn Expected) -> Self {
        Self::new(Kind::Other(format!(
            "must be {}, but is {}",
            expected(exp),
            unexpected(unexp)
        )))
    }
    fn invalid_value(unexp: Unexpected<'_>, exp: &dyn Expected) -> Self {
        Self::invalid_type(unexp, exp)
    }
    fn unknown_field(_: &str, known: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownKey(known))
    }
    fn unknown_variant(text: &str, known: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownChoice(text.into(), known))
    }
    fn missing_field(name: &'static str) -> Self {
        Self::new(Kind::Missing(name))
    }
    fn duplicate_field(name: &'static str) -> Self {
        Self::new(Kind::Other(format!("\"{name}\" is given twice")))
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind.message(&Key::root(), &[]))
    }
}

impl std::error::Error for ReadError {}
