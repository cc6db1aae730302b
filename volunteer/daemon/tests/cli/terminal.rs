//! What is asked at a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::{check_fails, project, run, volunteer, with_config};

/// Both ends of a new terminal: ours, and the program's.
fn terminal() -> (File, File) {
    let ours: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let theirs = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    (ours.into(), theirs)
}

#[test]
fn at_a_terminal_init_asks_and_asks_again_what_makes_no_sense() {
    let directory = tempfile::tempdir().unwrap();
    let (mut ours, theirs) = terminal();
    // Typed ahead; the terminal keeps it until somebody reads.
    ours.write_all(b"many\n2\n1 KiB\n3 GiB\n\n22:00-07:00\n").unwrap();
    let mut command = volunteer(directory.path());
    let output = command.arg("init").stdin(Stdio::from(theirs)).output().unwrap();

    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("Cores for all jobs together").count(), 2, "{said}");
    assert!(said.contains("with which no job could run"), "{said}");
    let text = std::fs::read_to_string(directory.path().join("volunteer.toml")).unwrap();
    let set: Vec<_> = text.lines().filter(|it| !it.starts_with('#') && !it.is_empty()).collect();
    assert_eq!(set, ["cores = 2", "memory = \"3 GiB\"", "hours = \"22:00-07:00\""]);
    drop(ours);

    let (_ours, theirs) = terminal();
    let other = tempfile::tempdir().unwrap();
    let mut command = volunteer(other.path());
    let output = command.args(["init", "--yes"]).stdin(Stdio::from(theirs)).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    let mut template = String::new();
    File::open(other.path().join("volunteer.toml")).unwrap().read_to_string(&mut template).unwrap();
    assert!(template.lines().all(|line| line.starts_with('#') || line.is_empty()));
}

#[test]
fn a_project_is_trusted_once_its_terms_are_read_and_agreed_to() {
    let directory = with_config("cores = 1\nhours = \"22:00-07:00\"\nmemory = \"64 MiB\"\n");
    let uri = format!("talkoot:{}", project());
    let add = |typed: &str, more: &[&str]| {
        let (mut ours, theirs) = terminal();
        ours.write_all(typed.as_bytes()).unwrap();
        let mut command = volunteer(directory.path());
        command.args(["project", "add", &uri]).args(more).stdin(Stdio::from(theirs));
        command.output().unwrap()
    };
    let trusted = || {
        let list = run(directory.path(), &["project", "list"]);
        String::from_utf8_lossy(&list.stdout).into_owned()
    };

    for no in ["\n", "n\n", "yup\n"] {
        check_fails(&add(no, &[]), 6, "nothing was changed");
        assert_eq!(trusted(), "");
    }
    let agreed = add(
        "y\n",
        &["--allow", "wasm", "--max-wall", "4h", "--network", "Deb.Debian.org:80,*.crates.io"],
    );
    let said = String::from_utf8_lossy(&agreed.stderr);
    assert!(agreed.status.success(), "{said}");
    let key = project().to_string();
    for term in [
        &format!("{} {} ", &key[..4], &key[4..8])[..],
        "WebAssembly alone",
        "network    none, as job-network in the configuration is false; else deb.debian.org:80, *.crates.io:443\n",
        "1 of 1 donated cores, 64 MiB of memory",
        "4h each at most",
        "22:00-07:00",
        "Do you trust it? [y/N]",
    ] {
        assert!(said.contains(term), "{term}: {said}");
    }
    assert!(
        trusted().contains("max 4h, network deb.debian.org:80, *.crates.io:443\n"),
        "{}",
        trusted()
    );
    // Of one that is trusted already nothing is asked.
    let again = add("", &["--name", "sweep"]);
    assert!(again.status.success() && again.stderr.is_empty());
    run(directory.path(), &["project", "remove", "sweep"]);
    assert!(add("", &["--yes"]).status.success());
}
