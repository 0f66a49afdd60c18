use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::{Entry, Tree, Value};

/// How many dots one key may have. No document needs more than four; without a bound, one long line would nest tables until the stack ends.
const MOST_DOTS: usize = 16;

/// What the TOML parser could not make sense of.
#[derive(Debug, PartialEq)]
pub(crate) struct SyntaxError {
    pub(crate) place: usize,
    pub(crate) message: String,
}

/// Parses TOML as far as it goes.
pub(crate) fn from_toml(text: &str) -> (Tree<'_>, Vec<SyntaxError>) {
    if let Some(place) = endless_key(text) {
        let message = format!("a key has more than {MOST_DOTS} dots");
        return (Tree::empty(), vec![SyntaxError { place, message }]);
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    let errors = errors
        .into_iter()
        .map(|error| SyntaxError {
            place: error.span().map_or(0, |span| span.start),
            message: error.message().lines().collect::<Vec<_>>().join("; "),
        })
        .collect();
    let span = table.span();
    (tree(span, DeValue::Table(table.into_inner())), errors)
}

fn tree<'a>(span: Range<usize>, value: DeValue<'a>) -> Tree<'a> {
    let value = match value {
        DeValue::String(text) => Value::Text(text),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or(Value::Huge, Value::Integer),
        DeValue::Float(float) => float.as_str().parse().map_or(Value::Huge, Value::Float),
        DeValue::Boolean(flag) => Value::Bool(flag),
        DeValue::Datetime(_) => Value::Date,
        DeValue::Array(items) => Value::List(
            items
                .into_iter()
                .map(|item| {
                    let span = item.span();
                    tree(span, item.into_inner())
                })
                .collect(),
        ),
        DeValue::Table(entries) => Value::Table(
            entries
                .into_iter()
                .map(|(name, value)| {
                    let (key_span, value_span) = (name.span(), value.span());
                    Entry {
                        name: name.into_inner(),
                        span: key_span,
                        tree: tree(value_span, value.into_inner()),
                    }
                })
                .collect(),
        ),
    };
    Tree { span, value }
}

/// Where a key with too many dots begins. Dots in strings and comments don't count.
fn endless_key(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut dots) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'#' => {
                at = end_of(bytes, at, b"\n");
                continue;
            }
            quote @ (b'"' | b'\'') => {
                at = end_of_string(bytes, at, *quote);
                continue;
            }
            b'.' => dots += 1,
            b'=' | b',' | b'{' | b'}' | b'[' | b']' | b'\n' => dots = 0,
            _ => {}
        }
        if dots > MOST_DOTS {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// Behind the string that begins here. One that isn't closed ends with its line, or the text if it may have several lines.
fn end_of_string(bytes: &[u8], start: usize, quote: u8) -> usize {
    let long = [quote; 3];
    let multiline = bytes
        .get(start..)
        .is_some_and(|rest| rest.starts_with(&long));
    let mut at = start + if multiline { 3 } else { 1 };
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' if quote == b'"' => at += 1,
            b'\n' if !multiline => return at,
            byte if *byte == quote && !multiline => return at + 1,
            byte if *byte == quote
                && bytes.get(at..).is_some_and(|rest| rest.starts_with(&long)) =>
            {
                return at + 3;
            }
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

fn end_of(bytes: &[u8], start: usize, stop: &[u8; 1]) -> usize {
    bytes
        .get(start..)
        .and_then(|rest| rest.iter().position(|byte| byte == &stop[0]))
        .map_or(bytes.len(), |at| start + at)
}
