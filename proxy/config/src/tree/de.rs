//! Serde over a [`Tree`].

use serde::{
    de::{
        self, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess,
        Unexpected, Visitor,
    },
    forward_to_deserialize_any,
};

use super::{Entry, ReadError, Tree, Value};
use crate::key::Step;

impl Tree<'_> {
    fn unexpected(&self) -> Unexpected<'_> {
        match &self.value {
            Value::Removed | Value::Null => Unexpected::Unit,
            Value::Bool(flag) => Unexpected::Bool(*flag),
            Value::Integer(number) => Unexpected::Signed(*number),
            Value::Float(number) => Unexpected::Float(*number),
            Value::Text(text) => Unexpected::Str(text),
            Value::Date => Unexpected::Other("a date or time"),
            Value::Huge => Unexpected::Other("a number out of every range"),
            Value::List(_) => Unexpected::Seq,
            Value::Table(_) => Unexpected::Map,
        }
    }
}

impl<'de> Deserializer<'de> for &'de Tree<'_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.value {
            Value::Removed | Value::Null => visitor.visit_unit(),
            Value::Bool(flag) => visitor.visit_bool(*flag),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::Date | Value::Huge => Err(ReadError::invalid_type(self.unexpected(), &visitor)),
            Value::List(items) => visitor.visit_seq(Items {
                items: items.iter().enumerate(),
            }),
            Value::Table(entries) => visitor.visit_map(Entries {
                entries: entries.iter(),
                current: None,
            }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    /// Only tables: serde's derived code would also take a list, by position.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match self.value {
            Value::Table(_) => self.deserialize_any(visitor),
            _ => Err(ReadError::invalid_type(self.unexpected(), &"a table")),
        }
    }

    /// Only texts: no choice in a document carries more than its name.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match &self.value {
            Value::Text(text) => visitor.visit_enum((&**text).into_deserializer()),
            _ => {
                let choices = known
                    .iter()
                    .map(|name| format!("\"{name}\""))
                    .collect::<Vec<_>>()
                    .join(" or ");
                Err(ReadError::invalid_type(self.unexpected(), &&*choices))
            }
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map
        identifier ignored_any
    }
}

struct Items<'de, 'a> {
    items: std::iter::Enumerate<std::slice::Iter<'de, Tree<'a>>>,
}

impl<'de> SeqAccess<'de> for Items<'de, '_> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ReadError> {
        match self.items.find(|(_, item)| item.value != Value::Removed) {
            Some((index, item)) => seed
                .deserialize(item)
                .map(Some)
                .map_err(|error| error.within(Step::Index(index))),
            None => Ok(None),
        }
    }
}

struct Entries<'de, 'a> {
    entries: std::slice::Iter<'de, Entry<'a>>,
    current: Option<&'de Entry<'a>>,
}

impl<'de> MapAccess<'de> for Entries<'de, '_> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ReadError> {
        self.current = self
            .entries
            .find(|entry| entry.tree.value != Value::Removed);
        match self.current {
            Some(entry) => {
                let name: de::value::BorrowedStrDeserializer<'de, ReadError> =
                    de::value::BorrowedStrDeserializer::new(&entry.name);
                seed.deserialize(name)
                    .map(Some)
                    .map_err(|error| error.within(Step::Key((&*entry.name).into())))
            }
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let Some(entry) = self.current.take() else {
            return Err(ReadError::custom("a value was asked for before its key"));
        };
        seed.deserialize(&entry.tree)
            .map_err(|error| error.within(Step::Key((&*entry.name).into())))
    }
}
