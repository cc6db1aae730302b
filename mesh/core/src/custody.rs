//! Custody: the duty to keep something until the next one has taken it over (RFC 9171).
//!
//! A [`Bundle`] is a result on its way to the project's home and master, or a receipt on its way
//! back. Whoever takes one makes it durable before it says so; that ends its predecessor's retries.
//! A carrier then forgets it. The **originator** keeps it until the end-to-end answer, and sends it
//! again if none comes ([`Duty`]).

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use capability::statements::{JobResult, Receipt};
use capability::{
    BlobHash, CborError, Envelope, Kind, Payload, PublicKey, StatementError, StatementId,
    Timestamp, Verified, Verifier, decode_cbor, encode_cbor,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::durable::Write;
use crate::message::MAX_FRAME_BYTES;
use crate::time::{Mono, Now};

/// First byte of the keys under which bundles are durable.
pub const CUSTODY_PREFIX: u8 = b'c';

/// Wait after the first failed handover; doubles up to [`MAX_RETRY`].
const FIRST_RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(30);

/// An originator's wait for the end-to-end answer, first; doubles up to [`MAX_RESEND`]. A result
/// takes seconds to its master when all is well; when the master is away, days.
const FIRST_RESEND: Duration = Duration::from_secs(20);
const MAX_RESEND: Duration = Duration::from_secs(10 * 60);

/// Handovers under way to one peer at most.
const MAX_IN_FLIGHT: usize = 32;

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

    /// The frame of a handover on `/talkoot/1/custody`.
    pub fn encode(&self) -> Vec<u8> {
        encode_cbor(&WireBundle { statement: self.envelope().clone(), via: self.via })
    }

    /// Reads the frame of a handover and checks the statement in it.
    pub fn decode(bytes: &[u8], verifier: &dyn Verifier) -> Result<Self, BundleError> {
        let wire: WireBundle = decode_cbor(bytes, MAX_FRAME_BYTES)?;
        let cargo = match wire.statement.kind() {
            Some(Kind::Result) => Cargo::Result(Verified::check(&wire.statement, verifier)?),
            _ => Cargo::Receipt(Verified::check(&wire.statement, verifier)?),
        };
        Ok(Self { cargo, via: wire.via })
    }

    fn envelope(&self) -> &Envelope {
        match &self.cargo {
            Cargo::Result(result) => result.envelope(),
            Cargo::Receipt(receipt) => receipt.envelope(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct WireBundle {
    statement: Envelope,
    via: PublicKey,
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
}

/// The answer to a handover.
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
    /// The frame of the answer.
    pub fn encode(&self) -> Vec<u8> {
        encode_cbor(self)
    }

    /// Reads the frame of an answer.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        decode_cbor(bytes, MAX_FRAME_BYTES)
    }
}

/// What ends the duty to keep a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Duty {
    /// The next one has taken it.
    Carrier,
    /// The end-to-end answer has come ([`Custody::discharge`]).
    Originator,
}

/// The share of a node's bytes that bundles of one origin may take: one in so many.
const BYTES_AN_ORIGIN: u64 = 8;

/// Bounds of what one node takes into custody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CustodyLimits {
    /// Bundles in all.
    pub bundles: usize,
    /// Bundles of one origin.
    pub bundles_an_origin: usize,
    /// Bytes in all, blobs included; an eighth of them for one origin.
    pub bytes: u64,
}

impl Default for CustodyLimits {
    /// For a small public broker: 100,000 bundles, 20,000 of one origin, 16 GiB.
    fn default() -> Self {
        Self { bundles: 100_000, bundles_an_origin: 20_000, bytes: 16 << 30 }
    }
}

/// Custody was refused; the sender keeps the bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CustodyFull {
    /// The node's bound.
    #[error("custody refused: full")]
    InAll,
    /// The origin's share of it.
    #[error("custody refused: full for this origin")]
    ForOrigin,
}

