//! The unpacker: this program again, as a job in the sandbox, with the blobs of one image and nothing else.
//!
//! Whatever a layer makes of it, it makes in there: it writes the root of that very image, within its job's limits, and
//! says how it went, which the daemon takes for a stranger's word.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use flate2::bufread::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use tar::EntryType;

use super::tree::{Content, Tree};
use crate::archive::{self, ArchiveError, ENTRY_BYTES, Entry, plain_path, refused, shown};
use crate::file_names;

/// The argument that makes this program the unpacker; behind it are the bytes that it may write, and the names of the
/// layers' blobs, the lowest first.
pub const UNPACKER: &str = "__unpack-image";

/// Where it finds those blobs.
pub const BLOBS: &str = "/opt/blobs";

/// What it makes in its work directory.
pub const ROOT: &str = "root";

/// Files and directories of all layers together; images with a desktop have some 300,000.
const MAX_ENTRIES: u64 = 1_000_000;

/// Bytes of `/etc/passwd` and the like.
const MAX_TABLE: u64 = 1 << 20;

/// Words about what was left out.
const MAX_WORDS: usize = 8;
const LAST_WORD: usize = MAX_WORDS - 1;

/// The job's own id inside, as the sandbox has it.
const JOB: u32 = 1000;

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// It is unpacked.
    Done(Done),
    /// The image is at fault.
    Refused(String),
    /// It has more than it may.
    TooLarge,
    /// The machine is at fault.
    Machine(String),
}

/// What was unpacked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Bytes on disk, about.
    pub bytes: u64,
    /// What the image has and its root has not, for people.
    pub left_out: Vec<String>,
}

/// Unpacks in the working directory. The sandbox must be around it already.
pub fn main(arguments: impl Iterator<Item = String>) -> ExitCode {
    let said = match unpack(Path::new(BLOBS), Path::new(ROOT), arguments) {
        Ok(done) => Said::Done(done),
        Err(error) => error.into(),
    };
    let line = serde_json::to_vec(&said).unwrap_or_default();
    match io::stdout().lock().write_all(&line) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Why an image cannot be unpacked.
#[derive(Debug, thiserror::Error)]
enum LayerError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("it has more than it may")]
    TooLarge,
    #[error("{0}")]
    Refused(String),
    #[error("cannot write {name:?}: {source}")]
    Write { name: String, source: io::Error },
    #[error("cannot read a layer: {0}")]
    Read(io::Error),
    #[error("called with other arguments than it understands")]
    Arguments,
}

impl From<LayerError> for Said {
    fn from(error: LayerError) -> Self {
        match error {
            LayerError::TooLarge => Self::TooLarge,
            LayerError::Archive(error) => Self::Refused(mesh_shell::chain(&error)),
            LayerError::Refused(why) => Self::Refused(why),
            ours => Self::Machine(ours.to_string()),
        }
    }
}

fn unpack(
    blobs: &Path,
    root: &Path,
    mut arguments: impl Iterator<Item = String>,
) -> Result<Done, LayerError> {
    let limit = arguments.next().and_then(|limit| limit.parse().ok());
    let limit = limit.ok_or(LayerError::Arguments)?;
    std::fs::create_dir(root).map_err(unwritable(root))?;
    let tree = Tree::open(root).map_err(unwritable(root))?;
    let mut layers = Layers { tree, limit, left: limit, entries: 0, done: Done::default() };
    for (number, name) in arguments.enumerate() {
        layers.lay(&blobs.join(name), number == 0)?;
    }
    layers.complete()?;
    layers.done.bytes = layers.limit - layers.left;
    Ok(layers.done)
}

/// The layers that are laid over each other.
struct Layers {
    tree: Tree,
    limit: u64,
    /// Bytes that may still be written.
    left: u64,
    entries: u64,
    done: Done,
}

impl Layers {
    /// Lays the layer in the file `blob` over what is there. What it takes away of the layers below it takes away first,
    /// since that never concerns what it brings itself, wherever it says so.
    fn lay(&mut self, blob: &Path, lowest: bool) -> Result<(), LayerError> {
        if !lowest {
            self.take_away(blob)?;
        }
        archive::each(open(blob)?, &|| true, |entry| self.add(entry))
    }

