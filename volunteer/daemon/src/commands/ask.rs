//! Commands that ask a running daemon.

use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use capability::format_bytes;
use mesh_shell::config::CommonArgs;
use mesh_shell::{
    ApiToken, Exit, Failure, MAX_LIST_BYTES, OrExit, Outcome, config as shell_config, escape_line,
    outln,
};
use serde::de::DeserializeOwned;
use serde_json::json;
use ureq::Body;
use ureq::http::{Response, StatusCode};

use super::jobs::span;
use super::print_json;
use crate::arguments::{DrainArgs, PauseArgs, Shown, Whom};
use crate::config::ROLE;
use crate::daemon::http_path;
use crate::face::{DrainAsked, PauseAsked};
use crate::history::{HistoryPage, PageAsked};
use crate::status::{Advice, Status};

/// A daemon that does not answer by then is stuck.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of what it says when it refuses.
const MAX_COMPLAINT: u64 = 1024;

/// The wish after which there is nobody to ask.
pub const STOP: &str = "stop";

/// Prints a line, in which nothing that strangers wrote moves the cursor or turns the text around.
macro_rules! say {
    ($($line:tt)*) => { mesh_shell::outln!("{}", mesh_shell::escape_line(&format!($($line)*))) };
}
pub(super) use say;

/// What it does.
pub fn status(common: &CommonArgs, shown: &Shown) -> Outcome {
    let status = fetch(common, &shown.whom)?;
    if shown.json {
        return print_json(&status);
    }
    say!("volunteer {} {}", status.key, status.name);
    if let Some(owner) = &status.owner {
        say!("owner: {owner}");
    }
    match status.brokers.first() {
        Some(primary) => say!("broker: {primary} ({} connected)", status.brokers.len()),
        None => say!("broker: none connected, {} dialled", status.broker_addresses),
    }
    if status.seldom_online {
        say!("offline: asks for tasks that hold while it is out of reach");
    }
    for runtime in &status.runtimes {
        match &runtime.reason {
            None => say!("runtime {}: offered", runtime.runtime),
            Some(reason) => say!("runtime {}: not offered: {reason}", runtime.runtime),
        }
    }
    for job in &status.jobs {
        let lapsed = if job.lapsed { ", lease lapsed" } else { "" };
        let offline = job.offline_until.as_ref().map(|until| format!(", offline until {until}"));
        let held = offline.filter(|_| !job.lapsed).unwrap_or_default();
        say!("job: {} {} task {}: {}{held}{lapsed}", job.project, job.name, job.task, job.stage);
    }
    for project in &status.projects {
        for check in &project.checks {
            say!("check of {}: {}", project.title(), check.outcome());
        }
    }
    if status.brought_waiting > 0 {
        say!("brought, and not begun: {} tasks", status.brought_waiting);
    }
    if let Some(buffer) = &status.work_buffer {
        let (work, wanted) = (span(buffer.work_seconds), span(buffer.wanted_seconds));
        say!("work buffer: {work} of {wanted}, {} tasks have not begun", buffer.waiting);
    }
    say!("results waiting for receipts: {}", status.undelivered);
    if let Some(complaint) = &status.config_complaint {
        say!("configuration: not read, the former one holds: {complaint}");
    }
    if !status.waits_for_restart.is_empty() {
        say!("changed, from the next start on: {}", status.waits_for_restart.join(", "));
    }
    if let Some(quota) = status.traffic.quota {
        let passed = status.traffic.down.saturating_add(status.traffic.up);
        say!("network: {} of {} this month", format_bytes(passed), format_bytes(quota));
    }
    for sensor in &status.sensors {
        say!("sensor: {}", sensor.line());
    }
    if status.idle.is_none() && status.obstacle.is_none() && !status.gives_way_to.is_empty() {
        say!("jobs give way to the owner: {}", status.gives_way_to.join(", "));
    }
    print_idle(&status);
    Ok(())
}

