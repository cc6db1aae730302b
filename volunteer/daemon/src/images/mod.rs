//! Images, from a layout in the package or what an engine hands over to the root that steps find.
//!
//! The daemon itself reads what is small and what leads to the rest: the manifest by its pinned digest, and whatever
//! that names, by theirs. So the unpacker, which runs in the sandbox, is given those very bytes and nothing else of any
//! job, and what it makes of them belongs to that digest alone: whoever breaks it with an image has altered that image.

#[cfg(unix)]
mod asking;
#[cfg(not(unix))]
#[path = "asking_elsewhere.rs"]
mod asking;
mod cache;
mod engine;
mod layout;
mod platform;
#[cfg(test)]
mod samples;
#[cfg(target_os = "linux")]
mod tree;
#[cfg(not(target_os = "linux"))]
#[path = "tree_elsewhere.rs"]
mod tree;
mod unpacker;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use capability::{Image, ImageDigest, ImageSource, ProjectKey};
use mesh_shell::chain;
use volunteer_sandbox::{Ending, Limits, MARK, Spec, remove_tree};

pub use self::cache::Root;
use self::cache::{About, Cache, Stage};
pub use self::engine::{Engine, Program};
use self::engine::{Named, Room};
use self::layout::{Layout, Manifest, file_name};
use self::unpacker::{BLOBS, Said};
pub use self::unpacker::{UNPACKER, main as unpacker};
use crate::job::unpack::{self, UnpackError};
use crate::runtimes::{Control, Isolation, Step};

/// Variables of an image's configuration that count; more than honest ones have.
const MAX_VARIABLES: usize = 128;

/// Bytes of one of them.
const MAX_VARIABLE: usize = 4 << 10;

/// What the unpacker says is one line.
const OUTPUT: u64 = 64 << 10;

/// Processes and threads of the unpacker, which is one.
const PROCESSES: u64 = 8;

/// Where the sandbox shows the unpacker to itself.
const PROGRAM: &str = "/opt/unpacker";

/// Why a job has no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It is the job's own fault.
    #[error("{0}")]
    Refused(String),
    /// The job's own limit on something was reached on the way.
    #[error("the image was not unpacked within the job's limit on {0}")]
    Limit(&'static str),
    /// The owner of the machine has stopped it.
    #[error("stopped by the owner of the machine")]
    Stopped,
    /// It is this machine's fault.
    #[error("{0}")]
    Machine(String),
}

/// What is to be unpacked for one job.
pub struct Wanted<'a> {
    /// What the job says.
    pub image: &'a Image,
    /// Whose package it is, if that is private: then nobody else's jobs find what is kept of its image.
    pub private_to: Option<ProjectKey>,
    /// The unpacked package, in a directory that is the job's alone, like the package. The image is moved out of it.
    pub package: &'a Path,
    /// Within which limits.
    pub limits: Limits,
    /// The job's user, if the daemon is root's.
    pub host_uid: u32,
}

impl Wanted<'_> {
    /// Under what the image is kept: its digest, which is in the offer for all to read. For a private package a
    /// hash of that and of whose it is, and for an image of a repository of that and of its name: there an engine's word
    /// may be all that there is for it, which is nothing to those who bring the same image.
    fn name(&self) -> ImageDigest {
        let mut hasher = match (&self.image.source, self.private_to) {
            (ImageSource::Repository(repository), _) => {
                let context = "talkoot volunteer 2026 image of a repository";
                let mut hasher = blake3::Hasher::new_derive_key(context);
                hasher.update(repository.as_str().as_bytes());
                hasher
            }
            (ImageSource::Package(_), Some(project)) => {
                let mut hasher =
                    blake3::Hasher::new_derive_key("talkoot volunteer 2026 private image");
                hasher.update(project.as_bytes());
                hasher
            }
            (ImageSource::Package(_), None) => return self.image.digest,
        };
        hasher.update(self.image.digest.as_bytes());
        ImageDigest::from_bytes(hasher.finalize().into())
    }
}

