//! Questions and answers as they are on the wire, with envelopes where the others have what was checked.

use capability::statements::{Claim, Class, MAX_TASKS_A_CLAIM};
use capability::{
    Carried, Envelope, Explanation, MAX_STATEMENT_BYTES, Payload, ProjectKey, PublicKey,
    StatementError, StatementId, Verified, Verifier, decode_cbor, encode_cbor,
};
use serde::{Deserialize, Serialize};

use super::{
    Answer, Ask, JobNeeds, Loan, MAX_BROKERS_AN_ANSWER, MAX_CLAIMS_AN_ASK, MAX_EXCEPTIONS,
    MAX_FRAME_BYTES, MAX_OFFERS_A_PUBLICATION, MAX_OFFERS_AN_ANSWER, MAX_OTHER_BROKERS,
    MAX_REGISTRATIONS_AN_ANSWER, MAX_SETTLED_RANGES, MAX_STOPPED_AN_ANSWER, MAX_WITHDRAWALS_AN_ASK,
    MessageError, Offered, Published, Refusal, StoppedTask, Wants,
};
use crate::key_change::{KeyChange, MAX_KEY_CHANGES_AN_ANSWER, MAX_KEYS_AN_ASK};

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
        offers: Vec<WirePublished>,
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
    Lend(Loan),
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
struct WirePublished {
    offer: Envelope,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    again: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    settled: Vec<(u32, u32)>,
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
            Self::Publish { registration, home, offers } => WireAsk::Publish {
                registration: registration.envelope().clone(),
                home: home.envelope().clone(),
                offers: offers.into_iter().map(WirePublished::from).collect(),
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
            Self::Lend(loan) => WireAsk::Lend(loan),
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
            WireAsk::Publish { registration, home, offers } => {
                some_of("offers", offers.len(), MAX_OFFERS_A_PUBLICATION)?;
                Self::Publish {
                    registration: *checked_alone(&registration, &Carried(verifier))?,
                    home: *checked_alone(&home, &Carried(verifier))?,
                    offers: published(offers, verifier)?,
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
            WireAsk::Lend(loan) => {
                some_of("tasks", loan.count.into(), MAX_TASKS_A_CLAIM.into())?;
                Self::Lend(loan)
            }
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

impl From<Published> for WirePublished {
    fn from(Published { offer, again, settled }: Published) -> Self {
        Self { offer: offer.envelope().clone(), again, settled }
    }
}

/// Never inlined, as [`checked_alone`].
#[inline(never)]
fn published(
    offers: Vec<WirePublished>,
    verifier: &dyn Verifier,
) -> Result<Vec<Published>, MessageError> {
    let check = |WirePublished { offer, again, settled }: WirePublished| {
        bounded("ranges of settled tasks", settled.len(), MAX_SETTLED_RANGES)?;
        Ok(Published { offer: *checked_alone(&offer, verifier)?, again, settled })
    };
    offers.into_iter().map(check).collect()
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

/// Never inlined, as [`checked_alone`].
#[inline(never)]
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

/// So that no question brings more to verify than one root, one ad and one ownership. Never inlined, as
/// [`checked_alone`].
#[inline(never)]
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
