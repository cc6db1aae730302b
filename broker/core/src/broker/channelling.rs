//! Where channels go (rule C45).

use capability::statements::{Lease, TaskId};
use capability::{Payload, PublicKey, Verified};
use mesh_core::{Ask, ChannelOpen, ChannelRefusal, MAX_HOPS, Now};

use super::Broker;

/// Where a channel goes from here.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelRoute {
    /// The next broker, or the volunteer.
    pub to: PublicKey,
    /// The lease that the channel is about, which says whom to charge.
    pub lease: Verified<Lease>,
    /// Brokers that the question may cross from there on.
    pub hops: u8,
}

impl Broker {
    /// Where a channel goes that `from` wants.
    ///
    /// Asked for a task by its master, the home looks up the lease. Any other broker is asked by one that it is linked
    /// to, and checks that the lease was granted by the home of its project: so nobody can charge a project with
    /// leases that it does not know of.
    ///
    /// # Errors
    /// Why it goes nowhere.
    pub fn channel_route(
        &self,
        from: PublicKey,
        open: ChannelOpen,
        now: Now,
    ) -> Result<ChannelRoute, ChannelRefusal> {
        let (lease, hops) = match open {
            ChannelOpen::Task(task) => (self.watched(from, task)?.clone(), MAX_HOPS),
            ChannelOpen::Lease { lease, hops } => (self.vouched_for(from, lease, now)?, hops),
        };
        let to = self.way_to(lease.volunteer).filter(|to| *to != from);
        let (Some(to), Some(hops)) = (to, hops.checked_sub(1)) else {
            return Err(ChannelRefusal::NoRoute);
        };
        Ok(ChannelRoute { to, lease, hops })
    }

    /// Whether a channel about `lease` may go on: at the home as long as the lease lives, elsewhere until it expires.
    pub fn keeps_channel(&self, lease: &Verified<Lease>, now: Now) -> bool {
        if lease.signer() == self.me {
            self.leases.current(lease.task).is_some_and(|current| current.id() == lease.id())
        } else {
            lease.current(now.wall).is_ok()
        }
    }

    /// Notes from which broker a volunteer's claim or renewal came.
    pub(super) fn note_way_back(&mut self, from: PublicKey, ask: &Ask, now: Now) {
        let (volunteer, expires, current) = match ask {
            // One volunteer's.
            Ask::Claim { claims, .. } => {
                let Some(claim) = claims.first() else { return };
                (claim.signer(), claim.expires(), claim.current(now.wall).is_ok())
            }
            Ask::Renew { renewal, .. } => {
                (renewal.signer(), renewal.expires(), renewal.current(now.wall).is_ok())
            }
            _ => return,
        };
        if current && self.routes.is_linked(from) {
            self.ways_back.note(volunteer, from, expires, now.mono);
        }
    }

    /// The live lease of `task`, whose offer `master` has signed.
    fn watched(&self, master: PublicKey, task: TaskId) -> Result<&Verified<Lease>, ChannelRefusal> {
        let offer = self.book.offer(task.offer).filter(|offer| offer.signer() == master);
        let home = offer.and_then(|offer| self.book.home(offer.project));
        if home.is_none_or(|home| home.home != self.me) {
            return Err(ChannelRefusal::NotYours);
        }
        self.leases.current(task).ok_or(ChannelRefusal::Nobody)
    }

    /// `lease`, if the home of its project has granted it.
    fn vouched_for(
        &self,
        from: PublicKey,
        lease: Verified<Lease>,
        now: Now,
    ) -> Result<Verified<Lease>, ChannelRefusal> {
        let home = self.book.home(lease.project).filter(|_| self.routes.is_linked(from));
        let granted = home
            .is_some_and(|home| home.home == lease.signer() && home.epoch == lease.epoch)
            && lease.current(now.wall).is_ok();
        if granted { Ok(lease) } else { Err(ChannelRefusal::Invalid) }
    }

    /// The volunteer itself, or the broker from which its last renewal came.
    fn way_to(&self, volunteer: PublicKey) -> Option<PublicKey> {
        if self.peers.contains_key(&volunteer) {
            return Some(volunteer);
        }
        self.ways_back.to(volunteer).filter(|broker| self.peers.contains_key(broker))
    }
}
