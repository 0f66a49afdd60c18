use std::fmt;

use super::{ValueError, shown};

/// A pattern for paths: `*` stands for any run of characters (also none, also `/`), everything else for itself, and the whole path must fit.
///
/// It is matched against the path as it stands in the request, without the query; case counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathGlob {
    /// What stands between the `*`s: n + 1 pieces for n `*`s. Never empty.
    pieces: Box<[Box<str>]>,
}

impl PathGlob {
    /// The pattern that every path fits.
    pub fn any() -> Self {
        Self {
            pieces: ["".into(), "".into()].into(),
        }
    }

    /// Whether the path fits. Takes time proportional to the path's length times the number of pieces at worst.
    pub fn matches(&self, path: &str) -> bool {
        let [first, rest @ ..] = &*self.pieces else {
            return false;
        };
        let [middle @ .., last] = rest else {
            return path == &**first;
        };
        let Some(mut path) = path.strip_prefix(&**first) else {
            return false;
        };
        for piece in middle {
            // The leftmost place is always as good as any later one: it leaves the most for the pieces that follow.
            let Some((_, after)) = path.split_once(&**piece) else {
                return false;
            };
            path = after;
        }
        path.ends_with(&**last)
    }
}

impl std::str::FromStr for PathGlob {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refuse = |why: &str| {
            Err(ValueError(format!(
                "\"{}\" is no path pattern: {why}",
                shown(text)
            )))
        };
        if !text.starts_with(['/', '*']) {
            return refuse("it must begin with \"/\" or \"*\"");
        }
        if let Some(odd) = text.chars().find(|c| !c.is_ascii_graphic()) {
            return refuse(&format!(
                "'{}' cannot stand in a path; write it percent-encoded",
                odd.escape_debug()
            ));
        }
        if text.contains(['?', '#']) {
            return refuse("rules see the path alone, so \"?\" and \"#\" never fit");
        }
        // "**" means the same as "*"; one form only, so that equal patterns are equal values.
        let mut pieces: Vec<Box<str>> = text.split('*').map(Box::from).collect();
        let end = pieces.len().saturating_sub(1);
        let mut at = 0;
        pieces.retain(|piece| {
            let inner = at != 0 && at != end;
            at += 1;
            !(inner && piece.is_empty())
        });
        Ok(Self {
            pieces: pieces.into(),
        })
    }
}

impl fmt::Display for PathGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pieces.join("*"))
    }
}

super::as_text!(PathGlob, "a path pattern such as \"/static/*\"", { "type": "string", "pattern": "^[/*][!-~]*$" });
