//! The gossip that this broker keeps: what it compares with other brokers, and gives to them.
//!
//! Gossip has no memory and drops under load, so what matters is kept here until it expires. A
//! statement is about a [`Subject`]; of each subject only the newest statement is kept, and of each
//! kind only so many, in all and of one owner.

use std::collections::{BTreeMap, BTreeSet};

use capability::{
    Envelope, KEY_BYTES, Kind, MAX_CLOCK_SKEW, MAX_STATEMENT_BYTES, Payload, ProjectKey, PublicKey,
    StatementId, Timestamp,
};
use mesh_core::{
    Gossip, MAX_CARDS, MAX_KEY_CHANGE_BYTES, MAX_REVOCATIONS_A_SIGNER, MAX_SUCCESSIONS_A_SIGNER,
};

/// Offers kept at most; at some kilobytes each they take tens of megabytes.
pub const MAX_OFFERS: usize = 10_000;
/// Offers of one project at most: a tenth of all, so that ten projects always fit.
pub const MAX_OFFERS_A_PROJECT: usize = 1_000;
/// Homes, registrations, revocations and successions kept at most, each: one of every project with an offer.
pub const MAX_PROJECTS: usize = 10_000;
/// Withdrawals kept at most: each stands for an offer that is over but would still be taken, so that
/// they are many times as many as the offers; with all that finds them they take less than a kilobyte each.
pub const MAX_WITHDRAWALS: usize = 100_000;
/// Withdrawals of one key at most: as many as the jobs that an adapter keeps until they expire.
pub const MAX_WITHDRAWALS_A_SIGNER: usize = 10_000;
/// Summaries kept at most: one of every broker's shards, mostly two.
pub const MAX_SUMMARIES: usize = 2 * MAX_CARDS;
/// Summaries of one broker at most: the shards that there are, with room for new ones.
pub const MAX_SUMMARIES_A_BROKER: usize = 32;

/// What a statement is about. A newer statement about the same subject replaces the older.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    Card(PublicKey),
    Registration(ProjectKey),
    Home(ProjectKey),
    /// Who said it, and of which key.
    Revocation(PublicKey, PublicKey),
    /// Which key, and the one that follows it. Two of one key are kept: they contradict each other.
    Succession(PublicKey, PublicKey),
    Offer(ProjectKey, StatementId),
    Withdrawal(PublicKey, StatementId),
    Summary(PublicKey, String),
}

impl Subject {
    pub(crate) fn of(gossip: &Gossip) -> Self {
        match gossip {
            Gossip::Card(card) => Self::Card(card.signer()),
            Gossip::Registration(it) => Self::Registration(it.signer().into()),
            Gossip::Home(home) => Self::Home(home.project),
            Gossip::Revocation(it) => Self::Revocation(it.signer(), it.key),
            Gossip::Succession(it) => Self::Succession(it.signer(), it.successor),
            Gossip::Offer(offer) => Self::Offer(offer.project, offer.id()),
            Gossip::Withdrawal(it) => Self::Withdrawal(it.signer(), it.statement),
            Gossip::Summary(it) => Self::Summary(it.signer(), it.shard.clone()),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Card(_) => Kind::BrokerCard,
            Self::Registration(_) => Kind::Registration,
            Self::Home(_) => Kind::Home,
            Self::Revocation(..) => Kind::Revocation,
            Self::Succession(..) => Kind::Succession,
            Self::Offer(..) => Kind::Offer,
            Self::Withdrawal(..) => Kind::Withdrawal,
            Self::Summary(..) => Kind::Summary,
        }
    }

    /// Whose share of the bound it counts against.
    fn owner(&self) -> [u8; KEY_BYTES] {
        match self {
            Self::Registration(project) | Self::Home(project) | Self::Offer(project, _) => {
                *project.as_bytes()
            }
            Self::Card(signer)
            | Self::Revocation(signer, _)
            | Self::Succession(signer, _)
            | Self::Withdrawal(signer, _)
            | Self::Summary(signer, _) => *signer.as_bytes(),
        }
    }

