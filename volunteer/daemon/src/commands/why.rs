//! `why`: why it is idle, why nothing of a project runs, why a job does.

use capability::{ProjectKey, ProjectUri};
use mesh_shell::config::CommonArgs;
use mesh_shell::{Exit, Failure, Outcome, escape_line, outln};
use serde_json::json;

use super::ask::{self, print_advice, print_idle, say};
use super::{jobs, print_json};
use crate::arguments::Shown;
use crate::in_hand::JobStatus;
use crate::status::{Advice, DeclinedStatus, ProjectStatus, Status};
use crate::why::JobGrounds;

/// Characters of a key that people compare.
const SHORT_KEY: usize = 16;

/// Says why.
pub fn why(common: &CommonArgs, what: Option<&str>, shown: &Shown) -> Outcome {
    let status = ask::fetch(common, &shown.whom)?;
    let Some(what) = what else { return idle(&status, shown) };
    match meant(&status, what)? {
        Meant::Project(project, title) => why_not(common, shown, &status, project, &title),
        Meant::Job(job) => why_job(common, shown, job),
    }
}

/// Why it is idle.
fn idle(status: &Status, shown: &Shown) -> Outcome {
    if shown.json {
        let (idle, obstacle, declined) = (&status.idle, &status.obstacle, &status.declined);
        return print_json(&json!({ "idle": idle, "obstacle": obstacle, "declined": declined }));
    }
    if status.idle.is_none() {
        say!("not idle: {} tasks in hand", status.jobs.len());
    }
    print_idle(status);
    for declined in &status.declined {
        let project = project_of(declined, status);
        let offer = &declined.name;
        print_advice(&format!("declined {offer} of {project}"), &declined.advice);
    }
    Ok(())
}

/// A declined offer's project, by the owner's own name for it if there is one: what a stranger
/// calls itself says nothing.
fn project_of(declined: &DeclinedStatus, status: &Status) -> String {
    let mut known = status.projects.iter().filter(|it| it.project == declined.project);
    if let Some(known) = known.find(|it| !it.name.is_empty()) {
        return known.name.clone();
    }
    let key = declined.project.get(..SHORT_KEY).unwrap_or(&declined.project);
    match &declined.project_name {
        Some(name) => format!("\"{name}\" (calls itself so), key {key}"),
        None => format!("key {key}"),
    }
}

/// What somebody asks about.
enum Meant<'a> {
    /// A project, and what to call it.
    Project(ProjectKey, String),
    Job(&'a JobStatus),
}

fn meant<'a>(status: &'a Status, what: &str) -> Outcome<Meant<'a>> {
    let uri = what.parse::<ProjectUri>().map(|uri| uri.project);
    if let Ok(key) = uri.or_else(|_| what.parse()) {
        let mut known = status.projects.iter().filter(|it| it.project == key.to_string());
        let title = known.next().map_or_else(|| key.short(), |it| it.title().to_owned());
        return Ok(Meant::Project(key, title));
    }
    let is_named = |it: &&ProjectStatus| it.trusted && !what.is_empty() && it.name == what;
    let projects: Vec<_> = status.projects.iter().filter(is_named).collect();
    let jobs = jobs::named(&status.jobs, what);
    match (projects.as_slice(), jobs.as_slice()) {
        ([project], []) => match project.project.parse() {
            Ok(key) => Ok(Meant::Project(key, what.to_owned())),
            Err(_) => Err(Failure::say(Exit::Network, "the daemon names a project without a key")),
        },
        ([], [job]) => Ok(Meant::Job(job)),
        ([], []) => Err(unknown(what)),
        ([], several) => Err(jobs::ambiguous(several, &format!("{} names", escape_line(what)))),
        _ => Err(ambiguous(what)),
    }
}

fn unknown(what: &str) -> Failure {
    let message =
        format!("{} is neither a project that you trust nor a job in hand", escape_line(what));
    Failure::say(Exit::Input, message).hint(
        "talkoot-volunteer project list and talkoot-volunteer jobs show them; a project that you \
         do not trust is named by its key",
    )
}

fn ambiguous(what: &str) -> Failure {
    let message = format!("{} names more than one project or job", escape_line(what));
    Failure::say(Exit::Input, message)
        .hint("name the project by its key, or the job by its id; project list and jobs show them")
}

fn why_not(
    common: &CommonArgs,
    shown: &Shown,
    status: &Status,
    project: ProjectKey,
    title: &str,
) -> Outcome {
    let path = format!("projects/{project}/why");
    let reasons: Vec<Advice> = ask::get(common, &shown.whom, &path)?.unwrap_or_default();
    let in_hand = status.jobs.iter().filter(|it| it.project_key == project);
    let in_hand: Vec<_> = in_hand.map(|it| it.lease).collect();
    let mut known = status.projects.iter().filter(|it| it.project == project.to_string());
    let list = known.next().and_then(|it| it.list.as_deref());
    if shown.json {
        return print_json(&json!({
            "project": project, "list": list, "in_hand": in_hand, "reasons": reasons
        }));
    }
    if let Some(list) = list {
        say!("you trust {title} by the list {list}");
    }
    match in_hand.len() {
        0 => say!("{title}: nothing of it is in hand"),
        count => say!(
            "{title}: {count} tasks in hand, as talkoot-volunteer jobs shows; no more, because"
        ),
    }
    reasons.iter().for_each(|reason| print_advice("because", reason));
    Ok(())
}

fn why_job(common: &CommonArgs, shown: &Shown, job: &JobStatus) -> Outcome {
    let path = format!("jobs/{}/why", job.lease);
    let Some(grounds) = ask::get::<JobGrounds>(common, &shown.whom, &path)? else {
        return Err(Failure::say(Exit::Input, "the job has just ended"));
    };
    if shown.json {
        return print_json(&grounds);
    }
    jobs::print(&grounds.job);
    print_grounds(&grounds);
    Ok(())
}

fn print_grounds(grounds: &JobGrounds) {
    let JobGrounds { job, note, list, permitted, requirements, policy, rank } = grounds;
    let permitted: Vec<_> = permitted.iter().map(ToString::to_string).collect();
    let note = if note.is_empty() { String::new() } else { format!(" ({note})") };
    let by = list.as_ref().map(|list| format!(" by the list {list}")).unwrap_or_default();
    say!("you trust {}{by}{note}: it may use {}", job.project, permitted.join(", "));
    match requirements.as_ref().and_then(|it| it.inside.as_ref()) {
        Some(inside) if inside.clauses.is_empty() => {
            say!("it requires the {} runtime alone", job.runtime);
        }
        Some(inside) => {
            say!("it requires, in the {} runtime:", job.runtime);
            // Its first line is a verdict, which is clear here.
            inside.to_string().lines().skip(1).for_each(|line| say!("{line}"));
        }
        None => say!("what it requires was not kept"),
    }
    if policy.is_empty() {
        outln!("your policy wants nothing of offers");
    } else {
        say!("your policy wanted, when it was taken (rank {rank}):");
        policy.iter().for_each(|it| say!("  yes  {}: {}", it.clause, it.has));
    }
}
