//! A machine that permits no sandbox: native jobs are refused, and WebAssembly keeps root's rights from modules.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use rustix::process::{getegid, geteuid};
use serde_json::Value;
use xtask::tools;

/// Waits for its user ids, becomes their root, forbids further namespaces, and asks the doctor.
const SCRIPT: &str = r#"
    read -r mapped
    exec sh -c 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$0" doctor --json --state "$1"' "$@"
"#;

/// What `doctor` says where no namespaces can be made, as a root whose ids `maps` give: `uid_map` and `gid_map`.
fn doctor(maps: [String; 2]) -> [Value; 3] {
    let place = tempfile::tempdir().expect("a temporary directory");
    let program = tools::programs().expect("the programs' folder").join("talkoot-volunteer");
    let mut child = Command::new("unshare")
        .args(["--user", "sh", "-c", SCRIPT, "sh"])
        .args([&program, &place.path().join("state")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare is part of every Debian");
    let mut stdin = child.stdin.take().expect("piped");
    let process = format!("/proc/{}", child.id());
    let ours = fs::read_link("/proc/self/ns/user").expect("a namespace");
    while fs::read_link(format!("{process}/ns/user")).expect("our child") == ours {
        std::thread::yield_now();
    }
    let [users, groups] = maps;
    for (file, text) in [("setgroups", "deny"), ("uid_map", &users), ("gid_map", &groups)] {
        if file == "setgroups" && geteuid().is_root() {
            continue;
        }
        fs::write(format!("{process}/{file}"), text).expect(file);
    }
    stdin.write_all(b"go\n").expect("it waits");
    let output = child.wait_with_output().expect("it ends");
    let mut found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let runtimes = serde_json::from_value::<[Value; 3]>(found["runtimes"].take());
    runtimes.expect("three runtimes")
}

#[test]
fn a_root_of_one_id_offers_nothing() {
    let runtimes =
        doctor([format!("0 {} 1", geteuid().as_raw()), format!("0 {} 1", getegid().as_raw())]);
    for runtime in runtimes {
        assert_eq!(runtime["strength"], Value::Null, "{runtime}");
    }
}

#[test]
fn a_root_of_many_ids_offers_wasm_under_one_of_them() {
    if !geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "CI runs as root, to map many ids");
        eprintln!("NOT RUN: only root can map many ids");
        return;
    }
    let all = "0 0 65536".to_owned();
    let [native, wasm, container] = doctor([all.clone(), all]);
    let reason = native["reason"].as_str().expect("a reason");
    assert!(reason.contains("user namespaces are turned off"), "{reason}");
    assert_eq!(container["strength"], Value::Null, "{container}");
    assert_eq!(wasm["strength"], "wasm process, no sandbox", "{wasm}");
}
