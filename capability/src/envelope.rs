//! The two envelopes of a statement: signed alone, or as a leaf of a batch.
//!
//! Both carry the same protected header (algorithm, signer, kind, version) and the same payload
//! bytes, and so have the same id. `docs/spec/statements.md` gives the rules that are cited as `S…`.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::cbor::{self, CborError, Reader, Writer};
use crate::invalid::Invalid;
use crate::key::{PublicKey, Signature, Signer, StatementId, ToBeSigned, Verifier};
use crate::merkle;
use crate::statement::Kind;

/// A statement's bytes, envelope included (S1): gossip and custody relay it in one piece.
pub const MAX_STATEMENT_BYTES: usize = 64 * 1024;

const STATEMENT_DOMAIN: &[u8] = b"talkoot/1/statement";
const BATCH_DOMAIN: &[u8] = b"talkoot/1/batch";
/// Has hashed the context, which would take as long as a short payload does.
static ID_HASHER: LazyLock<blake3::Hasher> =
    LazyLock::new(|| blake3::Hasher::new_derive_key("talkoot 1 statement id"));

/// Items of a COSE_Sign1, and of a leaf of a batch.
const SIGN1_ITEMS: u64 = 4;
const LEAF_ITEMS: u64 = 5;

/// What every Sig_structure begins with: an array of four, and its context, a text of ten letters.
const SIGNATURE_CONTEXT: &[u8] = b"\x84\x6aSignature1";

/// Bytes of a protected header, and of a COSE_Sign1 without its payload, at most: room to encode them in.
const HEADER_BYTES: usize = 64;
const SIGN1_BYTES: usize = 160;

/// Labels of COSE headers, and the algorithm (RFC 9053 section 2.2).
const ALGORITHM_LABEL: i64 = 1;
const EDDSA: i64 = -8;
const SIGNER_LABEL: i64 = 4;
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
    /// Where in the bytes the payload is.
    payload: Range<usize>,
    proof: Proof,
    id: StatementId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    kind: u16,
    version: u16,
    signer: PublicKey,
}

/// What vouches for header and payload.
enum Proof {
    Alone { signature: Signature },
    Leaf { root: Root, index: u32, path: Path },
}

/// The root of a batch.
struct Root {
    header: Header,
    /// Where in the bytes its payload is.
    payload: Range<usize>,
    signature: Signature,
}

/// Where in the bytes the hashes of a path are, each behind the beginning of its byte string.
struct Path(Range<usize>);

/// A COSE_Sign1 of the profile (RFC 9052 section 4.2).
#[derive(Clone, Copy)]
struct Sign1<'a> {
    header: Header,
    payload: &'a [u8],
    signature: Signature,
}

