//! What only control groups do.

use std::fs;
use std::time::Duration;

use volunteer_sandbox::Ending;

use crate::life::{kill_helper_of, unique};
use crate::support::{Bench, FIXTURE, eventually, groups, groups_of, is_running, sandbox};

#[test]
fn a_paused_job_cannot_wake_itself_up() {
    if groups().is_none() {
        return;
    }
    let bench = Bench::new();
    let ticks = || fs::metadata(bench.work().join("ticks")).map_or(0, |meta| meta.len());
    let running = sandbox().start(&bench.step(&[FIXTURE, "wake-itself-up"]), None).unwrap();
    eventually("progress", || ticks() > 10);

    running.handle().pause();
    std::thread::sleep(Duration::from_millis(200));
    let before = ticks();
    std::thread::sleep(Duration::from_millis(500));

    assert_eq!(ticks(), before);
    running.handle().resume();
    eventually("progress again", || ticks() > before);
    running.handle().kill();
    assert_eq!(running.wait().ending, Ending::Killed);
}

#[test]
fn a_frozen_step_can_be_ended() {
    if groups().is_none() {
        return;
    }
    let bench = Bench::new();
    let word = unique("1006");
    let running = sandbox().start(&bench.step(&["sleep", &word]), None).unwrap();
    eventually("the step's start", || is_running(&word));
    running.handle().pause();

    running.handle().kill();

    assert_eq!(running.wait().ending, Ending::Killed);
    assert!(!is_running(&word));
}

#[test]
fn a_frozen_job_dies_with_its_helper_and_no_group_is_left() {
    let Some(groups) = groups() else { return };
    let bench = Bench::without_others();
    let own = || groups_of(std::process::id(), &groups);
    assert_eq!(own(), [""; 0]);
    let word = unique("1007");
    let running = sandbox().start(&bench.step(&["sleep", &word]), None).unwrap();
    eventually("the step's start", || is_running(&word));
    assert_eq!(own().len(), 1);
    running.handle().pause();

    kill_helper_of(&word);

    assert!(matches!(running.wait().ending, Ending::SandboxFailed { .. } | Ending::Killed));
    assert!(!is_running(&word));
    assert_eq!(own(), [""; 0]);
}

#[test]
fn a_job_does_not_see_where_its_group_is() {
    assert!(Bench::new().sh("cat /proc/self/cgroup").lines().any(|line| line == "0::/"));
}
