//! What peers ask of each other and answer: `/talkoot/1/call` (docs/spec/calls.md).
//!
//! [`Ask`] and [`Answer`] hold statements that have been checked. On the wire they hold envelopes;
//! [`Ask::decode`] and [`Answer::decode`] check every one of them, so that a core never sees a
//! statement that nobody vouched for.

mod wire;

use capability::statements::{
    Ad, BrokerCard, Claim, Class, Home, Lease, Network, Offer, Ownership, Registration, Renewal,
    Withdrawal,
};
use capability::{
    CborError, Explanation, ProjectKey, PublicKey, Requirements, Resources, Runtime,
    StatementError, StatementId, Timestamp, Verified,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::key_change::KeyChange;

/// Bytes of one frame at most (DESIGN.md, appendix A).
pub const MAX_FRAME_BYTES: usize = 1 << 20;

/// Offers in one answer at most, as far as they fit into a frame with their homes and registrations.
pub const MAX_OFFERS_AN_ANSWER: usize = 32;

/// Claims in one question at most: one for each offer of an answer.
pub const MAX_CLAIMS_AN_ASK: usize = MAX_OFFERS_AN_ANSWER;

/// Withdrawals in one question at most.
pub const MAX_WITHDRAWALS_AN_ASK: usize = 32;

/// Offers in one publication, which is a request and no larger than a statement.
pub const MAX_OFFERS_A_PUBLICATION: usize = 32;

/// Statements that a pull can decline at most.
pub const MAX_EXCEPTIONS: usize = 1024;

/// Ranges of settled tasks in one publication at most: every second of 100,000 tasks.
pub const MAX_SETTLED_RANGES: usize = 50_000;

/// Registrations in one answer at most: at their longest they fit into a frame.
pub const MAX_REGISTRATIONS_AN_ANSWER: usize = 15;

/// Stopped tasks in one answer at most; more come with the next.
pub const MAX_STOPPED_AN_ANSWER: usize = 256;

/// Broker cards in one answer at most, and brokers that can be asked about: at their longest the
/// cards and a network's list fit into a frame.
pub const MAX_BROKERS_AN_ANSWER: usize = 14;

/// Brokers that a question may cross: far more than any sound route has.
pub const MAX_HOPS: u8 = 16;

/// Addresses of other brokers in one refusal at most.
pub const MAX_OTHER_BROKERS: usize = 8;

/// A question to a broker.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// A volunteer leaves its ad with its primary broker.
    Advertise {
        /// The ad, which names that broker.
        ad: Verified<Ad>,
    },
    /// A volunteer with free resources waits for offers that match its ad.
    Pull {
        /// What it would take.
        wants: Wants,
    },
    /// A master hands over offers, to be kept and made known.
    Publish {
        /// Who the project is.
        registration: Verified<Registration>,
        /// The home of the offers: the broker that is asked, or one that it stands by.
        home: Verified<Home>,
        /// 1 to [`MAX_OFFERS_A_PUBLICATION`].
        offers: Vec<Published>,
    },
    /// A master ends offers.
    Withdraw {
        /// One of each, signed by the offer's signer; 1 to [`MAX_WITHDRAWALS_AN_ASK`].
        withdrawals: Vec<Verified<Withdrawal>>,
    },
    /// A volunteer asks for tasks; forwarded to their home.
    Claim {
        /// One of each offer; 1 to [`MAX_CLAIMS_AN_ASK`], together for at most [`MAX_TASKS_A_CLAIM`](capability::statements::MAX_TASKS_A_CLAIM) tasks.
        claims: Vec<Verified<Claim>>,
        /// The home of the claims' epochs.
        home: PublicKey,
        /// Brokers that it may still cross.
        hops: u8,
    },
    /// A volunteer keeps or returns leases; forwarded to the offer's home.
    Renew {
        /// The renewal.
        renewal: Verified<Renewal>,
        /// The home of the renewal's epoch.
        home: PublicKey,
        /// Brokers that it may still cross.
        hops: u8,
    },
    /// How many machines could run a job, and what keeps out the others.
    Explain(JobNeeds),
    /// The ad of one volunteer.
    Ad {
        /// Whose.
        volunteer: PublicKey,
    },
    /// A broker pulls the signed ads behind a class of another broker's summary.
    Ads {
        /// The class.
        class: Class,
    },
    /// A master asks its home for tasks that are carried to a volunteer as a file (C15).
    Lend(Loan),
    /// Who these projects are, as far as the broker knows: volunteers need a project's checks before
    /// its first offer, which may require what they find.
    Registrations {
        /// At most [`MAX_REGISTRATIONS_AN_ANSWER`].
        projects: Vec<ProjectKey>,
    },
    /// A master asks its home which tasks nobody gets any more.
    Stopped {
        /// Whose.
        project: ProjectKey,
    },
    /// Somebody makes known that a key is void, or has passed on.
    Declare {
        /// What.
        change: KeyChange,
    },
    /// An owner vouches for its volunteers, at a broker that does not work for everybody (C51).
    Vouch {
        /// In the owner's words.
        ownership: Verified<Ownership>,
    },
    /// What has become of keys, as they or those that answer for them say.
    KeyChanges {
        /// Whose statements are wanted; at most [`MAX_KEYS_AN_ASK`](crate::MAX_KEYS_AN_ASK).
        of: Vec<PublicKey>,
    },
    /// Where brokers are.
    Brokers {
        /// Which, at most [`MAX_BROKERS_AN_ANSWER`]; none: some that the asker could turn to.
        of: Vec<PublicKey>,
        /// The founder whose list is wanted too.
        network: Option<PublicKey>,
    },
}

