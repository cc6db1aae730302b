//! What has become of the keys that this volunteer goes by, and how lately a broker was asked.
//!
//! It goes by the projects that it pinned, by the curators of its lists, and by the delegates whose offers it would take. Every
//! broker is asked about them, since one alone could withhold that a key is void.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::statements::Offer;
use capability::{KeyBook, MAX_CLOCK_SKEW, PublicKey, Timestamp, Verified, Verifier};
use mesh_core::{KeyChange, MAX_KEYS_AN_ASK, Mono, Now, Write};

use crate::backoff::Backoff;
use crate::key_changes::{Heard, KeyChanges, Relied};
use crate::trust::Decline;
use crate::volunteer::RestoreError;

/// An older answer is no ground for a claim: a stolen key does harm for a day at most where brokers
/// tell what they know.
pub(crate) const ANSWER_HOLDS: Duration = Duration::from_secs(24 * 60 * 60);

/// How often every broker is asked about every key.
const ROUND: Duration = Duration::from_secs(60 * 60);

/// Delegates that are asked about at most; who has more than some has lost control of them.
const MAX_DELEGATES: usize = 256;

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    changes: KeyChanges,
    /// None before the owner's pins are known: a former process may have kept what they need.
    pinned: Option<BTreeSet<PublicKey>>,
    /// By delegate, when it was of use last.
    delegates: BTreeMap<PublicKey, Mono>,
    /// When a broker answered about a key last.
    told: BTreeMap<PublicKey, Now>,
    /// By broker and key, when it told something that could not be kept; what others tell of the key
    /// proves nothing meanwhile.
    missed: BTreeMap<(PublicKey, PublicKey), Mono>,
    inquiries: BTreeMap<PublicKey, Inquiry>,
}

/// What is asked of one broker.
#[derive(Debug)]
struct Inquiry {
    wanted: BTreeSet<PublicKey>,
    under_way: Vec<PublicKey>,
    next_round: Mono,
    tries: Backoff,
}

impl Keys {
    /// Takes up what a former process had made durable.
    pub fn restore(&mut self, value: &[u8], verifier: &dyn Verifier) -> Result<(), RestoreError> {
        Ok(self.changes.restore(value, verifier)?)
    }

    /// From now on these projects and curators are pinned, and no others.
    pub fn pin(&mut self, keys: impl Iterator<Item = PublicKey>, now: Now) {
        self.pinned = Some(keys.collect());
        let all: Vec<_> = self.watched().collect();
        self.told.retain(|key, _| all.contains(key));
        self.missed.retain(|(_, key), _| all.contains(key));
        all.into_iter().for_each(|key| self.want(key, now));
    }

    /// `delegate` has signed an offer that would be taken.
    pub fn meet(&mut self, delegate: PublicKey, now: Now) {
        self.delegates.insert(delegate, now.mono);
        if self.delegates.len() > MAX_DELEGATES {
            let oldest = self.delegates.iter().min_by_key(|(_, met)| **met).map(|(key, _)| *key);
            if let Some(oldest) = oldest {
                self.delegates.remove(&oldest);
                self.told.remove(&oldest);
                self.missed.retain(|(_, key), _| *key != oldest);
            }
        }
        self.want(delegate, now);
    }

    /// Something has happened that a revocation would explain.
    pub fn ask_again(&mut self, offer: &Offer, signer: PublicKey) {
        for inquiry in self.inquiries.values_mut() {
            inquiry.wanted.extend([offer.project.into(), signer]);
            inquiry.tries = Backoff::default();
        }
    }

    /// There is one more broker to ask.
    pub fn broker_up(&mut self, broker: PublicKey, now: Mono) {
        let wanted = self.watched().collect();
        let (under_way, next_round) = (Vec::new(), now + ROUND);
        let inquiry = Inquiry { wanted, under_way, next_round, tries: Backoff::default() };
        self.inquiries.insert(broker, inquiry);
    }

    /// A broker is gone.
    pub fn broker_down(&mut self, broker: PublicKey) {
        self.inquiries.remove(&broker);
    }

    /// Whom to ask about which keys now; each is under way until [`Keys::answered`] or
    /// [`Keys::unanswered`].
    pub fn due(&mut self, now: Mono) -> Vec<(PublicKey, Vec<PublicKey>)> {
        let watched: Vec<_> = self.watched().collect();
        let mut due = Vec::new();
        for (broker, inquiry) in &mut self.inquiries {
            if inquiry.next_round <= now {
                inquiry.next_round = now + ROUND;
                inquiry.wanted.extend(&watched);
            }
            if inquiry.under_way.is_empty() && inquiry.tries.is_over(now) {
                let asked: Vec<_> = inquiry.wanted.iter().copied().take(MAX_KEYS_AN_ASK).collect();
                inquiry.wanted.retain(|key| !asked.contains(key));
                inquiry.under_way.clone_from(&asked);
                due.extend((!asked.is_empty()).then_some((*broker, asked)));
            }
        }
        due
    }

