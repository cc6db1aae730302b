//! Compiling apart from running.

#![expect(clippy::unwrap_used, reason = "a failed test")]

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use std::fs;
use std::path::PathBuf;

use support::Run;

const FIVE: &str = r#"(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start") (call $exit (i32.const 5))))"#;

const COMPONENT: &str = r#"(component
  (core module (func (export "run") (result i32) (i32.const 1)))
  (core instance (instantiate 0))
  (alias core export 0 "run" (core func))
  (func (result (result)) (canon lift (core func 0)))
  (instance (export "run" (func 0)))
  (export "wasi:cli/run@0.2.0" (instance 0)))"#;

/// A run whose module is text that cannot be run, with what `guest` compiles to.
fn compiled(guest: &str) -> (Run, String) {
    let run = Run::of_text(guest);
    let target = target(&run).display().to_string();
    let run = run.option("--compile", &target);
    run.start().expect_exit(0);
    let code = fs::read(&target).unwrap();
    let run = Run::of_bytes(b"no module");
    let target = run.scratch().join("code");
    fs::write(&target, code).unwrap();
    (run, target.display().to_string())
}

fn target(run: &Run) -> PathBuf {
    run.scratch().join("compiled")
}

#[test]
fn what_was_compiled_before_is_run() {
    for (guest, code) in [(FIVE, 5), (COMPONENT, 1)] {
        let (run, target) = compiled(guest);
        run.option("--compiled", target).start().expect_exit(code);
    }
}

#[test]
fn compiling_runs_nothing() {
    let run = Run::of_text(r#"(module (func (export "_start") (unreachable)))"#);
    let target = target(&run).display().to_string();
    run.option("--compile", target).start().expect_exit(0);
}

#[test]
fn what_will_not_do_is_compiled_again() {
    let garbage = |bytes: &[u8]| {
        let run = Run::of_text(FIVE);
        fs::write(target(&run), bytes).unwrap();
        let target = target(&run).display().to_string();
        run.option("--compiled", target).start().expect_exit(5);
    };
    garbage(b"");
    garbage(b"\x7fELF");
    garbage(&wat::parse_str(FIVE).unwrap());
}

#[test]
fn what_was_compiled_without_fuel_is_no_way_around_it() {
    let (_run, code) = compiled(FIVE);
    let endless = Run::of_text(r#"(module (func (export "_start") (loop (br 0))))"#);

    let ended = endless.option("--compiled", code).option("--fuel", "1000").start();

    // Had the code been taken, it would have exited with 5.
    ended.expect_verdict(152, "out of fuel");
}

#[test]
fn whose_fault_it_is_is_told() {
    let run = Run::of_bytes(b"no module");
    let target = target(&run);
    let refused = run.option("--compile", target.display().to_string()).start();
    refused.expect_verdict(126, "not a WebAssembly module");
    assert!(!target.exists());

    let run = Run::of_text(FIVE).option("--compiled", "/nowhere/at/all");
    run.start().expect_verdict(127, "cannot open /nowhere/at/all");

    let run = Run::of_text(FIVE);
    let taken = run.module().display().to_string();
    let ended = run.option("--compile", taken).start();
    ended.expect_verdict(127, "cannot write");
}
