//! The REST interface, for the command line, CI systems and pages on this machine.
//!
//! Whoever changes something, has the home broker asked, or reads what volunteers' machines wrote,
//! shows the token; the rest is what a project tells the world anyway. Contents of logs and artifacts are never sent as anything
//! that a browser would interpret.

mod explain;
mod import;
mod lend;
mod private;
mod watch;

use std::io::{self, Read};
use std::sync::{Arc, PoisonError, RwLock};

use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use capability::statements::{
    BlobPart, Home, JobResult, Log, MAX_PACKAGE_BYTES, Offer, Package, Registration, TaskId,
};
use capability::{BlobHash, JobFile, PublicKey, StatementId, Verified};
use futures::StreamExt;
use master_core::{CancelError, Fate, NewJob, SubmitError};
use mesh_core::{Answer, Ask};
use mesh_shell::{ApiToken, Clock, Storage, chain};
use mesh_store::{BlobError, BlobWriter};
use serde::Deserialize;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::archive::{Archive, Content, blob_name};
use crate::model::{
    Complaint, JobView, MatrixView, NewJobRequest, ProjectView, Submitted, TaskDetail, TaskView,
};
pub use explain::NoAnswer;
pub use watch::{NotWatched, Watched};

/// Tasks in one answer at most.
const MAX_TASKS_AN_ANSWER: usize = 1000;

/// Characters of an offer's name that must be given at least.
const MIN_PREFIX: usize = 8;

/// Chunks of an upload that may wait for the disk.
const UPLOAD_QUEUE: usize = 8;

/// Chunks of a download that may wait for whoever reads it, and bytes of one.
const DOWNLOAD_QUEUE: usize = 4;
const DOWNLOAD_CHUNK: u64 = 64 << 10;

/// The home broker cannot be asked anything now.
#[derive(Debug, Error)]
pub enum NotReached {
    /// None of the brokers has been home yet.
    #[error(
        "the project has no home broker yet; `talkoot-master status` shows which are connected"
    )]
    NoHome,
    /// There is no connection to it.
    #[error(
        "the home broker {} is not connected; `talkoot-master status` shows when it is", .0.short()
    )]
    Away(PublicKey),
}

/// What everybody may see of the adapter; written by the event loop alone.
#[derive(Debug)]
pub struct Board {
    /// The project and its brokers.
    pub project: ProjectView,
    /// Its jobs.
    pub archive: Archive,
}

/// The board, shared.
pub type SharedBoard = Arc<RwLock<Board>>;

/// What the event loop is asked to do.
#[derive(Debug)]
pub enum Command {
    /// Offer a job whose package is in the blob store.
    Submit {
        /// The job.
        job: NewJob,
        /// Told when it is durable.
        reply: oneshot::Sender<Result<StatementId, SubmitError>>,
    },
    /// End a job.
    Cancel {
        /// Which.
        offer: StatementId,
        /// Told when it is durable.
        reply: oneshot::Sender<Result<(), CancelError>>,
    },
    /// Tell the offer of a job that is open, and its home.
    Standing {
        /// The job.
        job: StatementId,
        /// Told; nothing, if there is no such job or no home.
        reply: oneshot::Sender<Option<(Verified<Offer>, Verified<Home>)>>,
    },
    /// Judge results that somebody has brought.
    Import {
        /// The results.
        results: Vec<Verified<JobResult>>,
        /// Told, when it is durable, what became of each.
        reply: oneshot::Sender<Vec<Fate>>,
    },
    /// Ask the project's home broker, which changes nothing here.
    AskHome {
        /// What.
        ask: Ask,
        /// Told who has answered and what.
        reply: oneshot::Sender<Result<(PublicKey, Answer), NoAnswer>>,
    },
    /// Open a channel to the volunteer that works on a task.
    Watch {
        /// Which.
        task: TaskId,
        /// Given the channel.
        reply: oneshot::Sender<Result<Watched, NotWatched>>,
    },
}

