//! Blobs as encrypted streams (S84): STREAM (Hoang, Reyhanitabar, Rogaway and Vizár 2015) over
//! ChaCha20Poly1305, in chunks of 64 KiB, of which each can be read once it has come.
//!
//! A chunk that was changed, left out, repeated or moved is noticed, and so is an end that came early:
//! the last chunk is marked. Memory is one chunk, whatever the size.

use std::io::{self, Read, Write};

use aead_stream::{DecryptorBE32, EncryptorBE32};
use chacha20poly1305::ChaCha20Poly1305;

use super::keys::BlobKey;
use super::padding::padded;
use crate::key::BlobHash;

/// Bytes of a chunk before it is encrypted; the last one may have fewer.
const CHUNK: usize = 64 << 10;
/// Bytes that encryption adds to each.
const TAG: usize = 16;

/// Bytes that a blob of `size` bytes comes to: padded (S82), and with a tag for each chunk.
pub fn encrypted_size(size: u64) -> u64 {
    let padded = padded(size);
    padded.saturating_add(padded.div_ceil(CHUNK as u64).saturating_mul(TAG as u64))
}

/// Encrypts what is written to it, which must be exactly as many bytes as were announced.
pub struct EncryptingWriter<W> {
    inner: W,
    encryptor: Option<EncryptorBE32<ChaCha20Poly1305>>,
    chunk: Vec<u8>,
    /// Bytes that are still to come before the padding, and with it.
    left: u64,
    padding: u64,
}

impl<W: Write> EncryptingWriter<W> {
    /// Encrypts `size` bytes of blob `index` with a key made from `key`. No two blobs may have the
    /// same key and index.
    pub fn new(inner: W, key: BlobKey, index: u32, size: u64) -> Self {
        let encryptor = EncryptorBE32::new(&key.of_blob(index).into(), &Default::default());
        let chunk = Vec::with_capacity(CHUNK + TAG);
        Self { inner, encryptor: Some(encryptor), chunk, left: size, padding: padded(size) - size }
    }

    /// Ends the blob, and gives back what it was written to.
    ///
    /// # Errors
    /// If fewer bytes came than were announced, or they cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        if self.left > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while self.padding > 0 {
            self.make_room()?;
            let room =
                (CHUNK - self.chunk.len()).min(usize::try_from(self.padding).unwrap_or(CHUNK));
            self.chunk.resize(self.chunk.len() + room, 0);
            self.padding -= room as u64;
        }
        let encryptor = self.encryptor.take().expect("it is ended once");
        encryptor.encrypt_last_in_place(b"", &mut self.chunk).map_err(|_| too_long())?;
        self.inner.write_all(&self.chunk)?;
        Ok(self.inner)
    }

    /// Writes the chunk if it is full: it is not the last one then.
    fn make_room(&mut self) -> io::Result<()> {
        if self.chunk.len() < CHUNK {
            return Ok(());
        }
        let encryptor = self.encryptor.as_mut().expect("it is not ended yet");
        encryptor.encrypt_next_in_place(b"", &mut self.chunk).map_err(|_| too_long())?;
        self.inner.write_all(&self.chunk)?;
        self.chunk.clear();
        Ok(())
    }
}

impl<W: Write> Write for EncryptingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            return Err(io::Error::other("more bytes than were announced"));
        }
        self.make_room()?;
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let taken = bytes.len().min(CHUNK - self.chunk.len()).min(left);
        self.chunk.extend(&bytes[..taken]);
        self.left -= taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Decrypts what is read through it. Whoever has read to the end without an error has all of it.
pub struct DecryptingReader<R> {
    inner: R,
    decryptor: Option<DecryptorBE32<ChaCha20Poly1305>>,
    /// What is decrypted, and how much of it was read.
    chunk: Vec<u8>,
    read: usize,
    /// Bytes of the blob that are still to be read, and encrypted bytes that are still to come.
    left: u64,
    encrypted: u64,
    expected: Option<(blake3::Hasher, BlobHash)>,
}

impl<R: Read> DecryptingReader<R> {
    /// Decrypts blob `index`, which had `size` bytes, with a key made from `key`.
    pub fn new(inner: R, key: BlobKey, index: u32, size: u64) -> Self {
        let decryptor = DecryptorBE32::new(&key.of_blob(index).into(), &Default::default());
        let (chunk, read, encrypted) = (Vec::with_capacity(CHUNK + TAG), 0, encrypted_size(size));
        let (decryptor, left, expected) = (Some(decryptor), size, None);
        Self { inner, decryptor, chunk, read, left, encrypted, expected }
    }

    /// Also checks, at the end, that what was read has this hash.
    pub fn expecting(mut self, hash: BlobHash) -> Self {
        self.expected = Some((blake3::Hasher::new(), hash));
        self
    }

