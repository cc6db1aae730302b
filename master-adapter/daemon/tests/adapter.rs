//! The adapter as a process, between its command line and a broker that this test plays.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use capability::statements::{
    Ad, Ended, Home, JobResult, Lease, Log, Offer, Ownership, Report, StepReport, TaskId, Verdict,
};
use capability::{
    BlobKey, Capabilities, Clause, DecryptionKey, Ed25519, Envelope, Explanation, Facts,
    HpkeSealer, Need, Obstacle, Platform, PublicKey, Resources, Runtime, RuntimeFacts, SecretKey,
    Signer, Timestamp, Verified,
};
use mesh_core::{
    Answer, Ask, Bundle, Cargo, HandoverAnswer, KeyChange, RequestGuard, decode_answers,
    decode_bundles, encode_answers, encode_bundles,
};
use mesh_net::{Config, Event, IncomingBlob, Net, PeerKey, Protocol, Role};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::mpsc;

/// Longer than any step takes on a busy machine; only a failure waits as long.
const PATIENCE: Duration = Duration::from_secs(60);

fn broker_key() -> SecretKey {
    SecretKey::from_seed(&[10; 32])
}

fn volunteer_key() -> SecretKey {
    SecretKey::from_seed(&[20; 32])
}

/// A broker that keeps nothing: it acknowledges what it is asked, and notes it down.
struct Broker {
    net: Net,
    events: mpsc::Receiver<Event>,
    guard: RequestGuard,
    address: String,
    master: Option<PeerKey>,
}

/// What a broker has seen.
enum Seen {
    Published(Verified<Offer>, Verified<Home>),
    Withdrawn,
    Declared(KeyChange),
    Receipt(Verdict),
}

impl Broker {
    async fn start() -> Self {
        let config = Config {
            listen: vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")],
            ..Config::new([10; 32], Role::Broker)
        };
        let (net, mut events) = mesh_net::start(config).await.expect("started");
        let Some(Event::Listening { address }) = events.recv().await else {
            panic!("it says first where it listens")
        };
        let id = net.key().peer_id_text().expect("a key has an id");
        let address = match address.to_string() {
            complete if complete.contains("/p2p/") => complete,
            bare => format!("{bare}/p2p/{id}"),
        };
        let guard = RequestGuard::new(broker_key().public());
        Self { net, events, guard, address, master: None }
    }

    /// Serves the adapter until something worth noting has happened.
    async fn next(&mut self) -> Seen {
        loop {
            let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
            match event.expect("in time").expect("the network lives") {
                Event::Connected { peer, .. } => self.master = Some(peer),
                Event::Blob(IncomingBlob::Put(put)) => {
                    let file = tempfile::tempfile().expect("made");
                    put.receive_into(file).await.expect("received").stored().await.expect("told");
                }
                Event::Request { protocol: Protocol::Call, peer, data, reply } => {
                    let (key, now) = (PublicKey::from_bytes(peer.0), now());
                    let ask = self.guard.admit(&data, key, now, &Ed25519).expect("a request");
                    let (answer, seen) = respond(ask);
                    reply.send(answer.encode()).expect("sent");
                    if let Some(seen) = seen {
                        return seen;
                    }
                }
                Event::Request { protocol: Protocol::Custody, data, reply, .. } => {
                    let mut came = decode_bundles(&data, &Ed25519).expect("a handover");
                    reply.send(encode_answers(&[HandoverAnswer::Taken])).expect("sent");
                    assert_eq!(came.len(), 1, "results come one at a time in these tests");
                    let bundle = came.pop().expect("one").expect("a sound one");
                    let Cargo::Receipt(receipt) = bundle.cargo else { panic!("a receipt") };
                    return Seen::Receipt(receipt.verdict.clone());
                }
                _ => {}
            }
        }
    }

    async fn published(&mut self) -> (Verified<Offer>, Verified<Home>) {
        loop {
            if let Seen::Published(offer, home) = self.next().await {
                return (offer, home);
            }
        }
    }

    /// Serves the adapter until `what` has come.
    async fn serve_until<T>(&mut self, what: impl Future<Output = T>) -> T {
        tokio::pin!(what);
        loop {
            tokio::select! {
                came = &mut what => return came,
                _ = self.next() => {}
            }
        }
    }

