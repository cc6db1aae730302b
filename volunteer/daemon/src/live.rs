//! Jobs that are watched while they run (rule C49).

use std::sync::Arc;
use std::time::Duration;

use capability::statements::Lease;
use capability::{Ed25519, PublicKey, Verified};
use mesh_core::{ChannelAnswer, ChannelMessage, ChannelOpen, ChannelRefusal, FlowNews, Flows};
use mesh_net::IncomingChannel;
use mesh_shell::{Link, Session, SessionError, chain, public_key};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use volunteer_core::{Tail, Volunteer, Watcher};
use volunteer_sandbox::Observer;

use crate::job::Executor;

/// Those who watch one job at a time.
const MAX_WATCHERS: usize = 8;

/// Those who read it on this machine, beside them.
const MAX_READERS: usize = 8;

/// How long a slow reader may take for the rest once the job is over. The home ends the channel soon after.
const LAST_LINES: Duration = Duration::from_secs(5);

/// What a reader is told who did not take the rest in that time.
const TOO_SLOW: &str = "the task has ended; the rest of its output comes with the result";

/// Whether jobs may be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watching {
    /// By whoever offers them.
    Allowed,
    /// By nobody.
    Declined,
}

/// The tail of one job: the job writes, watchers read.
#[derive(Debug, Clone, Default)]
pub struct LiveTail(Arc<watch::Sender<Tail>>);

impl LiveTail {
    /// The next step begins.
    pub fn begin(&self, step: &str) {
        self.0.send_modify(|tail| tail.begin(step));
    }

    /// The job is over.
    pub fn finish(&self) {
        self.0.send_modify(Tail::finish);
    }

    /// What a step that writes into this tail is watched with.
    pub fn observer(&self) -> Observer {
        let tail = self.clone();
        Box::new(move |piece| tail.0.send_modify(|tail| tail.push(piece)))
    }

    /// For who reads it on this machine; nothing if that are too many already.
    pub fn read(&self) -> Option<watch::Receiver<Tail>> {
        let full = self.0.receiver_count() >= MAX_WATCHERS + MAX_READERS;
        (!full).then(|| self.0.subscribe())
    }

    fn watch(&self) -> Result<watch::Receiver<Tail>, ChannelRefusal> {
        let full = self.0.receiver_count() >= MAX_WATCHERS;
        if full { Err(ChannelRefusal::Full) } else { Ok(self.0.subscribe()) }
    }
}

/// A broker brings a channel to one of our jobs: serves it beside the loop, or says why not.
pub fn take(
    incoming: IncomingChannel,
    watching: Watching,
    core: &Volunteer,
    executor: &dyn Executor,
    link: &Link,
) {
    let link = link.clone();
    match admit(&incoming, watching, core, executor) {
        Ok(watched) => drop(tokio::spawn(async move {
            let lease = watched.lease.id().short();
            match serve(&link, incoming, watched).await {
                Ok(()) => tracing::debug!(lease, "no longer watched"),
                Err(error) => tracing::debug!(lease, error = chain(&error), "no longer watched"),
            }
        })),
        Err(refusal) => {
            tracing::debug!(reason = %refusal, "not watched");
            let answer = ChannelAnswer::Refused(refusal).encode();
            // Whoever asked may have gone.
            tokio::spawn(async move { incoming.refuse(&answer).await.unwrap_or_default() });
        }
    }
}

/// A job, and who may watch it.
struct Watched {
    lease: Verified<Lease>,
    master: PublicKey,
    tail: watch::Receiver<Tail>,
}

fn admit(
    incoming: &IncomingChannel,
    watching: Watching,
    core: &Volunteer,
    executor: &dyn Executor,
) -> Result<Watched, ChannelRefusal> {
    if watching == Watching::Declined {
        return Err(ChannelRefusal::Declined);
    }
    let Ok(ChannelOpen::Lease { lease, .. }) = ChannelOpen::decode(&incoming.header, &Ed25519)
    else {
        return Err(ChannelRefusal::Invalid);
    };
    let master = core.watcher(public_key(incoming.peer), lease.id())?;
    let reins = executor.reins(lease.id()).ok_or(ChannelRefusal::Nobody)?;
    let tail = reins.tail().watch()?;
    Ok(Watched { lease, master, tail })
}

async fn serve(
    link: &Link,
    incoming: IncomingChannel,
    watched: Watched,
) -> Result<(), SessionError> {
    let Watched { lease, master, mut tail } = watched;
    let mut session = link.accept_channel(incoming, &lease, master).await?;
    tracing::info!(lease = lease.id().short(), task = lease.task.task, "watched live");
    let (mut flows, mut watcher) = (Flows::default(), Watcher::default());
    let mut over: Option<Instant> = None;
    loop {
        if let Some(why) = say_all(&mut session, &mut tail, &mut watcher, &mut flows).await? {
            return session.bye(&why).await;
        }
        let quiet = session.quiet_until();
        tokio::select! {
            // Whatever the master would send, nobody here grants anything for it.
            message = session.receive() => if let FlowNews::Bye(_) = flows.receive(message?)? {
                return Ok(());
            },
            changed = tail.changed(), if over.is_none() => if changed.is_err() {
                over = Some(Instant::now() + LAST_LINES);
            },
            () = sleep_until(quiet) => session.send(&ChannelMessage::Here).await?,
            () = sleep_until(over.unwrap_or(quiet)), if over.is_some() => {
                return session.bye(TOO_SLOW).await;
            }
        }
    }
}

/// Says all that can be said now; gives the last word when it is due.
async fn say_all(
    session: &mut Session,
    tail: &mut watch::Receiver<Tail>,
    watcher: &mut Watcher,
    flows: &mut Flows,
) -> Result<Option<String>, SessionError> {
    loop {
        let next = watcher.next(&tail.borrow_and_update(), flows);
        match next {
            Some(ChannelMessage::Bye(why)) => return Ok(Some(why)),
            Some(message) => session.send(&message).await?,
            None => return Ok(None),
        }
    }
}
