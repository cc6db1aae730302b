//! Image layouts made by hand, for tests and for the self-test of the runtime.

use std::path::Path;

use capability::ImageDigest;
use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::layout::file_name;

/// A layout in a directory of its own.
pub struct Sample(TempDir);

impl Sample {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(directory.path().join("blobs/sha256")).expect("made");
        let version = r#"{"imageLayoutVersion":"1.0.0"}"#;
        std::fs::write(directory.path().join("oci-layout"), version).expect("written");
        Self(directory)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn blob(&self, content: &[u8]) -> ImageDigest {
        let digest = ImageDigest::from_bytes(Sha256::digest(content).into());
        self.overwrite(digest, content);
        digest
    }

    /// Puts `content` where a blob of another digest belongs.
    pub fn overwrite(&self, digest: ImageDigest, content: &[u8]) {
        let path = self.path().join("blobs/sha256").join(file_name(digest));
        std::fs::write(path, content).expect("written");
    }

    pub fn remove(&self, digest: ImageDigest) {
        let path = self.path().join("blobs/sha256").join(file_name(digest));
        std::fs::remove_file(path).expect("there");
    }

    /// The name of this machine's platform, and `digest`.
    pub fn own(&self, digest: ImageDigest) -> (&'static str, &'static str, ImageDigest) {
        (std::env::consts::OS, own_architecture(), digest)
    }

    /// A manifest for this machine, with its configuration.
    pub fn manifest(&self, layers: &[ImageDigest]) -> ImageDigest {
        self.manifest_for(std::env::consts::OS, own_architecture(), layers)
    }

    pub fn manifest_for(&self, os: &str, arch: &str, layers: &[ImageDigest]) -> ImageDigest {
        let config = json!({ "os": os, "architecture": arch,
            "config": { "Env": ["PATH=/bin", "LIGHT=on"] } });
        let config = self.blob(config.to_string().as_bytes());
        let layers: Vec<_> = layers.iter().map(|it| json!({ "digest": it, "size": 1 })).collect();
        let manifest =
            json!({ "schemaVersion": 2, "config": { "digest": config }, "layers": layers });
        self.blob(manifest.to_string().as_bytes())
    }

    pub fn index(&self, manifests: &[(&str, &str, ImageDigest)]) -> ImageDigest {
        let manifests: Vec<_> = manifests
            .iter()
            .map(|(os, architecture, digest)| {
                json!({ "digest": digest, "platform": { "os": os, "architecture": architecture } })
            })
            .collect();
        self.blob(json!({ "schemaVersion": 2, "manifests": manifests }).to_string().as_bytes())
    }
}

fn own_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
