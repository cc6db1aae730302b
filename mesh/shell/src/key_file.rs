//! Keys on disk: made on first start, readable by their owner alone.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use capability::{KEY_BYTES, SecretKey};
use data_encoding::HEXLOWER_PERMISSIVE;
use thiserror::Error;

use crate::exit::{Exit, Failure};
use crate::files::directory_of;

impl From<KeyFileError> for Failure {
    /// What is in the file is input; that it cannot be read or made is the state's or the disk's.
    fn from(error: KeyFileError) -> Self {
        let exit = match error {
            KeyFileError::Exposed { .. } | KeyFileError::Garbled { .. } => Exit::Input,
            KeyFileError::Io { .. } | KeyFileError::Randomness(_) => Exit::State,
        };
        Self::new(exit, error)
    }
}

/// First word of a key file, so that nobody mistakes one for another kind of file.
const HEADER: &str = "talkoot-secret-key-1";

/// A key file cannot be used.
#[derive(Debug, Error)]
pub enum KeyFileError {
    /// It cannot be read or made.
    #[error("cannot use the key file {path}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Others could read it.
    #[error("the key file {path} can be read by others (mode {mode:o}); run: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: String,
        /// Its mode.
        mode: u32,
    },
    /// Its contents are no key.
    #[error(
        "{path} is not a Talkoot key file; restore it from a copy, or move it away to start with a new identity"
    )]
    Garbled {
        /// The file.
        path: String,
    },
    /// The operating system gave no randomness.
    #[error("cannot get randomness for a new key")]
    Randomness(#[from] getrandom::Error),
}

impl KeyFileError {
    fn is(&self, kind: io::ErrorKind) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == kind)
    }
}

/// Reads the key in `path`, or makes one there if there is no file. Of two programs that do so at once
/// both get the same key.
pub fn load_or_create(path: &Path) -> Result<SecretKey, KeyFileError> {
    match load(path) {
        Err(error) if error.is(io::ErrorKind::NotFound) => match create(path) {
            Err(error) if error.is(io::ErrorKind::AlreadyExists) => load(path),
            created => created,
        },
        loaded => loaded,
    }
}

/// Reads the key in `path`.
pub fn load(path: &Path) -> Result<SecretKey, KeyFileError> {
    let shown = || path.display().to_string();
    let failed = |source| KeyFileError::Io { path: shown(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: shown(), mode });
    }
    let mut text = String::new();
    let garbled = || KeyFileError::Garbled { path: shown() };
    file.take(256).read_to_string(&mut text).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => garbled(),
        _ => failed(error),
    })?;
    let seed = text.trim().strip_prefix(HEADER).map(str::trim).ok_or_else(garbled)?;
    let seed = HEXLOWER_PERMISSIVE.decode(seed.as_bytes()).map_err(|_| garbled())?;
    let seed: [u8; KEY_BYTES] = seed.try_into().map_err(|_| garbled())?;
    Ok(SecretKey::from_seed(&seed))
}

/// Makes a new key in `path`, which must not exist; durable before it is used.
pub fn create(path: &Path) -> Result<SecretKey, KeyFileError> {
    let mut seed = [0; KEY_BYTES];
    getrandom::fill(&mut seed)?;
    write(path, &seed)
}

/// Makes `to` another file of the key in `from`; no error if it is that already.
pub fn copy(from: &Path, to: &Path) -> Result<(), KeyFileError> {
    let key = load(from)?;
    match load(to) {
        Ok(there) if there.seed() == key.seed() => Ok(()),
        _ => write(to, key.seed()).map(drop),
    }
}

fn write(path: &Path, seed: &[u8; KEY_BYTES]) -> Result<SecretKey, KeyFileError> {
    write_new(path, seed)
        .map_err(|source| KeyFileError::Io { path: path.display().to_string(), source })?;
    Ok(SecretKey::from_seed(seed))
}

/// In one step: a full disk or a crash must not leave a file that is no key, which nobody may replace.
fn write_new(path: &Path, seed: &[u8; KEY_BYTES]) -> io::Result<()> {
    let directory = directory_of(path);
    std::fs::create_dir_all(directory)?;
    // Its owner's alone from the first, as temporary files are.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    writeln!(file, "{HEADER} {}", HEXLOWER_PERMISSIVE.encode(seed))?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use capability::Signer;

    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("deep/node.key");
        let made = load_or_create(&path).expect("made");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(load_or_create(&path).expect("read").public(), made.public());
    }

    #[test]
    fn nobody_meets_a_key_file_that_is_half_written() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for n in 0..50 {
            let path = dir.path().join(format!("{n}.key"));
            let made = std::thread::scope(|scope| {
                let starts = [(); 8].map(|()| scope.spawn(|| load_or_create(&path)));
                starts.map(|it| it.join().expect("no panic").expect("a whole key").public())
            });
            assert_eq!(made, [load(&path).expect("read").public(); 8]);
        }
        let files = std::fs::read_dir(dir.path()).expect("there").count();
        assert_eq!(files, 50, "nothing temporary is left");
    }

    #[test]
    fn a_key_that_is_there_is_never_replaced() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("node.key");
        let made = create(&path).expect("made");
        let again = create(&path).map(|_| ()).expect_err("it is there");
        let exists = io::ErrorKind::AlreadyExists;
        assert!(matches!(again, KeyFileError::Io { source, .. } if source.kind() == exists));
        assert_eq!(load(&path).expect("read").public(), made.public());
    }

    #[test]
    fn an_exposed_or_garbled_key_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("node.key");
        load_or_create(&path).expect("made");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).expect("changed");
        assert!(matches!(load_or_create(&path), Err(KeyFileError::Exposed { mode: 0o644, .. })));

        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("changed");
        for garbage in [&b"talkoot-secret-key-1 abc"[..], b"\xff\xfe\x00", b""] {
            std::fs::write(&path, garbage).expect("written");
            assert!(matches!(load_or_create(&path), Err(KeyFileError::Garbled { .. })));
            assert_eq!(std::fs::read(&path).expect("still there"), garbage);
        }
    }
}
