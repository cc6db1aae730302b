//! Images of podman or Docker on this machine (ADR 0043): it has them, or pulls them where its owner permits that, and hands
//! them over. It runs nothing.
//!
//! What it hands over is taken for a stranger's archive. Every file of that gets the name of its own SHA-256, so that
//! whatever the archive calls it leads nowhere, and a layer is found by what it must be.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use capability::{ImageDigest, Repository};
use sha2::{Digest, Sha256};
use tar::EntryType;

use super::asking::{Asked, Bounds};
use super::layout::{Layout, MAX_LAYERS, Manifest, file_name};
use super::{Hold, ImageError};
use crate::archive::{self, ArchiveError, Entry};

/// For a word about an image that is there, which takes an engine some 50 ms.
const WORD: Bounds = Bounds { wall: Duration::from_secs(30), bytes: 64 << 10 };

/// For an image that comes from a registry. What it is worth waiting for is the job's to say, up to this.
const PULL: Duration = Duration::from_secs(60 * 60);

/// For an image that is there, at 10 MiB a second and more.
const SAVE: Duration = Duration::from_secs(10 * 60);

/// Entries of an archive: each layer has its file, and up to three that nobody reads, in a directory.
const MAX_ENTRIES: usize = 8 * MAX_LAYERS;

/// What is asked of an image, in the words of both engines.
const ID_AND_NAMES: &str = "{{.Id}}{{range .RepoDigests}} {{.}}{{end}}";

/// Bytes of an archive beside those of its layers.
const OVERHEAD: u64 = 16 << 20;

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Podman.
    Podman,
    /// Docker, or what has its name and its arguments.
    Docker,
}

/// A program for containers on this machine, as a source of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Engine {
    /// Which one.
    pub program: Program,
    /// Whether it may pull what it does not have.
    pub pulls: bool,
}

/// An image that a job names.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    /// The repository.
    pub repository: &'a Repository,
    /// What its manifest must be, or an index that has it.
    pub digest: ImageDigest,
}

/// Within what an image is had.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Bytes of all layers together, not compressed.
    pub bytes: u64,
    /// Time that each question may take, at most.
    pub wall: Duration,
}

impl Program {
    /// Its name, in the configuration, in facts and among programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Podman => "podman",
            Self::Docker => "docker",
        }
    }
}

