//! Sound payloads with whatever in them.

mod machine;
mod offer;
mod result;

use capability::statements::{
    Claim, Delegation, Home, Intent, Lease, List, ListedBroker, ListedProject, Network, Ownership,
    Renewal, Request, Revocation, Succession, TaskId, Withdrawal,
};
use capability::{
    DecryptionKey, EncryptionKey, Envelope, ProjectKey, PublicKey, Runtime, SecretKey, Signer,
    StatementId, Timestamp, Verified,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::string::string_regex;

pub use self::machine::{ad, broker_card, summary};
use self::machine::{fact_name, known_fact, runtime, set_word};
pub use self::offer::{offer, registration};
pub use self::result::{receipt, report, result};

/// Seeds of keys. What the master signs, it signs for the project.
pub const PROJECT: u8 = 1;
pub const MASTER: u8 = 2;
pub const VOLUNTEER: u8 = 4;
const OWNER: u8 = 5;

pub fn secret(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn project() -> ProjectKey {
    secret(PROJECT).public().into()
}

/// The secret keys of those to whom things are sealed.
pub fn decryption(seed: u8) -> DecryptionKey {
    DecryptionKey::from_seed(&[seed; 32])
}

fn encryption_key() -> impl Strategy<Value = EncryptionKey> {
    any::<u8>().prop_map(|seed| decryption(seed).public())
}

/// Holds for ever, so that nothing outlives it.
fn delegated() -> Envelope {
    let node = secret(MASTER).public();
    let delegation =
        Delegation { node, encryption: decryption(MASTER).public(), expires: Timestamp(u64::MAX) };
    Verified::sign(delegation, &secret(PROJECT)).envelope().clone()
}

/// What vouches for the volunteer.
fn owned() -> Envelope {
    let nodes = vec![secret(VOLUNTEER).public()];
    let ownership = Ownership { nodes, expires: Timestamp(u64::MAX) };
    Verified::sign(ownership, &secret(OWNER)).envelope().clone()
}

/// Some statement, as one is inside another.
fn envelope() -> impl Strategy<Value = Envelope> {
    withdrawal().prop_map(|it| Verified::sign(it, &secret(OWNER)).envelope().clone())
}

fn key() -> impl Strategy<Value = PublicKey> {
    any::<[u8; 32]>().prop_map(PublicKey::from_bytes)
}

fn id() -> impl Strategy<Value = StatementId> {
    any::<[u8; 32]>().prop_map(StatementId::from_bytes)
}

fn time() -> impl Strategy<Value = Timestamp> {
    number().prop_map(Timestamp)
}

/// Of every length that CBOR has for it.
fn number() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64_u32).prop_map(|(number, shift)| number >> shift)
}

/// Text for people of at most `characters`, of all planes, without control characters (S10).
fn text(characters: usize) -> impl Strategy<Value = String> {
    string_regex(&format!("[^\\p{{Cc}}]{{0,{characters}}}")).expect("a pattern")
}

fn task() -> impl Strategy<Value = TaskId> {
    (id(), any::<u32>(), any::<u16>()).prop_map(|(offer, task, replica)| TaskId {
        offer,
        task,
        replica,
    })
}

pub fn delegation() -> impl Strategy<Value = Delegation> {
    (key(), encryption_key(), time()).prop_map(|(node, encryption, expires)| Delegation {
        node,
        encryption,
        expires,
    })
}

pub fn home() -> impl Strategy<Value = Home> {
    let apart = |(home, standbys): &(PublicKey, Vec<PublicKey>)| !standbys.contains(home);
    let brokers = (key(), vec(key(), 0..=4)).prop_filter("its own standby", apart);
    (0..u64::MAX, brokers, time()).prop_map(|(epoch, (home, standbys), expires)| Home {
        project: project(),
        epoch,
        home,
        standbys,
        delegation: delegated(),
        expires,
    })
}