impl Envelope {
    /// Parses `bytes` without looking at the signature (S1 to S5).
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let mut reader = cbor::read(bytes, MAX_STATEMENT_BYTES)?;
        match reader.array().ok_or(EnvelopeError::Shape("not an array"))? {
            SIGN1_ITEMS => Self::parse_alone(bytes, reader),
            LEAF_ITEMS => Self::parse_leaf(bytes, reader),
            _ => Err(EnvelopeError::Shape("neither 4 nor 5 items")),
        }
    }

    fn parse_alone(bytes: &[u8], mut reader: Reader<'_>) -> Result<Self, EnvelopeError> {
        let (Sign1 { header, payload, signature }, rest) = Sign1::read(&mut reader)?;
        let end = bytes.len() - rest.len();
        let payload = end - payload.len()..end;
        Ok(Self::new(bytes.to_vec(), header, payload, Proof::Alone { signature }))
    }

    fn parse_leaf(bytes: &[u8], mut reader: Reader<'_>) -> Result<Self, EnvelopeError> {
        let protected = byte_string(&mut reader)?;
        let payload = byte_string(&mut reader)?.len();
        let end = bytes.len() - reader.rest().len();
        let payload = end - payload..end;
        if reader.array() != Some(SIGN1_ITEMS) {
            return Err(EnvelopeError::Shape("no COSE_Sign1"));
        }
        let (root, rest) = Sign1::read(&mut reader)?;
        let root_end = bytes.len() - rest.len();
        let header = Header::parse(protected)?;
        if header.signer != root.header.signer || root.header.kind != BATCH_KIND {
            return Err(EnvelopeError::Header);
        }
        let index = reader.unsigned().and_then(|index| u32::try_from(index).ok());
        let index = index.ok_or(EnvelopeError::Shape("a leaf's index is no 32-bit number"))?;
        let length = reader.array().ok_or(EnvelopeError::Shape("a path is an array"))?;
        let path = bytes.len() - reader.rest().len();
        for _ in 0..length {
            if byte_string(&mut reader)?.len() != merkle::HASH_BYTES {
                return Err(EnvelopeError::Shape("a hash has 32 bytes"));
            }
        }
        let path = Path(path..bytes.len() - reader.rest().len());
        let root = root.ending_at(root_end);
        Ok(Self::new(bytes.to_vec(), header, payload, Proof::Leaf { root, index, path }))
    }

    /// Signs one payload alone.
    pub(crate) fn sign(kind: Kind, version: u16, payload: Vec<u8>, signer: &dyn Signer) -> Self {
        let header = Header { kind: kind.number(), version, signer: signer.public() };
        let signature = signer.sign(&header.to_be_signed(&payload, STATEMENT_DOMAIN));
        let mut envelope = Writer::with_capacity(payload.len() + SIGN1_BYTES);
        let payload = Sign1 { header, payload: &payload, signature }.write(&mut envelope);
        Self::new(envelope.into_bytes(), header, payload, Proof::Alone { signature })
    }

    /// Signs many payloads of one kind with one signature; a single one is signed alone.
    pub(crate) fn sign_batch(
        kind: Kind,
        version: u16,
        payloads: Vec<Vec<u8>>,
        signer: &dyn Signer,
    ) -> Vec<Self> {
        if payloads.len() < 2 {
            let alone = |payload| Self::sign(kind, version, payload, signer);
            return payloads.into_iter().map(alone).collect();
        }
        let header = Header { kind: kind.number(), version, signer: signer.public() };
        let ids: Vec<_> = payloads.iter().map(|payload| header.id_of(payload)).collect();
        let (hash, paths) = merkle::root_and_paths(&ids);
        let count = u32::try_from(ids.len()).expect("a batch has at most 65,536 leaves");
        let payload = batch_payload(count, &hash);
        let root_header = Header { kind: BATCH_KIND, ..header };
        let signature = signer.sign(&root_header.to_be_signed(&payload, BATCH_DOMAIN));
        let root = Sign1 { header: root_header, payload: &payload, signature };
        let leaves = payloads.into_iter().zip(paths).zip(0_u32..);
        leaves
            .map(|((payload, path), index)| Self::leaf(header, &payload, root, index, &path))
            .collect()
    }

    fn leaf(
        header: Header,
        payload: &[u8],
        root: Sign1<'_>,
        index: u32,
        path: &[merkle::Hash],
    ) -> Self {
        let proof = 2 * SIGN1_BYTES + path.len() * Path::STEP;
        let mut envelope = Writer::with_capacity(payload.len() + proof);
        envelope.array(LEAF_ITEMS).byte_string(&header.encode()).byte_string(payload);
        let payload = envelope.len() - payload.len()..envelope.len();
        let root = root.ending_at(root.write(&mut envelope).end);
        envelope.unsigned(index.into()).array(path.len() as u64);
        let start = envelope.len();
        for hash in path {
            envelope.byte_string(hash);
        }
        let path = Path(start..envelope.len());
        let proof = Proof::Leaf { root, index, path };
        Self::new(envelope.into_bytes(), header, payload, proof)
    }

    /// The payload is that part of `bytes`.
    fn new(bytes: Vec<u8>, header: Header, payload: Range<usize>, proof: Proof) -> Self {
        let id = header.id_of(&bytes[payload.clone()]);
        Self(Arc::new(Inner { bytes, header, payload, proof, id }))
    }

    /// Whether the signature is genuine (S6).
    pub(crate) fn is_genuine(&self, verifier: &dyn Verifier) -> bool {
        let signer = &self.0.header.signer;
        match &self.0.proof {
            Proof::Alone { signature } => {
                let message = self.0.header.to_be_signed(self.payload(), STATEMENT_DOMAIN);
                verifier.verify(signer, &message, signature)
            }
            Proof::Leaf { root, index, path } => {
                let payload = root.payload(self);
                let Some(count) = batch_count(payload) else { return false };
                let vouched = merkle::root_from(self.0.id, *index, count, path.hashes(self));
                vouched.is_some_and(|hash| batch_payload(count, &hash) == payload) && {
                    let message = root.header.to_be_signed(payload, BATCH_DOMAIN);
                    verifier.verify_carried(signer, &message, &root.signature)
                }
            }
        }
    }

    /// Whether one signature, of the root of a batch, vouches for both, if it is genuine.
    pub fn is_of_batch_of(&self, other: &Self) -> bool {
        match (&self.0.proof, &other.0.proof) {
            (Proof::Leaf { root, .. }, Proof::Leaf { root: others, .. }) => {
                let signer = self.0.header.signer == other.0.header.signer;
                let payload = root.payload(self) == others.payload(other);
                signer && payload && root.signature == others.signature
            }
            _ => false,
        }
    }

    /// The envelope's bytes as received.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// The signed payload's bytes.
    pub fn payload(&self) -> &[u8] {
        &self.0.bytes[self.0.payload.clone()]
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

impl<'a> Sign1<'a> {
    /// Reads what comes after the beginning of the array; gives also what comes after the payload.
    fn read(reader: &mut Reader<'a>) -> Result<(Self, &'a [u8]), EnvelopeError> {
        let protected = byte_string(reader)?;
        if reader.map() != Some(0) {
            return Err(EnvelopeError::Shape("an unprotected header that is not an empty map"));
        }
        let payload = byte_string(reader)?;
        let rest = reader.rest();
        let signature = byte_string(reader)?.try_into();
        let signature = signature.map_err(|_| EnvelopeError::Shape("a signature has 64 bytes"))?;
        let header = Header::parse(protected)?;
        Ok((Self { header, payload, signature: Signature(signature) }, rest))
    }

    /// Adds it to `envelope`; gives where its payload is there.
    fn write(self, envelope: &mut Writer) -> Range<usize> {
        envelope.array(SIGN1_ITEMS).byte_string(&self.header.encode()).map(0);
        let end = envelope.byte_string(self.payload).len();
        envelope.byte_string(&self.signature.0);
        end - self.payload.len()..end
    }

    /// To be kept beside bytes in which its payload ends there.
    fn ending_at(self, end: usize) -> Root {
        let payload = end - self.payload.len()..end;
        Root { header: self.header, payload, signature: self.signature }
    }
}

impl Root {
    fn payload<'a>(&self, envelope: &'a Envelope) -> &'a [u8] {
        &envelope.0.bytes[self.payload.clone()]
    }
}

