//! From the pull to the receipt.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use capability::statements::{Ended, Log};
use capability::{Runtime, Step};
use mesh_core::HandoverAnswer;
use mesh_shell::peer_key;
use serde_json::{Value, json};

use crate::support::{Broker, ask, is_offered, report_in, start, start_with, volunteer};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_pulled_run_in_the_sandbox_returned_and_credited() {
    let directory = tempfile::tempdir().unwrap();
    let script = "head -c 5000 /dev/zero; mkdir out; cat input >out/copy; \
                  echo $TALKOOT_TASK_INDEX of $TALKOOT_TASK_COUNT >out/task; ls /root";
    let step = Step { name: "all".into(), run: ["sh", "-c", script].map(str::to_owned).into() };
    let mut broker = Broker::start(Runtime::Native, vec![step], &[("input", b"answer")]).await;
    let daemon = start(directory.path(), &broker.address);
    if !is_offered(directory.path(), "native") {
        return broker.expect_no_claim().await;
    }

    let (peer, result) = broker.serve().await;

    let report = report_in(&result);
    assert_eq!(report.ended, Ended::Failed, "there is no /root inside: {:?}", report.steps);
    assert_eq!((result.task.task, report.steps[0].exit), (4, Some(2)));
    let Log::Blob(log) = report.steps[0].log else { panic!("a long log") };
    assert_eq!(broker.read(&result, log)[..5000], [0; 5000]);
    let artifacts = report.artifacts.iter();
    let artifacts = artifacts.map(|it| (it.path.as_str(), broker.read(&result, it.content)));
    let expected = [("out/copy", b"answer".to_vec()), ("out/task", b"4 of 100000\n".to_vec())];
    assert_eq!(artifacts.collect::<Vec<_>>(), expected);
    assert!(!report.system.is_empty());
    let jobs = directory.path().join("state/jobs");
    assert!(std::fs::read_dir(jobs).unwrap().next().is_none(), "something was left behind");
    assert_eq!(peer, peer_key(result.signer()));

    assert_eq!(broker.give_receipt(peer, &result).await, HandoverAnswer::Taken);
    let results = ask(directory.path(), &["results", "--json"]);
    assert_eq!(results["projects"][0]["credit"], 1234);
    assert_eq!(
        (&results["undelivered"], &results["receipts"][0]["verdict"]),
        (&0.into(), &"accepted".into())
    );

    // What it keeps anybody can check, and that there was a run its owner can see.
    let path = directory.path().join("receipts.txt");
    let file = path.to_str().unwrap();
    let run = |arguments: &[&str]| volunteer(directory.path()).args(arguments).output().unwrap();
    assert!(run(&["results", "--receipts", file]).status.success());
    assert!(run(&["results", "--verify"]).status.success());
    let history = ask(directory.path(), &["history", "--json"]);
    drop(daemon);
    let checked = ask(directory.path(), &["results", "--verify", file, "--json"]);
    assert_eq!((&checked["bad"], &checked["totals"][0]["credit"]), (&json!([]), &1234.into()));
    assert_eq!(checked["totals"][0]["volunteer"], result.signer().to_string());
    let past = &history["runs"][0];
    assert_eq!((&past["name"], &past["ended"]), (&"hello".into(), &"failed".into()));
    assert_eq!((&past["result"], &past["receipt"]["credit"]), (&"judged".into(), &1234.into()));
    assert!(past["wall_ms"].as_u64() > Some(0) && past["fetched"].as_u64() > Some(0), "{past}");
    assert!(past["sent"].as_u64() > Some(5000), "the long log: {past}");
    assert_eq!((&history["next"], history["runs"].as_array().unwrap().len()), (&Value::Null, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_complete_when_the_daemon_was_killed_is_handed_over_by_the_next_one() {
    let directory = tempfile::tempdir().unwrap();
    let step = Step { name: "all".into(), run: vec!["true".to_owned()] };
    let mut broker = Broker::start(Runtime::Native, vec![step], &[("out/file", b"kept")]).await;
    let daemon = start(directory.path(), &broker.address);
    if !is_offered(directory.path(), "native") {
        return broker.expect_no_claim().await;
    }
    let (_, result) = broker.serve().await;

    // No receipt came, and the broker may have lost everything; the next process tries again.
    drop(daemon);
    broker.forget_everything();
    broker.show(Vec::new());
    let daemon = start(directory.path(), &broker.address);
    let (peer, again) = broker.serve().await;

    assert_eq!(again.id(), result.id());
    let [blob] = result.blobs.as_slice() else { panic!("the artifact") };
    assert!(broker.has(&blob.hash), "it came with the result");
    let fate = || ask(directory.path(), &["history", "--json"])["runs"][0]["result"].clone();
    assert_eq!(fate(), "waiting");
    assert_eq!(broker.give_receipt(peer, &again).await, HandoverAnswer::Taken);
    assert_eq!(fate(), "judged");
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_of_the_sweep_computes_its_share() {
    let directory = tempfile::tempdir().unwrap();
    let module = wat::parse_str(include_str!("../../../../examples/sweep/sweep.wat")).unwrap();
    let step = Step { name: "sweep".into(), run: vec!["sweep.wasm".into()] };
    let files: [(&str, &[u8]); 2] = [("sweep.wasm", &module), ("out/placeholder", b"")];
    let mut broker = Broker::start(Runtime::Wasm, vec![step], &files).await;
    let _daemon = start(directory.path(), &broker.address);
    if !is_offered(directory.path(), "wasm") {
        return broker.expect_no_claim().await;
    }

    let (_, result) = broker.serve().await;

    let report = report_in(&result);
    assert_eq!(report.ended, Ended::Passed, "{:?}", report.steps);
    let Log::Inline(log) = &report.steps[0].log else { panic!("a short log") };
    assert!(log.starts_with(b"task 4 of 100000: n in [4000, 5000)"), "{report:?}");
    assert_eq!(report.runtime, Runtime::Wasm);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_is_compiled_once_for_all_steps_that_run_it() {
    let directory = tempfile::tempdir().unwrap();
    let module = wat::parse_str(include_str!("../../../../examples/untrusted/greeting.wat"));
    let step = |name: &str| Step { name: name.into(), run: vec!["greeting.wasm".into()] };
    let steps = vec![step("first"), step("second")];
    let files: [(&str, &[u8]); 1] = [("greeting.wasm", &module.unwrap())];
    let mut broker = Broker::start(Runtime::Wasm, steps, &files).await;
    let _daemon = start(directory.path(), &broker.address);
    if !is_offered(directory.path(), "wasm") {
        return broker.expect_no_claim().await;
    }
    let kept = || std::fs::read_dir(directory.path().join("state/cache/wasm")).unwrap().count();
    let tried = kept();
    assert!(tried > 0, "what was tried before anything was advertised");

    let (_, result) = broker.serve().await;

    assert_eq!(report_in(&result).ended, Ended::Passed);
    assert_eq!(kept(), tried + 1);
    let leftover = |path: PathBuf| std::fs::read_dir(path).unwrap().next().is_some();
    assert!(!leftover(directory.path().join("state/jobs")), "something was left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_machine_says_that_it_drains_or_has_paused() {
    let directory = tempfile::tempdir().unwrap();
    let step = Step { name: "all".into(), run: ["sleep", "4"].map(str::to_owned).into() };
    let mut broker = Broker::start(Runtime::Native, vec![step], &[("out/file", b"")]).await;
    let _daemon = start(directory.path(), &broker.address);
    if !is_offered(directory.path(), "native") {
        return broker.expect_no_claim().await;
    }
    let path = directory.path().to_owned();
    let owner = tokio::task::spawn_blocking(move || {
        let status = || ask(&path, &["status", "--json"]);
        let wish = |wish: &str| assert!(volunteer(&path).arg(wish).status().unwrap().success());
        while status()["jobs"][0]["stage"] != "running" {
            std::thread::sleep(Duration::from_millis(50));
        }
        wish("drain");
        let draining = status();
        wish("resume");
        wish("pause");
        let paused = status();
        wish("resume");
        (draining, paused)
    });

    let (_, result) = broker.serve().await;

    assert_eq!(report_in(&result).ended, Ended::Passed);
    let (draining, paused) = owner.await.unwrap();
    assert_eq!(
        (&draining["idle"], &draining["jobs"][0]["stage"]),
        (&Value::Null, &"running".into())
    );
    assert_eq!(draining["obstacle"]["reason"], "draining: nothing new is taken");
    assert_eq!(paused["jobs"][0]["stage"], "paused");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_that_the_policy_declines_is_taken_after_a_restart_with_another() {
    let directory = tempfile::tempdir().unwrap();
    let step = Step { name: "all".into(), run: vec!["true".to_owned()] };
    let mut broker = Broker::start(Runtime::Native, vec![step], &[("out/file", b"")]).await;
    broker.offered.others = Some(5);
    broker.show(vec![broker.offered.clone()]);
    let rare = "[policy]\nothers = { at-most = 2 }\n";
    let daemon = start_with(directory.path(), &broker.address, rare);
    if !is_offered(directory.path(), "native") {
        return broker.expect_no_claim().await;
    }
    let path = directory.path().to_owned();
    let owner = tokio::task::spawn_blocking(move || {
        loop {
            match ask(&path, &["why", "--json"])["declined"].as_array() {
                Some(declined) if !declined.is_empty() => break declined[0].clone(),
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    });

    let declined = tokio::select! {
        _ = broker.serve() => panic!("it ran in spite of the policy"),
        declined = owner => declined.unwrap(),
    };

    let reason = "your policy says no: needs others of at most 2, this offer has 5";
    assert_eq!((&declined["reason"], &declined["name"]), (&reason.into(), &"hello".into()));
    drop(daemon);

    broker.forget_ad_and_pull();
    broker.show(vec![broker.offered.clone()]);
    let common = "[policy]\nothers = { at-most = 5 }\n";
    let _daemon = start_with(directory.path(), &broker.address, common);
    let (_, result) = broker.serve().await;
    assert_eq!(report_in(&result).ended, Ended::Passed);
}

/// The process whose command line has an argument that begins with `marker`, in `/proc`.
fn process(marker: &str) -> Option<PathBuf> {
    let has = |path: &Path| {
        let command = std::fs::read(path.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).split('\0').any(|it| it.starts_with(marker))
    };
    std::fs::read_dir("/proc").unwrap().flatten().map(|it| it.path()).find(|it| has(it))
}

/// Whether it is stopped by a signal, or frozen with its control group.
fn stands_still(process: &Path) -> bool {
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let stat = read(process.join("stat"));
    let stopped = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'));
    let groups = read(process.join("cgroup"));
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let frozen = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].into_iter().any(|root| {
        let events = read(Path::new(root).join(group).join("cgroup.events"));
        events.lines().any(|line| line == "frozen 1")
    });
    stopped || frozen
}

/// How long it takes until `wanted`; at most a minute.
fn time_until(wanted: impl Fn() -> bool) -> Duration {
    let begun = Instant::now();
    while !wanted() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not come to that");
        std::thread::sleep(Duration::from_millis(10));
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_job_stands_still_within_two_seconds_and_a_drain_ends_although_it_hangs() {
    let directory = tempfile::tempdir().unwrap();
    let marker = format!(": busy-{}", std::process::id());
    let script = format!("{marker}; while :; do :; done");
    let run = ["sh", "-c", &script].map(str::to_owned).into();
    let step = Step { name: "all".into(), run };
    let mut broker = Broker::start(Runtime::Native, vec![step], &[("out/file", b"")]).await;
    let _daemon = start(directory.path(), &broker.address);
    if !is_offered(directory.path(), "native") {
        return broker.expect_no_claim().await;
    }
    let path = directory.path().to_owned();
    let owner = tokio::task::spawn_blocking(move || {
        let wish = |arguments: &[&str]| {
            assert!(volunteer(&path).args(arguments).status().unwrap().success());
        };
        time_until(|| process(&marker).is_some());
        wish(&["pause"]);
        let stopped = time_until(|| process(&marker).is_some_and(|it| stands_still(&it)));
        println!("a pause took {stopped:?} after it was durable");
        assert!(stopped < Duration::from_secs(2), "{stopped:?}");
        wish(&["drain", "--within", "1s"]);
        time_until(|| process(&marker).is_none());
        time_until(|| volunteer(&path).arg("status").output().unwrap().status.code() == Some(4));
    });
    broker.serve_while(owner).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_does_not_come_during_a_pause_and_comes_to_its_end_afterwards() {
    let directory = tempfile::tempdir().unwrap();
    let step = Step { name: "all".into(), run: vec!["true".to_owned()] };
    let file = vec![7; 2 << 20];
    let mut broker = Broker::start(Runtime::Native, vec![step], &[("file", &file)]).await;
    let _daemon = start_with(directory.path(), &broker.address, "network-down = \"128 KiB\"\n");
    if !is_offered(directory.path(), "native") {
        return broker.expect_no_claim().await;
    }
    let path = directory.path().to_owned();
    let come = move |path: &Path| size_of(&path.join("state/blobs"));
    let owner = tokio::task::spawn_blocking(move || {
        let wish = |arguments: &[&str]| {
            assert!(volunteer(&path).args(arguments).status().unwrap().success());
        };
        time_until(|| come(&path) > 64 << 10);
        wish(&["pause"]);
        std::thread::sleep(Duration::from_secs(1));
        let before = come(&path);
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(come(&path), before, "it goes on");
        assert!(before < 2 << 20, "it was cut amid its way");
        wish(&["config", "set", "network-down", "1 GiB"]);
        wish(&["resume"]);
    });
    broker.serve_while(owner).await.unwrap();

    let (_, result) = broker.serve().await;
    assert_eq!(report_in(&result).ended, Ended::Passed);
}

/// Bytes of all files below `folder`.
fn size_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => size_of(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}
