//! What the command line says when something is wrong, and with which exit code it ends.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use capability::statements::{Revocation, Succession};
use capability::{Ed25519, Payload, SecretKey, Signer, Timestamp};
use mesh_core::KeyChange;

const UNUSED_PORT: &str = "127.0.0.1:9";

/// The address of a broker that is not there.
fn nobody() -> String {
    let key = SecretKey::from_seed(&[1; 32]).public();
    let id = mesh_shell::peer_key(key).peer_id_text().expect("a key of ours has an id");
    format!("/ip4/127.0.0.1/tcp/1/p2p/{id}")
}

fn command(state: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_talkoot-master"));
    command
        .args(arguments)
        .arg("--state")
        .arg(state)
        .env_remove("TALKOOT_HTTP")
        .env_remove("TALKOOT_BROKERS")
        .env_remove("TALKOOT_CONFIG")
        .env_remove("TALKOOT_LOG");
    command
}

fn run(state: &Path, arguments: &[&str]) -> Output {
    command(state, arguments).output().expect("the program starts")
}

fn fails(state: &Path, arguments: &[&str], code: i32, says: &str) {
    let output = run(state, arguments);
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {words}");
    assert!(words.contains(says), "{arguments:?}: {words}");
}

/// The first line with `words` that an adapter logs, whose broker is not there.
fn first_log(state: &Path, words: &str) -> String {
    let arguments = ["run", "--http", "127.0.0.1:0", "--broker", &nobody(), "--log", "debug"];
    let mut adapter =
        command(state, &arguments).stderr(Stdio::piped()).spawn().expect("the program starts");
    let logs = BufReader::new(adapter.stderr.take().expect("piped"));
    let mut lines = logs.lines().map(|line| line.expect("text"));
    let told = lines.find(|line| line.contains(words));
    adapter.kill().expect("killed");
    adapter.wait().expect("ended");
    told.expect("it says something before it ends")
}