    async fn hand_over(&mut self, result: Verified<JobResult>) -> Verdict {
        let bundle = Bundle { cargo: Cargo::Result(result), via: broker_key().public() };
        let (net, master) = (self.net.clone(), self.master.expect("it is connected"));
        let handover = tokio::spawn(async move {
            let frame = encode_bundles(&[bundle]);
            net.request(Protocol::Custody, master, frame).await.expect("answered")
        });
        let verdict = loop {
            if let Seen::Receipt(verdict) = self.next().await {
                break verdict;
            }
        };
        let answers = decode_answers(&handover.await.expect("no panic"), 1).expect("one");
        assert_eq!(answers, [HandoverAnswer::Taken]);
        verdict
    }
}

fn respond(ask: Ask) -> (Answer, Option<Seen>) {
    match ask {
        Ask::Publish { mut offers, home, .. } => {
            (Answer::Done, Some(Seen::Published(offers.remove(0).offer, home)))
        }
        Ask::Withdraw { .. } => (Answer::Done, Some(Seen::Withdrawn)),
        Ask::Declare { change } => (Answer::Done, Some(Seen::Declared(change))),
        Ask::KeyChanges { .. } => (Answer::KeyChanges(Vec::new()), None),
        Ask::Ad { volunteer } if volunteer == volunteer_key().public() => {
            (Answer::Ads(vec![ad()]), None)
        }
        Ask::Ad { .. } => (Answer::Ads(Vec::new()), None),
        _ => (Answer::Explanation(explanation()), None),
    }
}

/// Three of four machines could run it.
fn explanation() -> Explanation {
    let fact = "tool.make".parse().expect("the name of a fact");
    let range = ">=5".parse().expect("a range");
    let need = Need::Clause(Clause::Version { fact, range });
    let obstacle = Obstacle { need, excludes: 1, alone: 1, relaxed: None };
    Explanation { known: 4, matching: 3, obstacles: vec![obstacle] }
}

/// A machine with an old make, called big-one.
fn ad() -> Verified<Ad> {
    let mut facts = Facts::new();
    facts.insert("tool.make", "3.81").expect("a fact");
    facts.insert("label", "big-one").expect("a fact");
    let inside = RuntimeFacts { strength: String::new(), facts };
    let capabilities = Capabilities {
        platform: Platform::new("linux", "x86_64").expect("a platform"),
        resources: Resources { cores: 2, memory: 8 << 30, disk: 8 << 30 },
        runtimes: [(Runtime::Native, inside)].into(),
    };
    let expires = now() + Duration::from_secs(600);
    let encryption = DecryptionKey::from_seed(&[9; 32]).public();
    let ad = Ad { seq: 1, broker: broker_key().public(), capabilities, encryption, expires };
    Verified::sign(ad, &volunteer_key())
}

fn now() -> Timestamp {
    mesh_shell::Clock::new().now().wall
}

fn result(offer: &Verified<Offer>, home: &Home, ended: Ended) -> Verified<JobResult> {
    owned_result(offer, home, ended, None)
}

fn owned_result(
    offer: &Verified<Offer>,
    home: &Home,
    ended: Ended,
    ownership: Option<Envelope>,
) -> Verified<JobResult> {
    let task = TaskId { offer: offer.id(), task: 0, replica: 0 };
    let lease = Lease {
        project: offer.project,
        task,
        epoch: home.epoch,
        volunteer: volunteer_key().public(),
        runtime: Runtime::Native,
        granted: offer.issued,
        term_ms: 30_000,
        deadline: None,
        expires: offer.expires,
    };
    let lease = Verified::sign(lease, &broker_key());
    let (exit, log) = match ended {
        Ended::Passed => (0, &b"1..2\nok 1\nok 2\n"[..]),
        _ => (2, &b"1..2\nok 1\nnot ok 2 - IX \x1b]0;owned\x07\n"[..]),
    };
    let step = |name: &str, exit, log: &[u8]| StepReport {
        name: name.into(),
        exit: Some(exit),
        ending: String::new(),
        wall_ms: 1200,
        cpu_ms: 900,
        memory: 1 << 20,
        fuel: None,
        log: Log::Inline(log.to_vec()),
    };
    let report = Report {
        ended,
        steps: vec![step("build", 0, b"cc -o roman\n"), step("test", exit, log)],
        artifacts: Vec::new(),
        key: BlobKey::from_bytes([1; 32]),
        platform: Platform::new("linux", "x86_64").expect("a platform"),
        system: "Debian GNU/Linux 12".into(),
        runtime: Runtime::Native,
        ownership,
        started: offer.issued,
        finished: offer.issued,
        resumed: 0,
    };
    let sealer = HpkeSealer::new([1; 32]);
    let result = JobResult::new(&lease, Vec::new(), &report, offer.recipient(), &sealer);
    Verified::sign(result, &volunteer_key())
}