/// What the interface needs.
#[derive(Clone)]
pub struct Api {
    /// What it shows.
    pub board: SharedBoard,
    /// Where logs and packages are.
    pub storage: Storage,
    /// The way to the event loop.
    pub commands: mpsc::Sender<Command>,
    /// The project's, whose checks job files can name.
    pub registration: Arc<Verified<Registration>>,
    /// Which ads are current.
    pub clock: Clock,
    /// The secret that changes need.
    pub token: ApiToken,
}

/// All routes below `/api/v1`.
pub fn routes(api: Api) -> Router {
    let guarded = Router::new()
        .route("/packages", post(take_package))
        .route("/jobs", post(take_job))
        .route("/jobs/{offer}", axum::routing::delete(cancel_job))
        .route("/explain", post(explain::explain))
        .route("/compare", post(explain::compare_one))
        .route("/import", post(import::import))
        .route("/jobs/{offer}/lend", post(lend::lend))
        .route("/jobs/{offer}/tasks/{task}/log", get(show_log))
        .route("/jobs/{offer}/tasks/{task}/artifact", get(show_artifact))
        .route_layer(middleware::from_fn_with_state(api.clone(), need_token));
    let open = Router::new()
        .route("/project", get(show_project))
        .route("/jobs", get(list_jobs))
        .route("/jobs/{offer}", get(show_job))
        .route("/jobs/{offer}/tasks", get(list_tasks))
        .route("/jobs/{offer}/tasks/{task}", get(show_task))
        .route("/matrix", get(show_matrix));
    Router::new().nest("/api/v1", open.merge(guarded)).with_state(api)
}

/// An answer that is no success: a status and what is wrong.
struct Problem(StatusCode, String);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.0, Json(Complaint { error: self.1 })).into_response()
    }
}

impl From<BlobError> for Problem {
    fn from(error: BlobError) -> Self {
        let status = match error {
            BlobError::Full { .. } => StatusCode::INSUFFICIENT_STORAGE,
            BlobError::DiskFull { .. } => {
                let message = format!("the adapter's disk is full: {}", chain(&error));
                return Self(StatusCode::INSUFFICIENT_STORAGE, message);
            }
            BlobError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            BlobError::Absent { .. } => StatusCode::NOT_FOUND,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, chain(&error))
    }
}

async fn need_token(State(api): State<Api>, request: Request, next: Next) -> Response {
    if api.token.is_shown(request.headers()) {
        return next.run(request).await;
    }
    let message = "this needs the token in the file api-token of the state directory, as in \
                   `Authorization: Bearer <token>`";
    Problem(StatusCode::UNAUTHORIZED, message.to_owned()).into_response()
}

async fn show_project(State(api): State<Api>) -> Json<ProjectView> {
    Json(api.read(|board| board.project.clone()))
}

async fn list_jobs(State(api): State<Api>) -> Json<Vec<JobView>> {
    Json(api.read(|board| board.archive.jobs()))
}

async fn show_job(
    State(api): State<Api>,
    Path(offer): Path<String>,
) -> Result<Json<JobView>, Problem> {
    let offer = api.offer(&offer)?;
    api.read(|board| board.archive.job(offer)).map(Json).ok_or_else(no_such_job)
}

#[derive(Deserialize)]
struct Range {
    #[serde(default)]
    from: u32,
    limit: Option<usize>,
}

async fn list_tasks(
    State(api): State<Api>,
    Path(offer): Path<String>,
    Query(range): Query<Range>,
) -> Result<Json<Vec<TaskView>>, Problem> {
    let offer = api.offer(&offer)?;
    let limit = range.limit.unwrap_or(MAX_TASKS_AN_ANSWER).min(MAX_TASKS_AN_ANSWER);
    let tasks = api.read(|board| board.archive.tasks(offer, range.from, limit));
    tasks.map(Json).ok_or_else(no_such_job)
}

/// Which replica, and what of it.
#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    replica: u16,
    step: Option<String>,
    path: Option<String>,
    tail: Option<u64>,
    #[serde(default)]
    follow: bool,
}

