//! Statements: signed, immutable, expiring messages.
//!
//! [`Verified`] is the only proof that a signature was checked, and has one way in:
//! [`Verified::check`]. What we sign ourselves comes out of [`Verified::sign`], or, if words of
//! peers are in it, of [`Verified::try_sign`].

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::cbor::{self, CborError};
use crate::envelope::{Envelope, EnvelopeError, MAX_STATEMENT_BYTES};
use crate::invalid::Invalid;
use crate::key::{PublicKey, Signer, StatementId, Verifier};
use crate::statements::Delegation;
use crate::time::Timestamp;

/// How far clocks of honest nodes may differ (S8): what NTP-less home machines show, with a margin.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal;)*) => {
        /// What a statement is about. The numbers are fixed (DESIGN.md, appendix A).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Kind { $($(#[$doc])* $variant,)* }

        impl Kind {
            /// Every kind of this version.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The number on the wire.
            pub const fn number(self) -> u16 {
                match self { $(Self::$variant => $number,)* }
            }

            /// The kind with that number, if this version knows it.
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }

            /// The word for it (DESIGN.md section 3).
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

kinds! {
    /// A volunteer's capability advertisement.
    Ad = 1, "ad";
    /// A broker's digest of its volunteers' ads.
    Summary = 2, "summary";
    /// A project's entry.
    Registration = 3, "registration";
    /// A project key lets a node key speak for it.
    Delegation = 4, "delegation";
    /// Which broker is home to a project's offers.
    Home = 5, "home";
    /// A pool of tasks.
    Offer = 6, "offer";
    /// The end of an offer or ad before it expires.
    Withdrawal = 7, "withdrawal";
    /// A volunteer asks for tasks.
    Claim = 8, "claim";
    /// The home broker grants a task.
    Lease = 9, "lease";
    /// A volunteer keeps its leases, or gives them back.
    Renewal = 10, "renewal";
    /// What happened.
    Result = 11, "result";
    /// The master's judgement of a result.
    Receipt = 12, "receipt";
    /// A broker's addresses and links.
    BrokerCard = 13, "broker card";
    /// A key is void.
    Revocation = 14, "revocation";
    /// A key names its successor.
    Succession = 15, "succession";
    /// An owner key vouches for node keys.
    Ownership = 16, "ownership";
    /// What is asked of a peer.
    Request = 17, "request";
    /// Where a network begins.
    Network = 18, "network";
    /// Whom a curator vouches for.
    List = 19, "list";
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The contents of one kind of statement.
pub trait Payload: Serialize + DeserializeOwned {
    /// Which kind this is.
    const KIND: Kind;

    /// The version that we write. We read it and the one before.
    const VERSION: u16 = 1;

    /// How far ahead an expiry may lie (S9), so that nothing stays for ever.
    const MAX_LIFETIME: Duration;

    /// When the statement ceases to hold.
    fn expires(&self) -> Timestamp;

    /// Bounds and shapes that the types alone do not express (S10 and the kind's own rules).
    fn validate(&self) -> Result<(), Invalid>;

    /// Whether `signer` may say this (S7). By default whoever signed may.
    fn authorize(&self, signer: PublicKey, verifier: &dyn Verifier) -> Result<(), StatementError> {
        let _ = (signer, verifier);
        Ok(())
    }

    /// The delegation under which a project's node signed this (S7).
    fn delegation(&self) -> Option<&Envelope> {
        None
    }
}

/// A statement was refused.
#[derive(Debug, Error)]
pub enum StatementError {
    /// The bytes are no envelope.
    #[error("not a statement")]
    Envelope(#[from] EnvelopeError),
    /// Another kind was expected here.
    #[error("a statement of kind {found} where {expected} was expected")]
    Kind {
        /// The kind's word, or `unknown`.
        found: &'static str,
        /// The kind that belongs here.
        expected: Kind,
    },
    /// A version that this program does not read.
    #[error("version {found} of {kind}, which this program does not read; it may be too old")]
    Version {
        /// The kind.
        kind: Kind,
        /// The version received.
        found: u16,
    },
    /// The payload is not what its kind prescribes.
    #[error("malformed {kind}")]
    Payload {
        /// The kind.
        kind: Kind,
        /// What is wrong with the encoding.
        source: CborError,
    },
    /// The payload breaks a rule.
    #[error("invalid {kind}")]
    Invalid {
        /// The kind.
        kind: Kind,
        /// The rule.
        source: Invalid,
    },
    /// The signature is not the signer's.
    #[error("forged {0}: the signature is not the signer's")]
    Forged(Kind),
    /// The signer may not say this.
    #[error("{kind} signed without authority: {reason}")]
    Unauthorized {
        /// The kind.
        kind: Kind,
        /// Which part of the delegation does not hold.
        reason: &'static str,
    },
    /// It has expired.
    #[error("{kind} expired at {at}")]
    Expired {
        /// The kind.
        kind: Kind,
        /// Its expiry.
        at: Timestamp,
    },
    /// It expires later than its kind allows.
    #[error("{kind} expires at {at}, later than its kind allows")]
    TooLong {
        /// The kind.
        kind: Kind,
        /// Its expiry.
        at: Timestamp,
    },
}

impl StatementError {
    /// The rule of `docs/spec/statements.md` that is broken.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Envelope(source) => source.rule(),
            Self::Payload { source, .. } => source.rule(),
            Self::Kind { .. } | Self::Version { .. } => "S4",
            Self::Forged(_) => "S6",
            Self::Unauthorized { .. } => "S7",
            Self::Expired { .. } => "S8",
            Self::TooLong { .. } => "S9",
            Self::Invalid { source, .. } => source.rule,
        }
    }
}

