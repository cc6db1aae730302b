//! The core's news as log events. Their names and fields are followed by programs; see
//! `docs/operating`.

use capability::statements::{Ended, Ownership, TaskId};
use capability::{Timestamp, Verified};
use mesh_shell::log_declared;
use volunteer_core::{CheckFinding, Idle, News, Pause};

use crate::status::verdict;

/// An ownership that ends sooner is told at the start: an owner may have to travel to the key.
const REMIND_DAYS: u64 = 30;

/// Logs `news`.
pub fn log(news: &News) {
    match news {
        News::PrimaryChanged { to: Some(peer) } => {
            tracing::info!(peer = peer.short(), "primary broker");
        }
        News::PrimaryChanged { to: None } => tracing::warn!("no broker is connected"),
        News::AdSent { broker, seq } => tracing::info!(peer = broker.short(), seq, "ad sent"),
        News::Declined { offer, project, name, reason } => {
            let (offer, project) = (offer.short(), project.short());
            tracing::info!(offer, project, name, %reason, "offer declined");
        }
        News::Leased { task, .. } => of(task, |offer, task| tracing::info!(offer, task, "leased")),
        News::FetchedAhead { offer, leases } => {
            tracing::info!(offer = offer.short(), leases, "fetched ahead");
        }
        News::Brought { offer, leases } => {
            tracing::info!(offer = offer.short(), leases, "work brought");
        }
        News::NotGranted { offer, reason } => {
            tracing::debug!(offer = offer.short(), reason, "nothing granted");
        }
        News::TakenUp { task, .. } => {
            of(task, |offer, task| tracing::info!(offer, task, "taken up from its checkpoint"));
        }
        News::Started { task, runtime, .. } => {
            of(task, |offer, task| tracing::info!(offer, task, %runtime, "started"));
        }
        News::Finished { task, ended, .. } => {
            let (ended, reason) = ending(ended);
            of(task, |offer, task| tracing::info!(offer, task, ended, reason, "finished"));
        }
        News::Delivered { result, task, to } => {
            let (statement, to) = (result.short(), to.short());
            of(task, |offer, task| tracing::info!(statement, offer, task, to, "delivered"));
        }
        News::Receipt { result, task, verdict: judged } => {
            let statement = result.short();
            let (verdict, reason, credit) = verdict(judged);
            of(task, |offer, task| {
                tracing::info!(statement, offer, task, verdict, reason, credit, "receipt");
            });
        }
        News::Lapsed { task, .. } => {
            of(task, |offer, task| tracing::warn!(offer, task, "lease lapsed, the job goes on"));
        }
        News::Released { offer, leases, reason } => {
            tracing::info!(offer = offer.short(), leases, reason, "leases released");
        }
        News::Revoked { key, signer } => {
            tracing::warn!(key = key.short(), signer = signer.short(), "key revoked");
        }
        News::PassedOn { key, successor } => {
            // In full: whoever checks it with the project pins it by hand.
            tracing::warn!(%key, %successor, "key names a successor, which is not trusted by that");
        }
        News::Declared(declared) => log_declared(declared),
        News::Expired { result } => {
            tracing::warn!(statement = result.short(), "result expired without a receipt");
        }
        News::Checked { project, check, finding } => {
            let project = project.short();
            match finding {
                CheckFinding::Value(value) => {
                    tracing::info!(project, check, %value, "check done");
                }
                CheckFinding::Nothing(reason) => {
                    tracing::info!(project, check, reason, "check done");
                }
            }
        }
        News::BacksOff { in_a_row, rest, reason } => {
            let rest = rest.as_secs();
            tracing::warn!(
                in_a_row,
                seconds = rest,
                reason,
                "this machine fails jobs, backing off"
            );
        }
        News::Idle { reason: Some(reason) } => log_idle(reason),
        News::Idle { reason: None } => tracing::debug!("busy"),
        News::DrainOver => tracing::warn!("the drain has lasted its time, stopping jobs"),
        News::Drained => tracing::info!("drained"),
    }
}

fn log_idle(reason: &Idle) {
    match reason {
        // These come and go between two jobs, and nobody need do anything about them.
        Idle::Probing | Idle::NotAdvertised | Idle::NothingSuits { .. } => {
            tracing::debug!(%reason, "idle");
        }
        Idle::Paused(pause) => {
            // The note is the owner's own.
            let reason = Pause { note: String::new(), ..pause.clone() };
            tracing::info!(%reason, "idle");
        }
        reason => tracing::info!(%reason, "idle"),
    }
}

/// Logs whose machine this is from now on.
pub fn owned(ownership: &Verified<Ownership>, now: Timestamp) {
    let (owner, expires) = (ownership.signer().to_string(), ownership.expires);
    tracing::info!(owner, %expires, "owner");
    let days = expires.since(now).as_secs() / (24 * 60 * 60);
    if days < REMIND_DAYS {
        tracing::warn!(owner, days, "ownership ends soon; run `talkoot-volunteer owner sign` anew");
    }
}

/// The fields that every event about a task has.
fn of(task: &TaskId, log: impl FnOnce(&str, u32)) {
    log(&task.offer.short(), task.task);
}

/// The word for how a run ended, and more about it.
pub fn ending(ended: &Ended) -> (&'static str, &str) {
    match ended {
        Ended::Passed => ("passed", ""),
        Ended::Failed => ("failed", ""),
        Ended::Limit(what) => ("limit", what),
        Ended::Machine(why) => ("machine", why),
    }
}
