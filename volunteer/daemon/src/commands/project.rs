//! `project add`, `set`, `list`, `remove`: whom the owner trusts.

use std::path::Path;

use capability::{ProjectKey, ProjectUri, Runtime};
use mesh_shell::{Exit, Failure, Outcome, escape_line, outln};

use super::print_json;
use crate::arguments::{ProjectCommand, Terms};
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
        ProjectCommand::Add { uri, terms } => {
            warn_of_brokers(&uri)?;
            let ProjectUri { project, brokers } = uri;
            let known = pins.projects.iter().position(|known| known.key == project);
            let place = known.unwrap_or_else(|| {
                pins.projects.push(Entry::new(project));
                pins.projects.len() - 1
            });
            let entry = &mut pins.projects[place];
            if !brokers.is_empty() {
                entry.brokers = brokers;
            }
            change(entry, terms)?;
            pins.save(state)
        }
        ProjectCommand::Set { project, terms } => {
            let key = find(&pins, &project)?;
            let mut known = pins.projects.iter_mut();
            let entry = known.find(|known| known.key == key).expect("it was just found");
            change(entry, terms)?;
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
    let is_named = |known: &Entry| !wanted.is_empty() && known.name == wanted;
    let is_meant = |known: &&Entry| key.map_or_else(|| is_named(known), |key| known.key == key);
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

/// Changes what `terms` name, and prints what the project may do now.
fn change(entry: &mut Entry, terms: Terms) -> Outcome {
    let Terms { allow, name, note, weight, tier, backup } = terms;
    let unknown = allow.iter().flatten().find(|it| matches!(it, Runtime::Other(_)));
    if let Some(unknown) = unknown {
        let message = format!("there is no runtime {unknown}");
        return Err(Failure::say(Exit::Usage, message).hint("--allow takes native, wasm or both"));
    }
    if let Some(runtimes) = allow {
        entry.runtimes = runtimes;
    }
    if let Some(name) = name {
        entry.name = name;
    }
    if let Some(note) = note {
        entry.note = note;
    }
    entry.weight = weight.unwrap_or(entry.weight);
    entry.tier = tier.unwrap_or(entry.tier);
    entry.backup = backup.unwrap_or(entry.backup);
    entry.check().map_err(|why| Failure::say(Exit::Usage, why))?;
    print(entry);
    Ok(())
}

fn warn_of_brokers(uri: &ProjectUri) -> Outcome {
    for address in &uri.brokers {
        let parsed = parse_address(address).map_err(|why| Failure::say(Exit::Usage, why))?;
        if !mesh_net::can_dial(&parsed) {
            eprintln!("warning: {address} has no transport that this program speaks");
        }
    }
    Ok(())
}

fn print(entry: &Entry) {
    let runtimes: Vec<_> = entry.runtimes.iter().map(Runtime::name).collect();
    let name = if entry.name.is_empty() { "(no name)" } else { &entry.name };
    let weight = Some(format!("weight {}", entry.weight));
    let tier = (entry.tier > 0).then(|| format!("tier {}", entry.tier));
    let backup = entry.backup.then(|| "backup".to_owned());
    let standing: Vec<_> = [weight, tier, backup].into_iter().flatten().collect();
    let (runtimes, standing) = (runtimes.join(", "), standing.join(", "));
    outln!("{}  {name}  may use: {runtimes}; {standing}", entry.key);
}
