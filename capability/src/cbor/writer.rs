//! Writing CBOR item by item, each in its shortest form.

use super::{ARRAY, BYTES, MAP, NEGATIVE, UNSIGNED};

/// Bytes to which items are added. What belongs together, and in which order, the caller knows.
#[derive(Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// With room for so many bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes) }
    }

    /// A map's beginning; its `entries` follow.
    pub(crate) fn map(&mut self, entries: u64) -> &mut Self {
        self.head(MAP, entries)
    }

    /// An array's beginning; its `items` follow.
    pub(crate) fn array(&mut self, items: u64) -> &mut Self {
        self.head(ARRAY, items)
    }

    pub(crate) fn integer(&mut self, number: i64) -> &mut Self {
        if number < 0 {
            self.head(NEGATIVE, (-1 - number).unsigned_abs())
        } else {
            self.head(UNSIGNED, number.unsigned_abs())
        }
    }

    pub(crate) fn unsigned(&mut self, number: u64) -> &mut Self {
        self.head(UNSIGNED, number)
    }

    pub(crate) fn byte_string(&mut self, contents: &[u8]) -> &mut Self {
        self.head(BYTES, contents.len() as u64).bytes.extend(contents);
        self
    }

    /// Items that are encoded already.
    pub(crate) fn encoded(&mut self, items: &[u8]) -> &mut Self {
        self.bytes.extend(items);
        self
    }

    /// Puts what another one has written between what was written before and after `place`.
    pub(crate) fn insert(&mut self, place: usize, items: &Self) {
        self.bytes.splice(place..place, items.bytes.iter().copied());
    }

    /// Writes over what was written from `place` on.
    pub(crate) fn overwrite(&mut self, place: usize, items: &[u8]) {
        self.bytes[place..place + items.len()].copy_from_slice(items);
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn head(&mut self, major: u8, argument: u64) -> &mut Self {
        let wide = argument.to_be_bytes();
        let (info, width) = match argument {
            0..=23 => (wide[7], 0),
            24..=0xff => (24, 1),
            0x100..=0xffff => (25, 2),
            0x1_0000..=0xffff_ffff => (26, 4),
            _ => (27, 8),
        };
        self.bytes.push(major << 5 | info);
        self.bytes.extend(&wide[8 - width..]);
        self
    }
}
