//! The small programs by which a project tries a machine before it sends it jobs.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Permissions;
use crate::facts::{FactName, MAX_FACT_NAME, MAX_WORD, Runtime, is_word, shortened};
use crate::invalid::Invalid;
use crate::key::ProjectKey;

/// Checks of one project: what no fact tells are a few things.
pub const MAX_CHECKS: usize = 16;
/// Bytes of one check's arguments together: a short script. What is longer belongs into a job.
pub const MAX_CHECK_COMMAND: usize = 4 << 10;
/// Arguments of one check.
pub const MAX_CHECK_ARGUMENTS: usize = 64;
/// Bytes of the arguments of all checks of a project together.
///
/// With the names of 16 × 16 facts, 64 bytes each, and 16 × 64 lengths of arguments, a registration
/// stays below 56 KiB, and so below S1.
pub const MAX_CHECK_COMMANDS: usize = 32 << 10;
/// Facts on whose change a check runs again.
pub const MAX_CHECK_DEPENDS: usize = 16;

/// What the facts that checks find begin with.
pub(crate) const FAMILY: &str = "check.";
/// Characters of a project key, 80 bits, that stand for it in the name of a fact. All 52 would leave
/// 5 of a fact's 64 for the check; that somebody makes a key with the same 80 bits is out of reach.
pub(crate) const PROJECT_CHARACTERS: usize = 16;

/// A small program that a project lets run where it is trusted. What it says becomes a fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Check {
    /// A word, different from those of the project's other checks.
    pub name: String,
    /// In which runtime it runs, and in which its fact is stated.
    pub runtime: Runtime,
    /// Program and arguments, as of a job's step. There is no package.
    pub command: Vec<String>,
    /// Facts of the runtime on whose change it runs again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends: Vec<FactName>,
}

impl Check {
    /// The fact that the check of `project` finds (S36).
    pub fn fact(&self, project: ProjectKey) -> FactName {
        let key = project.to_string();
        let fact = format!("{FAMILY}{}.{}", &key[..PROJECT_CHARACTERS], self.name);
        fact.parse().expect("a word behind 23 characters is the name of a fact")
    }

    fn validate(&self) -> Result<(), Invalid> {
        self.unless(is_word(&self.name), "S33", "is not named by a word of 1 to 32 characters")?;
        let begins = self.command.first().is_some_and(|program| !program.is_empty());
        let few = self.command.len() <= MAX_CHECK_ARGUMENTS;
        self.unless(begins && few, "S34", "has not 1 to 64 arguments, the first not empty")?;
        let nul = self.command.iter().any(|argument| argument.contains('\0'));
        self.unless(!nul, "S34", "has an argument with a zero byte")?;
        self.unless(self.bytes() <= MAX_CHECK_COMMAND, "S34", "has arguments of over 4 KiB")?;
        self.unless(self.depends.len() <= MAX_CHECK_DEPENDS, "S35", "depends on over 16 facts")?;
        let different: BTreeSet<_> = self.depends.iter().collect();
        self.unless(different.len() == self.depends.len(), "S35", "depends on a fact twice")?;
        let measured = |fact: &FactName| !fact.as_str().starts_with(FAMILY);
        self.unless(self.depends.iter().all(measured), "S35", "depends on another check")
    }

    fn unless(&self, holds: bool, rule: &'static str, reason: &str) -> Result<(), Invalid> {
        let complaint = || format!("the check {:?} {reason}", shortened(&self.name));
        if holds { Ok(()) } else { Err(Invalid::new(rule, complaint())) }
    }

    fn bytes(&self) -> usize {
        self.command.iter().map(String::len).sum()
    }
}

/// S33 to S35, over all checks of a project that asks for `permissions`.
pub(super) fn validate(checks: &[Check], permissions: &Permissions) -> Result<(), Invalid> {
    Invalid::unless(checks.len() <= MAX_CHECKS, "S33", "over 16 checks")?;
    let mut names = BTreeSet::new();
    for check in checks {
        check.validate()?;
        check.unless(names.insert(&check.name), "S33", "is there twice")?;
        let asked_for = permissions.runtimes.contains(&check.runtime);
        check.unless(asked_for, "S33", "is in a runtime that the project does not ask for")?;
    }
    let bytes: usize = checks.iter().map(Check::bytes).sum();
    Invalid::unless(bytes <= MAX_CHECK_COMMANDS, "S34", "arguments of checks of over 32 KiB")
}

const _: () = assert!(FAMILY.len() + PROJECT_CHARACTERS + 1 + MAX_WORD <= MAX_FACT_NAME);
