//! Commands that ask a running daemon.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use mesh_shell::config::CommonArgs;
use mesh_shell::{Exit, Failure, OrExit, Outcome, config as shell_config};
use serde_json::json;

use super::print_json;
use crate::arguments::{Shown, Whom};
use crate::config::ROLE;
use crate::daemon::http_path;
use crate::face::WISH_HEADER;
use crate::status::{Advice, DeclinedStatus, Status};

/// A daemon that does not answer by then is stuck.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Characters of a key that people compare.
const SHORT_KEY: usize = 16;

/// What it does.
pub fn status(common: &CommonArgs, shown: &Shown) -> Outcome {
    let status = fetch(common, &shown.whom)?;
    if shown.json {
        return print_json(&status);
    }
    println!("volunteer {} {}", status.key, status.name);
    match status.brokers.first() {
        Some(primary) => println!("broker: {primary} ({} connected)", status.brokers.len()),
        None => println!("broker: none connected, {} dialled", status.broker_addresses),
    }
    for runtime in &status.runtimes {
        match &runtime.reason {
            None => println!("runtime {}: offered", runtime.runtime),
            Some(reason) => println!("runtime {}: not offered: {reason}", runtime.runtime),
        }
    }
    for job in &status.jobs {
        let lapsed = if job.lapsed { ", lease lapsed" } else { "" };
        println!(
            "job: {} {} task {}: {}{lapsed}",
            job.project,
            plain(&job.name),
            job.task,
            job.stage
        );
    }
    println!("results waiting for receipts: {}", status.undelivered);
    if let Some(idle) = &status.idle {
        print_advice("idle", idle);
    }
    Ok(())
}

/// Why it is idle.
pub fn why(common: &CommonArgs, shown: &Shown) -> Outcome {
    let status = fetch(common, &shown.whom)?;
    if shown.json {
        return print_json(&json!({ "idle": status.idle, "declined": status.declined }));
    }
    match &status.idle {
        Some(idle) => print_advice("idle", idle),
        None => println!("not idle: {} tasks in hand", status.jobs.len()),
    }
    for declined in &status.declined {
        let project = project_of(declined, &status);
        let offer = plain(&declined.name);
        print_advice(&format!("declined {offer} of {project}"), &declined.advice);
    }
    Ok(())
}

/// A declined offer's project, by the owner's own name for it if there is one: what a stranger
/// calls itself says nothing.
fn project_of(declined: &DeclinedStatus, status: &Status) -> String {
    let mut known = status.projects.iter().filter(|it| it.project == declined.project);
    if let Some(known) = known.find(|it| !it.name.is_empty()) {
        return plain(&known.name);
    }
    let key = declined.project.get(..SHORT_KEY).unwrap_or(&declined.project);
    match &declined.project_name {
        Some(name) => format!("\"{}\" (calls itself so), key {key}", plain(name)),
        None => format!("key {key}"),
    }
}

/// `text` without what would move a terminal's cursor or turn the direction of what follows.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for char in text.chars() {
        let turns = matches!(
            char,
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        );
        if turns || char.is_control() {
            plain.extend(char.escape_unicode());
        } else {
            plain.push(char);
        }
    }
    plain
}

/// What masters have said.
pub fn results(common: &CommonArgs, shown: &Shown) -> Outcome {
    let status = fetch(common, &shown.whom)?;
    if shown.json {
        let (projects, receipts) = (&status.projects, &status.receipts);
        let undelivered = status.undelivered;
        return print_json(&json!({
            "projects": projects, "undelivered": undelivered, "receipts": receipts
        }));
    }
    for project in &status.projects {
        let name = if project.name.is_empty() { &project.project } else { &project.name };
        println!(
            "{name}: {} accepted, {} not, {:.1} core-seconds",
            project.accepted,
            project.rejected,
            Duration::from_millis(project.credit).as_secs_f64()
        );
    }
    println!("waiting for receipts: {}", status.undelivered);
    for receipt in &status.receipts {
        println!(
            "{} {} task {}: {} {}",
            receipt.issued,
            receipt.offer.short(),
            receipt.task,
            receipt.verdict,
            plain(&receipt.reason)
        );
    }
    Ok(())
}

/// Tells it what the owner wishes.
pub fn wish(common: &CommonArgs, whom: &Whom, wish: &str) -> Outcome {
    let url = format!("http://{}/api/v1/{wish}", address(common, whom)?);
    agent()
        .post(&url)
        .header(WISH_HEADER, "1")
        .send_empty()
        .map_err(|error| unreachable(&error))?;
    Ok(())
}

fn fetch(common: &CommonArgs, whom: &Whom) -> Outcome<Status> {
    let url = format!("http://{}/api/v1/status", address(common, whom)?);
    let mut answer = agent().get(&url).call().map_err(|error| unreachable(&error))?;
    answer
        .body_mut()
        .read_json()
        .context("the daemon's answer makes no sense; is it of another version?")
        .or_exit(Exit::Network)
}

fn address(common: &CommonArgs, whom: &Whom) -> Outcome<SocketAddr> {
    if let Some(address) = whom.http {
        return Ok(address);
    }
    let state = shell_config::state_dir(ROLE, common.state.as_deref())?;
    let text = std::fs::read_to_string(http_path(&state)).ok();
    text.and_then(|text| text.trim().parse().ok()).ok_or_else(|| {
        let message = format!("no daemon runs with the state directory {}", state.display());
        Failure::say(Exit::Network, message)
            .hint("start it with: talkoot-volunteer run; or name its --state or --http")
    })
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).build().into()
}

fn unreachable(error: &ureq::Error) -> Failure {
    Failure::say(Exit::Network, format!("the daemon does not answer: {error}"))
        .hint("is it running? start it with: talkoot-volunteer run")
}

fn print_advice(what: &str, advice: &Advice) {
    println!("{what}: {}", plain(&advice.reason));
    if !advice.hint.is_empty() {
        println!("  hint: {}", plain(&advice.hint));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_write_cannot_move_the_cursor_or_turn_the_line() {
        assert_eq!(plain("a b\u{e9}"), "a b\u{e9}");
        assert_eq!(plain("\u{1b}[2J\n"), r"\u{1b}[2J\u{a}");
        assert_eq!(plain("x\u{202e}y\u{2066}z\u{200f}"), r"x\u{202e}y\u{2066}z\u{200f}");
    }
}
