//! Session tickets that every node of a PoP can open (RFC 5077, RFC 8446 §4.6.1).
//!
//! The keys come from a file that the nodes share, or are made at random and rotated. The file has one key a line,
//!
//! ```text
//! # newest first
//! 2026-08:6f1c…64 hexadecimal digits…
//! 2026-07:…
//! ```
//!
//! a name (letters, digits, ".", "_", "-"; up to 32) and 32 random bytes, e.g. from `openssl rand -hex 32`. The first key seals new
//! tickets, all of them open old ones; so a new key is first added as the second line on every node, and then moved up. Lines
//! that are empty or begin with "#" are skipped. The file is looked at every few seconds and read again when it has changed.
//!
//! A ticket is the key's id (16 bytes), a nonce (12), and the session sealed with AES-256-GCM. rustls binds the session to the server
//! name; sites with client certificates take no tickets at all.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use parking_lot::Mutex;
use rustls::server::ProducesTickets;

const KEY_LEN: usize = 32;
const ID_LEN: usize = 16;
/// How long a ticket may be used.
const LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// How long a random key seals. Keys are kept for as long as their tickets may live.
const ROTATION: Duration = Duration::from_secs(6 * 3600);
const RANDOM_KEYS: usize = 3;
/// How often a file is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// A file that is longer is something else.
const MAX_KEYS: usize = 64;

/// Why there are no ticket keys.
#[derive(Debug, thiserror::Error)]
pub enum TicketKeyError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not a key.
    #[error("{}:{line}: {what}; a line is NAME:KEY, and KEY has 64 hexadecimal digits (`openssl rand -hex 32`)", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// There is no key in the file.
    #[error("{}: no key in it", .0.display())]
    Empty(PathBuf),
    /// The system gives no random bytes.
    #[error("no random bytes from the system")]
    NoRandom,
}

/// Seals and opens session tickets.
pub struct TicketKeys {
    ring: ArcSwap<Vec<Arc<Key>>>,
    source: Source,
    random: SystemRandom,
}

enum Source {
    File {
        path: PathBuf,
        content: Mutex<Vec<u8>>,
    },
    Random {
        rotated: Mutex<Instant>,
    },
}

struct Key {
    id: [u8; ID_LEN],
    key: LessSafeKey,
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing of a key is ever printed.
        f.debug_struct("TicketKeys")
            .field("keys", &self.ring.load().len())
            .finish_non_exhaustive()
    }
}

impl TicketKeys {
    /// Reads the keys from a file.
    ///
    /// # Errors
    /// [`TicketKeyError`] names file, line and remedy.
    pub fn from_file(path: &Path) -> Result<Self, TicketKeyError> {
        let content = read(path)?;
        let keys = parse(path, &content)?;
        Ok(Self {
            ring: ArcSwap::from_pointee(keys),
            source: Source::File {
                path: path.to_owned(),
                content: Mutex::new(content),
            },
            random: SystemRandom::new(),
        })
    }

