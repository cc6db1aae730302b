//! `project add`, `list`, `remove`: whom the owner trusts.

use std::path::Path;

use capability::{ProjectKey, ProjectUri, Runtime};
use mesh_shell::{Exit, Failure, Outcome, escape_line, outln};

use super::print_json;
use crate::arguments::ProjectCommand;
use crate::config::parse_address;
use crate::pins::{Entry, Pins};

/// Does it. A running daemon notices within seconds.
pub fn run(state: &Path, command: ProjectCommand) -> Outcome {
    let mut pins = Pins::load(state)?;
    match command {
        ProjectCommand::List { json: true } => print_json(&pins.projects),
        ProjectCommand::List { json: false } => {
            pins.projects.iter().for_each(print);
            Ok(())
        }
        ProjectCommand::Add { uri, allow, name, note } => {
            let entry = entry(uri, allow, name, note)?;
            print(&entry);
            match pins.projects.iter_mut().find(|known| known.key == entry.key) {
                Some(known) => *known = Entry { revoked: known.revoked.clone(), ..entry },
                None => pins.projects.push(entry),
            }
            pins.save(state)
        }
        ProjectCommand::Remove { project } => {
            let key = find(&pins, &project)?;
            pins.projects.retain(|known| known.key != key);
            pins.save(state)
        }
    }
}

/// The trusted project with the key, the URI or the owner's own name `wanted`.
fn find(pins: &Pins, wanted: &str) -> Outcome<ProjectKey> {
    let key = wanted.parse::<ProjectUri>().map(|uri| uri.project).ok();
    let key = key.or_else(|| wanted.parse().ok());
    let is_meant = |known: &&Entry| key.map_or(known.name == wanted, |key| known.key == key);
    let keys: Vec<_> = pins.projects.iter().filter(is_meant).map(|known| known.key).collect();
    let (message, hint) = match keys.as_slice() {
        [key] => return Ok(*key),
        [] => (
            format!("{} is not among the projects that you trust", escape_line(wanted)),
            "talkoot-volunteer project list shows them",
        ),
        several => (
            format!("you call {} projects {}", several.len(), escape_line(wanted)),
            "name the key of the one that you mean; talkoot-volunteer project list shows it",
        ),
    };
    Err(Failure::say(Exit::Input, message).hint(hint))
}

fn entry(uri: ProjectUri, runtimes: Vec<Runtime>, name: String, note: String) -> Outcome<Entry> {
    if let Some(unknown) = runtimes.iter().find(|it| matches!(it, Runtime::Other(_))) {
        let message = format!("there is no runtime {unknown}");
        return Err(Failure::say(Exit::Usage, message).hint("--allow takes native, wasm or both"));
    }
    for address in &uri.brokers {
        let parsed = parse_address(address).map_err(|why| Failure::say(Exit::Usage, why))?;
        if !mesh_net::can_dial(&parsed) {
            eprintln!("warning: {address} has no transport that this program speaks");
        }
    }
    let ProjectUri { project, brokers } = uri;
    Ok(Entry { key: project, name, runtimes, brokers, revoked: Vec::new(), note })
}

fn print(entry: &Entry) {
    let runtimes: Vec<_> = entry.runtimes.iter().map(Runtime::name).collect();
    let name = if entry.name.is_empty() { "(no name)" } else { &entry.name };
    outln!("{}  {name}  may use: {}", entry.key, runtimes.join(", "));
}