impl Engine {
    /// Its version, from a question that needs all that images need: its own storage, or its daemon.
    ///
    /// # Errors
    /// What is in the way, for people.
    pub fn version(self) -> Result<String, String> {
        let arguments: &[&str] = match self.program {
            Program::Podman => &["info", "--format", "{{.Version.Version}}"],
            Program::Docker => &["version", "--format", "{{.Server.Version}}"],
        };
        let hold = Hold { goes_on: &|| true, take: &|_| () };
        let answer = self.ask(arguments, WORD, &hold).map_err(|error| error.to_string())?;
        let version = answer.trim();
        let sound = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_graphic());
        if sound {
            Ok(version.to_owned())
        } else {
            Err(format!("{} tells no version", self.name()))
        }
    }

    /// Puts the blobs of `image` into the empty directory `target`, and leaves nothing in the engine that was not there.
    pub fn bring(
        self,
        image: Named<'_>,
        target: &Path,
        room: Room,
        hold: &Hold<'_>,
    ) -> Result<(Layout, Manifest), ImageError> {
        let name = format!("{}@{}", image.repository, image.digest);
        let (id, pulled) = match self.id(&name, room, hold) {
            Ok(id) => (id, false),
            Err(ImageError::Machine(why)) if !self.pulls => {
                let why = format!("{name} is not here, and `image-pull` is false: {why}");
                return Err(ImageError::Machine(why));
            }
            Err(ImageError::Machine(_)) => {
                self.pull(&name, room, hold)?;
                (self.id(&name, room, hold)?, true)
            }
            Err(error) => return Err(error),
        };
        let saved = self.save(id, target, room, hold);
        if pulled {
            self.forget(&name);
        }
        saved?;
        self.read(&name, image.digest, id, target, hold)
    }

    /// What has been saved, if that is the image `digest`, which the engine says has the id `id`.
    fn read(
        self,
        name: &str,
        digest: ImageDigest,
        id: ImageDigest,
        blobs: &Path,
        hold: &Hold<'_>,
    ) -> Result<(Layout, Manifest), ImageError> {
        let layout = Layout::of_blobs(blobs);
        // Some hand over the manifest as it was; then nobody's word is needed for it.
        let read = if layout.has(digest) {
            layout.manifest(digest, hold.goes_on)
        } else {
            layout.image(id)
        };
        let manifest = read.map_err(|error| match error {
            ImageError::Refused(why) => ImageError::Machine(format!(
                "what {} hands over is not the image {name}: {why}",
                self.name()
            )),
            error => error,
        })?;
        Ok((layout, manifest))
    }

    /// The id of the image `name`: the digest of its configuration, or with Docker's newer storage of its manifest.
    fn id(self, name: &str, room: Room, hold: &Hold<'_>) -> Result<ImageDigest, ImageError> {
        let bounds = Bounds { wall: WORD.wall.min(room.wall), ..WORD };
        let arguments = ["image", "inspect", "--format", ID_AND_NAMES, "--", name];
        let answer = self.ask(&arguments, bounds, hold)?;
        let (id, names) = answer.trim().split_once(' ').unwrap_or((answer.trim(), ""));
        // Podman looks for the digest under any name, and what an owner has under others is nothing to a job.
        if !names.split(' ').any(|own| own == name || own == familiar(name)) {
            let why = format!("{} has it under other names alone", self.name());
            return Err(ImageError::Machine(why));
        }
        let hex = id.strip_prefix("sha256:").unwrap_or(id);
        format!("sha256:{hex}").parse().map_err(|_| {
            let why = format!("{} tells no id of the image {name}", self.name());
            ImageError::Machine(why)
        })
    }

    fn pull(self, name: &str, room: Room, hold: &Hold<'_>) -> Result<(), ImageError> {
        tracing::info!(engine = self.name(), image = name, "pulling an image");
        let bounds = Bounds { wall: PULL.min(room.wall), ..WORD };
        self.ask(&["image", "pull", "--quiet", "--", name], bounds, hold).map(drop)
    }

    /// Removes an image that was pulled. It is kept unpacked, and the engine's own disk space is not what was donated.
    fn forget(self, name: &str) {
        let hold = Hold { goes_on: &|| true, take: &|_| () };
        if let Err(error) = self.ask(&["image", "rm", "--", name], WORD, &hold) {
            tracing::warn!(image = name, %error, "an image that was pulled is not removed");
        }
    }

    /// Has the engine write the image `id` as an archive, and keeps the files of that by their digests.
    fn save(
        self,
        id: ImageDigest,
        target: &Path,
        room: Room,
        hold: &Hold<'_>,
    ) -> Result<(), ImageError> {
        let bytes = room.bytes.saturating_add(OVERHEAD);
        let bounds = Bounds { wall: SAVE.min(room.wall), bytes };
        let mut command = Command::new(self.name());
        command.args(["image", "save"]);
        if self.program == Program::Podman {
            // The other formats write configuration and layers anew.
            command.args(["--quiet", "--format", "docker-archive"]);
        }
        command.arg("--").arg(id.to_string());
        let mut asked = Asked::start(command, bounds, hold)?;
        let kept = keep(&mut asked, target).and_then(|()| {
            // Behind the end of an archive is padding.
            io::copy(&mut asked, &mut io::sink()).map(drop).map_err(KeepError::Read)
        });
        // Whoever did not end well explains an archive that is none. Whoever still writes is not waited for.
        if kept.is_ok() || asked.is_over() {
            asked.end()?;
        }
        kept.map_err(|error| {
            let why = mesh_shell::chain(&error);
            ImageError::Machine(format!("cannot take an image over from {}: {why}", self.name()))
        })
    }

    fn ask(
        self,
        arguments: &[&str],
        bounds: Bounds,
        hold: &Hold<'_>,
    ) -> Result<String, ImageError> {
        let mut command = Command::new(self.name());
        command.args(arguments);
        let answer = Asked::start(command, bounds, hold)?.answer()?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    fn name(self) -> &'static str {
        self.program.name()
    }
}

