//! Brokers that were learned of from brokers, kept for the next start.
//!
//! What brokers tell is not trusted: a card only says where a key can be met, and who dials demands
//! that key. Still nobody should be sent to knock at doors of their own network by a stranger.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use capability::statements::BrokerCard;
use capability::{Payload, PublicKey, Timestamp, Verified};
use mesh_net::{Multiaddr, can_dial, ip_in};

use crate::files::{read_text, write_whole};
use crate::link::peer_key;

/// Brokers that are remembered: enough to find the mesh again after years.
const MAX_BROKERS: usize = 64;

/// Addresses of each: mostly one by TCP and one by something else.
const ADDRESSES_A_BROKER: usize = 2;

const MAX_FILE_BYTES: usize = 64 << 10;

/// What brokers are asked about other brokers.
#[derive(Debug)]
pub enum Learning {
    /// Nothing: those that are named will do.
    Nothing,
    /// Where these can be met, should they have moved.
    Of(Vec<PublicKey>),
    /// Whom one could turn to.
    Any {
        /// Where that is kept: addresses, one a line.
        file: PathBuf,
    },
}

impl Learning {
    /// Whether brokers are asked about others at all.
    pub(crate) fn is_asked(&self) -> bool {
        !matches!(self, Self::Nothing)
    }

    /// Whether it is of use to know where `broker` is.
    pub(crate) fn is_about(&self, broker: PublicKey) -> bool {
        match self {
            Self::Of(brokers) => brokers.contains(&broker),
            Self::Nothing | Self::Any { .. } => true,
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    brokers: BTreeMap<PublicKey, Vec<Multiaddr>>,
    /// From a former process; their keys are in them.
    former: Vec<Multiaddr>,
}

/// How far an address reaches: whoever is at one may tell of those that reach as far or further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Loopback,
    Private,
    Public,
}

impl Learned {
    /// What a former process has left in `file`. What is not an address is passed over.
    pub(crate) fn load(file: &std::path::Path) -> Self {
        let text = read_text(file, "the list of learned brokers", MAX_FILE_BYTES);
        // Most often there is none yet; it is worth no complaint.
        let text = text.unwrap_or_default();
        let addresses = text.lines().filter_map(|line| line.parse().ok()).filter(can_dial);
        let former = addresses.take(MAX_BROKERS * ADDRESSES_A_BROKER).collect();
        Self { brokers: BTreeMap::new(), former }
    }

    /// Takes what a broker that was dialled at `teller` says; says whether anything is new.
    pub(crate) fn learn(
        &mut self,
        cards: &[Verified<BrokerCard>],
        teller: &Multiaddr,
        now: Timestamp,
    ) -> bool {
        let mut is_new = false;
        for card in cards.iter().filter(|card| card.expires() > now) {
            let broker = card.signer();
            let addresses = of_use(card, reach(teller));
            let room = self.brokers.contains_key(&broker) || self.brokers.len() < MAX_BROKERS;
            if addresses.is_empty() || !room {
                continue;
            }
            is_new |= self.brokers.get(&broker) != Some(&addresses);
            self.brokers.insert(broker, addresses);
        }
        is_new
    }

    /// All addresses, the newest knowledge first.
    pub(crate) fn addresses(&self) -> Vec<Multiaddr> {
        let mut addresses: Vec<_> = self.brokers.values().flatten().cloned().collect();
        let former = self.former.iter().filter(|address| !addresses.contains(address));
        let former: Vec<_> = former.cloned().collect();
        addresses.extend(former);
        addresses.truncate(MAX_BROKERS * ADDRESSES_A_BROKER);
        addresses
    }

    /// Writes them to `file`, for the next process.
    pub(crate) fn save(&self, file: PathBuf) {
        let lines: String = self.addresses().iter().map(|address| format!("{address}\n")).collect();
        tokio::task::spawn_blocking(move || {
            if let Err(failure) = write_whole(&file, lines.as_bytes(), 0o644) {
                tracing::debug!(reason = %failure, "learned brokers not kept");
            }
        });
    }
}

/// Rule C60: the addresses by which the signer of `card` can be met by somebody whom a broker within
/// `reach` has told. TCP before all.
fn of_use(card: &Verified<BrokerCard>, within: Reach) -> Vec<Multiaddr> {
    let Some(id) = peer_key(card.signer()).peer_id_text() else { return Vec::new() };
    let end = format!("/p2p/{id}");
    let parsed = card.addresses.iter().filter(|address| address.ends_with(&end));
    let parsed = parsed.filter_map(|address| address.parse::<Multiaddr>().ok());
    let mut addresses: Vec<_> =
        parsed.filter(|address| can_dial(address) && reach(address) >= within).collect();
    addresses.sort_by_key(|address| {
        let transport = address.to_string();
        transport.contains("/udp/") || transport.contains("/ws")
    });
    addresses.truncate(ADDRESSES_A_BROKER);
    addresses
}

fn reach(address: &Multiaddr) -> Reach {
    match ip_in(address) {
        Some(ip) if ip.is_loopback() => Reach::Loopback,
        Some(ip) if is_private(ip) => Reach::Private,
        // A name is somebody's word that it leads to them.
        _ => Reach::Public,
    }
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            let shared_by_a_carrier = first == 100 && (64..128).contains(&second);
            shared_by_a_carrier
                || ip.is_private()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_broadcast()
        }
        IpAddr::V6(ip) => {
            ip.is_unique_local()
                || ip.is_unicast_link_local()
                || ip.is_unspecified()
                || ip.is_multicast()
        }
    }
}

