//! What is asked about jobs and projects.

use capability::{SecretKey, Signer};
use serde_json::Value;

use crate::{Daemon, check_fails, project, run, with_config};

#[test]
fn without_a_job_the_owner_is_told_so_and_why_nothing_of_a_project_runs() {
    let directory = with_config("runtimes = []\n");
    let uri = format!("talkoot:{}", project());
    assert!(run(directory.path(), &["project", "add", &uri, "--name", "sweep"]).status.success());
    let mut daemon = Daemon::start(directory.path(), &[]);
    daemon.wait_for("http");
    daemon.wait_for("idle");

    let jobs = run(directory.path(), &["jobs"]);
    assert!(String::from_utf8_lossy(&jobs.stdout).starts_with("nothing is in hand"));
    assert_eq!(run(directory.path(), &["jobs", "--json"]).stdout, b"[]\n");
    check_fails(&run(directory.path(), &["logs"]), 3, "no job runs");
    check_fails(&run(directory.path(), &["logs", "nightly"]), 3, "no job nightly is in hand");
    check_fails(&run(directory.path(), &["why", "nightly"]), 3, "neither a project that you trust");

    for named in ["sweep", &uri, &project().to_string()] {
        let why = run(directory.path(), &["why", named]);
        let why = String::from_utf8_lossy(&why.stdout);
        let unconfirmed = "because: no broker has told within a day whether its key still holds";
        assert!(why.starts_with("sweep: nothing of it is in hand\n"), "{why}");
        assert!(why.contains(unconfirmed), "{why}");
    }
    let stranger = SecretKey::from_seed(&[8; 32]).public().to_string();
    let why = run(directory.path(), &["why", &stranger, "--json"]);
    let why: Value = serde_json::from_slice(&why.stdout).unwrap();
    let last = why["reasons"].as_array().unwrap().last().unwrap();
    assert_eq!(last["reason"], "it is not trusted on this machine");
    assert!(last["hint"].as_str().unwrap().contains("project add talkoot:"), "{why}");
    assert_eq!(daemon.terminate(), Some(0));
}
