//! The command line: `--name value` pairs and `--flag`s.

use std::collections::BTreeMap;
use std::str::FromStr;

/// Options of one command. Everything that was given must be asked for: see [`Args::finish`].
#[derive(Debug, Default)]
pub struct Args {
    values: BTreeMap<String, String>,
}

impl Args {
    /// Reads `--name value` pairs; a name in `flags` stands alone.
    ///
    /// # Errors
    /// Says which argument is not an option, lacks its value or comes twice.
    pub fn parse(words: impl IntoIterator<Item = String>, flags: &[&str]) -> Result<Self, String> {
        let mut values = BTreeMap::new();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let name = word
                .strip_prefix("--")
                .ok_or_else(|| format!("{word}: options begin with --"))?;
            let value = if flags.contains(&name) {
                String::new()
            } else {
                words
                    .next()
                    .ok_or_else(|| format!("--{name}: a value is missing"))?
            };
            if values.insert(name.to_owned(), value).is_some() {
                return Err(format!("--{name}: given twice"));
            }
        }
        Ok(Self { values })
    }

    /// Whether the flag was given.
    pub fn flag(&mut self, name: &str) -> bool {
        self.values.remove(name).is_some()
    }

    /// The value of an option that need not be there.
    ///
    /// # Errors
    /// The value does not parse.
    pub fn optional<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, String> {
        let Some(value) = self.values.remove(name) else {
            return Ok(None);
        };
        value
            .parse()
            .map(Some)
            .map_err(|_| format!("--{name}: {value:?} makes no sense here"))
    }

    /// The value of an option that must be there.
    ///
    /// # Errors
    /// It is missing or does not parse.
    pub fn required<T: FromStr>(&mut self, name: &str) -> Result<T, String> {
        self.optional(name)?
            .ok_or_else(|| format!("--{name} is missing"))
    }

    /// To be called last.
    ///
    /// # Errors
    /// Names the options that nobody asked for.
    pub fn finish(self) -> Result<(), String> {
        if self.values.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = self
            .values
            .into_keys()
            .map(|name| format!("--{name}"))
            .collect();
        Err(format!("unknown: {}", names.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(line.split_whitespace().map(str::to_owned), &["h2"])
    }

    #[test]
    fn pairs_and_flags() {
        let mut args = parse("--rate 5.5 --h2 --name x").unwrap();
        assert_eq!(args.required::<f64>("rate"), Ok(5.5));
        assert!(args.flag("h2"));
        assert!(!args.flag("other"));
        assert_eq!(args.optional::<u32>("none"), Ok(None));
        assert_eq!(args.finish(), Err("unknown: --name".to_owned()));
    }

    #[test]
    fn bad_lines() {
        assert!(parse("rate").is_err());
        assert!(parse("--rate").is_err());
        assert!(parse("--rate 1 --rate 2").is_err());
        assert!(parse("--rate x").unwrap().required::<u32>("rate").is_err());
    }
}
