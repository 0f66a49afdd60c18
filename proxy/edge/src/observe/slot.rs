//! A small number for each thread, to spread threads over shared counters and buffers.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// This thread's number: consecutive over threads, the same for the thread's life.
#[inline]
pub(super) fn mine() -> usize {
    MINE.with(|mine| match mine.get() {
        usize::MAX => {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            mine.set(number);
            number
        }
        number => number,
    })
}
