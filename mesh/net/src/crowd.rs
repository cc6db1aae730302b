//! What the peers at one address take together, so that one origin cannot have all connections of a node.
//!
//! Only incoming connections count: whom this node dials is its own choice.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol as Part;
use libp2p::swarm::ConnectionId;
use thiserror::Error;

use crate::AddressLimits;

/// Origins that are remembered before those are looked for that have nothing to remember: a few hundred kilobytes.
const TIDY_ABOVE: usize = 4096;

/// Incoming connections by where they come from.
pub(crate) struct Crowd {
    limits: AddressLimits,
    shared: Vec<IpAddr>,
    /// Those that count, and whether they are in their handshake; the swarm bounds them.
    connections: HashMap<ConnectionId, (Origin, Stage)>,
    /// Whoever has connections, or began some so lately that it matters.
    origins: HashMap<Origin, Taken>,
    tidy_above: usize,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum Crowded {
    #[error("its address has {0} connections already")]
    Connections(u32),
    #[error("its address has {0} handshakes under way already")]
    Handshakes(u32),
    #[error("its address connects too often")]
    TooOften,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Handshake,
    Established,
}

/// An IPv4 address, or an IPv6 prefix of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Origin {
    V4([u8; 4]),
    V6([u8; 8]),
}

#[derive(Debug)]
struct Taken {
    connections: u32,
    handshakes: u32,
    /// When all handshakes that were begun would have been due, had each waited for its turn.
    paid_until: Instant,
}

impl Crowd {
    pub(crate) fn new(limits: AddressLimits, shared: &[IpAddr]) -> Self {
        Self {
            limits,
            shared: shared.to_vec(),
            connections: HashMap::new(),
            origins: HashMap::new(),
            tidy_above: TIDY_ABOVE,
        }
    }

    /// A connection comes in from `address`: it counts from now on, or is one too many.
    pub(crate) fn enter(
        &mut self,
        id: ConnectionId,
        address: &Multiaddr,
        now: Instant,
    ) -> Result<(), Crowded> {
        let Some(ip) = ip_in(address).filter(|ip| !self.shared.contains(ip)) else { return Ok(()) };
        self.tidy(now);
        let origin = Origin::of(ip);
        let turn = Duration::from_secs(60) / self.limits.handshakes_a_minute.max(1);
        let new = Taken { connections: 0, handshakes: 0, paid_until: now };
        let taken = self.origins.entry(origin).or_insert(new);
        if taken.connections >= self.limits.connections {
            return Err(Crowded::Connections(taken.connections));
        }
        if taken.handshakes >= self.limits.handshakes {
            return Err(Crowded::Handshakes(taken.handshakes));
        }
        let paid_until = taken.paid_until.max(now) + turn;
        if paid_until > now + turn * self.limits.connections {
            return Err(Crowded::TooOften);
        }
        taken.paid_until = paid_until;
        taken.connections += 1;
        taken.handshakes += 1;
        self.connections.insert(id, (origin, Stage::Handshake));
        Ok(())
    }

    /// The handshake is done.
    pub(crate) fn shaken_hands(&mut self, id: ConnectionId) {
        let Some((origin, stage)) = self.connections.get_mut(&id) else { return };
        if std::mem::replace(stage, Stage::Established) == Stage::Handshake
            && let Some(taken) = self.origins.get_mut(origin)
        {
            taken.handshakes -= 1;
        }
    }

    /// The connection is over, or has come to nothing.
    pub(crate) fn leave(&mut self, id: ConnectionId) {
        self.shaken_hands(id);
        let Some((origin, _)) = self.connections.remove(&id) else { return };
        if let Some(taken) = self.origins.get_mut(&origin) {
            taken.connections -= 1;
        }
    }

    /// Forgets origins that are as good as new, whenever twice as many are known as were left the last time.
    fn tidy(&mut self, now: Instant) {
        if self.origins.len() <= self.tidy_above {
            return;
        }
        self.origins.retain(|_, taken| taken.connections > 0 || taken.paid_until > now);
        self.tidy_above = TIDY_ABOVE.max(2 * self.origins.len());
    }
}

