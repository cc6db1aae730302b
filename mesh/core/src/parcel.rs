//! Parcels: files in which people carry statements, and the blobs that these name, from machine to machine.
//!
//! A first line says what the file is. Then come parts: statements, each list followed by blobs that it
//! names, and at last an end, so that a file of which the rest was lost is known for what it is. The format
//! is specified in `docs/spec/files.md`.
//!
//! [`ParcelReader`] is given the bytes as they come and gives the parts; it holds a frame and what was
//! given last. Whoever reads says which blobs the statements name: no other is taken (S103).

use std::collections::BTreeMap;

use capability::{BlobHash, CborError, Envelope, decode_cbor, encode_cbor};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::message::MAX_FRAME_BYTES;

/// The first line of every parcel (S102).
pub const PARCEL_HEAD: &[u8] = b"talkoot parcel 1\n";

/// Statements of one part at most (S102): the results of one handover, or the leases of one claim.
pub const MAX_STATEMENTS_A_PART: usize = 256;

/// Statements of one parcel at most (S102): four times what a volunteer has undelivered before it takes
/// nothing new.
pub const MAX_STATEMENTS_A_PARCEL: usize = 16 << 10;

/// Bytes in which the length of a frame is written, at most: 21 bits.
const MAX_LENGTH_BYTES: usize = 3;

/// What comes out of a parcel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParcelPart {
    /// Statements, of which no signature was checked. Their blobs follow, as far as they are in the file.
    Statements(Vec<Envelope>),
    /// A blob begins.
    Blob {
        /// Its name.
        hash: BlobHash,
        /// All of its bytes.
        size: u64,
    },
    /// More of the blob that has begun.
    Bytes(Vec<u8>),
    /// The blob is whole, and what its name says.
    BlobEnd,
    /// The parcel is whole.
    End,
}

/// A file is no parcel, or a broken one.
#[derive(Debug, Error)]
pub enum ParcelError {
    /// The first line is another.
    #[error("it is no parcel of Talkoot, or one of another version")]
    Head,
    /// The length of a frame is not in its shortest form, or the frame is too large.
    #[error("a part of it has an unsound length or over {MAX_FRAME_BYTES} bytes")]
    Length,
    /// A part is not the deterministic encoding of one.
    #[error("malformed part")]
    Cbor(#[from] CborError),
    /// A part without statements, or with too many.
    #[error("a part of it has no statement, or over {MAX_STATEMENTS_A_PART}")]
    Count,
    /// More statements than a parcel may have.
    #[error("it has over {MAX_STATEMENTS_A_PARCEL} statements")]
    TooMany,
    /// A blob that no statement before it names, or of another size, or one for the second time.
    #[error("it has a blob that its statements do not name, or one twice: {0}")]
    Unnamed(BlobHash),
    /// The bytes of a blob are others than its name says.
    #[error("a blob in it was damaged: {0}")]
    Damaged(BlobHash),
    /// Something comes after the end.
    #[error("something was added to its end")]
    Trailing,
    /// The end is missing.
    #[error("its end is missing")]
    BrokenOff,
}

/// A part as it is in its frame.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WirePart {
    Statements(Vec<Envelope>),
    Blob { hash: BlobHash, size: u64 },
    End,
}

/// The part with `statements`, which are 1 to [`MAX_STATEMENTS_A_PART`] and fit into a frame.
pub fn parcel_statements(statements: &[Envelope]) -> Vec<u8> {
    frame(&WirePart::Statements(statements.to_vec()))
}

/// The part that begins a blob; its bytes come next, `size` of them.
pub fn parcel_blob(hash: BlobHash, size: u64) -> Vec<u8> {
    frame(&WirePart::Blob { hash, size })
}

/// The last part.
pub fn parcel_end() -> Vec<u8> {
    frame(&WirePart::End)
}

fn frame(part: &WirePart) -> Vec<u8> {
    let body = encode_cbor(part);
    let mut frame = Vec::with_capacity(MAX_LENGTH_BYTES + body.len());
    let mut length = body.len();
    while length >= 0x80 {
        frame.push(u8::try_from(length & 0x7f).expect("7 bits") | 0x80);
        length >>= 7;
    }
    frame.push(u8::try_from(length).expect("7 bits"));
    frame.extend(body);
    frame
}

/// Splits `statements` into lists of which each fits into a part.
pub fn parcel_lists(statements: &[Envelope]) -> impl Iterator<Item = &[Envelope]> {
    let mut left = statements;
    std::iter::from_fn(move || {
        // Of each its length, and around all of them the key and the array's head.
        let mut bytes = 64;
        let fits = left.iter().take(MAX_STATEMENTS_A_PART).take_while(|statement| {
            bytes += statement.as_bytes().len() + 5;
            bytes <= MAX_FRAME_BYTES
        });
        let (list, rest) = left.split_at(fits.count());
        left = rest;
        (!list.is_empty()).then_some(list)
    })
}

/// Reads a parcel from front to back.
///
/// Give it some bytes with [`push`](Self::push), drain [`next_part`](Self::next_part) until `None`, and so
/// on; at the end of the file ask [`finish`](Self::finish) whether that was all. After an error nothing more
/// is to be read.
#[derive(Debug, Default)]
pub struct ParcelReader {
    come: Vec<u8>,
    place: Place,
    statements: usize,
    /// Blobs that the last list of statements names, and that have not come.
    named: BTreeMap<BlobHash, u64>,
}

