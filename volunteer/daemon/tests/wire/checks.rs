//! Project checks, from the registration to the ad and the offer, in the real sandbox.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use capability::statements::{Ad, Check, Ended};
use capability::{Clause, Fact, FactName, Runtime, Step};
use serde_json::Value;

use crate::support::{Broker, ask, is_offered, project, report_in, start, start_with, volunteer};

/// By name, the value of each check or why it has none.
type Outcomes = BTreeMap<String, Result<String, String>>;

fn check(name: &str, command: &[&str]) -> Check {
    Check {
        name: name.to_owned(),
        runtime: Runtime::Native,
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        depends: Vec::new(),
    }
}

fn script(name: &str, script: &str) -> Check {
    check(name, &["sh", "-c", script])
}

/// A broker that shows no offer.
async fn broker() -> Broker {
    let step = Step { name: "all".into(), run: vec!["true".to_owned()] };
    let mut broker = Broker::start(Runtime::Native, vec![step], &[("out/file", b"")]).await;
    broker.show(Vec::new());
    broker
}

#[track_caller]
fn expect_sandbox(directory: &Path) {
    assert!(is_offered(directory, "native"), "these tests need the sandbox");
}

/// The fact that the check `name` finds.
fn fact(name: &str) -> FactName {
    script(name, "").fact(project())
}

/// What `ad` says of the check `name`.
fn stated(ad: &Ad, name: &str) -> Option<Fact> {
    ad.capabilities.runtimes.get(&Runtime::Native)?.facts.get(fact(name).as_str()).cloned()
}

