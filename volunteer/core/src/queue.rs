//! Leased tasks that wait here, durably, until there is room for them, whether a broker is there or not.
//!
//! They come in two ways: somebody has **brought** them as a file, or they were fetched **ahead**, for times without a
//! connection. Both are held under offline leases. A process that is killed or asked to end loses no more than the run:
//! the next one runs the task again. What ends the wait is a result, the deadline, the owner, or, of what was fetched
//! ahead, that there is a broker and it tells that nobody waits for the result any more.

use std::collections::{BTreeMap, BTreeSet};

use capability::statements::{Home, Lease, Offer, Package, Registration};
use capability::{
    BlobHash, Envelope, Kind, Payload, PublicKey, StatementError, StatementId, Timestamp, Verified,
    Verifier,
};
use mesh_core::{CommitId, Offered, Write};

use crate::volunteer::RestoreError;

/// First byte of the keys of what was brought, and of offers, homes and registrations of both kinds.
pub(crate) const BROUGHT_PREFIX: u8 = b'i';

/// First byte of the keys of leases that were fetched ahead.
pub(crate) const AHEAD_PREFIX: u8 = b'f';

/// How tasks came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// Nobody else can have them before their deadline: their home may be out of reach.
    Brought,
    /// A claim; their package is fetched when there is time.
    Ahead,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    batches: BTreeMap<StatementId, Batch>,
    /// Which offer a lease is of, and how it came; those that run included.
    by_lease: BTreeMap<StatementId, (StatementId, Origin)>,
    /// What a former process had made durable, until it is put together.
    restored: Vec<Restored>,
    /// Whether what waits is another since it was looked through.
    changed: bool,
}

/// Work of one offer in one runtime; a lease of another runtime has a place of its own.
#[derive(Debug)]
pub(crate) struct Batch {
    pub offered: Offered,
    /// Who has granted the leases, in which epochs.
    homes: Vec<Verified<Home>>,
    /// Not running, or stopped meanwhile.
    pub leases: BTreeMap<StatementId, Verified<Lease>>,
    /// With which commit the newest of it is durable, until it is.
    pub landing: Option<CommitId>,
}

impl Batch {
    /// Whether it has the word of that home in that epoch, be it this statement or another.
    fn knows(&self, home: &Home) -> bool {
        self.homes.iter().any(|it| (it.home, it.epoch) == (home.home, home.epoch))
    }

    fn came_with(&self, id: StatementId) -> bool {
        let registration = self.offered.registration.as_ref().map(Verified::id);
        registration == Some(id) || self.homes.iter().any(|home| home.id() == id)
    }
}

fn has_granted(home: &Home, lease: &Verified<Lease>) -> bool {
    (home.home, home.epoch) == (lease.signer(), lease.epoch)
}

#[derive(Debug)]
enum Restored {
    Registration(Verified<Registration>),
    Home(Verified<Home>),
    Offer(Verified<Offer>),
    Lease(Origin, Verified<Lease>),
}

impl Queue {
    /// Takes up a statement that a former process had made durable.
    pub fn restore(
        &mut self,
        key: &[u8],
        value: &[u8],
        verifier: &dyn Verifier,
    ) -> Result<(), RestoreError> {
        let envelope = Envelope::parse(value).map_err(StatementError::from)?;
        self.restored.push(match envelope.kind() {
            Some(Kind::Registration) => {
                Restored::Registration(Verified::check(&envelope, verifier)?)
            }
            Some(Kind::Home) => Restored::Home(Verified::check(&envelope, verifier)?),
            Some(Kind::Offer) => Restored::Offer(Verified::check(&envelope, verifier)?),
            _ => {
                let is_ahead = key.first() == Some(&AHEAD_PREFIX);
                let origin = if is_ahead { Origin::Ahead } else { Origin::Brought };
                Restored::Lease(origin, Verified::check(&envelope, verifier)?)
            }
        });
        Ok(())
    }

