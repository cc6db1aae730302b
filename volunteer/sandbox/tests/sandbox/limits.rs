//! What a job must not use up.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

use volunteer_sandbox::{CollectCaps, Ending, Outcome, collect};

use crate::support::{Bench, FIXTURE, text};
use crate::traces::Sampler;

const MIB: u64 = 1 << 20;

#[test]
fn a_fork_bomb_fizzles_out() {
    let bench = Bench::new();
    let mut spec = bench.step(&[FIXTURE, "fork-bomb"]);
    spec.limits.processes = 32;

    let outcome = bench.run(&spec);

    assert_eq!(outcome.ending, Ending::Exited { code: 0 }, "{outcome:?}");
    assert_eq!(text(&outcome).trim(), "31");
}

#[test]
fn one_process_cannot_hog_memory() {
    check_memory(&["hog", "600"]);
}

#[test]
fn many_processes_together_cannot_hog_memory() {
    check_memory(&["hogs", "6", "80"]);
}

#[test]
fn large_pages_do_not_outrun_the_watch() {
    check_memory(&["huge-hogs", "3", "150"]);
}

#[test]
fn a_process_whose_first_thread_is_gone_cannot_hog_memory() {
    check_memory(&["hog-without-leader", "600"]);
}

#[test]
fn memory_in_temporary_files_counts() {
    let bench = Bench::new();
    let mut spec = bench.script(&format!("{FIXTURE} fill /tmp 1000000; {FIXTURE} hog 150"));
    spec.limits.memory = 200 * MIB;

    let outcome = bench.run(&spec);

    assert_eq!(outcome.ending, Ending::MemoryExceeded, "{outcome:?}");
    assert!(text(&outcome).contains("No space left"), "{outcome:?}");
}

#[test]
fn sharing_memory_is_not_using_it_twice() {
    let bench = Bench::new();
    // The shell's memory, which all its children share.
    let mut spec = bench.script(
        "x=$(head -c 60000000 /dev/zero | tr '\\0' x); for i in 1 2 3 4 5 6; do ( read y </dev/zero & \
         sleep 0.3; kill $! ) & done; wait; echo end",
    );
    spec.limits.memory = 300 * MIB;

    let outcome = bench.run(&spec);

    assert_eq!(outcome.ending, Ending::Exited { code: 0 }, "{outcome:?}");
}

#[test]
fn memory_that_processes_share_only_later_is_not_used_once_by_each() {
    let bench = Bench::new();
    // First 165 MiB, which is near enough to the limit to be measured, then 80 MiB that three have.
    let mut spec = bench.step(&[FIXTURE, "share-later", "3", "55", "80"]);
    spec.limits.memory = 200 * MIB;

    let outcome = bench.run(&spec);

    assert_eq!(outcome.ending, Ending::Exited { code: 0 }, "{outcome:?}");
    assert_eq!(text(&outcome), "4\n");
}

/// For so long a measurement is made again that others on this machine have disturbed.
const PATIENCE: Duration = Duration::from_secs(60);

/// The job is ended for its memory; it has exceeded its limit by a fifth at most, and for a quarter of a second.
fn check_memory(command: &[&str]) {
    const LIMIT: u64 = 200 * MIB;
    let bench = Bench::without_others();
    let mut spec = bench.step(&[&[FIXTURE], command].concat());
    spec.limits.memory = LIMIT;

    let began = Instant::now();
    let (outcome, overshoot) = loop {
        let sampler = Sampler::of(bench.name());
        let outcome = bench.run(&spec);
        let overshoot = sampler.overshoot(LIMIT);
        assert_eq!(outcome.ending, Ending::MemoryExceeded, "{outcome:?}");
        if !overshoot.is_blurred() {
            break (outcome, overshoot);
        }
        assert!(began.elapsed() < PATIENCE, "too busy a machine to tell: {overshoot:?}");
    };

    assert!(overshoot.most > LIMIT / 2, "it was not looked at: {overshoot:?}");
    for most in [overshoot.most, outcome.memory_peak] {
        assert!(most <= LIMIT + LIMIT / 5, "{most} bytes: {overshoot:?}, {outcome:?}");
    }
    assert!(overshoot.above <= Duration::from_millis(250), "{overshoot:?}");
}

#[test]
fn large_files_cannot_fill_the_disk() {
    check_disk("fill", "/work", 8 * MIB);
}

#[test]
fn small_files_cannot_fill_the_disk() {
    check_disk("fill", "/work", 1);
}

