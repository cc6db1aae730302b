//! What is under way on this machine, and what is free beside it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use capability::statements::{Lease, MAX_TASKS_A_CLAIM, Offer, Package, TaskId};
use capability::{
    BlobHash, JobFile, Limits, ProjectKey, Requirements, Resources, Runtime, StatementId,
    Timestamp, Verified,
};
use mesh_core::{Mono, Now};

use crate::action::Order;
use crate::backoff::Backoff;
use crate::grounds::Grounds;
use crate::leases::GroupKey;

/// Leases worked on at a time: as many as one renewal can name.
pub const MAX_JOBS: usize = MAX_TASKS_A_CLAIM as usize;

/// A package stays that long after its last use; the next task of its offer usually comes at once.
const PACKAGE_KEPT: Duration = Duration::from_secs(10 * 60);
/// Attempts at fetching a package from one broker.
const FETCH_TRIES: u32 = 3;
const FIRST_FETCH_WAIT: Duration = Duration::from_secs(1);
const LONGEST_FETCH_WAIT: Duration = Duration::from_secs(4);

/// What one task of `offer` takes of the machine: the cores that the offer requires, one by
/// default, and the memory and disk space that its limits allow it.
pub fn needs(offer: &Offer) -> Resources {
    takes(&offer.requirements, &offer.job.limits)
}

/// The same of a job that nobody has offered yet.
pub fn needs_of_file(job: &JobFile) -> Resources {
    takes(&job.requirements, &job.job.limits)
}

/// The same of a job of these requirements and limits.
pub(crate) fn takes(requirements: &Requirements, limits: &Limits) -> Resources {
    let cores = requirements.cores();
    Resources { cores, memory: limits.memory, disk: limits.disk }
}

/// How far a leased task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Its package is on the way, or the machine stands still.
    Waiting,
    /// It runs.
    Running,
    /// It was told to end.
    Stopping,
}

/// One leased task, for people.
#[derive(Debug, Clone)]
pub struct JobView<'a> {
    /// The lease.
    pub lease: StatementId,
    /// Whose job it is.
    pub project: ProjectKey,
    /// The job's name.
    pub name: &'a str,
    /// The task.
    pub task: TaskId,
    /// The runtime.
    pub runtime: &'a Runtime,
    /// How far it is.
    pub stage: Stage,
    /// Since when.
    pub since: Timestamp,
    /// Whether it waits for its package.
    pub lacks_package: bool,
    /// Steps and limits, and what is packed.
    pub offer: &'a Offer,
    /// When the lease was granted.
    pub granted: Timestamp,
    /// How long an online lease holds without renewal.
    pub term: Duration,
    /// When the offer is over, and the task with it.
    pub expires: Timestamp,
    /// Why it was taken.
    pub grounds: &'a Grounds,
    /// Until when it holds by itself, if it is an offline lease.
    pub deadline: Option<Timestamp>,
    /// Whether the lease is no longer ours.
    pub lapsed: bool,
    /// Whether it was made to stand still.
    pub still: bool,
}

#[derive(Debug)]
pub(crate) struct Job {
    pub lease: Verified<Lease>,
    pub offer: Arc<Verified<Offer>>,
    pub stage: Stage,
    /// When it came to this stage.
    since: Timestamp,
    pub lapsed: bool,
    /// Whether it was made to stand still.
    pub still: bool,
    grounds: Arc<Grounds>,
    /// False until the lease is durable, and would be released after a crash.
    durable: bool,
    /// Bytes that were fetched for it and for none before it.
    pub fetched: u64,
}

#[derive(Debug)]
struct StoredPackage {
    size: u64,
    state: PackageState,
    tries: Backoff,
    last_use: Mono,
    /// Whether tasks that wait in the queue need it.
    ahead: bool,
    /// Bytes that were fetched and are not yet charged to a job.
    uncharged: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PackageState {
    Wanted,
    OnTheWay,
    Here,
}

/// The leases that are worked on, and their packages.
#[derive(Debug, Default)]
pub(crate) struct Work {
    jobs: BTreeMap<StatementId, Job>,
    packages: BTreeMap<BlobHash, StoredPackage>,
}

impl Work {
    /// What is left of `donated`.
    pub fn free(&self, donated: Resources) -> Resources {
        self.jobs.values().map(|job| needs(&job.offer)).fold(donated, |free, used| Resources {
            cores: free.cores.saturating_sub(used.cores),
            memory: free.memory.saturating_sub(used.memory),
            disk: free.disk.saturating_sub(used.disk),
        })
    }