fn project() -> tempfile::TempDir {
    let state = tempfile::tempdir().expect("made");
    let made = run(state.path(), &["init", "--name", "example", "--keyword", "test"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    state
}

#[test]
fn usage_files_adapter_and_state_have_codes_of_their_own() {
    let state = project();
    let state = state.path();
    fails(state, &["submit"], 2, "Usage");
    fails(state, &["run"], 2, "--broker");
    fails(state, &["run", "--broker", "/ip4/127.0.0.1/tcp/1"], 2, "peer id");
    fails(state, &["submit", "no-such-job.toml"], 3, "no-such-job.toml");
    fails(state, &["status", "--config", "no-such.toml"], 3, "no-such.toml");
    fails(state, &["status", "--http", UNUSED_PORT], 4, "talkoot-master run");
    fails(state, &["init", "--name", "again"], 5, "already");

    let nothing = tempfile::tempdir().expect("made");
    fails(nothing.path(), &["status"], 3, "talkoot-master init");
    fails(nothing.path(), &["init", "--name", ""], 2, "name");
    fails(nothing.path(), &["delegate"], 3, "talkoot-master init");
    let broker = nobody();
    fails(nothing.path(), &["run", "--broker", &broker], 3, "talkoot-master init");
    fails(Path::new("/proc/x"), &["run", "--broker", &broker], 3, "no project in /proc/x");
    fails(Path::new("/proc/x"), &["init", "--name", "example"], 5, "/proc/x");
    fails(Path::new("/proc/version"), &["status"], 5, "cannot look into /proc/version");
}

#[test]
fn more_replicas_than_an_offer_may_have_are_a_usage_error() {
    let state = project();
    for count in ["0", "17", "65536"] {
        fails(state.path(), &["submit", "job.toml", "--replicas", count], 2, "1..=16");
    }
}

#[test]
fn a_broker_that_cannot_be_reached_is_told_at_once() {
    let state = project();
    let told = first_log(state.path(), "broker not reached");
    assert!(told.contains("WARN") && told.contains("reason="), "{told}");
}

#[test]
fn a_revoked_adapter_is_not_delegated_to_again_and_says_so_when_it_runs() {
    let state = project();
    let state = state.path();
    let (key, away) = (state.join("project.key"), state.join("away"));
    std::fs::rename(&key, &away).expect("moved");
    fails(state, &["revoke"], 5, "bring the project key back");
    let revoked = run(state, &["revoke", "--key", &away.display().to_string(), "--reason", "lost"]);
    let words = String::from_utf8_lossy(&revoked.stderr);
    assert!(revoked.status.success() && words.contains("talkoot-master rotate"), "{words}");
    assert!(String::from_utf8_lossy(&revoked.stdout).contains(" is void, says "));
    std::fs::rename(&away, &key).expect("brought back");
    fails(state, &["delegate"], 3, "talkoot-master rotate");
    fails(state, &["revoke", "--reason", &"long".repeat(100)], 2, "reason");

    let told = first_log(state, "was revoked");
    assert!(told.contains("ERROR") && told.contains("talkoot-master rotate"), "{told}");
    assert!(run(state, &["rotate"]).status.success());
    let changes = std::fs::read_dir(state.join("key-changes")).expect("there").count();
    assert_eq!(changes, 1, "the key was void already");
    first_log(state, "broker not reached");
}

/// When the statements in `key-changes` end.
fn ends_of_key_changes(state: &Path) -> Vec<Timestamp> {
    let files = std::fs::read_dir(state.join("key-changes")).expect("there");
    let ends = files.map(|entry| {
        let envelope = mesh_shell::read_statement(&entry.expect("an entry").path());
        let change = KeyChange::check(&envelope.expect("a statement"), &Ed25519);
        change.expect("a key change").expires()
    });
    ends.collect()
}

#[test]
fn key_changes_hold_for_brokers_whose_clocks_are_hours_behind() {
    let state = project();
    let state = state.path();
    assert!(run(state, &["rotate"]).status.success());
    assert!(run(state, &["rotate", "--project"]).status.success());
    let behind = Timestamp::from(SystemTime::now() - Duration::from_secs(12 * 60 * 60));
    let ends = ends_of_key_changes(state);
    assert_eq!(ends.len(), 2);
    let longest = [Revocation::MAX_LIFETIME, Succession::MAX_LIFETIME].map(|it| behind + it);
    assert!(ends.iter().all(|end| longest.iter().all(|it| end < it)), "{ends:?}");
}

/// What the adapter with this state says that it signs with.
fn identity(state: &Path) -> (Vec<u8>, Vec<u8>) {
    let read = |name: &str| std::fs::read(state.join(name)).expect("it is there");
    (read("node.key"), read("delegation.statement"))
}

#[test]
fn a_rotated_adapter_has_another_key_that_it_may_sign_with() {
    let state = project();
    let state = state.path();
    let former = identity(state);
    let rotated = run(state, &["rotate", "--reason", "leaked"]);
    let words = String::from_utf8_lossy(&rotated.stderr);
    assert!(rotated.status.success() && words.contains(" is void\n"), "{words}");
    let (key, delegation) = identity(state);
    assert!(key != former.0 && delegation != former.1);
    assert!(!state.join("node-new.key").exists());
    assert_eq!(std::fs::read_dir(state.join("key-changes")).expect("there").count(), 1);
    assert!(run(state, &["delegate"]).status.success());
    first_log(state, "broker not reached");

    std::fs::remove_file(state.join("node.key")).expect("lost");
    assert!(run(state, &["delegate"]).status.success(), "another one is made");
    std::fs::remove_file(state.join("node.key")).expect("lost");
    assert!(run(state, &["rotate"]).status.success(), "the delegation knows which key it was");
    let (key, _) = identity(state);
    std::fs::remove_file(state.join("project.key")).expect("removed");
    fails(state, &["rotate"], 5, "bring the project key back");
    assert_eq!(identity(state).0, key, "nothing was begun");
}

#[test]
fn a_project_passes_on_once_and_keeps_its_former_key() {
    let state = project();
    let state = state.path();
    let uri = || {
        let uri = run(state, &["uri", "--broker", "/ip4/127.0.0.1/tcp/1"]);
        String::from_utf8_lossy(&uri.stdout).trim().to_owned()
    };
    let (former, key) = (uri(), std::fs::read(state.join("project.key")).expect("there"));
    let passed = run(state, &["rotate", "--project"]);
    let words = String::from_utf8_lossy(&passed.stderr);
    assert!(passed.status.success() && words.contains(" is followed by "), "{words}");
    let heir = String::from_utf8_lossy(&passed.stdout).trim().to_owned();
    assert!(uri().contains(&heir) && !former.contains(&heir));
    let kept = std::fs::read_dir(state).expect("there").filter_map(|entry| {
        let path = entry.expect("an entry").path();
        let name = path.file_name()?.to_str()?;
        (name.starts_with("project-")).then(|| std::fs::read(&path).expect("readable"))
    });
    assert_eq!(kept.collect::<Vec<_>>(), std::slice::from_ref(&key));
    first_log(state, "broker not reached");

    // Cut off before its last step.
    std::fs::rename(state.join("project.key"), state.join("project-new.key")).expect("renamed");
    std::fs::write(state.join("project.key"), key).expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(state.join("project.key"), mode).expect("changed");
    let again = run(state, &["rotate", "--project"]);
    assert_eq!(String::from_utf8_lossy(&again.stdout).trim(), heir);
    assert!(run(state, &["delegate"]).status.success());
}

#[test]
fn a_project_that_has_revoked_itself_delegates_to_nobody() {
    let state = project();
    let uri = run(state.path(), &["uri", "--broker", "/ip4/127.0.0.1/tcp/1"]);
    let uri: capability::ProjectUri =
        String::from_utf8_lossy(&uri.stdout).parse().expect("a project URI");
    let revoked = run(state.path(), &["revoke", &uri.project.to_string()]);
    assert!(String::from_utf8_lossy(&revoked.stdout).contains("says the key itself"));
    fails(state.path(), &["delegate"], 3, "has ended");
    let before = identity(state.path());
    fails(state.path(), &["rotate"], 3, "has ended");
    assert_eq!(identity(state.path()), before);
    assert!(!state.path().join("node-new.key").exists(), "nothing was begun");
    let told = first_log(state.path(), "ERROR");
    assert!(told.contains("has ended") && !told.contains("rotate"), "{told}");
}

#[test]
fn a_wrong_job_file_is_told_with_its_line() {
    let state = project();
    let job = state.path().join("job.toml");
    std::fs::write(&job, "name = \"hello\"\n[requirments]\n").expect("written");
    let job = job.display().to_string();
    fails(state.path(), &["submit", &job], 3, "job.toml:2:2: unknown field \"requirments\"");
    fails(state.path(), &["explain", &job], 3, "job.toml:2:2: unknown field \"requirments\"");
}

#[test]
fn what_is_to_be_explained_is_a_file_or_an_offer() {
    let state = project();
    let state = state.path();
    fails(state, &["explain"], 2, "Usage");
    fails(state, &["explain", "no-such-job.toml"], 3, "no-such-job.toml");
    fails(state, &["explain", ""], 3, "cannot read the job file");
    // Only an adapter can tell whether there is such an offer.
    let offer = "0123456789ABCDEF";
    fails(state, &["explain", offer, "--http", UNUSED_PORT], 4, "talkoot-master run");
}

#[test]
fn the_project_uri_names_the_brokers_that_are_given() {
    let state = project();
    let output = run(state.path(), &["uri"]);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && words.contains("warning: no broker"), "{words}");

    let broker = "/ip4/127.0.0.1/tcp/4077";
    let output = run(state.path(), &["uri", "--broker", broker]);
    assert!(output.stderr.is_empty());
    let uri: capability::ProjectUri =
        String::from_utf8_lossy(&output.stdout).parse().expect("a project URI");
    assert_eq!(uri.brokers, [broker]);
}

#[test]
fn the_examples_are_sound_job_files() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    for (file, tasks) in [
        ("hello-make/job.toml", 1),
        ("hello-make/job-broken.toml", 1),
        ("sweep/job.toml", 40),
        ("untrusted/job.toml", 1),
    ] {
        let text = std::fs::read_to_string(examples.join(file)).expect("the example is there");
        let job =
            capability::JobFile::parse(&text).unwrap_or_else(|error| panic!("{file}:{error}"));
        assert_eq!(job.tasks, tasks, "{file}");
    }
}
