//! Custody: the duty to keep something until the next one has taken it over (RFC 9171).
//!
//! A [`Bundle`] is a result on its way to the project's home and master, or a receipt on its way
//! back. Whoever takes one makes it durable before it says so; that ends its predecessor's retries.
//! A carrier then forgets it. The **originator** keeps it until the end-to-end answer, and sends it
//! again if none comes ([`Duty`]).
//!
//! Bundles travel in handovers of many, and are durable in chunks of many: a record costs the disk
//! the same whether one bundle is in it or forty. Nothing waits for a handover or a chunk to fill:
//! each has what is there when the one before is through.

mod queues;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use capability::{PublicKey, StatementId, Timestamp, Verifier};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::queues::{Company, Queues, Way};
use crate::bundle::{Bundle, BundleError, WireBundle};
use crate::chunks::Chunks;
use crate::durable::Write;
use crate::time::{Mono, Now};

/// First byte of the keys under which bundles are durable, in chunks.
pub const CUSTODY_PREFIX: u8 = b'c';

/// Wait after the first failed handover; doubles up to [`MAX_RETRY`].
const FIRST_RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(30);

/// An originator's wait for the end-to-end answer, first; doubles up to [`MAX_RESEND`]. A result
/// takes seconds to its master when all is well; when the master is away, days.
const FIRST_RESEND: Duration = Duration::from_secs(20);
const MAX_RESEND: Duration = Duration::from_secs(10 * 60);

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

/// Whether a bundle had to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It was not here.
    New,
    /// It is here, but may not be durable yet.
    Known,
}

/// All that was taken before it. What of it is durable may be handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

/// Bundles that go to one peer together, in one frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Handover {
    /// To whom.
    pub to: PublicKey,
    /// At least one, at most [`MAX_BUNDLES_A_FRAME`](crate::MAX_BUNDLES_A_FRAME).
    pub bundles: Vec<Bundle>,
}

/// The bundles in one node's custody, oldest first.
///
/// The parent commits [`Custody::writes`] with whatever acknowledges the change, and when they are
/// durable tells [`Custody::made_durable`]; it asks [`Custody::due`] what to hand over to whom.
#[derive(Debug)]
pub struct Custody {
    entries: BTreeMap<u64, Entry>,
    order: BTreeMap<StatementId, u64>,
    by_expiry: BTreeSet<(Timestamp, u64)>,
    /// Those whose last handover failed.
    failed: BTreeSet<u64>,
    origins: BTreeMap<PublicKey, Share>,
    bytes: u64,
    next: u64,
    chunks: Chunks,
    /// Those that are in no chunk yet.
    unwritten: BTreeSet<u64>,
    queues: Queues,
    limits: CustodyLimits,
}

/// One bundle of a chunk. There are many: fields in the order of the encoding need not be put into it.
#[derive(Serialize, Deserialize)]
struct Record {
    duty: Duty,
    order: u64,
    bundle: WireBundle,
}

#[derive(Debug)]
struct Entry {
    bundle: Bundle,
    duty: Duty,
    bytes: u64,
    /// The record that holds it, once there is one.
    chunk: Option<u64>,
    failures: u32,
    handovers: u32,
}

impl Entry {
    /// Blobs come before their bundle, which takes a while; and what failed once goes alone, since
    /// whatever is wrong with it is to stop no other.
    fn company(&self) -> Company {
        let alone = self.failures > 0 || !self.bundle.blobs().is_empty();
        if alone { Company::Alone } else { Company::Joint }
    }
}

/// What one origin has here.
#[derive(Debug, Default)]
struct Share {
    bundles: usize,
    bytes: u64,
}

impl Default for Custody {
    fn default() -> Self {
        Self::new(CustodyLimits::default())
    }
}

impl Custody {
    /// Empty, with `limits`.
    pub fn new(limits: CustodyLimits) -> Self {
        Self {
            entries: BTreeMap::new(),
            order: BTreeMap::new(),
            by_expiry: BTreeSet::new(),
            failed: BTreeSet::new(),
            origins: BTreeMap::new(),
            bytes: 0,
            next: 0,
            chunks: Chunks::new(CUSTODY_PREFIX),
            unwritten: BTreeSet::new(),
            queues: Queues::default(),
            limits,
        }
    }

