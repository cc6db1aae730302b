//! The door: what volunteers and masters say over libp2p, over plain HTTP (docs/spec/door.md).
//!
//! A **visitor** is a peer that comes through the door. Each of its requests proves by itself who
//! asks (C31): a signed request as the body, or a [`Pass`] in a header. So the transport needs no
//! trust, and may be a proxy's. For the core a visitor is a peer like another: it is up from its
//! first request on ([`Presence`](crate::presence::Presence)), down when it has been silent for a
//! while, and what is handed over to it waits in its [mailbox](mailboxes) until it collects it.
//!
//! A request's life: [`serve()`] takes a connection, within bounds for each address; [`origin`] says
//! whose address counts; a handler in [`frames`] or [`blobs`] reads the body, bounded in size and
//! time, checks the proof, and sends a [`Knock`] to the event loop, which answers as it would over
//! the mesh. Signatures are checked here, beside the loop.

mod blobs;
mod denial;
mod frames;
mod mailboxes;
mod origin;
mod places;
mod range;
mod serve;
mod steady;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, header};
use axum::middleware;
use axum::routing::{get, post};
use capability::statements::Request;
use capability::{BlobHash, Ed25519, PublicKey, Verified};
use data_encoding::BASE64URL_NOPAD;
use mesh_core::{Ask, Pass, RequestError, check_request};
use mesh_shell::{Clock, Link, chain};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::guard::Guard;
use denial::Denial;
use places::Places;

pub use mailboxes::Mailboxes;
pub use origin::Origin;
pub use serve::serve;

/// Visitors' requests that wait for the event loop.
pub const KNOCK_QUEUE: usize = 256;

/// How long an answer may take: a call over several brokers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(75);

/// What bodies may hold while they arrive and until they are answered.
const BODY_BYTES: usize = 64 << 20;

/// Requests under way in all and of one origin, behind a proxy too.
const MAX_REQUESTS: usize = 4096;
const MAX_REQUESTS_AN_ORIGIN: usize = 128;

/// Blobs that move at a time in all and to or from one peer, as over the mesh.
const MAX_BLOBS: usize = 128;
const MAX_BLOBS_A_PEER: usize = 8;

/// Characters of a pass in a header; the longest has some 400.
const MAX_PASS: usize = 2048;

/// What a visitor wants of the event loop, once it has proved who it is.
#[derive(Debug)]
pub struct Knock {
    /// Who.
    pub peer: PublicKey,
    /// From where; never logged above DEBUG, nor told to others.
    pub origin: Origin,
    /// What.
    pub wish: Wish,
}

/// See [`Knock`]. Dropping the sender of an answer refuses the request.
#[derive(Debug)]
pub enum Wish {
    /// An answer.
    Ask {
        /// To what.
        ask: Ask,
        /// The frame of the answer.
        answer: oneshot::Sender<Vec<u8>>,
    },
    /// That bundles are taken into custody.
    Custody {
        /// The frame.
        frame: Vec<u8>,
        /// The frame of the answer.
        answer: oneshot::Sender<Vec<u8>>,
    },
    /// To be let in, for something that the loop need not know.
    Enter {
        /// Yes.
        answer: oneshot::Sender<()>,
    },
    /// To know where a blob may be that is not here.
    Sources {
        /// Which.
        hash: BlobHash,
        /// The most bytes that the visitor takes.
        limit: u64,
        /// Peers, and the blob's size according to each.
        answer: oneshot::Sender<Result<Vec<(PublicKey, u64)>, Unwelcome>>,
    },
    /// To bring a blob, or a piece of it.
    Bring {
        /// Which.
        hash: BlobHash,
        /// Bytes that are to come now.
        bytes: u64,
        /// Yes, or why not.
        answer: oneshot::Sender<Result<(), Unwelcome>>,
    },
}

/// A blob is not given, or not taken.
#[derive(Debug)]
pub enum Unwelcome {
    /// Not this one, or not this visitor, and why.
    Ever(String),
    /// Not before so long.
    Before(Duration),
}

