//! The projects that the owner trusts, in `projects.toml` of the state directory.
//!
//! The command line writes the file whole and under another name first, so that the running daemon,
//! which looks at it now and then, never reads half of it. People may edit it as well.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use capability::{Clause, Fact, Policy, ProjectKey, PublicKey, Runtime};
use mesh_shell::config::{Bytes, Span};
use mesh_shell::{Exit, Failure, OrExit, Outcome, write_whole};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use volunteer_core::{Pin, Reach, Rung, Standing, Weight};

use crate::config::parse_address;
use crate::hours::Hours;
use crate::reach::PinnedReach;

/// A longer file was not written by hand.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pins {
    /// Projects that the owner removed although a list names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<ProjectKey>,
    /// One entry a project.
    #[serde(default, rename = "project")]
    pub projects: Vec<Entry>,
    /// One entry a curator.
    #[serde(default, rename = "list", skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<ListEntry>,
}

/// One project.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Entry {
    /// The key that is trusted.
    pub key: ProjectKey,
    /// What the owner calls it.
    #[serde(default)]
    pub name: String,
    /// Addresses of brokers that know it.
    #[serde(default)]
    pub brokers: Vec<String>,
    /// Keys that the project delegated to once, and that are not accepted any more.
    #[serde(default)]
    pub revoked: Vec<PublicKey>,
    /// The owner's own words.
    #[serde(default)]
    pub note: String,
    /// What its jobs may do.
    #[serde(flatten)]
    pub allowed: Allowed,
    #[serde(flatten, skip_serializing)]
    unknown: Unknown,
}

/// One list of projects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ListEntry {
    /// The curator's key.
    pub key: PublicKey,
    /// What the owner calls it.
    #[serde(default)]
    pub name: String,
    /// Where newer ones come.
    pub file: PathBuf,
    /// Of its projects those of which the curator uses one of these words; none are all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keywords: Vec<String>,
    /// The owner's own words.
    #[serde(default)]
    pub note: String,
    /// What jobs of each project on it may do.
    #[serde(flatten)]
    pub allowed: Allowed,
    #[serde(flatten, skip_serializing)]
    unknown: Unknown,
}

/// Fields that are none.
type Unknown = BTreeMap<String, IgnoredAny>;

/// What jobs of a project may do, and what it gets of the machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Allowed {
    /// Runtimes that its jobs may use.
    pub runtimes: Vec<Runtime>,
    /// The longest time that its jobs may ask for. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_wall: Option<Span>,
    /// The most memory that one of them may ask for. Default: what is donated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_memory: Option<Bytes>,
    /// The most disk space that one of them may ask for. Default: what is donated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_disk: Option<Bytes>,
    /// The most cores that one of them may ask for. Default: what is donated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cores: Option<NonZeroU32>,
    /// What of the network its jobs may reach. Default: nothing.
    #[serde(default, skip_serializing_if = "PinnedReach::is_nothing")]
    pub network: PinnedReach,
    /// How much of the machine it gets beside others of its tier, in hundredths of the usual.
    #[serde(default = "usual_weight")]
    pub weight: u16,
    /// Lower tiers come first; at most [`MAX_TIER`].
    #[serde(default)]
    pub tier: u8,
    /// Whether it gets only what no other project has work for.
    #[serde(default)]
    pub backup: bool,
    /// At most one task of each of its builders begins in such a period. Default: as many as there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Span>,
    /// Its builders whose tasks are taken; none are all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub builders: Vec<String>,
    /// When its tasks are taken, of the hours in which the machine works. Default: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<Hours>,
}

/// Lists that can be trusted at most: with what is on them there are some thousands of projects.
const MAX_LISTS: usize = 8;

/// Builders that can be named at most: as many as a clause of a policy has alternatives.
const MAX_BUILDERS: usize = 64;
/// Bytes of the name of a builder at most, as offers may have them.
const MAX_BUILDER: usize = 64;

/// The longest period between two tasks of a builder.
const LONGEST_PERIOD: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The last tier.
pub const MAX_TIER: u8 = 9;

