//! What an operator sees of a broker, and does with it.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Output;
use std::time::Instant;

use serde_json::Value;
use support::{PATIENCE, Process, directory, end_of, program, text};

const USAGE: i32 = 2;
const INPUT: i32 = 3;
const STATE: i32 = 5;

/// A broker, and where its status page is.
fn start(state: &Path, more: &[&str]) -> (Process, String) {
    let mut broker = Process::start(state, more);
    broker.event("listening");
    let http = text(&broker.event("http")["address"]);
    (broker, http)
}

/// A command for the broker on `state` whose page is at `http`.
fn command(state: &Path, http: &str, arguments: &[&str]) -> Output {
    let mut command = program();
    command.args(arguments).arg("--state").arg(state).args(["--log", "warn"]);
    end_of(command.env("TALKOOT_HTTP", http))
}

fn json(output: &Output) -> Value {
    let shown = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn expect(output: &Output, code: i32, says: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(says), "{stderr}");
}

/// The status line and the body of a bare HTTP exchange.
fn exchange(http: &str, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(http).expect("connected");
    let request = request.replace('\n', "\r\n");
    write!(stream, "{request}Connection: close\r\n\r\n").expect("sent");
    let mut stream = BufReader::new(stream);
    let mut status = String::new();
    stream.read_line(&mut status).expect("answered");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).expect("answered");
    (status, rest)
}

#[test]
fn lists_are_read_page_by_page_and_as_tables() {
    let (hub_place, near_place, far_place) = (directory(), directory(), directory());
    let mut hub = Process::start(hub_place.path(), &[]);
    let known = hub.address();
    let http = text(&hub.event("http")["address"]);
    let ask = |arguments: &[&str]| command(hub_place.path(), &http, arguments);
    let _near = start(near_place.path(), &["--bootstrap", &known]);
    let _far = start(far_place.path(), &["--bootstrap", &known, "--discover", "false"]);
    hub.status(&http, |status| status["links"] == 2);

    let first = json(&ask(&["peers", "--json", "--limit", "1"]));
    let next = text(&first["next"]);
    let second = json(&ask(&["peers", "--json", "--limit", "1", "--after", &next]));
    assert_eq!(second["next"], Value::Null, "{second:#}");
    let peers = [&first["items"][0], &second["items"][0]];
    assert!(peers.iter().all(|peer| peer["role"] == "broker" && peer["linked"] == true));
    assert_ne!(peers[0]["peer"], peers[1]["peer"]);
    assert_eq!(peers[0]["peer"], Value::String(next));

    let table = ask(&["peers", "--limit", "1"]);
    let shown = String::from_utf8_lossy(&table.stdout);
    assert!(shown.starts_with("PEER") && shown.lines().count() == 2, "{shown}");
    expect(&table, 0, "there are more: --after");
    for list in ["offers", "ads", "custody"] {
        assert_eq!(json(&ask(&[list, "--json"]))["items"], Value::Array(Vec::new()));
    }
}

#[test]
fn a_question_that_makes_no_sense_is_answered_with_what_is_wrong() {
    let place = directory();
    let (_broker, http) = start(place.path(), &[]);
    let ask = |arguments: &[&str]| command(place.path(), &http, arguments);
    expect(&ask(&["explain", "0abc"]), INPUT, "no such offer is known here");
    expect(&ask(&["explain", "not hexadecimal"]), INPUT, "no such offer is known here");
    expect(&ask(&["peers", "--after", "nobody"]), INPUT, "nobody");
    expect(&ask(&["offers", "--limit", "0"]), USAGE, "1..=1000");
}

#[test]
fn a_broker_is_ready_once_it_listens() {
    let place = directory();
    let (_broker, http) = start(place.path(), &[]);
    let deadline = Instant::now() + PATIENCE;
    let ready = || exchange(&http, "GET /readyz HTTP/1.1\nHost: localhost\n").0;
    while !ready().contains("200") {
        assert!(Instant::now() < deadline, "it listens, and is not ready");
    }
}

