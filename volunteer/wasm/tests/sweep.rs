//! The example in `examples/sweep` computes what it says.

#![expect(clippy::unwrap_used, reason = "a failed test")]

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use support::{MIB, Run};

const SWEEP: &str = include_str!("../../../examples/sweep/sweep.wat");

fn task(index: &str, count: &str) -> Run {
    Run::of_text(SWEEP)
        .memory(MIB)
        .option("--env", "UNRELATED=1")
        .option("--env", format!("TALKOOT_TASK_INDEX={index}"))
        .option("--env", format!("TALKOOT_TASK_COUNT={count}"))
}

/// The steps from `n` to 1, as the definition says.
fn chain(mut n: u64) -> u64 {
    let mut steps = 0;
    while n != 1 {
        n = if n.is_multiple_of(2) { n / 2 } else { 3 * n + 1 };
        steps += 1;
    }
    steps
}

#[track_caller]
fn check(index: u64, count: u64) -> (u64, u64) {
    let first = (100_000_000 * index / count).max(1);
    let end = 100_000_000 * (index + 1) / count;
    let (steps, start) = (first..end)
        .map(|n| (chain(n), n))
        .max_by_key(|&(steps, n)| (steps, u64::MAX - n))
        .unwrap();
    let run = task(&index.to_string(), &count.to_string());

    let ended = run.start();

    ended.expect_exit(0);
    let line = format!(
        "task {index} of {count}: n in [{first}, {end}): \
         longest Collatz chain {steps} steps at n = {start}\n"
    );
    assert_eq!(ended.stdout, line);
    let file = format!(
        "task={index}\ntasks={count}\nfirst={first}\nend={end}\nsteps={steps}\nn={start}\n"
    );
    assert_eq!(std::fs::read_to_string(run.work().join("result.txt")).unwrap(), file);
    (steps, start)
}

#[test]
fn small_shares_agree_with_the_definition() {
    check(0, 10_000);
    check(7, 10_000);
    check(9_999, 10_000);
    // Shares that do not divide evenly.
    check(1_234, 7_777);
}

/// The records are in the literature: OEIS A006877 has the starts, A006878 the steps.
#[test]
fn shares_with_known_records_agree_with_them() {
    assert_eq!(check(0, 100), (524, 837_799));
    assert_eq!(check(63, 100), (949, 63_728_127));
}

#[test]
fn a_wrong_environment_is_refused() {
    for (index, count) in
        [("4", "4"), ("", "4"), ("0", "0"), ("-1", "4"), ("1x", "4"), ("0", "1000001"), ("0", "x")]
    {
        let run = task(index, count);

        let ended = run.start();

        assert_eq!(ended.code, 2, "{index} of {count}: {ended:?}");
        assert!(ended.stderr.starts_with("sweep: TALKOOT_TASK_COUNT must be"), "{ended:?}");
        assert!(!run.work().join("result.txt").exists());
    }
    assert_eq!(Run::of_text(SWEEP).start().code, 2);
}
