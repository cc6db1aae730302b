//! An OCI image layout (image-spec 1): a stranger's directory of blobs, of which only what a pinned digest
//! leads to is read, and compared before it is used. What an engine hands over is one without a manifest.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use capability::ImageDigest;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use volunteer_sandbox::open_beneath;

use super::ImageError;
use super::platform::Platform;

/// Bytes of a manifest, an index or a configuration. Those of honest images have some KiB.
const MAX_DOCUMENT: u64 = 1 << 20;

/// Layers of an image: as many as other programs take.
pub const MAX_LAYERS: usize = 128;

/// Where a layout has its blobs.
const BLOBS: &str = "blobs/sha256";

/// See the module.
#[derive(Debug)]
pub struct Layout {
    blobs: PathBuf,
}

/// What a manifest leads to, compared with its digest.
#[derive(Debug)]
pub struct Manifest {
    /// The layers, the lowest first.
    pub layers: Vec<ImageDigest>,
    /// Variables as `NAME=value`, of the image's configuration.
    pub environment: Vec<String>,
}

/// A manifest or an index, which differ in what they have.
#[derive(Debug, Deserialize)]
struct Document {
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

#[derive(Debug, Deserialize)]
struct Descriptor {
    digest: ImageDigest,
    platform: Option<Platform>,
}

/// The configuration of an image.
#[derive(Debug, Deserialize)]
struct Configuration {
    #[serde(flatten)]
    platform: Platform,
    #[serde(default)]
    config: Option<Settings>,
    rootfs: Option<Layers>,
}

/// What the layers of an image are when they are not compressed.
#[derive(Debug, Deserialize)]
struct Layers {
    diff_ids: Vec<ImageDigest>,
}

#[derive(Debug, Default, Deserialize)]
struct Settings {
    #[serde(rename = "Env")]
    environment: Option<Vec<String>>,
}

impl Layout {
    /// That in `directory`.
    pub fn open(directory: &Path) -> Result<Self, ImageError> {
        let blobs = directory.join(BLOBS);
        if directory.join("oci-layout").is_file() && blobs.is_dir() {
            return Ok(Self { blobs });
        }
        let why = "it is no OCI image layout: there must be a file oci-layout and a directory blobs/sha256";
        Err(ImageError::Refused(why.to_owned()))
    }

    /// Those in `directory`, each of which has the name of what it is.
    pub fn of_blobs(directory: &Path) -> Self {
        Self { blobs: directory.to_owned() }
    }

    /// Whether something has the name `digest`.
    pub fn has(&self, digest: ImageDigest) -> bool {
        self.blobs.join(file_name(digest)).is_file()
    }

    /// Where its blobs are.
    pub fn blobs(&self) -> &Path {
        &self.blobs
    }

    /// What the manifest with the digest `wanted` leads to, or that for this platform in the index with it. Reads
    /// every blob once; `goes_on` is asked before each piece.
    pub fn manifest(
        &self,
        wanted: ImageDigest,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Manifest, ImageError> {
        let mut document: Document = self.document(wanted)?;
        if let Some(manifests) = document.manifests.take() {
            document = self.document(of_this_platform(&manifests)?)?;
        }
        let (Some(config), Some(layers)) = (document.config, document.layers) else {
            return Err(refused(format_args!("{wanted} is no manifest of an image, nor an index")));
        };
        let configuration = self.configuration(config.digest)?;
        let layers = layers.into_iter().map(|layer| layer.digest).collect();
        let manifest = configuration.with(layers)?;
        manifest.layers.iter().try_for_each(|layer| self.compare(*layer, goes_on))?;
        Ok(manifest)
    }

    /// What the configuration with the digest `id` leads to: layers that are not compressed, each by what it is.
    pub fn image(&self, id: ImageDigest) -> Result<Manifest, ImageError> {
        let mut configuration = self.configuration(id)?;
        let layers = configuration.rootfs.take();
        let layers = layers.ok_or_else(|| refused(format_args!("{id} is no configuration")))?;
        let manifest = configuration.with(layers.diff_ids)?;
        // Blobs have the names of what they are.
        manifest.layers.iter().try_for_each(|layer| self.open_blob(*layer).map(drop))?;
        Ok(manifest)
    }

    /// The configuration with the digest `id`, if it is for this machine.
    fn configuration(&self, id: ImageDigest) -> Result<Configuration, ImageError> {
        let configuration: Configuration = self.document(id)?;
        let (its, own) = (&configuration.platform, Platform::current());
        if its.runs_on(&own) {
            return Ok(configuration);
        }
        Err(refused(format_args!("it is for {its}, and this machine is {own}")))
    }

    fn document<T: DeserializeOwned>(&self, digest: ImageDigest) -> Result<T, ImageError> {
        let mut bytes = Vec::new();
        let read = self.open_blob(digest)?.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes);
        read.map_err(|error| unreadable(digest, &error))?;
        if bytes.len() as u64 > MAX_DOCUMENT {
            return Err(refused(format_args!("{digest} has over {MAX_DOCUMENT} bytes")));
        }
        check(digest, Sha256::digest(&bytes).into())?;
        serde_json::from_slice(&bytes)
            .map_err(|error| refused(format_args!("{digest} cannot be read: {error}")))
    }