impl Origin {
    fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::V4(ip.octets()),
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, g, h, ..] = ip.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// The numeric address at the beginning of `address`.
pub fn ip_in(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Part::Ip4(ip) => Some(ip.into()),
        Part::Ip6(ip) => Some(IpAddr::V6(ip).to_canonical()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: AddressLimits =
        AddressLimits { connections: 3, handshakes: 2, handshakes_a_minute: 60 };

    struct Story {
        crowd: Crowd,
        next: usize,
        now: Instant,
    }

    impl Story {
        fn new(shared: &[IpAddr]) -> Self {
            Self { crowd: Crowd::new(LIMITS, shared), next: 0, now: Instant::now() }
        }

        fn enter(&mut self, address: &str) -> Result<ConnectionId, Crowded> {
            let id = ConnectionId::new_unchecked(self.next);
            self.next += 1;
            let address = format!("{address}/tcp/9").parse().expect("an address");
            self.crowd.enter(id, &address, self.now).map(|()| id)
        }

        fn settle(&mut self, address: &str) -> Result<ConnectionId, Crowded> {
            self.enter(address).inspect(|id| self.crowd.shaken_hands(*id))
        }
    }

    #[test]
    fn who_has_its_share_gets_no_more_and_others_get_theirs() {
        let mut story = Story::new(&[]);
        let first = story.settle("/ip4/192.0.2.1").expect("the first");
        for _ in 0..2 {
            story.settle("/ip4/192.0.2.1").expect("within the share");
        }
        assert_eq!(story.settle("/ip4/192.0.2.1"), Err(Crowded::Connections(3)));
        story.settle("/ip4/192.0.2.2").expect("another's");
        story.crowd.leave(first);
        story.now += Duration::from_secs(1);
        story.settle("/ip4/192.0.2.1").expect("what was given back");
    }

    #[test]
    fn handshakes_that_do_not_end_take_a_part_of_the_share() {
        let mut story = Story::new(&[]);
        let stuck = [(); 2].map(|()| story.enter("/ip4/192.0.2.1").expect("within the share"));
        assert_eq!(story.enter("/ip4/192.0.2.1"), Err(Crowded::Handshakes(2)));
        story.crowd.leave(stuck[0]);
        story.settle("/ip4/192.0.2.1").expect("what was given back");
    }

    #[test]
    fn who_comes_and_goes_all_the_time_is_slowed_down() {
        let mut story = Story::new(&[]);
        for _ in 0..3 {
            let id = story.settle("/ip4/192.0.2.1").expect("a burst");
            story.crowd.leave(id);
        }
        assert_eq!(story.settle("/ip4/192.0.2.1"), Err(Crowded::TooOften));
        story.now += Duration::from_secs(1);
        story.settle("/ip4/192.0.2.1").expect("one a second");
        assert_eq!(story.settle("/ip4/192.0.2.1"), Err(Crowded::TooOften));
    }

    #[test]
    fn an_ipv6_prefix_of_64_bits_is_one_origin_and_a_mapped_address_is_ipv4() {
        let mut story = Story::new(&[]);
        for last in 1..=3 {
            story.settle(&format!("/ip6/2001:db8::{last}")).expect("within the share");
            story.settle(&format!("/ip4/192.0.2.{last}")).expect("three origins");
        }
        assert_eq!(story.settle("/ip6/2001:db8::ffff:4"), Err(Crowded::Connections(3)));
        story.settle("/ip6/2001:db8:0:1::1").expect("the next prefix");
        for _ in 0..2 {
            story.settle("/ip6/::ffff:192.0.2.1").expect("within the share");
        }
        assert_eq!(story.settle("/ip4/192.0.2.1"), Err(Crowded::Connections(3)));
    }

    #[test]
    fn a_shared_address_has_no_limit() {
        let mut story = Story::new(&["127.0.0.1".parse().expect("an address")]);
        for _ in 0..9 {
            story.settle("/ip4/127.0.0.1").expect("no limit");
        }
    }

    #[test]
    fn origins_that_have_gone_are_forgotten() {
        let mut story = Story::new(&[]);
        for n in 0..3 * TIDY_ABOVE {
            let id =
                story.settle(&format!("/ip4/10.{}.{}.1", n / 256, n % 256)).expect("the first");
            story.crowd.leave(id);
            story.now += Duration::from_secs(1);
        }
        assert!(story.crowd.origins.len() <= TIDY_ABOVE + 1, "{}", story.crowd.origins.len());
        assert!(story.crowd.connections.is_empty());
    }
}
