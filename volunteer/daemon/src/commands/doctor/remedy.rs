//! How to get what a job needs and this machine has not got.

use std::collections::BTreeSet;

use capability::{Clause, Comparison, Fact, FactName, Judged, Resource};
use serde::Serialize;

use super::Packager;
use crate::probing::{Lost, Origin, Row, Table};

/// What to do about something that is missing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Remedy {
    /// What is missing: a fact, or what is donated.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// All that is known about how to get things.
#[derive(Debug)]
pub struct Remedies<'a> {
    table: &'a Table,
    lost: Vec<Lost>,
    packager: Packager,
}

impl<'a> Remedies<'a> {
    /// From the `table`, what was found and is no fact, and who installs packages here.
    pub fn new(table: &'a Table, lost: Vec<Lost>, packager: Packager) -> Self {
        Self { table, lost, packager }
    }

    /// For every need that does not hold somewhere; each once.
    pub fn of(&self, comparison: &Comparison) -> Vec<Remedy> {
        let places = comparison.runtimes.iter().filter_map(|it| it.inside.as_ref());
        let mut remedies = BTreeSet::new();
        for judged in places.flat_map(|inside| &inside.clauses) {
            self.collect(judged, &mut remedies);
        }
        remedies.into_iter().collect()
    }

    /// For the tools and libraries that a `reason` names, as sentences for people do.
    pub fn named_in(&self, reason: &str) -> Vec<Remedy> {
        let words = reason.split([' ', ',', ';', '(', ')']);
        self.to_get(words.filter_map(|word| self.table.get_key_value(word)).map(|(fact, _)| fact))
    }

    /// For `facts` that are not here; each once.
    pub fn to_get<'f>(&self, facts: impl Iterator<Item = &'f FactName>) -> Vec<Remedy> {
        let missing: BTreeSet<_> = facts.filter_map(|fact| self.for_fact(fact, None)).collect();
        missing.into_iter().collect()
    }

    fn collect(&self, judged: &Judged, remedies: &mut BTreeSet<Remedy>) {
        match &judged.clause {
            _ if judged.holds => {}
            // What is there and should not be has no remedy here.
            Clause::Not(_) | Clause::Absent { .. } => {}
            Clause::All(_) | Clause::Any(_) => {
                judged.inner.iter().for_each(|inner| self.collect(inner, remedies));
            }
            Clause::Donates { resource, .. } => remedies.extend(Some(donation(*resource))),
            clause => {
                let fact = clause.fact();
                remedies.extend(fact.and_then(|fact| self.for_fact(fact, judged.found.as_ref())));
            }
        }
    }

    /// How to get `fact`, or another value of it than was `found`.
    fn for_fact(&self, fact: &FactName, found: Option<&Fact>) -> Option<Remedy> {
        let lost = self.lost.iter().find(|lost| lost.fact == fact.as_str());
        let remedy = match (self.table.get_key_value(fact.as_str()), lost, found) {
            (_, Some(lost), _) => format!("it is there, but {}", lost.reason),
            (Some((_, row)), None, None) => self.get(row),
            (Some(_), None, Some(found)) => format!(
                "{found} is here; a newer one can be put into /usr/local, where jobs find it first"
            ),
            (None, ..) => elsewhere(fact.as_str())?.to_owned(),
        };
        Some(Remedy { what: fact.to_string(), remedy })
    }

    fn get(&self, row: &Row) -> String {
        match &row.origin {
            Origin::Debian(package) => self.packager.install(&row.sought, package),
            Origin::Page(page) => {
                format!("see {page}, and install it below /usr/local for all users")
            }
            Origin::Own => "see its `[[tool]]` in the configuration".to_owned(),
            Origin::System => "it comes with the system".to_owned(),
        }
    }
}

fn donation(resource: Resource) -> Remedy {
    let what = resource.to_string();
    Remedy { remedy: format!("donate more with --{what}, or `{what}` in the configuration"), what }
}

