use std::{fmt, io::Read, path::Path};

/// The largest token file that is read, in bytes.
const LARGEST: u64 = 4096;

/// The shortest token that is taken, in bytes: 16 are 64 bits even when written in hex.
const SHORTEST: usize = 16;

/// A secret that callers show, read from a file. Never printed; compared in constant time.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<[u8]>);

/// Why a file holds no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("{0}")]
    Unreadable(#[from] std::io::Error),
    /// The file's content is no token.
    #[error(
        "it must hold one line of at least {SHORTEST} visible ASCII characters; `openssl rand -hex 32` makes one"
    )]
    Unfit,
}

impl Token {
    /// Reads the token from a file; blanks and line ends around it don't count.
    ///
    /// # Errors
    /// When the file cannot be read, or holds anything but one word of at least 16 visible ASCII characters.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let mut text = Vec::new();
        std::fs::File::open(path)?
            .take(LARGEST + 1)
            .read_to_end(&mut text)?;
        let token = text.trim_ascii();
        let fit = text.len() as u64 <= LARGEST
            && token.len() >= SHORTEST
            && token.iter().all(u8::is_ascii_graphic);
        if fit {
            Ok(Self(token.into()))
        } else {
            Err(TokenError::Unfit)
        }
    }

    /// Whether this is the token. Takes the same time whichever byte differs; only the length shows.
    pub fn matches(&self, shown: &[u8]) -> bool {
        let differing = self
            .0
            .iter()
            .zip(shown)
            .fold(0, |differing, (ours, theirs)| {
                std::hint::black_box(differing | (ours ^ theirs))
            });
        self.0.len() == shown.len() && differing == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}
