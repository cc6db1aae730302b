//! A statement with any one bit changed is none, in either envelope.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use capability::statements::OfKind;
use capability::{
    Ed25519, Envelope, Kind, Payload, PublicKey, Signature, StatementError, StatementId,
    ToBeSigned, Verified, Verifier,
};
use data_encoding::HEXLOWER;

use crate::cases;

/// Bits of each vector that are flipped in the checks: all of a small one.
const BITS: u32 = 2048;

/// A real verifier takes milliseconds for each where nothing is optimised.
const BITS_FOR_REAL: u32 = 256;

#[test]
fn no_bit_of_a_golden_vector_can_be_changed() {
    for (name, bytes) in vectors() {
        let known = Known::of(&bytes);
        every_bit_counts(&name, &bytes, &known, BITS);
    }
}

#[test]
fn no_bit_of_a_withdrawal_or_of_its_leaf_deceives_a_real_verifier() {
    for name in ["withdrawal", "withdrawal-leaf-2"] {
        let (_, bytes) = vectors().find(|(found, _)| found == name).expect("the vector is there");
        every_bit_counts(name, &bytes, &Ed25519, BITS_FOR_REAL);
    }
}

/// Flips one bit after the other, `usual` of them spread over the whole length.
fn every_bit_counts(name: &str, bytes: &[u8], verifier: &dyn Verifier, usual: u32) {
    check(bytes, verifier).expect("it holds as it is");
    let most = usize::try_from(cases(usual)).expect("a number of bits");
    let bits = bytes.len() * 8;
    // An odd stride comes to every place in a byte.
    let stride = bits.div_ceil(most) | 1;
    for bit in (0..bits).step_by(stride) {
        let found = check(&flipped(bytes, bit), verifier);
        assert!(found.is_err(), "{name} holds without bit {bit}");
    }
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

/// Checks bytes as what they say that they are.
fn check(bytes: &[u8], verifier: &dyn Verifier) -> Result<StatementId, StatementError> {
    let envelope = Envelope::parse(bytes)?;
    envelope.kind().unwrap_or(Kind::Ad).apply(Check { envelope: &envelope, verifier })
}

struct Check<'a> {
    envelope: &'a Envelope,
    verifier: &'a dyn Verifier,
}

impl OfKind for Check<'_> {
    type Output = Result<StatementId, StatementError>;

    fn of<T: Payload + Debug + PartialEq>(self) -> Self::Output {
        Verified::<T>::check(self.envelope, self.verifier).map(|statement| statement.id())
    }
}

type Signed = (PublicKey, Vec<u8>, Signature);

/// Knows the signatures of one statement, and takes no other. Nobody can make another; a real
/// verifier would find that out a hundred times more slowly.
struct Known(BTreeSet<Signed>);

impl Known {
    fn of(bytes: &[u8]) -> Self {
        let witness = Witness(Mutex::default());
        check(bytes, &witness).expect("a valid vector");
        Self(witness.0.into_inner().expect("nobody panicked"))
    }
}

impl Verifier for Known {
    fn verify(&self, key: &PublicKey, message: &ToBeSigned, signature: &Signature) -> bool {
        self.0.contains(&(*key, message.as_bytes().to_vec(), *signature))
    }
}

/// Notes what is genuine.
struct Witness(Mutex<BTreeSet<Signed>>);

impl Verifier for Witness {
    fn verify(&self, key: &PublicKey, message: &ToBeSigned, signature: &Signature) -> bool {
        let genuine = Ed25519.verify(key, message, signature);
        if genuine {
            let signed = (*key, message.as_bytes().to_vec(), *signature);
            self.0.lock().expect("nobody panicked").insert(signed);
        }
        genuine
    }
}

/// Every valid vector, by name.
fn vectors() -> impl Iterator<Item = (String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/spec/vectors/valid");
    let entries = fs::read_dir(folder).expect("the vectors are there");
    entries.map(|entry| read(&entry.expect("an entry").path()))
}

fn read(path: &PathBuf) -> (String, Vec<u8>) {
    let text = fs::read_to_string(path).expect("a vector is text");
    let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
    let name = path.file_stem().expect("a file").to_string_lossy().into_owned();
    (name, HEXLOWER.decode(digits.as_bytes()).expect("digits"))
}