    /// Takes up again what a former process had made durable under `key`. Of a chunk that was not
    /// through yet all bundles come back: whoever has taken one before will say so once more.
    pub fn restore(
        &mut self,
        key: &[u8],
        value: &[u8],
        verifier: &dyn Verifier,
    ) -> Result<(), BundleError> {
        let (chunk, records) = self.chunks.restore::<Record>(key, value)?;
        for record in records {
            let bundle = record.bundle.check(verifier)?;
            self.next = self.next.max(record.order + 1);
            if self.holds(bundle.id()) {
                self.chunks.leave(chunk);
                continue;
            }
            let way = Way::of(&bundle);
            self.insert(record.order, bundle, record.duty, Some(chunk));
            self.queues.wait(record.order, way);
        }
        self.queues.set_durable_up_to(self.next);
        Ok(())
    }

    /// Takes `bundle` over, unless it is here already by the same way.
    pub fn take(&mut self, bundle: Bundle, duty: Duty) -> Result<Taken, CustodyFull> {
        if let Some(entry) = self.entry(bundle.id()) {
            if entry.bundle.via == bundle.via {
                return Ok(Taken::Known);
            }
            // Its answer is to go another way from now on: that must be durable too.
            let duty = entry.duty;
            self.discharge(bundle.id());
            self.keep(bundle, duty);
            return Ok(Taken::New);
        }
        // An originator's own bundles are bounded by the work that it takes on.
        if duty == Duty::Carrier {
            self.admit(&bundle)?;
        }
        self.keep(bundle, duty);
        Ok(Taken::New)
    }

    /// Whether the statement is in custody here.
    pub fn holds(&self, id: StatementId) -> bool {
        self.order.contains_key(&id)
    }

    /// The bundle of that name, if it is in custody here.
    pub fn get(&self, id: StatementId) -> Option<&Bundle> {
        Some(&self.entry(id)?.bundle)
    }

    /// Whether the statement is in custody here, durably.
    pub fn is_durable(&self, id: StatementId) -> bool {
        self.order.get(&id).is_some_and(|order| *order < self.queues.durable_up_to())
    }

    /// To whom the bundle of that name is being handed over.
    pub fn in_hand(&self, id: StatementId) -> Option<PublicKey> {
        self.queues.under_way_to(*self.order.get(&id)?)
    }

    /// What must become durable of the changes since the last call, in one commit or in the order
    /// of several, and the mark to give to [`Custody::made_durable`] then.
    pub fn writes(&mut self) -> (Vec<Write>, Mark) {
        let unwritten: Vec<_> = std::mem::take(&mut self.unwritten).into_iter().collect();
        let records = unwritten.iter().map(|order| {
            let Entry { bundle, duty, .. } = &self.entries[order];
            (bundle.size(), Record { order: *order, duty: *duty, bundle: bundle.wire() })
        });
        let (mut writes, chunks) = self.chunks.put(records);
        for (order, chunk) in unwritten.iter().zip(chunks) {
            self.entries.entry(*order).and_modify(|entry| entry.chunk = Some(chunk));
        }
        writes.extend(self.chunks.deletions());
        (writes, Mark(self.next))
    }

    /// Whether [`Custody::writes`] has some.
    pub fn has_writes(&self) -> bool {
        !self.unwritten.is_empty() || self.chunks.have_deletions()
    }

    /// What was taken before `mark` is durable, and may be handed on.
    pub fn made_durable(&mut self, mark: Mark) {
        for (order, entry) in self.entries.range(self.queues.durable_up_to()..mark.0) {
            self.queues.wait(*order, Way::of(&entry.bundle));
        }
        self.queues.set_durable_up_to(mark.0);
    }

