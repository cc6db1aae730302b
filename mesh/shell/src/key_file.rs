//! Keys on disk: made on first start, readable by their owner alone.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use capability::{DecryptionKey, KEY_BYTES, SecretKey};
use data_encoding::HEXLOWER_PERMISSIVE;
use mesh_store::sync_dir;
use thiserror::Error;

use crate::access;
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

/// First word of the file of a signing key, so that nobody mistakes one for another kind of file.
const SIGNING: &str = "talkoot-secret-key-1";

/// The same of an encryption key: neither kind does for the other.
const ENCRYPTION: &str = "talkoot-encryption-key-1";

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
        "{path} is not the Talkoot key file that belongs there; restore it from a copy, or move it away to start with a new identity"
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
    Ok(SecretKey::from_seed(&read_or_make(path, SIGNING)?))
}

/// Reads the key in `path`.
pub fn load(path: &Path) -> Result<SecretKey, KeyFileError> {
    Ok(SecretKey::from_seed(&read(path, SIGNING)?))
}

/// As [`load_or_create`], with an encryption key.
pub fn load_or_create_encryption(path: &Path) -> Result<DecryptionKey, KeyFileError> {
    Ok(DecryptionKey::from_seed(&read_or_make(path, ENCRYPTION)?))
}

/// As [`load`], with an encryption key.
pub fn load_encryption(path: &Path) -> Result<DecryptionKey, KeyFileError> {
    Ok(DecryptionKey::from_seed(&read(path, ENCRYPTION)?))
}

/// What a key grows from.
type Seed = [u8; KEY_BYTES];

fn read_or_make(path: &Path, header: &str) -> Result<Seed, KeyFileError> {
    match read(path, header) {
        Err(error) if error.is(io::ErrorKind::NotFound) => match make(path, header) {
            Err(error) if error.is(io::ErrorKind::AlreadyExists) => read(path, header),
            made => made,
        },
        found => found,
    }
}

fn read(path: &Path, header: &str) -> Result<Seed, KeyFileError> {
    let shown = || path.display().to_string();
    let failed = |source| KeyFileError::Io { path: shown(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = access::of(&file.metadata().map_err(failed)?);
    if let Some(mode) = mode.filter(|mode| mode & 0o077 != 0) {
        return Err(KeyFileError::Exposed { path: shown(), mode });
    }
    let mut text = String::new();
    let garbled = || KeyFileError::Garbled { path: shown() };
    file.take(256).read_to_string(&mut text).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => garbled(),
        _ => failed(error),
    })?;
    let seed = text.trim().strip_prefix(header).map(str::trim).ok_or_else(garbled)?;
    let seed = HEXLOWER_PERMISSIVE.decode(seed.as_bytes()).map_err(|_| garbled())?;
    seed.try_into().map_err(|_| garbled())
}

/// Makes a new key in `path`, which must not exist; durable before it is used.
pub fn create(path: &Path) -> Result<SecretKey, KeyFileError> {
    Ok(SecretKey::from_seed(&make(path, SIGNING)?))
}

fn make(path: &Path, header: &str) -> Result<Seed, KeyFileError> {
    let mut seed = Seed::default();
    getrandom::fill(&mut seed)?;
    write(path, header, &seed)?;
    Ok(seed)
}

/// Makes `to` another file of the key in `from`; no error if it is that already.
pub fn copy(from: &Path, to: &Path) -> Result<(), KeyFileError> {
    let key = load(from)?;
    match load(to) {
        Ok(there) if there.seed() == key.seed() => Ok(()),
        _ => write(to, SIGNING, key.seed()),
    }
}

fn write(path: &Path, header: &str, seed: &Seed) -> Result<(), KeyFileError> {
    write_new(path, header, seed)
        .map_err(|source| KeyFileError::Io { path: path.display().to_string(), source })
}

/// In one step: a full disk or a crash must not leave a file that is no key, which nobody may replace.
fn write_new(path: &Path, header: &str, seed: &Seed) -> io::Result<()> {
    let directory = directory_of(path);
    std::fs::create_dir_all(directory)?;
    // Its owner's alone from the first, as temporary files are.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    writeln!(file, "{header} {}", HEXLOWER_PERMISSIVE.encode(seed))?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    sync_dir(directory)
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
    fn a_key_of_one_kind_is_none_of_the_other() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (signing, encryption) =
            (dir.path().join("node.key"), dir.path().join("encryption.key"));
        load_or_create(&signing).expect("made");
        let made = load_or_create_encryption(&encryption).expect("made");
        assert_eq!(load_encryption(&encryption).expect("read").public(), made.public());
        let mode = std::fs::metadata(&encryption).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(load_or_create_encryption(&signing), Err(KeyFileError::Garbled { .. })));
        assert!(matches!(load(&encryption), Err(KeyFileError::Garbled { .. })));
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
