//! The map serialisation.

use anypop_plugins::map::{self, MapError};
use proptest::prelude::*;

#[test]
fn the_specifications_example() {
    // Its lengths are 32 bits; the specification's bytes leave out the zeros.
    let pairs = [(&b"a"[..], &b"1"[..]), (b"b", b"22")];
    let bytes = map::serialize(pairs.into_iter());
    assert_eq!(
        bytes,
        b"\x02\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x02\0\0\0a\x001\0b\x0022\0"
    );
    assert_eq!(map::serialized_size(pairs.into_iter()), bytes.len());
}

#[test]
fn damaged_maps_are_refused() {
    let good = b"\x01\0\0\0\x01\0\0\0\x01\0\0\0a\x001\0";
    assert!(map::parse(good).is_ok());
    assert_eq!(map::parse(b"").unwrap(), []);
    assert_eq!(map::parse(b"\0").unwrap(), []);
    assert_eq!(map::parse(b"\0\0\0\0").unwrap(), []);
    for end in 1..good.len() {
        assert_eq!(map::parse(&good[..end]), Err(MapError::Short), "{end}");
    }
    assert_eq!(map::parse(&[&good[..], b"x"].concat()), Err(MapError::Long));
    assert_eq!(
        map::parse(b"\x01\0\0\0\x01\0\0\0\x01\0\0\0ax1\0"),
        Err(MapError::NoNul)
    );
    assert_eq!(map::parse(b"\xff\xff\xff\xff"), Err(MapError::TooLarge));
    assert_eq!(
        map::parse(b"\x01\0\0\0\xff\xff\xff\xff\x01\0\0\0a\x001\0"),
        Err(MapError::Short)
    );
    assert_eq!(
        map::parse(&vec![1; map::MAX_BYTES + 1]),
        Err(MapError::TooLarge)
    );
    let many = vec![(&b""[..], &b""[..]); map::MAX_PAIRS + 1];
    assert_eq!(
        map::parse(&map::serialize(many.into_iter())),
        Err(MapError::TooLarge)
    );
}

proptest! {
    #[test]
    fn what_is_written_is_read(pairs: Vec<(Vec<u8>, Vec<u8>)>) {
        let bytes = map::serialize(pairs.iter().map(|(n, v)| (n.as_slice(), v.as_slice())));
        let read = map::parse(&bytes).unwrap();
        prop_assert_eq!(read.len(), pairs.len());
        for ((name, value), (n, v)) in read.iter().zip(&pairs) {
            prop_assert_eq!((name.as_ref(), value.as_ref()), (n.as_slice(), v.as_slice()));
        }
    }

    #[test]
    fn no_bytes_panic_and_what_is_read_is_written_alike(bytes: Vec<u8>) {
        if let Ok(pairs) = map::parse(&bytes) {
            let again = map::serialize(pairs.iter().map(|(n, v)| (n.as_ref(), v.as_ref())));
            if !pairs.is_empty() {
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
