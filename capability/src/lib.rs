//! The shared words of Talkoot: who signs, what a machine can do, what a job needs.
//!
//! - [`SecretKey`], [`PublicKey`]: identities; [`ProjectUri`]: what a volunteer pins.
//! - [`Envelope`], [`Verified`], [`statements`]: signed, immutable, expiring messages.
//! - [`Sealer`], [`Opener`], [`EncryptingWriter`]: what only its recipient can read.
//! - [`KeyBook`]: which keys are void, and which have passed on.
//! - [`Capabilities`], [`Requirements`], [`evaluate`]: facts, needs, and why they do not fit.
//! - [`MachineIndex`], [`OfferIndex`]: the same for a million machines, or many offers.
//! - [`Explanation`], [`Comparison`]: which needs keep out how many, and how one machine stands.
//! - [`JobFile`]: what a maintainer writes; [`Policy`]: what a volunteer wants of offers.
//!
//! This crate reads no clock, opens no socket and starts no task.

mod cbor;
mod comparison;
mod destination;
mod encryption;
mod envelope;
mod explanation;
mod facts;
mod index;
mod invalid;
mod job_file;
mod key;
mod key_book;
mod matching;
mod merkle;
mod policy;
mod project_uri;
mod quantity;
mod remembering;
mod requirements;
mod statement;
pub mod statements;
pub mod tap;
mod term;
mod time;
mod version;
mod vocabulary;

pub use cbor::{CborError, MAX_DEPTH, decode as decode_cbor, encode as encode_cbor};
pub use comparison::*;
pub use destination::*;
pub use encryption::{
    BlobKey, DecryptingReader, DecryptionKey, Encapsulated, EncryptingWriter, EncryptionKey,
    HpkeOpener, HpkeSealer, OpenError, Opener, Purpose, Sealed, Sealer, encrypted_size, padded,
};
pub use envelope::{Envelope, EnvelopeError, MAX_STATEMENT_BYTES};
pub use explanation::*;
pub use facts::*;
pub use index::*;
pub use invalid::Invalid;
pub use job_file::*;
pub use key::{
    BlobHash, Carried, Ed25519, KEY_BYTES, ProjectKey, PublicKey, SIGNATURE_BYTES, SecretKey,
    Signature, Signer, StatementId, TextError, ToBeSigned, Verifier,
};
pub use key_book::{KeyBook, MAX_SUCCESSIONS};
pub use matching::*;
pub use merkle::MAX_LEAVES;
pub use policy::{Finding, OfOffer, Policy};
pub use project_uri::{MAX_URI_BYTES, ProjectUri, UriError};
pub use quantity::*;
pub use remembering::Remembering;
pub use requirements::*;
pub use statement::{Kind, MAX_CLOCK_SKEW, Payload, StatementError, Verified};
pub use time::Timestamp;
pub use version::{has_short_numbers, parse_version};
pub use vocabulary::{
    CPU_FEATURES, FactKind, LIBRARIES, TOOLS, fact_kind, nearest_fact, offer_fact_kind,
};
