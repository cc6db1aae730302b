//! A network is found by its founder's key: real programs, default limits, loopback.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use xtask::events::{Event, Events};
use xtask::network::{Network, PATIENCE};
use xtask::tools;

/// Brokers that know nothing of each other, and a founder.
struct Story {
    network: Network,
    founder: String,
    directory: TempDir,
}

impl Story {
    fn begin() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let programs = tools::programs().expect("the programs' folder");
        let network = Network::new(directory.path(), &programs, Events::new(|_| ()));
        let mut story = Self { network, founder: String::new(), directory };
        story.founder = story.found("founder.key");
        story
    }

    fn found(&self, key: &str) -> String {
        let mut init = self.network.program("talkoot-broker");
        init.args(["network", "init", "--key"]).arg(self.file(key));
        tools::output(&mut init).expect("a key").trim().to_owned()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Signs a list of these brokers into the file `list`.
    fn publish(&self, key: &str, brokers: &[&str]) {
        let mut sign = self.network.program("talkoot-broker");
        sign.args(["network", "sign", "--name", "test", "--key"]).arg(self.file(key));
        for broker in brokers {
            sign.arg("--broker").arg(self.network.address(broker));
        }
        tools::output(sign.arg(self.file("list"))).expect("signed");
    }

    /// Tells process `name` the founder's key, and where the list is.
    fn tell(&self, name: &str, more: &str) {
        let list = self.file("list").display().to_string();
        let told = format!("network = {:?}\nnetwork-list = [{list:?}]\n{more}", self.founder);
        self.network.configure(name, &told).expect("written");
    }

    fn wait(&self, mark: usize, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        self.network.events().wait(mark, what, PATIENCE, wanted).expect(what)
    }

    /// How many brokers the broker `name` is linked to.
    fn links(&self, name: &str) -> u64 {
        let mut status = self.network.program_of(name, "talkoot-broker");
        status.args(["status", "--json", "--http", &self.network.http(name)]);
        let status = tools::output(&mut status).expect("its status");
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        status["links"].as_u64().unwrap_or_default()
    }

    /// Waits until volunteer `name` has met `broker`.
    fn wait_for_primary(&self, mark: usize, name: &str, broker: &str) {
        let mut key = self.network.program_of(broker, "talkoot-broker");
        let key = tools::output(key.arg("key")).expect("its key");
        self.wait(mark, "the broker of the list", |event| {
            event.is(name, "primary broker") && key.starts_with(&event.field("peer"))
        });
    }
}

#[test]
fn who_has_the_founders_key_and_a_list_finds_a_broker_and_follows_what_replaces_it() {
    let mut story = Story::begin();
    story.network.broker("one", &[], &["--discover", "false"]).expect("a broker");
    story.network.broker("two", &[], &["--discover", "false"]).expect("another");
    story.publish("founder.key", &["one"]);
    story.tell("volunteer", "discover = false\n");
    story.network.volunteer("volunteer", &[], &[], 1).expect("a volunteer");
    story.wait_for_primary(0, "volunteer", "one");

    // A list of another founder changes nothing, and is named.
    let mark = story.network.events().mark();
    story.found("other.key");
    story.publish("other.key", &["two"]);
    let refused = story.wait(mark, "a refusal", |it| it.is("volunteer", "network list refused"));
    assert!(refused.field("reason").contains("another key signed it"), "{refused:?}");

    // A later one of the founder does.
    let mark = story.network.events().mark();
    story.publish("founder.key", &["two"]);
    story.wait(mark, "the new list", |it| it.is("volunteer", "network list taken"));
    story.network.kill("one").expect("it runs");
    story.wait_for_primary(mark, "volunteer", "two");

    // It is kept, though its file is gone.
    let mark = story.network.events().mark();
    story.network.stop("volunteer").expect("it ends");
    std::fs::remove_file(story.file("list")).expect("it was there");
    story.network.start_again("volunteer").expect("it starts");
    story.wait_for_primary(mark, "volunteer", "two");
}

#[test]
fn brokers_and_masters_find_the_network_too_and_brokers_tell_its_list() {
    let mut story = Story::begin();
    story.network.broker("one", &[], &[]).expect("a broker");
    story.publish("founder.key", &["one"]);
    // A broker that is named to nobody finds a link by the list, and a master its home.
    story.tell("two", "");
    story.network.broker("two", &[], &[]).expect("a broker");
    story.tell("master", "");
    story.network.master("master", "Networks", &[]).expect("a master");
    story.wait(0, "the master's home", |event| event.is("master", "link up"));

    // One that has no file is told by the broker that it knows.
    let told = format!("network = {:?}\n", story.founder);
    story.network.configure("three", &told).expect("written");
    story.network.broker("three", &["two"], &[]).expect("a broker");
    story.wait(0, "the list", |event| event.is("three", "network list taken"));
    story.network.configure("volunteer", &told).expect("written");
    story.network.volunteer("volunteer", &["three"], &[], 1).expect("a volunteer");
    story.wait(0, "the list", |event| event.is("volunteer", "network list taken"));

    let deadline = Instant::now() + PATIENCE;
    while story.links("two") < 2 {
        assert!(Instant::now() < deadline, "it has not found the broker of the list");
        std::thread::sleep(Duration::from_millis(50));
    }
}
