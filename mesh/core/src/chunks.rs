//! Many small things in one durable record.
//!
//! What a record costs hardly depends on what is in it, so things that become durable together
//! share one, a **chunk**. A chunk is written once, and deleted when the last of its things has
//! gone. After a restart all things of a chunk are there again, also those that had gone: chunks
//! are for what does no harm when it comes back, or is told apart by what else is known.

use std::collections::BTreeMap;

use capability::{CborError, decode_cbor, encode_cbor};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::durable::Write;
use crate::message::MAX_FRAME_BYTES;

/// Bytes of the things in one chunk, unless one alone is larger: with what stands around them below
/// the store's bound on values.
const CHUNK_BYTES: usize = 48 << 10;

/// A chunk of which at most one thing in so many is left is worth to be put together with others.
const THINNED: usize = 4;

/// The chunks of one kind of record.
#[derive(Debug)]
pub struct Chunks {
    kind: u8,
    chunks: BTreeMap<u64, Chunk>,
    next: u64,
    gone: Vec<u64>,
}

#[derive(Debug)]
struct Chunk {
    written: usize,
    left: usize,
}

impl Chunks {
    /// None, under keys that begin with `kind`.
    pub fn new(kind: u8) -> Self {
        Self { kind, chunks: BTreeMap::new(), next: 0, gone: Vec::new() }
    }

    /// Takes up again the chunk under `key`; gives its number and the things in it.
    ///
    /// # Errors
    /// If it is no chunk of `T`s.
    pub fn restore<T: DeserializeOwned>(
        &mut self,
        key: &[u8],
        value: &[u8],
    ) -> Result<(u64, Vec<T>), CborError> {
        let number = key.get(1..).and_then(|number| number.try_into().ok());
        let number = number.map(u64::from_be_bytes);
        let number = number.ok_or_else(|| CborError::Shape("the key of a chunk".to_owned()))?;
        let things: Vec<T> = decode_cbor(value, MAX_FRAME_BYTES)?;
        let count = things.len();
        self.chunks.insert(number, Chunk { written: count, left: count });
        self.next = self.next.max(number + 1);
        Ok((number, things))
    }

    /// Puts `things`, each with its size in bytes, into new chunks. Gives the writes, and of each
    /// thing the number of its chunk.
    pub fn put<T: Serialize>(
        &mut self,
        things: impl IntoIterator<Item = (usize, T)>,
    ) -> (Vec<Write>, Vec<u64>) {
        let (mut writes, mut numbers) = (Vec::new(), Vec::new());
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        for (size, thing) in things {
            if !chunk.is_empty() && bytes + size > CHUNK_BYTES {
                writes.push(self.close(&std::mem::take(&mut chunk)));
                bytes = 0;
            }
            bytes += size;
            chunk.push(thing);
            numbers.push(self.next);
        }
        if !chunk.is_empty() {
            writes.push(self.close(&chunk));
        }
        (writes, numbers)
    }

    /// One thing of `chunk` has gone.
    pub fn leave(&mut self, chunk: u64) {
        let Some(entry) = self.chunks.get_mut(&chunk) else { return };
        entry.left -= 1;
        if entry.left == 0 {
            self.remove(chunk);
        }
    }

    /// All of `chunk` has gone, or is written elsewhere.
    pub fn remove(&mut self, chunk: u64) {
        if self.chunks.remove(&chunk).is_some() {
            self.gone.push(chunk);
        }
    }

    /// Whether little of `chunk` is left, so that the rest had better be put elsewhere.
    pub fn is_thin(&self, chunk: u64) -> bool {
        self.chunks.get(&chunk).is_some_and(|it| it.left * THINNED <= it.written)
    }

    /// Whether there is a chunk of which little is left.
    pub fn any_is_thin(&self) -> bool {
        self.chunks.keys().any(|chunk| self.is_thin(*chunk))
    }

    /// Whether there is something to delete.
    pub fn have_deletions(&self) -> bool {
        !self.gone.is_empty()
    }

    /// The deletions of chunks that have gone since the last call. They come after the writes of
    /// what is left of them.
    pub fn deletions(&mut self) -> Vec<Write> {
        let gone = std::mem::take(&mut self.gone);
        gone.into_iter().map(|chunk| Write::delete(self.key(chunk))).collect()
    }

    fn close<T: Serialize>(&mut self, things: &[T]) -> Write {
        let (number, count) = (self.next, things.len());
        self.next += 1;
        self.chunks.insert(number, Chunk { written: count, left: count });
        Write::put(self.key(number), encode_cbor(things))
    }

    fn key(&self, chunk: u64) -> Vec<u8> {
        let mut key = vec![self.kind];
        key.extend(chunk.to_be_bytes());
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_as_large_as_the_store_takes_and_goes_with_the_last_thing() {
        let mut chunks = Chunks::new(b'x');
        let size = CHUNK_BYTES / 2;
        let (writes, numbers) = chunks.put((0..3_u8).map(|n| (size, n)));
        assert_eq!((writes.len(), numbers), (2, vec![0, 0, 1]));

        chunks.leave(0);
        assert_eq!(chunks.deletions(), []);
        chunks.leave(0);
        assert_eq!(chunks.deletions(), [Write::delete(*b"x\0\0\0\0\0\0\0\0")]);
    }

    #[test]
    fn a_thing_larger_than_a_chunk_has_one_to_itself() {
        let mut chunks = Chunks::new(b'x');
        let sizes = [1, 2 * CHUNK_BYTES, 1];
        let (_, numbers) = chunks.put(sizes.into_iter().zip(0_u8..));
        assert_eq!(numbers, [0, 1, 2]);
    }

    #[test]
    fn what_is_taken_up_again_is_numbered_after_it() {
        let mut chunks = Chunks::new(b'x');
        let (writes, _) = chunks.put([(1, 7_u8), (1, 8)]);
        let Write::Put { key, value } = &writes[0] else { panic!("a chunk is put") };
        let mut again = Chunks::new(b'x');
        assert_eq!(again.restore::<u8>(key, value).expect("our own"), (0, vec![7, 8]));
        assert_eq!(again.put([(1, 9_u8)]).1, [1]);
        assert!(again.restore::<u8>(b"x", value).is_err(), "a key without a number");
    }
}
