//! The events that people and programs follow; their names and fields are documented in
//! `docs/operating`.

use broker_core::{News, Whom};

/// Logs `news`.
pub fn log(news: &News) {
    match news {
        News::LinkUp { peer } => tracing::info!(peer = peer.short(), "link up"),
        News::LinkDown { peer } => tracing::info!(peer = peer.short(), "link down"),
        News::Blocked { whom } => log_blocked(whom),
        News::TakenDown { content } => tracing::info!(%content, "taken down"),
        News::Leaving => tracing::info!("draining"),
        News::AdTaken { peer } => tracing::debug!(peer = peer.short(), "ad taken"),
        News::OfferTaken { offer, name, project, tasks, epoch } => {
            let home = epoch.is_some();
            tracing::info!(offer = offer.short(), name, project, tasks, home, epoch, "offer taken");
        }
        News::OfferKnown { offer, project } => {
            tracing::info!(offer = offer.short(), project = project.short(), "offer known");
        }
        News::OfferOver { offer } => tracing::info!(offer = offer.short(), "offer over"),
        News::Revoked { key, signer } => {
            tracing::info!(key = key.short(), signer = signer.short(), "key revoked");
        }
        News::HomeKnown { project, epoch, peer } => {
            tracing::debug!(project = project.short(), epoch, peer = peer.short(), "home known");
        }
        News::Claimed { offer, volunteer, count } => {
            let (offer, volunteer) = (offer.short(), volunteer.short());
            tracing::info!(offer, volunteer, count, "claim granted");
        }
        News::Lapsed { task, volunteer } => {
            let (offer, volunteer) = (task.offer.short(), volunteer.short());
            tracing::info!(
                offer,
                task = task.task,
                replica = task.replica,
                volunteer,
                "lease lapsed"
            );
        }
        News::Released { offer, volunteer, count } => {
            let (offer, volunteer) = (offer.short(), volunteer.short());
            tracing::info!(offer, volunteer, count, "tasks released");
        }
        News::ResultTaken { result, task, from } => {
            tracing::info!(
                kind = "result",
                statement = result.short(),
                offer = task.offer.short(),
                task = task.task,
                from = from.short(),
                "custody taken"
            );
        }
        News::ReceiptTaken { receipt, result, task, from, verdict } => {
            tracing::info!(
                kind = "receipt",
                statement = receipt.short(),
                result = result.short(),
                offer = task.offer.short(),
                task = task.task,
                from = from.short(),
                verdict,
                "custody taken"
            );
        }
        News::HandedOver { cargo, task, peer } => {
            let (offer, peer) = (task.offer.short(), peer.short());
            tracing::info!(kind = cargo, offer, task = task.task, peer, "handed over");
        }
        News::NotHandedOver { cargo, task, peer, reason } => {
            let (offer, peer) = (task.offer.short(), peer.short());
            tracing::debug!(kind = cargo, offer, task = task.task, peer, reason, "not handed over");
        }
    }
}

/// Ranges of addresses are not logged where everybody reads.
fn log_blocked(whom: &Whom) {
    match whom {
        Whom::Key(key) => tracing::info!(peer = key.short(), "blocked"),
        Whom::Range(range) => tracing::debug!(range, "blocked"),
    }
}
