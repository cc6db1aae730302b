//! Keeps connections to brokers: the shell around [`WarmBrokers`].
//!
//! Brokers that are met are asked for others, so that no list of addresses is ever the only one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::statements::BrokerCard;
use capability::{PublicKey, Verified};
use mesh_core::{Answer, Ask, WarmBrokers};
use mesh_net::{DialError, Multiaddr, can_dial};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::learned::{Learned, Learning};
use crate::link::{Link, chain, public_key};

/// How often brokers that stay connected are asked for others.
const ASK_EVERY: Duration = Duration::from_secs(60 * 60);

/// Dials the brokers that are wanted, in a task of its own, until it is dropped.
#[derive(Debug)]
pub struct Dialer {
    /// Not bounded: there is a word for each change of connections, which the network bounds.
    told: mpsc::UnboundedSender<Told>,
    /// Addresses that can be dialled.
    addresses: usize,
    /// Those of which it was said that they cannot.
    useless: BTreeSet<String>,
}

#[derive(Debug)]
enum Told {
    Places(Vec<Multiaddr>),
    Up(PublicKey, Multiaddr),
    Down(PublicKey),
}

/// Cards, and the address at which their teller was dialled.
type Heard = (Multiaddr, Vec<Verified<BrokerCard>>);

type Dialled = (String, Result<PublicKey, DialError>);

struct Task {
    link: Link,
    clock: Clock,
    learning: Learning,
    warm: WarmBrokers,
    /// Those that the program named.
    wanted: Vec<Multiaddr>,
    learned: Learned,
    addresses: BTreeMap<String, Multiaddr>,
    /// Brokers that are connected, and where they were dialled.
    up: BTreeMap<PublicKey, Multiaddr>,
    asked: JoinSet<Option<Heard>>,
    /// Addresses of which it was said that nobody answers there.
    named: BTreeSet<String>,
    dials: JoinSet<Dialled>,
}

impl Dialer {
    /// Keeps up to `wanted` brokers warm, and learns of others; dials nobody yet.
    pub fn new(link: Link, clock: Clock, wanted: usize, learning: Learning) -> Self {
        let (told, hears) = mpsc::unbounded_channel();
        let task = Task {
            learned: match &learning {
                Learning::Any { file } => Learned::load(file),
                Learning::Of(_) | Learning::Nothing => Learned::default(),
            },
            learning,
            warm: WarmBrokers::new(wanted, random_seed()),
            link,
            clock,
            wanted: Vec::new(),
            addresses: BTreeMap::new(),
            up: BTreeMap::new(),
            asked: JoinSet::new(),
            named: BTreeSet::new(),
            dials: JoinSet::new(),
        };
        tokio::spawn(task.run(hears));
        Self { told, addresses: 0, useless: BTreeSet::new() }
    }

    /// From now on these addresses are dialled, best first, and learned ones after them; but none
    /// that cannot be dialled. Connections that stand are kept.
    pub fn want(&mut self, addresses: impl IntoIterator<Item = Multiaddr>) {
        let (useful, useless): (Vec<_>, Vec<_>) = addresses.into_iter().partition(can_dial);
        let useless: BTreeSet<_> = useless.iter().map(ToString::to_string).collect();
        for address in useless.difference(&self.useless) {
            let reason = "no transport of this program reaches it";
            tracing::warn!(address, reason, "broker address of no use");
        }
        (self.useless, self.addresses) = (useless, useful.len());
        self.tell(Told::Places(useful));
    }

    /// `peer` is connected, at `address`.
    pub fn up(&self, peer: PublicKey, address: Multiaddr) {
        self.tell(Told::Up(peer, address));
    }

    /// `peer` is no longer connected.
    pub fn down(&self, peer: PublicKey) {
        self.tell(Told::Down(peer));
    }

    /// How many addresses can be dialled.
    pub fn addresses(&self) -> usize {
        self.addresses
    }

