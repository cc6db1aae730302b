//! The image whose files a job finds as its root, in the runtime `container`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::repository::Repository;
use super::spec::JobSpecError;
use crate::facts::shortened;
use crate::invalid::Invalid;
use crate::requirements::Clause;

/// Length of the path of an image in bytes.
pub const MAX_IMAGE_PATH: usize = 256;

/// An OCI image (S113); what becomes of it say S114 and S117.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct Image {
    /// Where it comes from.
    pub source: ImageSource,
    /// What it must be.
    pub digest: ImageDigest,
}

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// The package has it at this path: a directory that is an OCI image layout, or a tar archive of one.
    Package(String),
    /// A program for containers on the volunteer's machine has it from this repository, or gets it from there.
    Repository(Repository),
}

/// An image in a statement.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Wire {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    repository: Option<Repository>,
    digest: ImageDigest,
}

/// The SHA-256 of the manifest of an image, or of an index of such manifests.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "String")]
pub struct ImageDigest([u8; 32]);

impl Image {
    /// # Errors
    /// If the path is not one inside the package.
    pub(super) fn validate(&self) -> Result<(), JobSpecError> {
        let ImageSource::Package(path) = &self.source else { return Ok(()) };
        let parts = || path.split('/');
        let plain = |part: &str| !matches!(part, "" | "." | "..");
        let valid = (1..=MAX_IMAGE_PATH).contains(&path.len())
            && !path.contains('\0')
            && parts().all(plain);
        if valid { Ok(()) } else { Err(JobSpecError::ImagePath(shortened(path))) }
    }

    /// What the requirements of an offer hold whose image does not come with the package, so that no machine takes it
    /// that has no program to get it with (S116).
    pub fn required(&self) -> Option<Clause> {
        let fact = "image.engine".parse().expect("the name of a fact");
        matches!(self.source, ImageSource::Repository(_)).then_some(Clause::Present { fact })
    }
}

impl TryFrom<Wire> for Image {
    type Error = Invalid;

    fn try_from(wire: Wire) -> Result<Self, Invalid> {
        let Wire { path, repository, digest } = wire;
        let source = match (path, repository) {
            (Some(path), None) => ImageSource::Package(path),
            (None, Some(repository)) => ImageSource::Repository(repository),
            _ => return Err(Invalid::new("S113", "an image has a path or a repository")),
        };
        Ok(Self { source, digest })
    }
}

impl From<Image> for Wire {
    fn from(Image { source, digest }: Image) -> Self {
        match source {
            ImageSource::Package(path) => Self { path: Some(path), repository: None, digest },
            ImageSource::Repository(repository) => {
                Self { path: None, repository: Some(repository), digest }
            }
        }
    }
}

impl ImageDigest {
    /// That of a manifest with the SHA-256 `hash`.
    pub fn from_bytes(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// The SHA-256.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ImageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for ImageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for ImageDigest {
    type Err = JobSpecError;

    fn from_str(text: &str) -> Result<Self, JobSpecError> {
        let hash = text.strip_prefix("sha256:").filter(|hex| hex.len() == 64);
        let hash = hash.and_then(|hex| data_encoding::HEXLOWER.decode(hex.as_bytes()).ok());
        let hash = hash.and_then(|hash| <[u8; 32]>::try_from(hash).ok());
        hash.map(Self).ok_or_else(|| JobSpecError::ImageDigest(shortened(text)))
    }
}

impl From<ImageDigest> for String {
    fn from(digest: ImageDigest) -> Self {
        digest.to_string()
    }
}

impl<'de> Deserialize<'de> for ImageDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error: JobSpecError| de::Error::custom(Invalid::from(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_written_and_in_no_other_way() {
        let hex = "0f".repeat(32);
        let text = format!("sha256:{hex}");
        let digest: ImageDigest = text.parse().expect("a digest");
        assert_eq!(digest.to_string(), text);
        for wrong in [
            hex.clone(),
            format!("sha512:{hex}"),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha256:{}", &hex[1..]),
            format!("sha256:{hex}0"),
            String::new(),
        ] {
            assert!(wrong.parse::<ImageDigest>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_path_stays_in_the_package() {
        let check = |path: &str| {
            let digest = ImageDigest::from_bytes([1; 32]);
            let source = ImageSource::Package(path.to_owned());
            Image { source, digest }.validate().is_ok()
        };
        assert!(check("image") && check("images/a.tar"));
        for wrong in
            ["", ".", "a/", "/a", "a//b", "../a", "a/../b", "a/./b", "a\0", &"x".repeat(257)]
        {
            assert!(!check(wrong), "{wrong:?}");
        }
    }
}