/// How its owner holds a job.
pub struct Hold<'a> {
    /// Waits while the job is paused; says whether it goes on.
    pub goes_on: &'a dyn Fn() -> bool,
    /// Takes hold of what runs for it.
    pub take: &'a dyn Fn(Box<dyn Control>),
}

/// Unpacks images, and keeps them.
#[derive(Debug)]
pub struct Images {
    isolation: Arc<Isolation>,
    directory: PathBuf,
    bound: u64,
    engine: Option<Engine>,
    cache: Mutex<Option<Arc<Cache>>>,
    turns: Turns,
}

impl Images {
    /// Keeps `bound` bytes of them below `cache`, at most, unpacks in `isolation`, and has those that are in no package
    /// from `engine`.
    pub fn new(
        isolation: Arc<Isolation>,
        cache: &Path,
        bound: u64,
        engine: Option<Engine>,
    ) -> Self {
        let (directory, turns) = (cache.join("images"), Turns::default());
        Self { isolation, directory, bound, engine, cache: Mutex::new(None), turns }
    }

    /// What images are had from that are in no package, if from anything.
    pub fn engine(&self) -> Option<Engine> {
        self.engine
    }

    /// Unpacks an image of one file, and answers where a hostile program is to look for that.
    ///
    /// # Errors
    /// What stands in the way, for people.
    pub fn try_one(&self, try_in: impl FnOnce(&Path) -> Result<(), String>) -> Result<(), String> {
        let told = |error: std::io::Error| format!("images cannot be unpacked: {error}");
        let cache = self.open().map_err(told)?;
        let blobs = tempfile::tempdir().map_err(told)?;
        let layer = ImageDigest::from_bytes([0; 32]);
        sample(&blobs.path().join(file_name(layer))).map_err(told)?;
        let stage = cache.stage().map_err(told)?;
        let limits = Limits { wall: Duration::from_secs(60), disk: 1 << 20, ..Limits::default() };
        let order = Unpacking { blobs: blobs.path(), layers: &[layer], limits, host_uid: None };
        let hold = Hold { goes_on: &|| true, take: &|_| () };
        self.unpack(&order, &stage, &hold).map_err(|error| error.to_string())?;
        stage.own().map_err(told)?;
        try_in(&stage.root())
    }

    /// The root for a job: one that was unpacked before, or else what its package or the engine has.
    pub fn provide(&self, wanted: &Wanted<'_>, hold: &Hold<'_>) -> Result<Root, ImageError> {
        let source = self.source(wanted)?;
        let name = wanted.name();
        let _turn = self.turns.wait(name, hold.goes_on).ok_or(ImageError::Stopped)?;
        let cache = self.open().map_err(|error| cannot("keep images", &error))?;
        if let Some(root) = cache.get(name).map_err(|error| cannot("look for an image", &error))? {
            return Ok(root);
        }
        let stage = cache.stage().map_err(|error| cannot("keep an image", &error))?;
        let Found { layout, manifest, _blobs } = source.find(wanted, &cache, hold)?;
        let Manifest { layers, environment } = manifest;
        let environment = variables(&environment)?;
        let Wanted { limits, host_uid, .. } = *wanted;
        let limits = Limits { disk: limits.disk.min(cache.bound()), ..limits };
        let blobs = layout.blobs();
        let order = Unpacking { blobs, layers: &layers, limits, host_uid: Some(host_uid) };
        let unpacked = self.unpack(&order, &stage, hold);
        let done = unpacked.map_err(|error| match error {
            ImageError::Limit("disk") if limits.disk < wanted.limits.disk => {
                ImageError::Machine(format!(
                    "`image-cache` of this machine is too small for the image: {} bytes",
                    cache.bound()
                ))
            }
            error => error,
        })?;
        let about = About { bytes: done.bytes, environment, left_out: done.left_out };
        cache.keep(stage, name, &about).map_err(|error| cannot("keep an image", &error))
    }

