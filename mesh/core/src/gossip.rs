//! What brokers tell all other brokers: one enum, closed, so that nothing else is forwarded.

use std::fmt;

use capability::statements::{
    BrokerCard, Home, Offer, Registration, Revocation, Succession, Summary, Withdrawal,
};
use capability::{
    Envelope, Kind, Platform, PublicKey, Runtime, StatementError, StatementId, Timestamp, Verified,
    Verifier,
};

/// A topic of gossip (DESIGN.md, appendix A).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Broker cards.
    Cards,
    /// Registrations, homes, revocations, successions.
    Masters,
    /// Offers that machines of one shard might run, and their withdrawals.
    Offers(Shard),
    /// Summaries of one shard.
    Summaries(Shard),
}

/// Those that Rust's first two tiers name for servers, desktops and single-board computers.
const PLATFORMS: [&str; 11] = [
    "freebsd-x86_64",
    "linux-aarch64",
    "linux-arm",
    "linux-powerpc64",
    "linux-riscv64",
    "linux-s390x",
    "linux-x86",
    "linux-x86_64",
    "macos-aarch64",
    "macos-x86_64",
    "windows-x86_64",
];

/// Machines of one platform, or all that run WebAssembly.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(String);

impl Shard {
    /// Every machine with a WebAssembly runtime, whatever its platform.
    pub fn wasm() -> Self {
        Self("wasm".to_owned())
    }

    /// The machines of one platform, if brokers gossip about it ([`Shard::known`]).
    pub fn of_platform(platform: &Platform) -> Option<Self> {
        let name = platform.to_string();
        PLATFORMS.contains(&name.as_str()).then_some(Self(name))
    }

    /// The shard in which brokers gossip about `offer`: `wasm` if that is among its runtimes, or else
    /// the first platform that its clauses on `os` and `arch` leave. In no shard if they leave none.
    pub fn of_offer(offer: &Offer) -> Option<Self> {
        let requirements = &offer.requirements;
        if requirements.runtimes.contains(&Runtime::Wasm) {
            return Some(Self::wasm());
        }
        let wanted = |fact: &str, part: &str| requirements.pinned(fact).is_none_or(|it| it == part);
        let fits = |platform: &&&str| {
            let parts = platform.split_once('-');
            parts.is_some_and(|(os, arch)| wanted("os", os) && wanted("arch", arch))
        };
        PLATFORMS.iter().find(fits).map(|platform| Self((*platform).to_owned()))
    }

    /// The platforms that brokers gossip about, and `wasm`.
    pub fn known() -> Vec<Self> {
        let platforms = PLATFORMS.iter().map(|platform| Self((*platform).to_owned()));
        platforms.chain([Self::wasm()]).collect()
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Topic {
    /// Every topic that a broker of this version subscribes to.
    pub fn all() -> Vec<Self> {
        let shards = Shard::known();
        let offers = shards.iter().cloned().map(Self::Offers);
        let summaries = shards.iter().cloned().map(Self::Summaries);
        [Self::Cards, Self::Masters].into_iter().chain(offers).chain(summaries).collect()
    }

    /// Whether statements of `kind` belong here.
    pub fn carries(&self, kind: Kind) -> bool {
        match self {
            Self::Cards => kind == Kind::BrokerCard,
            Self::Masters => matches!(
                kind,
                Kind::Registration | Kind::Home | Kind::Revocation | Kind::Succession
            ),
            Self::Offers(_) => matches!(kind, Kind::Offer | Kind::Withdrawal),
            Self::Summaries(_) => kind == Kind::Summary,
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cards => f.write_str("talkoot/1/cards"),
            Self::Masters => f.write_str("talkoot/1/masters"),
            Self::Offers(shard) => write!(f, "talkoot/1/offers/{shard}"),
            Self::Summaries(shard) => write!(f, "talkoot/1/summaries/{shard}"),
        }
    }
}

/// A checked statement of a kind that is gossiped.
#[derive(Debug, Clone, PartialEq)]
pub enum Gossip {
    /// A broker's card.
    Card(Verified<BrokerCard>),
    /// A project's registration.
    Registration(Verified<Registration>),
    /// A project's home.
    Home(Verified<Home>),
    /// A key that is void.
    Revocation(Verified<Revocation>),
    /// A key that has passed on.
    Succession(Verified<Succession>),
    /// An offer.
    Offer(Verified<Offer>),
    /// The end of an offer.
    Withdrawal(Verified<Withdrawal>),
    /// A broker's summary of one shard.
    Summary(Verified<Summary>),
}

/// Applies `$body` to the statement inside, whatever its kind.
macro_rules! each {
    ($gossip:expr, $statement:ident => $body:expr) => {
        match $gossip {
            Gossip::Card($statement) => $body,
            Gossip::Registration($statement) => $body,
            Gossip::Home($statement) => $body,
            Gossip::Revocation($statement) => $body,
            Gossip::Succession($statement) => $body,
            Gossip::Offer($statement) => $body,
            Gossip::Withdrawal($statement) => $body,
            Gossip::Summary($statement) => $body,
        }
    };
}

impl Gossip {
    /// Checks everything about `envelope` that needs no memory: kind, signature, authority, time.
    pub fn check(
        envelope: &Envelope,
        now: Timestamp,
        verifier: &dyn Verifier,
    ) -> Result<Self, StatementError> {
        let gossip = match envelope.kind() {
            Some(Kind::Registration) => Self::Registration(Verified::check(envelope, verifier)?),
            Some(Kind::Home) => Self::Home(Verified::check(envelope, verifier)?),
            Some(Kind::Revocation) => Self::Revocation(Verified::check(envelope, verifier)?),
            Some(Kind::Succession) => Self::Succession(Verified::check(envelope, verifier)?),
            Some(Kind::Offer) => Self::Offer(Verified::check(envelope, verifier)?),
            Some(Kind::Withdrawal) => Self::Withdrawal(Verified::check(envelope, verifier)?),
            Some(Kind::Summary) => Self::Summary(Verified::check(envelope, verifier)?),
            _ => Self::Card(Verified::check(envelope, verifier)?),
        };
        each!(&gossip, statement => statement.current(now))?;
        Ok(gossip)
    }

    /// The statement's bytes.
    pub fn envelope(&self) -> &Envelope {
        each!(self, statement => statement.envelope())
    }

    /// The statement's name.
    pub fn id(&self) -> StatementId {
        self.envelope().id()
    }

    /// Who signed it.
    pub fn signer(&self) -> PublicKey {
        self.envelope().signer()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_platforms_have_a_shard() {
        let shard = |os, arch| Shard::of_platform(&Platform::new(os, arch).expect("two words"));
        assert_eq!(shard("linux", "x86_64"), Some(Shard("linux-x86_64".to_owned())));
        assert!(shard("linux", "x86_64").is_some_and(|it| Shard::known().contains(&it)));
        assert_eq!(shard("linux", "abacus"), None);
    }
}
