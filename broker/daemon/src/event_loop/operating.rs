//! What the operator orders: to the core, and what the core makes of it outside.

use broker_core::{Disobeyed, Input, Operation, Order, Whom};
use capability::BlobHash;
use ipnet::IpNet;
use mesh_core::ReplyId;
use mesh_shell::peer_key;
use tokio::sync::oneshot;

use super::{EventLoop, blob_name};

/// An order, and where its outcome goes.
pub type Ordered = (Order, oneshot::Sender<Result<(), Disobeyed>>);

impl EventLoop {
    /// Turns away whom a former process was told to.
    pub(super) async fn turn_away_as_before(&mut self) {
        let before: Vec<Whom> = self.broker.turned_away().cloned().collect();
        for whom in before {
            self.shut(&whom).await;
        }
    }

    pub(super) async fn order(&mut self, (order, outcome): Ordered) {
        let id = ReplyId(self.next_id());
        self.orders.insert(id, outcome);
        self.give(Input::Order { order, reply: id }).await;
    }

    pub(super) fn obeyed(&mut self, id: ReplyId, outcome: Result<(), Disobeyed>) {
        if self.orders.remove(&id).is_some_and(|asked| asked.send(outcome).is_err()) {
            tracing::debug!("whoever gave an order did not wait for its end");
        }
        self.show_readiness();
    }

    pub(super) async fn shut(&mut self, whom: &Whom) {
        match whom {
            Whom::Key(key) => self.link.net().block(peer_key(*key)).await,
            Whom::Range(range) => {
                if let Some(range) = parsed(range) {
                    self.origins.block(range);
                    self.disconnect_blocked().await;
                }
            }
        }
    }

    pub(super) async fn open(&mut self, whom: &Whom) {
        match whom {
            Whom::Key(key) => self.link.net().unblock(peer_key(*key)).await,
            Whom::Range(range) => {
                if let Some(range) = parsed(range) {
                    self.origins.unblock(range);
                }
            }
        }
    }

    async fn disconnect_blocked(&self) {
        let net = self.link.net();
        for peer in net.peers().await {
            if peer.addresses.iter().any(|address| self.origins.is_blocked(address)) {
                net.disconnect(peer.key).await;
            }
        }
    }

    pub(super) fn remove_blob(&self, hash: BlobHash) {
        let storage = self.link.storage().clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = storage.blobs().remove(&blob_name(hash)) {
                tracing::warn!(%hash, %error, "a blob that was taken down is still here");
            }
        });
    }

    /// Carries out what the core makes of an order.
    pub(super) async fn operate(&mut self, operation: Operation) {
        match operation {
            Operation::Obeyed { reply, outcome } => self.obeyed(reply, outcome),
            Operation::Shut(whom) => self.shut(&whom).await,
            Operation::Open(whom) => self.open(&whom).await,
            Operation::Disconnect(peer) => self.link.net().disconnect(peer_key(peer)).await,
            Operation::RemoveBlob(hash) => self.remove_blob(hash),
            Operation::Drained => self.is_drained = true,
        }
    }
}

/// It was checked when it was ordered.
fn parsed(range: &str) -> Option<IpNet> {
    let parsed = range.parse();
    if parsed.is_err() {
        tracing::warn!(range, "a blocked range that this version cannot read");
    }
    parsed.ok()
}
