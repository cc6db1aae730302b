//! The checks of trusted projects, as the running daemon knows them.

use capability::Capabilities;
use serde::Serialize;

use super::remedy::{Remedies, Remedy};
use crate::status::{CheckStatus, ProjectStatus};

/// A check, and what may be in its way.
#[derive(Debug, Serialize)]
pub struct Tried {
    #[serde(flatten)]
    pub status: CheckStatus,
    /// How to get the facts that it goes by and that are not here, if it has found nothing.
    pub missing: Vec<Remedy>,
}

impl Tried {
    /// The check of `status` on `machine`.
    pub fn new(status: CheckStatus, machine: &Capabilities, remedies: &Remedies<'_>) -> Self {
        let inside = machine.runtimes.get(&status.runtime);
        let is_there = |fact: &str| inside.is_some_and(|inside| inside.facts.get(fact).is_some());
        let goes_by = status.depends.iter().filter(|_| status.value.is_none());
        let missing = remedies.to_get(goes_by.filter(|fact| !is_there(fact.as_str())));
        Self { status, missing }
    }
}

/// Adds to `machine` what the checks of `projects` have found. Where a check of only one of them has
/// a name, `check.NAME` is it as well: so a job file of that project calls it.
pub fn state(machine: &mut Capabilities, projects: &[ProjectStatus]) {
    let checks = || projects.iter().flat_map(|project| &project.checks);
    for check in checks() {
        let inside = machine.runtimes.get_mut(&check.runtime);
        let (Some(value), Some(inside)) = (&check.value, inside) else { continue };
        let alone = checks().filter(|other| other.name == check.name).count() == 1;
        let short = alone.then(|| format!("check.{}", check.name));
        for fact in [Some(check.fact.to_string()), short].into_iter().flatten() {
            // Fails where there are as many facts as there can be; then the ad has no room either.
            let _ = inside.facts.insert(&fact, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use capability::{Fact, Facts, Platform, Resources, Runtime, RuntimeFacts};

    use super::*;
    use crate::probing::Table;

    fn machine() -> Capabilities {
        let mut facts = Facts::new();
        facts.insert("tool.gcc", "12.2.0").expect("a fact");
        Capabilities {
            platform: Platform::current(),
            resources: Resources::default(),
            runtimes: [(Runtime::Native, RuntimeFacts { strength: String::new(), facts })].into(),
        }
    }

    fn check(project: &str, name: &str, value: Option<u64>) -> CheckStatus {
        CheckStatus {
            name: name.to_owned(),
            runtime: Runtime::Native,
            fact: format!("check.{project}.{name}").parse().expect("a fact"),
            depends: ["tool.gcc", "tool.ninja"].map(|fact| fact.parse().expect("a fact")).into(),
            value: value.map(Fact::Number),
            reason: None,
            at: None,
        }
    }

    fn project(checks: Vec<CheckStatus>) -> ProjectStatus {
        ProjectStatus {
            project: String::new(),
            name: String::new(),
            trusted: true,
            list: None,
            accepted: 0,
            rejected: 0,
            credit: 0,
            checks,
        }
    }

    #[test]
    fn what_was_found_can_be_required_by_its_short_name_where_that_is_one_projects_alone() {
        let mut machine = machine();
        let one = project(vec![check("one", "both", Some(1)), check("one", "own", Some(2))]);
        let two = project(vec![check("two", "both", Some(3)), check("two", "nothing", None)]);
        state(&mut machine, &[one, two]);
        let facts = &machine.runtimes[&Runtime::Native].facts;
        let number = |fact: &str| facts.get(fact).map(ToString::to_string);
        assert_eq!(number("check.one.both"), Some("1".to_owned()));
        assert_eq!(number("check.two.both"), Some("3".to_owned()));
        assert_eq!(number("check.own"), Some("2".to_owned()));
        for absent in ["check.both", "check.nothing", "check.two.nothing"] {
            assert_eq!(number(absent), None, "{absent}");
        }
    }

    #[test]
    fn a_check_that_has_found_nothing_says_what_it_may_lack() {
        let table = Table::built_in();
        let remedies = Remedies::new(&table, Vec::new(), super::super::Packager::Apt);
        let tried = |value| Tried::new(check("one", "it", value), &machine(), &remedies).missing;
        let missing = tried(None);
        assert_eq!(missing.len(), 1, "{missing:?}");
        assert_eq!(
            (missing[0].what.as_str(), missing[0].remedy.as_str()),
            ("tool.ninja", "apt install ninja-build")
        );
        assert_eq!(tried(Some(1)), []);
    }
}