/// A statement whose signature, authority and shape have been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T> {
    payload: T,
    envelope: Envelope,
}

impl<T: Payload> Verified<T> {
    /// Checks everything but time: kind, version, shape, signature, authority (S3 to S7, S10).
    pub fn check(envelope: &Envelope, verifier: &dyn Verifier) -> Result<Self, StatementError> {
        let kind = T::KIND;
        if envelope.kind() != Some(kind) {
            let found = envelope.kind().map_or("unknown", Kind::name);
            return Err(StatementError::Kind { found, expected: kind });
        }
        if envelope.version() != T::VERSION {
            return Err(StatementError::Version { kind, found: envelope.version() });
        }
        let payload: T = cbor::decode(envelope.payload(), MAX_STATEMENT_BYTES)
            .map_err(|source| StatementError::Payload { kind, source })?;
        payload.validate().map_err(|source| StatementError::Invalid { kind, source })?;
        if !envelope.is_genuine(verifier) {
            return Err(StatementError::Forged(kind));
        }
        payload.authorize(envelope.signer(), verifier)?;
        Ok(Self { payload, envelope: envelope.clone() })
    }

    /// Parses and checks `bytes`.
    pub fn parse(bytes: &[u8], verifier: &dyn Verifier) -> Result<Self, StatementError> {
        Self::check(&Envelope::parse(bytes)?, verifier)
    }

    /// Signs `payload` alone.
    ///
    /// # Panics
    /// If the payload breaks a rule of its kind: callers validate what came from a person first.
    /// Where a peer has a say in what is signed, [`Verified::try_sign`] is the way.
    pub fn sign(payload: T, signer: &dyn Signer) -> Self {
        let envelope = Envelope::sign(T::KIND, T::VERSION, encode(&payload), signer);
        Self { payload, envelope }
    }

    /// Signs `payload` alone, if others would take it.
    ///
    /// # Errors
    /// If the payload breaks a rule of its kind, or the statement has over
    /// [`MAX_STATEMENT_BYTES`] (S1).
    pub fn try_sign(payload: T, signer: &dyn Signer) -> Result<Self, Invalid> {
        payload.validate()?;
        let signed = Self::sign(payload, signer);
        let fits = signed.envelope.as_bytes().len() <= MAX_STATEMENT_BYTES;
        Invalid::unless(fits, "S1", "over 65,536 bytes")?;
        Ok(signed)
    }

    /// Signs all `payloads` with one signature; each can then be checked alone.
    ///
    /// # Panics
    /// As [`Verified::sign`].
    pub fn sign_batch(payloads: Vec<T>, signer: &dyn Signer) -> Vec<Self> {
        let encoded = payloads.iter().map(encode).collect();
        let envelopes = Envelope::sign_batch(T::KIND, T::VERSION, encoded, signer);
        let pairs = payloads.into_iter().zip(envelopes);
        pairs.map(|(payload, envelope)| Self { payload, envelope }).collect()
    }

    /// Whether the statement, and the delegation in it, hold at `now` (S8, S9).
    pub fn current(&self, now: Timestamp) -> Result<(), StatementError> {
        holds(&self.payload, now)?;
        // It expires after the statement; yet one that outlives its revocation would come back.
        let Some(delegation) = self.payload.delegation() else { return Ok(()) };
        let delegation: Delegation = cbor::decode(delegation.payload(), MAX_STATEMENT_BYTES)
            .map_err(|source| StatementError::Payload { kind: Kind::Delegation, source })?;
        holds(&delegation, now)
    }
}

fn holds<T: Payload>(payload: &T, now: Timestamp) -> Result<(), StatementError> {
    let (kind, at) = (T::KIND, payload.expires());
    if at + MAX_CLOCK_SKEW <= now {
        Err(StatementError::Expired { kind, at })
    } else if at > now + T::MAX_LIFETIME + MAX_CLOCK_SKEW {
        Err(StatementError::TooLong { kind, at })
    } else {
        Ok(())
    }
}

impl<T> Verified<T> {
    /// The statement's name.
    pub fn id(&self) -> StatementId {
        self.envelope.id()
    }

    /// Who signed it.
    pub fn signer(&self) -> PublicKey {
        self.envelope.signer()
    }

    /// The bytes to keep and to forward.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.payload
    }
}

fn encode<T: Payload>(payload: &T) -> Vec<u8> {
    if let Err(invalid) = payload.validate() {
        panic!("tried to sign an invalid {}: {invalid}", T::KIND);
    }
    cbor::encode(payload)
}