async fn show_task(
    State(api): State<Api>,
    Path((offer, task)): Path<(String, u32)>,
    Query(part): Query<Part>,
) -> Result<Json<TaskDetail>, Problem> {
    let offer = api.offer(&offer)?;
    let detail = api.read(|board| board.archive.detail(offer, task, part.replica));
    detail.map(Json).ok_or_else(no_result)
}

async fn show_log(
    State(api): State<Api>,
    Path((offer, task)): Path<(String, u32)>,
    Query(part): Query<Part>,
) -> Result<Response, Problem> {
    if part.follow {
        let offer = api.offer(&offer)?;
        return watch::watch(api, TaskId { offer, task, replica: part.replica }).await;
    }
    let content = api.content(&offer, task, part.replica)?;
    let wanted = |name: &str| part.step.as_deref().is_none_or(|wanted| wanted == name);
    let step = content.report.steps.iter().rfind(|step| wanted(&step.name));
    let step = step.ok_or_else(|| not_found("no such step has run"))?;
    let tail = part.tail.unwrap_or(u64::MAX);
    match &step.log {
        Log::Inline(bytes) => {
            let skipped = (bytes.len() as u64).saturating_sub(tail);
            let start = usize::try_from(skipped).unwrap_or(usize::MAX).min(bytes.len());
            Ok(harmless(Body::from(bytes[start..].to_vec())))
        }
        Log::Blob(part) => api.stream(&content, *part, tail),
    }
}

async fn show_artifact(
    State(api): State<Api>,
    Path((offer, task)): Path<(String, u32)>,
    Query(part): Query<Part>,
) -> Result<Response, Problem> {
    let content = api.content(&offer, task, part.replica)?;
    let mut artifacts = content.report.artifacts.iter();
    let artifact = artifacts.find(|artifact| Some(&artifact.path) == part.path.as_ref());
    let artifact = artifact.ok_or_else(|| not_found("no such artifact; name it as ?path=…"))?;
    api.stream(&content, artifact.content, u64::MAX)
}

async fn show_matrix(State(api): State<Api>) -> Json<MatrixView> {
    Json(api.read(|board| board.archive.matrix()))
}

async fn take_package(State(api): State<Api>, body: Body) -> Result<Response, Problem> {
    let writer = api.storage.blobs().create(MAX_PACKAGE_BYTES)?;
    let (chunks, queue) = mpsc::channel(UPLOAD_QUEUE);
    let written = tokio::task::spawn_blocking(move || store(writer, queue));
    let mut stream = body.into_data_stream();
    while let Some(chunk) = stream.next().await {
        let broken = |error| Problem(StatusCode::BAD_REQUEST, chain(&error));
        // A writer that has given up says why below. The rest is read nevertheless: most clients
        // listen only when they have said everything.
        let _ = chunks.send(Some(chunk.map_err(broken)?)).await;
    }
    // Without this a connection that broke would leave half a package behind.
    let _ = chunks.send(None).await;
    drop(chunks);
    let bug = |error| Problem(StatusCode::INTERNAL_SERVER_ERROR, chain(&error));
    let (hash, size) = written.await.map_err(bug)??;
    let package = Package { hash: BlobHash::from_bytes(*hash.as_bytes()), size };
    Ok((StatusCode::CREATED, Json(package)).into_response())
}

/// Writes what comes until `None` says that all has come.
fn store<T: AsRef<[u8]>>(
    mut writer: BlobWriter,
    mut queue: mpsc::Receiver<Option<T>>,
) -> Result<(blake3::Hash, u64), BlobError> {
    while let Some(chunk) = queue.blocking_recv() {
        match chunk {
            Some(chunk) => writer.append(chunk.as_ref())?,
            None => return writer.finish(None),
        }
    }
    let source = io::ErrorKind::UnexpectedEof.into();
    Err(BlobError::Io { attempt: "receive", path: "the package".into(), source })
}