/// The bundles in one node's custody, oldest first.
///
/// The parent commits the writes that [`Custody::take`], [`Custody::handed_over`] and
/// [`Custody::discharge`] return; it asks [`Custody::due`] what to hand over to whom.
#[derive(Debug, Default)]
pub struct Custody {
    entries: BTreeMap<u64, Entry>,
    order: BTreeMap<StatementId, u64>,
    in_flight: BTreeMap<PublicKey, usize>,
    by_origin: BTreeMap<PublicKey, usize>,
    bytes_by_origin: BTreeMap<PublicKey, u64>,
    bytes: u64,
    next: u64,
    limits: CustodyLimits,
}

#[derive(Debug)]
struct Entry {
    bundle: Bundle,
    duty: Duty,
    bytes: u64,
    /// False until the write that holds it is durable.
    durable: bool,
    to: Option<PublicKey>,
    failures: u32,
    handovers: u32,
    not_before: Mono,
}

#[derive(Serialize, Deserialize)]
struct Record {
    order: u64,
    duty: Duty,
    #[serde(with = "serde_bytes")]
    bundle: Vec<u8>,
}

impl Custody {
    /// Empty, with `limits`.
    pub fn new(limits: CustodyLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Takes up again what a former process had made durable under `key`.
    pub fn restore(&mut self, value: &[u8], verifier: &dyn Verifier) -> Result<(), BundleError> {
        let record: Record = decode_cbor(value, MAX_FRAME_BYTES)?;
        let bundle = Bundle::decode(&record.bundle, verifier)?;
        self.next = self.next.max(record.order + 1);
        self.insert(record.order, bundle, record.duty);
        self.entries.entry(record.order).and_modify(|entry| entry.durable = true);
        Ok(())
    }

    /// Takes `bundle` over. Nothing to write if it is here already by the same way.
    ///
    /// Once the writes are durable call [`Custody::made_durable`].
    pub fn take(&mut self, bundle: Bundle, duty: Duty) -> Result<Vec<Write>, CustodyFull> {
        if let Some(&order) = self.order.get(&bundle.id()) {
            let entry = self.entries.get_mut(&order).expect("order and entries agree");
            if entry.bundle.via == bundle.via {
                return Ok(Vec::new());
            }
            entry.bundle.via = bundle.via;
            return Ok(vec![record(order, entry)]);
        }
        // An originator's own bundles are bounded by the work that it takes on.
        if duty == Duty::Carrier {
            self.admit(&bundle)?;
        }
        let order = self.next;
        self.next += 1;
        self.insert(order, bundle, duty);
        Ok(vec![record(order, &self.entries[&order])])
    }

    /// Whether the statement is in custody here.
    pub fn holds(&self, id: StatementId) -> bool {
        self.order.contains_key(&id)
    }

    /// The bundle of that name is durable, and may be handed on.
    pub fn made_durable(&mut self, id: StatementId) {
        if let Some(entry) = self.order.get(&id).and_then(|order| self.entries.get_mut(order)) {
            entry.durable = true;
        }
    }

    /// What to hand over now, oldest first; `next_hop` says to whom, if anybody is there.
    pub fn due(
        &mut self,
        now: Now,
        next_hop: impl Fn(&Bundle) -> Option<PublicKey>,
    ) -> Vec<(PublicKey, Bundle)> {
        let mut due = Vec::new();
        for entry in self.entries.values_mut() {
            if !entry.durable || entry.to.is_some() || entry.not_before > now.mono {
                continue;
            }
            let Some(to) = next_hop(&entry.bundle) else { continue };
            let in_flight = self.in_flight.entry(to).or_default();
            if *in_flight < MAX_IN_FLIGHT {
                *in_flight += 1;
                entry.to = Some(to);
                due.push((to, entry.bundle.clone()));
            }
        }
        due
    }

    /// The next one has taken the bundle. The writes say that it need not be kept here.
    pub fn handed_over(&mut self, id: StatementId, now: Now) -> Vec<Write> {
        let Some(entry) = self.landed(id) else { return Vec::new() };
        match entry.duty {
            Duty::Carrier => self.discharge(id),
            Duty::Originator => {
                entry.failures = 0;
                entry.not_before = now.mono + backoff(FIRST_RESEND, MAX_RESEND, entry.handovers);
                entry.handovers += 1;
                Vec::new()
            }
        }
    }

    /// The handover failed or was refused; it is tried again after a while.
    pub fn not_handed_over(&mut self, id: StatementId, now: Now) {
        if let Some(entry) = self.landed(id) {
            entry.not_before = now.mono + backoff(FIRST_RETRY, MAX_RETRY, entry.failures);
            entry.failures += 1;
        }
    }

    /// Makes everything due at once: the way has changed. `via` is where answers reach us now.
    pub fn send_again(&mut self, via: PublicKey) -> Vec<Write> {
        let mut writes = Vec::new();
        for (order, entry) in &mut self.entries {
            entry.not_before = Mono::default();
            entry.failures = 0;
            if entry.duty == Duty::Originator && entry.bundle.via != via {
                entry.bundle.via = via;
                entry.handovers = 0;
                writes.push(record(*order, entry));
            }
        }
        writes
    }

    /// A link came up: what failed for want of it is due at once.
    pub fn retry(&mut self) {
        for entry in self.entries.values_mut().filter(|entry| entry.failures > 0) {
            entry.failures = 0;
            entry.not_before = Mono::default();
        }
    }

    /// Ends the duty: the end-to-end answer has come, or nobody waits for it any more.
    pub fn discharge(&mut self, id: StatementId) -> Vec<Write> {
        let Some(order) = self.order.remove(&id) else { return Vec::new() };
        let entry = self.entries.remove(&order).expect("order and entries agree");
        let origin = entry.bundle.origin();
        self.bytes -= entry.bytes;
        if decrement(&mut self.by_origin, origin) {
            self.bytes_by_origin.remove(&origin);
        } else {
            *self.bytes_by_origin.entry(origin).or_default() -= entry.bytes;
        }
        if let Some(to) = entry.to {
            decrement(&mut self.in_flight, to);
        }
        vec![Write::delete(key(order))]
    }

    /// Bundles that expired before they could be delivered are let go.
    pub fn expire(&mut self, now: Now) -> Vec<Write> {
        let expired = self.entries.values().filter(|entry| entry.bundle.expires() <= now.wall);
        let expired: Vec<_> = expired.map(|entry| entry.bundle.id()).collect();
        expired.into_iter().flat_map(|id| self.discharge(id)).collect()
    }

    /// When something may become due.
    pub fn next_wake(&self) -> Option<Mono> {
        let waiting = self.entries.values().filter(|entry| entry.durable && entry.to.is_none());
        waiting.map(|entry| entry.not_before).min()
    }

    /// Every bundle, oldest first.
    pub fn bundles(&self) -> impl Iterator<Item = &Bundle> {
        self.entries.values().map(|entry| &entry.bundle)
    }

    /// The bundles from one on, in the order of ids.
    pub fn bundles_from(&self, from: Bound<StatementId>) -> impl Iterator<Item = &Bundle> {
        let orders = self.order.range((from, Bound::Unbounded)).map(|(_, order)| order);
        orders.filter_map(|order| self.entries.get(order)).map(|entry| &entry.bundle)
    }

    /// How many bundles are in custody.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn admit(&self, bundle: &Bundle) -> Result<(), CustodyFull> {
        let origin = bundle.origin();
        let of_origin = self.by_origin.get(&origin).copied().unwrap_or_default();
        let bytes_of_origin = self.bytes_by_origin.get(&origin).copied().unwrap_or_default();
        let weight = weight(bundle);
        if self.entries.len() >= self.limits.bundles
            || self.bytes.saturating_add(weight) > self.limits.bytes
        {
            Err(CustodyFull::InAll)
        } else if of_origin >= self.limits.bundles_an_origin
            || bytes_of_origin.saturating_add(weight) > self.limits.bytes / BYTES_AN_ORIGIN
        {
            Err(CustodyFull::ForOrigin)
        } else {
            Ok(())
        }
    }

