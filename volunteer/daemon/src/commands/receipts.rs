//! `results --receipts` and `results --verify`: credit to take away, and to check.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use capability::{PublicKey, Signer};
use mesh_shell::config::CommonArgs;
use mesh_shell::{
    Clock, Exit, Failure, OrExit, Outcome, config as shell_config, escape_line, key_file, out,
    outln, write_whole,
};

use super::{ask, print_json};
use crate::arguments::Shown;
use crate::config::ROLE;
use crate::daemon::key_path;
use crate::pins::Pins;
use crate::receipts::{Audited, Sum, audit};

/// Writes the receipts that the daemon has to `file`, or to standard output if that is `-`.
pub fn export(common: &CommonArgs, shown: &Shown, file: &Path) -> Outcome {
    let mut text = String::new();
    let read = ask::receipts(common, &shown.whom)?.read_to_string(&mut text);
    read.context("the daemon's answer has broken off").or_exit(Exit::Network)?;
    if file == Path::new("-") {
        return out::put(&text);
    }
    write_whole(file, text.as_bytes(), 0o644)?;
    eprintln!("to check it, here or elsewhere: talkoot-volunteer results --verify FILE");
    Ok(())
}

/// Checks the receipts in `file`, or those that the daemon has.
pub fn verify(common: &CommonArgs, shown: &Shown, file: Option<&Path>) -> Outcome {
    let now = Clock::new().now().wall;
    let audited = match file {
        None => audit(ask::receipts(common, &shown.whom)?, now)?,
        Some(path) => {
            let open = || format!("cannot read {}", path.display());
            audit(File::open(path).with_context(open).or_exit(Exit::Input)?, now)?
        }
    };
    if shown.json {
        print_json(&audited)?;
    } else {
        print(&audited, &Known::here(common));
    }
    match (file, audited.listed, audited.bad.len()) {
        (Some(path), 0, _) => {
            let message = format!("there is no receipt in {}", path.display());
            Err(Failure::say(Exit::Input, message)
                .hint("give it the file as results --receipts wrote it"))
        }
        (_, _, 0) => Ok(()),
        (_, listed, bad) => {
            Err(Failure::say(Exit::JobFailed, format!("{bad} of {listed} receipts are not sound")))
        }
    }
}

/// Whose keys the owner knows; where nothing is known, nothing is.
struct Known {
    me: Option<PublicKey>,
    pins: Option<Pins>,
}

impl Known {
    fn here(common: &CommonArgs) -> Self {
        let state = shell_config::state_dir(ROLE, common.state.as_deref()).ok();
        let key = state.as_ref().and_then(|state| key_file::load(&key_path(state)).ok());
        let pins = state.and_then(|state| Pins::load(&state).ok());
        Self { me: key.map(|key| key.public()), pins }
    }

    /// What the owner calls the project of `sum`, or its key.
    fn title(&self, sum: &Sum) -> String {
        let mut pins = self.pins.iter().flat_map(|pins| &pins.projects);
        let pin = pins.find(|pin| pin.key == sum.project && !pin.name.is_empty());
        pin.map_or_else(|| sum.project.to_string(), |pin| pin.name.clone())
    }
}

fn print(audited: &Audited, known: &Known) {
    for bad in &audited.bad {
        outln!("{}", escape_line(&format!("line {}: {}", bad.line, bad.reason)));
    }
    let mut volunteer = None;
    for sum in &audited.totals {
        if volunteer.replace(sum.volunteer) != Some(sum.volunteer) {
            let mine = if known.me == Some(sum.volunteer) { ", which is this one" } else { "" };
            outln!("volunteer {}{mine}", sum.volunteer);
        }
        let credit = Duration::from_millis(sum.credit).as_secs_f64();
        let title = escape_line(&known.title(sum));
        let (accepted, rejected) = (sum.accepted, sum.rejected);
        outln!("  {title}: {accepted} accepted, {rejected} not, {credit:.1} core-seconds");
    }
    let sound = audited.listed - audited.bad.len() - audited.expired;
    let (expired, bad) = (audited.expired, audited.bad.len());
    outln!("receipts: {sound} sound, {expired} expired, {bad} not sound");
}