    fn compare(&self, digest: ImageDigest, goes_on: &dyn Fn() -> bool) -> Result<(), ImageError> {
        let mut blob = self.open_blob(digest)?;
        let mut hasher = Sha256::new();
        let mut piece = vec![0; 256 << 10];
        loop {
            if !goes_on() {
                return Err(ImageError::Stopped);
            }
            match blob.read(&mut piece).map_err(|error| unreadable(digest, &error))? {
                0 => return check(digest, hasher.finalize().into()),
                read => hasher.update(&piece[..read]),
            }
        }
    }

    fn open_blob(&self, digest: ImageDigest) -> Result<File, ImageError> {
        open_beneath(&self.blobs, Path::new(&file_name(digest)))
            .map_err(|error| unreadable(digest, &error))
    }
}

impl Configuration {
    fn with(self, layers: Vec<ImageDigest>) -> Result<Manifest, ImageError> {
        if layers.len() > MAX_LAYERS {
            return Err(refused(format_args!("it has over {MAX_LAYERS} layers")));
        }
        let environment = self.config.unwrap_or_default().environment.unwrap_or_default();
        Ok(Manifest { layers, environment })
    }
}

/// The name of the blob's file.
pub fn file_name(digest: ImageDigest) -> String {
    let text = digest.to_string();
    text.split_once(':').map_or(String::new(), |(_, hex)| hex.to_owned())
}

fn of_this_platform(manifests: &[Descriptor]) -> Result<ImageDigest, ImageError> {
    let own = Platform::current();
    let fits =
        |it: &&Descriptor| it.platform.as_ref().is_some_and(|platform| platform.runs_on(&own));
    let found = manifests.iter().find(fits).map(|manifest| manifest.digest);
    found.ok_or_else(|| refused(format_args!("its index has no image for {own}")))
}

fn check(digest: ImageDigest, found: [u8; 32]) -> Result<(), ImageError> {
    let found = ImageDigest::from_bytes(found);
    if found == digest {
        return Ok(());
    }
    Err(refused(format_args!("{digest} is named so and is {found}")))
}

fn unreadable(digest: ImageDigest, error: &io::Error) -> ImageError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::InvalidInput => {
            refused(format_args!("the layout does not have {digest}"))
        }
        _ => ImageError::Machine(format!("cannot read {digest} of the image: {error}")),
    }
}

fn refused(why: std::fmt::Arguments<'_>) -> ImageError {
    ImageError::Refused(why.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::samples::Sample;
    use super::*;

    fn manifest(sample: &Sample, digest: ImageDigest) -> Result<Manifest, ImageError> {
        Layout::open(sample.path()).expect("a layout").manifest(digest, &|| true)
    }

    #[track_caller]
    fn check_refused(sample: &Sample, digest: ImageDigest, expected: &str) {
        match manifest(sample, digest) {
            Err(ImageError::Refused(why)) => assert!(why.contains(expected), "{why}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_manifest_is_found_by_its_digest_and_through_an_index() {
        let sample = Sample::new();
        let layer = sample.blob(b"layer");
        let manifest_digest = sample.manifest(&[layer]);
        let index = sample.index(&[("linux", "no-such", layer), sample.own(manifest_digest)]);

        for digest in [manifest_digest, index] {
            let found = manifest(&sample, digest).expect("sound");
            assert_eq!(found.layers, [layer]);
            assert_eq!(found.environment, ["PATH=/bin", "LIGHT=on"]);
        }
    }

    #[test]
    fn what_is_not_what_its_digest_says_is_refused() {
        let sample = Sample::new();
        let layer = sample.blob(b"layer");
        let digest = sample.manifest(&[layer]);
        sample.overwrite(layer, b"other");
        check_refused(&sample, digest, "is named so and is sha256:");
        sample.remove(layer);
        check_refused(&sample, digest, "the layout does not have sha256:");
        let other = ImageDigest::from_bytes([7; 32]);
        check_refused(&sample, other, "the layout does not have sha256:0707");
        sample.overwrite(other, b"{}");
        check_refused(&sample, other, "is named so");
    }

    #[test]
    fn what_is_no_manifest_for_this_machine_is_refused() {
        let sample = Sample::new();
        let layer = sample.blob(b"layer");
        let fits = sample.manifest(&[layer]);
        check_refused(&sample, sample.blob(b"no json"), "cannot be read");
        check_refused(&sample, sample.blob(b"{}"), "is no manifest");
        check_refused(&sample, sample.blob(&vec![b' '; (1 << 20) + 1]), "over 1048576 bytes");
        check_refused(&sample, sample.manifest(&[layer; 129]), "over 128 layers");
        check_refused(&sample, sample.index(&[("plan9", "amd64", fits)]), "has no image for");
        check_refused(
            &sample,
            sample.manifest_for("windows", "amd64", &[layer]),
            "it is for windows",
        );
        let stopped = Layout::open(sample.path()).expect("a layout").manifest(fits, &|| false);
        assert!(matches!(stopped, Err(ImageError::Stopped)), "{stopped:?}");
    }

    #[test]
    fn a_directory_without_a_layout_is_none() {
        let directory = tempfile::tempdir().expect("a directory");
        let error = Layout::open(directory.path()).expect_err("empty");
        assert!(error.to_string().contains("no OCI image layout"), "{error}");
    }
}