#[derive(Debug, Default)]
enum Place {
    #[default]
    Head,
    Between,
    Inside {
        hash: BlobHash,
        left: u64,
        hasher: Box<blake3::Hasher>,
    },
    Over,
}

impl ParcelReader {
    /// Has read nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next bytes of the file.
    pub fn push(&mut self, bytes: &[u8]) {
        self.come.extend_from_slice(bytes);
    }

    /// A statement of the last list names this blob, which may follow (S103).
    pub fn expect(&mut self, hash: BlobHash, size: u64) {
        self.named.insert(hash, size);
    }

    /// The next part of what was pushed; none if more must be pushed first.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn next_part(&mut self) -> Result<Option<ParcelPart>, ParcelError> {
        if matches!(self.place, Place::Head) && !self.read_head()? {
            return Ok(None);
        }
        match &mut self.place {
            Place::Inside { left, .. } if *left > 0 => Ok(self.read_bytes()),
            Place::Inside { hash, hasher, .. } => {
                let (hash, found) = (*hash, *hasher.finalize().as_bytes());
                if BlobHash::from_bytes(found) != hash {
                    return Err(ParcelError::Damaged(hash));
                }
                self.place = Place::Between;
                Ok(Some(ParcelPart::BlobEnd))
            }
            Place::Over if !self.come.is_empty() => Err(ParcelError::Trailing),
            Place::Over => Ok(None),
            Place::Head | Place::Between => self.read_part(),
        }
    }

    /// The file has ended.
    ///
    /// # Errors
    /// If that was not all.
    pub fn finish(&self) -> Result<(), ParcelError> {
        match self.place {
            Place::Over if self.come.is_empty() => Ok(()),
            Place::Over => Err(ParcelError::Trailing),
            // Not even a whole first line.
            Place::Head => Err(ParcelError::Head),
            Place::Between | Place::Inside { .. } => Err(ParcelError::BrokenOff),
        }
    }

    /// Whether the first line is through.
    fn read_head(&mut self) -> Result<bool, ParcelError> {
        let known = self.come.len().min(PARCEL_HEAD.len());
        if self.come[..known] != PARCEL_HEAD[..known] {
            return Err(ParcelError::Head);
        }
        if known < PARCEL_HEAD.len() {
            return Ok(false);
        }
        self.come.drain(..known);
        self.place = Place::Between;
        Ok(true)
    }

    fn read_bytes(&mut self) -> Option<ParcelPart> {
        let Place::Inside { left, hasher, .. } = &mut self.place else { return None };
        let here = usize::try_from(*left).unwrap_or(usize::MAX).min(self.come.len());
        let rest = self.come.split_off(here);
        let bytes = std::mem::replace(&mut self.come, rest);
        hasher.update(&bytes);
        *left -= u64::try_from(bytes.len()).expect("no more than what is left");
        (!bytes.is_empty()).then_some(ParcelPart::Bytes(bytes))
    }

    fn read_part(&mut self) -> Result<Option<ParcelPart>, ParcelError> {
        let Some((start, length)) = length_of(&self.come)? else { return Ok(None) };
        let Some(body) = self.come.get(start..start + length) else { return Ok(None) };
        let part = decode_cbor(body, MAX_FRAME_BYTES)?;
        self.come.drain(..start + length);
        Ok(Some(match part {
            WirePart::Statements(statements) => self.take_statements(statements)?,
            WirePart::Blob { hash, size } => {
                if self.named.remove(&hash) != Some(size) {
                    return Err(ParcelError::Unnamed(hash));
                }
                self.place = Place::Inside { hash, left: size, hasher: Box::default() };
                ParcelPart::Blob { hash, size }
            }
            WirePart::End => {
                self.place = Place::Over;
                ParcelPart::End
            }
        }))
    }

    fn take_statements(&mut self, statements: Vec<Envelope>) -> Result<ParcelPart, ParcelError> {
        if !(1..=MAX_STATEMENTS_A_PART).contains(&statements.len()) {
            return Err(ParcelError::Count);
        }
        self.statements += statements.len();
        if self.statements > MAX_STATEMENTS_A_PARCEL {
            return Err(ParcelError::TooMany);
        }
        self.named.clear();
        Ok(ParcelPart::Statements(statements))
    }
}

/// Where the next frame begins in `come`, and its length; none if that has not come whole.
fn length_of(come: &[u8]) -> Result<Option<(usize, usize)>, ParcelError> {
    let mut length = 0;
    for (index, byte) in come.iter().take(MAX_LENGTH_BYTES).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let is_shortest = *byte != 0 || index == 0;
            let fits = length <= MAX_FRAME_BYTES;
            return if is_shortest && fits {
                Ok(Some((index + 1, length)))
            } else {
                Err(ParcelError::Length)
            };
        }
    }
    if come.len() < MAX_LENGTH_BYTES { Ok(None) } else { Err(ParcelError::Length) }
}

#[cfg(test)]
mod tests;
