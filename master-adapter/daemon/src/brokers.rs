//! The brokers of the configuration: who they are, and staying connected to them.

use std::collections::BTreeSet;

use capability::{PublicKey, Timestamp};
use master_core::MAX_BROKERS;
use mesh_net::{Multiaddr, PeerKey};
use mesh_shell::{Clock, Dialer, Exit, Failure, Learning, Link, NetworkList, Outcome, public_key};

/// One broker.
#[derive(Debug, Clone, PartialEq)]
pub struct Broker {
    /// Its key, from the end of its address.
    pub key: PublicKey,
    /// Where it is.
    pub address: Multiaddr,
}

/// Reads the addresses of a home and its standbys.
pub fn parse(addresses: &[String]) -> Outcome<Vec<Broker>> {
    let mut brokers: Vec<Broker> = Vec::new();
    for text in addresses {
        let broker = parse_one(text)?;
        if brokers.iter().any(|known| known.key == broker.key) {
            let message = format!("the broker {text} is named twice");
            return Err(Failure::say(Exit::Usage, message));
        }
        brokers.push(broker);
    }
    if (1..=MAX_BROKERS).contains(&brokers.len()) {
        return Ok(brokers);
    }
    let message = format!("{} brokers are named, 1 to {MAX_BROKERS} are needed", brokers.len());
    Err(Failure::say(Exit::Usage, message)
        .hint("--broker /ip4/192.0.2.1/tcp/4077/p2p/12D3…; the first is the home, others stand by"))
}

fn parse_one(text: &str) -> Outcome<Broker> {
    let hint = "as in /ip4/192.0.2.1/tcp/4077/p2p/12D3…, which a broker prints when it starts";
    let address: Multiaddr = text.parse().map_err(|error| {
        let message = format!("`{text}` is not the address of a broker: {error}");
        Failure::say(Exit::Usage, message).hint(hint)
    })?;
    let key = PeerKey::in_address(&address).map(public_key).ok_or_else(|| {
        let message = format!("the address `{text}` does not end with the broker's peer id");
        Failure::say(Exit::Usage, message).hint(hint)
    })?;
    Ok(Broker { key, address })
}

/// Those that are `named`, or else brokers of the network's list: one address of each, in an order of
/// the node `me`'s own.
pub fn or_listed(
    named: Vec<Broker>,
    network: Option<&NetworkList>,
    me: PublicKey,
    now: Timestamp,
) -> Outcome<Vec<Broker>> {
    if !named.is_empty() {
        return Ok(named);
    }
    let mut brokers: Vec<Broker> = Vec::new();
    for (key, address) in network.iter().flat_map(|list| list.addresses(me, now)) {
        let is_known = brokers.iter().any(|known| known.key == key);
        if !is_known && brokers.len() < MAX_BROKERS {
            brokers.push(Broker { key, address });
        }
    }
    if brokers.is_empty() {
        return Err(Failure::say(Exit::Input, "no broker is named, and none is listed").hint(
            "name a broker with --broker, or a file with a list that holds in `network-list`",
        ));
    }
    Ok(brokers)
}

/// The brokers that the master talks to, and its connections to them.
#[derive(Debug)]
pub struct Brokers {
    configured: BTreeSet<PublicKey>,
    dialer: Dialer,
}

impl Brokers {
    /// Dials `brokers` whenever they are not connected, also where `network` lists them.
    pub fn dial(
        brokers: &[Broker],
        network: Option<NetworkList>,
        link: Link,
        clock: Clock,
    ) -> Self {
        // A master's home is one broker and no other: of that, new addresses are learned.
        let of: Vec<_> = brokers.iter().map(|broker| broker.key).collect();
        let configured = of.iter().copied().collect();
        let mut dialer = Dialer::new(link, clock, brokers.len(), Learning::Of(of), network);
        dialer.want(brokers.iter().map(|broker| broker.address.clone()));
        Self { configured, dialer }
    }

    /// Whether `peer` is one of them.
    pub fn has(&self, peer: PublicKey) -> bool {
        self.configured.contains(&peer)
    }

    /// `peer`, one of them, is connected at `address`.
    pub fn up(&self, peer: PublicKey, address: Multiaddr) {
        self.dialer.up(peer, address);
    }

    /// `peer`, one of them, is no longer connected.
    pub fn down(&self, peer: PublicKey) {
        self.dialer.down(peer);
    }
}

#[cfg(test)]
mod tests {
    use capability::{SecretKey, Signer};
    use mesh_shell::peer_key;

    use super::*;

    fn address(seed: u8) -> (PublicKey, String) {
        let key = SecretKey::from_seed(&[seed; 32]).public();
        let id = peer_key(key).peer_id_text().expect("a key of ours has an id");
        (key, format!("/ip4/127.0.0.1/tcp/4077/p2p/{id}"))
    }

    #[test]
    fn a_broker_is_known_by_the_key_in_its_address() {
        let ((one, home), (other, standby)) = (address(1), address(2));
        let brokers = parse(&[home, standby]).expect("addresses");
        assert_eq!(brokers.iter().map(|broker| broker.key).collect::<Vec<_>>(), [one, other]);
    }

    #[test]
    fn addresses_that_name_nobody_or_somebody_twice_are_refused() {
        let (_, home) = address(1);
        let nobody = "/ip4/127.0.0.1/tcp/4077".to_owned();
        for wrong in [vec![], vec![nobody], vec!["broker".into()], vec![home.clone(), home]] {
            let failure = parse(&wrong).expect_err("refused");
            assert_eq!(failure.exit(), Exit::Usage, "{failure}");
        }
    }
}
