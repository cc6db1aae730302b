//! Stories of bad cables, wrong clocks and full disks.

use std::path::Path;
use std::time::Duration;

use mesh_shell::Exit;
use testbed::{Bed, Job, Oracle, Shape, Skew};
use xtask::events::Event;
use xtask::tools;

/// Wall clocks may differ by 5.
const MINUTES: Duration = Duration::from_secs(4 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);

const ORACLE: Oracle<'_> =
    Oracle { master: "master", volunteers: &["volunteer"], brokers: &["broker"] };

fn judge(bed: &mut Bed, oracle: &Oracle<'_>, acknowledged: &[String]) {
    bed.judge(oracle, acknowledged).unwrap_or_else(|error| panic!("{error:#}"));
}

/// The master and its broker at home, the volunteer away, and a cable between them.
fn home_and_away(story: &str) -> Option<Bed> {
    let mut bed = Bed::new(story)?;
    bed.add_host("home").expect("a host");
    bed.add_host("away").expect("a host");
    bed.join("home", "away", Shape::WIRE).expect("a cable");
    Some(bed)
}

fn start(bed: &mut Bed) {
    bed.broker("broker", "home", &[]).expect("the broker");
    bed.master("master", "home", &["broker"]).expect("the master");
    bed.volunteer("volunteer", "away", &["broker"], "master").expect("the volunteer");
}

#[test]
fn results_come_home_over_a_cable_that_loses_a_fifth_and_takes_200_ms() {
    let Some(mut bed) = home_and_away("a lossy and slow cable") else { return };
    start(&mut bed);
    let round_trip = Duration::from_millis(200);
    let bad = Shape::WIRE.delayed(round_trip / 2).lossy(0.2);
    bed.shape("home", "away", bad).expect("shaped");

    // Over such a cable TCP carries 20 to 150 kB/s, in fits and starts.
    let size = 320 << 10;
    let job = Job { artifact: size, ..Job::idle("lossy", 3) };
    let offer = bed.submit("master", &job).expect("acknowledged");
    bed.await_job("master", &offer).expect("all tasks pass");
    let artifacts = bed.directory().join("artifacts");
    let mut save = bed.network.program_of("master", "talkoot-master");
    tools::output(save.args(["artifacts", &offer, "--into"]).arg(&artifacts)).expect("saved");
    for task in 0..3 {
        let artifact = artifacts.join(task.to_string()).join("artifact");
        let saved = std::fs::metadata(artifact).expect("an artifact of each task").len();
        assert_eq!(saved, u64::from(size));
    }
    judge(&mut bed, &ORACLE, &[offer]);
}

#[test]
fn clocks_that_differ_by_minutes_keep_nobody_from_working() {
    let Some(mut bed) = home_and_away("clocks that differ by minutes") else { return };
    bed.add_host("early").expect("a host");
    bed.add_host("late").expect("a host");
    bed.join("home", "early", Shape::WIRE).expect("a cable");
    bed.join("home", "late", Shape::WIRE).expect("a cable");
    bed.skew("early", Skew::Ahead(MINUTES));
    bed.skew("late", Skew::Behind(MINUTES));
    start(&mut bed);
    bed.broker("broker-early", "early", &["broker"]).expect("a broker");
    let brokers = ["broker-early", "broker"];
    bed.volunteer("volunteer-late", "late", &["broker"], "master").expect("a volunteer");
    bed.volunteer("volunteer-early", "early", &brokers, "master").expect("a volunteer");

    let job = Job { milliseconds: 500, ..Job::idle("minutes", 24) };
    let offer = bed.submit("master", &job).expect("acknowledged");
    let volunteers = ["volunteer", "volunteer-early", "volunteer-late"];
    for volunteer in volunteers {
        let works = |it: &Event| it.is(volunteer, "receipt");
        let what = format!("a receipt at {volunteer}");
        bed.await_events(0, 1, &what, works).expect("every volunteer works");
    }
    bed.await_job("master", &offer).expect("all tasks pass");
    let oracle = Oracle { volunteers: &volunteers, brokers: &["broker", "broker-early"], ..ORACLE };
    judge(&mut bed, &oracle, &[offer]);
}

