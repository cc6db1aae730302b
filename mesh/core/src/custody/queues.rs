//! Which bundles wait for what: for time, for a way, for a peer's attention.
//!
//! A bundle is named by its place in the order of custody. It sleeps until it is due, is then queued
//! under its [`Way`] until somebody is there to take it, and then under that peer until there is room
//! for one more handover. What changes wakes only what it concerns, so that a hundred thousand
//! bundles without a way cost those that have one nothing.

use std::collections::{BTreeMap, BTreeSet};

use capability::{ProjectKey, PublicKey};

use crate::bundle::{Bundle, Cargo, MAX_BUNDLES_A_FRAME};
use crate::time::Mono;

/// Handovers of many bundles under way to one peer at most: while one is made durable there, the
/// next one travels. Bundles that come meanwhile gather for the one after.
const MAX_JOINT: usize = 2;
/// Handovers of one bundle under way to one peer at most: they wait for blobs.
const MAX_ALONE: usize = 16;

/// Bytes of statements in one handover: half a frame, so that what stands around them fits.
const MAX_HANDOVER_BYTES: usize = 512 << 10;

/// What decides about the next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// To the home of the project, and from there to its master.
    Master(ProjectKey),
    /// By a broker to a volunteer.
    Volunteer { via: PublicKey, volunteer: PublicKey },
}

impl Way {
    pub fn of(bundle: &Bundle) -> Self {
        match &bundle.cargo {
            Cargo::Result(result) => Self::Master(result.project),
            Cargo::Receipt(it) => Self::Volunteer { via: bundle.via, volunteer: it.volunteer },
        }
    }
}

/// In whose company a bundle travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Company {
    Joint,
    Alone,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queues {
    places: BTreeMap<u64, Place>,
    asleep: BTreeSet<(Mono, u64)>,
    ways: BTreeMap<Way, BTreeSet<u64>>,
    /// Ways for which a next hop is to be found.
    stirred: BTreeSet<Way>,
    ready: BTreeMap<(PublicKey, Company), BTreeSet<u64>>,
    /// Those of `ready` that may have room for a handover.
    open: BTreeSet<(PublicKey, Company)>,
    under_way: BTreeMap<u64, UnderWay>,
    counts: BTreeMap<(PublicKey, Company), usize>,
    next_handover: u64,
    durable_up_to: u64,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Asleep(Mono),
    Queued(Way),
    Ready(PublicKey, Company),
    UnderWay(u64),
}

/// A handover that has not ended for all of its bundles.
#[derive(Debug)]
struct UnderWay {
    peer: (PublicKey, Company),
    left: usize,
}

impl Queues {
    /// Below this every bundle has been durable.
    pub fn durable_up_to(&self) -> u64 {
        self.durable_up_to
    }

    pub fn set_durable_up_to(&mut self, order: u64) {
        self.durable_up_to = self.durable_up_to.max(order);
    }

    /// It is due, and waits for a way.
    pub fn wait(&mut self, order: u64, way: Way) {
        self.places.insert(order, Place::Queued(way));
        self.ways.entry(way).or_default().insert(order);
        self.stirred.insert(way);
    }

    /// It is not due before `until`.
    pub fn sleep(&mut self, order: u64, until: Mono) {
        self.places.insert(order, Place::Asleep(until));
        self.asleep.insert((until, order));
    }

    /// Queues what is due at `now`.
    pub fn wake(&mut self, now: Mono, way: impl Fn(u64) -> Option<Way>) {
        while let Some((until, order)) = self.asleep.first().copied()
            && until <= now
        {
            self.asleep.remove(&(until, order));
            if let Some(way) = way(order) {
                self.wait(order, way);
            }
        }
    }

    /// Queues what sleeps, whenever it would be due, and finds all ways anew.
    pub fn wake_all(&mut self, way: impl Fn(u64) -> Option<Way>) {
        self.asleep.clear();
        self.ways.clear();
        self.ready.clear();
        self.open.clear();
        let resting = |place: &Place| !matches!(place, Place::UnderWay(_));
        let orders = self.places.iter().filter(|(_, place)| resting(place));
        for order in orders.map(|(order, _)| *order).collect::<Vec<_>>() {
            if let Some(way) = way(order) {
                self.wait(order, way);
            }
        }
    }

    /// Queues one that sleeps.
    pub fn hurry(&mut self, order: u64, way: Way) {
        if let Some(Place::Asleep(until)) = self.places.get(&order) {
            self.asleep.remove(&(*until, order));
            self.wait(order, way);
        }
    }

    /// `peer` has come: whoever waits for it, or for a master, is to try.
    pub fn stir(&mut self, peer: PublicKey) {
        let concerned = |way: &&Way| match way {
            Way::Master(_) => true,
            Way::Volunteer { volunteer, .. } => *volunteer == peer,
        };
        self.stirred.extend(self.ways.keys().filter(concerned).copied());
    }

    /// `peer` has gone: what was ready for it looks for another way.
    pub fn gone(&mut self, peer: PublicKey, way: impl Fn(u64) -> Option<Way>) {
        for company in [Company::Joint, Company::Alone] {
            for order in self.ready.remove(&(peer, company)).into_iter().flatten() {
                if let Some(way) = way(order) {
                    self.wait(order, way);
                }
            }
        }
    }

