//! A broker that its operator tells to leave: no new work, custody to the neighbours, then the end.
//!
//! Volunteers that pull and masters that publish are told of other brokers, and move. Masters are
//! disconnected once, so that they come back and hear it; a master that has moved makes its new home
//! known, by which the leases here end. What neither moves nor ends is waited for until the time that
//! the operator gave is over.

use std::time::Duration;

use capability::PublicKey;
use mesh_core::{Answer, Ask, MAX_OTHER_BROKERS, Mono, Now, Refusal};

use super::Broker;
use crate::contract::{News, Operation};

/// Whether the broker is to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Stay {
    /// It stays.
    #[default]
    Staying,
    /// It leaves, at that time at the latest.
    Leaving { until: Mono },
    /// It has nothing left to do.
    Left,
}

impl Stay {
    pub(super) fn is_ending(self) -> bool {
        self != Self::Staying
    }

    /// When something is due.
    pub(super) fn until(self) -> Option<Mono> {
        match self {
            Self::Leaving { until } => Some(until),
            Self::Staying | Self::Left => None,
        }
    }
}

impl Broker {
    pub(super) fn begin_to_leave(&mut self, within: Duration, now: Now) {
        let first = !self.stay.is_ending();
        self.stay = Stay::Leaving { until: now.mono + within };
        if !first {
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
        let masters: Vec<PublicKey> = masters.collect();
        masters.into_iter().for_each(|master| self.outbox.push(Operation::Disconnect(master)));
        self.custody.retry();
        self.custody.reroute();
    }

    /// Whether the broker takes no new work because it is to leave.
    pub fn is_leaving(&self) -> bool {
        self.stay.is_ending()
    }

    /// Ends the stay once nothing is left to do, or the time is over.
    pub(super) fn leave(&mut self, now: Now) {
        let Stay::Leaving { until } = self.stay else { return };
        // Writes of this turn are durable before the shell ends.
        let idle = self.custody.is_empty() && self.leases.len() == 0;
        if idle || until <= now.mono {
            self.stay = Stay::Left;
            self.turn.acknowledgements.push(Operation::Drained.into());
        }
    }

    /// Where linked brokers can be dialled; then others that can be reached.
    pub(super) fn other_brokers(&self) -> Vec<String> {
        let (linked, others): (Vec<_>, Vec<_>) =
            self.routes.cards().partition(|card| self.routes.is_linked(card.signer()));
        let reachable = others.into_iter().filter(|it| self.routes.next_hop(it.signer()).is_some());
        let first = |card: &capability::Verified<capability::statements::BrokerCard>| {
            card.addresses.first().cloned()
        };
        linked.into_iter().chain(reachable).filter_map(first).take(MAX_OTHER_BROKERS).collect()
    }
}

/// Whether whoever asks that should ask another broker, when this one leaves.
pub(super) fn is_new_work(ask: &Ask, me: PublicKey) -> bool {
    match ask {
        Ask::Advertise { .. } | Ask::Pull { .. } | Ask::Publish { .. } => true,
        Ask::Claim { home, .. } => *home == me,
        _ => false,
    }
}
