//! What is handed over from node to node: results on their way to masters, receipts on their way back.

use capability::statements::{JobResult, Receipt, TaskId};
use capability::{
    BlobHash, CborError, Envelope, Kind, Payload, PublicKey, StatementError, StatementId,
    Timestamp, Verified, Verifier, decode_cbor, encode_cbor,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::message::MAX_FRAME_BYTES;

/// Bundles in one handover at most (C20): as many as a claim has tasks.
pub const MAX_BUNDLES_A_FRAME: usize = 256;

/// A statement on its way, and how its answer comes back.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle {
    /// What travels.
    pub cargo: Cargo,
    /// Of a result: the broker by which a receipt reaches the volunteer. Of a receipt: the broker
    /// that it goes to.
    pub via: PublicKey,
}

/// What can be in custody.
#[derive(Debug, Clone, PartialEq)]
pub enum Cargo {
    /// For the home of its project, and from there for the master.
    Result(Verified<JobResult>),
    /// For a volunteer.
    Receipt(Verified<Receipt>),
}

impl Bundle {
    /// The name of what travels.
    pub fn id(&self) -> StatementId {
        self.envelope().id()
    }

    /// Blobs that must be taken with it, with their sizes in bytes.
    pub fn blobs(&self) -> Vec<(BlobHash, u64)> {
        match &self.cargo {
            Cargo::Result(result) => result.blobs().collect(),
            Cargo::Receipt(_) => Vec::new(),
        }
    }

    /// Whose share of the room it takes: of a result its volunteer's, of a receipt its project's,
    /// which may have many delegates.
    pub fn origin(&self) -> PublicKey {
        match &self.cargo {
            Cargo::Result(result) => result.signer(),
            Cargo::Receipt(receipt) => receipt.project.into(),
        }
    }

    /// When it need not be delivered any more.
    pub fn expires(&self) -> Timestamp {
        match &self.cargo {
            Cargo::Result(result) => result.expires(),
            Cargo::Receipt(receipt) => receipt.expires(),
        }
    }

    /// The task that it is about.
    pub fn task(&self) -> TaskId {
        match &self.cargo {
            Cargo::Result(result) => result.task,
            Cargo::Receipt(receipt) => receipt.task,
        }
    }

    /// Bytes of its statement.
    pub fn size(&self) -> usize {
        self.envelope().as_bytes().len()
    }

    /// The frame of a handover of this bundle alone.
    pub fn encode(&self) -> Vec<u8> {
        encode_cbor(&self.wire())
    }

    /// Reads the frame of a handover of one bundle, and checks the statement in it.
    pub fn decode(bytes: &[u8], verifier: &dyn Verifier) -> Result<Self, BundleError> {
        let wire: WireBundle = decode_cbor(bytes, MAX_FRAME_BYTES)?;
        Ok(wire.check(verifier)?)
    }

    pub(crate) fn wire(&self) -> WireBundle {
        WireBundle { statement: self.envelope().clone(), via: self.via }
    }

    fn envelope(&self) -> &Envelope {
        match &self.cargo {
            Cargo::Result(result) => result.envelope(),
            Cargo::Receipt(receipt) => receipt.envelope(),
        }
    }
}

/// A bundle whose statement has not been checked; its fields in the order of the encoding.
#[derive(Serialize, Deserialize)]
pub(crate) struct WireBundle {
    via: PublicKey,
    statement: Envelope,
}

impl WireBundle {
    pub(crate) fn check(&self, verifier: &dyn Verifier) -> Result<Bundle, StatementError> {
        let cargo = match self.statement.kind() {
            Some(Kind::Result) => Cargo::Result(Verified::check(&self.statement, verifier)?),
            _ => Cargo::Receipt(Verified::check(&self.statement, verifier)?),
        };
        Ok(Bundle { cargo, via: self.via })
    }
}

/// The frame of a handover on `/talkoot/1/custody` (C20).
///
/// # Panics
/// If there are over [`MAX_BUNDLES_A_FRAME`]: [`Custody::due`](crate::Custody::due) gives no more.
pub fn encode_bundles(bundles: &[Bundle]) -> Vec<u8> {
    assert!(bundles.len() <= MAX_BUNDLES_A_FRAME, "over {MAX_BUNDLES_A_FRAME} bundles in a frame");
    match bundles {
        [alone] => alone.encode(),
        several => encode_cbor(&several.iter().map(Bundle::wire).collect::<Vec<_>>()),
    }
}

/// Reads the frame of a handover, and checks the statement of each bundle: one that is not sound
/// says nothing about the others (C22).
///
/// # Errors
/// If it is not the frame of a handover at all.
pub fn decode_bundles(
    bytes: &[u8],
    verifier: &dyn Verifier,
) -> Result<Vec<Result<Bundle, StatementError>>, BundleError> {
    let bundles: Vec<WireBundle> = if is_array(bytes) {
        decode_cbor(bytes, MAX_FRAME_BYTES)?
    } else {
        vec![decode_cbor(bytes, MAX_FRAME_BYTES)?]
    };
    if bundles.len() > MAX_BUNDLES_A_FRAME {
        return Err(BundleError::TooMany);
    }
    Ok(bundles.iter().map(|bundle| bundle.check(verifier)).collect())
}

/// A handover is not what it should be.
#[derive(Debug, Error)]
pub enum BundleError {
    /// Not the deterministic encoding of a bundle.
    #[error("malformed bundle")]
    Cbor(#[from] CborError),
    /// The statement in it was refused.
    #[error("the statement in the bundle")]
    Statement(#[from] StatementError),
    /// More than a frame may have.
    #[error("over {MAX_BUNDLES_A_FRAME} bundles in a frame")]
    TooMany,
}

/// What is answered to each bundle of a handover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HandoverAnswer {
    /// It is durable here; the sender may forget it.
    Taken,
    /// These blobs must come first.
    Missing(Vec<BlobHash>),
    /// Custody is refused, the sender keeps it; why, for people.
    Refused(String),
}

impl HandoverAnswer {
    /// The frame of the answer to one bundle.
    pub fn encode(&self) -> Vec<u8> {
        encode_cbor(self)
    }

    /// Reads the frame of the answer to one bundle.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        decode_cbor(bytes, MAX_FRAME_BYTES)
    }
}

/// The frame of the answers to a handover, in the order of its bundles (C21).
pub fn encode_answers(answers: &[HandoverAnswer]) -> Vec<u8> {
    match answers {
        [one] => one.encode(),
        several => encode_cbor(several),
    }
}

/// Reads the answers to a handover of `count` bundles.
///
/// # Errors
/// If it is not the frame of so many answers.
pub fn decode_answers(bytes: &[u8], count: usize) -> Result<Vec<HandoverAnswer>, CborError> {
    let answers: Vec<HandoverAnswer> = if is_array(bytes) {
        decode_cbor(bytes, MAX_FRAME_BYTES)?
    } else {
        vec![HandoverAnswer::decode(bytes)?]
    };
    if answers.len() == count {
        Ok(answers)
    } else {
        Err(CborError::Shape(format!("{} answers to {count} bundles", answers.len())))
    }
}

/// Whether an item of CBOR is an array (RFC 8949 section 3.1).
fn is_array(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| first >> 5 == 4)
}
