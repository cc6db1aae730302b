//! `results hand-in`: results that came as a file go to a broker.

use std::fs::File;
use std::path::Path;

use anyhow::Context;
use mesh_net::Multiaddr;
use mesh_shell::config::CommonArgs;
use mesh_shell::{Clock, Exit, Failure, OrExit, Outcome, config as shell_config, escape_line};

use super::ask::say;
use super::print_json;
use crate::arguments::RunArgs;
use crate::config::{self, ROLE};
use crate::hand_in::{HandedIn, Porter};
use crate::lists::Lists;
use crate::pins::Pins;

/// Hands in the results in the parcel at `path` at one of `brokers`, or of those of this volunteer.
pub fn run(common: &CommonArgs, path: &Path, brokers: &[Multiaddr], json: bool) -> Outcome {
    let open = || format!("cannot read {}", path.display());
    let file = File::open(path).with_context(open).or_exit(Exit::Input)?;
    let porter = Porter::reach(&brokers_of(common, brokers)?)?;
    let handed = porter.hand_in(file);
    if json {
        print_json(&handed)?;
    } else {
        print(&handed);
    }
    judge(&handed, path)
}

fn brokers_of(common: &CommonArgs, named: &[Multiaddr]) -> Outcome<Vec<Multiaddr>> {
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    let mut brokers = config::load(common, RunArgs::default())?.brokers;
    if brokers.is_empty() {
        let state = shell_config::state_dir(ROLE, common.state.as_deref())?;
        let pins = Pins::load(&state)?;
        brokers = Lists::follow(&pins, &state, Clock::new().now().wall).brokers(&pins);
    }
    if brokers.is_empty() {
        return Err(Failure::say(Exit::Usage, "no broker is known here")
            .hint("name one with --broker, such as /dns/broker.example.org/tcp/4077"));
    }
    Ok(brokers)
}

fn print(handed: &HandedIn) {
    for it in &handed.refused {
        let result = it.result.map(|it| format!("result {}: ", it.short())).unwrap_or_default();
        say!("not taken: {result}{}", it.reason);
    }
    let (taken, refused) = (handed.taken.len(), handed.refused.len());
    say!("results: {taken} taken by broker {}, {refused} not", handed.broker.short());
}

/// Whether all of it has gone its way.
fn judge(handed: &HandedIn, path: &Path) -> Outcome {
    let shown = path.display();
    if let Some(complaint) = &handed.complaint {
        let message = format!("the rest of {shown}: {}", escape_line(complaint));
        return Err(Failure::say(Exit::Input, message).hint(
            "what was taken is on its way; if the file is at fault have it brought once more, \
             if the disk is, name a directory with room in TMPDIR",
        ));
    }
    match (handed.taken.len(), handed.refused.len()) {
        (0, 0) => Err(Failure::say(Exit::Input, format!("there is no result in {shown}"))
            .hint("give it the file as talkoot-volunteer results export wrote it")),
        (_, 0) => Ok(()),
        (taken, refused) => {
            let message = format!("{refused} of {} results were not taken", taken + refused);
            Err(Failure::say(Exit::Input, message)
                .hint("hand the file in again later, or at another broker: --broker"))
        }
    }
}
