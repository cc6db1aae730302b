//! Runs one WebAssembly module with WASI preview 1, or a component with preview 2, in a process of
//! its own.
//!
//! A process of its own because the daemon must be able to kill a job at any moment: neither fuel
//! nor epochs interrupt a guest that sits in a host call, and compiling happens before either
//! applies. Wall time, processor time, disk space, and the memory that compiling takes are
//! therefore the parent's to limit; this program limits what only it can see.
//!
//! Compiling takes far longer than most guests run, so it can be done apart, with `--compile`, and its
//! result be given to later runs with `--compiled`. That is native code, which nothing keeps in but
//! what keeps this process in: see the module docs of `program`.
//!
//! # What the guest gets
//!
//! - its arguments, after the file name of the module, and the variables given by `--env`
//! - `/work`, which is the folder given by `--dir`, to read and to write; nothing above it
//! - standard output and standard error, inherited; standard input at its end
//! - clocks and random numbers; no sockets, no names looked up, no other file, no other variable
//!
//! # How it ends
//!
//! | exit code | what happened |
//! |---|---|
//! | 0 to 125 | the guest exited with this code; a component with 0 or 1, which is all that its `run` tells |
//! | 126 | refused: the module cannot be run here |
//! | 127 | failed: the runner could not do its part, or was called wrongly |
//! | 134 | trapped: the guest did what WebAssembly forbids, or overflowed its stack |
//! | 152 | out of fuel |
//!
//! WASI leaves 126 and above to the host, and preview 2 knows success and failure alone, so a guest
//! cannot imitate these. Whenever the code is 126 or above, the last line of standard error is the
//! runner's: `talkoot-wasm-runner: <reason>`. With `--fuel`, a guest that ran is followed by another line before it,
//! `talkoot-wasm-runner: used <number> units of fuel`.
//! `--report` writes the same as JSON. A signal instead of a code means that
//! the parent's limits struck: when memory for compiling runs out, that is SIGABRT.

mod arguments;
mod budget;
mod ending;
mod engine;
mod features;
mod module_file;
mod own_limits;
mod program;
mod report;
mod run;
mod unlinked;

use std::fmt::Display;
use std::io::{self, Write};
use std::panic;
use std::process::{self, ExitCode};

use crate::arguments::{Arguments, FEATURES};
use crate::ending::{Ending, FAILED, Finished};
use crate::features::Features;
use crate::program::Compiled;
use crate::report::Report;

fn main() -> ExitCode {
    // A panic would exit with 101, which is a code that a guest may use.
    panic::set_hook(Box::new(|panic| {
        say(format_args!("\ntalkoot-wasm-runner: panicked: {panic}\n"));
        process::exit(FAILED.into());
    }));
    if std::env::args_os().skip(1).eq([FEATURES]) {
        return say_features();
    }
    let finished = match Arguments::from_command_line() {
        Ok(arguments) => run_and_report(&arguments),
        Err(error) if error.use_stderr() => {
            say(error);
            Ending::failed("wrong arguments").into()
        }
        Err(help) => {
            print!("{help}");
            return ExitCode::SUCCESS;
        }
    };
    let Finished { ending, fuel_used } = finished;
    if let Some(fuel) = fuel_used {
        say(format_args!("\ntalkoot-wasm-runner: used {fuel} units of fuel\n"));
    }
    if let Some(reason) = ending.reason() {
        // The guest may have left its last line unfinished.
        say(format_args!("\ntalkoot-wasm-runner: {reason}\n"));
    }
    ExitCode::from(ending.exit_code())
}

fn say_features() -> ExitCode {
    match Features::try_all() {
        Ok(features) => {
            println!("{features}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(format_args!("talkoot-wasm-runner: {error:#}\n"));
            ExitCode::from(FAILED)
        }
    }
}

/// Writes to standard error if somebody reads it; the exit code must arrive in any case, and a
/// parent may stop reading after too much of the guest's output.
fn say(text: impl Display) {
    let _ = write!(io::stderr(), "{text}");
}

fn run_and_report(arguments: &Arguments) -> Finished {
    let compiled = match arguments.compiled.as_deref().map(Compiled::open).transpose() {
        Ok(compiled) => compiled,
        Err(failed) => return failed.into(),
    };
    if let Err(failed) = own_limits::apply(arguments) {
        return failed.into();
    }
    if let Some(Err(error)) = arguments.unlinked.map(unlinked::watch) {
        return Ending::failed(format_args!("cannot watch files without a name: {error}")).into();
    }
    // Created before the guest starts, so that the guest cannot choose what is written to.
    let report = match arguments.report.as_deref().map(Report::create).transpose() {
        Ok(report) => report,
        Err(failed) => return failed.into(),
    };
    let finished = match arguments.compile.as_deref() {
        None => run::run(arguments, compiled),
        Some(target) => program::compile(arguments, target).into(),
    };
    match report.map(|report| report.write(&finished)) {
        Some(Err(failed)) => failed.into(),
        Some(Ok(())) | None => finished,
    }
}
