//! Keeps connections to brokers: the shell around [`WarmBrokers`].
//!
//! Brokers that are met are asked for others, so that no list of addresses is ever the only one, and for
//! the newest list of the network's founder.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use capability::statements::{BrokerCard, Network};
use capability::{PublicKey, Verified};
use mesh_core::{Answer, Ask, Mono, Patience, Random, WarmBrokers};
use mesh_net::{DialError, Multiaddr, can_dial};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::learned::{Learned, Learning};
use crate::link::{Link, chain, public_key};
use crate::network::NetworkList;

/// When brokers that stay connected are asked for others again: soon, since one that has just started
/// knows nobody yet, then more and more seldom.
const ASK_AGAIN: Duration = Duration::from_secs(4);
const ASK_SELDOM: Duration = Duration::from_secs(60 * 60);

/// How often it is looked whether a file with the network's list has changed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Dials the brokers that are wanted, in a task of its own, until it is dropped.
#[derive(Debug)]
pub struct Dialer {
    /// Not bounded: there is a word for each change of connections, which the network bounds.
    told: mpsc::UnboundedSender<Told>,
    /// How many addresses are known that can be dialled.
    known: Arc<AtomicUsize>,
    /// Those of which it was said that they cannot.
    useless: BTreeSet<String>,
}

#[derive(Debug)]
enum Told {
    Places(Vec<Multiaddr>),
    Up(PublicKey, Multiaddr),
    Down(PublicKey),
}

/// What a broker has told.
struct Heard {
    teller: PublicKey,
    /// Where it was dialled.
    address: Multiaddr,
    cards: Vec<Verified<BrokerCard>>,
    network: Option<Verified<Network>>,
}

type Dialled = (String, Result<PublicKey, DialError>);

struct Task {
    link: Link,
    clock: Clock,
    learning: Learning,
    warm: WarmBrokers,
    /// Those that the program named.
    wanted: Vec<Multiaddr>,
    learned: Learned,
    network: Option<NetworkList>,
    known: Arc<AtomicUsize>,
    addresses: BTreeMap<String, Multiaddr>,
    /// Brokers that are connected, and where they were dialled.
    up: BTreeMap<PublicKey, Multiaddr>,
    asked: JoinSet<Option<Heard>>,
    patience: Patience,
    random: Random,
    ask_again: Mono,
    /// Addresses of which it was said that nobody answers there.
    named: BTreeSet<String>,
    dials: JoinSet<Dialled>,
}

impl Dialer {
    /// Keeps up to `wanted` brokers warm, and learns of others, also of those in the list of its
    /// `network`. Dials nobody yet.
    pub fn new(
        link: Link,
        clock: Clock,
        wanted: usize,
        learning: Learning,
        network: Option<NetworkList>,
    ) -> Self {
        let (told, hears) = mpsc::unbounded_channel();
        let known = Arc::new(AtomicUsize::new(0));
        let task = Task {
            learned: match &learning {
                Learning::Any { file } => Learned::load(file),
                Learning::Of(_) | Learning::Nothing => Learned::default(),
            },
            learning,
            network,
            known: Arc::clone(&known),
            warm: WarmBrokers::new(wanted, random_seed()),
            link,
            patience: Patience::default(),
            random: Random::new(random_seed()),
            ask_again: clock.now().mono,
            clock,
            wanted: Vec::new(),
            addresses: BTreeMap::new(),
            up: BTreeMap::new(),
            asked: JoinSet::new(),
            named: BTreeSet::new(),
            dials: JoinSet::new(),
        };
        tokio::spawn(task.run(hears));
        Self { told, known, useless: BTreeSet::new() }
    }

