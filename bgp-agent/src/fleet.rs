//! Whether the fleet can do without this PoP. Asked before an elective drain.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

/// Knows the other PoPs.
pub trait Fleet: Send + Sync {
    /// Whether this PoP may leave now.
    ///
    /// # Errors
    /// Why it may not. Not to know is no permission.
    fn permits(&self, now: SystemTime) -> Result<(), String>;
}

/// A fleet that is asked nothing: `min_pops = 0`.
#[derive(Debug)]
pub struct Anything;

impl Fleet for Anything {
    fn permits(&self, _: SystemTime) -> Result<(), String> {
        Ok(())
    }
}

/// A file with one PoP a line: its name, a space, its state. `#` begins a comment.
#[derive(Debug)]
pub struct PopsFile {
    /// The file.
    pub file: PathBuf,
    /// This PoP's name, which does not count.
    pub own: String,
    /// How many others must be `announced`.
    pub least: u32,
    /// How old the file may be.
    pub max_age: Duration,
}

impl Fleet for PopsFile {
    fn permits(&self, now: SystemTime) -> Result<(), String> {
        let file = self.file.display();
        let unknown = |error| format!("{file}: {error}: how many PoPs are announced is not known");
        let modified = std::fs::metadata(&self.file)
            .and_then(|metadata| metadata.modified())
            .map_err(unknown)?;
        let age = now.duration_since(modified).unwrap_or_default();
        if age > self.max_age {
            return Err(format!(
                "{file} is {} s old: how many PoPs are announced is not known",
                age.as_secs()
            ));
        }
        let text = std::fs::read_to_string(&self.file).map_err(unknown)?;
        let others = announced(&text, &self.own);
        if others >= self.least as usize {
            Ok(())
        } else {
            Err(format!(
                "{others} other PoPs are announced, and guard.min_pops is {}",
                self.least
            ))
        }
    }
}

/// How many PoPs but `own` are announced; a name counts once.
fn announced(text: &str, own: &str) -> usize {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split('#').next()?.split_whitespace();
            let (name, state) = (words.next()?, words.next()?);
            (state == "announced" && name != own).then_some(name)
        })
        .collect::<std::collections::BTreeSet<_>>()
        .len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn not_to_know_is_no_permission() {
        let folder = tempfile::tempdir().unwrap();
        let fleet = PopsFile {
            file: folder.path().join("pops"),
            own: "pop1".to_owned(),
            least: 2,
            max_age: Duration::from_secs(60),
        };
        let now = SystemTime::now();
        assert!(fleet.permits(now).is_err());
        for (text, permitted) in [
            ("", false),
            ("pop1 announced\npop2 announced\npop3 withdrawn\n", false),
            ("pop2 announced\npop2 announced\n", false),
            (
                "# all\npop1 announced\npop2 announced # since noon\npop3 announced\n",
                true,
            ),
        ] {
            std::fs::write(&fleet.file, text).unwrap();
            assert_eq!(fleet.permits(now).is_ok(), permitted, "{text}");
        }
        let later = now + Duration::from_secs(3600);
        assert!(fleet.permits(later).unwrap_err().contains("old"));
        assert!(Anything.permits(now).is_ok());
    }
}
