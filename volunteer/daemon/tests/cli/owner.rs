//! The owner, whose key is on a machine of its own: here, a directory.

use std::path::Path;

use serde_json::Value;

use crate::*;

/// Does what must work; gives its standard output.
#[track_caller]
fn owner(directory: &Path, arguments: &[&str]) -> String {
    let output = run(directory, &[&["owner"], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn shown(directory: &Path) -> Value {
    serde_json::from_str(&owner(directory, &["show", "--json"])).unwrap()
}

fn node_key(directory: &Path) -> String {
    shown(directory)["node"].as_str().unwrap().to_owned()
}

#[test]
fn an_owner_signs_a_machine_elsewhere_and_the_machine_takes_the_file() {
    let (machine, other, safe) = (with_config(""), with_config(""), with_config(""));
    let key = owner(safe.path(), &["init"]).trim().to_owned();
    let mode = std::fs::metadata(safe.path().join("state/owner.key")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);

    let node = node_key(machine.path());
    let signed = owner(safe.path(), &["sign", &node]);
    assert!(signed.starts_with(&format!("# {key} owns {node}; until ")), "{signed}");
    let file = safe.path().join("mailed");
    std::fs::write(&file, &signed).unwrap();
    let file = file.to_str().unwrap();
    owner(machine.path(), &["set", file]);
    let said = shown(machine.path());
    assert_eq!((&said["owner"], &said["flaw"]), (&key.into(), &Value::Null));

    // As through a pipe.
    let mut set = volunteer(machine.path());
    let piped = std::fs::File::open(file).unwrap();
    let set = set.args(["owner", "set", "-"]).stdin(piped).output().unwrap();
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));

    let wrong = run(other.path(), &["owner", "set", file]);
    check_fails(&wrong, 3, &format!("owner sign {}", node_key(other.path())));
    std::fs::write(file, &signed[..signed.len() / 2]).unwrap();
    check_fails(&run(machine.path(), &["owner", "set", file]), 3, "no statement");
    // Copied by hand to where it does not belong, it is told and does not count.
    let place = other.path().join("state/ownership.statement");
    std::fs::copy(machine.path().join("state/ownership.statement"), place).unwrap();
    assert_eq!(shown(other.path())["flaw"], "it is for another machine");
}

#[test]
fn an_owner_key_is_made_once_and_missed_with_advice() {
    let safe = with_config("");
    let nothing = run(safe.path(), &["owner", "sign", &project().to_string()]);
    check_fails(&nothing, 3, "talkoot-volunteer owner init");
    let key = owner(safe.path(), &["init"]).trim().to_owned();
    check_fails(&run(safe.path(), &["owner", "init"]), 5, "there is a key in");
    assert_eq!(shown(safe.path())["owner-key"], *key);
    check_fails(&run(safe.path(), &["owner", "sign", &key]), 2, "owner show");
    check_fails(&run(safe.path(), &["owner", "sign", "abc"]), 2, "is not a key");
    check_fails(&run(safe.path(), &["owner", "move", "--to", &key]), 2, "the same owner key");
    check_fails(&run(safe.path(), &["owner", "set", "nowhere"]), 3, "cannot read nowhere");
    check_fails(&run(safe.path(), &["owner", "revoke"]), 2, "NODE-KEY");
}

#[test]
fn an_owner_moves_once_and_the_old_key_signs_no_machine_any_more() {
    let (machine, safe) = (with_config(""), with_config(""));
    owner(safe.path(), &["init"]);
    let place = |name: &str| safe.path().join(name).to_str().unwrap().to_owned();
    let new = owner(safe.path(), &["init", "--key", &place("new.key")]).trim().to_owned();
    owner(safe.path(), &["move", "--to", &new, "-o", &place("moved")]);
    owner(machine.path(), &["set", &place("moved")]);
    let told = shown(machine.path())["told"][0].as_str().unwrap().to_owned();
    assert!(told.contains(&format!(" is followed by {new}; until ")), "{told}");

    owner(safe.path(), &["move", "--to", &new]);
    let other = project().to_string();
    let again = run(safe.path(), &["owner", "move", "--to", &other]);
    check_fails(&again, 3, &format!("has moved to {new} already"));
    let node = node_key(machine.path());
    check_fails(&run(safe.path(), &["owner", "sign", &node]), 3, "has moved to");
    owner(safe.path(), &["sign", &node, "--key", &place("new.key")]);
}

#[test]
fn a_revocation_of_a_machine_or_of_the_owner_is_told_by_another_machine() {
    let (machine, safe) = (with_config(""), with_config(""));
    let key = owner(safe.path(), &["init"]).trim().to_owned();
    let lost = project().to_string();
    let file = safe.path().join("revoked").to_str().unwrap().to_owned();
    let revoke = ["revoke", &lost, "--reason", "stolen", "-o", &file];
    owner(safe.path(), &revoke);
    let told = owner(machine.path(), &["set", &file]);
    assert!(told.starts_with(&format!("{lost} is void, says {key}; until ")), "{told}");
    owner(safe.path(), &["revoke", "--owner-key", "-o", &file]);
    let told = owner(machine.path(), &["set", &file]);
    assert!(told.starts_with(&format!("{key} is void, says the key itself; until ")), "{told}");
    assert_eq!(shown(machine.path())["told"].as_array().unwrap().len(), 2);
}

#[test]
fn a_running_daemon_notices_whose_machine_it_is() {
    let (machine, safe) = (with_config("runtimes = []\n"), with_config(""));
    owner(safe.path(), &["init"]);
    let mut daemon = Daemon::start(machine.path(), &[]);
    daemon.wait_for("http");
    let node = shown(machine.path())["node"].as_str().unwrap().to_owned();
    let file = safe.path().join("owned");
    let file = file.to_str().unwrap();
    owner(safe.path(), &["sign", &node, "-o", file]);
    let key = shown(safe.path())["owner-key"].clone();

    owner(machine.path(), &["set", file]);
    assert_eq!(daemon.wait_for("owner")["owner"], key);
    let status = run(machine.path(), &["status", "--json"]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["owner"], key);
    assert_eq!(daemon.terminate(), Some(0));
}