    /// Bytes of a statement that is kept at most.
    fn max_bytes(&self) -> usize {
        match self {
            // Volunteers ask for all that a key has said.
            Self::Revocation(..) | Self::Succession(..) => MAX_KEY_CHANGE_BYTES,
            _ => MAX_STATEMENT_BYTES,
        }
    }

    /// How many of the kind are kept, in all and of one owner.
    fn bounds(&self) -> (usize, usize) {
        match self {
            Self::Card(_) => (MAX_CARDS, 1),
            Self::Registration(_) | Self::Home(_) => (MAX_PROJECTS, 1),
            Self::Revocation(..) => (MAX_PROJECTS, MAX_REVOCATIONS_A_SIGNER),
            Self::Succession(..) => (MAX_PROJECTS, MAX_SUCCESSIONS_A_SIGNER),
            Self::Offer(..) => (MAX_OFFERS, MAX_OFFERS_A_PROJECT),
            Self::Withdrawal(..) => (MAX_WITHDRAWALS, MAX_WITHDRAWALS_A_SIGNER),
            Self::Summary(..) => (MAX_SUMMARIES, MAX_SUMMARIES_A_BROKER),
        }
    }
}

/// What the set makes of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It was not known, and is kept now.
    News,
    /// It is known, or something newer about its subject is, or it is not wanted.
    Old,
    /// It would be kept if there were room.
    Full,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct GossipSet {
    kept: BTreeMap<Subject, Kept>,
    by_id: BTreeMap<StatementId, Subject>,
    ids: BTreeSet<StatementId>,
    counts: BTreeMap<Kind, usize>,
    shares: BTreeMap<(Kind, [u8; KEY_BYTES]), usize>,
}

#[derive(Debug)]
struct Kept {
    envelope: Envelope,
    rank: Rank,
    expires: Timestamp,
}

/// Newer statements about a subject rank higher. The id breaks ties, so that all brokers agree.
type Rank = (u64, Timestamp, StatementId);

impl GossipSet {
    /// The ids of all that is kept.
    pub(crate) fn ids(&self) -> &BTreeSet<StatementId> {
        &self.ids
    }

    /// The bytes of a statement that is kept.
    pub(crate) fn envelope(&self, id: StatementId) -> Option<&Envelope> {
        Some(&self.kept.get(self.by_id.get(&id)?)?.envelope)
    }

    /// The bytes of what is kept about `subject`.
    pub(crate) fn of(&self, subject: &Subject) -> Option<&Envelope> {
        self.kept.get(subject).map(|kept| &kept.envelope)
    }

    /// The bytes of the summaries of `broker`.
    pub(crate) fn summaries_of(&self, broker: PublicKey) -> impl Iterator<Item = &Envelope> {
        let from = Subject::Summary(broker, String::new());
        let of_broker = self.kept.range(from..).take_while(
            move |(subject, _)| matches!(subject, Subject::Summary(signer, _) if *signer == broker),
        );
        of_broker.map(|(_, kept)| &kept.envelope)
    }

    /// The bytes of what `signer` has said about keys.
    pub(crate) fn key_changes_of(&self, signer: PublicKey) -> impl Iterator<Item = &Envelope> {
        let [least, most] = [0, u8::MAX].map(|byte| PublicKey::from_bytes([byte; KEY_BYTES]));
        let revocations = Subject::Revocation(signer, least)..=Subject::Revocation(signer, most);
        let successions = Subject::Succession(signer, least)..=Subject::Succession(signer, most);
        let ranges = self.kept.range(revocations).chain(self.kept.range(successions));
        ranges.map(|(_, kept)| &kept.envelope)
    }

    /// What the statement of that id is about, if it is kept.
    pub(crate) fn subject(&self, id: StatementId) -> Option<&Subject> {
        self.by_id.get(&id)
    }

