//! Keeps connections to brokers: the shell around [`WarmBrokers`].

use std::collections::{BTreeMap, BTreeSet};

use capability::PublicKey;
use mesh_core::WarmBrokers;
use mesh_net::{DialError, Multiaddr, Net, can_dial};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::link::{chain, public_key};

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
    Up(PublicKey),
    Down(PublicKey),
}

type Dialled = (String, Result<PublicKey, DialError>);

struct Task {
    net: Net,
    clock: Clock,
    warm: WarmBrokers,
    addresses: BTreeMap<String, Multiaddr>,
    /// Addresses of which it was said that nobody answers there.
    named: BTreeSet<String>,
    dials: JoinSet<Dialled>,
}

impl Dialer {
    /// Keeps up to `wanted` brokers warm; dials nobody yet.
    pub fn new(net: Net, clock: Clock, wanted: usize) -> Self {
        let (told, hears) = mpsc::unbounded_channel();
        let task = Task {
            warm: WarmBrokers::new(wanted, random_seed()),
            net,
            clock,
            addresses: BTreeMap::new(),
            named: BTreeSet::new(),
            dials: JoinSet::new(),
        };
        tokio::spawn(task.run(hears));
        Self { told, addresses: 0, useless: BTreeSet::new() }
    }

    /// From now on these addresses are dialled, best first, and no others; nor those that cannot be
    /// dialled. Connections that stand are kept.
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

    /// `peer` is connected.
    pub fn up(&self, peer: PublicKey) {
        self.tell(Told::Up(peer));
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
                () = self.clock.sleep_until(wake), if wake.is_some() => {}
            }
        }
    }

    fn hear(&mut self, told: Told) {
        match told {
            Told::Places(addresses) => {
                self.warm.set_places(addresses.iter().map(ToString::to_string));
                let named = addresses.into_iter().map(|address| (address.to_string(), address));
                self.addresses = named.collect();
            }
            Told::Up(peer) => self.warm.up(peer),
            Told::Down(peer) => self.warm.down(peer, self.clock.now().mono),
        }
    }

    fn dial(&mut self) {
        for name in self.warm.to_dial(self.clock.now().mono) {
            let Some(address) = self.addresses.get(&name).cloned() else { continue };
            let net = self.net.clone();
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
