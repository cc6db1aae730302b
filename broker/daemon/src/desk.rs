//! How the HTTP face asks the event loop, which alone has the broker.

use broker_core::Broker;
use tokio::sync::{mpsc, oneshot};

/// Questions that wait for the event loop.
const QUEUE: usize = 16;

/// What somebody wants to know, to be called with the broker between two of its inputs.
pub type Look = Box<dyn FnOnce(&Broker) + Send>;

/// Where questions are left; clones share it.
#[derive(Clone)]
pub struct Desk {
    looks: mpsc::Sender<Look>,
}

impl Desk {
    /// A desk, and what the event loop takes from it.
    pub fn open() -> (Self, mpsc::Receiver<Look>) {
        let (looks, taken) = mpsc::channel(QUEUE);
        (Self { looks }, taken)
    }

    /// What `look` makes of the broker; nothing once that is ending. The broker waits for it, so it
    /// looks at a page and not at everything.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Broker) -> T + Send + 'static,
    ) -> Option<T> {
        let (reader, answer) = oneshot::channel();
        // A reader that has gone away needs no answer.
        let look = move |broker: &Broker| drop(reader.send(look(broker)));
        self.looks.send(Box::new(look)).await.ok()?;
        answer.await.ok()
    }
}
