//! Commands that ask a running daemon.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use mesh_shell::{Exit, Failure, OrExit, Outcome, config as shell_config};
use serde_json::json;

use super::print_json;
use crate::arguments::{Common, Shown, Whom};
use crate::config::ROLE;
use crate::daemon::http_path;
use crate::face::WISH_HEADER;
use crate::status::{Advice, Status};

/// A daemon that does not answer by then is stuck.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What it does.
pub fn status(common: &Common, shown: &Shown) -> Outcome {
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
        println!("job: {} {} task {}: {}{lapsed}", job.project, job.name, job.task, job.stage);
    }
    println!("results waiting for receipts: {}", status.undelivered);
    if let Some(idle) = &status.idle {
        print_advice("idle", idle);
    }
    Ok(())
}

/// Why it is idle.
pub fn why(common: &Common, shown: &Shown) -> Outcome {
    let status = fetch(common, &shown.whom)?;
    if shown.json {
        return print_json(&json!({ "idle": status.idle, "declined": status.declined }));
    }
    match &status.idle {
        Some(idle) => print_advice("idle", idle),
        None => println!("not idle: {} tasks in hand", status.jobs.len()),
    }
    for declined in &status.declined {
        let project = declined.project_name.as_ref().unwrap_or(&declined.project);
        print_advice(&format!("declined {} of {project}", declined.name), &declined.advice);
    }
    Ok(())
}

/// What masters have said.
pub fn results(common: &Common, shown: &Shown) -> Outcome {
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
            receipt.reason
        );
    }
    Ok(())
}

/// Tells it what the owner wishes.
pub fn wish(common: &Common, whom: &Whom, wish: &str) -> Outcome {
    let url = format!("http://{}/api/v1/{wish}", address(common, whom)?);
    agent()
        .post(&url)
        .header(WISH_HEADER, "1")
        .send_empty()
        .map_err(|error| unreachable(&error))?;
    Ok(())
}

fn fetch(common: &Common, whom: &Whom) -> Outcome<Status> {
    let url = format!("http://{}/api/v1/status", address(common, whom)?);
    let mut answer = agent().get(&url).call().map_err(|error| unreachable(&error))?;
    answer
        .body_mut()
        .read_json()
        .context("the daemon's answer makes no sense; is it of another version?")
        .or_exit(Exit::Network)
}

fn address(common: &Common, whom: &Whom) -> Outcome<SocketAddr> {
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
    println!("{what}: {}", advice.reason);
    if !advice.hint.is_empty() {
        println!("  hint: {}", advice.hint);
    }
}
