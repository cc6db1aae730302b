//! Stories of a network whose hosts are apart: release programs, default limits, wires that break.

use testbed::{Bed, Job, Oracle, Shape};
use xtask::events::Event;

/// Of a task during which a cable is cut: longer than a busy machine takes for that.
const LONG: u64 = 2000;

/// a - b - c: the master and its home at a, the volunteer at c, and no way but through b.
struct Line {
    bed: Bed,
}

const ORACLE: Oracle<'_> = Oracle {
    master: "master",
    volunteers: &["volunteer"],
    brokers: &["broker-a", "broker-b", "broker-c"],
};

impl Line {
    fn start(story: &str) -> Option<Self> {
        let mut bed = Bed::new(story)?;
        for host in ["a", "b", "c"] {
            bed.add_host(host).expect("a host");
        }
        bed.join("a", "b", Shape::WIRE).expect("a cable");
        bed.join("b", "c", Shape::WIRE).expect("a cable");
        bed.broker("broker-a", "a", &[]).expect("broker-a");
        bed.broker("broker-b", "b", &["broker-a"]).expect("broker-b");
        bed.broker("broker-c", "c", &["broker-b"]).expect("broker-c");
        bed.master("master", "a", &["broker-a"]).expect("the master");
        bed.volunteer("volunteer", "c", &["broker-c"], "master").expect("the volunteer");
        Some(Self { bed })
    }

    fn submit(&self, job: &Job<'_>) -> String {
        self.bed.submit("master", job).expect("acknowledged")
    }

    /// Everything that was acknowledged is done, once, and the receipts are home.
    fn judge(&mut self, acknowledged: &[String]) {
        self.bed.judge(&ORACLE, acknowledged).unwrap_or_else(|error| panic!("{error:#}"));
    }
}

#[test]
fn a_job_reaches_a_volunteer_that_its_master_cannot_reach_and_the_result_and_receipt_come_home() {
    let Some(mut line) = Line::start("a line of three hosts") else { return };
    let offer = line.submit(&Job::idle("line", 5));
    line.bed.await_job("master", &offer).expect("all tasks pass");
    line.judge(&[offer]);
}

#[test]
fn a_partition_while_results_flow_loses_nothing_and_nothing_is_accepted_twice() {
    let Some(mut line) = Line::start("a partition while results flow") else { return };
    let job = Job { milliseconds: LONG, ..Job::idle("partition", 8) };
    let offer = line.submit(&job);
    let bed = &line.bed;
    bed.await_events(0, 2, "results to be accepted", |it| it.name == "accepted").expect("results");

    let cut = bed.network.events().mark();
    strand_a_result(bed);
    let parted = |it: &Event| it.is("broker-b", "link down");
    bed.await_events(cut, 1, "the partition to be seen", parted).expect("link down");

    bed.heal("a", "b").expect("healed");
    bed.await_job("master", &offer).expect("all tasks pass");
    line.judge(&[offer]);
}

#[test]
fn results_whose_only_carrier_is_destroyed_with_its_disk_arrive_another_way() {
    let Some(mut bed) = Bed::new("the end of the only carrier") else { return };
    for host in ["a", "b", "c", "v"] {
        bed.add_host(host).expect("a host");
    }
    for (one, other) in [("a", "b"), ("a", "c"), ("b", "v"), ("c", "v")] {
        bed.join(one, other, Shape::WIRE).expect("a cable");
    }
    bed.broker("broker-a", "a", &[]).expect("broker-a");
    bed.broker("broker-b", "b", &["broker-a"]).expect("broker-b");
    bed.broker("broker-c", "c", &["broker-a"]).expect("broker-c");
    bed.master("master", "a", &["broker-a"]).expect("the master");
    // The volunteer meets broker-b first, which becomes its primary.
    bed.cut("c", "v").expect("cut");
    bed.volunteer("volunteer", "v", &["broker-b", "broker-c"], "master").expect("the volunteer");
    bed.await_events(0, 1, "a primary", |it| it.is("volunteer", "primary broker")).expect("one");
    bed.heal("c", "v").expect("healed");
    let job = Job { milliseconds: LONG, ..Job::idle("carrier", 6) };
    let offer = bed.submit("master", &job).expect("acknowledged");
    bed.await_events(0, 2, "results to be accepted", |it| it.name == "accepted").expect("results");

    strand_a_result(&bed);
    bed.network.destroy("broker-b").expect("destroyed");

    bed.await_job("master", &offer).expect("all tasks pass");
    let brokers = &["broker-a", "broker-c"];
    let oracle = Oracle { master: "master", volunteers: &["volunteer"], brokers };
    bed.judge(&oracle, &[offer]).unwrap_or_else(|error| panic!("{error:#}"));
}

/// Cuts a from b when a task has just begun, and waits until its result is in custody at broker-b.
fn strand_a_result(bed: &Bed) {
    let begin = bed.network.events().mark();
    let started = |it: &Event| it.name == "started";
    let started = bed.await_events(begin, 1, "a task to start", started).expect("started");
    bed.cut("a", "b").expect("cut");
    let waits = |it: &Event| {
        it.is("broker-b", "custody taken") && it.field("task") == started.field("task")
    };
    bed.await_events(begin, 1, "its result, which cannot go on", waits).expect("custody");
}
