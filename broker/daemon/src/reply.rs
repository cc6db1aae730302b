//! The duty to answer somebody, over the mesh or at the door.

use std::time::Duration;

use tokio::sync::oneshot;

/// Where an answer goes. Dropping it refuses the request, which the peer learns at once.
#[derive(Debug)]
pub enum Reply {
    /// Over the mesh.
    Mesh(mesh_net::Reply),
    /// To the handler of an HTTP request.
    Door(oneshot::Sender<Vec<u8>>),
}

impl Reply {
    /// Sends the answer's frame.
    pub fn send(self, frame: Vec<u8>) {
        match self {
            Self::Mesh(reply) => {
                if let Err(error) = reply.send(frame) {
                    tracing::debug!(%error, "an answer was not sent");
                }
            }
            Self::Door(answer) => {
                if answer.send(frame).is_err() {
                    tracing::debug!("a visitor did not wait for its answer");
                }
            }
        }
    }
}

/// In words, to whoever is over a limit.
pub fn come_again(wait: Duration) -> String {
    format!("that is over a limit; there is room again in {} ms", wait.as_millis().max(1))
}

impl From<mesh_net::Reply> for Reply {
    fn from(reply: mesh_net::Reply) -> Self {
        Self::Mesh(reply)
    }
}