    /// What to hand over now, oldest first; `next_hop` says to whom, if anybody is there: if nobody is
    /// for the oldest of those that go to one project or volunteer, nobody is for the others.
    pub fn due(
        &mut self,
        now: Now,
        next_hop: impl Fn(&Bundle) -> Option<PublicKey>,
    ) -> Vec<Handover> {
        let entries = &self.entries;
        self.queues.wake(now.mono, |order| Some(Way::of(&entries.get(&order)?.bundle)));
        let next_hop = |order| next_hop(&entries.get(&order)?.bundle);
        self.queues.route(next_hop, |order| entries[&order].company());
        let handovers = self.queues.begin(|order| entries[&order].bundle.size());
        let bundle = |order: &u64| entries[order].bundle.clone();
        let handover = |(to, orders): (PublicKey, Vec<u64>)| Handover {
            to,
            bundles: orders.iter().map(bundle).collect(),
        };
        handovers.into_iter().map(handover).collect()
    }

    /// The next one has taken the bundle: a carrier's duty is over.
    pub fn handed_over(&mut self, id: StatementId, now: Now) {
        let Some(order) = self.landed(id) else { return };
        let Some(entry) = self.entries.get_mut(&order) else { return };
        match entry.duty {
            Duty::Carrier => self.discharge(id),
            Duty::Originator => {
                entry.failures = 0;
                self.failed.remove(&order);
                let wait = backoff(FIRST_RESEND, MAX_RESEND, entry.handovers);
                entry.handovers += 1;
                self.queues.sleep(order, now.mono + wait);
            }
        }
    }

    /// The handover failed or was refused; it is tried again after a while.
    pub fn not_handed_over(&mut self, id: StatementId, now: Now) {
        let Some(order) = self.landed(id) else { return };
        let Some(entry) = self.entries.get_mut(&order) else { return };
        let wait = backoff(FIRST_RETRY, MAX_RETRY, entry.failures);
        entry.failures += 1;
        self.failed.insert(order);
        self.queues.sleep(order, now.mono + wait);
    }

    /// Makes everything due at once: the way has changed. `via` is where answers reach us now.
    ///
    /// That need not be durable: a restarted originator has a way anew, and says so here.
    pub fn send_again(&mut self, via: PublicKey) {
        self.failed.clear();
        for entry in self.entries.values_mut() {
            entry.failures = 0;
            if entry.duty == Duty::Originator && entry.bundle.via != via {
                entry.bundle.via = via;
                entry.handovers = 0;
            }
        }
        self.queues.wake_all(|order| self.entries.get(&order).map(|it| Way::of(&it.bundle)));
    }

    /// `peer` is here: what is for it, or failed for want of it, is due at once.
    pub fn came(&mut self, peer: PublicKey) {
        self.hurry_failed();
        self.queues.stir(peer);
    }

    /// `peer` is gone: what was for it finds another way, or waits.
    pub fn gone(&mut self, peer: PublicKey) {
        self.queues.gone(peer, |order| self.entries.get(&order).map(|it| Way::of(&it.bundle)));
    }

    /// A link or a home is new: what failed for want of it is due at once, and finds its way anew.
    pub fn retry(&mut self) {
        self.hurry_failed();
        self.reroute();
    }

    /// Peers, links or homes have changed: every bundle finds its next hop anew.
    pub fn reroute(&mut self) {
        self.queues.reroute(|order| self.entries.get(&order).map(|it| Way::of(&it.bundle)));
    }

    /// Ends the duty: the end-to-end answer has come, or nobody waits for it any more.
    pub fn discharge(&mut self, id: StatementId) {
        let Some(order) = self.order.remove(&id) else { return };
        let entry = self.entries.remove(&order).expect("order and entries agree");
        let origin = entry.bundle.origin();
        let share = self.origins.entry(origin).or_default();
        share.bundles -= 1;
        share.bytes -= entry.bytes;
        if share.bundles == 0 {
            self.origins.remove(&origin);
        }
        self.bytes -= entry.bytes;
        self.by_expiry.remove(&(entry.bundle.expires(), order));
        self.failed.remove(&order);
        self.queues.forget(order);
        match entry.chunk {
            Some(chunk) => self.chunks.leave(chunk),
            None => drop(self.unwritten.remove(&order)),
        }
    }