    /// The next chunk; padding behind the blob is read too, so that a cut is noticed wherever it is.
    fn advance(&mut self) -> io::Result<()> {
        let size = self.encrypted.min((CHUNK + TAG) as u64);
        self.chunk.resize(usize::try_from(size).expect("a chunk fits into memory"), 0);
        self.read = 0;
        self.inner.read_exact(&mut self.chunk)?;
        self.encrypted -= size;
        let sound = if self.encrypted > 0 {
            let decryptor = self.decryptor.as_mut().expect("the last chunk comes last");
            decryptor.decrypt_next_in_place(b"", &mut self.chunk)
        } else {
            let decryptor = self.decryptor.take().expect("the last chunk comes once");
            decryptor.decrypt_last_in_place(b"", &mut self.chunk)
        };
        sound.map_err(|_| {
            self.chunk.clear();
            unsound("an encrypted blob was changed, or has another key")
        })
    }

    fn finish(&mut self) -> io::Result<()> {
        while self.encrypted > 0 {
            self.advance()?;
        }
        if self.inner.read(&mut [0])? > 0 {
            return Err(unsound("an encrypted blob goes on after its end"));
        }
        match &self.expected {
            Some((hasher, hash)) if hasher.finalize() != *hash.as_bytes() => {
                Err(unsound("a blob is not what its result says"))
            }
            _ => Ok(()),
        }
    }
}

impl<R: Read> Read for DecryptingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return self.finish().map(|()| 0);
        }
        if self.read == self.chunk.len() {
            self.advance()?;
        }
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let ready = (self.chunk.len() - self.read).min(buffer.len()).min(left);
        buffer[..ready].copy_from_slice(&self.chunk[self.read..self.read + ready]);
        self.read += ready;
        self.left -= ready as u64;
        if let Some((hasher, _)) = &mut self.expected {
            hasher.update(&buffer[..ready]);
        }
        Ok(ready)
    }
}

fn unsound(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn too_long() -> io::Error {
    io::Error::other("a blob has at most 2^32 chunks")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: BlobKey = BlobKey::from_bytes([7; 32]);

    fn encrypt(bytes: &[u8], index: u32) -> Vec<u8> {
        let mut writer = EncryptingWriter::new(Vec::new(), KEY, index, bytes.len() as u64);
        writer.write_all(bytes).expect("as many as announced");
        writer.finish().expect("all came")
    }

    fn decrypt(encrypted: &[u8], index: u32, size: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        DecryptingReader::new(encrypted, KEY, index, size as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn blobs_of_all_sizes_come_back_and_only_their_padded_size_shows() {
        for size in [0, 1, 511, 513, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 200_000, 1 << 20] {
            let bytes: Vec<u8> = (0..size).map(|n| n.to_le_bytes()[0]).collect();
            let encrypted = encrypt(&bytes, 3);
            assert_eq!(encrypted.len() as u64, encrypted_size(size as u64), "of {size}");
            assert_eq!(decrypt(&encrypted, 3, size).expect("sound"), bytes);
            assert!(decrypt(&encrypted, 4, size).is_err() || size == usize::MAX);
        }
    }

    #[test]
    fn a_blob_that_was_cut_lengthened_changed_or_put_in_another_order_is_noticed() {
        let bytes = vec![b'x'; 3 * CHUNK];
        let sound = encrypt(&bytes, 0);
        let broken = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut encrypted = sound.clone();
            change(&mut encrypted);
            assert_ne!(encrypted, sound, "the test changes something");
            decrypt(&encrypted, 0, bytes.len()).expect_err("it was changed");
        };
        let whole = CHUNK + TAG;
        broken(&|it| it.truncate(it.len() - 1));
        broken(&|it| it.truncate(2 * whole));
        broken(&|it| it.push(0));
        broken(&|it| it[whole + 5] ^= 1);
        // Also in the padding.
        broken(&|it| *it.last_mut().expect("not empty") ^= 1);
        broken(&|it| it.rotate_left(whole));
        broken(&|it| it.copy_within(0..whole, whole));
        assert!(encrypt(&bytes, 0) != encrypt(&bytes, 1), "each blob has its own key");
    }

    #[test]
    fn a_prefix_is_not_taken_for_the_whole_whatever_size_is_said() {
        let sound = encrypt(&vec![b'x'; 3 * CHUNK], 0);
        for size in [CHUNK, 2 * CHUNK, 3 * CHUNK - 5000] {
            let length = usize::try_from(encrypted_size(size as u64)).expect("small");
            decrypt(&sound[..length.min(sound.len())], 0, size).expect_err("it is no whole blob");
        }
    }

    #[test]
    fn what_is_read_is_held_against_its_hash() {
        let encrypted = encrypt(b"a report", 0);
        let read = |hash| {
            let reader = DecryptingReader::new(&encrypted[..], KEY, 0, 8).expecting(hash);
            io::read_to_string(reader)
        };
        assert_eq!(read(BlobHash::of(b"a report")).expect("the same"), "a report");
        read(BlobHash::of(b"a rumour")).expect_err("another");
    }

    #[test]
    fn a_writer_takes_exactly_what_was_announced() {
        let mut writer = EncryptingWriter::new(Vec::new(), KEY, 0, 3);
        writer.write_all(b"four").expect_err("one more");
        let mut writer = EncryptingWriter::new(Vec::new(), KEY, 0, 3);
        writer.write_all(b"ab").expect("fits");
        assert_eq!(writer.finish().expect_err("one less").kind(), io::ErrorKind::UnexpectedEof);
    }
}
