//! From what was found to facts.

use capability::{Fact, Facts, FactsError};

use super::Survey;
use super::exchange::Machine;

/// Bytes of a text of the system's own; longer ones are none.
const MAX_TEXT: usize = 64;

impl Survey {
    /// What the system calls itself; may be empty.
    pub fn system(&self) -> &str {
        &self.machine.name
    }

    /// The facts that follow.
    pub fn facts(&self) -> Result<Facts, FactsError> {
        let mut facts = Facts::new();
        facts.insert("os", std::env::consts::OS)?;
        facts.insert("os.family", std::env::consts::FAMILY)?;
        facts.insert("arch", std::env::consts::ARCH)?;
        machine(&self.machine, &mut facts)?;
        for (fact, version) in &self.versions {
            match fact.as_str().strip_prefix("libc.") {
                // `libc.version` is of the first that answers.
                Some(_) if facts.get("libc").is_some() => {}
                Some(name) => {
                    facts.insert("libc", name)?;
                    facts.insert("libc.version", version.as_str())?;
                }
                None => facts.insert(fact.as_str(), version.as_str())?,
            }
        }
        Ok(facts)
    }
}

fn machine(machine: &Machine, facts: &mut Facts) -> Result<(), FactsError> {
    let Machine { kernel, distribution, family, version, cores, memory, .. } = machine;
    let texts =
        [("kernel", kernel), ("distribution", distribution), ("distribution.version", version)];
    for (name, text) in texts.into_iter().filter(|(_, text)| is_plain(text)) {
        facts.insert(name, text.as_str())?;
    }
    let numbers = [("machine.cores", *cores), ("machine.memory", *memory)];
    for (name, number) in numbers.into_iter().filter(|(_, number)| *number > 0) {
        facts.insert(name, number)?;
    }
    if !family.is_empty() {
        // What are no words of a set are left out; the rest of the system is as sound as before.
        let _ =
            facts.insert("distribution.like", family.iter().map(String::as_str).collect::<Fact>());
    }
    Ok(())
}

/// A short text without surprises.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_TEXT && !text.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey() -> Survey {
        let machine = Machine {
            kernel: "6.1.0-28-amd64".to_owned(),
            distribution: "linuxmint".to_owned(),
            family: vec!["ubuntu".to_owned(), "debian".to_owned()],
            version: "21.3".to_owned(),
            name: "Linux Mint 21.3".to_owned(),
            cores: 4,
            memory: 8 << 30,
        };
        let versions = [("libc.gnu", "2.35"), ("libc.musl", "1.2.2"), ("tool.make", "4.3")];
        let versions =
            versions.map(|(fact, version)| (fact.parse().expect(fact), version.to_owned()));
        Survey { machine, versions: versions.into(), ..Survey::default() }
    }

    #[test]
    fn a_system_becomes_facts_that_job_files_may_name() {
        let facts = survey().facts().expect("within all limits");
        let check = |name: &str, fact: Fact| assert_eq!(facts.get(name), Some(&fact), "{name}");
        check("os", std::env::consts::OS.into());
        check("kernel", "6.1.0-28-amd64".into());
        check("distribution", "linuxmint".into());
        check("distribution.version", "21.3".into());
        check("distribution.like", ["debian", "ubuntu"].into_iter().collect());
        check("libc", "gnu".into());
        check("libc.version", "2.35".into());
        check("machine.cores", 4.into());
        check("machine.memory", (8 << 30).into());
        check("tool.make", "4.3".into());
        for (name, _) in facts.iter() {
            assert!(capability::fact_kind(name.as_str()).is_some(), "{name}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        let mut survey = survey();
        survey.machine.kernel = "6.1\n".to_owned();
        survey.machine.distribution = String::new();
        survey.machine.version = "1".repeat(MAX_TEXT + 1);
        survey.machine.family = vec!["no word".to_owned()];
        survey.machine.memory = 0;
        let facts = survey.facts().expect("within all limits");
        let left = [
            "kernel",
            "distribution",
            "distribution.version",
            "distribution.like",
            "machine.memory",
        ];
        for name in left {
            assert_eq!(facts.get(name), None, "{name}");
        }
        assert!(facts.get("machine.cores").is_some());
    }
}
