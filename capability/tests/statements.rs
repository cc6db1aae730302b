//! Statements as they travel: both envelopes, ids, authority, and what is refused.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use capability::statements::{
    Class, ClassCount, Credit, Delegation, Lease, Receipt, Registration, Revocation, Summary,
    TaskId, Verdict, Withdrawal,
};
use capability::{
    DecryptionKey, Ed25519, Envelope, Payload, ProjectKey, PublicKey, Remembering, Runtime,
    SecretKey, Signature, Signer, StatementError, StatementId, Timestamp, ToBeSigned, Verified,
    Verifier, encode_cbor,
};
use coset::{CborSerializable, CoseSign1Builder, HeaderBuilder, iana};
use ed25519_dalek::{Signer as _, SigningKey};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const HOUR: Duration = Duration::from_secs(60 * 60);

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

fn withdrawal(n: u8) -> Withdrawal {
    let statement = StatementId::from_bytes([n; 32]);
    Withdrawal { statement, reason: String::new(), expires: NOW + HOUR }
}

fn delegation(project: &SecretKey, node: &SecretKey, expires: Timestamp) -> Verified<Delegation> {
    Verified::sign(
        Delegation {
            node: node.public(),
            encryption: DecryptionKey::from_seed(&[7; 32]).public(),
            expires,
        },
        project,
    )
}

fn receipt(project: &SecretKey, delegation: &Verified<Delegation>, expires: Timestamp) -> Receipt {
    let offer = StatementId::from_bytes([1; 32]);
    Receipt {
        project: ProjectKey::from(project.public()),
        result: StatementId::from_bytes([2; 32]),
        task: TaskId { offer, task: 3, replica: 0 },
        volunteer: key(9).public(),
        verdict: Verdict::Accepted(Credit(4_000)),
        issued: NOW,
        delegation: delegation.envelope().clone(),
        expires,
    }
}

fn parse<T: Payload>(bytes: &[u8]) -> Result<Verified<T>, StatementError> {
    Verified::parse(bytes, &Ed25519)
}

#[test]
fn a_statement_has_the_same_id_alone_and_in_a_batch() {
    let signer = key(1);
    let alone = Verified::sign(withdrawal(3), &signer);
    let batch = Verified::sign_batch((0..7).map(withdrawal).collect(), &signer);

    assert_eq!(batch[3].id(), alone.id());
    assert_ne!(batch[3].envelope().as_bytes(), alone.envelope().as_bytes());
    for statement in batch.iter().chain([&alone]) {
        let parsed: Verified<Withdrawal> = parse(statement.envelope().as_bytes()).expect("sound");
        assert_eq!(parsed, *statement);
    }
}

/// Counts the signatures that are really verified.
struct Counting<'a>(&'a AtomicUsize);

impl Verifier for Counting<'_> {
    fn verify(&self, key: &PublicKey, message: &ToBeSigned, signature: &Signature) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ed25519.verify(key, message, signature)
    }
}

#[test]
fn a_batch_of_receipts_costs_the_verification_of_its_root_and_of_its_delegation() {
    let (project, node) = (key(1), key(2));
    let delegation = delegation(&project, &node, NOW + HOUR * 2);
    let receipts = (0..40).map(|_| receipt(&project, &delegation, NOW + HOUR)).collect();
    let batch = Verified::sign_batch(receipts, &node);
    let count = AtomicUsize::new(0);
    let verifier = Remembering::new(Counting(&count));
    for receipt in &batch {
        Verified::<Receipt>::parse(receipt.envelope().as_bytes(), &verifier).expect("sound");
    }
    assert_eq!(count.load(Ordering::Relaxed), 2);

    // What was remembered vouches for nothing else.
    let forged = self::delegation(&node, &node, NOW);
    let other = Verified::sign(receipt(&project, &forged, NOW), &node);
    let refused = Verified::<Receipt>::parse(other.envelope().as_bytes(), &verifier);
    assert!(matches!(refused, Err(StatementError::Unauthorized { .. })), "{refused:?}");
}

#[test]
fn a_flattened_payload_with_bytes_survives() {
    let lease = Lease {
        project: ProjectKey::from(key(1).public()),
        task: TaskId { offer: StatementId::from_bytes([5; 32]), task: 70_000, replica: 1 },
        epoch: 3,
        volunteer: key(2).public(),
        runtime: Runtime::Wasm,
        granted: NOW,
        term_ms: 30_000,
        deadline: None,
        expires: NOW + HOUR,
    };
    let signed = Verified::sign(lease.clone(), &key(4));
    let parsed: Verified<Lease> = parse(signed.envelope().as_bytes()).expect("sound");
    assert_eq!(*parsed, lease);
}

