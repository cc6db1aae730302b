//! What peers ask of each other and answer: `/talkoot/1/call` (docs/spec/calls.md).
//!
//! [`Ask`] and [`Answer`] hold statements that have been checked. On the wire they hold envelopes;
//! [`Ask::decode`] and [`Answer::decode`] check every one of them, so that a core never sees a
//! statement that nobody vouched for.

use capability::statements::{
    Ad, BrokerCard, Claim, Class, Home, Lease, MAX_TASKS_A_CLAIM, Network, Offer, Ownership,
    Registration, Renewal, Withdrawal,
};
use capability::{
    Carried, CborError, Envelope, Explanation, MAX_STATEMENT_BYTES, Payload, ProjectKey, PublicKey,
    Requirements, Resources, Runtime, StatementError, StatementId, Verified, Verifier, decode_cbor,
    encode_cbor,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::key_change::{KeyChange, MAX_KEY_CHANGES_AN_ANSWER, MAX_KEYS_AN_ASK};

/// Bytes of one frame at most (DESIGN.md, appendix A).
pub const MAX_FRAME_BYTES: usize = 1 << 20;

/// Offers in one answer at most, as far as they fit into a frame with their homes and registrations.
pub const MAX_OFFERS_AN_ANSWER: usize = 32;

/// Claims in one question at most: one for each offer of an answer.
pub const MAX_CLAIMS_AN_ASK: usize = MAX_OFFERS_AN_ANSWER;

/// Withdrawals in one question at most.
pub const MAX_WITHDRAWALS_AN_ASK: usize = 32;

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
    /// A master hands over an offer, to be kept and made known.
    Publish {
        /// Who the project is.
        registration: Verified<Registration>,
        /// The home of the offer: the broker that is asked, or one that it stands by.
        home: Verified<Home>,
        /// The offer.
        offer: Verified<Offer>,
        /// Whether that broker has acknowledged the offer in this epoch before. If it does not know
        /// it, it was rebuilt and must not grant; it answers [`Refusal::Forgotten`].
        again: bool,
        /// Tasks that need no lease any more, as inclusive ranges of task numbers.
        settled: Vec<(u32, u32)>,
    },
    /// A master ends offers.
    Withdraw {
        /// One of each, signed by the offer's signer; 1 to [`MAX_WITHDRAWALS_AN_ASK`].
        withdrawals: Vec<Verified<Withdrawal>>,
    },
    /// A volunteer asks for tasks; forwarded to their home.
    Claim {
        /// One of each offer; 1 to [`MAX_CLAIMS_AN_ASK`], together for at most [`MAX_TASKS_A_CLAIM`] tasks.
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
        /// Whose statements are wanted; at most [`MAX_KEYS_AN_ASK`].
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

/// What a job needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobNeeds {
    /// What this offer says, which the broker knows.
    Offer(StatementId),
    /// This, of which there is no offer yet; no larger than a statement may be.
    Requirements(Requirements),
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

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WireAsk {
    Advertise {
        ad: Envelope,
    },
    Pull {
        wants: Wants,
    },
    Publish {
        registration: Envelope,
        home: Envelope,
        offer: Envelope,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        again: bool,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        settled: Vec<(u32, u32)>,
    },
    Withdraw {
        withdrawals: Vec<Envelope>,
    },
    Claim {
        claims: Vec<Envelope>,
        home: PublicKey,
        hops: u8,
    },
    Renew {
        renewal: Envelope,
        home: PublicKey,
        hops: u8,
    },
    Explain(JobNeeds),
    Ad {
        volunteer: PublicKey,
    },
    Ads {
        class: Class,
    },
    Registrations {
        projects: Vec<ProjectKey>,
    },
    Stopped {
        project: ProjectKey,
    },
    Declare {
        change: Envelope,
    },
    Vouch {
        ownership: Envelope,
    },
    KeyChanges {
        of: Vec<PublicKey>,
    },
    Brokers {
        of: Vec<PublicKey>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        network: Option<PublicKey>,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WireAnswer {
    Done,
    Offers(Vec<WireOffered>),
    Leases(Vec<Envelope>),
    Renewed {
        lapsed: Vec<StatementId>,
    },
    Withdrawn(Envelope),
    Explanation(Explanation),
    Ads(Vec<Envelope>),
    Registrations(Vec<Envelope>),
    Stopped(Vec<StoppedTask>),
    KeyChanges(Vec<Envelope>),
    Brokers {
        cards: Vec<Envelope>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        network: Option<Envelope>,
    },
    Each(Vec<WirePart>),
    Refused(Refusal),
}

/// What a part of a question may be answered with.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WirePart {
    Done,
    Leases(Vec<Envelope>),
    Refused(Refusal),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct WireOffered {
    offer: Envelope,
    home: Envelope,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    registration: Option<Envelope>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    others: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    home_unseen: Option<u32>,
}

impl Ask {
    /// The body of a request.
    pub fn encode(&self) -> Vec<u8> {
        encode_cbor(&match self.clone() {
            Self::Advertise { ad } => WireAsk::Advertise { ad: ad.envelope().clone() },
            Self::Pull { wants } => WireAsk::Pull { wants },
            Self::Publish { registration, home, offer, again, settled } => WireAsk::Publish {
                registration: registration.envelope().clone(),
                home: home.envelope().clone(),
                offer: offer.envelope().clone(),
                again,
                settled,
            },
            Self::Withdraw { withdrawals } => {
                WireAsk::Withdraw { withdrawals: envelopes(&withdrawals) }
            }
            Self::Claim { claims, home, hops } => {
                WireAsk::Claim { claims: envelopes(&claims), home, hops }
            }
            Self::Renew { renewal, home, hops } => {
                WireAsk::Renew { renewal: renewal.envelope().clone(), home, hops }
            }
            Self::Explain(needs) => WireAsk::Explain(needs),
            Self::Ad { volunteer } => WireAsk::Ad { volunteer },
            Self::Ads { class } => WireAsk::Ads { class },
            Self::Registrations { projects } => WireAsk::Registrations { projects },
            Self::Stopped { project } => WireAsk::Stopped { project },
            Self::Declare { change } => WireAsk::Declare { change: change.envelope().clone() },
            Self::Vouch { ownership } => WireAsk::Vouch { ownership: ownership.envelope().clone() },
            Self::KeyChanges { of } => WireAsk::KeyChanges { of },
            Self::Brokers { of, network } => WireAsk::Brokers { of, network },
        })
    }

    /// Reads the body of a request and checks the statements in it.
    pub fn decode(bytes: &[u8], verifier: &dyn Verifier) -> Result<Self, MessageError> {
        Ok(match decode_cbor(bytes, MAX_FRAME_BYTES)? {
            WireAsk::Advertise { ad } => Self::Advertise { ad: *checked_alone(&ad, verifier)? },
            WireAsk::Pull { wants } => {
                bounded("declined offers", wants.except.len(), MAX_EXCEPTIONS)?;
                bounded("projects", wants.projects.len(), MAX_EXCEPTIONS)?;
                Self::Pull { wants }
            }
            WireAsk::Publish { registration, home, offer, again, settled } => {
                bounded("ranges of settled tasks", settled.len(), MAX_SETTLED_RANGES)?;
                Self::Publish {
                    registration: *checked_alone(&registration, &Carried(verifier))?,
                    home: *checked_alone(&home, &Carried(verifier))?,
                    offer: *checked_alone(&offer, verifier)?,
                    again,
                    settled,
                }
            }
            WireAsk::Withdraw { withdrawals } => {
                some_of("withdrawals", withdrawals.len(), MAX_WITHDRAWALS_AN_ASK)?;
                one_batch(&withdrawals)?;
                Self::Withdraw { withdrawals: checked(&withdrawals, verifier)? }
            }
            WireAsk::Claim { claims, home, hops } => {
                some_of("claims", claims.len(), MAX_CLAIMS_AN_ASK)?;
                one_batch(&claims)?;
                let claims = claims_of_one_machine(&claims, verifier)?;
                let tasks = claims.iter().map(|claim| usize::from(claim.count)).sum();
                bounded("tasks claimed", tasks, MAX_TASKS_A_CLAIM.into())?;
                Self::Claim { claims, home, hops }
            }
            WireAsk::Renew { renewal, home, hops } => {
                Self::Renew { renewal: *checked_alone(&renewal, verifier)?, home, hops }
            }
            WireAsk::Explain(needs) => {
                if let JobNeeds::Requirements(requirements) = &needs {
                    let size = encode_cbor(requirements).len();
                    bounded("bytes of requirements", size, MAX_STATEMENT_BYTES)?;
                }
                Self::Explain(needs)
            }
            WireAsk::Ad { volunteer } => Self::Ad { volunteer },
            WireAsk::Ads { class } => Self::Ads { class },
            WireAsk::Registrations { projects } => {
                bounded("projects", projects.len(), MAX_REGISTRATIONS_AN_ANSWER)?;
                Self::Registrations { projects }
            }
            WireAsk::Stopped { project } => Self::Stopped { project },
            WireAsk::Declare { change } => {
                Self::Declare { change: KeyChange::check(&change, verifier)? }
            }
            WireAsk::Vouch { ownership } => {
                Self::Vouch { ownership: *checked_alone(&ownership, verifier)? }
            }
            WireAsk::KeyChanges { of } => {
                bounded("keys", of.len(), MAX_KEYS_AN_ASK)?;
                Self::KeyChanges { of }
            }
            WireAsk::Brokers { of, network } => {
                bounded("brokers", of.len(), MAX_BROKERS_AN_ANSWER)?;
                Self::Brokers { of, network }
            }
        })
    }
}

/// Never inlined: with the checks of all kinds in one function, rustc 1.95 stores 16 bytes aligned to
/// where the stack is not, and the program dies.
#[inline(never)]
fn checked_alone<T: Payload>(
    envelope: &Envelope,
    verifier: &dyn Verifier,
) -> Result<Box<Verified<T>>, StatementError> {
    Verified::check(envelope, verifier).map(Box::new)
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

    /// The frame of an answer.
    pub fn encode(&self) -> Vec<u8> {
        encode_cbor(&match self.clone() {
            Self::Done => WireAnswer::Done,
            Self::Offers(offers) => {
                WireAnswer::Offers(offers.iter().map(WireOffered::from).collect())
            }
            Self::Leases(leases) => WireAnswer::Leases(envelopes(&leases)),
            Self::Renewed { lapsed } => WireAnswer::Renewed { lapsed },
            Self::Explanation(explanation) => WireAnswer::Explanation(explanation),
            Self::Ads(ads) => WireAnswer::Ads(envelopes(&ads)),
            Self::Registrations(registrations) => {
                WireAnswer::Registrations(envelopes(&registrations))
            }
            Self::Withdrawn(withdrawal) => WireAnswer::Withdrawn(withdrawal.envelope().clone()),
            Self::Stopped(tasks) => WireAnswer::Stopped(tasks),
            Self::KeyChanges(changes) => {
                let envelopes = changes.iter().map(|change| change.envelope().clone());
                WireAnswer::KeyChanges(envelopes.collect())
            }
            Self::Brokers { cards, network } => WireAnswer::Brokers {
                cards: envelopes(&cards),
                network: network.map(|list| list.envelope().clone()),
            },
            Self::Each(parts) => {
                WireAnswer::Each(parts.into_iter().filter_map(WirePart::of).collect())
            }
            Self::Refused(refusal) => WireAnswer::Refused(refusal),
        })
    }

    /// Reads the frame of an answer and checks the statements in it.
    pub fn decode(bytes: &[u8], verifier: &dyn Verifier) -> Result<Self, MessageError> {
        Ok(match decode_cbor(bytes, MAX_FRAME_BYTES)? {
            WireAnswer::Done => Self::Done,
            WireAnswer::Offers(offers) => {
                bounded("offers", offers.len(), MAX_OFFERS_AN_ANSWER)?;
                let offers = offers.into_iter().map(|offered| offered.check(verifier));
                Self::Offers(offers.collect::<Result<_, _>>()?)
            }
            WireAnswer::Leases(leases) => leased(&leases, verifier)?,
            WireAnswer::Renewed { lapsed } => Self::Renewed { lapsed },
            WireAnswer::Explanation(explanation) => Self::Explanation(explanation),
            WireAnswer::Ads(ads) => Self::Ads(checked(&ads, verifier)?),
            WireAnswer::Registrations(registrations) => {
                bounded("registrations", registrations.len(), MAX_REGISTRATIONS_AN_ANSWER)?;
                Self::Registrations(checked(&registrations, verifier)?)
            }
            WireAnswer::Withdrawn(withdrawal) => {
                Self::Withdrawn(Verified::check(&withdrawal, verifier)?)
            }
            WireAnswer::Stopped(tasks) => {
                bounded("stopped tasks", tasks.len(), MAX_STOPPED_AN_ANSWER)?;
                Self::Stopped(tasks)
            }
            WireAnswer::KeyChanges(changes) => {
                bounded("key changes", changes.len(), MAX_KEY_CHANGES_AN_ANSWER)?;
                let changes = changes.iter().map(|change| KeyChange::check(change, verifier));
                Self::KeyChanges(changes.collect::<Result<_, _>>()?)
            }
            WireAnswer::Brokers { cards, network } => {
                bounded("brokers", cards.len(), MAX_BROKERS_AN_ANSWER)?;
                let network = network.map(|list| Verified::check(&list, verifier)).transpose()?;
                Self::Brokers { cards: checked(&cards, verifier)?, network }
            }
            WireAnswer::Each(parts) => {
                bounded("answers", parts.len(), MAX_CLAIMS_AN_ASK.max(MAX_WITHDRAWALS_AN_ASK))?;
                let leases = parts.iter().map(WirePart::leases).sum();
                bounded("leases", leases, MAX_TASKS_A_CLAIM.into())?;
                let parts = parts.into_iter().map(|part| part.check(verifier));
                Self::Each(parts.collect::<Result<_, _>>()?)
            }
            WireAnswer::Refused(refusal) => refused(refusal)?,
        })
    }
}

impl WirePart {
    /// Other answers are to no part of any question.
    fn of(answer: Answer) -> Option<Self> {
        match answer {
            Answer::Done => Some(Self::Done),
            Answer::Leases(leases) => Some(Self::Leases(envelopes(&leases))),
            Answer::Refused(refusal) => Some(Self::Refused(refusal)),
            _ => None,
        }
    }

    fn leases(&self) -> usize {
        match self {
            Self::Leases(leases) => leases.len(),
            Self::Done | Self::Refused(_) => 0,
        }
    }

    fn check(self, verifier: &dyn Verifier) -> Result<Answer, MessageError> {
        match self {
            Self::Done => Ok(Answer::Done),
            Self::Leases(leases) => leased(&leases, verifier),
            Self::Refused(refusal) => refused(refusal),
        }
    }
}

fn leased(leases: &[Envelope], verifier: &dyn Verifier) -> Result<Answer, MessageError> {
    bounded("leases", leases.len(), MAX_TASKS_A_CLAIM.into())?;
    Ok(Answer::Leases(checked(leases, verifier)?))
}

fn refused(refusal: Refusal) -> Result<Answer, MessageError> {
    if let Refusal::Elsewhere(brokers) = &refusal {
        bounded("other brokers", brokers.len(), MAX_OTHER_BROKERS)?;
    }
    Ok(Answer::Refused(refusal))
}

impl From<&Offered> for WireOffered {
    fn from(offered: &Offered) -> Self {
        Self {
            offer: offered.offer.envelope().clone(),
            home: offered.home.envelope().clone(),
            registration: offered.registration.as_ref().map(|it| it.envelope().clone()),
            others: offered.others,
            home_unseen: offered.home_unseen,
        }
    }
}

impl WireOffered {
    fn check(self, verifier: &dyn Verifier) -> Result<Offered, StatementError> {
        let carried = Carried(verifier);
        let registration = self.registration.map(|it| Verified::check(&it, &carried));
        Ok(Offered {
            offer: Verified::check(&self.offer, verifier)?,
            home: Verified::check(&self.home, &carried)?,
            registration: registration.transpose()?,
            others: self.others,
            home_unseen: self.home_unseen,
        })
    }
}

fn envelopes<T>(statements: &[Verified<T>]) -> Vec<Envelope> {
    statements.iter().map(|statement| statement.envelope().clone()).collect()
}

fn checked<T: Payload>(
    envelopes: &[Envelope],
    verifier: &dyn Verifier,
) -> Result<Vec<Verified<T>>, StatementError> {
    envelopes.iter().map(|envelope| Verified::check(envelope, verifier)).collect()
}

/// Of one batch all have one signature.
fn one_batch(envelopes: &[Envelope]) -> Result<(), MessageError> {
    let of_one = envelopes.windows(2).all(|pair| pair[0].is_of_batch_of(&pair[1]));
    if of_one { Ok(()) } else { Err(MessageError::SeveralBatches) }
}

/// So that no question brings more to verify than one root, one ad and one ownership.
fn claims_of_one_machine(
    envelopes: &[Envelope],
    verifier: &dyn Verifier,
) -> Result<Vec<Verified<Claim>>, MessageError> {
    let mut claims: Vec<Verified<Claim>> = Vec::with_capacity(envelopes.len());
    for envelope in envelopes {
        let claim = Verified::<Claim>::check(envelope, verifier)?;
        let is_like =
            |first: &Verified<Claim>| first.ad == claim.ad && first.ownership == claim.ownership;
        if !claims.first().is_none_or(is_like) {
            return Err(MessageError::SeveralMachines);
        }
        claims.push(claim);
    }
    Ok(claims)
}

fn some_of(what: &'static str, count: usize, limit: usize) -> Result<(), MessageError> {
    if count == 0 { Err(MessageError::None { what }) } else { bounded(what, count, limit) }
}

fn bounded(what: &'static str, count: usize, limit: usize) -> Result<(), MessageError> {
    if count <= limit { Ok(()) } else { Err(MessageError::TooMany { what, limit }) }
}
