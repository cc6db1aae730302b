//! What an image is made for, in Go's words, as the specification of images has it.

use std::fmt;

use serde::Deserialize;

/// An operating system and an architecture.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Platform {
    os: String,
    architecture: String,
}

/// Rust's names of architectures and Go's, where these differ.
const ARCHITECTURES: [(&str, &str); 6] = [
    ("x86_64", "amd64"),
    ("x86", "386"),
    ("aarch64", "arm64"),
    ("loongarch64", "loong64"),
    ("powerpc64", if cfg!(target_endian = "little") { "ppc64le" } else { "ppc64" }),
    ("mips64", if cfg!(target_endian = "little") { "mips64le" } else { "mips64" }),
];

impl Platform {
    /// That of this machine.
    pub fn current() -> Self {
        let own = std::env::consts::ARCH;
        let known = ARCHITECTURES.iter().find(|(rust, _)| *rust == own);
        let architecture = known.map_or(own, |(_, go)| go);
        Self { os: std::env::consts::OS.to_owned(), architecture: architecture.to_owned() }
    }

    /// Whether what is made for it runs on `own`.
    pub fn runs_on(&self, own: &Self) -> bool {
        self == own
    }
}

impl fmt::Display for Platform {
    /// Shortened: a stranger may have written it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |text: &str| text.chars().take(32).collect::<String>();
        write!(f, "{}/{}", short(&self.os), short(&self.architecture))
    }
}
