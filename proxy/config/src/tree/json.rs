use std::{borrow::Cow, fmt};

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};

use super::{Entry, Tree, Value};

/// Parses JSON (RFC 8259). A name that stands twice in one object is an error: parsers differ in which one they take.
///
/// # Errors
/// With line, column and reason.
pub(crate) fn from_json(text: &str) -> Result<Tree<'_>, String> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let tree = Json
        .deserialize(&mut deserializer)
        .and_then(|tree| deserializer.end().map(|()| tree));
    match tree {
        Ok(
            tree @ Tree {
                value: Value::Table(_),
                ..
            },
        ) => Ok(tree),
        Ok(_) => Err("must be an object".into()),
        Err(error) => Err(format!("is no JSON: {error}")),
    }
}

struct Json;

fn at_no_place(value: Value<'_>) -> Tree<'_> {
    Tree { span: 0..0, value }
}

impl<'de> DeserializeSeed<'de> for Json {
    type Value = Tree<'de>;
    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Tree<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Json {
    type Value = Tree<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Tree<'de>, E> {
        Ok(at_no_place(Value::Null))
    }
    fn visit_bool<E>(self, flag: bool) -> Result<Tree<'de>, E> {
        Ok(at_no_place(Value::Bool(flag)))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Tree<'de>, E> {
        Ok(at_no_place(Value::Integer(number)))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Tree<'de>, E> {
        Ok(at_no_place(
            i64::try_from(number).map_or(Value::Huge, Value::Integer),
        ))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Tree<'de>, E> {
        Ok(at_no_place(Value::Float(number)))
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Tree<'de>, E> {
        Ok(at_no_place(Value::Text(Cow::Borrowed(text))))
    }
    fn visit_str<E>(self, text: &str) -> Result<Tree<'de>, E> {
        Ok(at_no_place(Value::Text(Cow::Owned(text.into()))))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Json)? {
            items.push(item);
        }
        Ok(at_no_place(Value::List(items)))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree<'de>, A::Error> {
        let mut entries = Vec::new();
        let mut names = std::collections::HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !names.insert(name.clone()) {
                return Err(de::Error::custom(format!(
                    "the name \"{}\" stands twice",
                    crate::value::shown(&name)
                )));
            }
            let tree = map.next_value_seed(Json)?;
            entries.push(Entry {
                name: Cow::Owned(name),
                span: 0..0,
                tree,
            });
        }
        Ok(at_no_place(Value::Table(entries)))
    }
}
