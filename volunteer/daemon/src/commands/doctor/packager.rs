//! How what has a certain file is installed on the distribution at hand.
//!
//! The table knows Debian's names of packages. Others are not written down: their package managers
//! find a package by the file that is sought.

use capability::{Fact, Facts};

use crate::probing::Sought;

/// What installs packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packager {
    /// Debian and what is made from it.
    Apt,
    /// Alpine.
    Apk,
    /// Fedora and Red Hat.
    Dnf,
    /// Arch.
    Pacman,
    /// SUSE.
    Zypper,
    /// Nobody here knows.
    Unknown,
}

/// By words of `distribution` and `distribution.like`.
const KNOWN: [(&str, Packager); 9] = [
    ("debian", Packager::Apt),
    ("ubuntu", Packager::Apt),
    ("alpine", Packager::Apk),
    ("fedora", Packager::Dnf),
    ("rhel", Packager::Dnf),
    ("centos", Packager::Dnf),
    ("arch", Packager::Pacman),
    ("suse", Packager::Zypper),
    ("opensuse", Packager::Zypper),
];

impl Packager {
    /// That of the system with these `facts`.
    pub fn of(facts: &Facts) -> Self {
        let has = |fact: &str, word: &str| match facts.get(fact) {
            Some(Fact::Text(text)) => text == word,
            Some(Fact::Set(words)) => words.contains(word),
            _ => false,
        };
        let is = |word: &str| has("distribution", word) || has("distribution.like", word);
        KNOWN.iter().find(|(word, _)| is(word)).map_or(Self::Unknown, |(_, packager)| *packager)
    }

    /// How one comes by `sought`, which is in the package `debian` of Debian.
    pub fn install(self, sought: &Sought, debian: &str) -> String {
        match (self, sought) {
            (Self::Apt, _) => format!("apt install {debian}"),
            (Self::Apk, Sought::Program(program)) => format!("apk add cmd:{program}"),
            (Self::Apk, Sought::Module(module)) => format!("apk add pc:{module}"),
            (Self::Dnf, Sought::Module(module)) => format!("dnf install 'pkgconfig({module})'"),
            (Self::Dnf, _) => format!("dnf install {}", path(sought)),
            (Self::Zypper, Sought::Module(module)) => {
                format!("zypper install 'pkgconfig({module})'")
            }
            (Self::Zypper, _) => {
                let path = path(sought);
                format!("zypper search --provides --match-exact {path}, which names its package")
            }
            (Self::Pacman, _) => {
                format!(
                    "pacman -F {}, which names its package",
                    path(sought).trim_start_matches('/')
                )
            }
            (Self::Apk, Sought::Header(_)) | (Self::Unknown, _) => {
                format!("install {debian} (its name in Debian; others call it much the same)")
            }
        }
    }
}

/// Where `sought` is on most systems.
fn path(sought: &Sought) -> String {
    match sought {
        Sought::Program(path) if path.starts_with('/') => path.clone(),
        Sought::Program(program) => format!("/usr/bin/{program}"),
        Sought::Module(module) => format!("/usr/lib/pkgconfig/{module}.pc"),
        Sought::Header(header) => format!("/usr/include/{header}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_known_by_its_name_or_by_what_it_is_like() {
        let check = |id: &str, like: &[&str], expected: Packager| {
            let mut facts = Facts::new();
            facts.insert("distribution", id).expect("a word");
            if !like.is_empty() {
                let like: Fact = like.iter().copied().collect();
                facts.insert("distribution.like", like).expect("words");
            }
            assert_eq!(Packager::of(&facts), expected, "{id}");
        };
        check("debian", &[], Packager::Apt);
        check("linuxmint", &["ubuntu", "debian"], Packager::Apt);
        check("alpine", &[], Packager::Apk);
        check("almalinux", &["rhel", "centos", "fedora"], Packager::Dnf);
        check("manjaro", &["arch"], Packager::Pacman);
        check("opensuse-leap", &["suse", "opensuse"], Packager::Zypper);
        check("nixos", &[], Packager::Unknown);
        assert_eq!(Packager::of(&Facts::new()), Packager::Unknown);
    }

    #[test]
    fn everybody_is_told_in_words_of_their_own_distribution() {
        let program = Sought::Program("ninja".to_owned());
        let module = Sought::Module("zlib".to_owned());
        let header = Sought::Header("boost/version.hpp".to_owned());
        let check = |packager: Packager, expected: [&str; 3]| {
            let told =
                [(&program, "ninja-build"), (&module, "zlib1g-dev"), (&header, "libboost-dev")]
                    .map(|(sought, debian)| packager.install(sought, debian));
            assert_eq!(told, expected, "{packager:?}");
        };
        check(
            Packager::Apt,
            ["apt install ninja-build", "apt install zlib1g-dev", "apt install libboost-dev"],
        );
        check(
            Packager::Apk,
            [
                "apk add cmd:ninja",
                "apk add pc:zlib",
                "install libboost-dev (its name in Debian; others call it much the same)",
            ],
        );
        check(
            Packager::Dnf,
            [
                "dnf install /usr/bin/ninja",
                "dnf install 'pkgconfig(zlib)'",
                "dnf install /usr/include/boost/version.hpp",
            ],
        );
        check(
            Packager::Pacman,
            [
                "pacman -F usr/bin/ninja, which names its package",
                "pacman -F usr/lib/pkgconfig/zlib.pc, which names its package",
                "pacman -F usr/include/boost/version.hpp, which names its package",
            ],
        );
        check(
            Packager::Zypper,
            [
                "zypper search --provides --match-exact /usr/bin/ninja, which names its package",
                "zypper install 'pkgconfig(zlib)'",
                "zypper search --provides --match-exact /usr/include/boost/version.hpp, which names \
                 its package",
            ],
        );
    }
}
