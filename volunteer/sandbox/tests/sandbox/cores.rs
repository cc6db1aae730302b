//! A job keeps to the processors that it was given.

use volunteer_sandbox::processors;

use crate::support::{Bench, FIXTURE, text};

#[test]
fn a_job_sees_as_many_processors_as_it_was_given() {
    let bench = Bench::new();
    let mut spec = bench.script("nproc; grep Cpus_allowed_list /proc/self/status | cut -f2");
    let last = processors().unwrap().pop_last().unwrap();
    spec.processors = [last].into();

    let outcome = bench.run(&spec);

    assert_eq!(text(&outcome), format!("1\n{last}\n"), "{outcome:?}");
}

#[test]
fn without_a_word_about_processors_a_job_has_those_of_the_daemon() {
    let said = Bench::new().sh("nproc");

    assert_eq!(said, format!("{}\n", processors().unwrap().len()));
}

#[test]
fn a_job_whose_processors_are_gone_has_those_of_the_daemon() {
    let bench = Bench::new();
    let mut spec = bench.script("nproc");
    let there = processors().unwrap();
    spec.processors = (0..1024).rev().find(|number| !there.contains(number)).into_iter().collect();

    let outcome = bench.run(&spec);

    assert_eq!(text(&outcome), format!("{}\n", there.len()), "{outcome:?}");
}

#[test]
fn a_job_cannot_leave_its_processors_and_is_not_told_so() {
    let bench = Bench::new();
    let mut spec = bench.step(&[FIXTURE, "spread", "4"]);
    let one = processors().unwrap().pop_first().unwrap();
    spec.processors = [one].into();

    let outcome = bench.run(&spec);

    assert_eq!(text(&outcome), format!("true {{{one}}}\n"), "{outcome:?}");
}