#[cfg(test)]
mod tests {
    use capability::{SecretKey, Signer};

    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    /// A card of broker `of` with these addresses, completed with its own peer id.
    fn card(of: u8, addresses: &[&str]) -> Verified<BrokerCard> {
        let key = SecretKey::from_seed(&[of; 32]);
        let id = peer_key(key.public()).peer_id_text().expect("a real key");
        let addresses = addresses.iter().map(|it| format!("{it}/p2p/{id}")).collect();
        let expires = Timestamp(2_000);
        Verified::sign(BrokerCard { seq: 1, addresses, links: Vec::new(), expires }, &key)
    }

    fn learned(teller: &str, addresses: &[&str]) -> usize {
        let mut learned = Learned::default();
        let teller = teller.parse().expect("an address");
        learned.learn(&[card(1, addresses)], &teller, NOW);
        learned.addresses().len()
    }

    #[test]
    fn nobody_is_sent_to_doors_of_their_own_network_by_a_stranger() {
        let (public, private, loopback) =
            ("/ip4/192.0.2.1/tcp/1", "/ip4/192.168.0.1/tcp/1", "/ip4/127.0.0.1/tcp/1");
        for (teller, expected) in [(public, [1, 0, 0]), (private, [1, 1, 0]), (loopback, [1, 1, 1])]
        {
            let found = [public, private, loopback].map(|address| learned(teller, &[address]));
            assert_eq!(found, expected, "told by {teller}");
        }
        for door in ["/ip6/fe80::1", "/ip6/fd00::1", "/ip4/169.254.169.254", "/ip4/100.64.0.1"] {
            assert_eq!(learned(public, &[&format!("{door}/tcp/80")]), 0, "{door}");
        }
        assert_eq!(learned(public, &["/dns/broker.example/tcp/4077"]), 1);
        assert_eq!(learned(public, &["/ip6/::ffff:127.0.0.1/tcp/80"]), 0);
    }

    #[test]
    fn an_address_without_the_signers_key_is_passed_over() {
        let key = SecretKey::from_seed(&[1; 32]);
        let other = card(2, &["/ip4/192.0.2.1/tcp/1"]).addresses.clone();
        let addresses = vec!["/ip4/192.0.2.1/tcp/1".to_owned(), other[0].clone(), "?".to_owned()];
        let card = BrokerCard { seq: 1, addresses, links: Vec::new(), expires: Timestamp(2_000) };
        let teller = "/ip4/192.0.2.9/tcp/1".parse().expect("an address");
        let mut learned = Learned::default();
        assert!(!learned.learn(&[Verified::sign(card, &key)], &teller, NOW));
    }

    #[test]
    fn what_is_learned_is_bounded_and_tcp_comes_first() {
        let teller = "/ip4/192.0.2.9/tcp/1".parse().expect("an address");
        let many =
            ["/udp/1/quic-v1", "/tcp/2/ws", "/tcp/1"].map(|it| format!("/ip4/192.0.2.1{it}"));
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        let mut learned = Learned::default();
        for of in 1..=80 {
            learned.learn(&[card(of, &many)], &teller, NOW);
        }
        let addresses = learned.addresses();
        assert_eq!(addresses.len(), MAX_BROKERS * ADDRESSES_A_BROKER);
        assert!(addresses[0].to_string().starts_with("/ip4/192.0.2.1/tcp/1/p2p/"));
        assert!(!learned.learn(&[card(1, &many)], &teller, NOW), "that is known");
        assert!(!learned.learn(&[card(1, &["/tcp/9"])], &teller, Timestamp(2_000)), "expired");
    }

    #[tokio::test]
    async fn what_is_learned_outlives_the_process() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("brokers");
        let mut learned = Learned::load(&file);
        let teller = "/ip4/192.0.2.9/tcp/1".parse().expect("an address");
        learned.learn(&[card(1, &["/ip4/192.0.2.1/tcp/1"])], &teller, NOW);
        learned.save(file.clone());
        while !file.exists() {
            tokio::task::yield_now().await;
        }
        assert_eq!(Learned::load(&file).addresses(), learned.addresses());
    }
}
