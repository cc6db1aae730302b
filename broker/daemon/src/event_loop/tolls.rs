//! What peers ask and bring is charged here before it is read, whatever way it comes by.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use broker_core::{AddressClass, Toll};
use capability::{BlobHash, PublicKey};
use ipnet::IpNet;
use mesh_core::{Answer, HandoverAnswer, Refusal};
use mesh_net::{BlobPut, Multiaddr, Protocol};

use super::{EventLoop, blob_hash};
use crate::door::{Origin, Unwelcome, Wish};
use crate::reply::{Reply, come_again};

/// Where peers come from: known here for as long as they are connected, and told to nobody.
#[derive(Debug, Default)]
pub(super) struct Origins {
    of: BTreeMap<PublicKey, AddressClass>,
    /// Seeded anew in each run, so that a class leads back to no address.
    hasher: RandomState,
    blocked: Vec<IpNet>,
}

impl Origins {
    /// `peer` has connected from `address`; says whether that is one to turn away.
    pub(super) fn up(&mut self, peer: PublicKey, address: &Multiaddr) -> Comer {
        let Some(address) = ip_of(address) else { return Comer::Welcome };
        if self.turns_away(address) {
            return Comer::Blocked;
        }
        self.of.insert(peer, self.class(address));
        Comer::Welcome
    }

    pub(super) fn down(&mut self, peer: PublicKey) {
        self.of.remove(&peer);
    }

    /// Turns away those from `range`, and gives those who are here, as far as that can be told.
    pub(super) fn block(&mut self, range: IpNet) {
        self.blocked.retain(|known| *known != range);
        self.blocked.push(range);
    }

    pub(super) fn unblock(&mut self, range: IpNet) {
        self.blocked.retain(|known| *known != range);
    }

    pub(super) fn is_blocked(&self, address: &Multiaddr) -> bool {
        ip_of(address).is_some_and(|address| self.turns_away(address))
    }

    fn turns_away(&self, address: IpAddr) -> bool {
        self.blocked.iter().any(|range| range.contains(&address.to_canonical()))
    }

    fn class_of(&self, peer: PublicKey) -> Option<AddressClass> {
        self.of.get(&peer).copied()
    }

    fn class(&self, address: IpAddr) -> AddressClass {
        AddressClass(self.hasher.hash_one(Origin::of(address).address()))
    }
}

/// What somebody is who connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comer {
    Welcome,
    Blocked,
}