/// What to do about a fact that is not in the table.
fn elsewhere(fact: &str) -> Option<&'static str> {
    let (family, _) = fact.split_once('.').unwrap_or((fact, ""));
    match family {
        "tool" => Some(
            "nobody looks for it by itself: install it, and add `[[tool]]` to the configuration",
        ),
        "library" => Some("libraries are looked for by fixed names; nothing can be done here"),
        "label" | "labels" => {
            Some("say it in `name` or `labels` of the configuration, if it is so")
        }
        "image" => Some("see `image-engine` and `image-pull` in the configuration"),
        "hours" => Some("see `hours` in the configuration"),
        "check" => Some(
            "a check of a project finds it, or not, once the project is trusted and the daemon runs",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use capability::{
        Capabilities, Facts, JobFile, Platform, Resources, Runtime, RuntimeFacts, compare,
    };

    use super::*;

    fn machine() -> Capabilities {
        let mut facts = Facts::new();
        facts.insert("tool.gcc", "12.2.0").expect("a fact");
        facts.insert("os", "linux").expect("a fact");
        let inside = RuntimeFacts { strength: String::new(), facts };
        Capabilities {
            platform: Platform::current(),
            resources: Resources { cores: 1, memory: 4 << 30, disk: 4 << 30 },
            runtimes: [(Runtime::Native, inside)].into(),
        }
    }

    #[track_caller]
    fn check(needs: &str, expected: &[(&str, &str)]) {
        let text = format!(
            "name = \"job\"\n[requirements]\nruntimes = [\"native\"]\n{needs}\n\
             [[step]]\nname = \"a\"\nrun = [\"a\"]\n"
        );
        let job = JobFile::parse(&text).expect(needs);
        let table = Table::built_in();
        let lost =
            Lost { fact: "tool.mvn".to_owned(), reason: "ends with exit code 1: no".to_owned() };
        let remedies = Remedies::new(&table, vec![lost], Packager::Apt);
        let found = remedies.of(&compare(&machine(), &job.requirements));
        let found: Vec<_> = found.iter().map(|it| (it.what.as_str(), it.remedy.as_str())).collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for ((what, remedy), (fact, words)) in found.iter().zip(expected) {
            assert!(what == fact && remedy.contains(words), "{what}: {remedy}");
        }
    }

    #[test]
    fn what_is_missing_has_a_remedy() {
        check("tools.gcc = \">=10\"", &[]);
        check("tools.gcc = \">=13\"", &[("tool.gcc", "12.2.0 is here; a newer one")]);
        check("tools.ninja = \"*\"", &[("tool.ninja", "apt install ninja-build")]);
        check("tools.zig = \"*\"", &[("tool.zig", "see https://ziglang.org/download")]);
        check("tools.mvn = \"*\"", &[("tool.mvn", "it is there, but ends with exit code 1: no")]);
        check("tools.frobnicate = \"*\"", &[("tool.frobnicate", "add `[[tool]]`")]);
        check("cores = 2", &[("cores", "--cores")]);
        check("os = \"windows\"", &[]);
        check(
            "facts.\"image.pull\" = true",
            &[("image.pull", "`image-pull` in the configuration")],
        );
        check("[[requirements.not]]\nos = \"linux\"", &[]);
        let any =
            "[[requirements.any]]\ntools.ninja = \"*\"\n[[requirements.any]]\ntools.meson = \"*\"";
        check(
            any,
            &[("tool.meson", "apt install meson"), ("tool.ninja", "apt install ninja-build")],
        );
    }

    #[test]
    fn a_sentence_of_the_daemon_is_enough_to_go_by() {
        let table = Table::built_in();
        let remedies = Remedies::new(&table, Vec::new(), Packager::Apt);
        let reason =
            "needs (tool.ninja >=1 or tool.frob), this machine's native runtime does not fit";
        let named = remedies.named_in(reason);
        assert_eq!(named.len(), 1, "{named:?}");
        assert_eq!(named[0].what, "tool.ninja");
    }
}
