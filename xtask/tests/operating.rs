//! What an operator sees of a network of real processes, and does with it.
//!
//! It needs the programs, as the stories do.

mod support;

use std::collections::BTreeSet;
use std::process::Child;

use serde_json::Value;
use support::{JOB_PATIENCE, await_exit, empty_network, submit, write_sleepy_job};
use tempfile::TempDir;
use xtask::events::Event;
use xtask::network::Network;
use xtask::tools;

/// Two brokers, a master and a volunteer at both of them.
struct Story {
    network: Network,
    directory: TempDir,
}

impl Story {
    fn begin() -> Self {
        let (mut network, directory) = empty_network();
        network.broker("broker-a", &[], &[]).expect("broker-a");
        network.broker("broker-b", &["broker-a"], &[]).expect("broker-b");
        network.master("master", "Operated", &["broker-a", "broker-b"]).expect("the master");
        let uri = network.uri("master").expect("its URI");
        network
            .volunteer("volunteer", &["broker-a", "broker-b"], &[&uri], 1)
            .expect("the volunteer");
        Self { network, directory }
    }

    /// Submits a job of so many tasks that sleep for so long.
    fn submit(&self, name: &str, tasks: usize, seconds: u64) -> Child {
        let (folder, head) = (self.directory.path().join(name), format!("tasks = {tasks}"));
        submit(&self.network, &write_sleepy_job(&folder, name, seconds, "2m", &head))
    }

    fn wait(&self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        let event = self.network.events().wait(0, what, JOB_PATIENCE, wanted);
        event.unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// A command of the operator of `broker`.
    fn operate(&self, broker: &str, arguments: &[&str]) -> String {
        let mut command = self.network.program_of(broker, "talkoot-broker");
        command.args(arguments).args(["--http", &self.network.http(broker)]);
        tools::output(&mut command).unwrap_or_else(|error| panic!("{error:#}"))
    }
}

#[test]
fn one_job_is_followed_through_all_processes_by_its_offer_and_no_peers_address_is_told() {
    let story = Story::begin();
    let mut submit = story.submit("followed", 1, 0);
    assert_eq!(await_exit(&mut submit), Some(0));
    story.wait("the receipt", |it| it.is("volunteer", "receipt"));
    let offer = story.wait("the submission", |it| it.is("master", "submitted")).field("offer");

    let events = story.network.events().all();
    let of_job: Vec<&Event> = events.iter().filter(|it| it.field("offer") == offer).collect();
    let mut rest = of_job.iter();
    for (who, name, kind) in [
        ("master", "submitted", ""),
        ("broker-a", "offer taken", ""),
        ("broker-a", "claim granted", ""),
        ("volunteer", "leased", ""),
        ("volunteer", "finished", ""),
        ("broker-a", "custody taken", "result"),
        ("master", "accepted", ""),
        ("broker-a", "custody taken", "receipt"),
        ("volunteer", "receipt", ""),
    ] {
        let found =
            rest.any(|it| it.is(who, name) && (kind.is_empty() || it.field("kind") == kind));
        assert!(found, "{who}: {name} {kind} is missing or too early in {of_job:#?}");
    }
    // What the core tells while it works on a peer's word is within the span of that word.
    // What waits for the disk is told after it, with its offer.
    // The home may hear of the offer from the standby first; one of the two was told by the master.
    let mut known = of_job.iter().filter(|it| it.name == "offer known");
    let span: Option<Value> = known.find_map(|it| serde_json::from_str(&it.field("span")).ok());
    let span = span.expect("a span");
    assert_eq!((&span["name"], &span["kind"]), (&"ask".into(), &"publish".into()), "{span}");
    assert_eq!(span["offer"].as_str(), Some(offer.as_str()), "{span}");
    assert!(span["peer"].is_string(), "{span}");

    // Who dials comes from a port of the moment. What a broker logs, lists and gossips has none.
    let public: BTreeSet<u16> = events.iter().flat_map(|it| ports(&it.field("address"))).collect();
    assert!(public.len() >= 4, "brokers and pages: {public:?}");
    let logs = events.iter().filter(|it| it.who.starts_with("broker")).map(|it| format!("{it:?}"));
    let lists = ["status", "peers", "ads"].map(|list| story.operate("broker-b", &[list, "--json"]));
    for told in logs.chain(lists) {
        assert!(ports(&told).iter().all(|port| public.contains(port)), "{told}");
    }
}

#[test]
fn a_home_that_leaves_sends_master_and_volunteer_on_and_the_job_is_done_elsewhere() {
    let mut story = Story::begin();
    let mut submit = story.submit("moved", 12, 1);
    story.wait("a result", |it| it.is("master", "accepted"));

    let said = story.operate("broker-a", &["drain", "--within", "2m"]);
    assert!(said.contains("no new work"), "{said}");
    let drained = story.wait("the end of broker-a", |it| it.is("broker-a", "drained"));
    assert_eq!(story.network.ended("broker-a").expect("it ended"), Some(0));
    let moved =
        story.wait("the move", |it| it.is("master", "home moved") && it.field("epoch") == "2");
    assert!(moved.at <= drained.at, "the master moved because it was told to");

    assert_eq!(await_exit(&mut submit), Some(0));
    let events = story.network.events().all();
    let accepted = events.iter().filter(|it| it.is("master", "accepted"));
    assert_eq!(accepted.count(), 12, "each task once");
}

/// The ports of all addresses of this machine in `text`.
fn ports(text: &str) -> Vec<u16> {
    let after = text.split("127.0.0.1").skip(1);
    let digits = after.filter_map(|rest| {
        let rest = [":", "/tcp/", "/udp/"].iter().find_map(|before| rest.strip_prefix(before))?;
        rest.split(|it: char| !it.is_ascii_digit()).next()
    });
    digits.filter_map(|digits| digits.parse().ok()).collect()
}
