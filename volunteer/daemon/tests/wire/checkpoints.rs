//! Jobs that go on where they were when the daemon ended.

use std::path::Path;
use std::time::{Duration, Instant};

use capability::statements::{Ended, Log, Report};
use capability::{Checkpoint, Runtime, Step};
use serde_json::Value;

use crate::support::{Broker, Daemon, is_offered, report_in, start, volunteer};

/// Keeps checkpoints, and has a minute in all.
async fn broker(runtime: Runtime, run: Vec<String>, files: &[(&str, &[u8])]) -> Broker {
    let step = Step { name: "count".into(), run };
    let mut broker = Broker::start(runtime, vec![step], files).await;
    broker.change_job(|job| {
        job.checkpoint = Some(Checkpoint { every_ms: 600_000, size: 1 << 20 });
        job.limits.wall_ms = 60_000;
        // What of it a job leaves is nobody's artifact.
        job.artifacts = vec!["**".into()];
    });
    broker
}

fn shell(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).into()
}

/// The job in hand, once the daemon answers and there is one.
fn job(directory: &Path) -> Option<Value> {
    let output = volunteer(directory).args(["jobs", "--json"]).output().unwrap();
    let jobs: Value = serde_json::from_slice(&output.stdout).ok()?;
    jobs.get(0).cloned()
}

/// Waits until the job is as `wanted`; a minute at most.
fn until(directory: &Path, wanted: impl Fn(&Value) -> bool) {
    let begun = Instant::now();
    while !job(directory).is_some_and(|job| wanted(&job)) {
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not come to that");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until the job that runs now has left a checkpoint from which the next process would go on.
async fn until_kept(broker: &mut Broker, directory: &Path) {
    let path = directory.to_owned();
    let kept = |job: &Value| job["goes_on"] == true && job["progress"]["checkpoint_age_s"].is_u64();
    let seen = tokio::task::spawn_blocking(move || until(&path, kept));
    broker.serve_while(seen).await.unwrap();
}

/// `kill -9`, and the next process.
fn restarted(daemon: Daemon, broker: &mut Broker, directory: &Path) -> Daemon {
    drop(daemon);
    broker.forget_ad_and_pull();
    broker.show(Vec::new());
    start(directory, &broker.address)
}

fn log(report: &Report) -> String {
    let Log::Inline(log) = &report.steps[0].log else { panic!("a short log") };
    String::from_utf8_lossy(log).into_owned()
}

fn left(directory: &Path) -> usize {
    let entries = |name: &str| std::fs::read_dir(directory.join("state").join(name)).unwrap();
    entries("checkpoints").chain(entries("jobs")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_on_from_its_checkpoint_after_a_stop_and_after_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let script = r#"
        save() { echo $1 >"$TALKOOT_CHECKPOINT.new"; mv "$TALKOOT_CHECKPOINT.new" "$TALKOOT_CHECKPOINT"; }
        n=$(cat "$TALKOOT_CHECKPOINT" || echo 0)
        echo "from $n, resumed $TALKOOT_RESUMED"
        case $n in
            0) touch begun; until [ -e "$TALKOOT_CHECKPOINT_WANTED" ]; do sleep 0.02; done; save 1; sleep 99;;
            1) save 2; sleep 99;;
        esac
        echo $n >result"#;
    let mut broker = broker(Runtime::Native, shell(script), &[("input", b"")]).await;
    let first = start(directory.path(), &broker.address);
    if !is_offered(directory.path(), "native") {
        return broker.expect_no_claim().await;
    }

    let path = directory.path().to_owned();
    let stopped = tokio::task::spawn_blocking(move || {
        until(&path, |job| job["stage"] == "running" && job["progress"]["step"] == 1);
        until_begun(&path);
        assert!(volunteer(&path).arg("stop").status().unwrap().success());
        while volunteer(&path).arg("status").output().unwrap().status.code() != Some(4) {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    broker.serve_while(stopped).await.unwrap();
    let second = restarted(first, &mut broker, directory.path());
    until_kept(&mut broker, directory.path()).await;
    let _third = restarted(second, &mut broker, directory.path());
    let (_, result) = broker.serve().await;

    let report = report_in(&result);
    assert_eq!((&report.ended, report.resumed), (&Ended::Passed, 2), "{:?}", report.steps);
    assert_eq!(log(&report), "from 2, resumed 2\n");
    let artifacts: Vec<_> = report.artifacts.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(artifacts, ["input", "result"]);
    assert_eq!(left(directory.path()), 0, "something was left behind");
}

/// Waits until the job's own script runs.
fn until_begun(directory: &Path) {
    let jobs = directory.join("state/jobs");
    let begun = || {
        let mut homes = std::fs::read_dir(&jobs).unwrap().flatten();
        homes.any(|home| home.path().join("work/begun").exists())
    };
    while !begun() {
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_goes_on_from_its_checkpoint_after_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let module = wat::parse_str(include_str!("checkpoint.wat")).unwrap();
    let run = vec!["checkpoint.wasm".to_owned()];
    let mut broker = broker(Runtime::Wasm, run, &[("checkpoint.wasm", &module)]).await;
    let first = start(directory.path(), &broker.address);
    if !is_offered(directory.path(), "wasm") {
        return broker.expect_no_claim().await;
    }

    until_kept(&mut broker, directory.path()).await;
    let _second = restarted(first, &mut broker, directory.path());
    let (_, result) = broker.serve().await;

    let report = report_in(&result);
    assert_eq!((&report.ended, report.resumed), (&Ended::Passed, 1), "{:?}", report.steps);
    assert_eq!(log(&report), "kept\n");
    assert_eq!(left(directory.path()), 0, "something was left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_is_a_trap_is_refused_in_words_and_its_job_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let script = r#"ln -s /etc/passwd "$TALKOOT_CHECKPOINT"; sleep 2.5; echo fine"#;
    let mut broker = broker(Runtime::Native, shell(script), &[("input", b"")]).await;
    let _daemon = start(directory.path(), &broker.address);
    if !is_offered(directory.path(), "native") {
        return broker.expect_no_claim().await;
    }

    let (_, result) = broker.serve().await;

    let report = report_in(&result);
    assert_eq!((&report.ended, report.resumed), (&Ended::Passed, 0), "{:?}", report.steps);
    let told: Vec<_> =
        report.steps.iter().map(|it| (it.name.as_str(), it.ending.as_str())).collect();
    let why = "the checkpoint was refused: it is a link, or no regular file";
    assert_eq!(told, [("count", ""), ("checkpoint", why)]);
    assert_eq!(left(directory.path()), 0, "something was left behind");
}
