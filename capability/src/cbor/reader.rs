//! Reading CBOR item by item, without keeping any.

use super::{ARRAY, BYTES, CborError, MAP, MAX_DEPTH, NEGATIVE, TAG, TEXT, UNSIGNED};

/// Values of major type 7.
pub(super) const FALSE: u64 = 20;
pub(super) const TRUE: u64 = 21;

/// Bytes of which everything before a place has been read.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

/// The begin of an item.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub major: u8,
    /// A number, a length, a count, or a simple value.
    pub argument: u64,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn unsigned(&mut self) -> Option<u64> {
        self.of(UNSIGNED)
    }

    /// A positive or negative number within the range of the type.
    pub(crate) fn integer(&mut self) -> Option<i64> {
        let Head { major, argument } = self.head().ok()?;
        let argument = i64::try_from(argument).ok()?;
        match major {
            UNSIGNED => Some(argument),
            NEGATIVE => Some(-1 - argument),
            _ => None,
        }
    }

    /// How many items the array has that begins here.
    pub(crate) fn array(&mut self) -> Option<u64> {
        self.of(ARRAY)
    }

    /// How many entries the map has that begins here.
    pub(crate) fn map(&mut self) -> Option<u64> {
        self.of(MAP)
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.of(BYTES)?;
        self.take(length).ok()
    }

    fn of(&mut self, major: u8) -> Option<u64> {
        let head = self.head().ok()?;
        (head.major == major).then_some(head.argument)
    }

    /// Reads one item, with all that is in it, at most `depth` arrays and maps deep.
    pub(super) fn check(&mut self, depth: usize) -> Result<(), CborError> {
        let Head { major, argument } = self.head()?;
        match major {
            UNSIGNED => Ok(()),
            // CBOR has one bit more for negative integers than languages do.
            NEGATIVE if argument <= i64::MAX as u64 => Ok(()),
            BYTES => self.take(argument).map(drop),
            TEXT => std::str::from_utf8(self.take(argument)?)
                .map(drop)
                .map_err(|_| CborError::Malformed),
            ARRAY => {
                let depth = depth.checked_sub(1).ok_or(CborError::Malformed)?;
                (0..argument).try_for_each(|_| self.check(depth))
            }
            MAP => self.check_entries(argument, depth.checked_sub(1).ok_or(CborError::Malformed)?),
            NEGATIVE | TAG => Err(CborError::Forbidden),
            _ if matches!(argument, FALSE | TRUE) => Ok(()),
            _ => Err(CborError::Forbidden),
        }
    }

    fn check_entries(&mut self, count: u64, depth: usize) -> Result<(), CborError> {
        let mut before: Option<&[u8]> = None;
        for _ in 0..count {
            let start = self.rest;
            self.check(depth)?;
            let key = &start[..start.len() - self.rest.len()];
            if before.is_some_and(|before| before >= key) {
                return Err(CborError::NotDeterministic);
            }
            before = Some(key);
            self.check(depth)?;
        }
        Ok(())
    }

    pub(super) fn head(&mut self) -> Result<Head, CborError> {
        let [first] = self.take_array()?;
        let (major, info) = (first >> 5, first & 0x1f);
        // Below it the argument would have had a shorter form.
        let (argument, least) = match info {
            0..=23 => (info.into(), 0),
            24 => (u8::from_be_bytes(self.take_array()?).into(), 24),
            25 => (u16::from_be_bytes(self.take_array()?).into(), 1 << 8),
            26 => (u32::from_be_bytes(self.take_array()?).into(), 1 << 16),
            27 => (u64::from_be_bytes(self.take_array()?), 1 << 32),
            31 if (BYTES..=MAP).contains(&major) => return Err(CborError::NotDeterministic),
            _ => return Err(CborError::Malformed),
        };
        match major {
            // Floats; their arguments are no lengths.
            7 if info > 24 => Err(CborError::Forbidden),
            _ if argument < least => Err(CborError::NotDeterministic),
            _ => Ok(Head { major, argument }),
        }
    }

    pub(super) fn take(&mut self, length: u64) -> Result<&'a [u8], CborError> {
        let length = usize::try_from(length).map_err(|_| CborError::Malformed)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(CborError::Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], CborError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(CborError::Malformed)?;
        self.rest = rest;
        Ok(*taken)
    }
}

/// Whether `bytes` are one item of the subset in its one encoding.
pub(super) fn check(bytes: &[u8]) -> Result<(), CborError> {
    let mut reader = Reader::new(bytes);
    reader.check(MAX_DEPTH)?;
    if reader.rest.is_empty() { Ok(()) } else { Err(CborError::NotDeterministic) }
}
