//! The chunked decoder: the same bytes give the same body however they are cut. The first byte is the size of the pieces.
#![no_main]

use anypop_listen::{Chunk, ChunkedDecoder};
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

/// The body, and how many bytes were left over; `None` when it is refused or not whole.
fn decode(data: &[u8], piece: usize) -> Option<(Vec<u8>, usize)> {
    let (mut decoder, mut input, mut body) =
        (ChunkedDecoder::default(), BytesMut::new(), Vec::new());
    let mut pieces = data.chunks(piece.max(1));
    loop {
        match decoder.decode(&mut input).ok()? {
            Chunk::Data(bytes) => body.extend_from_slice(&bytes),
            Chunk::More => input.extend_from_slice(pieces.next()?),
            Chunk::End => {
                assert!(decoder.is_done());
                return Some((body, input.len() + pieces.map(<[u8]>::len).sum::<usize>()));
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((piece, data)) = data.split_first() else {
        return;
    };
    let whole = decode(data, data.len());
    assert_eq!(whole, decode(data, usize::from(*piece)));
    assert_eq!(whole, decode(data, 1));
    if let Some((body, _)) = whole {
        assert!(body.len() < data.len());
    }
});
