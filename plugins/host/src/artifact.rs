//! Compiled modules on disk. Loading one runs its bytes as machine code, so only what this product wrote itself
//! is ever loaded: the folder must belong to us and be writable by nobody else, and each file begins with a keyed
//! hash of itself under a secret that only we can read. A file that fails is removed and compiled anew.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

const MAGIC: &[u8; 8] = b"anypop\x00\x01";
const KEY_FILE: &str = "key";
/// Nothing that Cranelift makes of a module that we accept is larger.
const MAX_ARTIFACT: u64 = 512 << 20;

/// A folder of compiled modules.
#[derive(Debug)]
pub struct Artifacts {
    directory: PathBuf,
    key: [u8; 32],
}

/// Why a folder cannot hold artefacts.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// Others could put machine code there.
    #[error(
        "{0}: must be a folder of the user that runs anypop and writable by nobody else; chown it and chmod 700 it"
    )]
    Unsafe(PathBuf),
    /// The secret is not one.
    #[error("{0}: is damaged; remove it, and the modules are compiled again")]
    Key(PathBuf),
    /// It cannot be read or written.
    #[error("{0}: {1}")]
    Io(PathBuf, #[source] io::Error),
}

impl Artifacts {
    /// Opens the folder, making it and its secret when they are not there.
    ///
    /// # Errors
    /// When it cannot be used, or belongs to or can be written by another user.
    pub fn open(directory: &Path) -> Result<Self, ArtifactError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| ArtifactError::Io(path, error)
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(io(directory))?;
        let about = fs::symlink_metadata(directory).map_err(io(directory))?;
        if !about.is_dir() || !private(&about) {
            return Err(ArtifactError::Unsafe(directory.to_owned()));
        }
        let path = directory.join(KEY_FILE);
        match read_key(&path) {
            Err(ArtifactError::Io(_, error)) if error.kind() == io::ErrorKind::NotFound => {
                let key: [u8; 32] = rand::random();
                // Written aside and linked: whoever else starts now sees a whole key or none, and the first one wins.
                let aside = directory.join(format!("{KEY_FILE}.{:016x}", rand::random::<u64>()));
                write_new(&aside, &[&key]).map_err(io(&aside))?;
                let linked = fs::hard_link(&aside, &path);
                fs::remove_file(&aside).map_err(io(&aside))?;
                match linked {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(io(&path)(error));
                    }
                    _ => {}
                }
                read_key(&path)
            }
            other => other,
        }
        .map(|key| Self {
            directory: directory.to_owned(),
            key,
        })
    }

    /// The artefact `name`, if it is there and ours.
    pub(crate) fn load(&self, name: &str) -> Option<Vec<u8>> {
        let path = self.path(name);
        let mut file = File::open(&path).ok()?;
        let about = file.metadata().ok()?;
        let mut bytes = Vec::new();
        let whole = private(&about)
            && about.len() <= MAX_ARTIFACT
            && file.read_to_end(&mut bytes).is_ok()
            && bytes.get(..8) == Some(MAGIC);
        let good = whole
            && match (
                bytes
                    .get(8..40)
                    .and_then(|mac| <[u8; 32]>::try_from(mac).ok()),
                bytes.get(40..),
            ) {
                // blake3's Hash compares in constant time.
                (Some(mac), Some(artifact)) => {
                    blake3::Hash::from_bytes(mac) == self.mac(name, artifact)
                }
                _ => false,
            };
        if !good {
            tracing::warn!(path = %path.display(), "a compiled plugin is not ours or is damaged; compiling it again");
            _ = fs::remove_file(&path);
            return None;
        }
        bytes.drain(..40);
        Some(bytes)
    }

    /// Keeps an artefact. Best effort: without it the next start compiles again.
    pub(crate) fn store(&self, name: &str, artifact: &[u8]) {
        let path = self.path(name);
        let aside = self
            .directory
            .join(format!("{name}.{:016x}.new", rand::random::<u64>()));
        let written = write_new(
            &aside,
            &[MAGIC, self.mac(name, artifact).as_bytes(), artifact],
        )
        .and_then(|()| fs::rename(&aside, &path));
        if let Err(error) = written {
            _ = fs::remove_file(&aside);
            tracing::warn!(path = %path.display(), %error, "a compiled plugin could not be kept");
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.cwasm"))
    }

    /// The name is in the hash: one of our artefacts cannot stand in for another.
    fn mac(&self, name: &str, artifact: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&u64::try_from(name.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(artifact);
        hasher.finalize()
    }
}

fn read_key(path: &Path) -> Result<[u8; 32], ArtifactError> {
    let io = |error| ArtifactError::Io(path.to_owned(), error);
    let file = File::open(path).map_err(io)?;
    let about = file.metadata().map_err(io)?;
    if !private(&about) || about.permissions().mode() & 0o077 != 0 {
        return Err(ArtifactError::Unsafe(path.to_owned()));
    }
    let mut key = Vec::new();
    file.take(33).read_to_end(&mut key).map_err(io)?;
    <[u8; 32]>::try_from(key).map_err(|_| ArtifactError::Key(path.to_owned()))
}

fn write_new(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()
}

/// Ours, and writable by nobody else.
fn private(about: &fs::Metadata) -> bool {
    // SAFETY: geteuid has no preconditions and cannot fail.
    let me = unsafe { libc::geteuid() };
    about.uid() == me && about.permissions().mode() & 0o022 == 0
}