fn usual_weight() -> u16 {
    Weight::default().into()
}

impl Pins {
    /// Where they are.
    pub fn path(state: &Path) -> PathBuf {
        state.join("projects.toml")
    }

    /// Reads the file; no file means no trust.
    pub fn load(state: &Path) -> Outcome<Self> {
        let path = Self::path(state);
        let shown = path.display();
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Ok(found) if found.len() > MAX_FILE_BYTES => {
                return Err(Failure::say(Exit::Input, format!("{shown} is over 1 MiB")));
            }
            _ => {}
        }
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read the trusted projects in {shown}"))
            .or_exit(Exit::State)?;
        let pins: Self = toml::from_str(&text).map_err(|error| {
            let error = error.to_string();
            let line = error.lines().rfind(|line| !line.trim().is_empty());
            Failure::say(Exit::Input, format!("{shown}: {}", line.unwrap_or_default()))
                .hint("correct the file, or remove it and add your projects again")
        })?;
        let projects = pins.projects.iter().map(Entry::check);
        projects
            .chain(pins.lists.iter().map(ListEntry::check))
            .chain([pins.check()])
            .collect::<Result<(), _>>()
            .map_err(|why| Failure::say(Exit::Input, format!("{shown}: {why}")))?;
        Ok(pins)
    }

    /// Writes the file so that it is there in full or as it was.
    pub fn save(&self, state: &Path) -> Outcome {
        let path = Self::path(state);
        let text = toml::to_string_pretty(self).or_exit(Exit::Bug)?;
        write_whole(&path, text.as_bytes(), 0o600)
    }

    fn check(&self) -> Result<(), String> {
        if self.lists.len() > MAX_LISTS {
            return Err(format!("at most {MAX_LISTS} lists can be trusted"));
        }
        Ok(())
    }
}

impl Entry {
    /// A project of which nothing is known but its key.
    pub fn new(key: ProjectKey) -> Self {
        Self {
            key,
            name: String::new(),
            brokers: Vec::new(),
            revoked: Vec::new(),
            note: String::new(),
            allowed: Allowed::default(),
            unknown: Unknown::new(),
        }
    }

    /// As the core wants it.
    pub fn for_core(&self) -> Pin {
        self.allowed.for_core(Pin {
            name: self.name.clone(),
            revoked: self.revoked.iter().copied().collect(),
            note: self.note.clone(),
            ..Pin::of(self.key)
        })
    }

    /// Whether it can be.
    ///
    /// # Errors
    /// For people.
    pub fn check(&self) -> Result<(), String> {
        refuse_unknown(&self.unknown)?;
        for address in &self.brokers {
            parse_address(address)?;
        }
        self.allowed.check()
    }
}

impl ListEntry {
    /// The list of a curator of which nothing is known but the key and the file.
    pub fn new(key: PublicKey, file: PathBuf) -> Self {
        Self {
            key,
            name: String::new(),
            file,
            keywords: Vec::new(),
            note: String::new(),
            allowed: Allowed::default(),
            unknown: Unknown::new(),
        }
    }

    /// Whether it can be.
    ///
    /// # Errors
    /// For people.
    pub fn check(&self) -> Result<(), String> {
        refuse_unknown(&self.unknown)?;
        self.allowed.check()
    }
}

fn refuse_unknown(unknown: &Unknown) -> Result<(), String> {
    unknown.keys().next().map_or(Ok(()), |field| Err(format!("unknown field `{field}`")))
}

impl Default for Allowed {
    fn default() -> Self {
        Self {
            runtimes: vec![Runtime::Native, Runtime::Wasm],
            max_wall: None,
            max_memory: None,
            max_disk: None,
            max_cores: None,
            network: PinnedReach::default(),
            weight: usual_weight(),
            tier: 0,
            backup: false,
            every: None,
            builders: Vec::new(),
            hours: None,
        }
    }
}