/// What the daemon says of each check: its value, or why it has none.
fn outcomes(directory: &Path) -> Outcomes {
    let found = ask(directory, &["results", "--json"]);
    let checks = found["projects"][0]["checks"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let outcome = |check: &Value| {
        let outcome = match &check["value"] {
            Value::Null => Err(text(&check["reason"]).unwrap()),
            value => Ok(text(value).unwrap_or_else(|| value.to_string())),
        };
        (text(&check["name"]).unwrap(), outcome)
    };
    checks.iter().map(outcome).collect()
}

/// Waits for a [state of checks](outcomes) as it is `wanted`.
async fn outcomes_once(
    directory: &Path,
    wanted: impl Fn(&Outcomes) -> bool + Send + 'static,
) -> Outcomes {
    let directory = directory.to_owned();
    let looking = tokio::task::spawn_blocking(move || {
        loop {
            match outcomes(&directory) {
                found if wanted(&found) => break found,
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    });
    looking.await.unwrap()
}

/// Whether a process of this machine has `word` among its arguments.
fn is_running(word: &str) -> bool {
    let runs = |process: std::fs::DirEntry| {
        let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        command.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())
    };
    std::fs::read_dir("/proc").unwrap().flatten().any(runs)
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_checks_cost_their_own_facts_alone() {
    let directory = tempfile::tempdir().unwrap();
    let mut broker = broker().await;
    let port = broker.address.rsplit('/').next().unwrap();
    let dial = format!("exec 3<>/dev/tcp/127.0.0.1/{port} && echo reached");
    let node_key = directory.path().join("state/node.key");
    let long = "x".repeat(257);
    // In the order in which they run.
    broker.tell(vec![
        script("a-writes", "echo x >file; mkdir -p d/e; ln -s /etc d/f; cat file"),
        script("b-finds", "ls -A | wc -l"),
        script("background", "sleep 86397 & echo 1"),
        check("dials", &["bash", "-c", &dial]),
        script("exits", "echo why >&2; exit 7"),
        script("fills", "head -c 64M /dev/zero >large; sleep 86397"),
        script("floods", "head -c 100M /dev/zero"),
        script("for-ever", "trap '' TERM INT; while :; do :; done"),
        script("garbage", r"printf '\377\376\n'"),
        script("hogs", "tail /dev/zero"),
        check("is-long", &["echo", &long]),
        check("not-there", &["/nowhere/program"]),
        check("reads", &["cat", node_key.to_str().unwrap()]),
        script("screen", r"printf '\033[2J'"),
        script("silent", ""),
        script("writes-out", "echo x >/usr/x || echo x >/etc/x || echo x >../x"),
    ]);
    let _daemon = start(directory.path(), &broker.address);
    expect_sandbox(directory.path());
    let waits = |reason: &String| {
        let passing = [
            "the machine is still being probed",
            "no broker has told within a day whether the project's key still holds",
            "it waits for its turn",
            "it runs",
        ];
        passing.contains(&reason.as_str())
    };
    let settled = outcomes_once(directory.path(), move |found| {
        found.len() == 16 && !found.values().any(|it| it.as_ref().is_err_and(waits))
    });
    let found = broker.serve_while(settled).await;

    let expected = [
        ("a-writes", "x"),
        ("b-finds", "0"),
        ("background", "1"),
        ("dials", "no: it exited with 1: bash: connect: "),
        ("exits", "no: it exited with 7: why"),
        ("fills", "no: it reached its limit on disk"),
        ("floods", "no: it reached its limit on output"),
        ("for-ever", "no: it reached its limit on wall time"),
        ("garbage", "no: the first line of its output is not UTF-8"),
        ("hogs", "no: it reached its limit on memory"),
        ("is-long", "no: the first line of its output is over 256 bytes"),
        ("not-there", "no: it exited with 127: cannot execute /nowhere/program"),
        ("reads", "no: it exited with 1: cat: "),
        ("screen", "no: the first line of its output has control characters"),
        ("silent", "true"),
        ("writes-out", "no: it exited with 2: sh: 1: cannot create "),
    ];
    for (name, expected) in expected {
        match (&found[name], expected.strip_prefix("no: ")) {
            (Err(reason), Some(begins)) => assert!(reason.starts_with(begins), "{name}: {reason}"),
            (found, _) => assert_eq!(*found, Ok(expected.to_owned()), "{name}"),
        }
    }
    let ad = broker.serve_until_ad(|ad| stated(ad, "silent").is_some()).await;
    for (name, outcome) in &found {
        assert_eq!(stated(&ad, name).is_some(), outcome.is_ok(), "{name}");
    }
    assert!(!is_running("86397"), "a process was left behind");
    let jobs = directory.path().join("state/jobs");
    assert!(std::fs::read_dir(jobs).unwrap().next().is_none(), "something was left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_check_finds_decides_which_offers_run_until_a_fact_that_it_depends_on_changes() {
    let directory = tempfile::tempdir().unwrap();
    let mut broker = broker().await;
    let depends = vec!["tool.frob".parse().unwrap()];
    // Another value each time that it runs.
    broker.tell(vec![Check { depends, ..script("moment", "date +moment-%s-%N") }]);
    let frob =
        |version: &str| format!("[[tool]]\nname = \"frob\"\ncommand = [\"echo\", \"{version}\"]\n");
    let daemon = start_with(directory.path(), &broker.address, &frob("1.2"));
    expect_sandbox(directory.path());

    // It is in the ad, and offers are judged by it.
    let ad = broker.serve_until_ad(|ad| stated(ad, "moment").is_some()).await;
    let first = stated(&ad, "moment").unwrap();
    let needs = |value: &Fact| vec![Clause::Equals { fact: fact("moment"), value: value.clone() }];
    let right = broker.offer_that_needs("right", needs(&first));
    let wrong = broker.offer_that_needs("wrong", needs(&Fact::from("never")));
    broker.show(vec![wrong, right.clone()]);
    let (peer, result) = broker.serve().await;
    broker.give_receipt(peer, &result).await;
    assert_eq!((result.task.offer, report_in(&result).ended), (right.offer.id(), Ended::Passed));
    let declined = ask(directory.path(), &["why", "--json"])["declined"].clone();
    assert_eq!((&declined[0]["name"], &declined[1]), (&"wrong".into(), &Value::Null));
    let reason =
        format!("needs {} never, this machine's native runtime has {first}", fact("moment"));
    assert_eq!(declined[0]["reason"], reason);

    // Another process has no reason to run it again.
    drop(daemon);
    broker.forget_ad_and_pull();
    let daemon = start_with(directory.path(), &broker.address, &frob("1.2"));
    let ad = broker.serve_until_ad(|ad| stated(ad, "moment").is_some()).await;
    assert_eq!(stated(&ad, "moment"), Some(first.clone()));

    // With another frob it runs once more.
    drop(daemon);
    broker.forget_ad_and_pull();
    let _daemon = start_with(directory.path(), &broker.address, &frob("1.3"));
    let ad = broker.serve_until_ad(|ad| stated(ad, "moment").is_some()).await;
    assert_ne!(stated(&ad, "moment"), Some(first));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_ends_the_check_that_runs_and_later_it_runs_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut broker = broker().await;
    broker.tell(vec![script("slow", "sleep 3; echo done")]);
    let _daemon = start(directory.path(), &broker.address);
    expect_sandbox(directory.path());
    let runs = |found: &Outcomes| found.get("slow") == Some(&Err("it runs".to_owned()));
    broker.serve_while(outcomes_once(directory.path(), runs)).await;

    let wish =
        |wish: &str| assert!(volunteer(directory.path()).arg(wish).status().unwrap().success());
    wish("pause");
    let paused = outcomes_once(directory.path(), move |found| !runs(found));
    let paused = broker.serve_while(paused).await;
    let reason = "it could not be run and is tried again: stopped by the owner of the machine";
    assert_eq!(paused["slow"], Err(reason.to_owned()));
    wish("resume");

    let ad = broker.serve_until_ad(|ad| stated(ad, "slow").is_some()).await;
    assert_eq!(stated(&ad, "slow"), Some("done".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_tells_what_checks_have_found_and_goes_by_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut broker = broker().await;
    let depends = vec!["tool.bash".parse().unwrap(), "tool.zig".parse().unwrap()];
    broker.tell(vec![
        script("answer", "echo 42"),
        Check { depends, ..script("zig-works", "zig version || exit 3") },
    ]);
    let _daemon = start(directory.path(), &broker.address);
    expect_sandbox(directory.path());
    let ran = |found: &Outcomes| found.values().all(|it| *it != Err("it runs".to_owned()));
    broker.serve_until_ad(|ad| stated(ad, "answer").is_some()).await;
    let both = outcomes_once(directory.path(), move |found| {
        ran(found) && found["zig-works"] != Err("it waits for its turn".to_owned())
    });
    broker.serve_while(both).await;

    let found = ask(directory.path(), &["doctor", "--json"]);
    let [answer, zig] = found["projects"][0]["checks"].as_array().unwrap().as_slice() else {
        panic!("{found}");
    };
    assert_eq!((&answer["value"], &answer["missing"]), (&42.into(), &Value::Array(Vec::new())));
    let reason = zig["reason"].as_str().unwrap();
    assert!(reason.starts_with("it exited with 3: sh: 1: zig: not found"), "{reason}");
    assert!(answer["at"].is_string() && zig["at"].is_string(), "{found}");
    assert_eq!(
        (&zig["missing"][0]["what"], &zig["missing"][1]),
        (&"tool.zig".into(), &Value::Null)
    );

    let job = directory.path().join("job.toml");
    let fits = |answer: u32| {
        let text = format!(
            "name = \"checked\"\nlimits.memory = \"64 MiB\"\n\
             [requirements]\nruntimes = [\"native\"]\nfacts.\"check.answer\" = {{ at-least = {answer} }}\n\
             [[step]]\nname = \"a\"\nrun = [\"a\"]\n"
        );
        std::fs::write(&job, text).unwrap();
        volunteer(directory.path()).args(["doctor", "--job"]).arg(&job).output().unwrap()
    };
    let said = fits(42);
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.success() && text.contains("check answer = 42 (20"), "{text}");
    assert_eq!(fits(43).status.code(), Some(6));
}
