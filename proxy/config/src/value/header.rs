//! Names and values of header fields, for use as `#[serde(with = "…")]`.

use std::fmt;

use http::{HeaderName, HeaderValue};

use super::{ValueError, shown};

/// A field name as documents write it; any case, kept in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name(pub HeaderName);

impl std::str::FromStr for Name {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        text.parse()
            .map(Self)
            .map_err(|_| ValueError(format!("\"{}\" is no header field name", shown(text))))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

super::as_text!(Name, "a header field name", { "type": "string", "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$" });

/// A field value as documents write it: visible ASCII, spaces and tabs, no blanks at either end (RFC 9110 §5.5).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Value(pub HeaderValue);

impl std::str::FromStr for Value {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let clean = text.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
            && text.trim_matches([' ', '\t']) == text;
        clean
            .then(|| HeaderValue::from_str(text).ok())
            .flatten()
            .map(Self)
            .ok_or_else(|| ValueError(format!("\"{}\" is no header field value: use visible ASCII, without blanks at either end", shown(text))))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Built from ASCII text only, so this never falls back.
        f.write_str(self.0.to_str().unwrap_or_default())
    }
}

super::as_text!(Value, "a header field value", { "type": "string", "pattern": "^([!-~]([\\t -~]*[!-~])?)?$" });

/// Lists of field names.
pub mod names {
    use http::HeaderName;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Name;

    /// For `#[serde(with)]`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(
        names: &[HeaderName],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(names.iter().map(HeaderName::as_str))
    }

    /// For `#[serde(with)]`.
    ///
    /// # Errors
    /// When one is no field name.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Box<[HeaderName]>, D::Error> {
        Ok(Vec::<Name>::deserialize(deserializer)?
            .into_iter()
            .map(|name| name.0)
            .collect())
    }

    /// The same for keys that may be absent.
    pub mod option {
        use super::{Deserialize, Deserializer, HeaderName, Name, Serializer};

        /// For `#[serde(with)]`.
        ///
        /// # Errors
        /// Those of the serializer.
        pub fn serialize<S: Serializer>(
            names: &Option<Box<[HeaderName]>>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match names {
                Some(names) => super::serialize(names, serializer),
                None => serializer.serialize_none(),
            }
        }

        /// For `#[serde(with)]`.
        ///
        /// # Errors
        /// When one is no field name.
        pub fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Box<[HeaderName]>>, D::Error> {
            let names = Option::<Vec<Name>>::deserialize(deserializer)?;
            Ok(names.map(|names| names.into_iter().map(|name| name.0).collect()))
        }
    }
}

/// Tables of fields to set, in the document's order.
pub mod fields {
    use std::fmt;

    use http::{HeaderName, HeaderValue};
    use indexmap::IndexMap;
    use serde::{Deserializer, Serializer, de};

    use super::{Name, Value};

    /// For `#[serde(with)]`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(
        fields: &[(HeaderName, HeaderValue)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            fields
                .iter()
                .map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default())),
        )
    }

    /// For `#[serde(with)]`.
    ///
    /// # Errors
    /// When a key is no field name, a value no field value, or two keys differ in case only.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Box<[(HeaderName, HeaderValue)]>, D::Error> {
        struct Fields;
        impl<'de> de::Visitor<'de> for Fields {
            type Value = Box<[(HeaderName, HeaderValue)]>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of header fields")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = IndexMap::new();
                while let Some(Name(name)) = map.next_key()? {
                    let Value(value) = map.next_value()?;
                    // As field names they are equal, as the document's keys they may not be.
                    if fields.contains_key(&name) {
                        return Err(de::Error::custom(format!(
                            "\"{name}\" stands twice in the table: case does not count"
                        )));
                    }
                    fields.insert(name, value);
                }
                Ok(fields.into_iter().collect())
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// A cookie's name: a token (RFC 6265 §4.1.1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CookieName(Box<str>);

impl CookieName {
    /// The name. Case counts.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for CookieName {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        // HTTP's token rule, which the method and field name types of `http` both know.
        let token = !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
        if token {
            Ok(Self(text.into()))
        } else {
            Err(ValueError(format!("\"{}\" is no cookie name", shown(text))))
        }
    }
}

impl fmt::Display for CookieName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

super::as_text!(CookieName, "a cookie name", { "type": "string", "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$" });
