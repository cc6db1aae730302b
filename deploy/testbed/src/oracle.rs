//! The oracle: counts what a network has done, from what its programs say.
//!
//! Programs that were started anew say what is on their disks. So a story kills everything, starts it
//! again, and asks: what was acknowledged and is not there was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use xtask::network::Network;
use xtask::tools;

/// Between two looks at a network that is not at rest yet.
const LOOK: Duration = Duration::from_millis(500);

/// The programs that are asked, by their names in the network.
#[derive(Debug, Clone, Copy)]
pub struct Oracle<'a> {
    /// The master.
    pub master: &'a str,
    /// All volunteers that have ever run a task of it.
    pub volunteers: &'a [&'a str],
    /// All brokers.
    pub brokers: &'a [&'a str],
}

impl Oracle<'_> {
    /// Waits until every job is settled, every result has its receipt, and no result is in custody. A receipt whose
    /// volunteer has it may wait on for a broker that is no more.
    ///
    /// # Errors
    /// If that takes longer than `patience`; with what is missing.
    pub fn await_rest(&self, network: &Network, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            // A program that was just started may not answer yet.
            let missing = match self.read(network) {
                Ok(books) => books.unfinished(),
                Err(error) => vec![format!("{error:#}")],
            };
            if missing.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("not at rest after {patience:?}:\n{}", missing.join("\n"));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Asks every program.
    ///
    /// # Errors
    /// If one does not answer, or not as it should.
    pub fn read(&self, network: &Network) -> Result<Books> {
        let status: MasterStatus = ask(network, self.master, "talkoot-master", &["status"])?;
        let results =
            |job: &JobView| ask(network, self.master, "talkoot-master", &["results", &job.offer]);
        let jobs = status.jobs.iter().map(results).collect::<Result<_>>()?;
        let volunteer = |name: &&str| ask(network, name, "talkoot-volunteer", &["status"]);
        let volunteers = self.volunteers.iter().map(volunteer).collect::<Result<_>>()?;
        let broker = |name: &&str| {
            let http = network.http(name);
            ask(network, name, "talkoot-broker", &["custody", "--limit", "1000", "--http", &http])
        };
        let brokers = self.brokers.iter().map(broker).collect::<Result<_>>()?;
        Ok(Books { jobs, volunteers, brokers })
    }
}

/// What the programs say.
#[derive(Debug, Clone)]
pub struct Books {
    jobs: Vec<Job>,
    volunteers: Vec<Volunteer>,
    brokers: Vec<Broker>,
}

#[derive(Debug, Deserialize)]
struct MasterStatus {
    jobs: Vec<JobView>,
}

#[derive(Debug, Clone, Deserialize)]
struct JobView {
    offer: String,
    tasks: u32,
}

/// One job and its accepted results.
#[derive(Debug, Clone, Deserialize)]
struct Job {
    job: JobView,
    tasks: Vec<Accepted>,
}

#[derive(Debug, Clone, Deserialize)]
struct Accepted {
    task: u32,
    volunteer: String,
}

/// What a volunteer has on its books.
#[derive(Debug, Clone, Deserialize)]
struct Volunteer {
    key: String,
    undelivered: usize,
    projects: Vec<Project>,
}

#[derive(Debug, Clone, Deserialize)]
struct Project {
    accepted: u64,
}

/// What a broker has in custody.
#[derive(Debug, Clone, Deserialize)]
struct Broker {
    items: Vec<Carried>,
}

#[derive(Debug, Clone, Deserialize)]
struct Carried {
    kind: String,
}

impl Books {
    /// What is still under way; a line each.
    pub fn unfinished(&self) -> Vec<String> {
        let open = self.jobs.iter().filter(|job| job.done().len() < job.job.tasks as usize);
        let open = open.map(|job| {
            format!("{} of {} tasks of {}", job.done().len(), job.job.tasks, job.job.offer)
        });
        let kept = self.volunteers.iter().filter(|it| it.undelivered > 0);
        let kept =
            kept.map(|it| format!("{} results without receipt at {}", it.undelivered, it.key));
        let carried = self.brokers.iter().flat_map(|broker| &broker.items);
        let carried = carried.filter(|bundle| bundle.kind == "result").count();
        let carried = (carried > 0).then(|| format!("{carried} results in custody"));
        open.chain(kept).chain(carried).collect()
    }

