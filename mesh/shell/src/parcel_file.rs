//! Parcels on their way from a file, or the body of a request, to a blob store; and back.
//!
//! All of it blocks: a daemon reads and writes parcels where blocking is allowed. What a parcel is
//! allowed to hold, [`ParcelReader`] says.

use std::io::{self, Read, Write};

use axum::body::{Body, Bytes};
use capability::{BlobHash, Envelope};
use futures::{StreamExt, TryStreamExt};
use mesh_core::{
    PARCEL_HEAD, ParcelError, ParcelPart, ParcelReader, parcel_blob, parcel_end, parcel_lists,
    parcel_statements,
};
use mesh_store::{BlobError, BlobStore};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::link::blob_name;

/// Bytes that are read or written at a time.
const CHUNK: usize = 64 << 10;

/// Chunks of a body that may wait for whoever reads it.
const BODY_QUEUE: usize = 4;

/// A parcel cannot be read, or what is in it not be kept.
#[derive(Debug, Error)]
pub enum ParcelFailed {
    /// The file, or the connection by which it comes.
    #[error("cannot read it")]
    Io(#[from] io::Error),
    /// What is in the file.
    #[error(transparent)]
    Parcel(#[from] ParcelError),
    /// The disk here.
    #[error("a blob of it cannot be kept")]
    Blob(#[from] BlobError),
}

/// What comes next in a parcel.
#[derive(Debug)]
pub enum Unpacked {
    /// Statements; no signature was checked.
    Statements(Vec<Envelope>),
    /// A blob, which whoever reads on without taking it passes over.
    Blob {
        /// Its name.
        hash: BlobHash,
        /// Its bytes.
        size: u64,
    },
}

/// A parcel that is being read.
#[derive(Debug)]
pub struct ParcelFile<R> {
    source: R,
    reader: ParcelReader,
    chunk: Vec<u8>,
}

impl<R: Read> ParcelFile<R> {
    /// The parcel in `source`.
    pub fn new(source: R) -> Self {
        Self { source, reader: ParcelReader::new(), chunk: vec![0; CHUNK] }
    }

    /// A statement that came last names this blob.
    pub fn expect(&mut self, hash: BlobHash, size: u64) {
        self.reader.expect(hash, size);
    }

    /// What comes next; nothing once the parcel is whole.
    ///
    /// # Errors
    /// If it is no parcel, damaged or broken off.
    pub fn unpack_next(&mut self) -> Result<Option<Unpacked>, ParcelFailed> {
        loop {
            match self.next_part()? {
                None => return Ok(None),
                Some(ParcelPart::Statements(statements)) => {
                    return Ok(Some(Unpacked::Statements(statements)));
                }
                Some(ParcelPart::Blob { hash, size }) => {
                    return Ok(Some(Unpacked::Blob { hash, size }));
                }
                // Nobody wanted the blob, or the end is yet to be looked behind.
                Some(ParcelPart::Bytes(_) | ParcelPart::BlobEnd | ParcelPart::End) => {}
            }
        }
    }

    /// Takes the blob that came last, of `size` bytes, into `blobs`, durably.
    ///
    /// # Errors
    /// The same, or that the disk has no room.
    pub fn take_blob(&mut self, size: u64, blobs: &BlobStore) -> Result<(), ParcelFailed> {
        let mut writer = blobs.create(size)?;
        loop {
            match self.next_part()? {
                Some(ParcelPart::Bytes(bytes)) => writer.append(&bytes)?,
                // Its bytes were held against its name on their way.
                Some(ParcelPart::BlobEnd) => return Ok(writer.finish(None).map(drop)?),
                _ => return Err(ParcelError::BrokenOff.into()),
            }
        }
    }

    fn next_part(&mut self) -> Result<Option<ParcelPart>, ParcelFailed> {
        loop {
            if let Some(part) = self.reader.next_part()? {
                return Ok(Some(part));
            }
            match self.source.read(&mut self.chunk)? {
                0 => return Ok(self.reader.finish().map(|()| None)?),
                length => self.reader.push(&self.chunk[..length]),
            }
        }
    }
}

/// A parcel that is being written.
#[derive(Debug)]
pub struct ParcelWriter<W>(W);

impl<W: Write> ParcelWriter<W> {
    /// Begins a parcel in `target`.
    ///
    /// # Errors
    /// If it cannot be written, here as below.
    pub fn new(mut target: W) -> io::Result<Self> {
        target.write_all(PARCEL_HEAD)?;
        Ok(Self(target))
    }

    /// Adds `statements`, in as many lists as they need. Blobs may follow that the last list names.
    pub fn statements(&mut self, statements: &[Envelope]) -> io::Result<()> {
        for list in parcel_lists(statements) {
            self.0.write_all(&parcel_statements(list))?;
        }
        Ok(())
    }

    /// Adds a blob, of which `content` has all `size` bytes.
    pub fn blob(&mut self, hash: BlobHash, size: u64, content: impl Read) -> io::Result<()> {
        self.0.write_all(&parcel_blob(hash, size))?;
        let copied = io::copy(&mut content.take(size), &mut self.0)?;
        if copied == size { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Ends the parcel.
    pub fn finish(mut self) -> io::Result<()> {
        self.0.write_all(&parcel_end())?;
        self.0.flush()
    }
}

/// Copies the parcel in `from` to `to`, looking at it on its way: what is not whole is no file to carry about.
/// `named` is shown each statement, and says which blobs it names.
///
/// # Errors
/// If it is no parcel, damaged or broken off, or cannot be written.
pub fn copy_parcel(
    from: impl Read,
    to: impl Write,
    mut named: impl FnMut(&Envelope) -> Vec<(BlobHash, u64)>,
) -> Result<(), ParcelFailed> {
    let mut parcel = ParcelFile::new(Tee { from, to });
    while let Some(next) = parcel.unpack_next()? {
        let Unpacked::Statements(statements) = next else { continue };
        let blobs = statements.iter().flat_map(&mut named);
        blobs.collect::<Vec<_>>().into_iter().for_each(|(hash, size)| parcel.expect(hash, size));
    }
    Ok(())
}

/// Writes whatever is read.
struct Tee<R, W> {
    from: R,
    to: W,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        self.to.write_all(&buffer[..length])?;
        Ok(length)
    }
}

/// Opens the blob `hash` of `size` bytes in `blobs`; none if it is not there as such.
pub fn open_blob(blobs: &BlobStore, hash: BlobHash, size: u64) -> Option<std::fs::File> {
    let file = blobs.read(&blob_name(hash)).ok()?;
    file.metadata().is_ok_and(|found| found.len() == size).then_some(file)
}

/// The body of a request, for a thread that may block and is one of the runtime's.
pub fn reader_of(body: Body) -> impl Read + Send {
    let stream = body.into_data_stream().map_err(io::Error::other).boxed();
    SyncIoBridge::new(StreamReader::new(stream))
}

/// A body that `write` writes, in a thread of its own. If that fails the connection is broken off, so
/// that nobody takes a part for the whole.
pub fn written_body<F>(write: F) -> Body
where
    F: FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
{
    let (chunks, queue) = mpsc::channel(BODY_QUEUE);
    tokio::task::spawn_blocking(move || {
        let mut out = io::BufWriter::with_capacity(CHUNK, Chunks(&chunks));
        if let Err(error) = write(&mut out).and_then(|()| out.flush()) {
            // Whoever reads may have gone, which may be what failed.
            let _ = chunks.blocking_send(Err(error));
        }
    });
    let next = async |mut queue: mpsc::Receiver<io::Result<Bytes>>| {
        queue.recv().await.map(|chunk| (chunk, queue))
    };
    Body::from_stream(futures::stream::unfold(queue, next))
}

struct Chunks<'a>(&'a mpsc::Sender<io::Result<Bytes>>);

impl Write for Chunks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let chunk = Bytes::copy_from_slice(bytes);
        self.0.blocking_send(Ok(chunk)).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
