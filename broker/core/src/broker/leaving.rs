//! A broker that its operator tells to leave: no new work, custody to the neighbours, then the end.
//!
//! Volunteers that pull and masters that publish are told of other brokers, and move. Masters are
//! disconnected once, so that they come back and hear it; a master that has moved makes its new home
//! known, by which the leases here end. For the masters that were disconnected the broker waits a while
//! even if it has nothing left to do: gone, it could tell them nothing. What neither moves nor ends is
//! waited for until the time that the operator gave is over.

use std::collections::BTreeSet;
use std::time::Duration;

use capability::statements::{BrokerCard, Home};
use capability::{PublicKey, Verified};
use mesh_core::{Answer, Ask, MAX_OTHER_BROKERS, Mono, Now, Refusal};

use super::Broker;
use crate::contract::{News, Operation};

/// How long masters have to come back and move: they dial again within some seconds.
const MASTERS_MOVE_WITHIN: Duration = Duration::from_secs(30);

/// Whether the broker is to leave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Stay {
    /// It stays.
    #[default]
    Staying,
    /// It leaves, at that time at the latest; before that one not as long as some of these masters have not moved.
    Leaving { until: Mono, masters: BTreeSet<PublicKey>, masters_until: Mono },
    /// It has nothing left to do.
    Left,
}

impl Stay {
    pub(super) fn is_ending(&self) -> bool {
        *self != Self::Staying
    }

    /// When something is due.
    pub(super) fn until(&self) -> Option<Mono> {
        match self {
            Self::Leaving { until, masters, masters_until } => {
                Some(if masters.is_empty() { *until } else { *masters_until.min(until) })
            }
            Self::Staying | Self::Left => None,
        }
    }
}

impl Broker {
    pub(super) fn begin_to_leave(&mut self, within: Duration, now: Now) {
        let leave_at = now.mono + within;
        if let Stay::Leaving { until, .. } = &mut self.stay {
            *until = leave_at;
        }
        if self.stay.is_ending() {
            return;
        }
        self.news(News::Leaving);
        for volunteer in self.pulls.volunteers() {
            if let Some(pull) = self.pulls.end(volunteer) {
                let elsewhere = Refusal::Elsewhere(self.other_brokers());
                self.reply(pull.reply, Answer::Refused(elsewhere));
            }
        }
        let ours = self.book.homes().filter(|home| home.home == self.me);
        let masters = ours.map(|home| home.signer()).filter(|it| self.peers.contains_key(it));
        let mut masters: BTreeSet<PublicKey> = masters.collect();
        masters.iter().for_each(|master| self.outbox.push(Operation::Disconnect(*master)));
        if self.other_brokers().is_empty() {
            // There is nothing to be told.
            masters.clear();
        }
        let masters_until = now.mono + MASTERS_MOVE_WITHIN;
        self.stay = Stay::Leaving { until: leave_at, masters, masters_until };
        self.custody.retry();
        self.custody.reroute();
    }

    /// Whether the broker takes no new work because it is to leave.
    pub fn is_leaving(&self) -> bool {
        self.stay.is_ending()
    }

    /// Ends the stay once nothing is left to do, or the time is over.
    pub(super) fn leave(&mut self, now: Now) {
        let Stay::Leaving { until, masters, masters_until } = &mut self.stay else { return };
        if *masters_until <= now.mono {
            masters.clear();
        }
        if !masters.is_empty() {
            let stays = |home: &Verified<Home>| {
                home.home == self.me && self.book.offers_of(home.project).next().is_some()
            };
            let staying = self.book.homes().filter(|it| stays(it)).map(|home| home.signer());
            *masters = staying.filter(|it| masters.contains(it)).collect();
        }
        // Writes of this turn are durable before the shell ends.
        let idle = masters.is_empty() && self.custody.is_empty() && self.leases.len() == 0;
        if idle || *until <= now.mono {
            self.stay = Stay::Left;
            self.turn.acknowledgements.push(Operation::Drained.into());
        }
    }

    /// Where linked brokers can be dialled; then others that can be reached.
    pub(super) fn other_brokers(&self) -> Vec<String> {
        let (linked, others): (Vec<_>, Vec<_>) =
            self.routes.cards().partition(|card| self.routes.is_linked(card.signer()));
        let reachable = others.into_iter().filter(|it| self.routes.next_hop(it.signer()).is_some());
        let first = |card: &Verified<BrokerCard>| card.addresses.first().cloned();
        linked.into_iter().chain(reachable).filter_map(first).take(MAX_OTHER_BROKERS).collect()
    }
}

/// Whether whoever asks that should ask another broker, when this one leaves.
pub(super) fn is_new_work(ask: &Ask, me: PublicKey) -> bool {
    match ask {
        Ask::Advertise { .. } | Ask::Pull { .. } | Ask::Publish { .. } | Ask::Lend(_) => true,
        Ask::Claim { home, .. } => *home == me,
        _ => false,
    }
}