    /// Makes keys that only this process has; `now` is when their first rotation counts from.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn random(now: Instant) -> Result<Self, TicketKeyError> {
        let random = SystemRandom::new();
        let first = random_key(&random)?;
        Ok(Self {
            ring: ArcSwap::from_pointee(vec![Arc::new(first)]),
            source: Source::Random {
                rotated: Mutex::new(now),
            },
            random,
        })
    }

    /// Reads the file again if it has changed, or rotates random keys that are due; true if there are new keys.
    ///
    /// # Errors
    /// The keys in use stay when the new ones cannot be used.
    pub fn refresh(&self, now: Instant) -> Result<bool, TicketKeyError> {
        match &self.source {
            Source::File { path, content } => {
                let fresh = read(path)?;
                let mut content = content.lock();
                if *content == fresh {
                    return Ok(false);
                }
                let keys = parse(path, &fresh)?;
                *content = fresh;
                self.ring.store(Arc::new(keys));
                Ok(true)
            }
            Source::Random { rotated } => {
                let mut rotated = rotated.lock();
                if now.saturating_duration_since(*rotated) < ROTATION {
                    return Ok(false);
                }
                let mut keys = vec![Arc::new(random_key(&self.random)?)];
                keys.extend(self.ring.load().iter().take(RANDOM_KEYS - 1).cloned());
                *rotated = now;
                self.ring.store(Arc::new(keys));
                Ok(true)
            }
        }
    }

    /// Refreshes the keys for as long as it is polled; errors are logged and the keys in use stay.
    pub async fn keep_fresh(&self) {
        let mut last_error = None;
        loop {
            tokio::time::sleep(LOOK).await;
            match self.refresh(Instant::now()) {
                Ok(changed) => {
                    if changed {
                        tracing::info!(
                            keys = self.ring.load().len(),
                            "session ticket keys are new"
                        );
                    }
                    last_error = None;
                }
                Err(error) => {
                    // Said once, not every few seconds.
                    let text = error.to_string();
                    if last_error.as_ref() != Some(&text) {
                        tracing::warn!("session ticket keys stay as they were: {text}");
                        last_error = Some(text);
                    }
                }
            }
        }
    }
}

impl ProducesTickets for TicketKeys {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        // Half a day fits.
        u32::try_from(LIFETIME.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let ring = self.ring.load();
        let key = ring.first()?;
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        key.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(key.id),
                &mut sealed,
            )
            .ok()?;
        Some([key.id.as_slice(), &nonce, &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (id, rest) = ticket.split_first_chunk::<ID_LEN>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let ring = self.ring.load();
        // Ids are no secret: they are on the wire.
        let key = ring.iter().find(|key| key.id == *id)?;
        let mut plain = sealed.to_vec();
        let len = key
            .key
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(key.id),
                &mut plain,
            )
            .ok()?
            .len();
        plain.truncate(len);
        Some(plain)
    }
}

impl Key {
    /// The id is a hash of name and key, so two keys of one name are not taken for one another.
    fn new(name: &[u8], secret: &[u8; KEY_LEN]) -> Option<Self> {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(b"anypop session ticket key\0");
        hash.update(name);
        hash.update(b"\0");
        hash.update(secret);
        let id = *hash.finish().as_ref().first_chunk::<ID_LEN>()?;
        Some(Self {
            id,
            key: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, secret).ok()?),
        })
    }
}

fn random_key(random: &SystemRandom) -> Result<Key, TicketKeyError> {
    let mut secret = [0; KEY_LEN];
    random
        .fill(&mut secret)
        .map_err(|_| TicketKeyError::NoRandom)?;
    Key::new(b"random", &secret).ok_or(TicketKeyError::NoRandom)
}

fn read(path: &Path) -> Result<Vec<u8>, TicketKeyError> {
    std::fs::read(path).map_err(|source| TicketKeyError::Read {
        path: path.to_owned(),
        source,
    })
}