impl Allowed {
    /// `pin` with these terms; what holds for all projects is not theirs to say.
    pub fn for_core(&self, pin: Pin) -> Pin {
        let rung = Rung { backup: self.backup, tier: self.tier };
        // A file with another weight was refused.
        let weight = Weight::try_from(self.weight).unwrap_or_default();
        Pin {
            runtimes: self.runtimes.iter().cloned().collect(),
            bounds: self.bounds(),
            standing: Standing { rung, weight },
            every: self.every.map(|every| every.0),
            has_hours: self.hours.is_some(),
            reach: Reach { permitted: self.network.0.clone(), ..Reach::default() },
            ..pin
        }
    }

    /// Whether these are not the hours in which anything is taken.
    pub fn is_off_hours(&self) -> bool {
        self.hours.as_ref().is_some_and(|hours| !hours.hold_now())
    }

    /// The `max-…` and the builders as clauses of a policy, which names the facts of the former otherwise.
    fn bounds(&self) -> Policy {
        let most = [
            ("duration", self.max_wall.map(|it| it.0.as_secs())),
            ("memory", self.max_memory.map(|it| it.0)),
            ("disk", self.max_disk.map(|it| it.0)),
            ("cores", self.max_cores.map(|it| it.get().into())),
        ];
        let clause = |(fact, amount): (&str, Option<u64>)| {
            let fact = fact.parse().expect("the name of a fact");
            Some(Clause::AtMost { fact, amount: amount? })
        };
        let builders = (!self.builders.is_empty()).then(|| Clause::OneOf {
            fact: "builder".parse().expect("the name of a fact"),
            values: self.builders.iter().map(|builder| Fact::from(builder.as_str())).collect(),
        });
        let clauses = most.into_iter().filter_map(clause).chain(builders).collect();
        Policy { clauses, rank: Vec::new() }
    }