    fn insert(&mut self, order: u64, bundle: Bundle, duty: Duty) {
        let bytes = weight(&bundle);
        self.bytes += bytes;
        *self.by_origin.entry(bundle.origin()).or_default() += 1;
        *self.bytes_by_origin.entry(bundle.origin()).or_default() += bytes;
        self.order.insert(bundle.id(), order);
        let entry = Entry {
            bundle,
            duty,
            bytes,
            durable: false,
            to: None,
            failures: 0,
            handovers: 0,
            not_before: Mono::default(),
        };
        self.entries.insert(order, entry);
    }

    /// The entry whose handover has just ended.
    fn landed(&mut self, id: StatementId) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(self.order.get(&id)?)?;
        if let Some(to) = entry.to.take() {
            decrement(&mut self.in_flight, to);
        }
        Some(entry)
    }
}

fn key(order: u64) -> Vec<u8> {
    let mut key = vec![CUSTODY_PREFIX];
    key.extend(order.to_be_bytes());
    key
}

fn record(order: u64, entry: &Entry) -> Write {
    let record = Record { order, duty: entry.duty, bundle: entry.bundle.encode() };
    Write::put(key(order), encode_cbor(&record))
}

fn weight(bundle: &Bundle) -> u64 {
    let statement = u64::try_from(bundle.envelope().as_bytes().len()).unwrap_or(u64::MAX);
    bundle.blobs().iter().fold(statement, |sum, (_, size)| sum.saturating_add(*size))
}

