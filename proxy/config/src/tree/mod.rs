//! A document as a tree of values with their places in the text, whether it came as TOML or as JSON.
//!
//! Reading a tree into the types of [`document`](crate::document) finds everything that is wrong, not only the first thing: serde stops at an error, so the value that
//! caused it is taken out of the tree, noted, and the tree read again.

mod de;
mod error;
mod json;
mod toml;

use std::{borrow::Cow, ops::Range};

pub(crate) use error::{Kind, ReadError};
pub(crate) use json::from_json;
pub(crate) use toml::from_toml;

use crate::key::{Key, Step};

/// A value and its place in the text, in bytes. JSON has no places.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tree<'a> {
    pub(crate) span: Range<usize>,
    pub(crate) value: Value<'a>,
}

/// A table's entry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) span: Range<usize>,
    pub(crate) tree: Tree<'a>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'a> {
    /// Was wrong, and is now as if it had never been there.
    Removed,
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(Cow<'a, str>),
    /// A date or time, which no key asks for.
    Date,
    /// A number that fits nowhere.
    Huge,
    List(Vec<Tree<'a>>),
    Table(Vec<Entry<'a>>),
}

impl<'a> Tree<'a> {
    /// The empty document.
    pub(crate) fn empty() -> Self {
        Self {
            span: 0..0,
            value: Value::Table(Vec::new()),
        }
    }

    /// What stands at the key, if it is given.
    fn find(&self, key: &Key) -> Option<&Self> {
        key.steps().iter().try_fold(self, |tree, step| {
            let inner = match (&tree.value, step) {
                (Value::Table(entries), Step::Key(name)) => entries
                    .iter()
                    .find(|entry| entry.name == **name)
                    .map(|entry| &entry.tree),
                (Value::List(items), Step::Index(index)) => items.get(*index),
                _ => None,
            };
            inner.filter(|inner| inner.value != Value::Removed)
        })
    }

    /// The numbers of a list's items that have not been removed.
    pub(crate) fn remaining(&self, key: &Key) -> Vec<usize> {
        match self.find(key).map(|list| &list.value) {
            Some(Value::List(items)) => items
                .iter()
                .enumerate()
                .filter(|(_, item)| item.value != Value::Removed)
                .map(|(at, _)| at)
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Where the key stands in the text, or as much of its way as there is.
    pub(crate) fn locate(&self, key: &Key) -> Option<usize> {
        let mut tree = self;
        let mut place = None;
        for step in key.steps() {
            match (&tree.value, step) {
                (Value::Table(entries), Step::Key(name)) => {
                    match entries.iter().find(|entry| entry.name == **name) {
                        Some(entry) => {
                            place = Some(entry.span.start);
                            tree = &entry.tree;
                        }
                        None => break,
                    }
                }
                (Value::List(items), Step::Index(index)) => match items.get(*index) {
                    Some(item) => {
                        place = Some(item.span.start);
                        tree = item;
                    }
                    None => break,
                },
                _ => break,
            }
        }
        place
    }

    /// Takes the key out. Lists keep the numbers of their other items. False if it isn't there, or is the root.
    pub(crate) fn remove(&mut self, key: &Key) -> bool {
        let mut tree = self;
        for step in key.steps() {
            let inner = match (&mut tree.value, step) {
                (Value::Table(entries), Step::Key(name)) => entries
                    .iter_mut()
                    .find(|entry| entry.name == **name)
                    .map(|entry| &mut entry.tree),
                (Value::List(items), Step::Index(index)) => items.get_mut(*index),
                _ => None,
            };
            match inner {
                Some(inner) if inner.value != Value::Removed => tree = inner,
                _ => return false,
            }
        }
        if key.steps().is_empty() {
            return false;
        }
        tree.value = Value::Removed;
        true
    }
}
