//! A broker that is asked for a package gets it from whoever has it, whatever others say.

use std::sync::Arc;

use capability::{BlobHash, PublicKey, SecretKey};
use mesh_net::{Config, Event, Role};
use mesh_shell::{BlobFailed, Clock, Link, Storage, public_key};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

/// Where a node pulls through from.
type Sources = Vec<(PublicKey, u64)>;

struct Node {
    link: Link,
    sources: watch::Sender<Option<Sources>>,
    listening: mpsc::UnboundedReceiver<String>,
    _directory: TempDir,
}

impl Node {
    async fn start(seed: u8, role: Role) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let key = Arc::new(SecretKey::from_seed(&[seed; 32]));
        let storage = Storage::open(directory.path(), 1 << 20).expect("opened");
        let mut config = Config::new(*key.seed(), role);
        if role == Role::Broker {
            config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")];
        }
        let (net, mut events) = mesh_net::start(config).await.expect("started");
        let link = Link::new(net, storage, key, Clock::new());
        let (sources, to_ask) = watch::channel(None);
        let (heard, listening) = mpsc::unbounded_channel();
        let serving = link.clone();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                match event {
                    Event::Listening { address } => drop(heard.send(address.to_string())),
                    Event::Blob(incoming) => {
                        let sources = to_ask.borrow().clone();
                        serving.serve_blob(incoming, sources).await;
                    }
                    _ => (),
                }
            }
        });
        Self { link, sources, listening, _directory: directory }
    }

    async fn dial(&self, address: &str) -> PublicKey {
        let address = address.parse().expect("an address");
        public_key(self.link.net().dial(address).await.expect("reached"))
    }

    fn store(&self, bytes: &[u8]) -> BlobHash {
        let mut writer = self.link.storage().blobs().create(1 << 10).expect("room");
        writer.append(bytes).expect("appended");
        let (hash, _) = writer.finish(None).expect("stored");
        BlobHash::from_bytes(*hash.as_bytes())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_lies_of_the_size_or_has_nothing_does_not_hide_the_others() {
    let mut broker = Node::start(1, Role::Broker).await;
    let address = broker.listening.recv().await.expect("it listens");
    let clients = [2, 3, 4].map(|seed| Node::start(seed, Role::Client));
    let [asker, liar, holder] =
        futures::future::join_all(clients).await.try_into().ok().expect("3");
    let mut at = None;
    for client in [&asker, &liar, &holder] {
        at = Some(client.dial(&address).await);
    }
    let at = at.expect("the broker's key");
    let hash = holder.store(b"package");
    let absent = asker.link.fetch(at, hash, 7).await;
    assert!(matches!(absent, Err(BlobFailed::There(_))), "{absent:?}");

    let (liar, holder) = (liar.link.key(), holder.link.key());
    let sources = vec![(holder, 1), (holder, 8), (liar, 7), (holder, 7)];
    broker.sources.send(Some(sources)).expect("it serves");
    asker.link.fetch(at, hash, 7).await.expect("pulled through");
}