#[test]
fn empty_files_cannot_use_up_the_inodes() {
    check_disk("fill", "/work", 0);

    let bench = Bench::new();
    let outcome = bench.run(&bench.step(&[FIXTURE, "fill", "/tmp", "0"]));
    assert!(text(&outcome).contains("No space left"), "{outcome:?}");
}

#[test]
fn a_sparse_file_of_100_gb_is_no_result() {
    let bench = Bench::new();
    let mut spec = bench.step(&["truncate", "-s", "100G", "sparse"]);
    assert_eq!(bench.run(&spec).ending, Ending::DiskExceeded);

    // It takes nothing of the disk, and so a job that may use more has it, but not as a result.
    spec.limits.disk = 200 << 30;
    assert_eq!(bench.run(&spec).ending, Ending::Exited { code: 0 });
    let caps = CollectCaps { files: 10, bytes_each: 1 << 30, bytes_total: 1 << 30 };
    let found = collect(&bench.work(), &["*".to_owned()], caps).unwrap();
    assert_eq!((found.files.len(), found.refused.len()), (0, 1), "{found:?}");
}

#[test]
fn files_without_a_name_cannot_fill_the_disk() {
    check_disk("fill-unlinked", "/work", 2 * MIB);
}

#[test]
fn names_of_one_file_cannot_fill_the_disk() {
    let bench = Bench::new();
    let mut spec = bench.script(
        "mkdir a; cd a; seq 1 500 | xargs touch; cd ..; \
         for i in $(seq 1 20); do cp -al a a$i; done; sleep 2",
    );
    // A name in a directory takes a hundredth of what it counts.
    spec.limits.disk = 4 * MIB;

    assert_eq!(bench.run(&spec).ending, Ending::DiskExceeded);
}

#[test]
fn files_in_a_closed_directory_cannot_fill_the_disk() {
    let bench = Bench::new();
    let mut spec =
        bench.script(&format!("mkdir -m 300 closed; {FIXTURE} fill /work/closed 1000000"));
    spec.limits.disk = 32 * MIB;

    let outcome = bench.run(&spec);

    let readable = fs::Permissions::from_mode(0o700);
    fs::set_permissions(bench.work().join("closed"), readable).unwrap();
    assert_disk_held(&bench, &outcome);
}

#[test]
fn a_directory_nested_too_deeply_to_be_counted_is_not_permitted() {
    let bench = Bench::new();
    let nest = "i=0; while [ $i -lt 1100 ]; do mkdir d && cd -P d; i=$((i+1)); done; sleep 10";

    let outcome = bench.run(&bench.script(nest));

    assert_eq!(outcome.ending, Ending::DiskExceeded, "{outcome:?}");
}

fn check_disk(how: &str, place: &str, file_bytes: u64) {
    let bench = Bench::new();
    let mut spec = bench.step(&[FIXTURE, how, place, &file_bytes.to_string()]);
    spec.limits.disk = 32 * MIB;

    assert_disk_held(&bench, &bench.run(&spec));
}

fn assert_disk_held(bench: &Bench, outcome: &Outcome) {
    assert_eq!(outcome.ending, Ending::DiskExceeded, "{outcome:?}");
    // What could be seen of it: the limit, and as much again, since other tests write to the disk meanwhile, too.
    let used = allocated(&bench.work());
    assert!(used < 128 * MIB, "{used} bytes on disk");
}

fn allocated(directory: &std::path::Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => allocated(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

#[test]
fn endless_output_ends_the_step() {
    let bench = Bench::new();
    let mut spec = bench.step(&[FIXTURE, "flood"]);
    spec.limits.output = 100_000;

    let outcome = bench.run(&spec);

    assert_eq!(outcome.ending, Ending::OutputExceeded);
    assert!(outcome.output_truncated);
    assert_eq!(outcome.output, vec![b'x'; 100_000]);
}

#[test]
fn output_of_just_the_limit_is_fine() {
    let bench = Bench::new();
    let mut spec = bench.script("printf 12345; printf 67890 >&2");
    spec.limits.output = 10;

    let outcome = bench.run(&spec);

    assert_eq!(outcome.ending, Ending::Exited { code: 0 });
    assert_eq!((text(&outcome).as_str(), outcome.output_truncated), ("1234567890", false));
}

#[test]
fn ignoring_signals_does_not_buy_time() {
    let bench = Bench::new();
    let mut spec = bench.script("trap '' TERM INT HUP; while :; do sleep 1; done");
    spec.limits.wall = Duration::from_millis(300);

    let outcome = bench.run(&spec);

    assert_eq!(outcome.ending, Ending::TimedOut);
    assert!(outcome.wall >= spec.limits.wall, "{outcome:?}");
    assert!(outcome.wall < Duration::from_secs(2), "{outcome:?}");
}
