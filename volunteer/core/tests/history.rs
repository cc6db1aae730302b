//! What ran, as the owner can look it up afterwards.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use capability::statements::{Blob, BlobPart, Credit, Ended, Log, StepReport, Verdict};
use capability::{BlobHash, encrypted_size};
use support::{BROKER, Bench, accepted, offered, outcome, pin, result_in};
use volunteer_core::{Fate, Input, MAX_HISTORY, Outcome, PastRun, Pin};

fn step(wall_ms: u64, cpu_ms: u64, memory: u64) -> StepReport {
    let (name, ending, log) = ("a".into(), String::new(), Log::Inline(Vec::new()));
    StepReport { name, exit: Some(0), ending, wall_ms, cpu_ms, memory, fuel: None, log }
}

/// The whole history, the newest first.
fn history(bench: &Bench) -> Vec<(&PastRun, Fate<'_>)> {
    bench.volunteer.history(u64::MAX, MAX_HISTORY).collect()
}

#[test]
fn a_run_is_remembered_with_what_it_took_and_what_became_of_its_result() {
    let mut bench = Bench::ready(2);
    bench.handle(Input::Pins(vec![Pin { name: "demo".into(), ..pin() }]));
    let orders = bench.run_offer(&offered("a", 2, 1));
    let steps = vec![step(100, 70, 5 << 20), step(50, 40, 9 << 20)];
    let (size, hash) = (1 << 20, BlobHash::of(b"plain"));
    let blobs = vec![Blob { hash: BlobHash::of(b"log"), size: encrypted_size(size) }];
    let log = Log::Blob(BlobPart { blob: 0, size, hash });
    let steps = [vec![StepReport { log, ..step(1, 1, 1) }], steps].concat();
    bench.ran(orders[0].lease, Outcome { steps, blobs, ..outcome(Ended::Passed) });
    bench.ran(orders[1].lease, outcome(Ended::Limit("memory".into())));
    let result = result_in(&bench.take_handovers()[0]);

    let runs = history(&bench);
    let (second, first) = (runs[0].0, runs[1].0);
    assert_eq!((first.number, first.task, &*first.name), (0, orders[0].task, "a"));
    assert_eq!((first.project_name.as_str(), first.ended.clone()), ("demo", Ended::Passed));
    assert_eq!((first.wall_ms, first.cpu_ms, first.memory), (151, 111, 9 << 20));
    assert_eq!((first.fetched, second.fetched), (1000, 0), "the package came once");
    assert!(first.sent > encrypted_size(size) && second.sent < 4096, "{first:?} {second:?}");
    assert_eq!(second.ended, Ended::Limit("memory".into()));
    assert_eq!((first.result, runs[1].1), (Some(result.id()), Fate::Waits));

    // It outlives the process, and the name is that of the time.
    let mut bench = bench.restart();
    bench.connect(BROKER);
    bench.receive(accepted(&result));
    let runs = history(&bench);
    assert_eq!((runs.len(), &*runs[1].0.project_name), (2, "demo"));
    let Fate::Judged(receipt) = runs[1].1 else { panic!("{:?}", runs[1]) };
    assert_eq!(receipt.verdict, Verdict::Accepted(Credit(7)));
    assert_eq!(runs[0].1, Fate::Waits);
}

#[test]
fn a_run_that_was_given_up_is_remembered_before_the_volunteer_ends() {
    let mut bench = Bench::ready(1);
    let order = bench.run_offer(&offered("a", 1, 1)).remove(0);
    bench.handle(Input::Quit);
    bench.ran(order.lease, outcome(Ended::Machine("stopped by its owner".into())));

    let bench = bench.restart();
    let runs = history(&bench);
    assert_eq!((runs[0].0.task, runs[0].0.result), (order.task, None));
    assert_eq!((runs[0].1, runs.len()), (Fate::NoResult, 1));
}

#[test]
fn a_history_is_read_page_by_page() {
    let mut bench = Bench::ready(3);
    for order in bench.run_offer(&offered("a", 3, 1)) {
        bench.ran(order.lease, outcome(Ended::Passed));
    }
    let page = |before, limit| {
        let page = bench.volunteer.history(before, limit);
        page.map(|(run, _)| run.number).collect::<Vec<_>>()
    };
    assert_eq!(page(u64::MAX, 2), [2, 1]);
    assert_eq!(page(1, 2), [0]);
    assert_eq!((page(0, 2), page(7, 9)), (vec![], vec![2, 1, 0]));
    assert_eq!(bench.volunteer.history(u64::MAX, 1).next().unwrap().1, Fate::Waits);
}
