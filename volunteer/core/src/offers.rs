//! Offers that are not to be shown again: declined for good, or left alone for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::statements::Offer;
use capability::{ProjectKey, Resources, StatementId, Timestamp, Verified};
use mesh_core::{MAX_EXCEPTIONS, Mono, Now, Offered};

use crate::backoff::Backoff;
use crate::trust::{Decline, Passes};
use crate::work::needs;

/// Declined offers remembered at most. Beyond, only pinned projects are asked for.
pub const MAX_DECLINED: usize = 512;

/// Offers left alone at a time, at most: what remains of a pull's exceptions.
const MAX_LEFT_ALONE: usize = MAX_EXCEPTIONS - MAX_DECLINED;

/// Wait after the first claim in vain; a task may open again at any moment.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Longest wait: half a lease's term, after which tasks of dead volunteers open again.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// An offer that the policy declines for what a broker says is looked at again after that time: how
/// many machines could run it changes within hours.
pub(crate) const POLICY_WAIT: Duration = Duration::from_secs(10 * 60);

/// An offer that the disk has no room for is shown again after that time: it may be over by then.
const DISK_WAIT: Duration = Duration::from_secs(60);
/// And forgotten that much later, unless it was shown again.
const DISK_GRACE: Duration = Duration::from_secs(30);

/// An offer that this machine does not take, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declined {
    /// The offer.
    pub offer: StatementId,
    /// The job's name.
    pub name: String,
    /// Its project.
    pub project: ProjectKey,
    /// What the project calls itself, if its registration came along.
    pub project_name: Option<String>,
    /// Why.
    pub reason: Decline,
    /// When it was declined.
    pub at: Timestamp,
    /// When the offer is over.
    pub expires: Timestamp,
}

/// Bytes of a reason at most; some are words of a broker.
const MAX_REASON: usize = 256;

/// An offer, as people know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub project: ProjectKey,
    pub name: String,
    /// What one task takes.
    pub needs: Resources,
}

impl Named {
    fn of(offer: &Offer) -> Self {
        Self { project: offer.project, name: offer.name.clone(), needs: needs(offer) }
    }

    /// Whether a task fits where so much is free.
    pub fn fits(&self, free: Resources) -> bool {
        let Resources { cores, memory, disk } = self.needs;
        cores <= free.cores && memory <= free.memory && disk <= free.disk
    }
}

/// An offer that brought nothing the last time.
#[derive(Debug)]
pub(crate) struct LeftAlone {
    pub named: Named,
    pub reason: String,
    pub tries: Backoff,
}

#[derive(Debug, Default)]
pub(crate) struct Offers {
    declined: BTreeMap<StatementId, Declined>,
    left_alone: BTreeMap<StatementId, LeftAlone>,
    /// Offers for which too little is free now.
    too_large: BTreeMap<StatementId, Named>,
    /// Offers for which the disk has no room.
    disk_short: BTreeMap<StatementId, DiskShort>,
}

#[derive(Debug)]
pub(crate) struct DiskShort {
    pub named: Named,
    /// Bytes that one task takes, and its package if it is not here.
    pub needed: u64,
    /// When it is shown again, room or not.
    until: Mono,
}

impl Offers {
    /// Remembers that `offered` is declined; says whether that is news.
    pub fn decline(&mut self, offered: &Offered, reason: Decline, now: Timestamp) -> bool {
        let Offered { offer, registration, .. } = offered;
        let registration =
            registration.as_ref().filter(|it| ProjectKey::from(it.signer()) == offer.project);
        let declined = Declined {
            offer: offer.id(),
            name: offer.name.clone(),
            project: offer.project,
            project_name: registration.map(|it| it.name.clone()),
            reason,
            at: now,
            expires: offer.expires,
        };
        if self.declined.len() >= MAX_DECLINED && !self.declined.contains_key(&offer.id()) {
            let oldest = self.declined.values().min_by_key(|it| it.at).map(|it| it.offer);
            oldest.and_then(|oldest| self.declined.remove(&oldest));
        }
        let reason = declined.reason.clone();
        let before = self.declined.insert(offer.id(), declined);
        before.is_none_or(|before| before.reason != reason)
    }

    /// The offer brought nothing now, and is asked for again after a while.
    pub fn leave_alone(&mut self, offer: &Verified<Offer>, reason: &str, now: Mono) {
        self.leave_alone_for(offer, reason, now, [FIRST_WAIT, LONGEST_WAIT]);
    }

    /// The policy does not want the offer at present.
    pub fn look_again_later(&mut self, offer: &Verified<Offer>, reason: &str, now: Mono) {
        self.leave_alone_for(offer, reason, now, [POLICY_WAIT, POLICY_WAIT]);
    }

    fn leave_alone_for(
        &mut self,
        offer: &Verified<Offer>,
        reason: &str,
        now: Mono,
        [first, longest]: [Duration; 2],
    ) {
        let id = offer.id();
        if self.left_alone.len() >= MAX_LEFT_ALONE && !self.left_alone.contains_key(&id) {
            let next = self.left_alone.iter().min_by_key(|(_, it)| it.tries.not_before);
            let next = next.map(|(offer, _)| *offer);
            next.and_then(|next| self.left_alone.remove(&next));
        }
        let new = || LeftAlone {
            named: Named::of(offer),
            reason: String::new(),
            tries: Backoff::default(),
        };
        let left_alone = self.left_alone.entry(id).or_insert_with(new);
        reason[..reason.floor_char_boundary(MAX_REASON)].clone_into(&mut left_alone.reason);
        left_alone.tries.fail(now, first, longest);
    }

