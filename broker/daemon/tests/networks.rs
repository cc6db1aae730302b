//! A network is found by its founder's list: brokers as processes of their own, and the commands.

mod support;

use std::path::Path;

use serde_json::Value;
use support::{Process, directory, end_of, program, text};

/// What `talkoot-broker network …` prints.
fn network(arguments: &[&str]) -> String {
    let mut command = program();
    let output = end_of(command.arg("network").args(arguments));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// Signs a list of the broker at `address`.
fn publish(key: &Path, address: &str, list: &Path) {
    let (key, list) = (key.to_str().expect("text"), list.to_str().expect("text"));
    network(&["sign", "--key", key, "--name", "test", "--broker", address, list]);
}

/// A broker that knows no other, and is told of the network of `founder`.
fn follower(place: &Path, founder: &str, list: Option<&Path>, more: &[&str]) -> Process {
    let files: Vec<_> = list.iter().map(|list| list.display().to_string()).collect();
    let config = place.join("broker.toml");
    let told = format!("network = {founder:?}\nnetwork-list = {files:?}\n");
    std::fs::write(&config, told).expect("written");
    let config = config.to_str().expect("text");
    Process::start(&place.join("state"), &[&["--config", config], more].concat())
}

fn http(broker: &mut Process) -> String {
    text(&broker.event("http")["address"])
}

fn is_linked(status: &Value) -> bool {
    status["links"].as_u64().is_some_and(|links| links > 0)
}

#[test]
fn a_broker_finds_the_mesh_by_a_list_keeps_and_tells_it_and_a_later_one_takes_over() {
    let places = [directory(), directory(), directory(), directory()];
    let [one, two, three, founder] = places.each_ref().map(|place| place.path());
    let (key, list) = (founder.join("founder.key"), founder.join("list"));
    let founder = network(&["init", "--key", key.to_str().expect("text")]);
    let mut first = Process::start(one, &[]);
    let address = first.address();
    publish(&key, &address, &list);

    // With a file: the broker of the list is dialled.
    let mut second = follower(two, &founder, Some(&list), &[]);
    let taken = second.event("network list taken");
    assert_eq!(taken["name"], "test");
    let at = http(&mut second);
    second.status(&at, is_linked);

    // Without one: the broker that is known tells of it.
    let known = second.address();
    let mut third = follower(three, &founder, None, &["--bootstrap", &known]);
    assert_eq!(third.event("network list taken")["seq"], taken["seq"]);

    // What another founder signs is named and refused; what the same signs later takes over.
    let other = list.with_file_name("other.key");
    network(&["init", "--key", other.to_str().expect("text")]);
    publish(&other, &known, &list);
    let reason = text(&second.event("network list refused")["reason"]);
    assert!(reason.contains("another key signed it"), "{reason}");
    publish(&key, &known, &list);
    let later = second.event("network list taken");
    assert!(later["seq"].as_u64() > taken["seq"].as_u64(), "{later}");

    // It is kept over restarts: who is told of nobody any more still begins with it.
    third.kill();
    let mut third = follower(three, &founder, None, &["--discover", "false"]);
    let at = http(&mut third);
    third.status(&at, is_linked);
}

#[test]
fn a_list_is_shown_and_what_cannot_be_signed_is_named() {
    let place = directory();
    let (key, list) = (place.path().join("founder.key"), place.path().join("list"));
    let key_text = key.to_str().expect("text");
    let founder = network(&["init", "--key", key_text]);
    assert_eq!(network(&["init", "--key", key_text]), founder, "it stays");
    let mut broker = Process::start(&place.path().join("state"), &[]);
    let address = broker.address();
    publish(&key, &address, &list);
    let list = list.to_str().expect("text");
    let shown: Value = serde_json::from_str(&network(&["show", "--json", list])).expect("JSON");
    assert_eq!(shown["founder"], founder.as_str());
    assert_eq!(shown["holds"], true);
    assert_eq!(shown["brokers"][0]["addresses"][0], address.as_str());

    let nobody = "/ip4/192.0.2.1/tcp/4077";
    for (arguments, says) in [
        (vec!["--broker", nobody], "does not end with the broker's peer id"),
        (vec!["--broker", &address, "--lifetime", "2y"], "hold too long"),
        (vec!["--broker", &address, "--name", ""], "a network has a name"),
    ] {
        let mut sign = program();
        sign.args(["network", "sign", "--key", key_text]).args(&arguments);
        if !arguments.contains(&"--name") {
            sign.args(["--name", "test"]);
        }
        let output = end_of(sign.arg(list));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(3) && said.contains(says), "{said}");
    }
}