    /// Bundles that expired before they could be delivered are let go.
    pub fn expire(&mut self, now: Now) {
        for id in self.expired(now) {
            self.discharge(id);
        }
    }

    /// Bundles that have expired, the earliest first.
    pub fn expired(&self, now: Now) -> Vec<StatementId> {
        let over = self.by_expiry.iter().take_while(|(at, _)| *at <= now.wall);
        over.map(|(_, order)| self.entries[order].bundle.id()).collect()
    }

    /// Puts what is left of old chunks together, so that the room that custody takes on the disk is
    /// bounded by what is in it.
    pub fn tidy(&mut self) {
        if !self.chunks.any_is_thin() {
            return;
        }
        let mut thin = BTreeSet::new();
        for (order, entry) in &mut self.entries {
            if let Some(chunk) = entry.chunk.filter(|chunk| self.chunks.is_thin(*chunk)) {
                entry.chunk = None;
                self.unwritten.insert(*order);
                thin.insert(chunk);
            }
        }
        thin.into_iter().for_each(|chunk| self.chunks.remove(chunk));
    }

    /// When something may become due.
    pub fn next_wake(&self) -> Option<Mono> {
        self.queues.next_wake()
    }

    /// Whether something is due that nobody is there to take.
    pub fn is_stranded(&self) -> bool {
        self.queues.is_stranded()
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

    fn entry(&self, id: StatementId) -> Option<&Entry> {
        self.entries.get(self.order.get(&id)?)
    }

    fn admit(&self, bundle: &Bundle) -> Result<(), CustodyFull> {
        let none = Share::default();
        let share = self.origins.get(&bundle.origin()).unwrap_or(&none);
        let weight = weight(bundle);
        if self.entries.len() >= self.limits.bundles
            || self.bytes.saturating_add(weight) > self.limits.bytes
        {
            Err(CustodyFull::InAll)
        } else if share.bundles >= self.limits.bundles_an_origin
            || share.bytes.saturating_add(weight) > self.limits.bytes / BYTES_AN_ORIGIN
        {
            Err(CustodyFull::ForOrigin)
        } else {
            Ok(())
        }
    }

    fn keep(&mut self, bundle: Bundle, duty: Duty) {
        let order = self.next;
        self.next += 1;
        self.insert(order, bundle, duty, None);
        self.unwritten.insert(order);
    }

    fn insert(&mut self, order: u64, bundle: Bundle, duty: Duty, chunk: Option<u64>) {
        let bytes = weight(&bundle);
        self.bytes += bytes;
        let share = self.origins.entry(bundle.origin()).or_default();
        share.bundles += 1;
        share.bytes += bytes;
        self.order.insert(bundle.id(), order);
        self.by_expiry.insert((bundle.expires(), order));
        let entry = Entry { bundle, duty, bytes, chunk, failures: 0, handovers: 0 };
        self.entries.insert(order, entry);
    }

    fn hurry_failed(&mut self) {
        for order in std::mem::take(&mut self.failed) {
            if let Some(entry) = self.entries.get_mut(&order) {
                entry.failures = 0;
                self.queues.hurry(order, Way::of(&entry.bundle));
            }
        }
    }

    /// The place of the bundle whose handover has just ended.
    fn landed(&mut self, id: StatementId) -> Option<u64> {
        let order = *self.order.get(&id)?;
        self.queues.landed(order).map(|()| order)
    }
}

fn weight(bundle: &Bundle) -> u64 {
    let statement = u64::try_from(bundle.size()).unwrap_or(u64::MAX);
    bundle.blobs().iter().fold(statement, |sum, (_, size)| sum.saturating_add(*size))
}

fn backoff(first: Duration, most: Duration, failures: u32) -> Duration {
    first.saturating_mul(1 << failures.min(16)).min(most)
}

#[cfg(test)]
mod tests;
