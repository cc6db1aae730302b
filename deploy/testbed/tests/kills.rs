//! `kill -9` at random moments, of every kind of process, while jobs of many small tasks flow.

use std::time::Duration;

use testbed::{Bed, Job, Oracle, Shape};

/// Kills in one run, unless `TALKOOT_KILLS` says otherwise.
const KILLS: u32 = 100;
/// Each so many kills all processes go at once.
const KILLS_OF_ALL: u32 = 25;
/// Each so many kills one more job is submitted.
const KILLS_A_JOB: u32 = 4;
const TASKS_A_JOB: u32 = 16;

/// Processes are left alone for up to so long between two kills.
const LONGEST_LULL: Duration = Duration::from_millis(1200);

const VOLUNTEERS: [&str; 2] = ["volunteer-1", "volunteer-2"];
const BROKERS: [&str; 3] = ["broker-a", "broker-b", "broker-c"];
const ALL: [&str; 6] = ["broker-a", "broker-b", "broker-c", "master", "volunteer-1", "volunteer-2"];
const ORACLE: Oracle<'_> = Oracle { master: "master", volunteers: &VOLUNTEERS, brokers: &BROKERS };

#[test]
fn whatever_is_killed_at_whatever_moment_each_acknowledged_task_is_accepted_once() {
    let Some(mut bed) = Bed::new("kill -9 at random moments") else { return };
    println!("TALKOOT_SEED={} repeats the order of these kills", bed.seed());
    let mut random = fastrand::Rng::with_seed(bed.seed());
    build(&mut bed);

    let mut acknowledged = Vec::new();
    for kill in 0..kills() {
        if kill % KILLS_A_JOB == 0 {
            let name = format!("job-{kill}");
            let offer = bed.submit("master", &Job::idle(&name, TASKS_A_JOB));
            acknowledged.push(offer.expect("the master runs, so it takes the job"));
        }
        std::thread::sleep(LONGEST_LULL.mul_f64(random.f64()));
        let one = [ALL[random.usize(..ALL.len())]];
        let victims = if kill % KILLS_OF_ALL == KILLS_OF_ALL - 1 { &ALL[..] } else { &one };
        for name in victims {
            bed.network.kill(name).expect("killed");
        }
        for name in victims {
            bed.network.start_again(name).expect("started again");
        }
    }
    let judgement = bed.judge(&ORACLE, &acknowledged);
    judgement.unwrap_or_else(|error| panic!("TALKOOT_SEED={}: {error:#}", bed.seed()));
}

fn kills() -> u32 {
    let asked = std::env::var("TALKOOT_KILLS").ok();
    asked.map_or(KILLS, |kills| kills.parse().expect("TALKOOT_KILLS is a number"))
}

/// a - b - c, and a volunteer at either end.
fn build(bed: &mut Bed) {
    for host in ["a", "b", "c"] {
        bed.add_host(host).expect("a host");
    }
    bed.join("a", "b", Shape::WIRE).expect("a cable");
    bed.join("b", "c", Shape::WIRE).expect("a cable");
    bed.broker("broker-a", "a", &[]).expect("broker-a");
    bed.broker("broker-b", "b", &["broker-a"]).expect("broker-b");
    bed.broker("broker-c", "c", &["broker-b"]).expect("broker-c");
    bed.master("master", "a", &["broker-a"]).expect("the master");
    bed.volunteer("volunteer-1", "b", &["broker-b", "broker-a"], "master").expect("a volunteer");
    bed.volunteer("volunteer-2", "c", &["broker-c", "broker-b"], "master").expect("a volunteer");
}