#[test]
fn nothing_is_changed_for_a_web_page_or_for_who_has_no_token() {
    let place = directory();
    let (_broker, http) = start(place.path(), &[]);
    let token = fs::read_to_string(place.path().join("operator.token")).expect("made");
    let post = |headers: &str| {
        let head = "POST /api/v1/backup HTTP/1.1\nContent-Length: 0\n";
        exchange(&http, &format!("{head}{headers}")).0
    };
    let bearer = format!("Authorization: Bearer {}\n", token.trim());
    assert!(post("Host: localhost\n").contains("401"));
    assert!(post("Host: localhost\nAuthorization: Bearer 0\n").contains("401"));
    let page = format!("Host: localhost\nOrigin: http://example.org\n{bearer}");
    assert!(post(&page).contains("403"));
    let rebound = format!("Host: example.org\n{bearer}");
    assert!(post(&rebound).contains("421"));
    assert!(!place.path().join("backup.part").exists());
    assert!(post(&format!("Host: localhost\n{bearer}")).contains("200"));
}

#[test]
fn a_back_up_is_taken_of_a_running_broker_and_of_one_that_rests() {
    let place = directory();
    let (broker, http) = start(place.path(), &[]);
    let ask = |arguments: &[&str]| command(place.path(), &http, arguments);
    let (running, resting) = (place.path().join("running"), place.path().join("resting"));
    let [running, resting] = [running, resting].map(|path| text(&path.to_string_lossy().into()));
    expect(&ask(&["backup", &running]), 0, "");
    assert!(!place.path().join("backup.part").exists(), "it was moved");
    expect(&ask(&["restore", &running]), STATE, "stop the broker");

    assert_eq!(broker.terminate(), Some(0));
    expect(&ask(&["backup", &resting]), 0, "");
    assert_eq!(fs::read(&running).expect("there"), fs::read(&resting).expect("there"));
    expect(&ask(&["restore", &resting]), STATE, "mv ");
    fs::rename(place.path().join("store"), place.path().join("store.old")).expect("moved aside");
    expect(&ask(&["restore", "/dev/null"]), INPUT, "damaged or incomplete");
    expect(&ask(&["restore", &resting]), 0, "");
    let (broker, _) = start(place.path(), &[]);
    assert_eq!(broker.terminate(), Some(0));
}

#[test]
fn a_back_up_without_its_node_key_is_not_restored_under_another_name() {
    let (place, other) = (directory(), directory());
    let (_broker, http) = start(place.path(), &[]);
    let backup = text(&place.path().join("backup").to_string_lossy().into());
    expect(&command(place.path(), &http, &["backup", &backup]), 0, "");
    expect(&command(other.path(), &http, &["restore", &backup]), STATE, "node.key");
    assert!(!other.path().join("store").exists());
    expect(&command(other.path(), &http, &["backup", &backup]), INPUT, "operator.token");
}

#[test]
fn what_the_operator_decides_is_listed_survives_a_restart_and_can_be_taken_back() {
    let place = directory();
    let hash = "ab".repeat(32);
    let (broker, http) = start(place.path(), &[]);
    let ask = |http: &str, arguments: &[&str]| command(place.path(), http, arguments);
    expect(&ask(&http, &["block", "192.0.2.7/24", "--reason", "floods"]), 0, "");
    expect(&ask(&http, &["take-down", &hash, "--reason", "malware"]), 0, "");
    for wrong in [["block", "somebody"], ["block", "192.0.2.0/33"], ["take-down", "abcd"]] {
        expect(&ask(&http, &wrong), INPUT, wrong[1]);
    }
    assert_eq!(broker.terminate(), Some(0));

    let (_broker, http) = start(place.path(), &[]);
    let blocked = &json(&ask(&http, &["blocked", "--json"]))["items"][0];
    assert_eq!(
        (&blocked["subject"], &blocked["reason"]),
        (&"192.0.2.0/24".into(), &"floods".into())
    );
    let down = String::from_utf8_lossy(&ask(&http, &["taken-down"]).stdout).into_owned();
    assert!(down.contains(&hash) && down.contains("malware"), "{down}");
    expect(&ask(&http, &["unblock", "192.0.2.0/24"]), 0, "");
    expect(&ask(&http, &["unblock", "192.0.2.0/24"]), INPUT, "no such rule");
    expect(&ask(&http, &["put-back", &hash]), 0, "");
    assert_eq!(json(&ask(&http, &["blocked", "--json"]))["items"], Value::Array(Vec::new()));
}

#[test]
fn a_broker_that_is_told_to_leave_and_has_nothing_ends_by_itself() {
    let place = directory();
    let (broker, http) = start(place.path(), &[]);
    expect(&command(place.path(), &http, &["drain", "--within", "1h"]), 0, "");
    assert_eq!(broker.ended(), Some(0));
    expect(&command(place.path(), &http, &["drain"]), 4, "talkoot-broker run");
}