    /// Where the image is. What a package has is taken out of the work directory, whether it is needed or not.
    fn source<'a>(&self, wanted: &'a Wanted<'_>) -> Result<Source<'a>, ImageError> {
        match &wanted.image.source {
            ImageSource::Package(path) => Aside::take(wanted.package, path).map(Source::Package),
            ImageSource::Repository(repository) => {
                let why = "the image is not in the package, and `image-engine` is \"none\"";
                let engine = self.engine.ok_or_else(|| ImageError::Machine(why.to_owned()))?;
                let digest = wanted.image.digest;
                Ok(Source::Engine { engine, named: Named { repository, digest } })
            }
        }
    }

    fn open(&self) -> std::io::Result<Arc<Cache>> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cache) = cache.as_ref() {
            return Ok(Arc::clone(cache));
        }
        let opened = Arc::new(Cache::open(&self.directory, self.bound)?);
        Ok(Arc::clone(cache.insert(opened)))
    }

    /// Runs the unpacker to its end.
    fn unpack(
        &self,
        order: &Unpacking<'_>,
        stage: &Stage,
        hold: &Hold<'_>,
    ) -> Result<unpacker::Done, ImageError> {
        let spec = order.spec(stage).map_err(|error| cannot("find this program", &error))?;
        let Step { control, wait } =
            self.isolation.start(&spec, None).map_err(ImageError::Machine)?;
        (hold.take)(control);
        let end = wait();
        match end.ending {
            Ending::Exited { code: 0 } => match serde_json::from_slice(&end.output) {
                Ok(Said::Done(done)) => Ok(done),
                Ok(Said::Refused(why)) => Err(ImageError::Refused(why)),
                Ok(Said::TooLarge) => Err(ImageError::Limit("disk")),
                Ok(Said::Machine(why)) => Err(ImageError::Machine(why)),
                Err(_) => Err(broken(&String::from_utf8_lossy(&end.output))),
            },
            Ending::TimedOut => Err(ImageError::Limit("wall time")),
            Ending::MemoryExceeded => Err(ImageError::Limit("memory")),
            Ending::DiskExceeded => Err(ImageError::Limit("disk")),
            Ending::Killed => Err(ImageError::Stopped),
            Ending::SandboxFailed { reason } => Err(ImageError::Machine(reason)),
            Ending::Exited { .. } | Ending::Signalled { .. } | Ending::OutputExceeded => {
                Err(broken(&String::from_utf8_lossy(&end.output)))
            }
        }
    }
}

/// Where an image is.
enum Source<'a> {
    Package(Aside),
    Engine { engine: Engine, named: Named<'a> },
}

/// An image that was compared with what the job names.
struct Found {
    layout: Layout,
    manifest: Manifest,
    /// Has the blobs, unless the package does.
    _blobs: Option<Stage>,
}

impl Source<'_> {
    fn find(
        &self,
        wanted: &Wanted<'_>,
        cache: &Cache,
        hold: &Hold<'_>,
    ) -> Result<Found, ImageError> {
        match self {
            Self::Package(aside) => {
                let layout = aside.layout(wanted.limits.disk, hold.goes_on)?;
                let manifest = layout.manifest(wanted.image.digest, hold.goes_on)?;
                Ok(Found { layout, manifest, _blobs: None })
            }
            Self::Engine { engine, named } => {
                let blobs = cache.stage().map_err(|error| cannot("take an image over", &error))?;
                // Whether the job may have so much is known of what was compared, and not of what anybody says.
                let room = Room { bytes: cache.bound(), wall: wanted.limits.wall };
                let (layout, manifest) = engine.bring(*named, blobs.path(), room, hold)?;
                Ok(Found { layout, manifest, _blobs: Some(blobs) })
            }
        }
    }
}

/// Blobs that are to be unpacked.
struct Unpacking<'a> {
    blobs: &'a Path,
    layers: &'a [ImageDigest],
    limits: Limits,
    host_uid: Option<u32>,
}

impl Unpacking<'_> {
    fn spec(&self, stage: &Stage) -> std::io::Result<Spec> {
        let mut command =
            vec![PROGRAM.to_owned(), UNPACKER.to_owned(), self.limits.disk.to_string()];
        command.extend(self.layers.iter().map(|layer| file_name(*layer)));
        let mut spec = Spec::new(command, stage.path().canonicalize()?);
        spec.read_only = vec![
            (std::env::current_exe()?, PROGRAM.into()),
            (self.blobs.canonicalize()?, BLOBS.into()),
        ];
        spec.toolchain = false;
        spec.limits = Limits { output: OUTPUT, processes: PROCESSES, ..self.limits };
        spec.host_uid = self.host_uid.unwrap_or(spec.host_uid);
        Ok(spec)
    }
}

