//! Packing a directory so that the same files always give the same bytes.
//!
//! Names come in byte order; times, owners and groups are zero; of the modes only the executable bit
//! stays. So a package that has not changed has the hash that it had, and brokers that keep it need
//! not fetch it again.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use capability::statements::MAX_PACKAGE_BYTES;
use capability::{Globs, JobFile};
use thiserror::Error;

use crate::access;
use crate::exit::{Exit, Failure, OrExit, Outcome};

/// Files and directories in one package: as many as the largest source trees have.
pub const MAX_ENTRIES: usize = 100_000;

/// A directory could not be packed.
#[derive(Debug, Error)]
pub enum PackError {
    /// A link would lead elsewhere on another machine.
    #[error("{} is a symbolic link, which cannot be packed; exclude it or replace it by what it names", .0.display())]
    SymbolicLink(PathBuf),
    /// A socket, a device or the like.
    #[error("{} is neither a file nor a directory; exclude it", .0.display())]
    Special(PathBuf),
    /// Other systems could not unpack it.
    #[error("{} has a name that is not UTF-8; exclude or rename it", .0.display())]
    Name(PathBuf),
    /// Over [`MAX_PACKAGE_BYTES`].
    #[error("the package would be over 1 GiB; exclude what the job does not need")]
    TooLarge,
    /// Over [`MAX_ENTRIES`].
    #[error("over {MAX_ENTRIES} files and directories; exclude what the job does not need")]
    TooMany,
    /// It was written to meanwhile.
    #[error("{} changed while it was packed; try again", .0.display())]
    Changed(PathBuf),
    /// The system refused.
    #[error("cannot read {}", path.display())]
    Read {
        /// What was read.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The archive could not be written.
    #[error("cannot write the package")]
    Write(#[source] io::Error),
}

/// Packs what the job in the file at `path` brings along, into a temporary file at its beginning.
pub fn pack_beside(path: &Path, job: &JobFile) -> Outcome<File> {
    let beside = path.parent().unwrap_or(Path::new(""));
    let directory = beside.join(&job.package.path);
    let exclude = job.package.exclude_globs().or_exit(Exit::Input)?;
    pack(&directory, &exclude).map_err(|error| {
        let exit = match error {
            PackError::Write(_) => Exit::State,
            _ => Exit::Input,
        };
        let shown = directory.display();
        Failure::new(exit, anyhow::Error::new(error).context(format!("cannot pack {shown}")))
    })
}

/// Packs the contents of `directory`, without what `exclude` matches, into a temporary file at its
/// beginning.
pub fn pack(directory: &Path, exclude: &Globs) -> Result<File, PackError> {
    let mut entries = Vec::new();
    list(directory, Path::new(""), exclude, &mut entries)?;
    let file = tempfile::tempfile().map_err(PackError::Write)?;
    let mut archive = tar::Builder::new(Bounded { file, left: MAX_PACKAGE_BYTES });
    for name in &entries {
        append(&mut archive, directory, name)?;
    }
    let mut file = archive.into_inner().map_err(written)?.file;
    file.rewind().map_err(PackError::Write)?;
    Ok(file)
}

/// Lists what is below `directory/inside` in the order of the archive, parents first.
fn list(
    directory: &Path,
    inside: &Path,
    exclude: &Globs,
    entries: &mut Vec<PathBuf>,
) -> Result<(), PackError> {
    let folder = directory.join(inside);
    let failed = |source| PackError::Read { path: folder.clone(), source };
    let found = fs::read_dir(&folder).map_err(failed)?;
    let mut names = found
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    names.sort_unstable();
    for name in names {
        let name = inside.join(name);
        if exclude.matches(&name) {
            continue;
        }
        if entries.len() == MAX_ENTRIES {
            return Err(PackError::TooMany);
        }
        let kind = metadata(directory, &name)?.file_type();
        if kind.is_symlink() {
            return Err(PackError::SymbolicLink(name));
        }
        if !kind.is_dir() && !kind.is_file() {
            return Err(PackError::Special(name));
        }
        if name.to_str().is_none() {
            return Err(PackError::Name(name));
        }
        entries.push(name.clone());
        if kind.is_dir() {
            list(directory, &name, exclude, entries)?;
        }
    }
    Ok(())
}

fn append(
    archive: &mut tar::Builder<Bounded>,
    directory: &Path,
    name: &Path,
) -> Result<(), PackError> {
    let path = directory.join(name);
    let failed = |source| PackError::Read { path: path.clone(), source };
    let found = metadata(directory, name)?;
    let mut header = tar::Header::new_gnu();
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    if found.is_dir() {
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
        // With a slash at its end, as tar writes directories.
        return archive.append_data(&mut header, name.join(""), io::empty()).map_err(written);
    }
    if !found.is_file() {
        return Err(PackError::Changed(name.to_path_buf()));
    }
    let executable = access::is_executable(&found);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(if executable { 0o755 } else { 0o644 });
    header.set_size(found.len());
    let mut contents = File::open(&path).map_err(failed)?.take(found.len());
    archive.append_data(&mut header, name, &mut contents).map_err(written)?;
    // A shorter file would leave the archive out of step with its header.
    if contents.limit() == 0 { Ok(()) } else { Err(PackError::Changed(name.to_path_buf())) }
}

fn metadata(directory: &Path, name: &Path) -> Result<Metadata, PackError> {
    let path = directory.join(name);
    fs::symlink_metadata(&path).map_err(|source| PackError::Read { path, source })
}

fn written(error: io::Error) -> PackError {
    if error.kind() == io::ErrorKind::FileTooLarge {
        PackError::TooLarge
    } else {
        PackError::Write(error)
    }
}

/// A file that takes so many bytes and no more.
struct Bounded {
    file: File,
    left: u64,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len() as u64;
        self.left = self.left.checked_sub(length).ok_or(io::ErrorKind::FileTooLarge)?;
        self.file.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::{Duration, SystemTime};

    use super::*;

    fn packed(directory: &Path, exclude: &[&str]) -> Result<Vec<u8>, PackError> {
        let source = capability::PackageSource {
            path: ".".into(),
            exclude: exclude.iter().map(|pattern| (*pattern).to_owned()).collect(),
        };
        let mut file = pack(directory, &source.exclude_globs().expect("patterns"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("readable");
        Ok(bytes)
    }

    fn write(directory: &Path, name: &str, contents: &str, mode: u32) {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().expect("below the directory")).expect("made");
        fs::write(&path, contents).expect("written");
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("changed");
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let (one, other) = (tempfile::tempdir().expect("made"), tempfile::tempdir().expect("made"));
        write(one.path(), "src/a.c", "int a;\n", 0o644);
        write(one.path(), "run.sh", "true\n", 0o755);
        // Made in another order, at another time, with other modes of the same meaning.
        write(other.path(), "run.sh", "true\n", 0o700);
        write(other.path(), "src/a.c", "int a;\n", 0o600);
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        File::open(other.path().join("run.sh")).expect("there").set_modified(old).expect("set");

        let bytes = packed(one.path(), &[]).expect("packed");
        assert_eq!(bytes, packed(other.path(), &[]).expect("packed"));
        // A golden hash: another one means that every package of every project changes its name.
        let golden = "9bd7f725";
        assert_eq!(&blake3::hash(&bytes).to_hex()[..8], golden);
    }

    #[test]
    fn names_modes_and_contents_can_be_unpacked_and_the_excluded_is_left_out() {
        let directory = tempfile::tempdir().expect("made");
        write(directory.path(), "a/b.txt", "b", 0o600);
        write(directory.path(), "a/skip.o", "o", 0o600);
        write(directory.path(), "target/deep/x", "x", 0o600);
        write(directory.path(), "run", "r", 0o711);
        let bytes = packed(directory.path(), &["*.o", "target"]).expect("packed");
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().expect("an archive").map(|entry| {
            let mut entry = entry.expect("sound");
            let mut contents = String::new();
            entry.read_to_string(&mut contents).expect("text");
            let path = entry.path().expect("a name").display().to_string();
            (path, entry.header().mode().expect("a mode"), contents)
        });
        let entries: Vec<_> = entries.collect();
        let expected = [("a/", 0o755, ""), ("a/b.txt", 0o644, "b"), ("run", 0o755, "r")];
        assert_eq!(entries, expected.map(|(name, mode, text)| (name.into(), mode, text.into())));
    }

    #[test]
    fn a_symbolic_link_is_refused_by_name() {
        let directory = tempfile::tempdir().expect("made");
        write(directory.path(), "a/file", "f", 0o600);
        symlink("/etc/passwd", directory.path().join("a/link")).expect("made");
        let error = packed(directory.path(), &[]).expect_err("refused");
        assert!(matches!(&error, PackError::SymbolicLink(path) if path == Path::new("a/link")));
        assert!(packed(directory.path(), &["link"]).is_ok());
    }

    #[test]
    fn more_than_fits_is_refused() {
        let mut bounded = Bounded { file: tempfile::tempfile().expect("made"), left: 3 };
        assert!(bounded.write(b"abc").is_ok());
        let error = bounded.write(b"d").expect_err("over the bound");
        assert!(matches!(written(error), PackError::TooLarge));
    }
}
