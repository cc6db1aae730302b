//! How long it takes to decode and verify a signed ad of some 500 bytes, alone and as a leaf of a
//! batch, beside the bare verification of its signature: `cargo run --release -p capability
//! --example signatures`.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

#[expect(dead_code, reason = "the other benchmark uses the rest")]
#[path = "matching/figures.rs"]
mod figures;

use std::sync::Mutex;

use capability::statements::Ad;
use capability::{
    Capabilities, DecryptionKey, Ed25519, Facts, Platform, PublicKey, Remembering, Resources,
    Runtime, RuntimeFacts, SecretKey, Signature, Signer, Timestamp, ToBeSigned, Verified, Verifier,
};
use ed25519_dalek::VerifyingKey;
use figures::Times;

/// Ads, no two the same.
const ADS: u32 = 4_096;
/// Leaves of a batch.
const BATCH: usize = 256;

fn main() {
    let signer = SecretKey::from_seed(&[7; 32]);
    let alone: Vec<_> = (0..ADS).map(|number| Verified::sign(ad(number), &signer)).collect();
    let alone: Vec<_> = alone.iter().map(|ad| ad.envelope().as_bytes()).collect();
    println!("an ad alone: {} bytes", alone[0].len());
    let [mut bare, mut decoding, mut whole] = <[Times; 3]>::default();
    for bytes in &alone {
        // In turn, so that whatever else this machine does falls on all.
        let signed = signed(bytes);
        bare.time(|| assert!(is_genuine(&signed)));
        decoding.time(|| Verified::<Ad>::parse(bytes, &Gullible).expect("our own"));
        whole.time(|| Verified::<Ad>::parse(bytes, &Ed25519).expect("our own"));
    }
    println!("bare strict verification: {bare}");
    println!("decode alone: {decoding}");
    println!("decode and verify: {whole}");
    println!("ratio of the medians: {:.2}", whole.median().div_duration_f64(bare.median()));

    let numbers: Vec<u32> = (0..ADS).collect();
    let batches = numbers
        .chunks(BATCH)
        .map(|numbers| Verified::sign_batch(numbers.iter().copied().map(ad).collect(), &signer));
    let leaves: Vec<_> = batches.flatten().collect();
    let leaves: Vec<_> = leaves.iter().map(|leaf| leaf.envelope().as_bytes()).collect();
    println!("an ad in a batch of {BATCH}: {} bytes", leaves[0].len());
    leaf("no signature looked at", &leaves, &Gullible);
    leaf("each root verified anew", &leaves, &Ed25519);
    let remembered = leaf("roots remembered", &leaves, &Remembering::new(Ed25519));
    // What an ad is decoded to is the same work in both envelopes.
    let vouching = remembered.median().saturating_sub(decoding.median());
    println!("of that, beyond decoding an ad: {vouching:.1?}");
}

/// Times the decoding and verifying of `leaves`.
fn leaf(how: &str, leaves: &[&[u8]], verifier: &dyn Verifier) -> Times {
    let mut whole = Times::default();
    for bytes in leaves {
        whole.time(|| Verified::<Ad>::parse(bytes, verifier).expect("our own"));
    }
    println!("decode and verify a leaf, {how}: {whole}");
    whole
}

/// Takes every signature: what is left is decoding, and the tree of a batch.
struct Gullible;

impl Verifier for Gullible {
    fn verify(&self, _: &PublicKey, _: &ToBeSigned, _: &Signature) -> bool {
        true
    }
}

/// What a signature covers, and whose it is.
struct Signed {
    key: PublicKey,
    message: Vec<u8>,
    signature: Signature,
}

/// Sees what is verified.
#[derive(Default)]
struct Witness(Mutex<Option<Signed>>);

impl Verifier for Witness {
    fn verify(&self, key: &PublicKey, message: &ToBeSigned, signature: &Signature) -> bool {
        let message = message.as_bytes().to_vec();
        let signed = Signed { key: *key, message, signature: *signature };
        *self.0.lock().expect("nobody panics here") = Some(signed);
        true
    }
}

fn signed(bytes: &[u8]) -> Signed {
    let witness = Witness::default();
    Verified::<Ad>::parse(bytes, &witness).expect("our own");
    witness.0.into_inner().expect("nobody panics here").expect("it was asked")
}

/// What everybody must do who has but the bytes of a key and of a signature.
fn is_genuine(signed: &Signed) -> bool {
    let key = VerifyingKey::from_bytes(signed.key.as_bytes()).expect("a sound key");
    let signature = ed25519_dalek::Signature::from_bytes(&signed.signature.0);
    key.verify_strict(&signed.message, &signature).is_ok()
}

/// An ad like those of most machines, of some 500 bytes when it is signed.
fn ad(number: u32) -> Ad {
    let mut facts = Facts::new();
    let mut state = |name: &str, text: &str| facts.insert(name, text).expect("a sound fact");
    state("os", "linux");
    state("arch", "x86_64");
    state("distribution", "debian");
    state("distribution.version", "12");
    state("libc", "gnu");
    state("libc.version", "2.36");
    state("kernel", "6.1.0");
    state("tool.cc", "12.2.0");
    state("tool.git", "2.39.5");
    state("tool.make", "4.3");
    state("tool.python3", &format!("3.11.{}", number % 10));
    let native = RuntimeFacts { strength: "namespaces+landlock+seccomp".into(), facts };
    Ad {
        seq: number.into(),
        broker: SecretKey::from_seed(&[8; 32]).public(),
        capabilities: Capabilities {
            platform: Platform::new("linux", "x86_64").expect("words"),
            resources: Resources { cores: 4, memory: 8 << 30, disk: 20 << 30 },
            runtimes: [(Runtime::Native, native)].into(),
        },
        encryption: DecryptionKey::from_seed(&[7; 32]).public(),
        expires: Timestamp(1_800_000_000_000),
    }
}
