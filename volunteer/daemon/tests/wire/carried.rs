//! Results that travel as a file, from a daemon that has died to a broker that it never sees.

use std::path::Path;
use std::process::Output;

use capability::{Runtime, Step};
use mesh_shell::peer_key;
use serde_json::Value;

use crate::support::{Broker, is_offered, start, volunteer};

fn run(directory: &Path, arguments: &[&str]) -> Output {
    volunteer(directory).args(arguments).output().unwrap()
}

fn expect(output: &Output, code: i32, why: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(code) && said.contains(why), "{:?} {said}", output.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn results_of_a_daemon_that_has_died_are_handed_in_by_somebody_else() {
    let [dead, stranger] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let step = Step { name: "all".into(), run: vec!["true".to_owned()] };
    let mut broker = Broker::start(Runtime::Native, vec![step], &[("out/file", b"kept")]).await;
    let daemon = start(dead.path(), &broker.address);
    if !is_offered(dead.path(), "native") {
        return broker.expect_no_claim().await;
    }
    let (_, result) = broker.serve().await;
    let path = dead.path().join("results");
    let file = path.to_str().unwrap();

    // The daemon is gone, and so is what the broker knew.
    drop(daemon);
    broker.forget_everything();
    expect(&run(dead.path(), &["results", "export", file]), 0, "1 written");
    let [known, named] = [dead.path().to_owned(), stranger.path().to_owned()].map(|directory| {
        let (file, broker) = (file.to_owned(), broker.address.clone());
        move |named: bool| {
            let mut arguments = vec!["results", "hand-in", &file, "--json"];
            arguments.extend(if named { vec!["--broker", &broker] } else { Vec::new() });
            run(&directory, &arguments)
        }
    });
    let handed = tokio::task::spawn_blocking(move || named(true));
    let (peer, came) = broker.serve().await;
    let output = handed.await.unwrap();

    expect(&output, 0, "");
    let handed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(handed["taken"][0], result.id().to_string(), "{handed}");
    assert_eq!(came.id(), result.id());
    assert!(broker.has(&result.blobs[0].hash), "the artifact came with it");
    assert_ne!(peer, peer_key(result.signer()), "by somebody else");
    assert!(!stranger.path().join("state/store").exists(), "no state is made for it");

    // Its own brokers are found, and repetition is harmless.
    let again = tokio::task::spawn_blocking(move || known(false));
    assert_eq!(broker.serve().await.1.id(), result.id());
    expect(&again.await.unwrap(), 0, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_handed_in_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("results");
    std::fs::write(&path, "talkoot parcel 1\nand nothing").unwrap();
    let step = Step { name: "all".into(), run: vec!["true".to_owned()] };
    let broker = Broker::start(Runtime::Native, vec![step], &[]).await;
    std::fs::write(directory.path().join("volunteer.toml"), "").unwrap();
    let file = path.to_str().unwrap();
    let hand_in =
        |arguments: &[&str]| run(directory.path(), &[&["results", "hand-in"], arguments].concat());

    expect(&hand_in(&[file]), 2, "name one with --broker");
    expect(&hand_in(&[file, "--broker", "/ip4/127.0.0.1/tcp/1"]), 4, "no broker answers");
    expect(&hand_in(&[file, "--broker", &broker.address]), 3, "the rest of");
    expect(&hand_in(&["/nowhere", "--broker", &broker.address]), 3, "cannot read /nowhere");
    expect(&run(directory.path(), &["results", "export", file]), 4, "no daemon runs");
}
