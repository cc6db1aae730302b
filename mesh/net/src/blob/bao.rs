//! Content on a stream: the bao encoding, made and checked on blocking threads.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::sync::Arc;
use std::time::Duration;

use bao_tree::io::outboard::PreOrderOutboard;
use bao_tree::io::sync::{CreateOutboard, DecodeResponseIter, encode_ranges_validated};
use bao_tree::io::{BaoContentItem, DecodeError, EncodeError};
use bao_tree::{BaoTree, BlockSize, ChunkRanges};
use futures::{AsyncRead, AsyncWrite};
use tokio::task::spawn_blocking;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};
use tokio_util::io::SyncIoBridge;

use super::pace::{IsCut, Pace, Paced};
use super::steady::Steady;
use super::{BlobError, from_stream};

/// Groups of 2⁴ chunks of 1 KiB: proofs are 0.4 % of the content.
const GROUP: BlockSize = BlockSize::from_chunk_log(4);

/// What crosses between a stream and a blocking thread at a time.
const BUFFER_BYTES: usize = 256 * 1024;

type Bridge<S> = SyncIoBridge<Compat<Steady<S>>>;

/// A file that has been found to have its hash, with the tree that proves it: 4 MiB for each GiB.
pub(crate) struct Content {
    file: File,
    outboard: PreOrderOutboard,
}

impl Content {
    /// Hashes `file`, which should have `size` bytes and the hash `hash`.
    pub(crate) async fn prepare(
        file: File,
        hash: blake3::Hash,
        size: u64,
    ) -> Result<Self, BlobError> {
        spawn_blocking(move || Self::hash(file, hash, size))
            .await
            .map_err(|_| BlobError::Stopped)?
    }

    fn hash(mut file: File, hash: blake3::Hash, size: u64) -> Result<Self, BlobError> {
        if file.metadata().map_err(BlobError::File)?.len() != size {
            return Err(BlobError::Damaged);
        }
        file.rewind().map_err(BlobError::File)?;
        let outboard =
            PreOrderOutboard::create_sized(&file, size, GROUP).map_err(BlobError::File)?;
        if outboard.root == hash { Ok(Self { file, outboard }) } else { Err(BlobError::Damaged) }
    }

    /// Sends the content, at a `pace` if there is one, and gives the stream back, with what came of it.
    pub(crate) async fn send<S>(
        self,
        stream: Steady<S>,
        patience: Duration,
        pace: Option<Arc<Pace>>,
    ) -> Result<(Steady<S>, Result<(), BlobError>), BlobError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        on_blocking_thread(stream, patience, move |bridge| {
            self.encode(Paced { inner: bridge, pace: pace.as_deref() })
        })
        .await
    }

    fn encode(self, stream: impl Write) -> Result<(), BlobError> {
        let mut writer = Recording { inner: stream, error: None };
        let mut buffered = BufWriter::with_capacity(BUFFER_BYTES, &mut writer);
        let ranges = ChunkRanges::all();
        let encoded = encode_ranges_validated(&self.file, &self.outboard, &ranges, &mut buffered);
        let flushed = buffered.flush();
        drop(buffered);
        match (writer.error, encoded, flushed) {
            (Some(error), ..) => Err(from_stream(error)),
            (None, Err(error), _) => Err(from_encode(error)),
            (None, Ok(()), Err(error)) => Err(from_stream(error)),
            (None, Ok(()), Ok(())) => Ok(()),
        }
    }
}

/// Receives a blob of `size` bytes and writes it to `file` as far as it is right; gives the stream back.
pub(crate) async fn receive<S>(
    stream: Steady<S>,
    patience: Duration,
    hash: blake3::Hash,
    size: u64,
    file: File,
    pace: Option<Arc<Pace>>,
) -> Result<(Steady<S>, Result<(), BlobError>), BlobError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    on_blocking_thread(stream, patience, move |bridge| {
        decode(Paced { inner: bridge, pace: pace.as_deref() }, hash, size, file)
    })
    .await
}

fn decode(stream: impl Read, hash: blake3::Hash, size: u64, file: File) -> Result<(), BlobError> {
    let reader = BufReader::with_capacity(BUFFER_BYTES, stream);
    let ranges = ChunkRanges::all();
    let tree = BaoTree::new(size, GROUP);
    let mut verified = 0;
    for item in DecodeResponseIter::new(hash, tree, reader, &ranges) {
        match item.map_err(|error| from_decode(error, verified))? {
            BaoContentItem::Parent(_) => {}
            BaoContentItem::Leaf(leaf) => {
                // Pre-order visits the leaves from left to right: the file is written in one go.
                (&file).write_all(&leaf.data).map_err(BlobError::File)?;
                verified += leaf.data.len() as u64;
            }
        }
    }
    // The last leaf proves the size too, an empty one of an empty blob included; this holds whatever the decoder does.
    if verified == size { Ok(()) } else { Err(BlobError::WrongByte { at: verified }) }
}

/// Runs `work` on a blocking thread with the stream as something that blocks.
async fn on_blocking_thread<S, F>(
    mut stream: Steady<S>,
    patience: Duration,
    work: F,
) -> Result<(Steady<S>, Result<(), BlobError>), BlobError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: FnOnce(&mut Bridge<S>) -> Result<(), BlobError> + Send + 'static,
{
    stream.set_patience(patience);
    let mut bridge = SyncIoBridge::new(stream.compat());
    spawn_blocking(move || {
        let result = work(&mut bridge);
        (bridge.into_inner().into_inner(), result)
    })
    .await
    .map_err(|_| BlobError::Stopped)
}