    /// Puts together what was restored. Gives the leases whose offer or home is missing, as no process leaves
    /// them, and the deletions of all that is of no use.
    pub fn assemble(&mut self) -> (Vec<Verified<Lease>>, Vec<Write>) {
        let (mut registrations, mut homes) = (Vec::new(), Vec::new());
        let (mut offers, mut leases) = (Vec::new(), Vec::new());
        for it in std::mem::take(&mut self.restored) {
            match it {
                Restored::Registration(it) => registrations.push(it),
                Restored::Home(it) => homes.push(it),
                Restored::Offer(it) => offers.push(it),
                Restored::Lease(origin, it) => leases.push((origin, it)),
            }
        }
        let mut lost = Vec::new();
        for (origin, lease) in leases {
            let offer = offers.iter().find(|it| it.id() == lease.task.offer).cloned();
            let home = homes.iter().find(|it| has_granted(it, &lease)).cloned();
            let Some((offer, home)) = offer.zip(home) else {
                lost.push((origin, lease));
                continue;
            };
            let of_project =
                |it: &&Verified<Registration>| PublicKey::from(offer.project) == it.signer();
            let registration = registrations.iter().find(of_project).cloned();
            let offered = Offered { offer, home, registration, others: None, home_unseen: None };
            self.add(offered, vec![lease], origin);
        }
        let homes = homes.iter().map(Verified::id).chain(offers.iter().map(Verified::id));
        let statements = homes.chain(registrations.iter().map(Verified::id));
        let useless = statements.filter(|id| !self.keeps(*id)).map(forget);
        let of_lost = lost.iter().map(|(origin, it)| Write::delete(lease_key(it.id(), *origin)));
        let deletions = useless.chain(of_lost).collect();
        (lost.into_iter().map(|(_, lease)| lease).collect(), deletions)
    }

    /// Whether a batch needs the statement, which is no lease.
    fn keeps(&self, id: StatementId) -> bool {
        self.batches.iter().any(|(offer, batch)| *offer == id || batch.came_with(id))
    }

    /// Takes tasks of one offer on; gives what must become durable with them.
    pub fn put(
        &mut self,
        offered: Offered,
        leases: Vec<Verified<Lease>>,
        origin: Origin,
    ) -> Vec<Write> {
        let mut writes = Vec::new();
        let batch = self.batches.get(&offered.offer.id());
        if batch.is_none() {
            writes.push(statement(&offered.offer));
            writes.extend(offered.registration.as_ref().map(statement));
        }
        if batch.is_none_or(|batch| !batch.knows(&offered.home)) {
            writes.push(statement(&offered.home));
        }
        let record = |lease: &Verified<Lease>| {
            Write::put(lease_key(lease.id(), origin), lease.envelope().as_bytes())
        };
        writes.extend(leases.iter().map(record));
        self.add(offered, leases, origin);
        writes
    }

    /// The tasks of `offer` that came last are durable with `commit`, and wait for that.
    pub fn lands(&mut self, offer: StatementId, commit: CommitId) {
        let batch = self.batches.get_mut(&offer);
        batch.into_iter().for_each(|batch| batch.landing = Some(commit));
    }

    fn add(&mut self, offered: Offered, leases: Vec<Verified<Lease>>, origin: Origin) {
        self.changed = true;
        let offer = offered.offer.id();
        self.by_lease.extend(leases.iter().map(|lease| (lease.id(), (offer, origin))));
        let home = offered.home.clone();
        let (homes, leases_of) = (Vec::new(), BTreeMap::new());
        let new = || Batch { offered, homes, leases: leases_of, landing: None };
        let batch = self.batches.entry(offer).or_insert_with(new);
        if !batch.knows(&home) {
            batch.homes.push(home);
        }
        batch.leases.extend(leases.into_iter().map(|lease| (lease.id(), lease)));
    }

    /// Whether the lease is of work in here that is not done.
    pub fn holds(&self, lease: StatementId) -> bool {
        self.by_lease.contains_key(&lease)
    }

    /// How the lease came, if it is in here and not done.
    pub fn origin(&self, lease: StatementId) -> Option<Origin> {
        self.by_lease.get(&lease).map(|(_, origin)| *origin)
    }

