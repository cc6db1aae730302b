//! How values are on the disk.
//!
//! Sled writes a record some five times: when it comes, when its page has had ten changes, when the page is
//! split, and when its segment is cleared. So it is given little. Statements of one batch have most of their
//! proofs in common, and the records of many tasks are a third to a sixth of their size when packed (LZ4).
//! A value that packing makes no smaller is kept as it is.

use std::io;

use lz4_flex::block;

use crate::store::MAX_VALUE;

/// Begins a packed value. No item of CBOR begins with the first byte (RFC 8949 section 3.2.1); of other values those
/// that begin so are packed, whatever their size.
const PACKED: [u8; 4] = *b"\xffLZ4";

/// Smaller values have nothing to repeat.
const WORTH_PACKING: usize = 512;

/// What stands before the packed bytes: the mark, and the size that they had as a number of 32 bits.
const HEAD: usize = PACKED.len() + 4;

/// What is to be written for `value`.
pub(crate) fn pack(value: Vec<u8>) -> Vec<u8> {
    let marked = value.starts_with(&PACKED);
    if value.len() < WORTH_PACKING && !marked {
        return value;
    }
    let mut packed = vec![0; HEAD + block::get_maximum_output_size(value.len())];
    let size = u32::try_from(value.len()).expect("a value is at most MAX_VALUE");
    packed[..PACKED.len()].copy_from_slice(&PACKED);
    packed[PACKED.len()..HEAD].copy_from_slice(&size.to_le_bytes());
    let length =
        block::compress_into(&value, &mut packed[HEAD..]).expect("there is room for the most");
    packed.truncate(HEAD + length);
    if packed.len() < value.len() || marked { packed } else { value }
}

/// The value for which `written` was written.
///
/// # Errors
/// If it is damaged.
pub(crate) fn unpack(written: &[u8]) -> io::Result<Vec<u8>> {
    let Some(packed) = written.strip_prefix(&PACKED) else { return Ok(written.to_vec()) };
    let damaged = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let (size, packed) =
        packed.split_first_chunk().ok_or_else(|| damaged("a packed value is cut off"))?;
    let size = usize::try_from(u32::from_le_bytes(*size)).unwrap_or(usize::MAX);
    if size > MAX_VALUE {
        return Err(damaged("a packed value is larger than any"));
    }
    let value =
        block::decompress(packed, size).map_err(|_| damaged("a packed value does not unpack"))?;
    if value.len() == size { Ok(value) } else { Err(damaged("a packed value has another size")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_repeats_itself_is_packed_and_nothing_grows_but_by_the_mark() {
        let proofs = [7; 256].repeat(100);
        assert!(pack(proofs.clone()).len() * 20 < proofs.len());
        let noise: Vec<u8> =
            (0..5000_u32).flat_map(|n| *blake3::hash(&n.to_be_bytes()).as_bytes()).collect();
        assert_eq!(pack(noise[..MAX_VALUE].to_vec()), noise[..MAX_VALUE]);
        assert_eq!(pack(vec![7; 100]), [7; 100]);
    }

    #[test]
    fn what_was_written_before_values_were_packed_is_read() {
        for written in [&[0xff; 32][..], b"\xff", b"", b"\xffLZ", &[0xa1, 0x61, 0x61, 0x01]] {
            assert_eq!(unpack(written).expect("as it is"), written);
        }
    }

    #[test]
    fn damage_is_an_error() {
        let packed = pack(vec![7; 1000]);
        assert!(unpack(&packed[..6]).is_err());
        assert!(unpack(&packed[..packed.len() - 1]).is_err());
        let mut vast = packed.clone();
        vast[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(unpack(&vast).is_err());
        let mut longer = packed;
        longer[4..8].copy_from_slice(&1001_u32.to_le_bytes());
        assert!(unpack(&longer).is_err());
    }

    proptest! {
        #[test]
        fn every_value_comes_back(
            bytes in prop::collection::vec(any::<u8>(), 0..2000),
            marked: bool,
            times in 1_usize..20,
        ) {
            let mut value = if marked { PACKED.to_vec() } else { Vec::new() };
            value.extend(bytes.repeat(times));
            value.truncate(MAX_VALUE);
            prop_assert_eq!(unpack(&pack(value.clone())).expect("undamaged"), value);
        }
    }
}