    /// From now on these addresses are dialled, best first, those of the network's list and learned ones
    /// after them; but none that cannot be dialled. Connections that stand are kept.
    pub fn want(&mut self, addresses: impl IntoIterator<Item = Multiaddr>) {
        let (useful, useless): (Vec<_>, Vec<_>) = addresses.into_iter().partition(can_dial);
        let useless: BTreeSet<_> = useless.iter().map(ToString::to_string).collect();
        for address in useless.difference(&self.useless) {
            let reason = "no transport of this program reaches it";
            tracing::warn!(address, reason, "broker address of no use");
        }
        self.useless = useless;
        self.known.fetch_max(useful.len(), Ordering::Relaxed);
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

    /// How many addresses are known that can be dialled.
    pub fn addresses(&self) -> usize {
        self.known.load(Ordering::Relaxed)
    }

    fn tell(&self, told: Told) {
        // The task ends after this handle does, or with the whole runtime.
        drop(self.told.send(told));
    }
}

impl Task {
    async fn run(mut self, mut hears: mpsc::UnboundedReceiver<Told>) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            self.dial();
            self.ask_around_when_due();
            let wake =
                self.warm.next_wake().map_or(self.ask_again, |wake| wake.min(self.ask_again));
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
                    if let Ok(Some(heard)) = heard {
                        self.learn(heard);
                    }
                }
                _ = look.tick(), if self.network.is_some() => self.look(),
                () = self.clock.sleep_until(Some(wake)) => {}
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
                let before = self.ask_again;
                self.patience = Patience::default();
                self.wait_to_ask_again();
                // Whoever comes and goes does not put it off.
                self.ask_again = self.ask_again.min(before);
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
        let (me, now) = (self.link.key(), self.clock.now().wall);
        let listed = self.network.iter().flat_map(|list| list.addresses(me, now));
        let listed = listed.filter(|(broker, _)| self.learning.is_about(*broker));
        let mut places = self.wanted.clone();
        places.extend(listed.map(|(_, address)| address));
        places.extend(self.learned.addresses());
        self.known.store(places.len(), Ordering::Relaxed);
        self.warm.set_places(places.iter().map(ToString::to_string));
        self.addresses = places.into_iter().map(|place| (place.to_string(), place)).collect();
    }

    fn ask_around_when_due(&mut self) {
        if self.ask_again <= self.clock.now().mono {
            self.ask_around();
            self.wait_to_ask_again();
        }
    }

    fn wait_to_ask_again(&mut self) {
        let wait = self.patience.lose(ASK_AGAIN, ASK_SELDOM, &mut self.random);
        self.ask_again = self.clock.now().mono + wait;
    }

    fn ask_around(&mut self) {
        for (peer, address) in self.up.clone() {
            self.ask(peer, address);
        }
    }

    fn ask(&mut self, peer: PublicKey, address: Multiaddr) {
        let network = self.network.as_ref().map(NetworkList::founder);
        let of = match &self.learning {
            learning if !learning.is_asked() && network.is_none() => return,
            Learning::Of(brokers) => brokers.clone(),
            Learning::Nothing | Learning::Any { .. } => Vec::new(),
        };
        let link = self.link.clone();
        self.asked.spawn(async move {
            match link.ask(peer, &Ask::Brokers { of, network }).await {
                Ok(Answer::Brokers { cards, network }) => {
                    Some(Heard { teller: peer, address, cards, network })
                }
                // An older broker does not know the question.
                _ => None,
            }
        });
    }

    fn learn(&mut self, heard: Heard) {
        let Heard { teller, address, mut cards, network } = heard;
        let now = self.clock.now().wall;
        let listed = self.network.as_mut().zip(network);
        let mut is_news = listed.is_some_and(|(known, list)| known.hear(list, teller, now));
        let learning = &self.learning;
        cards.retain(|card| learning.is_asked() && learning.is_about(card.signer()));
        if self.learned.learn(&cards, &address, now) {
            is_news = true;
            if let Learning::Any { file } = &self.learning {
                self.learned.save(file.clone());
            }
        }
        if is_news {
            self.set_places();
        }
    }

    fn look(&mut self) {
        let now = self.clock.now().wall;
        if self.network.as_mut().is_some_and(|list| list.look(now)) {
            self.set_places();
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