impl EventLoop {
    /// Charges a request of a peer; gives back how to answer it, unless it was refused.
    pub(super) fn past_toll(
        &mut self,
        from: PublicKey,
        protocol: Protocol,
        bytes: usize,
        reply: Reply,
    ) -> Option<Reply> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let toll = match protocol {
            Protocol::Call | Protocol::Reconcile => Toll::Call(bytes),
            Protocol::Custody => Toll::Custody(bytes),
        };
        let origin = self.origins.class_of(from);
        let Err(wait) = self.charge(from, origin, toll) else { return Some(reply) };
        match protocol {
            Protocol::Call => reply.send(slow_down(wait)),
            Protocol::Custody => reply.send(HandoverAnswer::Refused(come_again(wait)).encode()),
            // Dropping the reply refuses the request.
            Protocol::Reconcile => (),
        }
        None
    }

    /// The same for a wish that comes through the door.
    pub(super) fn past_toll_at_door(
        &mut self,
        peer: PublicKey,
        address: IpAddr,
        wish: Wish,
    ) -> Option<Wish> {
        if self.origins.turns_away(address) {
            return None;
        }
        let toll = match &wish {
            Wish::Custody { frame, .. } => {
                Toll::Custody(u64::try_from(frame.len()).unwrap_or(u64::MAX))
            }
            Wish::Ask { .. } | Wish::Enter { .. } | Wish::Sources { .. } | Wish::Bring { .. } => {
                Toll::Call(1)
            }
        };
        // A blob that is not taken is not brought.
        let brought = match &wish {
            Wish::Bring { hash, bytes, .. } if self.against_taking(*hash).is_none() => *bytes,
            _ => 0,
        };
        let origin = Some(self.origins.class(address));
        let charged = self.charge(peer, origin, toll);
        let charged = charged.and_then(|()| match brought {
            0 => Ok(()),
            bytes => self.charge(peer, origin, Toll::Upload(bytes)),
        });
        let Err(wait) = charged else { return Some(wish) };
        match wish {
            Wish::Ask { answer, .. } => Reply::Door(answer).send(slow_down(wait)),
            Wish::Custody { answer, .. } => {
                Reply::Door(answer).send(HandoverAnswer::Refused(come_again(wait)).encode());
            }
            Wish::Bring { answer, .. } => drop(answer.send(Err(Unwelcome::Before(wait)))),
            Wish::Sources { answer, .. } => drop(answer.send(Err(Unwelcome::Before(wait)))),
            // Dropping the wish refuses it.
            Wish::Enter { .. } => (),
        }
        None
    }

    /// Why a blob is not taken, if it is not.
    pub(super) fn against_upload(&mut self, from: PublicKey, put: &BlobPut) -> Option<String> {
        self.against_taking(blob_hash(&put.hash)).or_else(|| {
            let origin = self.origins.class_of(from);
            self.charge(from, origin, Toll::Upload(put.size)).err().map(come_again)
        })
    }

    /// Why a blob is taken of nobody, if it is not.
    pub(super) fn against_taking(&self, hash: BlobHash) -> Option<String> {
        self.broker.taken_down(hash).map(|why| format!("taken down: {why}"))
    }

    fn charge(
        &mut self,
        from: PublicKey,
        origin: Option<AddressClass>,
        toll: Toll,
    ) -> Result<(), Duration> {
        let charged = self.broker.take_toll(from, origin, toll, self.clock.now());
        if let Err(wait) = charged {
            self.shown.gauges.limited();
            tracing::debug!(peer = from.short(), ?toll, ?wait, "limited");
        }
        charged
    }
}

fn slow_down(wait: Duration) -> Vec<u8> {
    let millis = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
    Answer::Refused(Refusal::SlowDown(millis.max(1))).encode()
}

/// The IP address in `address`, as of the connection that comes from there.
fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    let text = address.to_string();
    let mut parts = text.split('/').skip(1);
    match (parts.next()?, parts.next()?) {
        ("ip4" | "ip6", ip) => ip.parse::<IpAddr>().ok().map(|ip| ip.to_canonical()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> PublicKey {
        PublicKey::from_bytes([n; 32])
    }

    #[test]
    fn neighbours_in_a_network_of_one_owner_are_one_class_and_classes_differ_from_run_to_run() {
        let mut origins = Origins::default();
        let mut class = |n: u8, address: &str| {
            let address = address.parse().expect("a multiaddr");
            assert_eq!(origins.up(peer(n), &address), Comer::Welcome);
            origins.class_of(peer(n)).expect("an address")
        };
        let one = class(1, "/ip6/2001:db8::1/tcp/5");
        assert_eq!(one, class(2, "/ip6/2001:db8::ffff:2/udp/7/quic-v1"));
        assert_ne!(one, class(3, "/ip6/2001:db8:0:1::1/tcp/5"));
        let four = class(4, "/ip4/192.0.2.1/tcp/5");
        assert_eq!(four, class(5, "/ip6/::ffff:192.0.2.1/tcp/9"));
        assert_ne!(four, class(6, "/ip4/192.0.2.2/tcp/5"));
        origins.down(peer(6));
        assert_eq!(origins.class_of(peer(6)), None);
        let mut other_run = Origins::default();
        other_run.up(peer(4), &"/ip4/192.0.2.1/tcp/5".parse().expect("a multiaddr"));
        assert_ne!(other_run.class_of(peer(4)), Some(four));
    }

    #[test]
    fn a_blocked_range_is_turned_away_until_it_is_not() {
        let mut origins = Origins::default();
        let address = "/ip4/192.0.2.77/tcp/5".parse().expect("a multiaddr");
        let range: IpNet = "192.0.2.0/24".parse().expect("a range");
        origins.block(range);
        assert_eq!(origins.up(peer(1), &address), Comer::Blocked);
        assert_eq!(origins.class_of(peer(1)), None);
        origins.unblock(range);
        assert_eq!(origins.up(peer(1), &address), Comer::Welcome);
    }
}
