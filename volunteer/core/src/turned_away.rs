//! Brokers that have no time, or no use, for this volunteer: they are given time, told who vouches for
//! it, or left for another one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::PublicKey;
use mesh_core::{Answer, Ask, CallFailed, Mono, Refusal};

use crate::volunteer::{Call, Volunteer};

/// A broker that sent us elsewhere is not turned to again for so long.
const LEFT_ALONE: Duration = Duration::from_secs(60);
/// The longest that a broker can make us wait by its word.
const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);

/// See the module. Bounded by the brokers that are up, and those of the last minute.
#[derive(Debug, Default)]
pub(crate) struct TurnedAway {
    until: BTreeMap<PublicKey, Mono>,
    /// Where our owner's word was left.
    vouched: BTreeSet<PublicKey>,
}

impl TurnedAway {
    /// Another process may be there the next time.
    pub(crate) fn broker_down(&mut self, broker: PublicKey) {
        self.until.remove(&broker);
        self.vouched.remove(&broker);
    }
}

impl Volunteer {
    /// Does what the refusal asks for beyond the question that was refused.
    pub(crate) fn heed(&mut self, by: PublicKey, refusal: &Refusal) {
        match refusal {
            Refusal::SlowDown(millis) => self.slow_down(Duration::from_millis((*millis).into())),
            Refusal::NotAdmitted(_) if self.show_owner(by) => (),
            Refusal::NotAdmitted(_) | Refusal::Elsewhere(_) => self.turn_from(by),
            _ => (),
        }
    }

    fn slow_down(&mut self, wait: Duration) {
        let until = self.now.mono + wait.min(LONGEST_WAIT);
        self.ad.not_before(until);
        self.fetching.not_before(until);
    }

    /// Leaves the word of our owner there, once; says whether that may help.
    fn show_owner(&mut self, broker: PublicKey) -> bool {
        let Some(ownership) = self.owner_statement() else { return false };
        if !self.turned_away.vouched.insert(broker) {
            return false;
        }
        self.ask_of(broker, Call::Vouch, Ask::Vouch { ownership });
        true
    }

    pub(crate) fn owner_shown(&mut self, to: PublicKey, answer: &Result<Answer, CallFailed>) {
        if matches!(answer, Ok(Answer::Done)) {
            self.ad.drop_taken();
        } else {
            self.turn_from(to);
        }
    }

    /// Another broker that is up becomes the primary, unless all have sent us away.
    fn turn_from(&mut self, broker: PublicKey) {
        let now = self.now.mono;
        self.turned_away.until.retain(|_, until| *until > now);
        self.turned_away.until.insert(broker, now + LEFT_ALONE);
        let away = &self.turned_away.until;
        let other = self.brokers.iter().position(|other| !away.contains_key(other));
        if self.primary() != Some(broker) {
            return;
        }
        if let Some(other) = other {
            self.brokers.swap(0, other);
            self.primary_changed();
        }
    }
}
