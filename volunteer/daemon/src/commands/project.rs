//! `project add`, `set`, `list`, `remove`: whom the owner trusts.

use std::io::{self, BufRead, IsTerminal, Read};

use capability::{ProjectKey, ProjectUri, Resources, Runtime, format_bytes};
use mesh_shell::config::{self as shell_config, Bytes, CommonArgs};
use mesh_shell::{Exit, Failure, OrExit, Outcome, escape, escape_line, outln};

use super::print_json;
use crate::arguments::{Most, ProjectCommand, RunArgs, Terms};
use crate::config::{self, ROLE, Settings, parse_address};
use crate::live::Watching;
use crate::pins::{Entry, Pins};

/// Bytes of an answer at most.
const MAX_ANSWER: u64 = 1024;

/// Does it. A running daemon notices within seconds.
pub fn run(common: &CommonArgs, command: ProjectCommand) -> Outcome {
    let state = &shell_config::state_dir(ROLE, common.state.as_deref())?;
    let mut pins = Pins::load(state)?;
    match command {
        ProjectCommand::List { json: true } => print_json(&pins.projects),
        ProjectCommand::List { json: false } => {
            pins.projects.iter().for_each(print);
            Ok(())
        }
        ProjectCommand::Add { uri, yes, terms } => {
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
            if known.is_none() {
                agree(common, entry, yes)?;
            }
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
    let Terms { allow, name, note, weight, tier, backup, builders, hours, .. } = terms;
    let unknown = allow.iter().flatten().find(|it| matches!(it, Runtime::Other(_)));
    if let Some(unknown) = unknown {
        let message = format!("there is no runtime {unknown}");
        return Err(Failure::say(Exit::Usage, message)
            .hint("--allow takes native, wasm and container, with commas between them"));
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
    entry.max_wall = terms.max_wall.map_or(entry.max_wall, |most| most.0);
    entry.max_memory = terms.max_memory.map_or(entry.max_memory, |most| most.0);
    entry.max_disk = terms.max_disk.map_or(entry.max_disk, |most| most.0);
    entry.max_cores = terms.max_cores.map_or(entry.max_cores, |most| most.0);
    entry.weight = weight.unwrap_or(entry.weight);
    entry.tier = tier.unwrap_or(entry.tier);
    entry.backup = backup.unwrap_or(entry.backup);
    entry.every = terms.every.map_or(entry.every, |most| most.0);
    if let Some(builders) = builders {
        entry.builders = if builders == ["any"] { Vec::new() } else { builders };
    }
    if let Some(Most(hours)) = hours {
        entry.hours = hours;
    }
    entry.check().map_err(|why| Failure::say(Exit::Usage, why))?;
    print(entry);
    Ok(())
}

/// Shows what a new project may do, and asks whether it is to be trusted so. Where nobody can answer, whoever has
/// written the command has decided.
fn agree(common: &CommonArgs, entry: &Entry, yes: bool) -> Outcome {
    let settings = config::load(common, RunArgs::default())?;
    eprint!("{}", escape(question(entry, &settings).as_bytes()));
    if yes || !io::stdin().is_terminal() {
        return Ok(());
    }
    eprint!("Do you trust it? [y/N] ");
    let mut answer = String::new();
    io::stdin().lock().take(MAX_ANSWER).read_line(&mut answer).or_exit(Exit::Input)?;
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Failure::say(Exit::Policy, "it is not trusted, and nothing was changed"))
}

/// What it means to trust `entry`, in words.
fn question(entry: &Entry, settings: &Settings) -> String {
    let Resources { cores, memory, disk } = settings.donated;
    let (memory, disk) = (format_bytes(memory), format_bytes(disk));
    let most_cores = entry.max_cores.map_or(cores, |most| most.get().min(cores));
    let bytes =
        |most: Option<Bytes>, donated: String| most.map_or(donated, |most| format_bytes(most.0));
    let native = entry.runtimes.contains(&Runtime::Native);
    let with = match (native, entry.runtimes.contains(&Runtime::Container)) {
        (true, _) => "the programs below /usr of this machine",
        (false, true) => "programs that they bring in images",
        (false, false) => "WebAssembly alone",
    };
    let wall = entry.max_wall.map_or_else(
        || "as long as they ask for".to_owned(),
        |most| format!("{} each at most", humantime::format_duration(most.0)),
    );
    let lines = [
        ("key", fingerprint(entry.key)),
        ("", "compare it with what the project publishes".to_owned()),
        ("jobs", format!("run here in a sandbox, with {with}; they see no file of yours")),
        ("network", "none".to_owned()),
        (
            "a job has",
            format!(
                "{most_cores} of {cores} donated cores, {} of memory, {} of disk at most",
                bytes(entry.max_memory, memory),
                bytes(entry.max_disk, disk),
            ),
        ),
        ("time", wall),
        ("hours", hours(entry, settings)),
        ("how often", how_often(entry)),
        ("it learns", "what `talkoot-volunteer doctor` shows of this machine".to_owned()),
        (
            "also",
            match (native, settings.watching) {
                (true, Watching::Allowed) => {
                    "it may try small checks in the sandbox, and watch its jobs run"
                }
                (true, Watching::Declined) => "it may try small checks in the sandbox",
                (false, Watching::Allowed) => "it may watch its jobs run",
                (false, Watching::Declined) => "nothing",
            }
            .to_owned(),
        ),
    ];
    let line = |(what, text): &(&str, String)| format!("  {what:<10} {text}\n");
    let head = "If you trust this project, it may run jobs on this machine:\n";
    let tail = "  talkoot-volunteer project set changes that, project remove ends it.\n";
    [head]
        .into_iter()
        .map(str::to_owned)
        .chain(lines.iter().map(line))
        .chain([tail.to_owned()])
        .collect()
}

/// When its tasks are taken, in words.
fn hours(entry: &Entry, settings: &Settings) -> String {
    match (&entry.hours, &settings.hours) {
        (None, None) => "always".to_owned(),
        (Some(hours), None) | (None, Some(hours)) => hours.to_string(),
        (Some(own), Some(all)) => format!("{own}, as far as this machine works then: {all}"),
    }
}

/// Of which builders how many tasks are taken, in words.
fn how_often(entry: &Entry) -> String {
    let builders = if entry.builders.is_empty() {
        "each of its builders".to_owned()
    } else {
        format!("of its builders {} alone", entry.builders.join(", "))
    };
    match entry.every {
        None => format!("{builders}, as often as there is work"),
        Some(every) => {
            let every = humantime::format_duration(every.0);
            format!("{builders}, and of each at most one task every {every}")
        }
    }
}

/// The key in groups that people can compare.
fn fingerprint(key: ProjectKey) -> String {
    let key = key.to_string();
    let mut groups = key.as_bytes().chunks(4).map(String::from_utf8_lossy);
    let first = groups.next().unwrap_or_default().into_owned();
    groups.fold(first, |all, group| all + " " + &group)
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
    let most = [
        entry.max_wall.map(|it| format!("max {}", humantime::format_duration(it.0))),
        entry.max_memory.map(|it| format!("max {} of memory", format_bytes(it.0))),
        entry.max_disk.map(|it| format!("max {} of disk", format_bytes(it.0))),
        entry.max_cores.map(|it| format!("max {it} cores")),
    ];
    let when = [
        entry.every.map(|it| format!("every {}", humantime::format_duration(it.0))),
        (!entry.builders.is_empty()).then(|| format!("builders {}", entry.builders.join(", "))),
        entry.hours.as_ref().map(|it| format!("hours {it}")),
    ];
    let standing = [weight, tier, backup].into_iter().chain(most).chain(when);
    let standing: Vec<_> = standing.flatten().collect();
    let (runtimes, standing) = (runtimes.join(", "), standing.join(", "));
    outln!("{}  {name}  may use: {runtimes}; {standing}", entry.key);
}