    fn tell(&self, told: Told) {
        // The task ends after this handle does, or with the whole runtime.
        drop(self.told.send(told));
    }
}

impl Task {
    async fn run(mut self, mut hears: mpsc::UnboundedReceiver<Told>) {
        let mut again = tokio::time::interval(ASK_EVERY);
        loop {
            self.dial();
            let wake = self.warm.next_wake();
            tokio::select! {
                told = hears.recv() => match told {
                    Some(told) => self.hear(told),
                    None => return,
                },
                Some(dialled) = self.dials.join_next() => {
                    if let Ok((address, outcome)) = dialled {
                        self.dialled(&address, outcome);
                    }
                }
                Some(heard) = self.asked.join_next() => {
                    if let Ok(Some((teller, cards))) = heard {
                        self.learn(&teller, cards);
                    }
                }
                _ = again.tick() => self.ask_around(),
                () = self.clock.sleep_until(wake), if wake.is_some() => {}
            }
        }
    }

    fn hear(&mut self, told: Told) {
        match told {
            Told::Places(addresses) => {
                self.wanted = addresses;
                self.set_places();
            }
            Told::Up(peer, address) => {
                self.warm.up(peer);
                self.up.insert(peer, address.clone());
                self.ask(peer, address);
            }
            Told::Down(peer) => {
                self.warm.down(peer, self.clock.now().mono);
                self.up.remove(&peer);
                // It may have moved.
                if matches!(&self.learning, Learning::Of(brokers) if brokers.contains(&peer)) {
                    self.ask_around();
                }
            }
        }
    }

    fn set_places(&mut self) {
        let places: Vec<_> = self.wanted.iter().cloned().chain(self.learned.addresses()).collect();
        self.warm.set_places(places.iter().map(ToString::to_string));
        self.addresses = places.into_iter().map(|place| (place.to_string(), place)).collect();
    }

    fn ask_around(&mut self) {
        for (peer, address) in self.up.clone() {
            self.ask(peer, address);
        }
    }

    fn ask(&mut self, peer: PublicKey, address: Multiaddr) {
        let of = match &self.learning {
            Learning::Nothing => return,
            Learning::Of(brokers) => brokers.clone(),
            Learning::Any { .. } => Vec::new(),
        };
        let link = self.link.clone();
        self.asked.spawn(async move {
            match link.ask(peer, &Ask::Brokers { of }).await {
                Ok(Answer::Brokers(cards)) => Some((address, cards)),
                // An older broker does not know the question.
                _ => None,
            }
        });
    }

    fn learn(&mut self, teller: &Multiaddr, mut cards: Vec<Verified<BrokerCard>>) {
        if let Learning::Of(brokers) = &self.learning {
            cards.retain(|card| brokers.contains(&card.signer()));
        }
        if !self.learned.learn(&cards, teller, self.clock.now().wall) {
            return;
        }
        self.set_places();
        if let Learning::Any { file } = &self.learning {
            self.learned.save(file.clone());
        }
    }

    fn dial(&mut self) {
        for name in self.warm.to_dial(self.clock.now().mono) {
            let Some(address) = self.addresses.get(&name).cloned() else { continue };
            let net = self.link.net().clone();
            self.dials.spawn(async move { (name, net.dial(address).await.map(public_key)) });
        }
    }

    fn dialled(&mut self, address: &str, outcome: Result<PublicKey, DialError>) {
        match &outcome {
            Ok(_) => drop(self.named.remove(address)),
            Err(error) => {
                let reason = chain(error);
                if self.named.insert(address.to_owned()) {
                    tracing::warn!(address, reason, "broker not reached, trying on");
                } else {
                    tracing::debug!(address, reason, "broker not reached");
                }
            }
        }
        self.warm.dialled(address, outcome.ok(), self.clock.now().mono);
    }
}

/// A number that differs from process to process, for choices by chance.
pub fn random_seed() -> u64 {
    getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()))
}
