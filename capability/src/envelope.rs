//! The two envelopes of a statement: signed alone, or as a leaf of a batch.
//!
//! Both carry the same protected header (algorithm, signer, kind, version) and the same payload
//! bytes, and so have the same id. `docs/spec/statements.md` gives the rules that are cited as `S…`.

use std::fmt;
use std::sync::Arc;

use ciborium::Value;
use coset::{AsCborValue, CborSerializable, CoseSign1, CoseSign1Builder, HeaderBuilder, iana};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::cbor::{self, CborError};
use crate::invalid::Invalid;
use crate::key::{
    PublicKey, SIGNATURE_BYTES, Signature, Signer, StatementId, ToBeSigned, Verifier,
};
use crate::merkle;
use crate::statement::Kind;

/// A statement's bytes, envelope included (S1): gossip and custody relay it in one piece.
pub const MAX_STATEMENT_BYTES: usize = 64 * 1024;

const STATEMENT_DOMAIN: &[u8] = b"talkoot/1/statement";
const BATCH_DOMAIN: &[u8] = b"talkoot/1/batch";
const ID_CONTEXT: &str = "talkoot 1 statement id";

/// Labels of the private range of COSE headers (RFC 9052 section 1.5, below -65536).
const KIND_LABEL: i64 = -65537;
const VERSION_LABEL: i64 = -65538;

/// The kind that a batch's root carries in place of a statement's.
const BATCH_KIND: u16 = 0;

/// Bytes are no sound envelope. Nothing has been said about the signature yet.
#[derive(Debug, Error)]
pub enum EnvelopeError {
    /// S1, S2: size and encoding.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// S3: neither a COSE_Sign1 nor a leaf of a batch.
    #[error("no envelope: {0}")]
    Shape(&'static str),
    /// S4: the protected header is not the one that the profile prescribes.
    #[error("a protected header outside the profile")]
    Header,
}

impl EnvelopeError {
    /// The rule of `docs/spec/statements.md` that is broken.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Cbor(source) => source.rule(),
            Self::Shape(_) => "S3",
            Self::Header => "S4",
        }
    }
}

/// A statement as it travels: parsed, with its id, its signature not yet checked.
///
/// Cheap to clone. The bytes are those received; they are never encoded again.
#[derive(Clone)]
pub struct Envelope(Arc<Inner>);

struct Inner {
    bytes: Vec<u8>,
    header: Header,
    payload: Vec<u8>,
    seal: Seal,
    id: StatementId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    kind: u16,
    version: u16,
    signer: PublicKey,
}

/// What vouches for header and payload.
enum Seal {
    Alone { signature: Signature },
    Leaf { root: CoseSign1, index: u32, path: Vec<merkle::Hash> },
}

