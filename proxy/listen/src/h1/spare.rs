//! Buffers that idle connections have given back: each worker lends its few to the connections that are at work.

use std::cell::RefCell;

use bytes::BytesMut;

/// Buffers kept by a worker. More connections than that are rarely between two reads at once.
const KEPT: usize = 32;
/// Larger ones go.
const LARGEST: usize = 16 * 1024;

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer, perhaps with room.
pub(super) fn take() -> BytesMut {
    SPARE
        .try_with(|spare| spare.try_borrow_mut().ok()?.pop())
        .ok()
        .flatten()
        .unwrap_or_default()
}

/// Gives a buffer back. One whose bytes are still used elsewhere is of no use to others and goes.
pub(super) fn give(mut buffer: BytesMut, room: usize) {
    buffer.clear();
    if !buffer.try_reclaim(room) || buffer.capacity() > LARGEST {
        return;
    }
    // A thread that ends keeps nothing.
    let _ = SPARE.try_with(|spare| {
        if let Ok(mut spare) = spare.try_borrow_mut()
            && spare.len() < KEPT
        {
            spare.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_comes_again_empty_unless_it_is_in_use() {
        let mut buffer = BytesMut::with_capacity(4096);
        buffer.extend_from_slice(b"abc");
        give(buffer, 2048);
        let again = take();
        assert!(again.is_empty() && again.capacity() >= 2048);
        let mut shared = BytesMut::with_capacity(4096);
        shared.extend_from_slice(b"abc");
        let in_use = shared.split_to(3).freeze();
        give(shared, 4096);
        assert_eq!(take().capacity(), 0);
        assert_eq!(&in_use[..], b"abc");
        give(BytesMut::with_capacity(1 << 20), 2048);
        assert_eq!(take().capacity(), 0);
    }
}