    /// How many tasks of `offer` fit into what is left of `donated`.
    pub fn room(&self, offer: &Offer, donated: Resources) -> u16 {
        let (needs, free) = (needs(offer), self.free(donated));
        let room = u64::from(free.cores / needs.cores.max(1))
            .min(free.memory / needs.memory.max(1))
            .min(free.disk / needs.disk.max(1))
            .min(self.places().into());
        u16::try_from(room).unwrap_or(u16::MAX)
    }

    /// How many leases more can be worked on at a time, however small their tasks are.
    pub fn places(&self) -> u16 {
        let places = MAX_JOBS.saturating_sub(self.jobs.len());
        u16::try_from(places).unwrap_or(u16::MAX)
    }

    /// Bytes of the disk that what is in hand may come to take: the limits of the jobs, and packages
    /// that are not here yet. What a job has taken already counts twice, being part of what is free
    /// no more; so nobody need measure it.
    pub fn promised_disk(&self) -> u64 {
        let jobs = self.jobs.values().map(|job| job.offer.job.limits.disk);
        jobs.fold(self.packages_to_come(), u64::saturating_add)
    }

    /// Bytes of packages that are to be fetched, or on their way.
    pub fn packages_to_come(&self) -> u64 {
        let packages = self.packages.values().filter(|it| it.state != PackageState::Here);
        packages.map(|it| it.size).fold(0, u64::saturating_add)
    }

    /// Bytes of the package of `offer` that are neither here nor to come.
    pub fn package_lacking(&self, offer: &Offer) -> u64 {
        let Package { hash, size } = offer.package;
        if self.needs_package(&hash) { 0 } else { size }
    }

    /// Takes on a leased task.
    pub fn take(
        &mut self,
        lease: Verified<Lease>,
        offer: Arc<Verified<Offer>>,
        grounds: Arc<Grounds>,
        now: Now,
    ) {
        let Package { hash, size } = offer.package;
        self.packages.entry(hash).or_insert_with(|| StoredPackage::wanted(size, now.mono));
        let (stage, lapsed, still, durable) = (Stage::Waiting, false, false, false);
        let (since, fetched) = (now.wall, 0);
        let job = Job { lease, offer, stage, since, lapsed, still, grounds, durable, fetched };
        self.jobs.insert(job.lease.id(), job);
    }

    /// The lease is durable, if it is one: its task may begin.
    pub fn made_durable(&mut self, lease: StatementId) {
        if let Some(job) = self.jobs.get_mut(&lease) {
            job.durable = true;
        }
    }

    /// The task is over, or given up before it ran.
    pub fn remove(&mut self, lease: StatementId, now: Mono) -> Option<Job> {
        let job = self.jobs.remove(&lease)?;
        let package = self.packages.get_mut(&job.offer.package.hash);
        package.into_iter().for_each(|package| package.last_use = now);
        Some(job)
    }

    pub fn job(&self, lease: StatementId) -> Option<&Job> {
        self.jobs.get(&lease)
    }

    pub fn job_mut(&mut self, lease: StatementId) -> Option<&mut Job> {
        self.jobs.get_mut(&lease)
    }

    pub fn jobs(&self) -> impl Iterator<Item = (&StatementId, &Job)> {
        self.jobs.iter()
    }