pub fn withdrawal() -> impl Strategy<Value = Withdrawal> {
    (id(), text(64), time()).prop_map(|(statement, reason, expires)| Withdrawal {
        statement,
        reason,
        expires,
    })
}

pub fn claim() -> impl Strategy<Value = Claim> {
    let (nonce, offline) = (number(), any::<bool>());
    (id(), number(), 1..=256_u16, runtime(), envelope(), offline, nonce, time()).prop_map(
        |(offer, epoch, count, runtime, ad, offline, nonce, expires)| Claim {
            offer,
            epoch,
            count,
            runtime,
            ad,
            ownership: None,
            offline,
            nonce,
            expires,
        },
    )
}

/// A lease to the volunteer of this seed.
pub fn lease_to(volunteer: u8) -> Lease {
    Lease {
        project: project(),
        task: TaskId { offer: StatementId::from_bytes([8; 32]), task: 0, replica: 0 },
        epoch: 1,
        volunteer: secret(volunteer).public(),
        runtime: Runtime::Native,
        granted: Timestamp(1),
        term_ms: 30_000,
        deadline: None,
        expires: Timestamp(2),
    }
}

pub fn lease() -> impl Strategy<Value = Lease> {
    (task(), number(), key(), runtime(), time(), 1_000..u64::MAX, time(), any::<bool>()).prop_map(
        |(task, epoch, volunteer, runtime, granted, term_ms, expires, offline)| Lease {
            project: project(),
            task,
            epoch,
            volunteer,
            runtime,
            granted,
            term_ms,
            deadline: (offline && granted <= expires).then_some(expires),
            expires,
        },
    )
}

pub fn renewal() -> impl Strategy<Value = Renewal> {
    let intent = prop_oneof![Just(Intent::Keep), Just(Intent::Release)];
    (vec(id(), 1..=256), id(), number(), intent, any::<bool>(), time(), time()).prop_map(
        |(leases, offer, epoch, intent, lost, issued, expires)| Renewal {
            leases,
            offer,
            epoch,
            intent,
            lost,
            issued,
            expires,
        },
    )
}

pub fn revocation() -> impl Strategy<Value = Revocation> {
    (key(), text(64), time()).prop_map(|(key, reason, expires)| Revocation { key, reason, expires })
}

pub fn succession() -> impl Strategy<Value = Succession> {
    (key(), time()).prop_map(|(successor, expires)| Succession { successor, expires })
}

pub fn ownership() -> impl Strategy<Value = Ownership> {
    (vec(key(), 0..=64), time()).prop_map(|(nodes, expires)| Ownership { nodes, expires })
}

pub fn network() -> impl Strategy<Value = Network> {
    let addresses = vec(text(64), 1..=4);
    let listed = |(key, addresses)| ListedBroker { key, addresses };
    let brokers = btree_map(key(), addresses, 1..=32)
        .prop_map(move |brokers| brokers.into_iter().map(listed).collect());
    ("[a-z]{1,64}", number(), brokers, time()).prop_map(|(name, seq, brokers, expires)| Network {
        name,
        seq,
        brokers,
        expires,
    })
}

pub fn list() -> impl Strategy<Value = List> {
    // A character has up to four bytes.
    let rest = ("[a-z]{1,64}", vec(text(64), 0..=4), vec(text(8), 0..=8));
    let listed = |(key, (name, brokers, keywords)): (PublicKey, _)| ListedProject {
        key: key.into(),
        name,
        brokers,
        keywords,
    };
    let projects = btree_map(key(), rest, 0..=32)
        .prop_map(move |projects| projects.into_iter().map(listed).collect());
    ("[a-z]{1,64}", number(), projects, time()).prop_map(|(name, seq, projects, expires)| List {
        name,
        seq,
        projects,
        expires,
    })
}

pub fn request() -> impl Strategy<Value = Request> {
    (key(), number(), time(), vec(any::<u8>(), 0..300))
        .prop_map(|(audience, nonce, expires, body)| Request { audience, nonce, expires, body })
}
