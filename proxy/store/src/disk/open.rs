//! Opening a disk: what is sealed comes back by its footer, what is not by a scan.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::DiskSettings;
use super::device::{Disk, FAILED};
use super::format::{self, Footer, Kind, SEGMENT_HEADER};
use super::index::Record;
use super::queue::Queue;
use super::segment::{ReadError, Segment, read_footer, scan};
use super::volume::Volume;
use super::writer::{seal, segment_name, segment_number};

/// A disk that is open.
pub(crate) struct Opened {
    pub(crate) disk: Arc<Disk>,
    /// The latest purge sequence at which a fill of one of its objects began.
    pub(crate) latest: u64,
}

/// How often a volume that another process has is asked for.
const CLAIM_AGAIN: Duration = Duration::from_millis(20);

/// Opens a disk. What it holds is thrown away if `wipe`, or if it was marked as failed.
pub(crate) fn open(
    settings: &DiskSettings,
    volume: Arc<dyn Volume>,
    wipe: bool,
) -> io::Result<Opened> {
    claim(settings, &*volume)?;
    let opened = load(settings, volume.clone(), wipe);
    if opened.is_err() {
        volume.release();
    }
    opened
}

/// Takes the volume, waiting for the process that has it. Blocks: this is where a process begins.
fn claim(settings: &DiskSettings, volume: &dyn Volume) -> io::Result<()> {
    let begun = Instant::now();
    loop {
        match volume.claim() {
            Err(error)
                if error.kind() == io::ErrorKind::WouldBlock
                    && begun.elapsed() < settings.claim_timeout =>
            {
                // The kernel has no lock with a deadline.
                std::thread::park_timeout(CLAIM_AGAIN);
            }
            claimed => return claimed,
        }
    }
}

fn load(settings: &DiskSettings, volume: Arc<dyn Volume>, wipe: bool) -> io::Result<Opened> {
    let disk = Disk::new(settings, volume)?;
    let names = disk.volume.list()?;
    let failed = names.iter().any(|name| name == FAILED);
    let mut numbers: Vec<u32> = names
        .iter()
        .filter_map(|name| segment_number(name))
        .collect();
    numbers.sort_unstable();
    let next = numbers.last().map_or(1, |last| last.saturating_add(1));
    if wipe || failed {
        for number in numbers.drain(..) {
            disk.volume.remove(&segment_name(number))?;
        }
        disk.volume.sync()?;
        if failed {
            tracing::warn!(
                disk = disk.path,
                "the disk had failed before; what it held is thrown away"
            );
            disk.volume.remove(FAILED)?;
            disk.volume.sync()?;
        }
    }
    let mut latest = 0;
    let mut footers = Vec::new();
    for number in numbers {
        if let Some(footer) = load_segment(&disk, number)? {
            footers.push((number, footer));
        }
    }
    // What has parts in segments that are gone is not whole.
    let first = footers.first().map_or(0, |(number, _)| *number);
    for (number, footer) in footers {
        latest = latest.max(apply(&disk, number, footer, first));
    }
    disk.writer.lock().begin_at(next);
    let disk = Arc::new(disk);
    Queue::begin(&disk)?;
    tracing::info!(
        disk = disk.path,
        objects = disk.index.len(),
        segments = disk.segments.read().len(),
        bytes = disk.used(),
        "opened a cache disk"
    );
    Ok(Opened { disk, latest })
}

/// Opens one segment; seals it if the last process had no time to. `None`: there is nothing in it.
fn load_segment(disk: &Disk, number: u32) -> io::Result<Option<Footer>> {
    let name = segment_name(number);
    let file = disk.volume.open(&name)?;
    let mut header = [0; SEGMENT_HEADER as usize];
    let read = file.read_at(&mut header, 0)?;
    if !format::is_segment_header(header.get(..read).unwrap_or_default(), number) {
        tracing::warn!(
            disk = disk.path,
            segment = number,
            "a segment has no header; it is removed"
        );
        disk.volume.remove(&name)?;
        return Ok(None);
    }
    let size = file.size()?;
    let segment = Arc::new(Segment::new(number, file, size, disk.used.clone()));
    let footer = match read_footer(&*segment.file, number).map_err(into_io)? {
        Some(footer) => footer,
        None => {
            let found = scan(&*segment.file, number).map_err(into_io)?;
            tracing::info!(
                disk = disk.path,
                segment = number,
                records = found.footer.entries.len(),
                damaged = found.damaged,
                "scanned a segment that was not sealed"
            );
            for _ in 0..found.damaged {
                disk.counters.damaged.add();
            }
            if found.footer.entries.is_empty() {
                disk.volume.remove(&name)?;
                return Ok(None);
            }
            seal(&segment, &found.footer, found.end)?;
            found.footer
        }
    };
    disk.segments.write().insert(number, segment);
    Ok(Some(footer))
}

/// Enters what a footer lists, in the order in which it was written: later records replace earlier ones.
fn apply(disk: &Disk, number: u32, footer: Footer, first: u32) -> u64 {
    let sites: Vec<u32> = footer
        .sites
        .iter()
        .map(|site| disk.sites.number(site))
        .collect();
    let mut latest = 0;
    for entry in footer.entries {
        match entry.kind {
            Kind::Fragment => {}
            Kind::Drop => {
                disk.forget_variant(entry.hash, entry.variant);
            }
            Kind::Object if entry.oldest < first => {
                disk.forget_variant(entry.hash, entry.variant);
            }
            Kind::Object => {
                latest = latest.max(entry.began);
                let record = Record {
                    segment: number,
                    offset: entry.offset,
                    oldest: entry.oldest,
                    size: entry.size,
                    variant: entry.variant,
                    site: sites
                        .get(usize::from(entry.site))
                        .copied()
                        .unwrap_or_default(),
                    began: entry.began,
                };
                disk.enter(entry.hash, record);
            }
        }
    }
    latest
}

fn into_io(error: ReadError) -> io::Error {
    match error {
        ReadError::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}