    /// The offer is welcome, whatever was said of it before.
    pub fn welcome(&mut self, offer: StatementId) {
        self.declined.remove(&offer);
    }

    /// The offer has brought tasks.
    pub fn succeeded(&mut self, offer: StatementId) {
        self.left_alone.remove(&offer);
        self.declined.remove(&offer);
        self.disk_short.remove(&offer);
    }

    /// Too little is free for a task of `offer`.
    pub fn does_not_fit(&mut self, offer: &Verified<Offer>) {
        if self.too_large.len() < MAX_LEFT_ALONE {
            self.too_large.insert(offer.id(), Named::of(offer));
        }
    }

    /// The disk has no room for a task of `offer`, which takes `needed` bytes.
    pub fn lacks_disk(&mut self, offer: &Verified<Offer>, needed: u64, now: Mono) {
        if self.disk_short.len() < MAX_LEFT_ALONE {
            let short = DiskShort { named: Named::of(offer), needed, until: now + DISK_WAIT };
            self.disk_short.insert(offer.id(), short);
        }
    }

    /// Bytes that the smallest waiting task takes, if `left` are too few for all that wait.
    pub fn disk_needed(&self, left: u64) -> Option<u64> {
        self.disk_short.values().map(|it| it.needed).min().filter(|needed| *needed > left)
    }

    /// More is free than before.
    pub fn resources_freed(&mut self) {
        self.too_large.clear();
    }

    /// Pins, policy or capabilities have changed: everything is to be judged anew.
    pub fn reconsider(&mut self) {
        *self = Self::default();
    }

    /// What was declined for such a reason is to be judged anew.
    pub fn look_again(&mut self, is_over: impl Fn(&Decline) -> bool) {
        self.declined.retain(|_, declined| !is_over(&declined.reason));
    }

    /// Forgets what is over.
    pub fn expire(&mut self, now: Now) {
        self.declined.retain(|_, declined| declined.expires > now.wall);
        self.look_again(|reason| reason.ends().is_some_and(|end| end <= now.wall));
        self.disk_short.retain(|_, short| short.until + DISK_GRACE > now.mono);
    }

    /// What a pull should not bring while the disk has `disk_left` bytes for tasks, in the order of
    /// the ids.
    pub fn exceptions(&self, disk_left: u64, now: Mono) -> Vec<StatementId> {
        let short = self.disk_short.iter();
        let short = short.filter(|(_, it)| it.until > now && it.needed > disk_left);
        let too_large = self.too_large.keys().copied();
        self.exceptions_and(too_large.chain(short.map(|(offer, _)| *offer)), now)
    }

    /// What a pull should not bring whatever has room: these among it.
    pub fn exceptions_and(
        &self,
        these: impl Iterator<Item = StatementId>,
        now: Mono,
    ) -> Vec<StatementId> {
        let left_alone = self.left_alone.iter().filter(|(_, it)| !it.tries.is_over(now));
        let permanent = self.declined.values().filter(|it| it.reason.passes() == Passes::Never);
        let mut except: BTreeSet<_> = permanent.map(|it| it.offer).collect();
        except.extend(left_alone.map(|(offer, _)| *offer));
        except.extend(these);
        except.into_iter().take(MAX_EXCEPTIONS).collect()
    }

    /// Whether an offer may be claimed now.
    pub fn is_left_alone(&self, offer: StatementId, now: Mono) -> bool {
        self.left_alone.get(&offer).is_some_and(|it| !it.tries.is_over(now))
    }

    /// Whether so much is declined that unpinned projects are better not shown at all.
    pub fn is_crowded(&self) -> bool {
        self.declined.len() >= MAX_DECLINED
    }

    /// What is declined, in the order of the ids.
    pub fn declined(&self) -> impl ExactSizeIterator<Item = &Declined> {
        self.declined.values()
    }

    /// How many offers that are not declined are left alone at present.
    pub fn waiting(&self, now: Mono) -> usize {
        self.left_alone(now).count()
    }

    /// Those.
    pub fn left_alone(&self, now: Mono) -> impl Iterator<Item = (&StatementId, &LeftAlone)> {
        let welcome = self.left_alone.iter().filter(|(id, _)| !self.declined.contains_key(id));
        welcome.filter(move |(_, it)| !it.tries.is_over(now))
    }

    /// Offers for which too little is free.
    pub fn too_large(&self) -> impl Iterator<Item = (&StatementId, &Named)> {
        self.too_large.iter()
    }

    /// Offers for which the disk has no room while `left` bytes are left.
    pub fn disk_short(&self, left: u64) -> impl Iterator<Item = (&StatementId, &DiskShort)> {
        self.disk_short.iter().filter(move |(_, it)| it.needed > left)
    }

    /// When the next offer may be asked for again.
    pub fn next_wake(&self, now: Now) -> Option<Mono> {
        let tries = self.left_alone.values().map(|it| it.tries);
        let waiting = tries.filter(|it| !it.is_over(now.mono)).map(|it| it.not_before);
        let short = self.disk_short.values().map(|it| it.until).filter(|at| *at > now.mono);
        let declined = self.declined.values().filter_map(|it| it.reason.ends());
        waiting.chain(short).chain(declined.map(|at| now.mono_at(at))).min()
    }
}
