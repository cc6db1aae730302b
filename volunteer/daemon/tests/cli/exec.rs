//! A job file, run here before anybody is asked to run it.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::{Daemon, check_fails, run, with_config};

/// A directory with a job file of `steps`, and sources beside it.
fn with_job(steps: &str) -> tempfile::TempDir {
    let directory = with_config("");
    let job = format!(
        "name = \"hello\"\ntasks = 9\n[results]\nartifacts = [\"out/*\"]\n[package]\npath = \"src\"\n\
         [limits]\nmemory = \"256 MiB\"\ndisk = \"16 MiB\"\n\
         [requirements]\nruntimes = [\"native\"]\n{steps}"
    );
    std::fs::write(directory.path().join("job.toml"), job).unwrap();
    std::fs::create_dir(directory.path().join("src")).unwrap();
    std::fs::write(directory.path().join("src/input"), "answer\n").unwrap();
    directory
}

fn step(name: &str, script: &str) -> String {
    format!("[[step]]\nname = \"{name}\"\nrun = [\"sh\", \"-c\", '{script}']\n")
}

fn exec(directory: &Path, more: &[&str]) -> Output {
    let job = directory.join("job.toml");
    run(directory, &[&["exec", job.to_str().unwrap()], more].concat())
}

/// Whether native jobs run on this machine; where they do not, `exec` has to say so.
fn runs_natively(directory: &Path) -> bool {
    let doctor = run(directory, &["doctor", "--json"]);
    let found: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let works = found["runtimes"]
        .as_array()
        .unwrap()
        .iter()
        .any(|it| it["runtime"] == "native" && it["reason"].is_null());
    assert!(works || std::env::var_os("CI").is_none(), "native works where CI runs");
    if !works {
        check_fails(&exec(directory, &[]), 6, "native does not work here");
    }
    works
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_job_runs_in_the_sandbox_without_a_daemon_a_key_or_a_trace() {
    let script =
        r#"mkdir out; cat input >out/copy; printf "task $TALKOOT_TASK_INDEX\033[2J\n"; ls /root"#;
    let directory = with_job(&(step("copy", script) + &step("never", "echo never")));
    let (temporary, state) = (directory.path().join("tmp"), directory.path().join("state"));
    std::fs::create_dir(&temporary).unwrap();
    if !runs_natively(directory.path()) {
        return;
    }
    let job = directory.path().join("job.toml");
    let results = directory.path().join("results");
    let mut command = crate::volunteer(directory.path());
    command.env("TMPDIR", &temporary).arg("exec").arg(&job);
    let ran = command.args(["--task", "4", "--output"]).arg(&results).output().unwrap();

    check_fails(&ran, 1, "the job failed: copy ended with exit code 2");
    let (said, words) = (text(&ran.stdout), text(&ran.stderr));
    assert!(said.starts_with("task 4\\u{1b}[2J\n"), "{said}");
    assert!(words.contains("==> copy <==") && !words.contains("never"), "{words}");
    assert_eq!(std::fs::read(results.join("artifacts/out/copy")).unwrap(), b"answer\n");
    let log = std::fs::read(results.join("logs/01-copy.log")).unwrap();
    assert!(log.starts_with(b"task 4\x1b[2J\n"), "the log has what it wrote");
    assert!(std::fs::read_dir(&temporary).unwrap().next().is_none(), "something was left");
    assert!(!state.join("node.key").exists(), "no key was needed");

    let again = exec(directory.path(), &["--output", results.to_str().unwrap()]);
    check_fails(&again, 3, "is not empty");
    check_fails(&exec(directory.path(), &["--task", "9"]), 2, "its tasks are 0 to 8");
    check_fails(&exec(directory.path(), &["--runtime", "wasm"]), 2, "its runtimes are: native");
}

#[test]
fn the_outcome_is_told_as_json_beside_a_running_daemon() {
    let directory = with_job(&step("all", "echo done; id -u >out"));
    if !runs_natively(directory.path()) {
        return;
    }
    std::fs::write(directory.path().join("volunteer.toml"), "").unwrap();
    let mut daemon = Daemon::start(directory.path(), &[]);
    daemon.wait_for("http");

    let ran = exec(directory.path(), &["--json"]);

    let outcome: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!((ran.status.code(), &outcome["ended"]), (Some(0), &"passed".into()));
    assert_eq!((&outcome["steps"][0]["exit"], &outcome["steps"][0]["log"]), (&0.into(), &5.into()));
    assert!(text(&ran.stderr).contains("done"), "{}", text(&ran.stderr));
    let status = run(directory.path(), &["status", "--json"]);
    assert!(status.status.success(), "the daemon is as it was");
}

#[test]
fn what_a_machine_lacks_is_said_before_anything_runs_and_can_be_passed_over() {
    let needs = "tools.zig = \">=99\"\n";
    let directory = with_job(&(needs.to_owned() + &step("all", "echo it runs")));
    if !runs_natively(directory.path()) {
        return;
    }
    let refused = exec(directory.path(), &[]);
    check_fails(&refused, 6, "hello cannot run here: needs tool.zig >=99");
    assert!(!text(&refused.stdout).contains("it runs"));
    let anyway = exec(directory.path(), &["--anyway"]);
    assert_eq!((anyway.status.code(), text(&anyway.stdout).as_str()), (Some(0), "it runs\n"));
}

#[test]
fn a_job_is_connected_by_a_proxy_where_the_owner_wants_it_and_told_what_that_refuses() {
    let host = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = host.local_addr().unwrap();
    let ask = format!(
        "curl --silent --proxytunnel --noproxy none.example --output answer --write-out \"%{{http_connect}}\\n\" \
         http://{address}/; printf unfinished; cat answer 2>/dev/null; exit 0"
    );
    let directory = with_job(&step("all", &ask));
    let job = directory.path().join("job.toml");
    let text_of_job = std::fs::read_to_string(&job).unwrap();
    std::fs::write(&job, format!("network = [\"{address}\"]\n{text_of_job}")).unwrap();
    if !runs_natively(directory.path()) {
        return;
    }
    check_fails(&exec(directory.path(), &[]), 6, "needs network.proxy yes");
    check_fails(&exec(directory.path(), &["--anyway"]), 5, "jobs reach no network here");

    std::fs::write(directory.path().join("volunteer.toml"), "job-network = true\n").unwrap();
    let ran = exec(directory.path(), &[]);

    let said = text(&ran.stdout);
    assert_eq!(ran.status.code(), Some(0), "{said}{}", text(&ran.stderr));
    let expected = format!(
        "403\nunfinished\n[talkoot] network: 0 connections, 0 bytes came, 0 bytes went; not connected:\n\
         [talkoot] {address}: 127.0.0.1 is a loopback address, which no job reaches\n"
    );
    assert_eq!(said, expected);
}

#[test]
fn a_job_that_is_interrupted_is_ended_and_leaves_nothing() {
    let directory = with_job(&step("all", "echo begun; exec sleep 600"));
    if !runs_natively(directory.path()) {
        return;
    }
    let temporary = directory.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut command = crate::volunteer(directory.path());
    command.env("TMPDIR", &temporary).arg("exec").arg(directory.path().join("job.toml"));
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut begun = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut begun).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();

    let ended = child.wait_with_output().unwrap();

    check_fails(&ended, 5, "stopped by the owner");
    assert!(std::fs::read_dir(&temporary).unwrap().next().is_none(), "something was left");
}
