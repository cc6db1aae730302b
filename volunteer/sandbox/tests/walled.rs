//! Walled programs, whatever the wall of this platform is: they run, and are limited, paused and ended.

#![expect(clippy::unwrap_used, reason = "a failed test")]

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use volunteer_sandbox::{
    Ending, Helper, Limits, Observer, Outcome, Walled, WalledSpec, wall_self_test,
};

const SECOND: Duration = Duration::from_secs(1);

/// The fixture with these words, in a directory of its own.
fn spec(words: &[&str], limits: Limits) -> (TempDir, WalledSpec) {
    let folder = tempfile::tempdir().unwrap();
    let spec = WalledSpec {
        program: env!("CARGO_BIN_EXE_sandbox-fixture").into(),
        arguments: words.iter().map(ToString::to_string).collect(),
        reads: Vec::new(),
        work: folder.path().canonicalize().unwrap(),
        limits,
        processors: [].into(),
    };
    (folder, spec)
}

fn run(words: &[&str], limits: Limits) -> Outcome {
    let (_folder, spec) = spec(words, limits);
    spec.start(None).unwrap().wait()
}

#[test]
fn output_and_exit_code_come_back() {
    let outcome = run(&["say", "one two", "th\"ree\\", "3"], Limits::default());

    assert_eq!(outcome.ending, Ending::Exited { code: 3 });
    let said = String::from_utf8(outcome.output).unwrap().replace("\r\n", "\n");
    assert_eq!(said, "one two\nth\"ree\\\n");
}

#[test]
fn output_is_observed_while_it_comes_and_no_more_than_is_kept() {
    let (told, heard) = mpsc::channel();
    let observer: Observer = Box::new(move |piece| told.send(piece.to_vec()).unwrap());
    let (_folder, spec) = spec(&["hog", "1"], Limits { output: 4, ..Limits::default() });

    let walled = spec.start(Some(observer)).unwrap();

    assert_eq!(heard.recv().unwrap(), b"1 he");
    walled.handle().kill();
    assert_eq!(walled.wait().output, b"1 he");
}

#[test]
fn time_memory_disk_and_output_are_limited() {
    let limits = Limits { wall: SECOND / 5, ..Limits::default() };
    assert_eq!(run(&["nap"], limits).ending, Ending::TimedOut);

    let limits = Limits { memory: 100 << 20, ..Limits::default() };
    let outcome = run(&["hog", "400"], limits);
    assert_eq!(outcome.ending, Ending::MemoryExceeded, "{}", outcome.memory_peak);

    let limits = Limits { disk: 1 << 20, ..Limits::default() };
    assert_eq!(run(&["fill", ".", "100000"], limits).ending, Ending::DiskExceeded);

    let limits = Limits { output: 10, ..Limits::default() };
    let outcome = run(&["say", "0123456789012345", "", "0"], limits);
    assert_eq!((outcome.ending, outcome.output.len()), (Ending::OutputExceeded, 10));
}

/// The number that the fixture has come to.
fn count(file: &Path) -> u64 {
    std::fs::read_to_string(file).ok().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Waits until `is_so`, for at most a minute.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if is_so() {
            return;
        }
        std::thread::sleep(SECOND / 100);
    }
    panic!("not {what} within a minute");
}

fn counting(limits: Limits) -> (TempDir, std::path::PathBuf, Walled) {
    let (folder, spec) = spec(&["count-in", "count"], limits);
    let file = folder.path().join("count");
    let walled = spec.start(None).unwrap();
    until("counting", || count(&file) > 0);
    (folder, file, walled)
}

#[test]
fn who_is_paused_does_nothing_loses_no_time_and_goes_on() {
    let began = Instant::now();
    let (_folder, file, walled) = counting(Limits::default());
    let handle = walled.handle();
    let waiting = std::thread::spawn(move || walled.wait());

    handle.pause();
    handle.pause();
    // Its last number before that may still be on its way.
    std::thread::sleep(SECOND / 10);
    let before = count(&file);
    std::thread::sleep(SECOND / 2);
    assert_eq!(count(&file), before);
    handle.resume();
    until("going on", || count(&file) > before.max(1));
    handle.kill();

    let outcome = waiting.join().unwrap();
    assert_eq!(outcome.ending, Ending::Killed);
    assert!(outcome.wall + SECOND / 2 < began.elapsed(), "{:?}", outcome.wall);
    let after = count(&file);
    std::thread::sleep(SECOND / 10);
    assert_eq!(count(&file), after);
}

#[test]
fn who_is_paused_can_be_ended_and_so_can_who_is_dropped() {
    let (_folder, file, walled) = counting(Limits::default());
    walled.handle().pause();
    walled.handle().kill();
    assert_eq!(walled.wait().ending, Ending::Killed);
    drop(file);

    let (_folder, file, walled) = counting(Limits::default());
    let handle = walled.handle();
    drop(walled);
    let after = count(&file);
    std::thread::sleep(SECOND / 10);
    assert_eq!(count(&file), after);
    handle.kill();
}

#[test]
fn the_wall_of_this_platform_holds_what_it_promises() {
    let helper = Helper { exe: env!("CARGO_BIN_EXE_talkoot-sandbox-helper").into() };

    let wall = wall_self_test(Ok(helper)).unwrap();

    assert_eq!(wall.is_more_than_a_process(), !cfg!(target_os = "linux"), "{wall:?}");
}