    /// What `key` has said, or what is said as its project, but for what concerns keys.
    pub(crate) fn subjects_of(&self, key: PublicKey) -> Vec<Subject> {
        let said = self.kept.iter().filter(|(subject, kept)| {
            let of_keys = matches!(subject, Subject::Revocation(..) | Subject::Succession(..));
            !of_keys && (subject.owner() == *key.as_bytes() || kept.envelope.signer() == key)
        });
        said.map(|(subject, _)| subject.clone()).collect()
    }

    /// Whether the very statement is kept.
    pub(crate) fn contains(&self, id: StatementId) -> bool {
        self.ids.contains(&id)
    }

    /// What [`GossipSet::admit`] would say.
    pub(crate) fn judge(&self, gossip: &Gossip) -> Admission {
        // Of one that no peer can read, peers would be told with each comparison, in vain.
        let subject = Subject::of(gossip);
        if gossip.envelope().as_bytes().len() > subject.max_bytes() {
            return Admission::Old;
        }
        if let Some(kept) = self.kept.get(&subject) {
            let newer = rank(gossip) > kept.rank;
            return if newer { Admission::News } else { Admission::Old };
        }
        let (kind, (in_all, an_owner)) = (subject.kind(), subject.bounds());
        let count = self.counts.get(&kind).copied().unwrap_or_default();
        let share = self.shares.get(&(kind, subject.owner())).copied().unwrap_or_default();
        if count < in_all && share < an_owner { Admission::News } else { Admission::Full }
    }

    /// Keeps `gossip` if it is news.
    pub(crate) fn admit(&mut self, gossip: &Gossip) -> Admission {
        let admission = self.judge(gossip);
        if admission == Admission::News {
            let subject = Subject::of(gossip);
            self.remove(&subject);
            let (kind, owner, id) = (subject.kind(), subject.owner(), gossip.id());
            *self.counts.entry(kind).or_default() += 1;
            *self.shares.entry((kind, owner)).or_default() += 1;
            self.ids.insert(id);
            self.by_id.insert(id, subject.clone());
            let envelope = gossip.envelope().clone();
            let kept = Kept { envelope, rank: rank(gossip), expires: expires(gossip) };
            self.kept.insert(subject, kept);
        }
        admission
    }

    /// Forgets what is kept about `subject`.
    pub(crate) fn remove(&mut self, subject: &Subject) {
        let Some(kept) = self.kept.remove(subject) else { return };
        let id = kept.envelope.id();
        self.ids.remove(&id);
        self.by_id.remove(&id);
        let (kind, owner) = (subject.kind(), subject.owner());
        if let Some(count) = self.counts.get_mut(&kind) {
            *count -= 1;
        }
        if let Some(share) = self.shares.get_mut(&(kind, owner)) {
            *share -= 1;
            if *share == 0 {
                self.shares.remove(&(kind, owner));
            }
        }
    }

    /// Forgets what no broker takes any more; gives what it was about.
    ///
    /// Others take a statement until its expiry plus the skew of clocks. Forgetting earlier would
    /// only mean to be given it again.
    pub(crate) fn expire(&mut self, now: Timestamp) -> Vec<Subject> {
        let over = self.kept.iter().filter(|(_, kept)| kept.expires + MAX_CLOCK_SKEW <= now);
        let over: Vec<_> = over.map(|(subject, _)| subject.clone()).collect();
        over.iter().for_each(|subject| self.remove(subject));
        over
    }
}

fn rank(gossip: &Gossip) -> Rank {
    let number = match gossip {
        Gossip::Card(card) => card.seq,
        Gossip::Home(home) => home.epoch,
        Gossip::Summary(summary) => summary.seq,
        _ => 0,
    };
    (number, expires(gossip), gossip.id())
}

fn expires(gossip: &Gossip) -> Timestamp {
    match gossip {
        Gossip::Card(it) => it.expires(),
        Gossip::Registration(it) => it.expires(),
        Gossip::Home(it) => it.expires(),
        Gossip::Revocation(it) => it.expires(),
        Gossip::Succession(it) => it.expires(),
        Gossip::Offer(it) => it.expires(),
        Gossip::Withdrawal(it) => it.expires(),
        Gossip::Summary(it) => it.expires(),
    }
}
