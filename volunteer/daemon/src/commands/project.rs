//! `project add`, `list`, `remove`: whom the owner trusts.

use std::path::Path;

use capability::{ProjectUri, Runtime};
use mesh_shell::{Exit, Failure, Outcome};

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
            let before = pins.projects.len();
            pins.projects.retain(|known| known.key != project);
            if pins.projects.len() == before {
                let message = format!("{project} is not among the projects that you trust");
                let hint = "talkoot-volunteer project list shows them";
                return Err(Failure::say(Exit::Input, message).hint(hint));
            }
            pins.save(state)
        }
    }
}

fn entry(uri: ProjectUri, runtimes: Vec<Runtime>, name: String, note: String) -> Outcome<Entry> {
    if let Some(unknown) = runtimes.iter().find(|it| matches!(it, Runtime::Other(_))) {
        let message = format!("there is no runtime {unknown}");
        return Err(Failure::say(Exit::Usage, message).hint("--allow takes native, wasm or both"));
    }
    for address in &uri.brokers {
        parse_address(address).map_err(|why| Failure::say(Exit::Usage, why))?;
    }
    let ProjectUri { project, brokers } = uri;
    Ok(Entry { key: project, name, runtimes, brokers, revoked: Vec::new(), note })
}

fn print(entry: &Entry) {
    let runtimes: Vec<_> = entry.runtimes.iter().map(Runtime::name).collect();
    let name = if entry.name.is_empty() { "(no name)" } else { &entry.name };
    println!("{}  {name}  may use: {}", entry.key, runtimes.join(", "));
}
