//! Relaying channels: ciphertext from one stream to another, at the pace that the project has.
//!
//! A relayed channel is a task with one frame in hand in each direction. It ends when one of its ends does, when nothing
//! passes for a minute, or when the home sees that the lease is over. Nothing of it is kept.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use broker_core::{Broker, ChannelRoute, ChannelShares};
use capability::statements::Lease;
use capability::{Ed25519, ProjectKey, Verified};
use mesh_core::{ChannelAnswer, ChannelOpen, ChannelRefusal, Now};
use mesh_net::{ChannelError, IncomingChannel, OpenedChannel, Pipe, PipeReader, PipeWriter};
use mesh_shell::{Clock, Link, peer_key, public_key};
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// A channel on which nothing passes for so long is over: its ends say four times as often that they are there.
const IDLE: Duration = Duration::from_secs(60);

/// How long the last frames may take once one direction has ended.
const LAST_FRAMES: Duration = Duration::from_secs(10);

/// Whether this broker relays channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relaying {
    /// It does.
    On,
    /// Its operator does not want to.
    Off,
}

/// The channels that pass through this broker.
pub struct Channels {
    relaying: Relaying,
    link: Link,
    pace: Pace,
    open: Vec<Open>,
}

struct Open {
    lease: Verified<Lease>,
    /// Set when the lease was found to be over: it is looked at once more, so that the end of a log still passes.
    over: bool,
    task: AbortHandle,
}

/// What the relays share.
#[derive(Clone)]
struct Pace {
    shares: Arc<Mutex<ChannelShares>>,
    clock: Clock,
}

impl Channels {
    /// None yet.
    pub fn new(relaying: Relaying, link: Link, clock: Clock) -> Self {
        let pace = Pace { shares: Arc::default(), clock };
        Self { relaying, link, pace, open: Vec::new() }
    }

    /// A peer wants a channel: relays it, or says why not.
    pub fn take(&mut self, incoming: IncomingChannel, broker: &Broker, now: Now) {
        let peer = public_key(incoming.peer).short();
        match self.admit(&incoming, broker, now) {
            Ok((route, place)) => {
                tracing::debug!(
                    peer,
                    to = route.to.short(),
                    lease = route.lease.id().short(),
                    "channel"
                );
                let lease = route.lease.clone();
                let relay = relay(self.link.clone(), incoming, route, place);
                let task = tokio::spawn(relay).abort_handle();
                self.open.push(Open { lease, over: false, task });
            }
            Err(refusal) => {
                tracing::debug!(peer, reason = %refusal, "channel refused");
                tokio::spawn(refuse(incoming, refusal));
            }
        }
    }

    /// Ends the channels whose leases are over since the last look. To be called every few seconds.
    pub fn look(&mut self, broker: &Broker, now: Now) {
        self.open.retain_mut(|open| {
            let over = !broker.keeps_channel(&open.lease, now);
            if over && std::mem::replace(&mut open.over, over) {
                open.task.abort();
            }
            !open.task.is_finished()
        });
    }

    fn admit(
        &self,
        incoming: &IncomingChannel,
        broker: &Broker,
        now: Now,
    ) -> Result<(ChannelRoute, Place), ChannelRefusal> {
        if self.relaying == Relaying::Off {
            return Err(ChannelRefusal::NotRelayed);
        }
        let open = ChannelOpen::decode(&incoming.header, &Ed25519);
        let open = open.map_err(|_| ChannelRefusal::Invalid)?;
        let route = broker.channel_route(public_key(incoming.peer), open, now)?;
        let place = self.pace.enter(route.lease.project)?;
        Ok((route, place))
    }
}

/// A channel's place among those of its project, given back on drop.
struct Place {
    pace: Pace,
    project: ProjectKey,
}

impl Pace {
    fn enter(&self, project: ProjectKey) -> Result<Place, ChannelRefusal> {
        self.shares().enter(project, self.clock.now().mono)?;
        Ok(Place { pace: self.clone(), project })
    }

    /// Each holder leaves the counts right at every step.
    fn shares(&self) -> MutexGuard<'_, ChannelShares> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits until `bytes` may go on.
    async fn pass(&self, bytes: usize) {
        let now = self.pace.clock.now().mono;
        let wait = self.pace.shares().pass(self.project, bytes, now);
        tokio::time::sleep(wait).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pace.shares().leave(self.project);
    }
}

async fn relay(link: Link, incoming: IncomingChannel, route: ChannelRoute, place: Place) {
    let ChannelRoute { to, lease, hops } = route;
    let name = lease.id().short();
    let header = ChannelOpen::Lease { lease, hops }.encode();
    let opened = link.net().open_channel(peer_key(to), &header).await;
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) => {
            tracing::debug!(lease = name, to = to.short(), %error, "channel not opened");
            return refuse(incoming, refusal(error)).await;
        }
    };
    let reason = match pass_on(incoming, opened, &place).await {
        Ok(()) => String::new(),
        Err(error) => error.to_string(),
    };
    tracing::debug!(lease = name, reason, "channel over");
}

/// Passes the answer back, and frames both ways until one end closes.
async fn pass_on(
    incoming: IncomingChannel,
    opened: OpenedChannel,
    place: &Place,
) -> Result<(), ChannelError> {
    let OpenedChannel { answer, pipe: onward } = opened;
    match ChannelAnswer::decode(&answer, &Ed25519) {
        Ok(ChannelAnswer::Open(_)) => {}
        Ok(ChannelAnswer::Refused(_)) => return incoming.refuse(&answer).await,
        Err(_) => {
            let refused = ChannelAnswer::Refused(ChannelRefusal::Invalid);
            return incoming.refuse(&refused.encode()).await;
        }
    }
    let Pipe { reader, writer } = incoming.accept(&answer).await?;
    let mut there = Box::pin(copy(reader, onward.writer, place));
    let mut back = Box::pin(copy(onward.reader, writer, place));
    // Whoever says the last word closes; what is on its way in the other direction still arrives.
    let (ended, rest) = tokio::select! {
        ended = &mut there => (ended, back),
        ended = &mut back => (ended, there),
    };
    ended?;
    timeout(LAST_FRAMES, rest).await.unwrap_or(Err(ChannelError::Stalled))
}

async fn copy(mut from: PipeReader, mut to: PipeWriter, place: &Place) -> Result<(), ChannelError> {
    loop {
        let frame = timeout(IDLE, from.next()).await.map_err(|_| ChannelError::Stalled)??;
        let Some(frame) = frame else { return to.close().await };
        place.pass(frame.len()).await;
        to.write(&frame).await?;
    }
}

async fn refuse(incoming: IncomingChannel, refusal: ChannelRefusal) {
    let answer = ChannelAnswer::Refused(refusal).encode();
    if let Err(error) = incoming.refuse(&answer).await {
        tracing::debug!(%error, "a refusal was not told");
    }
}

/// What a failure on the way on means to whoever asks.
fn refusal(error: ChannelError) -> ChannelRefusal {
    match error {
        ChannelError::Busy => ChannelRefusal::Full,
        ChannelError::Unsupported => ChannelRefusal::NotRelayed,
        _ => ChannelRefusal::NoRoute,
    }
}