async fn take_job(
    State(api): State<Api>,
    Json(request): Json<NewJobRequest>,
) -> Result<Response, Problem> {
    let refused = |message: String| Problem(StatusCode::UNPROCESSABLE_ENTITY, message);
    let file = JobFile::parse_for(&request.job_file, &api.registration);
    let file = file.map_err(|error| refused(format!("job file:{error}")))?;
    let package = request.package;
    if api.storage.blobs().has(&blob_name(package.hash))? != Some(package.size) {
        return Err(refused("the package is not here; send it to /api/v1/packages first".into()));
    }
    let volunteers = file.private.clone();
    let mut job = NewJob { replicas: request.replicas, ..NewJob::from_file(file, package) };
    if !volunteers.is_empty() {
        if usize::from(job.replicas) > volunteers.len() {
            return Err(refused(format!(
                "{} replicas of each task need as many volunteers, and the job names {}",
                job.replicas,
                volunteers.len()
            )));
        }
        let (package, private) = api.make_private(package, &volunteers).await?;
        (job.package, job.private) = (package, Some(private));
    }
    let (reply, answer) = oneshot::channel();
    api.command(Command::Submit { job, reply }).await?;
    match answer.await.map_err(|_| ending())? {
        Ok(offer) => Ok((StatusCode::CREATED, Json(Submitted { offer })).into_response()),
        Err(error @ (SubmitError::Invalid(_) | SubmitError::TooLarge { .. })) => {
            Err(refused(chain(&error)))
        }
        Err(error) => Err(Problem(StatusCode::INSUFFICIENT_STORAGE, chain(&error))),
    }
}

async fn cancel_job(
    State(api): State<Api>,
    Path(offer): Path<String>,
) -> Result<StatusCode, Problem> {
    let offer = api.offer(&offer)?;
    let (reply, answer) = oneshot::channel();
    api.command(Command::Cancel { offer, reply }).await?;
    match answer.await.map_err(|_| ending())? {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(error @ CancelError::Unknown) => Err(not_found(&error.to_string())),
        Err(error @ CancelError::Over) => Err(Problem(StatusCode::CONFLICT, error.to_string())),
    }
}