/// What the door and the event loop share; so do clones.
#[derive(Debug, Clone)]
pub struct Lobby {
    /// Requests that were taken.
    pub guard: Guard,
    /// What visitors may collect.
    pub mailboxes: Mailboxes,
}

/// What all requests through the door share.
#[derive(Clone)]
pub struct Door(Arc<Shared>);

struct Shared {
    link: Link,
    clock: Clock,
    lobby: Lobby,
    knocks: mpsc::Sender<Knock>,
    /// Whose word counts about where a request came from.
    proxies: Vec<IpAddr>,
    bodies: Arc<Semaphore>,
    requests: Places<Origin>,
    blobs: Places<PublicKey>,
}

impl Door {
    /// The door of the broker with `link`; `knocks` leads to its event loop.
    pub fn new(
        link: Link,
        clock: Clock,
        lobby: Lobby,
        knocks: mpsc::Sender<Knock>,
        proxies: Vec<IpAddr>,
    ) -> Self {
        Self(Arc::new(Shared {
            link,
            clock,
            lobby,
            knocks,
            proxies,
            bodies: Arc::new(Semaphore::new(BODY_BYTES)),
            requests: Places::new(MAX_REQUESTS, MAX_REQUESTS_AN_ORIGIN),
            blobs: Places::new(MAX_BLOBS, MAX_BLOBS_A_PEER),
        }))
    }

    /// What the door answers.
    fn routes(&self) -> Router {
        let blob = get(blobs::get).head(blobs::head).put(blobs::put);
        Router::new()
            .route("/talkoot/1/door", get(frames::introduce))
            .route("/talkoot/1/call", post(frames::call))
            .route("/talkoot/1/custody", post(frames::custody))
            .route("/talkoot/1/collect", post(frames::collect))
            .route("/talkoot/1/blob/{hash}", blob)
            .fallback(|| async { Denial::not_here() })
            .layer(middleware::from_fn_with_state(self.clone(), origin::admit))
            .with_state(self.clone())
    }

    /// Checks a request and takes it, once (C31).
    fn take(&self, request: &[u8]) -> Result<Verified<Request>, RequestError> {
        let now = self.0.clock.now().wall;
        let request = check_request(request, self.0.link.key(), now, &Ed25519)?;
        self.0.lobby.guard.take(&request, now)?;
        Ok(request)
    }

    /// Who shows a pass in the headers, and for what (C32).
    fn pass_in(&self, headers: &HeaderMap) -> Result<(PublicKey, Pass), Denial> {
        let shown = headers.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok());
        let pass = shown.and_then(|it| it.strip_prefix("Talkoot ")).ok_or_else(Denial::no_pass)?;
        if pass.len() > MAX_PASS {
            return Err(Denial::wrong_pass("it is too long"));
        }
        let request = BASE64URL_NOPAD.decode(pass.as_bytes());
        self.pass(&request.map_err(|_| Denial::wrong_pass("it is not base64url"))?)
    }

    /// Whose pass that is, and for what.
    fn pass(&self, request: &[u8]) -> Result<(PublicKey, Pass), Denial> {
        let wrong = |error: &dyn std::error::Error| Denial::wrong_pass(&chain(error));
        let request = self.take(request).map_err(|error| wrong(&error))?;
        let pass = Pass::decode(&request.body).map_err(|error| wrong(&error))?;
        Ok((request.signer(), pass))
    }

    /// Lets the event loop answer `peer`.
    async fn knock<T>(
        &self,
        peer: PublicKey,
        origin: Origin,
        wish: impl FnOnce(oneshot::Sender<T>) -> Wish,
    ) -> Result<T, Denial> {
        let (answer, answered) = oneshot::channel();
        let knock = Knock { peer, origin, wish: wish(answer) };
        self.0.knocks.try_send(knock).map_err(|_| Denial::busy())?;
        match tokio::time::timeout(ANSWER_TIMEOUT, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(Denial::busy()),
        }
    }
}
