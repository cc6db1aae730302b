//! A store as one file: for back-ups, and to rebuild a damaged store.
//!
//! The file is [`MAGIC`], then records, then a trailer. A record is the length of its key and of its value (32
//! bits each, little-endian), the key, the value, and a checksum: the first 16 bytes of the BLAKE3 hash of
//! the whole file up to there. The trailer is a key length of 2³² − 1 and a checksum. A checksum covers
//! all that came before it, so that a lost, repeated or moved record shows as well as a changed one.
//!
//! A store that was rebuilt has forgotten what it acknowledged after the export. A broker on such a store
//! grants nothing until it is given a new epoch.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read};
use std::path::{Path, PathBuf};

use mesh_core::Write;

use crate::dirs;
use crate::sled_store::{Options, SledStore};
use crate::store::{MAX_KEY, MAX_VALUE, Record, Store, StoreError};

/// The first bytes of every export; the digit is the version of the format.
const MAGIC: &[u8; 16] = b"talkoot export 1";

const CHECKSUM: usize = 16;

/// Stands in the place of a key's length before the last checksum.
const TRAILER: u32 = u32::MAX;

/// Bytes of records that an import commits at once.
const IMPORT_BYTES: usize = 512 * 1024;

/// Why a store could not be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store could not be read.
    #[error("cannot export a store that cannot be read")]
    Store(#[from] StoreError),
    /// The file could not be written.
    #[error("cannot write the export {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Why a store could not be rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The new store could not be written.
    #[error("cannot write the rebuilt store")]
    Store(#[from] StoreError),
    /// The export could not be read, or the new store not be moved into place.
    #[error("cannot {attempt} {}", path.display())]
    File {
        /// What was attempted, as a verb.
        attempt: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is not an export, or not as it was written.
    #[error("the export {} is damaged or incomplete after {records} records", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How many records were intact.
        records: u64,
    },
    /// A store is not rebuilt on top of another.
    #[error("cannot rebuild a store in {}, which is not empty: move it aside first", dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
    },
}

impl SledStore {
    /// Writes all records to the file `path`, replacing it, and returns their number. Commits wait meanwhile.
    pub fn export(&self, path: &Path) -> Result<u64, ExportError> {
        let failed = |source| ExportError::File { path: path.to_path_buf(), source };
        let mut temp = tempfile::NamedTempFile::new_in(dirs::parent(path)).map_err(failed)?;
        let records = {
            let mut writer =
                ExportWriter::new(BufWriter::new(temp.as_file_mut())).map_err(failed)?;
            self.snapshot(|key, value| writer.record(key, value).map_err(failed))?;
            writer.finish().map_err(failed)?
        };
        temp.as_file().sync_all().map_err(failed)?;
        temp.persist(path).map_err(|error| failed(error.error))?;
        dirs::sync_dir(dirs::parent(path)).map_err(failed)?;
        Ok(records)
    }

    /// Builds a store in `dir`, which must be absent or empty, from the export `path` and then `marks`,
    /// and returns the number of records in the export. If it fails, `dir` is left empty: there is no
    /// moment at which the store is there and `marks` are not.
    pub fn import(
        dir: &Path,
        path: &Path,
        marks: Vec<Write>,
        options: &Options,
    ) -> Result<u64, ImportError> {
        let step = |attempt, path: &Path| {
            let path = path.to_path_buf();
            move |source| ImportError::File { attempt, path, source }
        };
        dirs::create_private(dir).map_err(step("create", dir))?;
        if fs::read_dir(dir).map_err(step("list", dir))?.next().is_some() {
            return Err(ImportError::NotEmpty { dir: dir.to_path_buf() });
        }
        let scratch = tempfile::Builder::new()
            .prefix(".import-")
            .tempdir_in(dirs::parent(dir))
            .map_err(step("create a directory beside", dir))?;
        let built = scratch.path().join("store");
        let records = fill(&built, path, marks, options)?;
        fs::rename(&built, dir).map_err(step("move the rebuilt store to", dir))?;
        dirs::sync_dir(dirs::parent(dir)).map_err(step("sync the parent of", dir))?;
        Ok(records)
    }
}

