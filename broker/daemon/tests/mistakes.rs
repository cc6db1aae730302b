//! An operator's mistake ends in one clear line, a hint, and a documented exit code.

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use support::{Process, directory, end_of, program, run};

const INPUT: i32 = 3;
const NETWORK: i32 = 4;
const STATE: i32 = 5;

/// One `error:` line that contains `says`, perhaps a hint, no panic, the exit code.
fn expect(output: &Output, code: i32, says: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let words: Vec<_> = stderr.lines().filter(|line| !line.starts_with('{')).collect();
    assert!(words[0].starts_with("error:") && words[0].contains(says), "{stderr}");
    assert!(words[1..].iter().all(|line| line.starts_with("hint:")), "{stderr}");
    assert_eq!(output.status.code(), Some(code), "{stderr}");
}

#[test]
fn a_garbled_configuration_is_named_with_its_line() {
    let place = directory();
    let config = place.path().join("broker.toml");
    for (contents, says) in [
        (&b"discover = true\nbootsrap = []\n"[..], "broker.toml:2"),
        (b"listen = 7", "broker.toml:1"),
        (b"\xff\xfe", "broker.toml"),
        (b"bootstrap = [\"example.org:4077\"]", "`example.org:4077` is not an address"),
    ] {
        fs::write(&config, contents).expect("written");
        let path = config.to_str().expect("text");
        let mut command = program();
        command.args(["run", "--config", path, "--state"]).arg(place.path().join("state"));
        expect(&end_of(&mut command), INPUT, says);
        assert!(!place.path().join("state").exists(), "nothing is made before all is sound");
    }
}

#[test]
fn a_wrong_key_file_is_refused_and_left_alone() {
    let place = directory();
    let key = place.path().join("node.key");
    fs::write(&key, "this is my shopping list\n").expect("written");
    fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).expect("set");
    expect(&end_of(&mut run(place.path(), &[])), INPUT, "node.key");
    assert_eq!(fs::read(&key).expect("still there"), b"this is my shopping list\n");

    fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).expect("set");
    expect(&end_of(&mut run(place.path(), &[])), INPUT, "chmod 600");
}

#[test]
fn a_port_in_use_is_named() {
    let place = directory();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound");
    let http = end_of(&mut run(place.path(), &["--http", &address.to_string()]));
    expect(&http, NETWORK, &address.to_string());
    let door = end_of(&mut run(place.path(), &["--door", &address.to_string()]));
    expect(&door, NETWORK, &address.to_string());
    assert!(String::from_utf8_lossy(&door.stderr).contains("--door"), "it says which to change");
    let listen = format!("/ip4/127.0.0.1/tcp/{}", address.port());
    expect(&end_of(&mut run(place.path(), &["--listen", &listen])), NETWORK, &listen);
}

#[test]
fn two_brokers_cannot_have_one_state() {
    let place = directory();
    let mut first = Process::start(place.path(), &[]);
    first.event("listening");
    expect(&end_of(&mut run(place.path(), &[])), STATE, "in use");
}

#[test]
fn a_status_without_a_broker_says_how_to_start_one() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let mut status = program();
    let output = end_of(status.args(["status", "--http", &free.to_string()]));
    expect(&output, NETWORK, &free.to_string());
    assert!(String::from_utf8_lossy(&output.stderr).contains("talkoot-broker run"));
}