fn parse(path: &Path, content: &[u8]) -> Result<Vec<Arc<Key>>, TicketKeyError> {
    let mut keys: Vec<Arc<Key>> = Vec::new();
    for (index, line) in content.split(|b| *b == b'\n').enumerate() {
        let error = |what| TicketKeyError::Line {
            path: path.to_owned(),
            line: index + 1,
            what,
        };
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let colon = memchr::memchr(b':', line).ok_or_else(|| error("no colon"))?;
        let (name, digits) = line.split_at(colon);
        let is_name = |name: &[u8]| {
            (1..=32).contains(&name.len())
                && name
                    .iter()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        if !is_name(name) {
            return Err(error("not a name"));
        }
        let secret = unhex(digits.get(1..).unwrap_or_default())
            .ok_or_else(|| error("not a key of 32 bytes"))?;
        let key = Key::new(name, &secret).ok_or_else(|| error("not a usable key"))?;
        if keys.iter().any(|other| other.id == key.id) {
            return Err(error("the same key twice"));
        }
        if keys.len() >= MAX_KEYS {
            return Err(error("more than 64 keys"));
        }
        keys.push(Arc::new(key));
    }
    if keys.is_empty() {
        Err(TicketKeyError::Empty(path.to_owned()))
    } else {
        Ok(keys)
    }
}

fn unhex(digits: &[u8]) -> Option<[u8; KEY_LEN]> {
    let mut bytes = [0; KEY_LEN];
    if digits.len() != KEY_LEN * 2 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let &[high, low] = pair else { return None };
        let digit = |b: u8| char::from(b).to_digit(16);
        *byte = u8::try_from(digit(high)? << 4 | digit(low)?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    const A: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    const B: &str = "ff112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff";

    fn file(content: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    #[test]
    fn nodes_that_share_a_file_share_tickets() {
        let file = file(&format!("# newest first\n\nnew:{B}\r\nold:{A}\n"));
        let (one, two) = (
            TicketKeys::from_file(file.path()).unwrap(),
            TicketKeys::from_file(file.path()).unwrap(),
        );
        let ticket = one.encrypt(b"session").unwrap();
        assert_eq!(two.decrypt(&ticket).unwrap(), b"session");
        assert_ne!(one.encrypt(b"session").unwrap(), ticket);
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(two.decrypt(&changed), None, "byte {at}");
            assert_eq!(two.decrypt(&ticket[..at]), None);
        }
    }

    #[test]
    fn a_new_first_key_seals_and_the_old_one_still_opens() {
        let file = file(&format!("a:{A}\n"));
        let keys = TicketKeys::from_file(file.path()).unwrap();
        let now = Instant::now();
        let old = keys.encrypt(b"old").unwrap();
        assert!(!keys.refresh(now).unwrap());
        std::fs::write(file.path(), format!("b:{B}\na:{A}\n")).unwrap();
        assert!(keys.refresh(now).unwrap());
        assert_eq!(keys.decrypt(&old).unwrap(), b"old");
        let new = keys.encrypt(b"new").unwrap();
        assert_ne!(new[..ID_LEN], old[..ID_LEN]);
        // A broken file changes nothing.
        std::fs::write(file.path(), "b:short\n").unwrap();
        assert!(keys.refresh(now).is_err());
        assert_eq!(keys.decrypt(&old).unwrap(), b"old");
        // A key that is gone opens nothing.
        std::fs::write(file.path(), format!("b:{B}\n")).unwrap();
        assert!(keys.refresh(now).unwrap());
        assert_eq!(keys.decrypt(&old), None);
        assert_eq!(keys.decrypt(&new).unwrap(), b"new");
    }

    #[test]
    fn random_keys_rotate() {
        let start = Instant::now();
        let keys = TicketKeys::random(start).unwrap();
        let first = keys.encrypt(b"x").unwrap();
        assert!(!keys.refresh(start + ROTATION / 2).unwrap());
        assert!(keys.refresh(start + ROTATION).unwrap());
        assert!(keys.refresh(start + ROTATION * 2).unwrap());
        assert!(keys.decrypt(&first).is_some());
        assert!(keys.refresh(start + ROTATION * 3).unwrap());
        assert_eq!(keys.decrypt(&first), None);
    }

    #[test]
    fn bad_files_say_what_is_wrong() {
        for (content, what) in [
            (String::new(), "no key in it"),
            (format!("a{A}"), ":1: no colon"),
            (format!("# x\na b:{A}"), ":2: not a name"),
            (format!("a:{}", &A[2..]), ":1: not a key of 32 bytes"),
            (format!("a:{}zz", &A[2..]), ":1: not a key of 32 bytes"),
            (format!("a:{A}\na:{A}"), ":2: the same key twice"),
        ] {
            let file = file(&content);
            let error = TicketKeys::from_file(file.path()).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
        assert!(
            TicketKeys::from_file(Path::new("/nowhere/at/all"))
                .unwrap_err()
                .to_string()
                .contains("/nowhere/at/all")
        );
    }
}