    /// `broker` has told what it knows of the keys that it was asked about. Whatever else it tells
    /// nobody wanted to know. A key of which something could not be kept does not count as told.
    pub fn answered(&mut self, broker: PublicKey, changes: Vec<KeyChange>, now: Now) -> Heard {
        let mut heard = Heard::default();
        let (Some(inquiry), Some(pinned)) = (self.inquiries.get_mut(&broker), &self.pinned) else {
            return heard;
        };
        inquiry.tries = Backoff::default();
        let asked = std::mem::take(&mut inquiry.under_way);
        let relied = Relied { pinned, delegates: &self.delegates };
        self.missed.retain(|(by, key), _| *by != broker || !asked.contains(key));
        for change in changes.into_iter().filter(|change| asked.contains(&change.signer())) {
            let signer = change.signer();
            if self.changes.hear(change, relied, now.wall, &mut heard).is_err() {
                self.missed.insert((broker, signer), now.mono);
            }
        }
        let told = asked.into_iter().filter(|key| !self.missed.contains_key(&(broker, *key)));
        self.told.extend(told.map(|key| (key, now)));
        heard
    }

    /// Somebody has brought what a broker told. What finds no room here is told by brokers again.
    pub fn brought(&mut self, changes: Vec<KeyChange>, now: Now) -> Heard {
        let mut heard = Heard::default();
        let Some(pinned) = &self.pinned else { return heard };
        let relied = Relied { pinned, delegates: &self.delegates };
        for change in changes {
            drop(self.changes.hear(change, relied, now.wall, &mut heard));
        }
        heard
    }

    /// Whether the owner's pins are known.
    pub fn knows_pins(&self) -> bool {
        self.pinned.is_some()
    }

    /// `broker` has not answered, or not to the question.
    pub fn unanswered(&mut self, broker: PublicKey, now: Mono) {
        let Some(inquiry) = self.inquiries.get_mut(&broker) else { return };
        inquiry.wanted.extend(std::mem::take(&mut inquiry.under_way));
        inquiry.tries.fail(now, FIRST_WAIT, LONGEST_WAIT);
    }

    /// Whether `offer` may be claimed as far as its keys go.
    ///
    /// # Errors
    /// That a key is void, or that nobody has told lately whether one is.
    pub fn judge(&self, offer: &Verified<Offer>, now: Now) -> Result<(), Decline> {
        let (project, signer) = (offer.project, offer.signer());
        if self.is_void(offer) {
            return Err(Decline::Revoked(signer));
        }
        let confirmed = [project.into(), signer].iter().all(|key| self.is_confirmed(*key, now));
        if confirmed { Ok(()) } else { Err(Decline::Unconfirmed) }
    }

    /// Whether the signer of `offer` is void in its project.
    pub fn is_void(&self, offer: &Verified<Offer>) -> bool {
        self.changes.book().is_void_for(offer.signer(), offer.project)
    }

    /// What the book says.
    pub fn book(&self) -> &KeyBook {
        self.changes.book()
    }

    /// Whether somebody is being asked about the keys of `offer`.
    pub fn is_asking(&self, offer: &Verified<Offer>) -> bool {
        let keys = [offer.project.into(), offer.signer()];
        self.inquiries.values().any(|inquiry| {
            let first_try = inquiry.tries.failures == 0;
            keys.iter().any(|key| {
                inquiry.under_way.contains(key) || (first_try && inquiry.wanted.contains(key))
            })
        })
    }

    /// Forgets what has expired, except what pinned projects have said.
    pub fn expire(&mut self, now: Timestamp) -> Vec<Write> {
        let pinned = self.pinned.as_ref();
        pinned.map(|pinned| self.changes.expire(pinned, now)).unwrap_or_default()
    }

    /// When, after `now`, a broker is to be asked.
    pub fn next_wake(&self, now: Mono) -> Option<Mono> {
        let idle = self.inquiries.values().filter(|inquiry| inquiry.under_way.is_empty());
        let wakes = idle.map(|inquiry| {
            let wanted = !inquiry.wanted.is_empty();
            if wanted { inquiry.tries.not_before } else { inquiry.next_round }
        });
        wakes.filter(|at| *at > now).min()
    }

    fn watched(&self) -> impl Iterator<Item = PublicKey> {
        self.pinned.iter().flatten().chain(self.delegates.keys()).copied()
    }

    /// Asks every broker about `key`, unless one has answered lately.
    fn want(&mut self, key: PublicKey, now: Now) {
        if self.is_confirmed(key, now) {
            return;
        }
        for inquiry in self.inquiries.values_mut() {
            if !inquiry.under_way.contains(&key) {
                inquiry.wanted.insert(key);
            }
        }
    }

    /// Whether a broker has answered about `key` lately, by both clocks: the monotonic one stands
    /// still while a machine sleeps, the other can be set back.
    pub fn is_confirmed(&self, key: PublicKey, now: Now) -> bool {
        let holds = |at: Mono| now.mono - at < ANSWER_HOLDS;
        let missed = self.missed.iter().any(|((_, of), at)| *of == key && holds(*at));
        let told = self.told.get(&key).is_some_and(|at| {
            holds(at.mono)
                && now.wall.since(at.wall) < ANSWER_HOLDS
                && at.wall.since(now.wall) <= MAX_CLOCK_SKEW
        });
        told && !missed
    }
}
