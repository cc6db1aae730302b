//! `policy`: what the owner wants of offers, in words, and how a job would be judged by it.

use std::path::Path;

use capability::{Facts, Finding, OfOffer, Policy, Preference};
use mesh_shell::config::CommonArgs;
use mesh_shell::{Exit, Failure, Outcome, outln};
use serde::Serialize;
use volunteer_core::{describe_file, is_about_offers};

use super::{print_json, read_job};
use crate::config;

/// Shows the policy, or judges the job file `job` by it.
pub fn run(common: &CommonArgs, job: Option<&Path>, json: bool) -> Outcome {
    let policy = config::policy(common.config.as_deref())?;
    match job {
        Some(job) => judge(&policy, job, json),
        None if json => print_json(&Shown::of(&policy)),
        None => {
            print(&policy);
            Ok(())
        }
    }
}

/// The policy in words.
#[derive(Debug, Serialize)]
struct Shown {
    clauses: Vec<String>,
    prefers: Vec<Preferred>,
}

#[derive(Debug, Serialize)]
struct Preferred {
    weight: u16,
    preference: String,
}

impl Shown {
    fn of(policy: &Policy) -> Self {
        let preferred = |it: &Preference| Preferred {
            weight: it.weight(),
            preference: OfOffer(it).to_string(),
        };
        Self {
            clauses: policy.clauses.iter().map(|it| OfOffer(it).to_string()).collect(),
            prefers: policy.rank.iter().map(preferred).collect(),
        }
    }
}

fn print(policy: &Policy) {
    let Shown { clauses, prefers } = Shown::of(policy);
    if clauses.is_empty() {
        outln!("every offer of a project that you trust will do");
    } else {
        outln!("an offer of a project that you trust needs");
        clauses.iter().for_each(|clause| outln!("  {clause}"));
    }
    if !prefers.is_empty() {
        outln!("of several, those come first with");
    }
    for Preferred { weight, preference } in prefers {
        outln!("  {preference} (weight {weight})");
    }
}

/// How a clause stands to a job that nobody has offered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Holds {
    Yes,
    No,
    /// The clause is about something that only an offer tells.
    Open,
}

#[derive(Debug, Serialize)]
struct Judged {
    clause: String,
    /// The job's side.
    has: String,
    holds: Holds,
}

fn judge(policy: &Policy, job: &Path, json: bool) -> Outcome {
    let facts = describe_file(&read_job(job)?);
    let judged: Vec<_> = policy.examine(&facts).map(|it| Judged::of(&it)).collect();
    let verdict = verdict(&judged);
    if json {
        print_json(&serde_json::json!({ "verdict": verdict, "clauses": judged }))?;
    } else {
        judged.iter().for_each(Judged::print);
        print_verdict(policy, &facts, verdict);
    }
    match verdict {
        Holds::No => Err(Failure::say(Exit::Policy, "by your policy its offers are declined")
            .hint("change `policy` in the configuration if that is not what you want")),
        Holds::Yes | Holds::Open => Ok(()),
    }
}

/// A single no is one; what is open decides only where there is none.
fn verdict(judged: &[Judged]) -> Holds {
    let is = |holds| judged.iter().any(|it| it.holds == holds);
    if is(Holds::No) {
        Holds::No
    } else if is(Holds::Open) {
        Holds::Open
    } else {
        Holds::Yes
    }
}

fn print_verdict(policy: &Policy, facts: &Facts, verdict: Holds) {
    match verdict {
        Holds::Yes => outln!("taken"),
        Holds::Open => outln!("taken if the offer has what is open"),
        Holds::No => return,
    }
    if !policy.rank.is_empty() {
        let most: u64 = policy.rank.iter().map(Preference::most).sum();
        outln!("rank {} of {most}", policy.rank(facts));
    }
}

impl Judged {
    fn of(finding: &Finding) -> Self {
        let holds = match finding.holds {
            _ if is_about_offers(&finding.clause) => Holds::Open,
            true => Holds::Yes,
            false => Holds::No,
        };
        let clause = OfOffer(&finding.clause).to_string();
        Self { clause, has: finding.has(), holds }
    }

    fn print(&self) {
        let Self { clause, has, holds } = self;
        let mark = match holds {
            Holds::Yes => "yes ",
            Holds::No => "no  ",
            Holds::Open => "open",
        };
        // All other facts a job file states.
        let has = if has.is_empty() { "only its offer tells" } else { has };
        outln!("{mark}  {clause}: {has}");
    }
}