/// What a volunteer would take: a coarse filter. Its policy stays with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Wants {
    /// Runtimes that it has free.
    pub runtimes: Vec<Runtime>,
    /// Resources that it has free.
    pub free: Resources,
    /// Only these projects; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub projects: Vec<ProjectKey>,
    /// Offers that it does not want now; at most [`MAX_EXCEPTIONS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<StatementId>,
    /// How many milliseconds it waits for such an offer; absent: as long as a proxy between would let it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
}

/// Tasks that a master has lent to a volunteer without a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Loan {
    /// Of which offer, which the asker has signed.
    pub offer: StatementId,
    /// The epoch whose home is asked.
    pub epoch: u64,
    /// To whom.
    pub volunteer: PublicKey,
    /// In which runtime they will run.
    pub runtime: Runtime,
    /// How many tasks in all, those that it has already included; 1 to 256.
    pub count: u16,
    /// Until when.
    pub until: Timestamp,
}

/// What a job needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobNeeds {
    /// What this offer says, which the broker knows.
    Offer(StatementId),
    /// This, of which there is no offer yet; no larger than a statement may be.
    Requirements(Requirements),
}

/// An offer that a master publishes.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// The offer.
    pub offer: Verified<Offer>,
    /// Whether that broker has acknowledged the offer in this epoch before. If it does not know it, it was rebuilt
    /// and must not grant; it answers [`Refusal::Forgotten`].
    pub again: bool,
    /// Tasks that need no lease any more, as inclusive ranges of task numbers.
    pub settled: Vec<(u32, u32)>,
}

/// The answer to an [`Ask`].
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Done, and durable where that matters.
    Done,
    /// Offers that match the volunteer's ad; none if the wait was in vain.
    Offers(Vec<Offered>),
    /// Tasks granted, one lease each; at least one.
    Leases(Vec<Verified<Lease>>),
    /// The renewal holds for all of its leases but these, which have lapsed or ended.
    Renewed {
        /// Leases that are no longer the volunteer's.
        lapsed: Vec<StatementId>,
    },
    /// The offer of the renewal was withdrawn: nobody waits for its tasks any more.
    Withdrawn(Verified<Withdrawal>),
    /// How the ads that the broker knows stand to a job.
    Explanation(Explanation),
    /// Signed ads.
    Ads(Vec<Verified<Ad>>),
    /// Those that are known, at most [`MAX_REGISTRATIONS_AN_ANSWER`].
    Registrations(Vec<Verified<Registration>>),
    /// Tasks that nobody gets any more; at most [`MAX_STOPPED_AN_ANSWER`].
    Stopped(Vec<StoppedTask>),
    /// All that is known here of what those keys have signed about keys.
    KeyChanges(Vec<KeyChange>),
    /// Where brokers are.
    Brokers {
        /// Cards, at most [`MAX_BROKERS_AN_ANSWER`].
        cards: Vec<Verified<BrokerCard>>,
        /// The newest list of the founder that was asked for, if it is known here.
        network: Option<Verified<Network>>,
    },
    /// To each part of a question that has several, in their order: [`Answer::Done`], [`Answer::Leases`] or
    /// [`Answer::Refused`].
    Each(Vec<Answer>),
    /// No, and why.
    Refused(Refusal),
}

