//! A disk that fails on command, below everything that the store knows of files.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anypop_store::disk::volume::{File, Volume};
use parking_lot::Mutex;

/// What is wrong with a disk.
#[derive(Default)]
pub(crate) struct Faults {
    /// Every read says `EIO`.
    pub(crate) reads: AtomicBool,
    /// Every write says `EIO`, half of it done.
    pub(crate) writes: AtomicBool,
    /// `fdatasync` says `EIO`.
    pub(crate) syncs: AtomicBool,
    /// There is no space for new files.
    pub(crate) full: AtomicBool,
    /// Nothing can be changed.
    pub(crate) read_only: AtomicBool,
    /// Nothing is in the page cache.
    pub(crate) cold: AtomicBool,
    /// Reads give half of what was asked for.
    pub(crate) short: AtomicBool,
}

impl Faults {
    pub(crate) fn set(flag: &AtomicBool, to: bool) {
        flag.store(to, Ordering::SeqCst);
    }
}

fn is(flag: &AtomicBool) -> bool {
    flag.load(Ordering::SeqCst)
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

/// A disk in memory.
#[derive(Clone, Default)]
pub(crate) struct Faulty {
    pub(crate) faults: Arc<Faults>,
    files: Arc<Mutex<BTreeMap<String, Content>>>,
}

type Content = Arc<Mutex<Vec<u8>>>;

impl Faulty {
    /// Changes bytes of all segments where they are written.
    pub(crate) fn damage(&self, mut change: impl FnMut(&mut Vec<u8>)) {
        for (name, content) in self.files.lock().iter() {
            if name.starts_with("segment") {
                change(&mut content.lock());
            }
        }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.files.lock().keys().cloned().collect()
    }

    /// The disk as it is now, as another process would find it after a kill.
    pub(crate) fn copy(&self) -> Self {
        let files = self.files.lock();
        let files = files
            .iter()
            .map(|(name, content)| (name.clone(), Arc::new(Mutex::new(content.lock().clone()))));
        Self {
            faults: Arc::default(),
            files: Arc::new(Mutex::new(files.collect())),
        }
    }

    fn file(&self, content: Content) -> Arc<dyn File> {
        Arc::new(FaultyFile {
            faults: self.faults.clone(),
            content,
        })
    }

    fn may_change(&self) -> io::Result<()> {
        if is(&self.faults.read_only) {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(())
    }
}

impl Volume for Faulty {
    fn claim(&self) -> io::Result<()> {
        self.may_change()
    }
    fn release(&self) {}
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }
    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn File>> {
        self.may_change()?;
        if is(&self.faults.full) && size > 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let content = Content::default();
        content.lock().resize(size as usize, 0);
        self.files.lock().insert(name.to_owned(), content.clone());
        Ok(self.file(content))
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let content = self.files.lock().get(name).cloned();
        Ok(self.file(content.ok_or(io::ErrorKind::NotFound)?))
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.may_change()?;
        let removed = self.files.lock().remove(name);
        removed.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.may_change()?;
        let mut files = self.files.lock();
        let content = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), content);
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        if is(&self.faults.syncs) {
            Err(eio())
        } else {
            Ok(())
        }
    }
}

struct FaultyFile {
    faults: Arc<Faults>,
    content: Content,
}

impl File for FaultyFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.content.lock().len() as u64)
    }
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        if is(&self.faults.reads) {
            return Err(eio());
        }
        let content = self.content.lock();
        let there = content.get(offset as usize..).unwrap_or_default();
        let mut read = there.len().min(into.len());
        if is(&self.faults.short) {
            read /= 2;
        }
        into[..read].copy_from_slice(&there[..read]);
        Ok(read)
    }
    fn read_cached(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        if is(&self.faults.cold) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.read_at(into, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if is(&self.faults.read_only) {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let fails = is(&self.faults.writes);
        let written = if fails { bytes.len() / 2 } else { bytes.len() };
        let mut content = self.content.lock();
        let end = offset as usize + written;
        if content.len() < end {
            content.resize(end, 0);
        }
        content[offset as usize..end].copy_from_slice(&bytes[..written]);
        if fails { Err(eio()) } else { Ok(()) }
    }
    fn sync(&self) -> io::Result<()> {
        if is(&self.faults.syncs) {
            Err(eio())
        } else {
            Ok(())
        }
    }
    fn truncate(&self, size: u64) -> io::Result<()> {
        self.content.lock().truncate(size as usize);
        Ok(())
    }
}
