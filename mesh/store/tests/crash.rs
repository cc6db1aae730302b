//! What is acknowledged survives the end of the process, and nothing is acknowledged on a full disk.

mod support;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use mesh_store::{Store, StoreError};
use support::{acknowledged_on, check, covers, open, random_between, write_on};

/// Set for a copy of this program that plays the part of a daemon in the directory that it names.
const ROLE: &str = "MESH_STORE_TEST_DIR";

#[test]
fn what_was_acknowledged_survives_kill_9() {
    if let Some(dir) = env::var_os(ROLE) {
        let ended = write_on(&open(Path::new(&dir)).expect("opens"));
        panic!("{ended}");
    }
    let temp = tempfile::tempdir().expect("a temporary directory");
    let mut acknowledged = None;
    for round in 0..10 {
        let mut child = start(&mut again("what_was_acknowledged_survives_kill_9"), temp.path());
        let mut told = acknowledged_on(child.stdout.take().expect("it is piped"));
        let awaited = random_between(0, 60);
        let before: Vec<u64> = told.by_ref().take(awaited as usize).collect();
        assert_eq!(before.len() as u64, awaited, "round {round}: it ended by itself");
        thread::sleep(Duration::from_millis(random_between(0, 20)));
        child.kill().expect("killed");
        child.wait().expect("ended");

        acknowledged = acknowledged.max(before.last().copied()).max(told.last());

        let found = check(temp.path()).unwrap_or_else(|damage| panic!("round {round}: {damage}"));
        assert!(
            covers(found, acknowledged),
            "round {round}: {acknowledged:?} acknowledged, {found:?} found"
        );
    }
}

/// Needs a file system of its own, mounted where no other process sees it. A machine that forbids that cannot
/// run this test, and says so; under `CI` that is a failure.
#[test]
fn a_full_disk_ends_the_acknowledgements() {
    if let Some(dir) = env::var_os(ROLE) {
        return fill_the_disk(&PathBuf::from(dir));
    }
    let temp = tempfile::tempdir().expect("a temporary directory");
    let script = r#"mount -t tmpfs -o size=64m tmpfs "$MESH_STORE_TEST_DIR" && echo mounted && exec "$0" "$@""#;
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
    command
        .arg(env::current_exe().expect("known"))
        .args(only("a_full_disk_ends_the_acknowledgements"));

    let output = command.env(ROLE, temp.path()).output().expect("unshare is installed");

    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if out.contains("mounted") {
        assert!(output.status.success(), "{out}{err}");
    } else {
        assert!(env::var_os("CI").is_none(), "cannot mount a small file system: {err}");
        eprintln!("not run, for want of a small file system: {err}");
    }
}

fn fill_the_disk(disk: &Path) {
    let (dir, ballast) = (disk.join("store"), disk.join("ballast"));
    fs::write(&ballast, vec![0; 16 * 1024 * 1024]).expect("there is room");
    let store = open(&dir).expect("opens");
    let mut acknowledged = None;
    let first = loop {
        let n = acknowledged.map_or(0, |last| last + 1);
        // Never deleting, unlike `write_on`, and so soon full.
        let mut writes = support::writes(n);
        writes.retain(|write| matches!(write, mesh_core::Write::Put { .. }));
        match store.commit(writes) {
            Ok(()) => acknowledged = Some(n),
            Err(error) => break error,
        }
    };

    assert!(acknowledged > Some(10), "{acknowledged:?} is too few to mean anything");
    assert!(matches!(first, StoreError::DiskFailed { .. }), "{first:?}");
    assert!(first.to_string().contains("free space"), "{first}");
    fs::remove_file(&ballast).expect("space is freed");
    let later = store
        .commit(vec![mesh_core::Write::put("k", "v")])
        .expect_err("nothing more is acknowledged");
    assert_eq!(later.to_string(), first.to_string());
    assert_eq!(store.get(b"k").expect_err("nor read").to_string(), first.to_string());
    store.close();

    let store = open(&dir).expect("opens again, with space on the disk");
    let last = store.get(b"last").expect("read").expect("there");
    assert!(
        last >= acknowledged.expect("some").to_be_bytes().to_vec(),
        "{last:?} for {acknowledged:?}"
    );
    store.commit(vec![mesh_core::Write::put("k", "v")]).expect("goes on");
}

/// A copy of this program that runs one test.
fn again(test: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("known"));
    command.args(only(test));
    command
}

fn only(test: &str) -> [&str; 3] {
    ["--exact", test, "--nocapture"]
}

fn start(command: &mut Command, dir: &Path) -> Child {
    command.env(ROLE, dir).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("started")
}