/// Creates a store in `dir` that holds what `path` says and then `marks`, and closes it.
fn fill(dir: &Path, path: &Path, marks: Vec<Write>, options: &Options) -> Result<u64, ImportError> {
    let file = File::open(path).map_err(|source| read_error(path, source))?;
    let mut reader = ExportReader::new(BufReader::new(file), path)?;
    let store = SledStore::open(dir, options)?;
    let mut writes = Vec::new();
    let mut bytes = 0;
    while let Some((key, value)) = reader.record()? {
        bytes += key.len() + value.len();
        writes.push(Write::Put { key, value });
        if bytes >= IMPORT_BYTES {
            store.commit(std::mem::take(&mut writes))?;
            bytes = 0;
        }
    }
    store.commit(writes)?;
    store.commit(marks)?;
    store.close();
    Ok(reader.records)
}

fn read_error(path: &Path, source: io::Error) -> ImportError {
    ImportError::File { attempt: "read the export", path: path.to_path_buf(), source }
}

struct ExportWriter<W> {
    out: W,
    hasher: blake3::Hasher,
    records: u64,
}

impl<W: io::Write> ExportWriter<W> {
    fn new(out: W) -> io::Result<Self> {
        let mut writer = Self { out, hasher: blake3::Hasher::new(), records: 0 };
        writer.put(MAGIC)?;
        Ok(writer)
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.put(&length(key)?)?;
        self.put(&length(value)?)?;
        self.put(key)?;
        self.put(value)?;
        self.checksum()?;
        self.records += 1;
        Ok(())
    }

    fn finish(mut self) -> io::Result<u64> {
        self.put(&TRAILER.to_le_bytes())?;
        self.checksum()?;
        self.out.flush()?;
        Ok(self.records)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.out.write_all(bytes)
    }

    fn checksum(&mut self) -> io::Result<()> {
        let sum = checksum(&self.hasher);
        self.put(&sum)
    }
}

fn length(bytes: &[u8]) -> io::Result<[u8; 4]> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    Ok(length.to_le_bytes())
}

struct ExportReader<'a, R> {
    input: R,
    path: &'a Path,
    hasher: blake3::Hasher,
    records: u64,
}

impl<'a, R: Read> ExportReader<'a, R> {
    fn new(input: R, path: &'a Path) -> Result<Self, ImportError> {
        let mut reader = Self { input, path, hasher: blake3::Hasher::new(), records: 0 };
        if reader.take(MAGIC.len())? == MAGIC { Ok(reader) } else { Err(reader.damaged()) }
    }

    /// The next record; `None` after the trailer.
    fn record(&mut self) -> Result<Option<Record>, ImportError> {
        let key_length = self.take_length()?;
        if key_length == TRAILER {
            return self.end().map(|()| None);
        }
        let value_length = self.take_length()?;
        let key = self.take_bounded(key_length, MAX_KEY)?;
        let value = self.take_bounded(value_length, MAX_VALUE)?;
        self.check()?;
        self.records += 1;
        Ok(Some((key, value)))
    }

    fn end(&mut self) -> Result<(), ImportError> {
        self.check()?;
        match self.input.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.damaged()),
            Err(source) => Err(read_error(self.path, source)),
        }
    }

    fn check(&mut self) -> Result<(), ImportError> {
        let expected = checksum(&self.hasher);
        if self.take(CHECKSUM)? == expected { Ok(()) } else { Err(self.damaged()) }
    }

    fn take_length(&mut self) -> Result<u32, ImportError> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn take_bounded(&mut self, length: u32, limit: usize) -> Result<Vec<u8>, ImportError> {
        match usize::try_from(length) {
            Ok(length) if length <= limit => self.take(length),
            _ => Err(self.damaged()),
        }
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, ImportError> {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ImportError> {
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged(),
            _ => read_error(self.path, error),
        })?;
        self.hasher.update(bytes);
        Ok(())
    }

    fn damaged(&self) -> ImportError {
        ImportError::Damaged { path: self.path.to_path_buf(), records: self.records }
    }
}

fn checksum(hasher: &blake3::Hasher) -> [u8; CHECKSUM] {
    let mut sum = [0; CHECKSUM];
    hasher.finalize_xof().fill(&mut sum);
    sum
}