/// The name that Docker has for `name`, if that is one on its own registry.
fn familiar(name: &str) -> &str {
    let short = name.strip_prefix("docker.io/").unwrap_or(name);
    short.strip_prefix("library/").unwrap_or(short)
}

/// Why the files of an archive are not kept.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("there are over {MAX_ENTRIES} files in it")]
    TooMany,
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    #[error("cannot write it")]
    Write(#[source] io::Error),
}

/// Keeps each file of `archive` in `target`, under its SHA-256. Links and names mean nothing.
fn keep(archive: impl Read, target: &Path) -> Result<(), KeepError> {
    let mut entries = 0;
    archive::each(archive, &|| true, |entry: Entry<'_>| {
        entries += 1;
        if entries > MAX_ENTRIES {
            return Err(KeepError::TooMany);
        }
        match entry.kind {
            EntryType::Regular | EntryType::Continuous => keep_one(entry, target),
            _ => Ok(()),
        }
    })
}

fn keep_one(entry: Entry<'_>, target: &Path) -> Result<(), KeepError> {
    // No digest has this name.
    let path = target.join("new");
    let mut file = File::create(&path).map_err(KeepError::Write)?;
    let (mut hasher, mut left) = (Sha256::new(), entry.size);
    let mut piece = vec![0; 256 << 10];
    while left > 0 {
        let length = match entry.content.read(&mut piece) {
            Ok(0) => return Err(KeepError::Read(io::ErrorKind::UnexpectedEof.into())),
            Ok(length) => length,
            Err(error) => return Err(KeepError::Read(error)),
        };
        left = left.saturating_sub(length as u64);
        hasher.update(&piece[..length]);
        file.write_all(&piece[..length]).map_err(KeepError::Write)?;
    }
    let digest = ImageDigest::from_bytes(hasher.finalize().into());
    fs::rename(&path, target.join(file_name(digest))).map_err(KeepError::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_an_archive_are_kept_by_their_digest_whatever_they_are_called() {
        let target = tempfile::tempdir().expect("a directory");
        let mut archive = tar::Builder::new(Vec::new());
        let mut add = |name: &[u8], kind: EntryType, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name);
            header.as_old_mut().linkname[..4].copy_from_slice(b"/etc");
            header.set_mode(0o644);
            header.set_entry_type(kind);
            header.set_size(content.len() as u64);
            header.set_cksum();
            archive.append(&header, content).expect("written");
        };
        add(b"link", EntryType::Symlink, b"");
        add(b"link/passwd", EntryType::Regular, b"a");
        add(b"../../../tmp/out", EntryType::Regular, b"b");
        add(b"/absolute", EntryType::Regular, b"b");
        add(b"device", EntryType::Block, b"");
        let archive = archive.into_inner().expect("written");

        keep(archive.as_slice(), target.path()).expect("kept");

        let name =
            |content: &[u8]| file_name(ImageDigest::from_bytes(Sha256::digest(content).into()));
        let mut found: Vec<_> = fs::read_dir(target.path())
            .expect("there")
            .map(|it| it.expect("there").file_name().into_string().expect("text"))
            .collect();
        found.sort();
        let mut expected = [name(b"a"), name(b"b")];
        expected.sort();
        assert_eq!(found, expected);
        assert_eq!(fs::read(target.path().join(name(b"b"))).expect("there"), b"b");
        assert!(keep(&archive[..600], target.path()).is_err(), "it ends too early");
    }
}