impl Api {
    fn read<T>(&self, look: impl FnOnce(&Board) -> T) -> T {
        look(&self.board.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The offer that a path names, in full or by its beginning.
    fn offer(&self, text: &str) -> Result<StatementId, Problem> {
        if text.len() < MIN_PREFIX {
            let message = format!("give at least {MIN_PREFIX} characters of the offer's name");
            return Err(Problem(StatusCode::BAD_REQUEST, message));
        }
        self.read(|board| board.archive.find(text)).ok_or_else(no_such_job)
    }

    fn content(&self, offer: &str, task: u32, replica: u16) -> Result<Arc<Content>, Problem> {
        let offer = self.offer(offer)?;
        self.read(|board| board.archive.result(offer, task, replica)).ok_or_else(no_result)
    }

    /// The last `tail` bytes of a blob of a result. It is decrypted on the way, by a thread of its own.
    fn stream(&self, content: &Content, part: BlobPart, tail: u64) -> Result<Response, Problem> {
        let mut reader = content.read(part, self.storage.blobs())?;
        let skipped = part.size.saturating_sub(tail);
        let (chunks, queue) = mpsc::channel(DOWNLOAD_QUEUE);
        tokio::task::spawn_blocking(move || {
            let mut send = |chunk| chunks.blocking_send(chunk).is_ok();
            let skipping = io::copy(&mut reader.by_ref().take(skipped), &mut io::sink());
            if let Err(error) = skipping.and_then(|_| send_all(&mut reader, &mut send)) {
                // Breaks the connection off, so that nobody takes a part for the whole.
                send(Err(error));
            }
        });
        let stream = futures::stream::unfold(queue, |mut queue| async {
            queue.recv().await.map(|chunk| (chunk, queue))
        });
        Ok(harmless(Body::from_stream(stream)))
    }

    async fn command(&self, command: Command) -> Result<(), Problem> {
        self.commands.send(command).await.map_err(|_| ending())
    }
}

/// Reads to the end, unless whoever listens is gone.
fn send_all(
    reader: &mut impl Read,
    send: &mut impl FnMut(io::Result<Vec<u8>>) -> bool,
) -> io::Result<()> {
    loop {
        let mut chunk = Vec::new();
        reader.by_ref().take(DOWNLOAD_CHUNK).read_to_end(&mut chunk)?;
        if chunk.is_empty() || !send(Ok(chunk)) {
            return Ok(());
        }
    }
}

/// Bytes of a stranger, which no browser may take for anything.
fn harmless(body: Body) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_DISPOSITION, "attachment"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn not_found(what: &str) -> Problem {
    Problem(StatusCode::NOT_FOUND, what.to_owned())
}

fn no_result() -> Problem {
    not_found("that task has no accepted result")
}

fn no_such_job() -> Problem {
    not_found("there is no such job, or several begin like that")
}

fn ending() -> Problem {
    Problem(StatusCode::SERVICE_UNAVAILABLE, "the adapter is ending".to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::{Seek, Write};

    use capability::statements::Permissions;
    use capability::{SecretKey, Signer, Timestamp};
    use mesh_shell::Exit;

    use super::*;
    use crate::client::Client;

    pub(super) const JOB: &str = "name = \"hello\"\n[requirements]\nruntimes = [\"native\"]\n\
                       [[step]]\nname = \"greet\"\nrun = [\"echo\"]\n";

    /// An interface in front of nothing: commands go nowhere unless a test answers them.
    pub(super) struct Bench {
        pub(super) address: String,
        pub(super) commands: mpsc::Receiver<Command>,
        pub(super) storage: Storage,
        _state: tempfile::TempDir,
    }

    pub(super) async fn bench() -> Bench {
        let state = tempfile::tempdir().expect("made");
        let storage = Storage::open(state.path(), 1 << 20).expect("opened");
        let secret = SecretKey::from_seed(&[1; 32]);
        let key = secret.public();
        let project = ProjectView {
            project: key.into(),
            name: "example".into(),
            uri: String::new(),
            node: key,
            revoked: false,
            superseded: None,
            delegation_expires: Timestamp(0),
            epoch: None,
            home: None,
            brokers: Vec::new(),
        };
        let board = Arc::new(RwLock::new(Board { project, archive: Archive::default() }));
        let (sender, commands) = mpsc::channel(1);
        let registration = Registration {
            name: "example".into(),
            homepage: String::new(),
            keywords: Vec::new(),
            permissions: Permissions::default(),
            checks: Vec::new(),
            expires: Timestamp(u64::MAX),
        };
        let registration = Verified::sign(registration, &secret).into();
        let api = Api {
            board,
            storage: storage.clone(),
            commands: sender,
            registration,
            clock: Clock::new(),
            token: "secret".into(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("bound").to_string();
        tokio::spawn(async move { axum::serve(listener, routes(api)).await });
        Bench { address, commands, storage, _state: state }
    }

    pub(super) async fn ask<T: Send + 'static>(
        bench: &Bench,
        token: &'static str,
        ask: impl FnOnce(Client) -> T + Send + 'static,
    ) -> T {
        let client = Client::at(&bench.address, token.into());
        tokio::task::spawn_blocking(move || ask(client)).await.expect("no panic")
    }

    pub(super) fn file(bytes: &[u8]) -> std::fs::File {
        let mut file = tempfile::tempfile().expect("made");
        file.write_all(bytes).expect("written");
        file.rewind().expect("rewound");
        file
    }

    fn request(package: Package) -> NewJobRequest {
        NewJobRequest { job_file: JOB.into(), package, replicas: 1 }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn changes_and_logs_need_the_token_and_the_rest_does_not() {
        let bench = bench().await;
        let offer = "0".repeat(64);
        let package = Package { hash: BlobHash::of(b""), size: 0 };
        let refused = ask(&bench, "wrong", move |client| {
            [
                client.upload(file(b"tar")).err(),
                client.submit(&request(package)).err(),
                client.cancel(&offer).err(),
                client.bytes(&format!("/jobs/{offer}/tasks/0/log")).err(),
                client.bytes(&format!("/jobs/{offer}/tasks/0/artifact?path=x")).err(),
                client.post::<Complaint>("/explain", &()).err(),
                client.post::<Complaint>("/compare", &()).err(),
            ]
        });
        for failure in refused.await {
            let failure = failure.expect("refused");
            assert_eq!(failure.exit(), Exit::State, "{failure}");
            assert!(failure.to_string().contains("api-token"), "{failure}");
        }
        let shown = ask(&bench, "wrong", |client| client.get::<ProjectView>("/project").is_ok());
        assert!(shown.await);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_job_is_taken_with_its_package_only_and_acknowledged_by_the_core() {
        let mut bench = bench().await;
        let absent = Package { hash: BlobHash::of(b"absent"), size: 6 };
        let failure = ask(&bench, "secret", move |client| client.submit(&request(absent)).err());
        assert_eq!(failure.await.expect("refused").exit(), Exit::Input);

        let package = ask(&bench, "secret", |client| client.upload(file(b"package"))).await;
        let package = package.expect("stored");
        assert_eq!(package, Package { hash: BlobHash::of(b"package"), size: 7 });

        let client = Client::at(&bench.address, "secret".into());
        let submission = tokio::task::spawn_blocking(move || client.submit(&request(package)));
        let Some(Command::Submit { job, reply }) = bench.commands.recv().await else {
            panic!("a submission")
        };
        assert_eq!((job.name.as_str(), job.package), ("hello", package));
        let offer = StatementId::from_bytes([7; 32]);
        reply.send(Ok(offer)).expect("somebody waits");
        let submitted = submission.await.expect("no panic").expect("taken");
        assert_eq!(submitted.offer, offer);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_sends_what_is_not_taken_hears_why() {
        let bench = bench().await;
        // More than all buffers on the way together take.
        let too_much = || file(&vec![0; 32 << 20]);
        for (token, says) in [("secret", "of the quota"), ("wrong", "api-token")] {
            let failure = ask(&bench, token, move |client| client.upload(too_much()).err());
            let failure = failure.await.expect("refused");
            assert_eq!(failure.exit(), Exit::State, "{failure}");
            assert!(failure.to_string().contains(says), "{failure}");
        }
        // One that neither waits for a word nor tells the size.
        let url = format!("http://{}/api/v1/packages", bench.address);
        let upload = move || {
            let agent: ureq::Agent =
                ureq::Agent::config_builder().http_status_as_error(false).build().into();
            let request = agent.post(url).header("Authorization", "Bearer secret");
            request.send(ureq::SendBody::from_owned_reader(too_much()))
        };
        let answer = tokio::task::spawn_blocking(upload).await.expect("no panic");
        assert_eq!(answer.expect("heard").status().as_u16(), 507);
    }

    #[test]
    fn a_full_disk_is_called_that() {
        let Problem(status, text) = BlobError::DiskFull { needed: 2, free: 1 }.into();
        assert_eq!(status, StatusCode::INSUFFICIENT_STORAGE);
        assert!(text.starts_with("the adapter's disk is full: "), "{text}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_wrong_is_said() {
        let bench = bench().await;
        let wrong = NewJobRequest {
            job_file: "name = \"hello\"\n[requirments]\n".into(),
            ..request(Package { hash: BlobHash::of(b""), size: 0 })
        };
        let failure = ask(&bench, "secret", move |client| client.submit(&wrong).err()).await;
        let failure = failure.expect("refused");
        assert!(failure.to_string().contains(":2:2: unknown field"), "{failure}");
        assert_eq!(failure.exit(), Exit::Input);

        for (path, status) in [("/jobs/0000", "at least 8"), ("/jobs/00000000", "no such job")] {
            let failure =
                ask(&bench, "secret", move |client| client.get::<JobView>(path).err()).await;
            let failure = failure.expect("refused").to_string();
            assert!(failure.contains(status), "{failure}");
        }
        let cells =
            ask(&bench, "", |client| client.get::<BTreeMap<String, Vec<String>>>("/matrix"));
        assert!(cells.await.expect("shown").values().all(Vec::is_empty));
    }
}