    /// The jobs as they look to people.
    pub fn views(&self) -> impl Iterator<Item = JobView<'_>> {
        self.jobs.values().map(|job| {
            let package = self.packages.get(&job.offer.package.hash);
            job.view(package.is_some_and(|it| it.state != PackageState::Here))
        })
    }

    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Tasks whose package is here and that `may` begin, of their lease and runtime; they count as running from now on.
    pub fn start_ready(
        &mut self,
        now: Timestamp,
        may: impl Fn(StatementId, &Runtime) -> bool,
    ) -> Vec<Order> {
        let mut orders = Vec::new();
        for (lease, job) in &mut self.jobs {
            let waits = job.stage == Stage::Waiting && job.durable;
            let waits = waits && may(*lease, &job.lease.runtime);
            let package = self.packages.get_mut(&job.offer.package.hash);
            let here = package.filter(|package| waits && package.state == PackageState::Here);
            if let Some(package) = here {
                job.enter(Stage::Running, now);
                job.fetched = std::mem::take(&mut package.uncharged);
                orders.push(order(*lease, job));
            }
        }
        orders
    }

    /// Tasks that wait in the queue need these packages, with their sizes, and no others.
    pub fn want_ahead(&mut self, ahead: &BTreeMap<BlobHash, u64>, now: Mono) {
        for (hash, package) in &mut self.packages {
            if package.ahead && !ahead.contains_key(hash) {
                (package.ahead, package.last_use) = (false, now);
            }
        }
        for (hash, size) in ahead {
            let package = self.packages.entry(*hash);
            package.or_insert_with(|| StoredPackage::wanted(*size, now)).ahead = true;
        }
    }

    /// Whether the package is here.
    pub fn has_package(&self, hash: &BlobHash) -> bool {
        self.packages.get(hash).is_some_and(|package| package.state == PackageState::Here)
    }

    /// Packages to fetch now, with their sizes; they count as on the way from now on.
    pub fn begin_fetches(&mut self, now: Mono) -> Vec<(BlobHash, u64)> {
        let ahead = self.packages.iter().filter(|(_, package)| package.ahead);
        let wanted = self.waiting().chain(ahead.map(|(hash, _)| *hash));
        let wanted: Vec<_> = wanted.filter(|hash| self.is_wanted(hash, now)).collect();
        let mut fetches = Vec::new();
        for hash in wanted {
            if let Some(package) = self.packages.get_mut(&hash)
                && package.state == PackageState::Wanted
            {
                package.state = PackageState::OnTheWay;
                fetches.push((hash, package.size));
            }
        }
        fetches
    }

    /// A package is here; gives its size.
    pub fn fetched(&mut self, hash: BlobHash, now: Mono) -> u64 {
        let Some(package) = self.packages.get_mut(&hash) else { return 0 };
        let size = package.size;
        let (state, tries) = (PackageState::Here, Backoff::default());
        *package = StoredPackage { state, tries, last_use: now, uncharged: size, ..*package };
        size
    }

    /// The package of a task that was taken on is here, without having been fetched.
    pub fn is_here(&mut self, hash: BlobHash, now: Mono) {
        if let Some(package) = self.packages.get_mut(&hash) {
            (package.state, package.last_use) = (PackageState::Here, now);
        }
    }

    /// The fetch of a package was cut; it is begun again as if there had been none.
    pub fn fetch_cut(&mut self, hash: BlobHash) {
        if let Some(package) = self.packages.get_mut(&hash) {
            package.state = PackageState::Wanted;
        }
    }

    /// A package could not be fetched. Gives the leases that wait for it once there is no hope left.
    pub fn not_fetched(&mut self, hash: BlobHash, now: Mono) -> Vec<StatementId> {
        let Some(package) = self.packages.get_mut(&hash) else { return Vec::new() };
        package.state = PackageState::Wanted;
        package.tries.fail(now, FIRST_FETCH_WAIT, LONGEST_FETCH_WAIT);
        if package.tries.failures < FETCH_TRIES {
            return Vec::new();
        }
        self.packages.remove(&hash);
        let waiting = self.jobs.iter().filter(|(_, job)| job.stage == Stage::Waiting);
        let waiting = waiting.filter(|(_, job)| job.offer.package.hash == hash);
        waiting.map(|(lease, _)| *lease).collect()
    }

