//! Where a disk's files are: a directory, or whatever a test puts in its place.
//!
//! Everything the disk tier asks of the machine goes through these two traits, so that tests can make it fail in every
//! way that disks do.

use std::fs::{self, OpenOptions};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::ReadWriteFlags;

/// A flat folder of files.
pub trait Volume: Send + Sync + 'static {
    /// Makes sure that the folder is there and that no other process uses it.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: another process has it.
    fn claim(&self) -> io::Result<()>;
    /// Lets others have it.
    fn release(&self);
    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A new file of `size` bytes, all of them zero, whose space is taken now: later writes do not run out of it. A
    /// `size` of 0 takes none.
    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn File>>;
    /// A file that is there.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Takes a file out of the folder. Whoever has it open reads on.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Renames a file over another.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Makes the folder's own changes durable.
    fn sync(&self) -> io::Result<()>;
}

/// One file. Offsets and lengths are bytes.
pub trait File: Send + Sync {
    /// Its length.
    fn size(&self) -> io::Result<u64>;
    /// Reads until the buffer is full or the file ends; how many bytes it read.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Reads what is there without waiting for the disk; how many bytes it read, perhaps fewer than asked for.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: nothing of it is in memory.
    fn read_cached(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of it.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes what was written durable.
    fn sync(&self) -> io::Result<()>;
    /// Cuts it.
    fn truncate(&self, size: u64) -> io::Result<()>;
}

/// A folder of a file system.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// The lock file, while it is ours.
    lock: Mutex<Option<fs::File>>,
}

const LOCK: &str = "lock";

impl Directory {
    /// The folder at this path, which need not exist: the last part of the path is then made. What comes before must be
    /// there, so that the mount point of a disk that is not mounted is not taken for it.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            lock: Mutex::new(None),
        }
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Volume for Directory {
    fn claim(&self) -> io::Result<()> {
        let mut lock = self.lock.lock();
        if lock.is_some() {
            return Ok(());
        }
        match fs::create_dir(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(self.path.join(LOCK))?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        *lock = Some(file);
        Ok(())
    }

    fn release(&self) {
        *self.lock.lock() = None;
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            if let Ok(name) = entry?.file_name().into_string()
                && name != LOCK
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn File>> {
        let path = self.path.join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        if size > 0
            && let Err(error) = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, size)
        {
            // Nothing is left of it either way; the first error is the one to tell.
            let _ = fs::remove_file(&path);
            return Err(error.into());
        }
        Ok(Arc::new(DiskFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.path.join(name))?;
        Ok(Arc::new(DiskFile(file)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn sync(&self) -> io::Result<()> {
        fs::File::open(&self.path)?.sync_all()
    }
}

struct DiskFile(fs::File);

impl File for DiskFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        read_full(into, |part, done| {
            FileExt::read_at(&self.0, part, offset + done)
        })
    }

    fn read_cached(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut parts = [IoSliceMut::new(into)];
        match rustix::io::preadv2(&self.0, &mut parts, offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => Ok(read),
            // File systems without it: the pool reads.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::INVAL) => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.0.set_len(size)
    }
}

/// Reads again after short reads, until there is no more.
fn read_full(
    into: &mut [u8],
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match read(rest, done as u64) {
            Ok(0) => break,
            Ok(more) => done += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