    fn take_away(&mut self, blob: &Path) -> Result<(), LayerError> {
        let (left, entries) = (self.left, self.entries);
        archive::each(open(blob)?, &|| true, |entry: Entry<'_>| {
            self.charge(&entry)?;
            match Whiteout::of(&plain_path(&entry.name)?) {
                Some(Whiteout::Of(path)) => self.tree.remove(&path).map_err(failed(&path)),
                Some(Whiteout::Below(path)) => self.tree.empty(&path).map_err(failed(&path)),
                Some(Whiteout::Nothing) | None => Ok(()),
            }
        })?;
        // It is read once more.
        (self.left, self.entries) = (left, entries);
        Ok(())
    }

    fn add(&mut self, entry: Entry<'_>) -> Result<(), LayerError> {
        self.charge(&entry)?;
        let Entry { name, link, kind, mode, modified, size, content } = entry;
        let path = plain_path(&name)?;
        if Whiteout::of(&path).is_some() {
            return Ok(());
        }
        let made = match kind {
            EntryType::Directory => self.tree.directory(&path),
            EntryType::Regular | EntryType::Continuous => {
                let executable = mode & 0o111 != 0;
                self.tree.file(&path, Content { executable, modified, size, bytes: content })
            }
            EntryType::Symlink if link.is_empty() || link.contains(&0) => {
                return Err(refused(&name, "it is a link to nothing").into());
            }
            EntryType::Symlink => {
                let link = file_names::from_bytes(&link)
                    .ok_or_else(|| refused(&name, "it is a link to what cannot be here"))?;
                self.tree.symlink(&path, link)
            }
            EntryType::Link => self.tree.hard_link(&path, &plain_path(&link)?),
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                self.leave_out(&name);
                Ok(())
            }
            _ => return Err(refused(&name, "it is of no kind that images have").into()),
        };
        made.map_err(failed(&path))
    }

    /// Counts `entry` before anything of it is read.
    fn charge(&mut self, entry: &Entry<'_>) -> Result<(), LayerError> {
        self.entries += 1;
        let left = self.left.checked_sub(entry.size.saturating_add(ENTRY_BYTES));
        self.left = left.filter(|_| self.entries <= MAX_ENTRIES).ok_or(LayerError::TooLarge)?;
        Ok(())
    }

    fn leave_out(&mut self, name: &[u8]) {
        let words = &mut self.done.left_out;
        match words.len() {
            MAX_WORDS.. => {}
            LAST_WORD => words.push("and others".to_owned()),
            _ => words.push(format!("{:?} is a device or a pipe, and left out", shown(name))),
        }
    }

    /// Adds what a job needs, and what other programs that run images put over them: its own user, and `localhost`.
    fn complete(&mut self) -> Result<(), LayerError> {
        let id = JOB.to_string();
        let tables = [
            ("etc/passwd", format!("job:x:{id}:{id}:job:/home/job:/bin/sh\n")),
            ("etc/group", format!("job:x:{id}:\n")),
        ];
        for (path, line) in tables {
            let mut table = self.read(path)?;
            let has_job = table
                .split(|byte| *byte == b'\n')
                .any(|line| line.split(|byte| *byte == b':').nth(2) == Some(id.as_bytes()));
            if has_job {
                continue;
            }
            if !table.is_empty() && !table.ends_with(b"\n") {
                table.push(b'\n');
            }
            table.extend(line.as_bytes());
            self.write(path, &table)?;
        }
        if self.read("etc/hosts")?.is_empty() {
            self.write("etc/hosts", b"127.0.0.1 localhost\n::1 localhost\n")?;
        }
        Ok(())
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, LayerError> {
        let path = Path::new(path);
        self.tree.read(path, MAX_TABLE).map_err(failed(path))
    }

    fn write(&self, path: &str, content: &[u8]) -> Result<(), LayerError> {
        let (path, size, bytes) = (Path::new(path), content.len() as u64, &mut &*content);
        let content = Content { executable: false, modified: 0, size, bytes };
        self.tree.file(path, content).map_err(failed(path))
    }
}

/// An entry that takes something of the layers below away.
#[derive(Debug, PartialEq, Eq)]
enum Whiteout {
    /// What is at a path.
    Of(PathBuf),
    /// All that is in a directory.
    Below(PathBuf),
    /// A note to those who made the layer.
    Nothing,
}

impl Whiteout {
    /// What the entry at `path` takes away, if it is one.
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.as_encoded_bytes().strip_prefix(b".wh.")?;
        let parent = path.parent().unwrap_or(Path::new(""));
        Some(match name {
            b".wh..opq" => Self::Below(parent.to_owned()),
            b"" | b"." | b".." => Self::Nothing,
            note if note.starts_with(b".wh.") => Self::Nothing,
            name => Self::Of(parent.join(file_names::from_bytes(name)?)),
        })
    }
}

/// The tar archive in the file `path`, compressed or not.
fn open(path: &Path) -> Result<Box<dyn Read>, LayerError> {
    const GZIP: &[u8] = &[0x1f, 0x8b];
    const ZSTANDARD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
    let mut file = File::open(path).map_err(LayerError::Read)?;
    let mut magic = Vec::new();
    (&file).take(4).read_to_end(&mut magic).map_err(LayerError::Read)?;
    file.rewind().map_err(LayerError::Read)?;
    if magic.starts_with(ZSTANDARD) {
        let why =
            "a layer is compressed with zstd, which is not understood here; compress it with gzip";
        return Err(LayerError::Refused(why.to_owned()));
    }
    if magic.starts_with(GZIP) {
        return Ok(Box::new(MultiGzDecoder::new(BufReader::new(file))));
    }
    Ok(Box::new(BufReader::new(file)))
}

/// What is wrong when `path` could not be made: the image, unless the disk is.
fn failed(path: &Path) -> impl FnOnce(io::Error) -> LayerError {
    let name = shown(path.as_os_str().as_encoded_bytes());
    move |source| match source.kind() {
        io::ErrorKind::StorageFull
        | io::ErrorKind::QuotaExceeded
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem => LayerError::Write { name, source },
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            LayerError::Archive(ArchiveError::Malformed(source))
        }
        _ if source.raw_os_error() == Some(EIO) => LayerError::Write { name, source },
        _ => LayerError::Refused(format!("{name:?} is refused: it cannot be made: {source}")),
    }
}

/// The disk's own trouble.
const EIO: i32 = 5;

fn unwritable(path: &Path) -> impl FnOnce(io::Error) -> LayerError {
    let name = shown(path.as_os_str().as_encoded_bytes());
    move |source| LayerError::Write { name, source }
}