/// Why nothing runs, or why nothing is taken beside what runs.
pub fn print_idle(status: &Status) {
    match (&status.idle, &status.obstacle) {
        (Some(idle), _) => print_advice("idle", idle),
        (None, Some(obstacle)) => print_advice("takes nothing new", obstacle),
        (None, None) => {}
    }
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
        say!(
            "{}: {} accepted, {} not, {:.1} core-seconds",
            project.title(),
            project.accepted,
            project.rejected,
            Duration::from_millis(project.credit).as_secs_f64()
        );
    }
    say!("waiting for receipts: {}", status.undelivered);
    for receipt in &status.receipts {
        say!(
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
pub fn wish(common: &CommonArgs, shown: &Shown, wish: &str) -> Outcome {
    post(common, shown, wish, &[])
}

/// Tells it to stand still.
pub fn pause(common: &CommonArgs, pause: PauseArgs) -> Outcome {
    let PauseArgs { length, note, shown } = pause;
    let asked = PauseAsked { seconds: length.map(|it| it.as_millis().div_ceil(1000) as u64), note };
    if let Some(complaint) = asked.complaint() {
        return Err(Failure::say(Exit::Usage, complaint));
    }
    let asked = serde_json::to_vec(&asked).expect("numbers and text are JSON");
    post(common, &shown, "pause", &asked)
}

/// Tells it to end with its jobs.
pub fn drain(common: &CommonArgs, drain: DrainArgs) -> Outcome {
    let asked = DrainAsked { seconds: drain.within.map(|it| it.as_millis().div_ceil(1000) as u64) };
    if let Some(complaint) = asked.complaint() {
        return Err(Failure::say(Exit::Usage, complaint));
    }
    let asked = serde_json::to_vec(&asked).expect("numbers are JSON");
    post(common, &drain.shown, "drain", &asked)
}

fn post(common: &CommonArgs, shown: &Shown, wish: &str, body: &[u8]) -> Outcome {
    let whom = &shown.whom;
    let url = format!("http://{}/api/v1/{wish}", address(common, whom)?);
    let post = agent().post(&url).header("authorization", token(common, whom)?.authorization());
    accepted(post.send(body))?;
    if !shown.json {
        return Ok(());
    }
    // One that had nothing to drain has ended already.
    let status = if wish == STOP { None } else { fetch(common, whom).ok() };
    let paused = status.as_ref().is_some_and(|status| status.paused);
    let obstacle = status.as_ref().and_then(|status| status.obstacle.as_ref());
    print_json(&json!({ "running": status.is_some(), "paused": paused, "obstacle": obstacle }))
}

/// Its answer to `body`, which somebody has brought, however long that takes.
pub fn bring(
    common: &CommonArgs,
    whom: &Whom,
    path: &str,
    body: impl ureq::AsSendBody,
) -> Outcome<Box<dyn Read>> {
    let config = ureq::Agent::config_builder().timeout_connect(Some(TIMEOUT));
    let agent: ureq::Agent = config.http_status_as_error(false).build().into();
    let url = format!("http://{}/api/v1/{path}", address(common, whom)?);
    let post = agent.post(&url).header("authorization", token(common, whom)?.authorization());
    let answer = accepted(post.send(body))?;
    Ok(Box::new(answer.into_with_config().limit(MAX_LIST_BYTES).reader()))
}

/// The answer, if it is no refusal.
fn accepted(answer: Result<Response<Body>, ureq::Error>) -> Outcome<Body> {
    let answer = answer.map_err(|error| unreachable(&error))?;
    let (status, mut body) = (answer.status(), answer.into_body());
    if status.is_success() {
        return Ok(body);
    }
    let said = body.with_config().limit(MAX_COMPLAINT).read_to_string().unwrap_or_default();
    let message = format!("the daemon refuses ({status}) {}", escape_line(said.trim()));
    Err(Failure::say(Exit::Network, message.trim_end().to_owned())
        .hint("is it of another version than this program, or not a daemon at all?"))
}

/// What the daemon with this state directory says, if one runs.
pub fn running(common: &CommonArgs) -> Option<Status> {
    fetch(common, &Whom { http: None }).ok()
}

/// What it says about itself.
pub fn fetch(common: &CommonArgs, whom: &Whom) -> Outcome<Status> {
    get(common, whom, "status")?.ok_or_else(nothing_there)
}

/// What it says at `path`; nothing if there is nothing.
pub fn get<T: DeserializeOwned>(
    common: &CommonArgs,
    whom: &Whom,
    path: &str,
) -> Outcome<Option<T>> {
    let Some(mut body) = body(&agent(), common, whom, path)? else { return Ok(None) };
    body.read_json()
        .context("the daemon's answer makes no sense; is it of another version?")
        .or_exit(Exit::Network)
        .map(Some)
}

/// The receipts that the daemon has, as a list.
pub fn receipts(common: &CommonArgs, whom: &Whom) -> Outcome<impl Read + use<>> {
    let body = body(&agent(), common, whom, "receipts")?.ok_or_else(nothing_there)?;
    Ok(body.into_with_config().limit(MAX_LIST_BYTES).reader())
}

/// A page of what ran.
pub fn history(common: &CommonArgs, whom: &Whom, asked: PageAsked) -> Outcome<HistoryPage> {
    let PageAsked { before, limit } = asked;
    let before = before.map(|number| format!("before={number}&")).unwrap_or_default();
    let limit = limit.map(|limit| format!("limit={limit}")).unwrap_or_default();
    get(common, whom, &format!("history?{before}{limit}"))?.ok_or_else(nothing_there)
}

/// What it says at `path`, as it comes, however long that takes.
pub fn stream(common: &CommonArgs, whom: &Whom, path: &str) -> Outcome<impl Read + use<>> {
    let config = ureq::Agent::config_builder().timeout_connect(Some(TIMEOUT));
    let agent = config.http_status_as_error(false).build().into();
    Ok(body(&agent, common, whom, path)?.ok_or_else(nothing_there)?.into_reader())
}

/// The body of its answer; nothing if there is nothing at `path`.
fn body(
    agent: &ureq::Agent,
    common: &CommonArgs,
    whom: &Whom,
    path: &str,
) -> Outcome<Option<Body>> {
    let ask = agent.get(format!("http://{}/api/v1/{path}", address(common, whom)?));
    match ask.header("authorization", token(common, whom)?.authorization()).call() {
        Ok(answer) if answer.status() == StatusCode::NOT_FOUND => Ok(None),
        answer => accepted(answer).map(Some),
    }
}

fn nothing_there() -> Failure {
    Failure::say(Exit::Network, "what answers has nothing of the kind")
        .hint("is it another program, or a daemon of another version? name another --http")
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

/// What the daemon has left for those who may ask it. Not for other machines, unless its owner means it.
fn token(common: &CommonArgs, whom: &Whom) -> Outcome<ApiToken> {
    if let Some(address) = whom.http.filter(|it| !it.ip().is_loopback() && common.state.is_none()) {
        let message = format!("the token of this machine's daemon is not sent to {address}");
        let hint = "name the state directory with the token of that daemon with --state";
        return Err(Failure::say(Exit::Usage, message).hint(hint));
    }
    ApiToken::load(&shell_config::state_dir(ROLE, common.state.as_deref())?)
}

/// Prints the address with which the page opens.
pub fn page(common: &CommonArgs, whom: &Whom) -> Outcome {
    let (address, token) = (address(common, whom)?, token(common, whom)?);
    outln!("http://{address}/#{}", token.secret());
    Ok(())
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT));
    // What it answers is looked at, whatever it is.
    config.http_status_as_error(false).build().into()
}

fn unreachable(error: &ureq::Error) -> Failure {
    Failure::say(Exit::Network, format!("the daemon does not answer: {error}"))
        .hint("is it running? start it with: talkoot-volunteer run")
}

/// Prints a reason, and what to do.
pub fn print_advice(what: &str, advice: &Advice) {
    say!("{what}: {}", advice.reason);
    if !advice.hint.is_empty() {
        say!("  hint: {}", advice.hint);
    }
}