fn backoff(first: Duration, most: Duration, failures: u32) -> Duration {
    first.saturating_mul(1 << failures.min(16)).min(most)
}

/// Counts one less of `key`; says whether that was the last.
fn decrement(counts: &mut BTreeMap<PublicKey, usize>, key: PublicKey) -> bool {
    let Some(count) = counts.get_mut(&key) else { return false };
    *count -= 1;
    if *count > 0 {
        return false;
    }
    counts.remove(&key);
    true
}

#[cfg(test)]
mod tests {
    use capability::statements::{Credit, Delegation, TaskId, Verdict};
    use capability::{DecryptionKey, Ed25519, ProjectKey, SecretKey, Signer};

    use super::*;

    const START: Now = Now { mono: Mono(Duration::ZERO), wall: Timestamp(1_800_000_000_000) };
    const HOUR: Duration = Duration::from_secs(60 * 60);

    fn key(n: u8) -> SecretKey {
        SecretKey::from_seed(&[n; 32])
    }

    fn bundle(n: u8) -> Bundle {
        let (project, node) = (key(1), key(2));
        let expires = START.wall + HOUR;
        let encryption = DecryptionKey::from_seed(&[2; 32]).public();
        let delegation = Delegation { node: node.public(), encryption, expires };
        let delegation = Verified::sign(delegation, &project);
        let receipt = Receipt {
            project: ProjectKey::from(project.public()),
            result: StatementId::from_bytes([n; 32]),
            task: TaskId { offer: StatementId::from_bytes([1; 32]), task: n.into(), replica: 0 },
            volunteer: key(3).public(),
            verdict: Verdict::Accepted(Credit(1)),
            issued: START.wall,
            delegation: delegation.envelope().clone(),
            expires,
        };
        Bundle { cargo: Cargo::Receipt(Verified::sign(receipt, &node)), via: key(4).public() }
    }

    /// Takes `bundle` and makes it durable.
    fn take(custody: &mut Custody, bundle: &Bundle, duty: Duty) -> Vec<Write> {
        let writes = custody.take(bundle.clone(), duty).expect("there is room");
        custody.made_durable(bundle.id());
        writes
    }

    fn due(custody: &mut Custody, now: Now) -> Vec<StatementId> {
        let to = key(5).public();
        custody.due(now, |_| Some(to)).into_iter().map(|(_, bundle)| bundle.id()).collect()
    }

    #[test]
    fn nothing_is_handed_on_before_it_is_durable_here() {
        let (mut custody, bundle) = (Custody::default(), bundle(1));
        custody.take(bundle.clone(), Duty::Carrier).expect("there is room");
        assert_eq!(due(&mut custody, START), []);
        custody.made_durable(bundle.id());
        assert_eq!(due(&mut custody, START), [bundle.id()]);
        assert_eq!(due(&mut custody, START), [], "it is under way");
    }

