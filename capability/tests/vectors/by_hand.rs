//! A second encoder, written from `docs/spec/statements.md` alone.
//!
//! It shares no line with the crate's own, so that both can be wrong only in the same way by chance,
//! and it makes what the crate refuses to make.

use ciborium::Value;
use ed25519_dalek::{Signer, SigningKey};

pub const STATEMENT: &[u8] = b"talkoot/1/statement";
pub const BATCH: &[u8] = b"talkoot/1/batch";

/// A protected header. Its fields can be wrong.
pub struct Header {
    pub algorithm: i64,
    pub key: Vec<u8>,
    pub kind: u16,
    pub version: u16,
}

impl Header {
    pub fn new(kind: u16, seed: u8) -> Self {
        let key = signing_key(seed).verifying_key().to_bytes().to_vec();
        Self { algorithm: -8, key, kind, version: 1 }
    }

    pub fn encode(&self) -> Vec<u8> {
        cbor(&Value::Map(vec![
            (Value::from(1), Value::from(self.algorithm)),
            (Value::from(4), Value::Bytes(self.key.clone())),
            (Value::from(-65537), Value::from(self.kind)),
            (Value::from(-65538), Value::from(self.version)),
        ]))
    }

    /// Rule S5.
    pub fn id(&self, payload: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("talkoot 1 statement id");
        hasher.update(&self.kind.to_be_bytes()).update(&self.version.to_be_bytes());
        hasher.update(&self.key).update(payload);
        *hasher.finalize().as_bytes()
    }
}

pub fn signing_key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

/// Keys in the order given, so that they can be in the wrong one.
pub fn cbor(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("writing to memory does not fail");
    bytes
}

pub fn generic(bytes: &[u8]) -> Value {
    ciborium::from_reader(bytes).expect("bytes that we made")
}

/// The items of a COSE_Sign1 over `payload`.
pub fn sign1(header: &Header, domain: &[u8], payload: &[u8], seed: u8) -> Vec<Value> {
    sign1_under(header.encode(), domain, payload, seed)
}

/// The same with any bytes for a header.
pub fn sign1_under(protected: Vec<u8>, domain: &[u8], payload: &[u8], seed: u8) -> Vec<Value> {
    let message = to_be_signed(&protected, domain, payload);
    let signature = signing_key(seed).sign(&message).to_bytes();
    vec![
        Value::Bytes(protected),
        Value::Map(Vec::new()),
        Value::Bytes(payload.to_vec()),
        Value::Bytes(signature.to_vec()),
    ]
}

/// The `Sig_structure` (S6).
pub fn to_be_signed(protected: &[u8], domain: &[u8], payload: &[u8]) -> Vec<u8> {
    cbor(&Value::Array(vec![
        Value::from("Signature1"),
        Value::Bytes(protected.to_vec()),
        Value::Bytes(domain.to_vec()),
        Value::Bytes(payload.to_vec()),
    ]))
}

/// A statement signed alone.
pub fn alone(header: &Header, payload: &[u8], seed: u8) -> Vec<u8> {
    cbor(&Value::Array(sign1(header, STATEMENT, payload, seed)))
}

/// The items of the leaves of a batch of three.
pub fn leaves(kind: u16, payloads: [&[u8]; 3], seed: u8) -> [Vec<Value>; 3] {
    let header = Header::new(kind, seed);
    let [a, b, c] = payloads.map(|payload| header.id(payload));
    let left = node(&a, &b);
    let root = cbor(&Value::Array(vec![Value::from(3), Value::Bytes(node(&left, &c).to_vec())]));
    let root = Value::Array(sign1(&Header::new(0, seed), BATCH, &root, seed));
    let leaf = |index: u8, path: &[[u8; 32]]| {
        vec![
            Value::Bytes(header.encode()),
            Value::Bytes(payloads[usize::from(index)].to_vec()),
            root.clone(),
            Value::from(index),
            Value::Array(path.iter().map(|hash| Value::Bytes(hash.to_vec())).collect()),
        ]
    };
    [leaf(0, &[b, c]), leaf(1, &[a, c]), leaf(2, &[left])]
}

fn node(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("talkoot 1 merkle node");
    *hasher.update(left).update(right).finalize().as_bytes()
}
