//! Readers: each at its own place, none copying a byte.

use std::ops::Range;

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::Instant;

use super::live::{Found, Phase};
use super::{Body, BodyError};
use crate::disk::recall::Run;

/// Reads a body, following its writer where that is still at work.
///
/// Dropping a reader tells a windowed body that it no longer has to wait for it.
pub struct BodyReader {
    body: Body,
    at: u64,
    /// Where to stop; `None`: at the body's end, wherever that turns out to be.
    end: Option<u64>,
    /// This reader's place in a body that was not complete when the reader began.
    place: Option<usize>,
    /// What was read from disk and not taken yet, last first; it begins at `at`.
    ahead: Run,
}

enum Step {
    Take(Bytes),
    Done,
    Wait,
    Read,
}

impl BodyReader {
    pub(super) fn new(body: Body, at: u64, end: Option<u64>) -> Self {
        let place = (!body.is_complete()).then(|| {
            let place = body.inner.live.lock().enter(at, Instant::now());
            // A windowed body without readers waits for one.
            body.inner.room.notify_one();
            place
        });
        Self {
            body,
            at,
            end,
            place,
            ahead: Run::new(),
        }
    }

    /// The next bytes; `None` when the body, or the range, has ended well. Waits for the writer.
    ///
    /// Cancel-safe: a dropped future has taken nothing.
    ///
    /// # Errors
    /// [`BodyError`]: the response made from this reader cannot be finished. An error stays.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            match self.step()? {
                Step::Take(bytes) => return Ok(Some(bytes)),
                Step::Done => return Ok(None),
                Step::Read => {
                    self.read_ahead().await?;
                    continue;
                }
                Step::Wait => {}
            }
            let body = self.body.clone();
            // It counts from its creation: what is written while this looks again is not missed.
            let grew = body.inner.grew.notified();
            match self.step()? {
                Step::Take(bytes) => return Ok(Some(bytes)),
                Step::Done => return Ok(None),
                Step::Read => self.read_ahead().await?,
                Step::Wait => grew.await,
            }
        }
    }

    /// Goes to another range of the same body: the next range of a multipart response, for example.
    ///
    /// Going back is always possible in a stored body; in one that is not stored the next step may say
    /// [`BodyError::Gone`].
    pub fn seek(&mut self, range: Range<u64>) {
        self.ahead.clear();
        self.at = range.start;
        self.end = Some(range.end.max(range.start));
        if let Some(place) = self.place {
            let mut live = self.body.inner.live.lock();
            if let Some(place) = live.place(place) {
                place.at = Some(range.start);
                place.progressed = Instant::now();
            }
            drop(live);
            self.body.inner.room.notify_one();
        }
    }

    /// Offset of the next byte.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The body that is read.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The body's trailer section, once [`BodyReader::next`] has said `None` at the body's end.
    pub fn trailers(&self) -> Option<HeaderMap> {
        self.body.trailers()
    }

    /// Gets bytes from disk.
    async fn read_ahead(&mut self) -> Result<(), BodyError> {
        let on_disk = self.body.on_disk().ok_or(BodyError::Gone)?.clone();
        let mut run = on_disk.read(self.at).await?;
        run.reverse();
        self.ahead = run;
        Ok(())
    }

    fn step(&mut self) -> Result<Step, BodyError> {
        if self.end.is_some_and(|end| self.at >= end) {
            return Ok(Step::Done);
        }
        if let Some(bytes) = self.ahead.pop() {
            return Ok(Step::Take(self.take(bytes)));
        }
        let body = self.body.clone();
        if let Some(complete) = body.try_complete() {
            return match complete.read(self.at) {
                Some(bytes) => Ok(Step::Take(self.take(bytes))),
                None => self.finish(complete.length()),
            };
        }
        let mut live = body.inner.live.lock();
        if let Some(place) = self.place.and_then(|index| live.place(index))
            && place.cut
        {
            return Err(BodyError::TooSlow);
        }
        match live.find(self.at) {
            Found::Pending => Ok(Step::Wait),
            Found::OnDisk => Ok(Step::Read),
            Found::Error(error) => Err(error),
            Found::End => self.finish(live.head()),
            Found::Complete => {
                drop(live);
                // Set before the phase was, so the next turn leaves by the branch above.
                self.step()
            }
            Found::Bytes(bytes) => {
                let bytes = self.take(bytes);
                let windowed = matches!(live.phase, Phase::Windowed | Phase::Ended);
                let wants_more = self.end.is_none_or(|end| self.at < end);
                if let Some(place) = self.place.and_then(|index| live.place(index)) {
                    place.at = wants_more.then_some(self.at);
                    if windowed {
                        place.progressed = Instant::now();
                    }
                }
                if matches!(live.phase, Phase::Ended) {
                    live.trim_ended();
                }
                drop(live);
                if windowed {
                    body.inner.room.notify_one();
                }
                Ok(Step::Take(bytes))
            }
        }
    }

    /// Cuts the bytes at the range's end and moves on.
    fn take(&mut self, mut bytes: Bytes) -> Bytes {
        if let Some(end) = self.end {
            let left = usize::try_from(end - self.at).unwrap_or(usize::MAX);
            bytes.truncate(left);
        }
        self.at += bytes.len() as u64;
        bytes
    }

    /// The body has ended, `length` bytes long, and this reader is at or beyond its end.
    fn finish(&self, length: u64) -> Result<Step, BodyError> {
        if self.end.is_some() || self.at > length {
            Err(BodyError::OutOfRange { length })
        } else {
            Ok(Step::Done)
        }
    }
}

impl Drop for BodyReader {
    fn drop(&mut self) {
        if let Some(place) = self.place
            && !self.body.is_complete()
        {
            self.body.inner.live.lock().leave(place);
            self.body.inner.room.notify_one();
        }
    }
}