impl Envelope {
    /// Parses `bytes` without looking at the signature (S1 to S5).
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let value = cbor::decode_value(bytes, MAX_STATEMENT_BYTES)?;
        let items = value.into_array().map_err(|_| EnvelopeError::Shape("not an array"))?;
        match items.len() {
            4 => Self::parse_alone(bytes, items),
            5 => Self::parse_leaf(bytes, items),
            _ => Err(EnvelopeError::Shape("neither 4 nor 5 items")),
        }
    }

    fn parse_alone(bytes: &[u8], items: Vec<Value>) -> Result<Self, EnvelopeError> {
        let sign1 = sign1(Value::Array(items))?;
        let header = Header::of(&sign1)?;
        let signature = signature(&sign1)?;
        let payload = sign1.payload.ok_or(EnvelopeError::Shape("no payload"))?;
        Ok(Self::new(bytes.to_vec(), header, payload, Seal::Alone { signature }))
    }

    fn parse_leaf(bytes: &[u8], items: Vec<Value>) -> Result<Self, EnvelopeError> {
        let Ok([protected, payload, root, index, path]) = <[Value; 5]>::try_from(items) else {
            return Err(EnvelopeError::Shape("a leaf has 5 items"));
        };
        let protected = byte_string(protected)?;
        let payload = byte_string(payload)?;
        let root = sign1(root)?;
        let signer = Header::of(&root)?.signer;
        signature(&root)?;
        let header = Header::parse(&protected)?;
        if header.signer != signer || Header::of(&root)?.kind != BATCH_KIND {
            return Err(EnvelopeError::Header);
        }
        let index = index.as_integer().and_then(|index| u32::try_from(index).ok());
        let index = index.ok_or(EnvelopeError::Shape("a leaf's index is no 32-bit number"))?;
        let path = path.into_array().map_err(|_| EnvelopeError::Shape("a path is an array"))?;
        let path = path.into_iter().map(|hash| {
            byte_string(hash)?.try_into().map_err(|_| EnvelopeError::Shape("a hash has 32 bytes"))
        });
        let path = path.collect::<Result<_, _>>()?;
        Ok(Self::new(bytes.to_vec(), header, payload, Seal::Leaf { root, index, path }))
    }

    /// Seals one payload alone.
    pub(crate) fn seal(kind: Kind, version: u16, payload: Vec<u8>, signer: &dyn Signer) -> Self {
        let header = Header { kind: kind.number(), version, signer: signer.public() };
        let (sign1, signature) = header.sign(&payload, STATEMENT_DOMAIN, signer);
        let bytes = sign1.to_vec().expect("a COSE_Sign1 of ours encodes");
        Self::new(bytes, header, payload, Seal::Alone { signature })
    }

    /// Seals many payloads of one kind under one signature; a single one is sealed alone.
    pub(crate) fn seal_batch(
        kind: Kind,
        version: u16,
        payloads: Vec<Vec<u8>>,
        signer: &dyn Signer,
    ) -> Vec<Self> {
        if payloads.len() < 2 {
            let alone = |payload| Self::seal(kind, version, payload, signer);
            return payloads.into_iter().map(alone).collect();
        }
        let header = Header { kind: kind.number(), version, signer: signer.public() };
        let ids: Vec<_> = payloads.iter().map(|payload| header.id_of(payload)).collect();
        let (root, paths) = merkle::root_and_paths(&ids);
        let count = u32::try_from(ids.len()).expect("a batch has at most 65,536 leaves");
        let root = batch_payload(count, &root);
        let (root, _) = Header { kind: BATCH_KIND, ..header }.sign(&root, BATCH_DOMAIN, signer);
        let leaves = payloads.into_iter().zip(paths).zip(0_u32..);
        leaves
            .map(|((payload, path), index)| Self::leaf(header, payload, &root, index, path))
            .collect()
    }

    fn leaf(
        header: Header,
        payload: Vec<u8>,
        root: &CoseSign1,
        index: u32,
        path: Vec<merkle::Hash>,
    ) -> Self {
        let root_value = root.clone().to_cbor_value().expect("a COSE_Sign1 of ours encodes");
        let bytes = cbor::encode(&Value::Array(vec![
            Value::Bytes(header.encode()),
            Value::Bytes(payload.clone()),
            root_value,
            Value::from(index),
            Value::Array(path.iter().map(|hash| Value::Bytes(hash.to_vec())).collect()),
        ]));
        Self::new(bytes, header, payload, Seal::Leaf { root: root.clone(), index, path })
    }

    fn new(bytes: Vec<u8>, header: Header, payload: Vec<u8>, seal: Seal) -> Self {
        let id = header.id_of(&payload);
        Self(Arc::new(Inner { bytes, header, payload, seal, id }))
    }

    /// Whether the signature is genuine (S6).
    pub(crate) fn is_genuine(&self, verifier: &dyn Verifier) -> bool {
        let signer = &self.0.header.signer;
        match &self.0.seal {
            Seal::Alone { signature } => {
                let message = self.0.header.to_be_signed(&self.0.payload, STATEMENT_DOMAIN);
                verifier.verify(signer, &message, signature)
            }
            Seal::Leaf { root, index, path } => {
                let payload = root.payload.as_deref().unwrap_or_default();
                let Some(count) = batch_count(payload) else { return false };
                let vouched = merkle::root_from(self.0.id, *index, count, path);
                let fits = vouched.is_some_and(|hash| batch_payload(count, &hash) == payload);
                let message = ToBeSigned::new(root.tbs_data(BATCH_DOMAIN));
                fits && signature(root)
                    .is_ok_and(|signature| verifier.verify(signer, &message, &signature))
            }
        }
    }

    /// The envelope's bytes as received.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// The signed payload's bytes.
    pub fn payload(&self) -> &[u8] {
        &self.0.payload
    }

    /// The statement's name; the same in both envelopes.
    pub fn id(&self) -> StatementId {
        self.0.id
    }

    /// The kind, if this version knows it.
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_number(self.0.header.kind)
    }

    /// The version of the kind's payload.
    pub fn version(&self) -> u16 {
        self.0.header.version
    }

    /// Who is said to have signed.
    pub fn signer(&self) -> PublicKey {
        self.0.header.signer
    }
}

