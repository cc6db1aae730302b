//! The daemon's HTTP face on loopback: status as JSON, and the owner's wishes, for who shows the token.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use capability::statements::{JobResult, Receipt};
use capability::{ProjectKey, PublicKey, StatementId, Timestamp, Verified};
use mesh_shell::ApiToken;
use mesh_store::BlobStore;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use volunteer_core::{Brought, Input, MAX_NOTE, NotTaken, Pause, ReceiptFate, Tail, TakenWork};

use crate::history::{HistoryPage, PageAsked};
use crate::log_events::{self, Extent};
use crate::receipts;
use crate::status::{Advice, Status};
use crate::why::JobGrounds;
use crate::{brought, carried};

/// What the event loop is asked.
pub enum Question {
    /// Everything.
    Status(oneshot::Sender<Status>),
    /// Some of the results that wait for their receipts, those after the one of that id; none at the end.
    Results(Option<StatementId>, oneshot::Sender<Vec<Verified<JobResult>>>),
    /// Somebody has brought receipts; told, when it is durable, what became of each.
    TakeReceipts(Vec<Verified<Receipt>>, oneshot::Sender<Vec<ReceiptFate>>),
    /// Whether work that somebody brings would be taken.
    JudgeBrought(Box<Brought>, oneshot::Sender<Result<TakenWork, NotTaken>>),
    /// It is brought, and its package among the blobs; told when what is taken is durable.
    TakeBrought(Box<Brought>, oneshot::Sender<Result<TakenWork, NotTaken>>),
    /// The receipts that are kept, the oldest first.
    Receipts(oneshot::Sender<Vec<Verified<Receipt>>>),
    /// A page of what ran.
    History(PageAsked, oneshot::Sender<HistoryPage>),
    /// Why nothing more of a project runs, and what to do.
    WhyNot(ProjectKey, oneshot::Sender<Vec<Advice>>),
    /// Why a job in hand was taken; nothing if it is not in hand.
    WhyJob(StatementId, oneshot::Sender<Option<JobGrounds>>),
    /// The tail of a job that runs.
    Log(StatementId, oneshot::Sender<Option<Tailed>>),
    /// The owner wishes something, and is told when that is durable. [`Input::Stop`] ends the daemon.
    Wish(Input, oneshot::Sender<()>),
    /// The owner wants the machine back.
    Pause(PauseAsked, oneshot::Sender<()>),
    /// The owner wants the daemon to end with its jobs.
    Drain(DrainAsked, oneshot::Sender<()>),
}

/// The tail of a job; nothing if too many read it already.
pub type Tailed = Option<watch::Receiver<Tail>>;

/// The way to the event loop.
pub type Questions = mpsc::Sender<Question>;

/// The routes of the volunteer `me`, whose blobs are in `blobs`; they ask the event loop by `questions` what who
/// shows `token` asks.
pub fn routes(
    me: PublicKey,
    questions: Questions,
    blobs: Arc<BlobStore>,
    token: ApiToken,
) -> Router {
    Router::new()
        .route("/api/v1/status", get(status))
        .route("/api/v1/projects/{project}/why", get(why_not))
        .route("/api/v1/jobs/{lease}/why", get(why_job))
        .route("/api/v1/jobs/{lease}/log", get(log))
        .route("/api/v1/receipts", get(move |questions| receipts(me, questions)))
        .route("/api/v1/history", get(history))
        .route("/api/v1/pause", post(pause))
        .route("/api/v1/resume", post(|state| wish(state, Input::Resume)))
        .route("/api/v1/drain", post(drain))
        .route("/api/v1/stop", post(|state| wish(state, Input::Stop)))
        .merge(brought::routes(Arc::clone(&blobs)))
        .merge(carried::routes(blobs))
        .route_layer(middleware::from_fn_with_state(token, need_token))
        .with_state(questions)
}

/// Other users of the machine can reach the address too. A page of the web cannot send the header.
async fn need_token(State(token): State<ApiToken>, request: Request, next: Next) -> Response {
    if token.is_shown(request.headers()) {
        return next.run(request).await;
    }
    let message = "this needs the token in the file api-token of the state directory, as in \
                   `Authorization: Bearer <token>`\n";
    (StatusCode::UNAUTHORIZED, message).into_response()
}

