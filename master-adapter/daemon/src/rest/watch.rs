//! `GET …/log?follow=true`: what a task's steps write while a volunteer works on it, as server-sent events.
//!
//! The channel to the volunteer is opened when somebody asks, through the home broker. One that breaks is opened again,
//! and what was told already is not told again; so a reader sees no more of it than a word.

mod transcript;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use capability::statements::{Lease, TaskId};
use capability::{StatementId, Verified};
use futures::stream;
use mesh_core::{ChannelMessage, ChannelRefusal, FlowNews, Flows};
use mesh_shell::{Session, SessionError, chain};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use self::transcript::{Heard, Transcript};
use super::{Api, Command, NotReached, Problem, ending};
use crate::model::LiveEvent;

/// Events that wait for the reader, beside what it was granted.
const EVENT_QUEUE: usize = 4;

/// Events that wait beside them at most. What was granted is mostly a few; a volunteer that sends it byte by byte, a
/// byte of each step in turn, has to wait for the reader.
const MAX_QUEUE: usize = 4096;

/// How long a channel that broke is tried again: a volunteer finds another broker in seconds, and renews within ten.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// A channel to a volunteer that works on a task, and its lease.
pub type Watched = (Session, Verified<Lease>);

/// A task cannot be watched.
#[derive(Debug, Error)]
pub enum NotWatched {
    /// Nobody could be asked for a channel.
    #[error(transparent)]
    NotReached(#[from] NotReached),
    /// The home, a broker on the way or the volunteer does not want to, or cannot.
    #[error("the task cannot be watched: {}", chain(.0))]
    Failed(SessionError),
}

impl From<NotWatched> for Problem {
    fn from(error: NotWatched) -> Self {
        let status = match &error {
            NotWatched::Failed(SessionError::Refused(refusal)) => match refusal {
                ChannelRefusal::Nobody | ChannelRefusal::NotYours => StatusCode::CONFLICT,
                ChannelRefusal::Declined | ChannelRefusal::NotRelayed => StatusCode::FORBIDDEN,
                ChannelRefusal::Full => StatusCode::TOO_MANY_REQUESTS,
                ChannelRefusal::NoRoute | ChannelRefusal::Invalid => StatusCode::BAD_GATEWAY,
            },
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(status, error.to_string())
    }
}

impl NotWatched {
    /// Whether it can be otherwise in a moment.
    fn may_pass(&self) -> bool {
        let settled = [ChannelRefusal::Declined, ChannelRefusal::NotRelayed];
        !matches!(self, Self::Failed(SessionError::Refused(refusal)) if settled.contains(refusal))
    }
}

/// Answers with the events of `task`, as they come. Whatever cannot be told is an answer of its own.
pub async fn watch(api: Api, task: TaskId) -> Result<Response, Problem> {
    let (events, told) = mpsc::channel(EVENT_QUEUE);
    if api.has_result(task) {
        // There is room for one.
        let _ = events.send(LiveEvent::Settled).await;
    } else {
        let (session, lease) = api.open_channel(task).await?;
        let transcript = Transcript::default();
        let telling = Telling { api, task, lease: lease.id(), transcript, events };
        tokio::spawn(telling.tell(session));
    }
    Ok(stream_of(told))
}

fn stream_of(told: mpsc::Receiver<LiveEvent>) -> Response {
    let lines = stream::unfold(told, |mut told| async move {
        let event = told.recv().await?;
        let json = serde_json::to_string(&event).expect("events serialise");
        Some((Ok::<_, Infallible>(format!("data: {json}\n\n")), told))
    });
    let mut response = Body::from_stream(lines).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Api {
    fn has_result(&self, task: TaskId) -> bool {
        let TaskId { offer, task, replica } = task;
        self.read(|board| board.archive.result(offer, task, replica)).is_some()
    }

    async fn open_channel(&self, task: TaskId) -> Result<Watched, Problem> {
        self.try_channel(task).await?.map_err(Problem::from)
    }

    async fn try_channel(&self, task: TaskId) -> Result<Result<Watched, NotWatched>, Problem> {
        let (reply, opened) = oneshot::channel();
        self.command(Command::Watch { task, reply }).await?;
        opened.await.map_err(|_| ending())
    }
}

/// One reader, and what it was told.
struct Telling {
    api: Api,
    task: TaskId,
    lease: StatementId,
    transcript: Transcript,
    events: mpsc::Sender<LiveEvent>,
}

/// How a channel ended.
enum End {
    /// The volunteer has nothing more to say.
    Over(String),
    /// The reader has gone.
    Unread(Session),
    /// The channel broke.
    Broke(SessionError),
}

impl Telling {
    async fn tell(mut self, mut session: Session) {
        loop {
            let last = match self.pass_on(session).await {
                End::Over(reason) => LiveEvent::Over { reason },
                // Whether it is heard does not matter any more.
                End::Unread(session) => return drop(session.bye("nobody reads any more").await),
                End::Broke(error) => {
                    let broke = LiveEvent::Broke { reason: chain(&error) };
                    if self.events.send(broke).await.is_err() {
                        return;
                    }
                    match self.open_again().await {
                        Ok(opened) => {
                            session = opened;
                            continue;
                        }
                        Err(event) => event,
                    }
                }
            };
            // The reader may have gone.
            return drop(self.events.send(last).await);
        }
    }

    /// Passes on what comes until the channel ends. Bytes are granted as the reader takes them.
    async fn pass_on(&mut self, mut session: Session) -> End {
        let (mut flows, mut queue) = (Flows::default(), VecDeque::<Heard>::new());
        let events = self.events.clone();
        self.transcript.channel_opened();
        loop {
            let quiet = session.quiet_until();
            let said = tokio::select! {
                message = session.receive(), if queue.len() < MAX_QUEUE => match self.hear(message, &mut flows, &mut queue) {
                    Ok(Said::Grant(grant)) => Some(grant),
                    Ok(Said::Nothing) => None,
                    Ok(Said::Bye(why)) => {
                        for Heard { event, .. } in queue {
                            // If the reader has gone, so be it.
                            let _ = events.send(event).await;
                        }
                        return End::Over(why);
                    }
                    Err(error) => return End::Broke(error),
                },
                permit = events.reserve(), if !queue.is_empty() => {
                    let (Ok(permit), Some(heard)) = (permit, queue.pop_front()) else {
                        return End::Unread(session);
                    };
                    permit.send(heard.event);
                    flows.taken(heard.flow, heard.bytes)
                }
                () = events.closed() => return End::Unread(session),
                () = sleep_until(quiet) => Some(ChannelMessage::Here),
            };
            if let Some(message) = said
                && let Err(error) = session.send(&message).await
            {
                return End::Broke(error);
            }
        }
    }

    fn hear(
        &mut self,
        message: Result<ChannelMessage, SessionError>,
        flows: &mut Flows,
        queue: &mut VecDeque<Heard>,
    ) -> Result<Said, SessionError> {
        let news = flows.receive(message?)?;
        let said = match &news {
            FlowNews::Opened { flow, .. } => {
                flows.welcome(*flow).map_or(Said::Nothing, Said::Grant)
            }
            FlowNews::Bye(why) => Said::Bye(why.clone()),
            _ => Said::Nothing,
        };
        if let Some(heard) = self.transcript.hear(news) {
            heard.line_up(queue);
        }
        Ok(said)
    }

    /// Opens the channel again; or gives the last event, if that cannot be.
    async fn open_again(&mut self) -> Result<Session, LiveEvent> {
        let until = Instant::now() + PATIENCE;
        loop {
            sleep(PAUSE).await;
            if self.api.has_result(self.task) {
                return Err(LiveEvent::Settled);
            }
            let reason = match self.api.try_channel(self.task).await {
                Ok(Ok((session, lease))) => {
                    self.began(lease.id()).await;
                    return Ok(session);
                }
                Ok(Err(error)) if error.may_pass() && Instant::now() < until => continue,
                Ok(Err(error)) => error.to_string(),
                Err(Problem(_, reason)) => reason,
            };
            return Err(LiveEvent::Lost { reason });
        }
    }

    /// If another lease is worked on, the task has begun anew.
    async fn began(&mut self, lease: StatementId) {
        if std::mem::replace(&mut self.lease, lease) != lease {
            self.transcript = Transcript::default();
            // Whether the reader is there shows when something is passed on.
            let _ = self.events.send(LiveEvent::Anew).await;
        }
    }
}

/// What follows from what was heard.
enum Said {
    Grant(ChannelMessage),
    Bye(String),
    Nothing,
}