/// A task that machine after machine took without being heard of again (rule C12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StoppedTask {
    /// Of which offer.
    pub offer: StatementId,
    /// Its number.
    pub task: u32,
    /// How many volunteers it were, as far as they are counted.
    pub volunteers: u32,
    /// How many leases in all.
    pub times: u32,
}

/// An offer with what a volunteer needs to judge and to claim it.
#[derive(Debug, Clone, PartialEq)]
pub struct Offered {
    /// The offer.
    pub offer: Verified<Offer>,
    /// Its project's current home.
    pub home: Verified<Home>,
    /// The project, if the broker knows its registration.
    pub registration: Option<Verified<Registration>>,
    /// Other machines that could run it, of those that the broker knows, if it says so. Nobody has
    /// signed that.
    pub others: Option<u32>,
    /// For how many seconds the broker has known no way to the home, if it knows none. Nobody has
    /// signed that either.
    pub home_unseen: Option<u32>,
}

/// Why a broker says no.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// Every task is leased, returned or done; some may open again.
    #[error("no task of that offer is open now")]
    NoTask,
    /// The offer is not known here, expired or was withdrawn.
    #[error("that offer is not known here, or it is over")]
    UnknownOffer,
    /// The broker that was asked is not the home of that epoch.
    #[error("that broker is not the offer's home in that epoch")]
    NotHome,
    /// The volunteer's ad does not satisfy the offer.
    #[error("the ad does not satisfy the offer: {0}")]
    Unmatched(String),
    /// The way to the home is cut.
    #[error("no way to the offer's home broker at present")]
    NoRoute,
    /// A bound is reached, or the disk is full; nothing was taken.
    #[error("the broker is full: {0}")]
    Full(String),
    /// The question does not make sense here.
    #[error("{0}")]
    Invalid(String),
    /// Another home of that epoch, or one of a later epoch, is known: somebody else speaks for the
    /// project, or the asker has forgotten what it said.
    #[error("another home of the project is known, of epoch {epoch}")]
    Superseded {
        /// That home's.
        epoch: u64,
    },
    /// The broker has lost what it knew of this offer: it grants again in a new epoch only.
    #[error("the broker does not remember the offer; it needs a new epoch")]
    Forgotten,
    /// The asker is over a limit; nothing was taken (C50).
    #[error("too much was asked; there is room again in {0} ms")]
    SlowDown(u32),
    /// The broker does not work for the asker, or for whom it asks (C51).
    #[error("not admitted: {0}")]
    NotAdmitted(String),
    /// The broker's operator took it down, and why (C52).
    #[error("taken down by the broker's operator: {0}")]
    TakenDown(String),
    /// The broker is leaving and takes no new work; where others can be dialled, at most
    /// [`MAX_OTHER_BROKERS`] (C53).
    #[error("the broker is leaving; other brokers take new work")]
    Elsewhere(Vec<String>),
}

/// A message is not what it should be.
#[derive(Debug, Error)]
pub enum MessageError {
    /// Not the deterministic encoding of a message.
    #[error("malformed message")]
    Cbor(#[from] CborError),
    /// A statement in it was refused.
    #[error("a statement in the message")]
    Statement(#[from] StatementError),
    /// Claims or withdrawals in one question that are no leaves of one batch.
    #[error("statements of several batches in one question")]
    SeveralBatches,
    /// Claims in one question with several ads or ownerships.
    #[error("claims of several machines in one question")]
    SeveralMachines,
    /// A list that must not be empty is.
    #[error("no {what} in a message about them")]
    None {
        /// Of what.
        what: &'static str,
    },
    /// A list is longer than its bound.
    #[error("over {limit} {what} in one message")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
}

impl Answer {
    /// That to a question whose parts have these answers; at least one.
    pub fn to_parts(mut parts: Vec<Self>) -> Self {
        match parts.len() {
            1 => parts.remove(0),
            _ => Self::Each(parts),
        }
    }

    /// The answers to the `count` parts of a question; `None` if they are not as many.
    pub fn parts(self, count: usize) -> Option<Vec<Self>> {
        match self {
            Self::Each(parts) => (parts.len() == count).then_some(parts),
            Self::Refused(_) => Some(vec![self; count]),
            _ => (count == 1).then(|| vec![self]),
        }
    }
}