/// The image of a job's package, taken out of its work directory, and gone with this.
struct Aside {
    image: PathBuf,
    layout: PathBuf,
}

impl Aside {
    fn take(package: &Path, image: &str) -> Result<Self, ImageError> {
        let beside = package.parent().unwrap_or(package);
        let aside = Self { image: beside.join("image"), layout: beside.join("layout") };
        match fs::rename(package.join(image), &aside.image) {
            Ok(()) => Ok(aside),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(ImageError::Refused(format!("the package has no image {image:?}")))
            }
            Err(error) => Err(cannot("take the image out of the package", &error)),
        }
    }

    /// The layout that it is, or that is in the archive that it is.
    fn layout(&self, limit: u64, goes_on: &dyn Fn() -> bool) -> Result<Layout, ImageError> {
        if self.image.is_dir() {
            return Layout::open(&self.image);
        }
        let archive = File::open(&self.image).map_err(|error| cannot("read the image", &error))?;
        fs::create_dir(&self.layout).map_err(|error| cannot("unpack the image", &error))?;
        unpack::unpack(archive, &self.layout, limit, goes_on).map_err(|error| match error {
            UnpackError::Archive(crate::archive::ArchiveError::Stopped) => ImageError::Stopped,
            error if error.is_limit() => ImageError::Limit("disk"),
            error if error.is_ours() => ImageError::Machine(chain(&error)),
            error => ImageError::Refused(chain(&error)),
        })?;
        Layout::open(&self.layout)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        for path in [&self.image, &self.layout] {
            let removed = if path.is_dir() { remove_tree(path) } else { fs::remove_file(path) };
            match removed {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    // Its directory goes with the job.
                    tracing::warn!(path = %path.display(), %error, "an image is not removed");
                }
                _ => {}
            }
        }
    }
}

/// Lets one job at a time unpack an image, and others wait for it.
#[derive(Debug, Default)]
struct Turns {
    taken: Mutex<BTreeSet<ImageDigest>>,
    moves: Condvar,
}

/// Held by whoever has one.
struct Turn<'a> {
    turns: &'a Turns,
    digest: ImageDigest,
}

impl Turns {
    /// Between two looks at whether the job goes on.
    const LOOK: Duration = Duration::from_millis(100);

    fn wait(&self, digest: ImageDigest, goes_on: &dyn Fn() -> bool) -> Option<Turn<'_>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while !taken.insert(digest) {
            drop(taken);
            if !goes_on() {
                return None;
            }
            taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            let woken = self.moves.wait_timeout_while(taken, Self::LOOK, |it| it.contains(&digest));
            taken = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        Some(Turn { turns: self, digest })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut taken = self.turns.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.remove(&self.digest);
        self.turns.moves.notify_all();
    }
}

