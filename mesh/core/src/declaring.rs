//! Key changes on their way to brokers: every broker is told of each, on connecting and until it
//! acknowledges.
//!
//! Nothing of this is durable. Whoever carries the statements has them on disk; after a restart the
//! brokers hear them once more, which does no harm.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::{PublicKey, StatementId};

use crate::contract::CallFailed;
use crate::key_change::KeyChange;
use crate::message::{Answer, Ask, Refusal};
use crate::time::Mono;

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug, Default)]
pub struct Declarations {
    changes: BTreeMap<StatementId, KeyChange>,
    brokers: BTreeMap<PublicKey, Hearer>,
}

/// A connected broker.
#[derive(Debug, Default)]
struct Hearer {
    /// Acknowledged, or refused for good.
    settled: BTreeSet<StatementId>,
    under_way: Option<StatementId>,
    failures: u32,
    not_before: Mono,
}

/// What a broker has made of a declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// The statement.
    pub change: StatementId,
    /// The broker.
    pub broker: PublicKey,
    /// Whether it is durable there; if not, why, for people. Unless it never will be, it is tried
    /// again.
    pub kept: Result<(), String>,
}

impl Declarations {
    /// From now on these are told, and no others.
    pub fn set(&mut self, changes: impl IntoIterator<Item = KeyChange>) {
        self.changes = changes.into_iter().map(|change| (change.id(), change)).collect();
        let Self { changes, brokers } = self;
        for hearer in brokers.values_mut() {
            hearer.settled.retain(|id| changes.contains_key(id));
            hearer.failures = 0;
            hearer.not_before = Mono::default();
        }
    }

    /// What is told, in the order of the ids.
    pub fn changes(&self) -> impl Iterator<Item = &KeyChange> {
        self.changes.values()
    }

    /// There is one more broker to tell.
    pub fn broker_up(&mut self, broker: PublicKey) {
        self.brokers.insert(broker, Hearer::default());
    }

    /// A broker is gone.
    pub fn broker_down(&mut self, broker: PublicKey) {
        self.brokers.remove(&broker);
    }

    /// What to ask of whom now, one question a broker; each is under way until [`Self::answered`].
    pub fn due(&mut self, now: Mono) -> Vec<(PublicKey, StatementId, Ask)> {
        let Self { changes, brokers } = self;
        let idle = brokers.iter_mut().filter(|(_, hearer)| hearer.is_idle(now));
        let due = idle.filter_map(|(broker, hearer)| {
            let change = changes.iter().find(|(id, _)| !hearer.settled.contains(id));
            let (id, change) = change?;
            hearer.under_way = Some(*id);
            Some((*broker, *id, Ask::Declare { change: change.clone() }))
        });
        due.collect()
    }

    /// `broker` was told of `change`, and this came of it.
    pub fn answered(
        &mut self,
        broker: PublicKey,
        change: StatementId,
        answer: Result<Answer, CallFailed>,
        now: Mono,
    ) -> Declared {
        let hearer =
            self.brokers.get_mut(&broker).filter(|hearer| hearer.under_way == Some(change));
        let (settled, kept) = match answer {
            Ok(Answer::Done) => (true, Ok(())),
            // An older broker does not know the question.
            Ok(Answer::Refused(Refusal::Invalid(why))) => (true, Err(why)),
            Ok(Answer::Refused(refusal)) => (false, Err(refusal.to_string())),
            Ok(_) => (false, Err("the answer does not fit the question".to_owned())),
            Err(failed) => (false, Err(failed.to_string())),
        };
        if let Some(hearer) = hearer {
            hearer.under_way = None;
            if settled {
                // It may have been taken back meanwhile.
                hearer.settled.extend(self.changes.contains_key(&change).then_some(change));
                hearer.failures = 0;
            } else {
                hearer.fail(now);
            }
        }
        Declared { change, broker, kept }
    }

    /// Whether `broker` is still to hear something for the first time. What a void key has told it
    /// holds until then.
    pub fn precede(&self, broker: PublicKey) -> bool {
        self.brokers.get(&broker).is_some_and(|hearer| {
            let unheard = self.changes.keys().any(|id| !hearer.settled.contains(id));
            unheard && hearer.failures == 0
        })
    }

    /// When, after `now`, a broker is to be told again.
    pub fn next_wake(&self, now: Mono) -> Option<Mono> {
        let waiting = self.brokers.values().filter(|hearer| hearer.under_way.is_none());
        let waiting = waiting.filter(|hearer| hearer.settled.len() < self.changes.len());
        waiting.map(|hearer| hearer.not_before).filter(|at| *at > now).min()
    }
}

impl Hearer {
    fn is_idle(&self, now: Mono) -> bool {
        self.under_way.is_none() && self.not_before <= now
    }

    fn fail(&mut self, now: Mono) {
        let wait = FIRST_WAIT.saturating_mul(1 << self.failures.min(16)).min(LONGEST_WAIT);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + wait;
    }
}