#[test]
fn a_statement_is_what_a_library_for_cose_makes_of_the_same() {
    let (signer, payload) = (key(1), withdrawal(3));
    let ours = Verified::sign(payload.clone(), &signer);
    let header = HeaderBuilder::new()
        .algorithm(iana::Algorithm::EdDSA)
        .key_id(signer.public().as_bytes().to_vec())
        .value(-65537, Withdrawal::KIND.number().into())
        .value(-65538, Withdrawal::VERSION.into());
    let secret = SigningKey::from_bytes(signer.seed());
    let theirs = CoseSign1Builder::new()
        .protected(header.build())
        .payload(encode_cbor(&payload))
        .create_signature(b"talkoot/1/statement", |signed| secret.sign(signed).to_bytes().to_vec())
        .build();
    assert_eq!(theirs.to_vec().expect("it encodes"), ours.envelope().as_bytes());
}

#[test]
fn any_flipped_bit_is_noticed() {
    let signer = key(1);
    let batch = Verified::sign_batch((0..3).map(withdrawal).collect(), &signer);
    let alone = Verified::sign(withdrawal(9), &signer);
    for statement in [&batch[2], &alone] {
        let bytes = statement.envelope().as_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(parse::<Withdrawal>(&flipped).is_err(), "bit {bit} may be flipped");
        }
    }
}

#[test]
fn every_cut_and_any_garbage_is_an_error() {
    let bytes = Verified::sign(withdrawal(1), &key(1)).envelope().as_bytes().to_vec();
    for length in 0..bytes.len() {
        assert!(Envelope::parse(&bytes[..length]).is_err());
    }
    assert!(Envelope::parse(&[0x84; 70_000]).is_err());
}

#[test]
fn another_kind_is_refused_before_its_signature_is_looked_at() {
    let signed = Verified::sign(withdrawal(1), &key(1));
    let refused = parse::<Revocation>(signed.envelope().as_bytes());
    assert!(matches!(refused, Err(StatementError::Kind { found: "withdrawal", .. })));
}

#[test]
fn a_node_speaks_for_a_project_only_as_long_as_it_was_delegated() {
    let (project, node, thief) = (key(1), key(2), key(3));
    let theirs = delegation(&project, &node, NOW + HOUR);
    let check = |signer: &SecretKey, receipt: Receipt| {
        parse::<Receipt>(Verified::sign(receipt, signer).envelope().as_bytes()).map(drop)
    };
    let unauthorized = |outcome: Result<(), StatementError>| match outcome {
        Err(StatementError::Unauthorized { reason, .. }) => reason,
        other => panic!("expected a refusal, got {other:?}"),
    };

    check(&node, receipt(&project, &theirs, NOW + HOUR)).expect("delegated");
    let reason = unauthorized(check(&thief, receipt(&project, &theirs, NOW + HOUR)));
    assert_eq!(reason, "the delegation is to another key");
    let reason = unauthorized(check(&node, receipt(&thief, &theirs, NOW + HOUR)));
    assert_eq!(reason, "the delegation is another project's");
    let reason = unauthorized(check(&node, receipt(&project, &theirs, NOW + 2 * HOUR)));
    assert_eq!(reason, "it outlives its delegation");
}

#[test]
fn time_is_checked_apart_with_the_skew_that_honest_clocks_have() {
    let signed = Verified::sign(withdrawal(1), &key(1));
    signed.current(NOW).expect("holds");
    signed.current(NOW + HOUR).expect("within the skew");
    let late = NOW + HOUR + capability::MAX_CLOCK_SKEW;
    assert!(matches!(signed.current(late), Err(StatementError::Expired { .. })));
    let early = NOW.before(31 * 24 * HOUR);
    assert!(matches!(signed.current(early), Err(StatementError::TooLong { .. })));
}

#[test]
#[should_panic(expected = "S30")]
fn we_never_sign_what_breaks_a_rule() {
    let registration = Registration {
        name: String::new(),
        homepage: String::new(),
        keywords: Vec::new(),
        permissions: capability::statements::Permissions::default(),
        checks: Vec::new(),
        expires: NOW,
    };
    Verified::sign(registration, &key(1));
}

#[test]
fn what_peers_have_a_say_in_is_signed_only_if_others_would_take_it() {
    let class = |n: usize| Class {
        runtime: format!("{n:032}").parse().expect("a word"),
        cores_log2: 1,
        memory_log2: 1,
    };
    let summary = |classes: usize, shard: &str| Summary {
        seq: 1,
        shard: shard.to_owned(),
        classes: (0..classes).map(|n| ClassCount { class: class(n), count: 1 }).collect(),
        expires: NOW,
    };
    let rule = |summary| Verified::try_sign(summary, &key(1)).map_err(|invalid| invalid.rule);
    let signed = rule(summary(1, "wasm")).expect("sound");
    assert!(parse::<Summary>(signed.envelope().as_bytes()).is_ok());
    assert!(rule(summary(1, &"x".repeat(65))).is_ok(), "the longest platform's");
    assert_eq!(rule(summary(1, &"x".repeat(66))), Err("S10"));
    assert_eq!(rule(summary(1_025, "wasm")), Err("S21"));
    assert_eq!(rule(summary(1_024, "wasm")), Err("S1"), "over 64 KiB");
}
