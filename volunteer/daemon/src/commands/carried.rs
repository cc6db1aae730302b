//! `results export` and `results --take`: results go as a file, and receipts come as one.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::Context;
use capability::statements::JobResult;
use capability::{Ed25519, Envelope, Verified};
use mesh_shell::config::CommonArgs;
use mesh_shell::{
    Exit, Failure, OrExit, Outcome, StatementList, chain, config as shell_config, copy_parcel,
    escape_line, outln, statement_text, write_by,
};

use super::{ask, print_json};
use crate::arguments::Shown;
use crate::carried::{RESULTS_A_PAGE, TakenReceipt, write_results};
use crate::config::ROLE;
use crate::resting::Resting;

/// Receipts that the daemon is given at a time, and bytes of their text.
const RECEIPTS_AT_ONCE: usize = 128;
const TEXT_AT_ONCE: usize = 1 << 20;

/// Writes the results that wait for their receipts, with all that belongs to them, to `path`.
pub fn export(common: &CommonArgs, shown: &Shown, path: &Path) -> Outcome {
    let count = match ask::stream(common, &shown.whom, "results/parcel") {
        Ok(from) => write_by(path, 0o644, |file| save(from, file))?,
        Err(no_daemon) => {
            let resting = at_rest(common, shown, no_daemon)?;
            write_by(path, 0o644, |file| save_resting(&resting, file))?
        }
    };
    eprintln!(
        "{count} written to {}; they stay here until their receipts come.\n\
         Whoever has the file can hand it in: talkoot-volunteer results hand-in FILE at a broker, or \
         talkoot-master import FILE -o RECEIPTS at the project. Here then: talkoot-volunteer results --take \
         RECEIPTS",
        path.display()
    );
    if shown.json { print_json(&count) } else { Ok(()) }
}

/// What the daemon has left, if it was to be asked and none answers.
fn at_rest(common: &CommonArgs, shown: &Shown, no_daemon: Failure) -> Outcome<Resting> {
    if shown.whom.http.is_some() || no_daemon.exit() != Exit::Network {
        return Err(no_daemon);
    }
    let state = shell_config::state_dir(ROLE, common.state.as_deref())?;
    Resting::find(&state)?.ok_or(no_daemon)
}

fn save_resting(resting: &Resting, to: &mut File) -> Outcome<usize> {
    let after = |last| Ok(resting.core.results(last).take(RESULTS_A_PAGE).cloned().collect());
    let written = write_results(after, resting.storage.blobs(), io::BufWriter::new(to));
    some(written.context("cannot write the results").or_exit(Exit::State)?)
}

/// Copies a parcel of results, looking at it on its way; gives how many there are.
fn save(from: impl Read, to: &mut File) -> Outcome<usize> {
    let mut count = 0;
    let named = |statement: &Envelope| {
        count += 1;
        let result = Verified::<JobResult>::check(statement, &Ed25519);
        result.map(|result| result.blobs().collect()).unwrap_or_default()
    };
    copy_parcel(from, to, named)
        .context("the daemon's answer has broken off")
        .or_exit(Exit::Network)?;
    some(count)
}

fn some(count: usize) -> Outcome<usize> {
    match count {
        0 => Err(Failure::say(Exit::Input, "no result waits for a receipt here")
            .hint("talkoot-volunteer jobs shows what is in hand")),
        some => Ok(some),
    }
}

/// Gives the receipts in the list at `path` to the daemon.
pub fn take(common: &CommonArgs, shown: &Shown, path: &Path) -> Outcome {
    let open = || format!("cannot read {}", path.display());
    let file = File::open(path).with_context(open).or_exit(Exit::Input)?;
    let (mut taken, mut text, mut waiting) = (Vec::new(), String::new(), 0);
    for listed in StatementList::new(file) {
        let listed = listed?;
        match listed.statement {
            Ok(receipt) => text.push_str(&statement_text("a receipt", &receipt)),
            Err(why) => {
                let reason = format!("line {}: not a statement: {why}", listed.line);
                taken.push(TakenReceipt { result: None, fate: "refused".to_owned(), reason });
                continue;
            }
        }
        waiting += 1;
        if waiting == RECEIPTS_AT_ONCE || text.len() >= TEXT_AT_ONCE {
            taken.extend(give(common, shown, &std::mem::take(&mut text))?);
            waiting = 0;
        }
    }
    if waiting > 0 {
        taken.extend(give(common, shown, &text)?);
    }
    if shown.json {
        print_json(&taken)?;
    } else {
        print(&taken);
    }
    let refused = taken.iter().filter(|it| it.fate == "refused").count();
    match (taken.len(), refused) {
        (0, _) => {
            let message = format!("there is no receipt in {}", path.display());
            Err(Failure::say(Exit::Input, message)
                .hint("give it the file as talkoot-master import -o wrote it"))
        }
        (_, 0) => Ok(()),
        (all, refused) => {
            let message = format!("{refused} of {all} receipts were not taken");
            Err(Failure::say(Exit::Input, message))
        }
    }
}

fn give(common: &CommonArgs, shown: &Shown, list: &str) -> Outcome<Vec<TakenReceipt>> {
    let answer = ask::bring(common, &shown.whom, "receipts/take", list.as_bytes())?;
    serde_json::from_reader(answer)
        .map_err(|error| Failure::say(Exit::Network, chain(&error)))
        .map_err(|failure| failure.hint("is the daemon of another version than this program?"))
}

fn print(taken: &[TakenReceipt]) {
    for it in taken.iter().filter(|it| it.fate == "refused") {
        let result = it.result.map(|it| format!("for result {}: ", it.short())).unwrap_or_default();
        outln!("{}", escape_line(&format!("not taken: {result}{}", it.reason)));
    }
    let count = |fate: &str| taken.iter().filter(|it| it.fate == fate).count();
    let (new, known, other) = (count("taken"), count("known"), count("not-awaited"));
    outln!("receipts: {new} taken, {known} known before, {other} for results that are not here");
}
