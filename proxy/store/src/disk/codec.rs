//! Integers and bytes in a row.

use super::format::sum_at;

/// Bytes of a structure that ends in its checksum.
const SEALED: usize = 64;

#[derive(Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u128(&mut self, value: u128) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// Fills up with zeros to 64 bytes, the last four of which are a checksum that holds at one place only.
    pub(super) fn sealed(mut self, segment: u32, offset: u64) -> [u8; SEALED] {
        self.bytes.resize(SEALED - 4, 0);
        let sum = sum_at(segment, offset, &self.bytes);
        self.bytes.extend_from_slice(&sum.to_le_bytes());
        let mut sealed = [0; SEALED];
        sealed.copy_from_slice(&self.bytes);
        sealed
    }
}

pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Reads what [`Writer::sealed`] gave. `None`: the checksum is wrong.
    pub(super) fn sealed(bytes: &'a [u8], segment: u32, offset: u64) -> Option<Self> {
        let (bytes, sum) = bytes.split_last_chunk::<4>()?;
        let right = sum_at(segment, offset, bytes).to_le_bytes() == *sum;
        right.then_some(Self { bytes })
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    pub(super) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*bytes)
    }
}