    /// The tasks of each offer of which there are any.
    pub fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.batches.values()
    }

    /// Those of one.
    pub fn batch(&self, offer: StatementId) -> Option<&Batch> {
        self.batches.get(&offer)
    }

    /// Leases that came so and have not begun, with their offers.
    pub fn waiting(
        &self,
        origin: Origin,
    ) -> impl Iterator<Item = (&Verified<Lease>, &Verified<Offer>)> {
        let all = self.batches.values().flat_map(|batch| {
            batch.leases.values().map(move |lease| (lease, &batch.offered.offer))
        });
        all.filter(move |(lease, _)| self.origin(lease.id()) == Some(origin))
    }

    /// A lease that has not begun, with its offer.
    pub fn waiting_lease(
        &self,
        lease: StatementId,
    ) -> Option<(&Verified<Lease>, &Verified<Offer>)> {
        let batch = self.batches.get(&self.by_lease.get(&lease)?.0)?;
        Some((batch.leases.get(&lease)?, &batch.offered.offer))
    }

    /// How many tasks came so and are not done, those that run included.
    pub fn count(&self, origin: Origin) -> usize {
        self.by_lease.values().filter(|(_, of)| *of == origin).count()
    }

    /// Offers of which tasks wait, the one whose task must be done first before the others.
    pub fn by_deadline(&self) -> Vec<StatementId> {
        let soonest = |batch: &Batch| batch.leases.values().map(|lease| over(lease)).min();
        let batches = self.batches.iter().filter_map(|(id, it)| Some((soonest(it)?, *id)));
        let offers: BTreeSet<_> = batches.collect();
        offers.into_iter().map(|(_, offer)| offer).collect()
    }

    /// Packages of what was fetched ahead and has not begun.
    pub fn packages_ahead(&self) -> BTreeMap<BlobHash, u64> {
        let of = |(_, offer): (_, &Verified<Offer>)| {
            let Package { hash, size } = offer.package;
            (hash, size)
        };
        self.waiting(Origin::Ahead).map(of).collect()
    }

    /// Whether a package is that of work in here.
    pub fn needs_package(&self, hash: &BlobHash) -> bool {
        self.batches.values().any(|batch| batch.offered.offer.package.hash == *hash)
    }

    /// Whether nothing is in here, and nothing of it runs.
    pub fn is_empty(&self) -> bool {
        self.by_lease.is_empty()
    }

    /// The lease is done with; gives what need not be durable any more.
    pub fn end(&mut self, lease: StatementId) -> Vec<Write> {
        self.changed = true;
        let Some((offer, origin)) = self.by_lease.remove(&lease) else { return Vec::new() };
        let mut writes = vec![Write::delete(lease_key(lease, origin))];
        let left = self.by_lease.values().any(|(of, _)| *of == offer);
        if let Some(batch) = self.batches.get_mut(&offer) {
            batch.leases.remove(&lease);
        }
        if !left && let Some(batch) = self.batches.remove(&offer) {
            let registration = batch.offered.registration.as_ref().map(Verified::id);
            let came_with = batch.homes.iter().map(Verified::id).chain(registration);
            writes.push(forget(offer));
            writes.extend(came_with.filter(|id| !self.keeps(*id)).map(forget));
        }
        writes
    }

    /// The task begins, or goes on.
    pub fn begins(&mut self, lease: StatementId) {
        self.changed = true;
        let batch = self.by_lease.get(&lease).and_then(|(of, _)| self.batches.get_mut(of));
        batch.into_iter().for_each(|batch| drop(batch.leases.remove(&lease)));
    }

    /// The lease was given up for reasons that pass, and waits again.
    pub fn put_back(&mut self, lease: Verified<Lease>) {
        self.changed = true;
        let batch = self.by_lease.get(&lease.id()).and_then(|(of, _)| self.batches.get_mut(of));
        batch.into_iter().for_each(|batch| drop(batch.leases.insert(lease.id(), lease.clone())));
    }

    /// The offer is over, as its signer says.
    pub fn end_offer(&mut self, offer: StatementId) -> Vec<Write> {
        let leases = self.by_lease.iter().filter(|(_, (of, _))| *of == offer);
        let leases = leases.map(|(lease, _)| *lease);
        let leases: Vec<_> = leases.collect();
        leases.into_iter().flat_map(|lease| self.end(lease)).collect()
    }

    /// What was written with `commit`, or before it, is durable.
    pub fn made_durable(&mut self, commit: CommitId) {
        for batch in self.batches.values_mut() {
            batch.landing = batch.landing.filter(|landing| *landing > commit);
        }
    }

    /// What waits is to be looked through again.
    pub fn touch(&mut self) {
        self.changed = true;
    }

    /// Whether it is to be looked through since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}

/// When a lease that has not begun is of no use any more.
pub(crate) fn over(lease: &Lease) -> Timestamp {
    lease.deadline.unwrap_or(lease.expires).min(lease.expires)
}

fn statement<T: Payload>(statement: &Verified<T>) -> Write {
    Write::put(record_key(BROUGHT_PREFIX, statement.id()), statement.envelope().as_bytes())
}

fn forget(statement: StatementId) -> Write {
    Write::delete(record_key(BROUGHT_PREFIX, statement))
}

fn lease_key(lease: StatementId, origin: Origin) -> Vec<u8> {
    let prefix = match origin {
        Origin::Brought => BROUGHT_PREFIX,
        Origin::Ahead => AHEAD_PREFIX,
    };
    record_key(prefix, lease)
}

fn record_key(prefix: u8, statement: StatementId) -> Vec<u8> {
    [&[prefix], statement.as_bytes().as_slice()].concat()
}