#[test]
fn a_volunteer_whose_clock_is_an_hour_wrong_is_told_so() {
    let Some(mut bed) = home_and_away("a clock that is an hour wrong") else { return };
    bed.skew("away", Skew::Behind(HOUR));
    start(&mut bed);
    let told = |it: &Event| {
        it.is("volunteer", "idle") && it.field("reason").contains("clock is over 5 minutes behind")
    };
    bed.await_events(0, 1, "a word about the clock", told).expect("a clear message");
    let mut why = bed.network.program_of("volunteer", "talkoot-volunteer");
    let why = tools::output(why.arg("why")).expect("the volunteer answers");
    assert!(why.contains("clock is over 5 minutes behind"), "{why}");
}

#[test]
fn a_broker_whose_disk_is_full_refuses_with_a_reason_keeps_what_it_has_and_goes_on() {
    let Some(mut bed) = home_and_away("a full disk") else { return };
    bed.small_disk("broker", "home", 320 << 20).expect("a disk");
    start(&mut bed);
    let job = Job { milliseconds: 1000, ..Job::idle("before", 12) };
    let before = bed.submit("master", &job).expect("acknowledged");
    bed.await_events(0, 2, "results to be accepted", |it| it.name == "accepted").expect("results");

    let ballast = bed.network.state("broker").join("ballast");
    fill(&bed, &ballast, 40 << 20);
    let full = |it: &Event| it.name == "disk nearly full, nothing new is taken";
    bed.await_events(0, 1, "the disk to be full", full).expect("full");
    let during = bed.submit("master", &Job::idle("during", 3)).expect("acknowledged");
    let refused =
        |it: &Event| it.is("master", "not published") && it.field("reason").contains("disk");
    bed.await_events(0, 1, "the offer to be refused", refused).expect("refused with a reason");

    let mut remove = bed.host("home").expect("it was made").command("rm");
    tools::output(remove.arg(&ballast)).expect("removed");
    let room = |it: &Event| it.name == "disk has room again";
    bed.await_events(0, 1, "room", room).expect("room");
    for offer in [&before, &during] {
        bed.await_job("master", offer).expect("all tasks pass");
    }
    judge(&mut bed, &ORACLE, &[before, during]);
}

#[test]
fn a_broker_whose_disk_takes_no_byte_more_ends_with_a_reason_and_has_lost_nothing() {
    let Some(mut bed) = home_and_away("a disk without a free byte") else { return };
    bed.small_disk("broker", "home", 320 << 20).expect("a disk");
    start(&mut bed);
    let job = Job { milliseconds: 20, ..Job::idle("no-byte", 200) };
    let offer = bed.submit("master", &job).expect("acknowledged");
    bed.await_events(0, 2, "results to be accepted", |it| it.name == "accepted").expect("results");

    let ballast = bed.network.state("broker").join("ballast");
    let mut fill = bed.host("home").expect("it was made").command("sh");
    let all = "cat /dev/zero 2>&1 >\"$0\" | grep -q 'No space left'";
    tools::output(fill.args(["-c", all]).arg(&ballast)).expect("no byte is free");
    // Its file of records has some room inside. What follows needs more.
    let code = bed.network.ended("broker").expect("it ends by itself");
    assert_eq!(code, Some(Exit::State.code().into()));
    let says = |it: &Event| it.who == "broker" && it.name.contains("make room on the disk");
    bed.await_events(0, 1, "what to do", says).expect("a hint");

    let mut remove = bed.host("home").expect("it was made").command("rm");
    tools::output(remove.arg(&ballast)).expect("removed");
    bed.network.start_again("broker").expect("started again");
    bed.await_job("master", &offer).expect("all tasks pass");
    judge(&mut bed, &ORACLE, &[offer]);
}

/// Fills the disk of `ballast` but for so many bytes.
fn fill(bed: &Bed, ballast: &Path, left: u64) {
    let host = bed.host("home").expect("it was made");
    let disk = ballast.parent().expect("a file on a disk");
    let mut df = host.command("df");
    let said = tools::output(df.args(["--block-size=1", "--output=avail"]).arg(disk));
    let said = said.expect("df knows");
    let free: u64 = said.lines().last().expect("a number").trim().parse().expect("a number");
    let length = (free - left).to_string();
    let mut allocate = host.command("fallocate");
    tools::output(allocate.args(["--length", &length]).arg(ballast)).expect("filled");
}
