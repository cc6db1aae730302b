//! What the owner sees of a job while it runs.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use capability::statements::Ended;
use capability::{Clause, Runtime, Step};
use serde_json::Value;

use crate::support::{Broker, ask, is_offered, project, report_in, start_with, volunteer};

/// Its output as a person gets it, with how it has ended.
fn said(directory: &Path, arguments: &[&str]) -> (String, String, Option<i32>) {
    let output = volunteer(directory).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

/// Reads the log while the job waits, lets it go on, and reads to the end.
fn follow(directory: &Path, jobs: &Value) -> (String, String, Option<i32>) {
    let mut logs = volunteer(directory);
    let logs = logs.args(["logs", "-f"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut logs = logs.spawn().unwrap();
    let mut begun = String::new();
    let mut output = BufReader::new(logs.stdout.take().unwrap());
    while !begun.ends_with("two\n") {
        assert!(output.read_line(&mut begun).unwrap() > 0, "it ended with {begun:?}");
    }
    let lease = jobs[0]["lease"].as_str().unwrap();
    let work = directory.join("state/jobs").join(lease).join("work");
    std::fs::write(work.join("go"), "").unwrap();
    output.read_to_string(&mut begun).unwrap();
    let ended = logs.wait_with_output().unwrap();
    (begun, String::from_utf8_lossy(&ended.stderr).into_owned(), ended.status.code())
}

/// What was seen while it ran.
struct Seen {
    jobs: Value,
    table: String,
    why: Value,
    why_in_words: String,
    project: Value,
    so_far: String,
    followed: (String, String, Option<i32>),
    events: String,
}

fn look(directory: &Path) -> Seen {
    let jobs = loop {
        let jobs = ask(directory, &["jobs", "--json"]);
        if jobs[0]["progress"]["fraction"] == 0.4 {
            break jobs;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let id = jobs[0]["lease"].as_str().unwrap()[..8].to_owned();
    Seen {
        table: said(directory, &["jobs"]).0,
        why: ask(directory, &["why", &id, "--json"]),
        why_in_words: said(directory, &["why", "hello/4"]).0,
        project: ask(directory, &["why", &project().to_string(), "--json"]),
        so_far: said(directory, &["logs", "hello"]).0,
        events: said(directory, &["logs", &id, "--json"]).0,
        followed: follow(directory, &jobs),
        jobs,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_sees_what_runs_why_and_what_it_writes_and_none_of_it_moves_a_cursor() {
    let directory = tempfile::tempdir().unwrap();
    let step = |name: &str, script: &str| Step {
        name: name.into(),
        run: ["sh", "-c", script].map(str::to_owned).into(),
    };
    let write = r"printf 'one\033]0;owned\007\n'; printf '\342\202'; sleep 0.2; printf '\254\n'";
    // Until the owner has seen all; a minute at most.
    let wait = "echo two; printf '0.4 comp\\033[2Jiling\\n' >$TALKOOT_PROGRESS; \
                for i in $(seq 1200); do [ -e go ] && break; sleep 0.05; done; echo three";
    let steps = vec![step("write", write), step("wait", wait)];
    let mut broker = Broker::start(Runtime::Native, steps, &[("out/file", b"")]).await;
    let linux = Clause::Equals { fact: "os".parse().unwrap(), value: "linux".into() };
    let offer = broker.offer_that_needs("hello", vec![linux]);
    broker.offered = offer.clone();
    broker.show(vec![offer]);
    let policy = "[policy]\ncores = { at-most = 1 }\n";
    let _daemon = start_with(directory.path(), &broker.address, policy);
    if !is_offered(directory.path(), "native") {
        return broker.expect_no_claim().await;
    }
    let path = directory.path().to_owned();
    let owner = tokio::task::spawn_blocking(move || look(&path));

    let (_, result) = broker.serve().await;

    assert_eq!(report_in(&result).ended, Ended::Passed);
    let Seen { jobs, table, why, why_in_words, project, so_far, followed, events } =
        owner.await.unwrap();
    let job = &jobs[0];
    assert_eq!((&job["task"], &job["stage"]), (&4.into(), &"running".into()));
    assert_eq!((&job["limits"]["cores"], &job["network"]), (&1.into(), &"none".into()));
    let said = "40.0 %, comp\\u{1b}[2Jiling";
    assert!(
        table.starts_with("JOB ") && table.contains(&format!("2 of 2: wait; {said}")),
        "{table}"
    );

    let clause = &why["requirements"]["inside"]["clauses"][0];
    assert_eq!((&clause["holds"], &clause["found"]), (&true.into(), &"linux".into()), "{why}");
    assert_eq!(why["policy"][0]["clause"], "cores of at most 1");
    assert!(why_in_words.contains(&format!("says       {said}")), "{why_in_words}");
    for line in ["it may use native, wasm", "yes  os linux", "yes  cores of at most 1: 1"] {
        assert!(why_in_words.contains(line), "{why_in_words}");
    }
    assert_eq!(project["in_hand"][0], job["lease"]);
    assert!(project["reasons"].to_string().contains("have all that you donate"), "{project}");

    let written = "one\\u{1b}]0;owned\\u{7}\n€\ntwo\n";
    assert_eq!(so_far, written);
    assert!(events.starts_with("{\"event\":\"step\",\"name\":\"write\"}\n"), "{events}");
    assert!(events.ends_with("{\"event\":\"end\",\"over\":false}\n"), "{events}");
    let (output, words, code) = followed;
    assert_eq!((output, code), (format!("{written}three\n"), Some(0)));
    assert!(words.contains("==> wait <==") && words.contains("the job has ended"), "{words}");
}