impl Path {
    /// Bytes of a hash and of the beginning of its byte string.
    const STEP: usize = merkle::HASH_BYTES + 2;

    /// From the bottom up.
    fn hashes<'a>(&self, envelope: &'a Envelope) -> impl Iterator<Item = &'a merkle::Hash> {
        let steps = envelope.0.bytes[self.0.clone()].as_chunks::<{ Self::STEP }>().0;
        steps.iter().map(|step| step.last_chunk().expect("a step ends in its hash"))
    }
}

impl Header {
    /// The profile's four entries (S4).
    fn encode(self) -> Vec<u8> {
        let mut header = Writer::with_capacity(HEADER_BYTES);
        header.map(4).integer(ALGORITHM_LABEL).integer(EDDSA);
        header.integer(SIGNER_LABEL).byte_string(self.signer.as_bytes());
        header.integer(KIND_LABEL).integer(self.kind.into());
        header.integer(VERSION_LABEL).integer(self.version.into());
        header.into_bytes()
    }

    /// Reads the profile's four entries and requires that there be nothing else.
    fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        Self::read(&mut Reader::new(bytes)).ok_or(EnvelopeError::Header)
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let is = |reader: &mut Reader<'_>, number| (reader.integer()? == number).then_some(());
        (reader.map()? == 4).then_some(())?;
        is(reader, ALGORITHM_LABEL)?;
        is(reader, EDDSA)?;
        is(reader, SIGNER_LABEL)?;
        let signer = PublicKey::from_bytes(reader.bytes()?.try_into().ok()?);
        is(reader, KIND_LABEL)?;
        let kind = u16::try_from(reader.unsigned()?).ok()?;
        is(reader, VERSION_LABEL)?;
        let version = u16::try_from(reader.unsigned()?).ok()?;
        reader.rest().is_empty().then_some(Self { kind, version, signer })
    }

    /// The Sig_structure of RFC 9052 section 4.4.
    fn to_be_signed(self, payload: &[u8], domain: &[u8]) -> ToBeSigned {
        let mut signed = Writer::with_capacity(payload.len() + SIGN1_BYTES);
        signed
            .encoded(SIGNATURE_CONTEXT)
            .byte_string(&self.encode())
            .byte_string(domain)
            .byte_string(payload);
        ToBeSigned::new(signed.into_bytes())
    }

    fn id_of(self, payload: &[u8]) -> StatementId {
        let mut hasher = ID_HASHER.clone();
        hasher.update(&self.kind.to_be_bytes());
        hasher.update(&self.version.to_be_bytes());
        hasher.update(self.signer.as_bytes());
        hasher.update(payload);
        StatementId::from_bytes(*hasher.finalize().as_bytes())
    }
}

fn byte_string<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], EnvelopeError> {
    reader.bytes().ok_or(EnvelopeError::Shape("a byte string was expected"))
}

fn batch_payload(count: u32, root: &merkle::Hash) -> Vec<u8> {
    let mut payload = Writer::with_capacity(merkle::HASH_BYTES + 8);
    payload.array(2).unsigned(count.into()).byte_string(root);
    payload.into_bytes()
}

fn batch_count(payload: &[u8]) -> Option<u32> {
    let mut reader = Reader::new(payload);
    reader.array()?;
    u32::try_from(reader.unsigned()?).ok()
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