    /// What should not be: a line each breach of "each task of each acknowledged offer is accepted
    /// once, and its volunteer has the receipt".
    pub fn breaches(&self, acknowledged: &[String]) -> Vec<String> {
        let mut breaches = self.unfinished();
        let known: BTreeSet<_> = self.jobs.iter().map(|job| &job.job.offer).collect();
        let lost = acknowledged.iter().filter(|offer| !known.contains(offer));
        breaches.extend(lost.map(|offer| format!("offer {offer} was acknowledged and is lost")));

        // A result that was accepted twice, or beside another of its task, has left a receipt too
        // many; a result whose receipt was lost, one too few.
        let mut accepted: BTreeMap<&str, u64> = BTreeMap::new();
        for result in self.jobs.iter().flat_map(|job| &job.tasks) {
            *accepted.entry(&result.volunteer).or_default() += 1;
        }
        for volunteer in &self.volunteers {
            let receipts: u64 = volunteer.projects.iter().map(|project| project.accepted).sum();
            let results = accepted.remove(volunteer.key.as_str()).unwrap_or(0);
            if receipts != results {
                let key = &volunteer.key;
                breaches
                    .push(format!("{key} has {receipts} receipts for {results} accepted results"));
            }
        }
        let strangers = accepted.keys().map(|key| format!("results of {key}, whom nobody knows"));
        breaches.extend(strangers);
        breaches
    }

    /// How many tasks there are.
    pub fn tasks(&self) -> u64 {
        self.jobs.iter().map(|job| u64::from(job.job.tasks)).sum()
    }
}

impl Job {
    fn done(&self) -> BTreeSet<u32> {
        self.tasks.iter().map(|accepted| accepted.task).collect()
    }
}

fn ask<T: DeserializeOwned>(
    network: &Network,
    name: &str,
    program: &str,
    words: &[&str],
) -> Result<T> {
    let mut command = network.program_of(name, program);
    let said = tools::output(command.args(words).arg("--json"))?;
    serde_json::from_str(&said).with_context(|| format!("{name} says something else"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Two tasks, accepted from two volunteers that have their receipts.
    fn sound() -> [Value; 3] {
        let job = json!({
            "job": { "offer": "o", "tasks": 2 },
            "tasks": [{ "task": 0, "volunteer": "v" }, { "task": 1, "volunteer": "w" }],
        });
        let volunteer =
            |key: &str| json!({ "key": key, "undelivered": 0, "projects": [{ "accepted": 1 }] });
        [
            json!([job]),
            json!([volunteer("v"), volunteer("w")]),
            json!([{ "items": [{ "kind": "receipt" }] }]),
        ]
    }

    fn breaches([jobs, volunteers, brokers]: [Value; 3], acknowledged: &str) -> Vec<String> {
        let books = Books {
            jobs: serde_json::from_value(jobs).expect("jobs"),
            volunteers: serde_json::from_value(volunteers).expect("volunteers"),
            brokers: serde_json::from_value(brokers).expect("brokers"),
        };
        books.breaches(&[acknowledged.to_owned()])
    }

    #[test]
    fn sound_books_have_no_breach() {
        assert_eq!(breaches(sound(), "o"), [""; 0]);
    }

    #[test]
    fn a_lost_offer_is_seen() {
        assert_eq!(breaches(sound(), "p"), ["offer p was acknowledged and is lost"]);
    }

    #[test]
    fn a_task_that_nobody_has_done_is_seen() {
        let mut books = sound();
        books[0][0]["job"]["tasks"] = json!(3);
        assert_eq!(breaches(books, "o"), ["2 of 3 tasks of o"]);
    }

    #[test]
    fn a_task_that_was_accepted_twice_is_seen_by_its_second_receipt() {
        let mut books = sound();
        books[1][1]["projects"][0]["accepted"] = json!(2);
        assert_eq!(breaches(books, "o"), ["w has 2 receipts for 1 accepted results"]);
    }

    #[test]
    fn a_lost_receipt_is_seen() {
        let mut books = sound();
        books[1][0]["projects"][0]["accepted"] = json!(0);
        assert_eq!(breaches(books, "o"), ["v has 0 receipts for 1 accepted results"]);
    }

    #[test]
    fn what_is_still_under_way_is_seen() {
        let mut books = sound();
        books[1][0]["undelivered"] = json!(3);
        books[2][0]["items"] = json!([{ "kind": "result" }, { "kind": "receipt" }]);
        assert_eq!(
            breaches(books, "o"),
            ["3 results without receipt at v", "1 results in custody"]
        );
    }

    #[test]
    fn a_result_of_nobody_is_seen() {
        let mut books = sound();
        books[1].as_array_mut().expect("a list").pop();
        assert_eq!(breaches(books, "o"), ["results of w, whom nobody knows"]);
    }
}