    /// Finds the ways of all that is due anew.
    pub fn reroute(&mut self, way: impl Fn(u64) -> Option<Way>) {
        self.open.clear();
        for order in std::mem::take(&mut self.ready).into_values().flatten() {
            if let Some(way) = way(order) {
                self.wait(order, way);
            }
        }
        self.stirred.extend(self.ways.keys().copied());
    }

    /// Gives what is queued to the peers that are there. `next_hop` says who is for each
    /// bundle, and if nobody is for the first of a way, nobody is for the others. `company` says how
    /// each of them travels.
    pub fn route(
        &mut self,
        next_hop: impl Fn(u64) -> Option<PublicKey>,
        company: impl Fn(u64) -> Company,
    ) {
        for way in std::mem::take(&mut self.stirred) {
            let first = self.ways.get(&way).and_then(|orders| orders.first());
            if first.copied().and_then(&next_hop).is_none() {
                continue;
            }
            for order in self.ways.remove(&way).into_iter().flatten() {
                let Some(to) = next_hop(order) else {
                    self.ways.entry(way).or_default().insert(order);
                    continue;
                };
                let company = company(order);
                self.places.insert(order, Place::Ready(to, company));
                self.ready.entry((to, company)).or_default().insert(order);
                self.open.insert((to, company));
            }
        }
    }

    /// Begins handovers, as many as peers have room for; `bytes` is how long a bundle is.
    pub fn begin(&mut self, bytes: impl Fn(u64) -> usize) -> Vec<(PublicKey, Vec<u64>)> {
        let mut begun = Vec::new();
        for peer in std::mem::take(&mut self.open) {
            while self.has_room(peer) {
                let Some(ready) = self.ready.get_mut(&peer) else { break };
                let orders = take(ready, peer.1, &bytes);
                if ready.is_empty() {
                    self.ready.remove(&peer);
                }
                self.start(peer, &orders);
                begun.push((peer.0, orders));
            }
        }
        begun
    }

    /// The handover of a bundle has ended; says whether it was under way.
    pub fn landed(&mut self, order: u64) -> Option<()> {
        let Some(Place::UnderWay(handover)) = self.places.get(&order).copied() else { return None };
        self.places.remove(&order);
        self.one_less(handover);
        Some(())
    }

    /// The bundle is gone.
    pub fn forget(&mut self, order: u64) {
        match self.places.remove(&order) {
            Some(Place::Asleep(until)) => drop(self.asleep.remove(&(until, order))),
            Some(Place::Queued(way)) => take_out(&mut self.ways, way, order),
            Some(Place::Ready(to, company)) => take_out(&mut self.ready, (to, company), order),
            Some(Place::UnderWay(handover)) => self.one_less(handover),
            None => {}
        }
    }

    /// Who has been asked to take it.
    pub fn under_way_to(&self, order: u64) -> Option<PublicKey> {
        let Some(Place::UnderWay(handover)) = self.places.get(&order) else { return None };
        self.under_way.get(handover).map(|it| it.peer.0)
    }

    /// When the next sleeper is due.
    pub fn next_wake(&self) -> Option<Mono> {
        self.asleep.first().map(|(at, _)| *at)
    }

    /// Whether something is due that has no way.
    pub fn is_stranded(&self) -> bool {
        !self.ways.is_empty()
    }

    fn has_room(&self, peer: (PublicKey, Company)) -> bool {
        let most = match peer.1 {
            Company::Joint => MAX_JOINT,
            Company::Alone => MAX_ALONE,
        };
        self.counts.get(&peer).is_none_or(|count| *count < most)
    }

    fn start(&mut self, peer: (PublicKey, Company), orders: &[u64]) {
        let handover = self.next_handover;
        self.next_handover += 1;
        for order in orders {
            self.places.insert(*order, Place::UnderWay(handover));
        }
        self.under_way.insert(handover, UnderWay { peer, left: orders.len() });
        *self.counts.entry(peer).or_default() += 1;
    }

    /// A handover has ended for one of its bundles.
    fn one_less(&mut self, handover: u64) {
        let Some(under_way) = self.under_way.get_mut(&handover) else { return };
        under_way.left -= 1;
        if under_way.left > 0 {
            return;
        }
        let peer = under_way.peer;
        self.under_way.remove(&handover);
        if let Some(count) = self.counts.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&peer);
            }
        }
        self.open.insert(peer);
    }
}

/// The oldest of `ready` that fit into one handover, at least one.
fn take(ready: &mut BTreeSet<u64>, company: Company, bytes: impl Fn(u64) -> usize) -> Vec<u64> {
    let most = match company {
        Company::Joint => MAX_BUNDLES_A_FRAME,
        Company::Alone => 1,
    };
    let (mut orders, mut sum) = (Vec::new(), 0);
    while orders.len() < most
        && let Some(order) = ready.first().copied()
    {
        sum += bytes(order);
        if !orders.is_empty() && sum > MAX_HANDOVER_BYTES {
            break;
        }
        ready.remove(&order);
        orders.push(order);
    }
    orders
}

fn take_out<K: Ord>(queues: &mut BTreeMap<K, BTreeSet<u64>>, key: K, order: u64) {
    if let Some(queue) = queues.get_mut(&key) {
        queue.remove(&order);
        if queue.is_empty() {
            queues.remove(&key);
        }
    }
}