    #[test]
    fn a_carrier_forgets_what_the_next_one_took_and_an_originator_does_not() {
        let mut custody = Custody::default();
        let (carried, own) = (bundle(1), bundle(2));
        take(&mut custody, &carried, Duty::Carrier);
        take(&mut custody, &own, Duty::Originator);
        assert_eq!(due(&mut custody, START), [carried.id(), own.id()], "oldest first");

        assert!(matches!(custody.handed_over(carried.id(), START)[..], [Write::Delete { .. }]));
        assert_eq!(custody.handed_over(own.id(), START), []);
        assert!(!custody.holds(carried.id()) && custody.holds(own.id()));

        assert_eq!(due(&mut custody, START.after(FIRST_RESEND / 2)), []);
        assert_eq!(due(&mut custody, START.after(FIRST_RESEND)), [own.id()], "no answer came");
        assert!(matches!(custody.discharge(own.id())[..], [Write::Delete { .. }]));
        assert!(custody.is_empty());
    }

    #[test]
    fn a_refusal_is_tried_again_later_and_a_new_way_at_once() {
        let (mut custody, bundle) = (Custody::default(), bundle(1));
        take(&mut custody, &bundle, Duty::Originator);
        due(&mut custody, START);
        custody.not_handed_over(bundle.id(), START);
        assert_eq!(due(&mut custody, START), []);
        assert_eq!(custody.next_wake(), Some(START.after(FIRST_RETRY).mono));

        let new_broker = key(6).public();
        assert_eq!(custody.send_again(new_broker).len(), 1, "the new way is durable too");
        let sent = custody.due(START, |_| Some(new_broker));
        assert_eq!(sent[0].1.via, new_broker);
    }

    #[test]
    fn what_was_durable_is_taken_up_again_in_its_order() {
        let mut custody = Custody::default();
        let bundles: Vec<_> = (1..4).map(bundle).collect();
        let writes = bundles.iter().flat_map(|it| take(&mut custody, it, Duty::Carrier));
        let writes: Vec<_> = writes.collect();

        let mut restored = Custody::default();
        for write in writes {
            let Write::Put { value, .. } = write else { panic!("only puts were written") };
            restored.restore(&value, &Ed25519).expect("our own record");
        }
        let order: Vec<_> = bundles.iter().map(Bundle::id).collect();
        assert_eq!(due(&mut restored, START), order);
        assert_eq!(take(&mut restored, &bundles[0], Duty::Carrier), [], "it is here already");
    }

    #[test]
    fn bounds_refuse_and_expiry_makes_room() {
        let limits = CustodyLimits { bundles: 2, bundles_an_origin: 10, bytes: 1 << 20 };
        let mut custody = Custody::new(limits);
        take(&mut custody, &bundle(1), Duty::Carrier);
        take(&mut custody, &bundle(2), Duty::Carrier);
        assert_eq!(custody.take(bundle(3), Duty::Carrier), Err(CustodyFull::InAll));
        assert_eq!(custody.expire(START.after(HOUR)).len(), 2);
        assert!(custody.take(bundle(3), Duty::Carrier).is_ok());

        let limits = CustodyLimits { bundles: 10, bundles_an_origin: 1, bytes: 1 << 20 };
        let mut custody = Custody::new(limits);
        take(&mut custody, &bundle(1), Duty::Carrier);
        assert_eq!(custody.take(bundle(2), Duty::Carrier), Err(CustodyFull::ForOrigin));

        let two = 2 * weight(&bundle(1)) * BYTES_AN_ORIGIN;
        let limits = CustodyLimits { bundles: 10, bundles_an_origin: 10, bytes: two };
        let mut custody = Custody::new(limits);
        take(&mut custody, &bundle(1), Duty::Carrier);
        take(&mut custody, &bundle(2), Duty::Carrier);
        assert_eq!(custody.take(bundle(3), Duty::Carrier), Err(CustodyFull::ForOrigin));
        custody.discharge(bundle(1).id());
        assert!(custody.take(bundle(3), Duty::Carrier).is_ok(), "there is room again");
    }
}
