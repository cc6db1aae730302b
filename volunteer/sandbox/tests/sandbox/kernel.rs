//! Calls to the kernel that would undo the sandbox, made as a job would make them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use volunteer_sandbox::Ending;

use crate::support::{Bench, FIXTURE, NOBODY_ELSE, SET_USER_ID, fixture, is_root, text};

#[test]
fn nothing_can_be_mounted() {
    gets_nothing(&["mounts"]);
}

#[test]
fn there_are_no_new_namespaces_and_none_to_enter() {
    gets_nothing(&["namespaces"]);
}

#[test]
fn keyrings_are_out_of_reach() {
    gets_nothing(&["keys"]);
}

#[test]
fn no_process_can_be_traced_or_looked_into() {
    // It has read all that it will ever get, and ends with this test however that ends.
    let mut sleeper = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();

    gets_nothing(&["trace", &sleeper.id().to_string()]);

    drop(sleeper.stdin.take());
    assert!(sleeper.wait().unwrap().success());
}

#[test]
fn there_are_no_device_nodes_but_the_harmless_ones() {
    gets_nothing(&["devices"]);
    assert_eq!(
        Bench::new().sh("ls -p /dev | xargs"),
        "fd full null random shm/ stderr stdin stdout urandom zero\n"
    );
}

#[track_caller]
fn gets_nothing(what: &[&str]) {
    let bench = Bench::new();

    let outcome = bench.run(&bench.step(&[&[FIXTURE, "try"], what].concat()));

    assert_eq!(outcome.ending, Ending::Exited { code: 0 }, "{outcome:?}");
    assert_eq!(text(&outcome), "");
}

#[test]
fn nothing_can_be_typed_into_the_terminal_of_the_owner() {
    let bench = Bench::new();

    let output = Command::new(fixture())
        .arg("on-a-terminal")
        .arg(bench.work())
        .args([FIXTURE, "try", "terminal"])
        .output()
        .unwrap();

    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, "Exited { code: 0 } \"\" 0\n");
}

#[test]
fn set_user_id_programs_gain_nothing() {
    let bench = Bench::new();
    let program = set_user_id_program(&bench);
    let mut spec = bench.script(
        "/opt/set-user-id identity; cp /opt/set-user-id own; chmod 6755 own; ./own identity",
    );
    spec.read_only.push((program, "/opt/set-user-id".into()));

    let outcome = bench.run(&spec);

    assert_eq!(text(&outcome), "1000 true\n1000 true\n", "{outcome:?}");
}

/// The fixture as a set-user-id program, of root where the tests are root's or were started by root. That it would gain
/// something on the host is made sure of.
fn set_user_id_program(bench: &Bench) -> PathBuf {
    if let Some(given) = std::env::var_os(SET_USER_ID) {
        let said = Command::new(&given).arg("identity").output().unwrap().stdout;
        assert_eq!(said, b"0 false\n");
        return given.into();
    }
    let program = bench.host().join("set-user-id");
    fs::copy(fixture(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    if is_root() {
        fs::set_permissions(bench.host(), fs::Permissions::from_mode(0o755)).unwrap();
        let said =
            Command::new(&program).arg("identity").uid(NOBODY_ELSE).gid(NOBODY_ELSE).output();
        assert_eq!(said.unwrap().stdout, b"0 false\n");
    }
    program
}