    /// Another broker may have what the former one had not.
    pub fn try_packages_anew(&mut self) {
        let wanted = self.packages.values_mut().filter(|it| it.state == PackageState::Wanted);
        wanted.for_each(|package| package.tries = Backoff::default());
    }

    /// Forgets packages that have not been of use for a while, and says which were here.
    pub fn forget_packages(&mut self, now: Mono) -> Vec<BlobHash> {
        let used: Vec<_> = self.jobs.values().map(|job| job.offer.package.hash).collect();
        let old = self.packages.extract_if(.., |hash, package| {
            package.state != PackageState::OnTheWay
                && !package.ahead
                && package.last_use + PACKAGE_KEPT <= now
                && !used.contains(hash)
        });
        old.map(|(hash, _)| hash).collect()
    }

    /// Whether `hash` is a package that is here or on its way.
    pub fn needs_package(&self, hash: &BlobHash) -> bool {
        self.packages.contains_key(hash)
    }

    /// When, after `now`, a package may be asked for again, or forgotten.
    pub fn next_wake(&self, now: Mono) -> Option<Mono> {
        self.packages.values().map(StoredPackage::next_wake).filter(|at| *at > now).min()
    }

    fn waiting(&self) -> impl Iterator<Item = BlobHash> {
        let waiting = self.jobs.values().filter(|job| job.stage == Stage::Waiting);
        waiting.map(|job| job.offer.package.hash)
    }

    fn is_wanted(&self, hash: &BlobHash, now: Mono) -> bool {
        let package = self.packages.get(hash);
        package.is_some_and(|it| it.state == PackageState::Wanted && it.tries.is_over(now))
    }
}

impl Job {
    /// How its lease is released, if it is an offline one: nobody renews it.
    pub fn offline_group(&self) -> Option<GroupKey> {
        self.lease.deadline.map(|_| GroupKey::of(&self.lease, self.lease.signer()))
    }

    /// When the lease or the offer is over, whichever is next.
    pub fn next_end(&self) -> Timestamp {
        let deadline = self.lease.deadline.filter(|_| !self.lapsed);
        deadline.unwrap_or(self.lease.expires)
    }

    /// Why it goes on.
    pub fn set_grounds(&mut self, grounds: Grounds) {
        self.grounds = Arc::new(grounds);
    }

    /// It is at another stage from `now` on.
    pub fn enter(&mut self, stage: Stage, now: Timestamp) {
        (self.stage, self.since) = (stage, now);
    }

    /// How it looks to people.
    fn view(&self, lacks_package: bool) -> JobView<'_> {
        JobView {
            lease: self.lease.id(),
            project: self.lease.project,
            name: &self.offer.name,
            task: self.lease.task,
            runtime: &self.lease.runtime,
            stage: self.stage,
            since: self.since,
            lacks_package,
            offer: &self.offer,
            granted: self.lease.granted,
            term: Duration::from_millis(self.lease.term_ms),
            expires: self.lease.expires,
            grounds: &self.grounds,
            deadline: self.lease.deadline,
            lapsed: self.lapsed,
            still: self.still,
        }
    }
}

impl StoredPackage {
    fn wanted(size: u64, now: Mono) -> Self {
        let (state, tries) = (PackageState::Wanted, Backoff::default());
        Self { size, state, tries, last_use: now, ahead: false, uncharged: 0 }
    }

    fn next_wake(&self) -> Mono {
        match self.state {
            PackageState::Wanted => self.tries.not_before,
            PackageState::OnTheWay | PackageState::Here => self.last_use + PACKAGE_KEPT,
        }
    }
}

fn order(lease: StatementId, job: &Job) -> Order {
    Order {
        lease,
        project: job.lease.project,
        name: job.offer.name.clone(),
        task: job.lease.task,
        tasks: job.offer.tasks,
        runtime: job.lease.runtime.clone(),
        package: job.offer.package,
        private: job.offer.package_for(job.lease.volunteer),
        job: job.offer.job.clone(),
        cores: needs(&job.offer).cores,
        network_bytes: u64::MAX,
    }
}