async fn status(State(questions): State<Questions>) -> Response {
    match ask(&questions, Question::Status).await {
        Some(status) => Json(status).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn why_not(State(questions): State<Questions>, Path(project): Path<String>) -> Response {
    let Ok(project) = project.parse() else { return StatusCode::BAD_REQUEST.into_response() };
    match ask(&questions, |answer| Question::WhyNot(project, answer)).await {
        Some(reasons) => Json(reasons).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn why_job(State(questions): State<Questions>, Path(lease): Path<String>) -> Response {
    let Ok(lease) = lease.parse() else { return StatusCode::BAD_REQUEST.into_response() };
    match ask(&questions, |answer| Question::WhyJob(lease, answer)).await {
        Some(Some(grounds)) => Json(grounds).into_response(),
        Some(None) => StatusCode::NOT_FOUND.into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// How much of a log is wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogAsked {
    /// Up to the end of the job, whenever that is.
    #[serde(default)]
    follow: bool,
}

async fn log(
    State(questions): State<Questions>,
    Path(lease): Path<String>,
    Query(asked): Query<LogAsked>,
) -> Response {
    let Ok(lease) = lease.parse() else { return StatusCode::BAD_REQUEST.into_response() };
    let extent = if asked.follow { Extent::ToTheEnd } else { Extent::SoFar };
    match ask(&questions, |answer| Question::Log(lease, answer)).await {
        Some(Some(Some(tail))) => {
            let headers = [(header::CONTENT_TYPE, "application/x-ndjson")];
            (headers, Body::from_stream(log_events::lines(tail, extent))).into_response()
        }
        Some(Some(None)) => {
            (StatusCode::TOO_MANY_REQUESTS, "too many read it already; end one\n").into_response()
        }
        Some(None) => StatusCode::NOT_FOUND.into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn wish(questions: State<Questions>, wish: Input) -> StatusCode {
    tell(questions, |told| Question::Wish(wish, told)).await
}

async fn tell(
    State(questions): State<Questions>,
    wish: impl FnOnce(oneshot::Sender<()>) -> Question,
) -> StatusCode {
    let (told, durable) = oneshot::channel();
    let asked = questions.send(wish(told)).await.is_ok();
    if asked && durable.await.is_ok() {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

/// A pause ends within a year, or not before the owner says so.
const MAX_PAUSE: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// How long, as `pause` is told it. An empty body is a pause without end.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PauseAsked {
    /// Seconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// At most [`MAX_NOTE`] bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl PauseAsked {
    /// What is wrong with it, if anything is.
    pub fn complaint(&self) -> Option<String> {
        if self.note.len() > MAX_NOTE {
            return Some(format!("a note has at most {MAX_NOTE} bytes"));
        }
        let fits = |seconds| (1..=MAX_PAUSE.as_secs()).contains(&seconds);
        let unfit = self.seconds.is_some_and(|seconds| !fits(seconds));
        unfit.then(|| "a pause lasts from a second to a year, or until you end it".to_owned())
    }

    /// What it means if it is said at `now`.
    pub fn from(self, now: Timestamp) -> Pause {
        let until = self.seconds.map(|seconds| now + Duration::from_secs(seconds));
        Pause { until, note: self.note }
    }
}

async fn pause(questions: State<Questions>, body: Bytes) -> Response {
    match read::<PauseAsked>(&body).and_then(|it| it.complaint().map_or(Ok(it), Err)) {
        Ok(asked) => tell(questions, |told| Question::Pause(asked, told)).await.into_response(),
        Err(why) => (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
    }
}

async fn receipts(me: PublicKey, State(questions): State<Questions>) -> Response {
    match ask(&questions, Question::Receipts).await {
        Some(kept) => receipts::list(me, &kept).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// How long a drain may last, as `drain` is told it. An empty body is one without end.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DrainAsked {
    /// Seconds from now, after which what still runs is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

impl DrainAsked {
    /// What is wrong with it, if anything is.
    pub fn complaint(&self) -> Option<String> {
        let unfit = self.seconds.is_some_and(|seconds| seconds > MAX_PAUSE.as_secs());
        unfit.then(|| "a drain ends within a year, or with its last job".to_owned())
    }

    /// When it ends at the latest if it is said at `now`.
    pub fn until(self, now: Timestamp) -> Option<Timestamp> {
        self.seconds.map(|seconds| now + Duration::from_secs(seconds))
    }
}

async fn drain(questions: State<Questions>, body: Bytes) -> Response {
    match read::<DrainAsked>(&body).and_then(|it| it.complaint().map_or(Ok(it), Err)) {
        Ok(asked) => tell(questions, |told| Question::Drain(asked, told)).await.into_response(),
        Err(why) => (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
    }
}

/// What a body says; an empty one says nothing.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

async fn history(State(questions): State<Questions>, Query(asked): Query<PageAsked>) -> Response {
    match ask(&questions, |answer| Question::History(asked, answer)).await {
        Some(page) => Json(page).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// What the event loop answers; nothing if it ends.
pub async fn ask<T>(
    questions: &Questions,
    question: impl FnOnce(oneshot::Sender<T>) -> Question,
) -> Option<T> {
    let (answer, answered) = oneshot::channel();
    questions.send(question(answer)).await.ok()?;
    answered.await.ok()
}
