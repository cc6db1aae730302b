//! An offer as the owner's policy sees it: facts, described on this machine from what came along.
//!
//! | from | facts |
//! |---|---|
//! | the offer, which never changes | `name`, `builder`, `runtimes`, `needs`, `duration`, `cores`, `memory`, `disk`, `processes`, `network`, `package`, `tasks`, `replicas` |
//! | the owner's pin | `project`, `project-key` |
//! | the registration, if it came along | `keywords` |
//! | the broker, which nobody vouches for | `others` |
//!
//! What is not known is no fact.

use std::collections::BTreeSet;

use capability::statements::{Offer, Registration};
use capability::{
    Clause, Fact, Facts, Finding, JobFile, JobSpec, ProjectKey, Requirements, Runtime,
};
use mesh_core::Offered;

use crate::trust::Pin;
use crate::work::takes;

/// Facts that can be another time what they are not now, although the offer is the same.
const PASSING: [&str; 2] = ["keywords", "others"];

/// Facts that a job has once it is offered, and not in its file.
const OF_OFFERS: [&str; 5] = ["project", "project-key", "package", "replicas", "others"];

/// Describes an offer of the project that `pin` trusts.
pub(crate) fn describe(offered: &Offered, pin: &Pin) -> Facts {
    let Offered { offer, registration, others, .. } = offered;
    let Offer { name, builder, requirements, job, .. } = &**offer;
    let mut facts = describe_job([name, builder], offer.tasks, requirements, job);
    state(&mut facts, "project-key", offer.project.to_string());
    // A curator's word for it is not the owner's.
    if !pin.name.is_empty() && pin.voucher.is_none() {
        state(&mut facts, "project", pin.name.as_str());
    }
    state(&mut facts, "package", offer.package.size);
    state(&mut facts, "replicas", u64::from(offer.replicas));
    let registration =
        registration.as_ref().filter(|it| ProjectKey::from(it.signer()) == offer.project);
    if let Some(registration) = registration {
        state(&mut facts, "keywords", keywords(registration));
    }
    if let Some(others) = others {
        state(&mut facts, "others", u64::from(*others));
    }
    facts
}

/// Describes a job that nobody has offered yet.
pub fn describe_file(job: &JobFile) -> Facts {
    let JobFile { name, builder, tasks, requirements, job, .. } = job;
    describe_job([name, builder], *tasks, requirements, job)
}

fn describe_job(
    [name, builder]: [&str; 2],
    tasks: u32,
    requirements: &Requirements,
    job: &JobSpec,
) -> Facts {
    let limits = &job.limits;
    let takes = takes(requirements, limits);
    let mut facts = Facts::new();
    state(&mut facts, "name", name);
    state(&mut facts, "builder", builder);
    state(&mut facts, "runtimes", Fact::set_of(requirements.runtimes.iter().map(Runtime::name)));
    state(&mut facts, "needs", needs(requirements));
    state(&mut facts, "duration", limits.wall_ms.div_ceil(1000));
    state(&mut facts, "cores", u64::from(takes.cores));
    state(&mut facts, "memory", takes.memory);
    state(&mut facts, "disk", takes.disk);
    state(&mut facts, "processes", u64::from(limits.processes));
    state(&mut facts, "network", !job.network.is_empty());
    state(&mut facts, "tasks", u64::from(tasks));
    facts
}

/// The facts that the job's clauses name, also where one of several will do.
fn needs(requirements: &Requirements) -> Fact {
    let mut named = BTreeSet::new();
    requirements.clauses.iter().for_each(|clause| collect(clause, &mut named));
    Fact::set_of(named)
}

/// What the project calls itself, in the small letters that words of a set have.
fn keywords(registration: &Registration) -> Fact {
    let keywords: Vec<_> = registration.keywords.iter().map(|it| it.to_lowercase()).collect();
    Fact::set_of(keywords.iter().map(String::as_str))
}

/// What cannot be a fact, such as a name of the owner's that is too long for one, is left out.
fn state(facts: &mut Facts, name: &str, fact: impl Into<Fact>) {
    drop(facts.insert(name, fact));
}

/// Whether the same offer could do another time: all that it lacks are facts that pass.
pub(crate) fn may_pass(unmet: &[Finding]) -> bool {
    unmet.iter().all(|finding| names_any(&finding.clause, &PASSING))
}

/// Whether `clause` is about something that is not known of a job before it is offered.
pub fn is_about_offers(clause: &Clause) -> bool {
    names_any(clause, &OF_OFFERS) || names_any(clause, &PASSING)
}

fn names_any(clause: &Clause, facts: &[&str]) -> bool {
    let mut named = BTreeSet::new();
    collect(clause, &mut named);
    facts.iter().any(|fact| named.contains(fact))
}

/// Adds the facts that `clause` names.
fn collect<'a>(clause: &'a Clause, named: &mut BTreeSet<&'a str>) {
    named.extend(clause.fact().map(|fact| fact.as_str()));
    clause.inner().iter().for_each(|clause| collect(clause, named));
}
