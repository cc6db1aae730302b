//! Follows the list of brokers of the network that the operator names: in files, and by asking the
//! brokers that this one dials. The core is told of each newer list.

use std::time::Duration;

use broker_core::Input;
use capability::statements::Network;
use capability::{PublicKey, Verified};
use mesh_core::{Answer, Ask};
use mesh_net::Direction;
use mesh_shell::{Clock, Link, NetworkList, public_key};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How often it is looked whether a file has changed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often brokers that stay connected are asked.
const ASK_EVERY: Duration = Duration::from_secs(60 * 60);

/// The broker that was asked, and its list.
type Heard = (PublicKey, Verified<Network>);

/// The handle of the task that follows a list. It ends when this is dropped.
#[derive(Debug)]
pub struct Following {
    met: mpsc::UnboundedSender<PublicKey>,
}

impl Following {
    /// Follows `list`; what becomes of it goes to `inputs`.
    pub fn start(
        list: NetworkList,
        link: Link,
        clock: Clock,
        inputs: mpsc::UnboundedSender<Input>,
    ) -> Self {
        // Not bounded: the network bounds how often brokers are dialled.
        let (met, meets) = mpsc::unbounded_channel();
        let task = Task { list, link, clock, inputs, asked: JoinSet::new() };
        tokio::spawn(task.run(meets));
        Self { met }
    }

    /// A broker that was dialled is connected.
    pub fn met(&self, broker: PublicKey) {
        // The task ends after this handle does, or with the whole runtime.
        let _ = self.met.send(broker);
    }
}

struct Task {
    list: NetworkList,
    link: Link,
    clock: Clock,
    inputs: mpsc::UnboundedSender<Input>,
    asked: JoinSet<Option<Heard>>,
}

impl Task {
    async fn run(mut self, mut meets: mpsc::UnboundedReceiver<PublicKey>) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut again = tokio::time::interval(ASK_EVERY);
        self.tell();
        loop {
            let is_news = tokio::select! {
                met = meets.recv() => match met {
                    Some(broker) => { self.ask(broker); false }
                    None => return,
                },
                Some(heard) = self.asked.join_next() => match heard {
                    Ok(Some((from, list))) => self.list.hear(list, from, self.clock.now().wall),
                    _ => false,
                },
                _ = look.tick() => self.list.look(self.clock.now().wall),
                _ = again.tick() => { self.ask_all().await; false }
            };
            if is_news {
                self.tell();
            }
        }
    }

    fn tell(&self) {
        // The loop may be over.
        drop(self.inputs.send(Input::Network(self.list.listing().clone())));
    }

    async fn ask_all(&mut self) {
        let peers = self.link.net().peers().await;
        let dialled = peers.iter().filter(|peer| peer.direction == Direction::Outbound);
        dialled.for_each(|peer| self.ask(public_key(peer.key)));
    }

    fn ask(&mut self, broker: PublicKey) {
        let (link, network) = (self.link.clone(), Some(self.list.founder()));
        self.asked.spawn(async move {
            match link.ask(broker, &Ask::Brokers { of: Vec::new(), network }).await {
                Ok(Answer::Brokers { network: Some(list), .. }) => Some((broker, list)),
                // It knows none, or not the question.
                _ => None,
            }
        });
    }
}