fn command(state: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_talkoot-master"));
    command.args(arguments).arg("--state").arg(state).kill_on_drop(true);
    for variable in ["TALKOOT_HTTP", "TALKOOT_BROKERS", "TALKOOT_CONFIG", "TALKOOT_LOG"] {
        command.env_remove(variable);
    }
    command
}

async fn run(state: &Path, arguments: &[&str]) -> Output {
    let output = command(state, arguments).output();
    tokio::time::timeout(PATIENCE, output).await.expect("in time").expect("it starts")
}

fn start_adapter(state: &Path, broker: &Broker) -> Child {
    let arguments = ["run", "--http", "127.0.0.1:0", "--broker", &broker.address];
    command(state, &arguments).stderr(Stdio::inherit()).spawn().expect("it starts")
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/hello-make").join(name)
}

/// Submits and waits, in the background.
fn submit(state: &Path, job: &str) -> tokio::task::JoinHandle<Output> {
    let (state, job) = (state.to_path_buf(), example(job).display().to_string());
    tokio::spawn(async move { run(&state, &["submit", &job, "--wait"]).await })
}

async fn connected(broker: &mut Broker) {
    while broker.master.is_none() {
        let event = tokio::time::timeout(PATIENCE, broker.events.recv()).await;
        if let Some(Event::Connected { peer, .. }) = event.expect("in time") {
            broker.master = Some(peer);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_out_and_its_results_come_back_also_over_a_crash() {
    let state = tempfile::tempdir().expect("made");
    let state = state.path();
    assert!(run(state, &["init", "--name", "example"]).await.status.success());
    std::fs::rename(state.join("project.key"), state.join("safe")).expect("moved away");
    let mut broker = Broker::start().await;
    let mut adapter = start_adapter(state, &broker);
    connected(&mut broker).await;

    // One passes.
    let submission = submit(state, "job.toml");
    let (offer, home) = broker.published().await;
    assert_eq!((offer.name.as_str(), home.home), ("hello-make", broker_key().public()));
    let passed = result(&offer, &home, Ended::Passed);
    assert!(matches!(broker.hand_over(passed.clone()).await, Verdict::Accepted(_)));
    let output = submission.await.expect("no panic");
    let (text, words) = (shown(&output.stdout), shown(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{words}");
    assert!(text.contains("task 0 passed after 2.40 s on linux-x86_64"), "{text}");
    assert!(text.contains("tests: 2 passed, 0 failed"), "{text}");

    // One fails, with a log that would like to have a word with the terminal.
    let submission = submit(state, "job-broken.toml");
    let (broken, home) = broker.published().await;
    let failed = result(&broken, &home, Ended::Failed);
    assert!(matches!(broker.hand_over(failed).await, Verdict::Accepted(_)));
    let output = submission.await.expect("no panic");
    let (text, words) = (shown(&output.stdout), shown(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(text.contains("    | not ok 2 - IX \\u{1b}]0;owned"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");

    // It is killed, and knows everything when it comes back.
    adapter.kill().await.expect("killed");
    broker.master = None;
    let mut adapter = start_adapter(state, &broker);
    connected(&mut broker).await;
    assert!(matches!(broker.hand_over(passed).await, Verdict::Accepted(_)), "the same receipt");
    let name = &offer.id().to_string()[..12];
    let output = run(state, &["results", name, "--json"]).await;
    let results = shown(&output.stdout);
    assert!(results.contains("\"passed\": 1"), "{results}");
    let logs = shown(&run(state, &["logs", name, "0", "--step", "test"]).await.stdout);
    assert_eq!(logs, "1..2\nok 1\nok 2\n");
    let matrix = shown(&run(state, &["matrix"]).await.stdout);
    assert!(matrix.contains("gcc-broken"), "{matrix}");

    terminate(&adapter);
    let status = tokio::time::timeout(PATIENCE, adapter.wait()).await.expect("it ends");
    assert!(status.expect("waited for").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_follows_a_job_waits_for_an_adapter_that_restarts_at_another_port() {
    let state = tempfile::tempdir().expect("made");
    let state = state.path();
    assert!(run(state, &["init", "--name", "example"]).await.status.success());
    let mut broker = Broker::start().await;
    let mut adapter = start_adapter(state, &broker);
    connected(&mut broker).await;
    let job = example("job.toml").display().to_string();
    let mut submission = Followed::start(state, &["submit", &job, "--wait"]);
    let (offer, home) = broker.published().await;
    let name = &offer.id().to_string()[..12];
    let waiting = "3 machines could run this; 1 could not: tool.make >=5 excludes 1";
    broker.serve_until(submission.says(waiting)).await;
    let status = shown(&run(state, &["status"]).await.stdout);
    assert!(status.contains(&format!("0 of 1 task, 0 failed\n          {waiting}")), "{status}");
    let artifacts = run(state, &["artifacts", name, "--into", "nowhere"]).await;
    assert_eq!((artifacts.status.code(), &*shown(&artifacts.stderr)), (Some(0), "no artifacts\n"));

    adapter.kill().await.expect("killed");
    submission.says("the adapter does not answer; waiting for it").await;
    let early = run(state, &["wait", name]).await;
    assert_eq!(early.status.code(), Some(4), "nothing is known to wait for");
    broker.master = None;
    let _adapter = start_adapter(state, &broker);
    connected(&mut broker).await;
    let mut late = Followed::start(state, &["wait", name, "--json"]);
    broker.serve_until(late.says("3 machines could run this")).await;
    let failed = result(&offer, &home, Ended::Failed);
    assert!(matches!(broker.hand_over(failed).await, Verdict::Accepted(_)));
    let (submission, late) = (submission.ends().await, late.ends().await);
    assert_eq!((submission.status.code(), late.status.code()), (Some(1), Some(1)));
    assert!(shown(&submission.stdout).contains("task 0 failed"), "{submission:?}");
    assert!(shown(&late.stdout).contains("\"failed\": 1"), "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_outlives_the_key_of_its_adapter_and_holds_the_project_where_it_is() {
    let state = tempfile::tempdir().expect("made");
    let state = state.path();
    assert!(run(state, &["init", "--name", "example"]).await.status.success());
    let mut broker = Broker::start().await;
    let mut adapter = start_adapter(state, &broker);
    connected(&mut broker).await;
    let submission = submit(state, "job.toml");
    let (offer, home) = broker.published().await;
    let pass_on = ["rotate", "--project"];
    let refused = run(state, &pass_on).await;
    let words = shown(&refused.stderr);
    assert_eq!(refused.status.code(), Some(5), "{words}");
    assert!(words.contains("stop the adapter first"), "{words}");

    adapter.kill().await.expect("killed");
    let refused = run(state, &pass_on).await;
    let words = shown(&refused.stderr);
    assert_eq!(refused.status.code(), Some(3), "{words}");
    assert!(
        words.contains("jobs are open, or") && words.contains(", 1 in all: hello-make\n"),
        "{words}"
    );
    assert!(!state.join("project-new.key").exists(), "nothing was begun");
    assert!(run(state, &["rotate"]).await.status.success());

    // The broker hears of it before it gets the offer anew.
    broker.master = None;
    let mut adapter = start_adapter(state, &broker);
    connected(&mut broker).await;
    let Seen::Declared(KeyChange::Revocation(void)) = broker.next().await else {
        panic!("a revocation before all else")
    };
    assert_eq!(void.key, offer.signer());
    let (again, moved) = broker.published().await;
    assert!(again.signer() != offer.signer() && moved.epoch == home.epoch + 1);

    // Its result counts for the job that was submitted, and says whose machine it was.
    let owner = SecretKey::from_seed(&[30; 32]);
    let nodes = vec![volunteer_key().public()];
    let ownership = Verified::sign(Ownership { nodes, expires: again.expires }, &owner);
    let ownership = Some(ownership.envelope().clone());
    let passed = owned_result(&again, &moved, Ended::Passed, ownership);
    assert!(matches!(broker.hand_over(passed).await, Verdict::Accepted(_)));
    let output = submission.await.expect("no panic");
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output.stderr));
    let of_owner = format!(" of owner {}", owner.public().short());
    assert!(shown(&output.stdout).contains(&of_owner), "{}", shown(&output.stdout));

    adapter.kill().await.expect("killed");
    broker.master = None;
    let _adapter = start_adapter(state, &broker);
    connected(&mut broker).await;
    let results = run(state, &["results", &offer.id().to_string()]).await;
    assert!(shown(&results.stdout).contains(&of_owner), "{}", shown(&results.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_could_run_a_job_is_told_before_it_is_submitted_and_after() {
    let state = tempfile::tempdir().expect("made");
    let state = state.path();
    assert!(run(state, &["init", "--name", "example"]).await.status.success());
    let mut broker = Broker::start().await;
    let _adapter = start_adapter(state, &broker);
    connected(&mut broker).await;
    let job = state.join("job.toml");
    let text = "name = \"needy\"\nrequirements.runtimes = [\"native\"]\n\
                requirements.tools.make = \">=5\"\nprefer = [{ facts.label = \"*\" }]\n\
                [[step]]\nname = \"build\"\nrun = [\"make\"]\n";
    std::fs::write(&job, text).expect("written");
    let job = job.display().to_string();

    let begun = Instant::now();
    let mut told = broker.serve_until(run(state, &["explain", &job])).await;
    // The adapter takes a broker for the home's a moment after it is connected.
    while told.status.code() == Some(4) && begun.elapsed() < PATIENCE {
        told = broker.serve_until(run(state, &["explain", &job])).await;
    }
    let (text, words) = (shown(&told.stdout), shown(&told.stderr));
    assert_eq!(told.status.code(), Some(0), "{words}");
    assert!(text.starts_with("needy: 3 of 4 machines could run it"), "{text}");
    assert!(text.contains("        1      1  tools.make = \">=5\"\n"), "{text}");
    assert!(text.contains("        0      0  cores = 1\n"), "{text}");
    assert!(text.ends_with("gains, without\n  requirements.tools.make = \">=5\"\n"), "{text}");

    let key = volunteer_key().public().to_string();
    let told = broker.serve_until(run(state, &["explain", &job, "--volunteer", &key])).await;
    let text = shown(&told.stdout);
    assert!(text.contains(" (big-one) could not run it\n"), "{text}");
    assert!(text.contains("  no   tool.make >=5    3.81\n"), "{text}");
    assert!(text.contains("  rank 1000\n"), "{text}");

    // Of a volunteer that has returned a result less will do; of a job that is offered, its name.
    for early in [&key[..8], "big"] {
        let unknown = run(state, &["explain", &job, "--volunteer", early]).await;
        assert_eq!(unknown.status.code(), Some(3), "{unknown:?}");
    }
    let submission = submit(state, "job.toml");
    let (offer, home) = broker.published().await;
    broker.hand_over(result(&offer, &home, Ended::Passed)).await;
    submission.await.expect("no panic");
    let name = &offer.id().to_string()[..12];
    for volunteer in [&key[..8], "big"] {
        let arguments = ["explain", name, "--volunteer", volunteer, "--json"];
        let told = broker.serve_until(run(state, &arguments)).await;
        let text = shown(&told.stdout);
        assert!(text.contains(&format!("\"volunteer\": \"{key}\"")), "{text} {told:?}");
    }
    let unknown = run(state, &["explain", "0123456789ab"]).await;
    assert_eq!(unknown.status.code(), Some(3), "{unknown:?}");
    assert!(shown(&unknown.stderr).contains("there is no such job"), "{unknown:?}");
    let away = volunteer_key_of_nobody();
    let told = broker.serve_until(run(state, &["explain", name, "--volunteer", &away])).await;
    assert!(shown(&told.stderr).contains("has no ad of volunteer"), "{told:?}");
}

fn volunteer_key_of_nobody() -> String {
    SecretKey::from_seed(&[21; 32]).public().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker_nobody_can_tell_who_could_run_a_job() {
    let state = tempfile::tempdir().expect("made");
    let state = state.path();
    assert!(run(state, &["init", "--name", "example"]).await.status.success());
    let mut broker = Broker::start().await;
    let _adapter = start_adapter(state, &broker);
    connected(&mut broker).await;
    drop(broker);
    let job = example("job.toml").display().to_string();
    let told = async {
        loop {
            let told = run(state, &["explain", &job]).await;
            assert_eq!(told.status.code(), Some(4), "{told:?}");
            // The connection has to be missed first.
            if shown(&told.stderr).contains("is not connected") {
                return told;
            }
        }
    };
    let told = tokio::time::timeout(PATIENCE, told).await.expect("in time");
    assert!(shown(&told.stderr).contains("talkoot-master status"), "{told:?}");
}

/// A command while it runs.
struct Followed {
    child: Child,
    words: Lines<BufReader<ChildStderr>>,
}

impl Followed {
    fn start(state: &Path, arguments: &[&str]) -> Self {
        let mut command = command(state, arguments);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let words = BufReader::new(child.stderr.take().expect("piped")).lines();
        Self { child, words }
    }

    /// Waits until it says `words`.
    async fn says(&mut self, words: &str) {
        let mut said = String::new();
        while !said.contains(words) {
            let line = tokio::time::timeout(PATIENCE, self.words.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("no {words:?} after {said:?}"));
            said = line.expect("text").unwrap_or_else(|| panic!("no {words:?} at the end"));
        }
    }

    async fn ends(self) -> Output {
        let output = self.child.wait_with_output();
        tokio::time::timeout(PATIENCE, output).await.expect("in time").expect("it ends")
    }
}

fn terminate(child: &Child) {
    let id = child.id().expect("it runs").to_string();
    let killed = std::process::Command::new("kill").args(["-TERM", &id]).status();
    assert!(killed.expect("kill runs").success());
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