fn from_decode(error: DecodeError, verified: u64) -> BlobError {
    match error {
        DecodeError::ParentHashMismatch(_) | DecodeError::LeafHashMismatch(_) => {
            BlobError::WrongByte { at: verified }
        }
        DecodeError::ParentNotFound(_) | DecodeError::LeafNotFound(_) => BlobError::Lost,
        DecodeError::Io(error) if error.get_ref().is_some_and(|it| it.is::<IsCut>()) => {
            BlobError::Cut
        }
        DecodeError::Io(error) => from_stream(error),
    }
}

/// What went wrong on our side of the encoding: the stream's own errors have been recorded.
fn from_encode(error: EncodeError) -> BlobError {
    match error {
        EncodeError::Io(error) => BlobError::File(error),
        EncodeError::ParentHashMismatch(_)
        | EncodeError::LeafHashMismatch(_)
        | EncodeError::SizeMismatch
        | EncodeError::ParentWrite(_)
        | EncodeError::LeafWrite(_) => BlobError::Damaged,
    }
}

/// Remembers the first error of `inner`, so that it can be told from one of the file.
struct Recording<W> {
    inner: W,
    error: Option<io::Error>,
}

impl<W: Write> Recording<W> {
    fn record<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            let kind = error.kind();
            self.error.get_or_insert(error);
            kind.into()
        })
    }
}

impl<W: Write> Write for Recording<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes);
        self.record(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.inner.flush();
        self.record(flushed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP_BYTES: usize = 16 * 1024;

    fn blob(size: usize) -> Vec<u8> {
        (0..size).map(|index| (index / 7 % 251) as u8).collect()
    }

    fn encoded(blob: &[u8]) -> (blake3::Hash, Vec<u8>) {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(blob).expect("room on the disk");
        let hash = blake3::hash(blob);
        let content = Content::hash(file, hash, blob.len() as u64).expect("the file is right");
        let mut wire = Vec::new();
        content.encode(&mut wire).expect("a vector takes everything");
        (hash, wire)
    }

    fn decoded(wire: &[u8], hash: blake3::Hash, size: u64) -> Result<Vec<u8>, BlobError> {
        let file = tempfile::tempfile().expect("a temporary file");
        let mut copy = file.try_clone().expect("a second handle");
        decode(wire, hash, size, file)?;
        let mut content = Vec::new();
        copy.rewind().expect("a file");
        copy.read_to_end(&mut content).expect("readable");
        Ok(content)
    }

    #[test]
    fn blobs_of_awkward_sizes_come_back_whole() {
        for size in [0, 1, 1024, GROUP_BYTES, GROUP_BYTES + 1, 3 * GROUP_BYTES - 1, 1_000_000] {
            let blob = blob(size);
            let (hash, wire) = encoded(&blob);
            assert_eq!(decoded(&wire, hash, size as u64).expect("right"), blob, "size {size}");
        }
    }

    #[test]
    fn the_encoding_is_the_one_that_is_documented() {
        let blob = blob(2 * GROUP_BYTES);
        let (_, wire) = encoded(&blob);
        assert_eq!(wire.len(), 64 + blob.len());
        assert_eq!(wire[64..], blob);
        let small = &blob[..GROUP_BYTES];
        assert_eq!(encoded(small).1, small);
    }

    #[test]
    fn a_flipped_bit_is_found_at_its_group() {
        let blob = blob(4 * GROUP_BYTES);
        let (hash, mut wire) = encoded(&blob);
        // Root, left node, two groups, right node: the third group starts after 3 × 64 bytes of tree.
        wire[3 * 64 + 2 * GROUP_BYTES + 5] ^= 1;
        let error = decoded(&wire, hash, blob.len() as u64).expect_err("it is wrong");
        let expected = 2 * GROUP_BYTES as u64;
        assert!(matches!(error, BlobError::WrongByte { at } if at == expected), "{error}");
    }

    #[test]
    fn a_lie_about_the_size_is_found() {
        let blob = blob(3 * GROUP_BYTES + 100);
        let (hash, mut wire) = encoded(&blob);
        wire.extend([0; 2 * GROUP_BYTES]);
        for size in [0, 1, blob.len() - 1, blob.len() + 1, 4 * GROUP_BYTES + 1] {
            let result = decoded(&wire, hash, size as u64);
            assert!(matches!(result, Err(BlobError::WrongByte { .. })), "size {size}: {result:?}");
        }
    }

    #[test]
    fn a_blob_that_ends_early_is_lost() {
        let (hash, wire) = encoded(&blob(100_000));
        let result = decoded(&wire[..50_000], hash, 100_000);
        assert!(matches!(result, Err(BlobError::Lost)), "{result:?}");
    }

    #[test]
    fn a_damaged_file_is_not_sent() {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(b"other").expect("room on the disk");
        let result = Content::hash(file, blake3::hash(b"wanted"), 5).map(drop);
        assert!(matches!(result, Err(BlobError::Damaged)));
    }
}