/// What an image's configuration sets, but for what is a volunteer's to set.
fn variables(environment: &[String]) -> Result<BTreeMap<String, String>, ImageError> {
    let unsound = |it: &&String| it.len() > MAX_VARIABLE || it.contains('\0');
    if environment.len() > MAX_VARIABLES || environment.iter().any(|it| unsound(&it)) {
        let why = format!(
            "its configuration has over {MAX_VARIABLES} variables, or one of over {MAX_VARIABLE} bytes"
        );
        return Err(ImageError::Refused(why));
    }
    let pairs = environment.iter().filter_map(|it| it.split_once('='));
    let named = pairs.filter(|(name, _)| !name.is_empty());
    let theirs = named.filter(|(name, _)| !name.starts_with(capability::RESERVED_VARIABLES));
    Ok(theirs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// A layer with [`MARK`] and what dynamically linked programs look for, in the file `path`.
fn sample(path: &Path) -> std::io::Result<()> {
    let mut layer = tar::Builder::new(File::create(path)?);
    let mut add = |name: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        layer.append_data(&mut header, name, content)
    };
    add(MARK, b"an image")?;
    if let Ok(libraries) = fs::read("/etc/ld.so.cache") {
        add("etc/ld.so.cache", &libraries)?;
    }
    layer.finish()
}

fn cannot(what: &str, error: &std::io::Error) -> ImageError {
    ImageError::Machine(format!("cannot {what}: {error}"))
}

/// The unpacker said nothing that it would say.
fn broken(said: &str) -> ImageError {
    let said: String = said.chars().take(128).collect();
    ImageError::Refused(format!("the unpacker broke at it: {said}"))
}

#[cfg(test)]
mod tests {
    use capability::{SecretKey, Signer};

    use super::*;

    fn image(path: &str) -> Image {
        let source = ImageSource::Package(path.to_owned());
        Image { source, digest: ImageDigest::from_bytes([1; 32]) }
    }

    #[test]
    fn what_is_kept_of_a_private_package_is_found_by_its_project_alone() {
        let image = image("a");
        let of = |private_to: Option<u8>| {
            let project = |it| SecretKey::from_seed(&[it; 32]).public().into();
            let private_to = private_to.map(project);
            let (package, limits) = (Path::new("/"), Limits::default());
            Wanted { image: &image, private_to, package, limits, host_uid: 0 }.name()
        };
        assert_eq!(of(None), image.digest);
        assert_eq!(of(Some(1)), of(Some(1)));
        assert!(of(Some(1)) != of(Some(2)) && of(Some(1)) != of(None));
    }

    #[test]
    fn what_is_kept_of_an_engine_is_nothing_to_those_who_bring_the_same_image() {
        let of = |source| {
            let image = Image { source, ..image("a") };
            let (package, limits) = (Path::new("/"), Limits::default());
            Wanted { image: &image, private_to: None, package, limits, host_uid: 0 }.name()
        };
        let repository = |name: &str| of(ImageSource::Repository(name.parse().expect("sound")));
        let brought = of(ImageSource::Package("a".to_owned()));
        assert_eq!(repository("a.example/b"), repository("a.example/b"));
        assert!(repository("a.example/b") != repository("a.example/c"));
        assert!(repository("a.example/b") != brought);
    }

    #[test]
    fn an_image_is_no_part_of_the_work_directory_and_leaves_nothing() {
        let home = tempfile::tempdir().expect("a directory");
        let work = home.path().join("work");
        fs::create_dir_all(work.join("images/a/blobs")).expect("made");

        let aside = Aside::take(&work, "images/a").expect("there");
        assert!(!work.join("images/a").exists() && work.join("images").is_dir());
        drop(aside);
        assert_eq!(fs::read_dir(home.path()).expect("there").count(), 1);

        let error = Aside::take(&work, "images/a").map(drop).expect_err("gone");
        assert_eq!(error.to_string(), "the package has no image \"images/a\"");
    }

    #[test]
    fn variables_of_an_image_are_bounded_and_none_is_reserved() {
        let all = ["A=1", "B=x=y", "=3", "C", "TALKOOT_TASK_INDEX=7"].map(str::to_owned);
        let found = variables(&all).expect("few");
        let found: Vec<_> =
            found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(found, [("A", "1"), ("B", "x=y")]);
        for wrong in [vec!["A=1".to_owned(); 129], vec!["x".repeat(4097)], vec!["A=\0".to_owned()]]
        {
            assert!(matches!(variables(&wrong), Err(ImageError::Refused(_))));
        }
    }

    #[test]
    fn one_unpacks_an_image_and_others_wait_or_are_stopped() {
        let turns = Turns::default();
        let digest = ImageDigest::from_bytes([1; 32]);
        let first = turns.wait(digest, &|| true).expect("nobody else");
        assert!(turns.wait(ImageDigest::from_bytes([2; 32]), &|| true).is_some());
        assert!(turns.wait(digest, &|| false).is_none());
        std::thread::scope(|scope| {
            let second = scope.spawn(|| turns.wait(digest, &|| true).is_some());
            drop(first);
            assert!(second.join().expect("no panic"));
        });
    }
}