    fn check(&self) -> Result<(), String> {
        Weight::try_from(self.weight).map_err(|error| error.to_string())?;
        if self.tier > MAX_TIER {
            return Err(format!("tiers are 0 to {MAX_TIER}, and lower ones come first"));
        }
        let period = Duration::from_secs(1)..=LONGEST_PERIOD;
        if self.every.is_some_and(|every| !period.contains(&every.0)) {
            return Err("`every` is 1s to 366d, or left out".to_owned());
        }
        if self.builders.len() > MAX_BUILDERS {
            return Err(format!("at most {MAX_BUILDERS} builders can be named"));
        }
        let is_name = |builder: &String| (1..=MAX_BUILDER).contains(&builder.len());
        if !self.builders.iter().all(is_name) {
            return Err(format!("the name of a builder has 1 to {MAX_BUILDER} bytes"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use capability::{Facts, SecretKey, Signer};

    use super::*;

    fn entry() -> Entry {
        Entry {
            name: "sweep".into(),
            brokers: vec!["/ip4/127.0.0.1/tcp/4077".into()],
            note: "a \"quoted\" note".into(),
            allowed: Allowed {
                runtimes: vec![Runtime::Wasm],
                max_wall: Some(Span(Duration::from_secs(5400))),
                max_memory: Some(Bytes(3 << 29)),
                max_disk: Some(Bytes(12_345_678)),
                max_cores: NonZeroU32::new(2),
                network: "deb.debian.org:80,*.crates.io".parse().expect("destinations"),
                weight: 250,
                tier: 1,
                backup: true,
                every: Some(Span(Duration::from_secs(86_400))),
                builders: vec!["nightly".into(), "release".into()],
                hours: Some("{ weekend = \"22:00-06:00\" }".parse().expect("hours")),
            },
            ..Entry::new(SecretKey::from_seed(&[1; 32]).public().into())
        }
    }

    #[test]
    fn pins_survive_the_file() {
        let state = tempfile::tempdir().expect("a directory");
        assert_eq!(Pins::load(state.path()).expect("nothing there"), Pins::default());

        let curator = SecretKey::from_seed(&[2; 32]).public();
        let list = ListEntry {
            keywords: vec!["sky".into()],
            allowed: entry().allowed,
            ..ListEntry::new(curator, "/var/lists/science".into())
        };
        let removed = vec![SecretKey::from_seed(&[3; 32]).public().into()];
        let pins = Pins { removed, projects: vec![entry(), entry()], lists: vec![list] };
        pins.save(state.path()).expect("written");

        assert_eq!(Pins::load(state.path()).expect("sound"), pins);
    }

    #[test]
    fn what_a_project_may_ask_for_is_bounded_by_what_the_file_says() {
        let unmet = |entry: &Entry, fact: &str, amount: u64| {
            let mut offer = Facts::new();
            for fact in ["duration", "memory", "disk", "cores"] {
                offer.insert(fact, 1_u64).expect("a fact");
            }
            offer.insert("builder", "release").expect("a fact");
            offer.insert(fact, amount).expect("a fact");
            entry.allowed.bounds().unmet(&offer).len()
        };
        let most = [("duration", 5400), ("memory", 3 << 29), ("disk", 12_345_678), ("cores", 2)];
        for (fact, most) in most {
            assert_eq!(
                (unmet(&entry(), fact, most), unmet(&entry(), fact, most + 1)),
                (0, 1),
                "{fact}"
            );
            assert_eq!(unmet(&Entry::new(entry().key), fact, u64::MAX), 0, "{fact}");
        }
        let is_wanted = |entry: &Entry, builder: &str| {
            let mut offer = Facts::new();
            for fact in ["duration", "memory", "disk", "cores"] {
                offer.insert(fact, 1_u64).expect("a fact");
            }
            offer.insert("builder", builder).expect("a fact");
            entry.allowed.bounds().unmet(&offer).is_empty()
        };
        assert!(is_wanted(&entry(), "release") && !is_wanted(&entry(), "each revision"));
        assert!(is_wanted(&Entry::new(entry().key), "each revision"));
    }

    #[test]
    fn a_file_of_a_former_version_is_read_and_what_cannot_be_is_refused() {
        let state = tempfile::tempdir().expect("a directory");
        let read = |more: &str| {
            let key = entry().key;
            let text = format!("[[project]]\nkey = \"{key}\"\nruntimes = [\"wasm\"]\n{more}");
            std::fs::write(Pins::path(state.path()), text).expect("written");
            Pins::load(state.path())
        };
        let former = read("").expect("no weight").projects.remove(0).allowed;
        assert_eq!((former.weight, former.tier, former.backup), (100, 0, false));
        assert_eq!(former.network, PinnedReach::default());
        let any = read("network = \"any\"").expect("a word").projects.remove(0);
        assert_eq!(any.allowed.network.to_string(), "any");
        for (more, expected) in [
            ("network = [\"https://a\"]", "is not a number of 1 to 65535"),
            ("network = [\"127.1\"]", "is no host"),
            ("network = true", "network is \"none\", \"any\" or a list of destinations"),
            ("weight = 0", "a weight is 1 to 10000, and 100 is usual"),
            ("tier = 10", "tiers are 0 to 9"),
            ("wieght = 10", "unknown field `wieght`"),
            ("every = \"0s\"", "`every` is 1s to 366d"),
            ("builders = [\"\"]", "a builder has 1 to 64 bytes"),
            ("hours = \"2-3\"", "is not hours of the day"),
            ("brokers = [\"example.org\"]", "is not the address of a broker"),
        ] {
            let failure = read(more).expect_err(more);
            assert_eq!(failure.exit(), Exit::Input);
            assert!(failure.to_string().contains(expected), "{failure}");
        }
    }

    #[test]
    fn a_damaged_file_is_named() {
        let state = tempfile::tempdir().expect("a directory");
        std::fs::write(Pins::path(state.path()), "[[project]]\nkey = \"abc\"\n").expect("written");
        let failure = Pins::load(state.path()).expect_err("no key");
        assert_eq!(failure.exit(), Exit::Input);
        assert!(failure.to_string().contains("projects.toml: "), "{failure}");
        assert!(failure.to_string().contains("is not a key"), "{failure}");
    }
}