impl Header {
    fn cose(self) -> coset::Header {
        HeaderBuilder::new()
            .algorithm(iana::Algorithm::EdDSA)
            .key_id(self.signer.as_bytes().to_vec())
            .value(KIND_LABEL, Value::from(self.kind))
            .value(VERSION_LABEL, Value::from(self.version))
            .build()
    }

    fn encode(self) -> Vec<u8> {
        self.cose().to_vec().expect("a header of ours encodes")
    }

    fn of(sign1: &CoseSign1) -> Result<Self, EnvelopeError> {
        let protected = sign1.protected.original_data.as_deref();
        Self::parse(
            protected.unwrap_or(&sign1.protected.header.clone().to_vec().unwrap_or_default()),
        )
    }

    /// Reads the profile's four entries and requires that there be nothing else.
    fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let cose = coset::Header::from_slice(bytes).map_err(|_| EnvelopeError::Header)?;
        let number = |label| {
            let mut entries = cose.rest.iter();
            let (_, value) = entries.find(|(found, _)| *found == coset::Label::Int(label))?;
            u16::try_from(value.as_integer()?).ok()
        };
        let signer = cose.key_id.as_slice().try_into().ok().map(PublicKey::from_bytes);
        let (Some(kind), Some(version), Some(signer)) =
            (number(KIND_LABEL), number(VERSION_LABEL), signer)
        else {
            return Err(EnvelopeError::Header);
        };
        let header = Self { kind, version, signer };
        if header.encode() == bytes { Ok(header) } else { Err(EnvelopeError::Header) }
    }

    fn sign(self, payload: &[u8], domain: &[u8], signer: &dyn Signer) -> (CoseSign1, Signature) {
        let signature = signer.sign(&self.to_be_signed(payload, domain));
        let sign1 = CoseSign1Builder::new()
            .protected(self.cose())
            .payload(payload.to_vec())
            .signature(signature.0.to_vec())
            .build();
        (sign1, signature)
    }

    fn to_be_signed(self, payload: &[u8], domain: &[u8]) -> ToBeSigned {
        let sign1 =
            CoseSign1Builder::new().protected(self.cose()).payload(payload.to_vec()).build();
        ToBeSigned::new(sign1.tbs_data(domain))
    }

    fn id_of(self, payload: &[u8]) -> StatementId {
        let mut hasher = blake3::Hasher::new_derive_key(ID_CONTEXT);
        hasher.update(&self.kind.to_be_bytes());
        hasher.update(&self.version.to_be_bytes());
        hasher.update(self.signer.as_bytes());
        hasher.update(payload);
        StatementId::from_bytes(*hasher.finalize().as_bytes())
    }
}

fn sign1(value: Value) -> Result<CoseSign1, EnvelopeError> {
    let sign1 =
        CoseSign1::from_cbor_value(value).map_err(|_| EnvelopeError::Shape("no COSE_Sign1"))?;
    if sign1.unprotected.is_empty() {
        Ok(sign1)
    } else {
        Err(EnvelopeError::Shape("an unprotected header that is not empty"))
    }
}

fn signature(sign1: &CoseSign1) -> Result<Signature, EnvelopeError> {
    let bytes: [u8; SIGNATURE_BYTES] = sign1
        .signature
        .as_slice()
        .try_into()
        .map_err(|_| EnvelopeError::Shape("a signature has 64 bytes"))?;
    Ok(Signature(bytes))
}

fn byte_string(value: Value) -> Result<Vec<u8>, EnvelopeError> {
    value.into_bytes().map_err(|_| EnvelopeError::Shape("a byte string was expected"))
}

fn batch_payload(count: u32, root: &merkle::Hash) -> Vec<u8> {
    cbor::encode(&Value::Array(vec![Value::from(count), Value::Bytes(root.to_vec())]))
}

fn batch_count(payload: &[u8]) -> Option<u32> {
    let items = cbor::decode_value(payload, 64).ok()?.into_array().ok()?;
    u32::try_from(items.first()?.as_integer()?).ok()
}

impl PartialEq for Envelope {
    fn eq(&self, other: &Self) -> bool {
        self.0.bytes == other.0.bytes
    }
}

impl Eq for Envelope {}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind().map_or("unknown", Kind::name);
        write!(f, "Envelope({kind} {} by {})", self.id().short(), self.signer().short())
    }
}

impl Serialize for Envelope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0.bytes)
    }
}

impl<'de> Deserialize<'de> for Envelope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = Envelope;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the bytes of a statement")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Envelope, E> {
                Envelope::parse(bytes)
                    .map_err(|error| E::custom(Invalid::new(error.rule(), error.to_string())))
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}
