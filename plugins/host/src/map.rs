//! Maps as guests read and write them ("Serialization" in the specification): a count, the lengths of all
//! names and values, then the bytes, each followed by a NUL. Integers are 32 bits, little-endian.

use bytes::Bytes;

/// Most pairs that a guest may write at once.
pub const MAX_PAIRS: usize = 1024;
/// Longest serialised map that a guest may write, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// Why bytes are no map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// They end before what they announce.
    #[error("the map is shorter than its lengths say")]
    Short,
    /// They go on after the last pair.
    #[error("the map is longer than its lengths say")]
    Long,
    /// More pairs or bytes than [`MAX_PAIRS`] and [`MAX_BYTES`].
    #[error("the map has more than 1024 pairs or more than 1 MiB")]
    TooLarge,
    /// A name or value is not followed by a NUL.
    #[error("a name or value of the map does not end with NUL")]
    NoNul,
}

/// Serialises `pairs`. No pairs become no bytes.
pub fn serialize<'a, I>(pairs: I) -> Vec<u8>
where
    I: Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
{
    let (count, bytes) = measure(pairs.clone());
    if count == 0 {
        return Vec::new();
    }
    let mut out = Vec::with_capacity(bytes);
    out.extend_from_slice(&as_u32(count).to_le_bytes());
    for (name, value) in pairs.clone() {
        out.extend_from_slice(&as_u32(name.len()).to_le_bytes());
        out.extend_from_slice(&as_u32(value.len()).to_le_bytes());
    }
    for (name, value) in pairs {
        out.extend_from_slice(name);
        out.push(0);
        out.extend_from_slice(value);
        out.push(0);
    }
    out
}

/// How many bytes [`serialize`] would make.
pub fn serialized_size<'a, I>(pairs: I) -> usize
where
    I: Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
{
    match measure(pairs) {
        (0, _) => 0,
        (_, bytes) => bytes,
    }
}

/// Reads a map that a guest wrote. Nothing and one zero byte are both the empty map.
///
/// # Errors
/// When the lengths do not add up to exactly the bytes there are, or there are too many.
pub fn parse(bytes: &[u8]) -> Result<Vec<(Bytes, Bytes)>, MapError> {
    if bytes.is_empty() || bytes == [0] {
        return Ok(Vec::new());
    }
    if bytes.len() > MAX_BYTES {
        return Err(MapError::TooLarge);
    }
    let (count, rest) = take_u32(bytes)?;
    if count > MAX_PAIRS {
        return Err(MapError::TooLarge);
    }
    let lengths_size = count.checked_mul(8).ok_or(MapError::TooLarge)?;
    let (mut lengths, mut data) = rest.split_at_checked(lengths_size).ok_or(MapError::Short)?;
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        let (name_length, after) = take_u32(lengths)?;
        let (value_length, after) = take_u32(after)?;
        lengths = after;
        let (name, after) = take_string(data, name_length)?;
        let (value, after) = take_string(after, value_length)?;
        data = after;
        pairs.push((Bytes::copy_from_slice(name), Bytes::copy_from_slice(value)));
    }
    if data.is_empty() {
        Ok(pairs)
    } else {
        Err(MapError::Long)
    }
}

fn measure<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> (usize, usize) {
    pairs.fold((0, 4), |(count, bytes), (name, value)| {
        (count + 1, bytes + 8 + name.len() + 1 + value.len() + 1)
    })
}

fn as_u32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn take_u32(bytes: &[u8]) -> Result<(usize, &[u8]), MapError> {
    let (number, rest) = bytes.split_first_chunk::<4>().ok_or(MapError::Short)?;
    let number = u32::from_le_bytes(*number);
    Ok((
        usize::try_from(number).map_err(|_| MapError::TooLarge)?,
        rest,
    ))
}

fn take_string(bytes: &[u8], length: usize) -> Result<(&[u8], &[u8]), MapError> {
    let (string, rest) = bytes.split_at_checked(length).ok_or(MapError::Short)?;
    match rest.split_first() {
        Some((0, rest)) => Ok((string, rest)),
        Some(_) => Err(MapError::NoNul),
        None => Err(MapError::Short),
    }
}
