//! Repositories of images, by the names that registries and programs for containers know them by.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::spec::JobSpecError;
use crate::facts::shortened;
use crate::invalid::Invalid;

/// Length of the name of a repository in bytes, as registries have it.
pub const MAX_REPOSITORY: usize = 255;

/// A repository of images, with its registry and without a tag: `docker.io/library/debian` (S115).
///
/// A name without a registry would be looked up wherever the machine's owner looks first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "String")]
pub struct Repository(String);

/// What a volunteer's owner writes of repositories: one, or with `/*` at its end all below a name.
///
/// ```
/// use capability::{Repositories, Repository};
///
/// let official: Repositories = "docker.io/library/*".parse()?;
/// let debian: Repository = "docker.io/library/debian".parse()?;
/// assert!(official.cover(&debian));
/// # Ok::<(), capability::JobSpecError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repositories {
    /// This one.
    One(Repository),
    /// Whatever begins with this, which ends with a slash.
    Below(String),
}

impl Repository {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Repositories {
    /// Whether `repository` is one of them.
    pub fn cover(&self, repository: &Repository) -> bool {
        match self {
            Self::One(one) => one == repository,
            Self::Below(beginning) => repository.0.starts_with(beginning),
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Repository {
    type Err = JobSpecError;

    fn from_str(text: &str) -> Result<Self, JobSpecError> {
        let sound = text.len() <= MAX_REPOSITORY
            && text.split_once('/').is_some_and(|(registry, path)| {
                is_registry(registry) && path.split('/').all(is_component)
            });
        if sound { Ok(Self(text.to_owned())) } else { Err(refused(text)) }
    }
}

impl FromStr for Repositories {
    type Err = JobSpecError;

    fn from_str(text: &str) -> Result<Self, JobSpecError> {
        let Some(above) = text.strip_suffix("/*") else { return text.parse().map(Self::One) };
        if !is_registry(above) {
            above.parse::<Repository>()?;
        }
        Ok(Self::Below(format!("{above}/")))
    }
}

impl From<Repository> for String {
    fn from(repository: Repository) -> Self {
        repository.0
    }
}

impl<'de> Deserialize<'de> for Repository {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error: JobSpecError| de::Error::custom(Invalid::from(error)))
    }
}

fn refused(text: &str) -> JobSpecError {
    JobSpecError::Repository(shortened(text))
}

/// A host with a dot or a port, or `localhost`: a first part without these is no registry, but a name on one that
/// each machine chooses.
fn is_registry(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let is_label = |label: &str| {
        !label.starts_with('-')
            && !label.ends_with('-')
            && !label.is_empty()
            && label.bytes().all(|byte| is_small(byte) || byte == b'-')
    };
    let is_port = |port: &str| {
        (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit())
    };
    host.split('.').all(is_label)
        && port.is_none_or(is_port)
        && (port.is_some() || host.contains('.') || host == "localhost")
}

/// Small letters and digits, with `.`, `_`, `__` or hyphens between them.
fn is_component(text: &str) -> bool {
    let is_end = |byte: Option<&u8>| byte.is_some_and(|byte| is_small(*byte));
    let is_separator = |between: &str| {
        matches!(between, "." | "_" | "__") || between.bytes().all(|byte| byte == b'-')
    };
    is_end(text.as_bytes().first())
        && is_end(text.as_bytes().last())
        && text.split(|letter: char| letter.is_ascii() && is_small(letter as u8)).all(is_separator)
}

fn is_small(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_has_a_registry_and_neither_tag_nor_option() {
        for sound in [
            "docker.io/library/debian",
            "localhost/a",
            "localhost:5000/a/b/c",
            "127.0.0.1:5000/x",
            "my-host.example:1/a__b/c---d/e.f_g",
        ] {
            assert_eq!(sound.parse::<Repository>().expect(sound).to_string(), sound);
        }
        let long = format!("a.example/{}", "x".repeat(246));
        for wrong in [
            "",
            "debian",
            "library/debian",
            "docker.io",
            "docker.io/",
            "docker.io//debian",
            "docker.io/debian:12",
            "docker.io/Debian",
            "docker.io/-debian",
            "docker.io/debian_",
            "docker.io/a.-b",
            "docker.io/a b",
            "docker.io/a\n",
            "docker.io/ü",
            "docker.io/../a",
            "docker://docker.io/a",
            "--privileged",
            "--privileged/a.b",
            "-v.x/a",
            "host:/a",
            "host:123456/a",
            "[::1]:5000/a",
            "Docker.io/a",
            &long,
        ] {
            assert!(wrong.parse::<Repository>().is_err(), "{wrong:?}");
        }
        assert!(long[..255].parse::<Repository>().is_ok());
    }

    #[test]
    fn owners_name_one_or_all_below_a_name() {
        let cover = |written: &str, repository: &str| {
            let written: Repositories = written.parse().expect("sound");
            written.cover(&repository.parse().expect("sound"))
        };
        assert!(cover("docker.io/library/debian", "docker.io/library/debian"));
        assert!(!cover("docker.io/library/debian", "docker.io/library/debian/x"));
        assert!(cover("docker.io/library/*", "docker.io/library/debian"));
        assert!(cover("docker.io/*", "docker.io/library/debian"));
        assert!(!cover("docker.io/library/*", "docker.io/library2/debian"));
        assert!(!cover("docker.io/*", "docker.io.example/library/debian"));
        for wrong in ["*", "*/a", "docker.io/*/debian", "docker.io/deb*", "debian/*", "/*"] {
            assert!(wrong.parse::<Repositories>().is_err(), "{wrong:?}");
        }
    }
}
