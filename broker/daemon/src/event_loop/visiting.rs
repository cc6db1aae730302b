//! Those who come through the door: the one place where each of their requests is let in.

use broker_core::Input;

use super::EventLoop;
use crate::door::{Knock, Unwelcome, Wish};
use crate::reply::Reply;

impl EventLoop {
    /// Lets a visitor in, whose request has been checked, and answers as over the mesh. What is
    /// charged by key or by address is charged here.
    pub(super) async fn on_knock(&mut self, knock: Knock) {
        let Knock { peer, origin, wish } = knock;
        let Some(wish) = self.past_toll_at_door(peer, origin.address(), wish) else { return };
        match self.presence.visited(peer, origin, self.clock.now().mono) {
            Ok(Some(came)) => {
                tracing::debug!(peer = peer.short(), "visitor came");
                self.give(came).await;
            }
            Ok(None) => (),
            // Dropping the wish refuses it.
            Err(crowded) => return tracing::debug!(peer = peer.short(), %crowded, "turned away"),
        }
        match wish {
            Wish::Ask { ask, answer } => self.asked(peer, ask, Reply::Door(answer)).await,
            Wish::Custody { frame, answer } => {
                self.on_handover(peer, &frame, Reply::Door(answer)).await;
            }
            // A visitor that has given up needs no answer.
            Wish::Enter { answer } => drop(answer.send(())),
            Wish::Sources { hash, limit, answer } => {
                let why = self.broker.against_serving(peer, hash);
                let sources = || self.broker.blob_sources(hash, peer, limit);
                drop(
                    answer.send(why.map_or_else(|| Ok(sources()), |why| Err(Unwelcome::Ever(why)))),
                );
            }
            Wish::Bring { hash, answer, .. } => {
                let why = self.against_taking(hash);
                drop(answer.send(why.map_or(Ok(()), |why| Err(Unwelcome::Ever(why)))));
            }
        }
    }

    /// Gives up the visitors that have been silent for too long.
    pub(super) async fn see_off(&mut self) {
        for peer in self.presence.gone(self.clock.now().mono) {
            tracing::debug!(peer = peer.short(), "visitor gone");
            self.lobby.mailboxes.close(peer);
            if !self.presence.is_connected(peer) {
                self.give(Input::PeerDown { peer }).await;
            }
        }
    }
}
