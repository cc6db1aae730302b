//! Whatever is delivered in whatever order, and however often the process dies: every replica of
//! every task is accepted at most once, and once it was, always for the same result.

#[allow(dead_code, clippy::allow_attributes, reason = "each test program uses its part")]
mod support;

use std::collections::BTreeMap;

use capability::statements::{Ended, Verdict};
use proptest::collection::vec;
use proptest::prelude::*;
use support::{Bench, Draft, home};

const TASKS: u32 = 3;

#[derive(Debug, Clone)]
enum Event {
    /// A result of `task` from volunteer `by`; `flavour` tells several of the same apart.
    Deliver {
        task: u32,
        by: u8,
        flavour: u64,
        ended: Ended,
    },
    /// Writes are slow from here on, until the next of these or a crash.
    SlowDisk,
    FinishCommits,
    Crash,
}

fn event() -> impl Strategy<Value = Event> {
    let ended = prop_oneof![
        3 => Just(Ended::Passed),
        1 => Just(Ended::Failed),
        1 => Just(Ended::Machine("unfit".into())),
    ];
    let deliver = (0..TASKS, 0..3_u8, 0..2_u64, ended)
        .prop_map(|(task, by, flavour, ended)| Event::Deliver { task, by, flavour, ended });
    prop_oneof![
        6 => deliver,
        1 => Just(Event::SlowDisk),
        1 => Just(Event::FinishCommits),
        1 => Just(Event::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_replica_is_accepted_at_most_once(events in vec(event(), 1..40)) {
        let (mut bench, offer) = Bench::with_job(TASKS);
        // Which result each task was accepted for, as its volunteers heard it.
        let mut accepted = BTreeMap::new();
        for event in events {
            match event {
                Event::SlowDisk => bench.slow_disk(),
                Event::FinishCommits => bench.finish_commits(),
                Event::Crash => {
                    bench.restart();
                    bench.up(&home());
                }
                Event::Deliver { task, by, flavour, ended } => {
                    let draft = Draft::new(&offer, task, by);
                    bench.deliver_slowly(&Draft { ended, cpu_ms: flavour, ..draft }.sign());
                }
            }
            while let Some(receipt) = bench.receipt() {
                if matches!(receipt.verdict, Verdict::Accepted(_)) {
                    let first = accepted.entry(receipt.task).or_insert(receipt.result);
                    prop_assert_eq!(*first, receipt.result, "two results of {:?}", receipt.task);
                }
            }
        }
        bench.finish_commits();
        let job = bench.master.job(offer.id()).expect("it has not expired");
        for (task, result) in accepted {
            let settled = job.settled_by(task.task, task.replica);
            prop_assert_eq!(settled.map(|it| it.result), Some(result), "told, and not kept");
        }
    }
}
