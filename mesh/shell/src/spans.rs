//! Spans by which one job is followed through all daemons: each has `offer`, and `task` and `peer` where
//! it is about one.

use capability::PublicKey;
use capability::statements::TaskId;
use mesh_core::{Ask, Bundle, Cargo, JobNeeds};
use tracing::Span;

/// What is done for one task, with nobody else.
pub fn of_task(task: &TaskId) -> Span {
    let TaskId { offer, task, replica } = task;
    tracing::info_span!("task", offer = offer.short(), task, replica)
}

/// What is asked of `peer`, or by it.
pub fn of_ask(ask: &Ask, peer: PublicKey) -> Span {
    let (kind, offer) = match ask {
        Ask::Publish { offers, .. } if let [one] = &offers[..] => ("publish", one.offer.id()),
        Ask::Withdraw { withdrawals } if let [withdrawal] = &withdrawals[..] => {
            ("withdraw", withdrawal.statement)
        }
        Ask::Claim { claims, .. } if let [claim] = &claims[..] => ("claim", claim.offer),
        Ask::Renew { renewal, .. } => ("renew", renewal.offer),
        Ask::Explain(JobNeeds::Offer(offer)) => ("explain", *offer),
        _ => return tracing::debug_span!("ask", peer = peer.short()),
    };
    tracing::info_span!("ask", kind, offer = offer.short(), peer = peer.short())
}

/// What `peer` hands over, or takes over. Of several bundles each is told of by itself.
pub fn of_bundles(bundles: &[Bundle], peer: PublicKey) -> Span {
    match bundles {
        [bundle] => of_bundle(bundle, peer),
        several => {
            tracing::info_span!("handover", bundles = several.len(), peer = peer.short())
        }
    }
}

fn of_bundle(bundle: &Bundle, peer: PublicKey) -> Span {
    let (kind, task) = match &bundle.cargo {
        Cargo::Result(result) => ("result", result.task),
        Cargo::Receipt(receipt) => ("receipt", receipt.task),
    };
    let (offer, statement) = (task.offer.short(), bundle.id().short());
    tracing::info_span!("handover", kind, statement, offer, task = task.task, peer = peer.short())
}
