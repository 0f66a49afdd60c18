use std::fmt;

use http::Method;
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeSeq};

use super::{ValueError, shown};

/// The methods with a bit of their own; the position is the bit.
const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// A set of HTTP methods, asked in one comparison for the usual ones. Methods are case-sensitive (RFC 9110 §9.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct MethodSet {
    known: u8,
    others: Box<[Method]>,
}

impl MethodSet {
    /// GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS.
    pub fn usual() -> Self {
        Self {
            known: (1 << KNOWN.len()) - 1,
            others: Box::default(),
        }
    }

    /// Whether the set has the method.
    pub fn contains(&self, method: &Method) -> bool {
        match bit(method) {
            Some(bit) => self.known & bit != 0,
            None => self.others.contains(method),
        }
    }

    /// Whether no method is in the set.
    pub fn is_empty(&self) -> bool {
        self.known == 0 && self.others.is_empty()
    }

    /// The names of the methods, for `Allow` (RFC 9110 §10.2.1).
    pub fn names(&self) -> impl Iterator<Item = &str> {
        KNOWN
            .into_iter()
            .enumerate()
            .filter(|(at, _)| self.known & (1 << at) != 0)
            .map(|(_, name)| name)
            .chain(self.others.iter().map(Method::as_str))
    }

    /// Parses the names.
    ///
    /// # Errors
    /// When one is no method, or one that this proxy cannot serve.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, ValueError> {
        let mut set = Self::default();
        let mut others = Vec::new();
        for name in names {
            let method = parse(name)?;
            match bit(&method) {
                Some(bit) => set.known |= bit,
                None if !others.contains(&method) => others.push(method),
                None => {}
            }
        }
        set.others = others.into();
        Ok(set)
    }
}

fn bit(method: &Method) -> Option<u8> {
    let bit = match *method {
        Method::GET => 0,
        Method::HEAD => 1,
        Method::POST => 2,
        Method::PUT => 3,
        Method::PATCH => 4,
        Method::DELETE => 5,
        Method::OPTIONS => 6,
        _ => return None,
    };
    Some(1 << bit)
}

fn parse(name: &str) -> Result<Method, ValueError> {
    match Method::from_bytes(name.as_bytes()) {
        Ok(Method::CONNECT) => Err(ValueError(
            "CONNECT cannot be served: this is no forward proxy".into(),
        )),
        Ok(Method::TRACE) => Err(ValueError(
            "TRACE cannot be served: it would show credentials to scripts".into(),
        )),
        Ok(_) if name.bytes().any(|byte| byte.is_ascii_lowercase()) => Err(ValueError(format!(
            "\"{}\" is in lower case, but methods are case-sensitive: write \"{}\"",
            shown(name),
            shown(&name.to_ascii_uppercase())
        ))),
        Ok(method) => Ok(method),
        Err(_) => Err(ValueError(format!("\"{}\" is no HTTP method", shown(name)))),
    }
}

/// One method's name, so that a bad one is reported at its own place in the list.
struct Name(Method);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Name;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a method such as \"GET\"")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Name, E> {
                parse(text).map(Name).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl<'de> Deserialize<'de> for MethodSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<Name>::deserialize(deserializer)?;
        Self::from_names(names.iter().map(|name| name.0.as_str())).map_err(serde::de::Error::custom)
    }
}

impl Serialize for MethodSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for name in self.names() {
            list.serialize_element(name)?;
        }
        list.end()
    }
}

impl schemars::JsonSchema for MethodSet {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MethodSet".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "array", "items": { "type": "string", "pattern": "^[A-Z0-9!#$%&'*+.^_`|~-]+$" } })
    }
}
