//! `project add`, `set`, `list`, `remove`: whom the owner trusts.

use std::io::{self, BufRead, IsTerminal, Read};
use std::path::Path;

use capability::statements::List;
use capability::{ProjectKey, ProjectUri, PublicKey, Resources, Runtime, Verified, format_bytes};
use mesh_shell::config::{self as shell_config, Bytes, CommonArgs};
use mesh_shell::{Clock, Exit, Failure, OrExit, Outcome, escape, escape_line, outln};
use serde_json::json;
use volunteer_core::{Permitted, Pin, Voucher};

use super::print_json;
use crate::arguments::{Most, ProjectCommand, RunArgs, Terms};
use crate::config::{self, ROLE, Settings, parse_address};
use crate::lists::Lists;
use crate::live::Watching;
use crate::pins::{Allowed, Entry, Pins};

/// Bytes of an answer at most.
const MAX_ANSWER: u64 = 1024;

/// Does it. A running daemon notices within seconds.
pub fn run(common: &CommonArgs, command: ProjectCommand) -> Outcome {
    let state = &shell_config::state_dir(ROLE, common.state.as_deref())?;
    let mut pins = Pins::load(state)?;
    let listed = listed(&pins, state);
    match command {
        ProjectCommand::List { json: true } => print_json(&in_json(&pins, &listed)?),
        ProjectCommand::List { json: false } => {
            pins.projects.iter().for_each(print);
            listed.iter().for_each(|pin| print_listed(pin, &pins));
            Ok(())
        }
        ProjectCommand::Add { uri, yes, json, terms } => {
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
            change(entry, &terms)?;
            if known.is_none() {
                agree(common, &Whom::Project(entry.key), &entry.allowed, yes)?;
            }
            pins.removed.retain(|removed| *removed != project);
            pins.save(state)?;
            if json { print_json(&pins.projects[place]) } else { Ok(()) }
        }
        ProjectCommand::Set { project, json, terms } => {
            let key = find(&pins, &listed, &project)?;
            let entry = pins.projects.iter_mut().find(|known| known.key == key);
            let entry = entry.ok_or_else(|| {
                let message = "you trust it by a list alone, whose terms it has";
                Failure::say(Exit::Input, message)
                    .hint(format!("pin it: talkoot-volunteer project add talkoot:{key}"))
            })?;
            change(entry, &terms)?;
            let changed = entry.clone();
            pins.save(state)?;
            if json { print_json(&changed) } else { Ok(()) }
        }
        ProjectCommand::Remove { project, json } => {
            let key = find(&pins, &listed, &project)?;
            pins.projects.retain(|known| known.key != key);
            // No list is to bring it back, now or later.
            if !pins.lists.is_empty() {
                pins.removed.push(key);
            }
            pins.save(state)?;
            if json { print_json(&json!({ "key": key, "trusted": false })) } else { Ok(()) }
        }
    }
}

/// The projects that are trusted by lists alone.
fn listed(pins: &Pins, state: &Path) -> Vec<Pin> {
    let lists = Lists::kept(pins, state, Clock::new().now().wall);
    let mut all = lists.all_pins(pins);
    all.retain(|pin| pin.voucher.is_some());
    // The daemon knows which of several lists holds; most likely it is the one that holds longest.
    all.dedup_by_key(|pin| pin.project);
    all
}

/// The trusted project with the key, the URI or the owner's or a curator's name `wanted`.
fn find(pins: &Pins, listed: &[Pin], wanted: &str) -> Outcome<ProjectKey> {
    let key = wanted.parse::<ProjectUri>().map(|uri| uri.project).ok();
    let key = key.or_else(|| wanted.parse().ok());
    let own = pins.projects.iter().map(|known| (known.key, &known.name));
    let all = own.chain(listed.iter().map(|pin| (pin.project, &pin.name)));
    let is_named = |name: &String| !wanted.is_empty() && name == wanted;
    let is_meant = |(known, name): &(ProjectKey, &String)| {
        key.map_or_else(|| is_named(name), |key| *known == key)
    };
    let keys: Vec<_> = all.filter(is_meant).map(|(known, _)| known).collect();
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
fn change(entry: &mut Entry, terms: &Terms) -> Outcome {
    change_allowed(&mut entry.allowed, terms)?;
    if let Some(name) = &terms.name {
        entry.name.clone_from(name);
    }
    if let Some(note) = &terms.note {
        entry.note.clone_from(note);
    }
    entry.check().map_err(|why| Failure::say(Exit::Usage, why))?;
    print(entry);
    Ok(())
}

/// Changes of what jobs may do what `terms` name; whether that can be is for the caller to check.
pub fn change_allowed(allowed: &mut Allowed, terms: &Terms) -> Outcome {
    let unknown = terms.allow.iter().flatten().find(|it| matches!(it, Runtime::Other(_)));
    if let Some(unknown) = unknown {
        let message = format!("there is no runtime {unknown}");
        return Err(Failure::say(Exit::Usage, message)
            .hint("--allow takes native, wasm and container, with commas between them"));
    }
    if let Some(runtimes) = &terms.allow {
        allowed.runtimes.clone_from(runtimes);
    }
    allowed.max_wall = terms.max_wall.map_or(allowed.max_wall, |most| most.0);
    allowed.max_memory = terms.max_memory.map_or(allowed.max_memory, |most| most.0);
    allowed.max_disk = terms.max_disk.map_or(allowed.max_disk, |most| most.0);
    allowed.max_cores = terms.max_cores.map_or(allowed.max_cores, |most| most.0);
    if let Some(network) = &terms.network {
        allowed.network.clone_from(network);
    }
    allowed.weight = terms.weight.unwrap_or(allowed.weight);
    allowed.tier = terms.tier.unwrap_or(allowed.tier);
    allowed.backup = terms.backup.unwrap_or(allowed.backup);
    allowed.every = terms.every.map_or(allowed.every, |most| most.0);
    if let Some(builders) = &terms.builders {
        let all = *builders == ["any"];
        allowed.builders = if all { Vec::new() } else { builders.clone() };
    }
    if let Some(Most(hours)) = &terms.hours {
        allowed.hours.clone_from(hours);
    }
    Ok(())
}

/// Who is to be trusted.
pub enum Whom<'a> {
    /// A project.
    Project(ProjectKey),
    /// Whoever is on a list, now and later.
    List(&'a Verified<List>),
}

/// Shows what whoever is new may do, and asks whether to trust it so. Where nobody can answer, whoever has written
/// the command has decided.
pub fn agree(common: &CommonArgs, whom: &Whom<'_>, allowed: &Allowed, yes: bool) -> Outcome {
    let settings = config::load(common, RunArgs::default())?;
    eprint!("{}", escape(question(whom, allowed, &settings).as_bytes()));
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

/// What it means to trust `whom`, in words.
fn question(whom: &Whom<'_>, entry: &Allowed, settings: &Settings) -> String {
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
    let (key, publisher) = match whom {
        Whom::Project(key) => (PublicKey::from(*key), "the project"),
        Whom::List(list) => (list.signer(), "the curator"),
    };
    let lines = [
        ("key", fingerprint(key)),
        ("", format!("compare it with what {publisher} publishes")),
        ("jobs", format!("run here in a sandbox, with {with}; they see no file of yours")),
        ("network", network(entry, settings)),
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
    let (head, tail) = match whom {
        Whom::Project(_) => (
            "If you trust this project, it may run jobs on this machine:\n".to_owned(),
            "  talkoot-volunteer project set changes that, project remove ends it.\n",
        ),
        Whom::List(list) => (
            format!(
                "If you trust this list, {}, each project on it may run jobs on this machine; whoever the \
                 curator adds may, too:\n",
                list.name
            ),
            "  talkoot-volunteer list add changes that, list remove ends it, project remove ends it for one.\n",
        ),
    };
    [head].into_iter().chain(lines.iter().map(line)).chain([tail.to_owned()]).collect()
}

/// When its tasks are taken, in words.
fn hours(entry: &Allowed, settings: &Settings) -> String {
    match (&entry.hours, &settings.hours) {
        (None, None) => "always".to_owned(),
        (Some(hours), None) | (None, Some(hours)) => hours.to_string(),
        (Some(own), Some(all)) => format!("{own}, as far as this machine works then: {all}"),
    }
}

/// Of which builders how many tasks are taken, in words.
fn how_often(entry: &Allowed) -> String {
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

/// What its jobs may reach, in words.
fn network(entry: &Allowed, settings: &Settings) -> String {
    let reached = match &entry.network.0 {
        Permitted::Nothing => return "none".to_owned(),
        Permitted::Anything => "whatever its jobs list".to_owned(),
        Permitted::Listed(_) => entry.network.to_string(),
    };
    if settings.job_network.allowed {
        format!("{reached}; at addresses of the public internet, by a proxy, and nothing of yours")
    } else {
        format!("none, as job-network in the configuration is false; else {reached}")
    }
}

/// The key in groups that people can compare.
fn fingerprint(key: PublicKey) -> String {
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
    let name = if entry.name.is_empty() { "(no name)" } else { &entry.name };
    outln!("{}  {name}  may use: {}", entry.key, standing(&entry.allowed));
}

/// One that is trusted by a list, whose terms it has.
fn print_listed(pin: &Pin, pins: &Pins) {
    let Some(Voucher { curator, list, .. }) = &pin.voucher else { return };
    let Some(entry) = pins.lists.iter().find(|entry| entry.key == *curator) else { return };
    let name = escape_line(&pin.name);
    let list = escape_line(list);
    outln!("{}  {name}  by the list {list}  may use: {}", pin.project, standing(&entry.allowed));
}

/// What is trusted, by pins and by lists.
fn in_json(pins: &Pins, listed: &[Pin]) -> Outcome<Vec<serde_json::Value>> {
    let own = pins.projects.iter().map(|entry| serde_json::to_value(entry).or_exit(Exit::Bug));
    let by_list = |pin: &Pin| {
        let voucher = pin.voucher.as_ref()?;
        let runtimes: Vec<_> = pin.runtimes.iter().collect();
        Some(Ok(json!({
            "key": pin.project,
            "name": pin.name,
            "runtimes": runtimes,
            "list": { "curator": voucher.curator, "name": voucher.list, "expires": voucher.expires.to_string() },
        })))
    };
    own.chain(listed.iter().filter_map(by_list)).collect()
}

/// Runtimes, share, bounds and times, in one line.
pub fn standing(allowed: &Allowed) -> String {
    let runtimes: Vec<_> = allowed.runtimes.iter().map(Runtime::name).collect();
    let weight = Some(format!("weight {}", allowed.weight));
    let tier = (allowed.tier > 0).then(|| format!("tier {}", allowed.tier));
    let backup = allowed.backup.then(|| "backup".to_owned());
    let most = [
        allowed.max_wall.map(|it| format!("max {}", humantime::format_duration(it.0))),
        allowed.max_memory.map(|it| format!("max {} of memory", format_bytes(it.0))),
        allowed.max_disk.map(|it| format!("max {} of disk", format_bytes(it.0))),
        allowed.max_cores.map(|it| format!("max {it} cores")),
        (!allowed.network.is_nothing()).then(|| format!("network {}", allowed.network)),
    ];
    let when = [
        allowed.every.map(|it| format!("every {}", humantime::format_duration(it.0))),
        (!allowed.builders.is_empty()).then(|| format!("builders {}", allowed.builders.join(", "))),
        allowed.hours.as_ref().map(|it| format!("hours {it}")),
    ];
    let standing = [weight, tier, backup].into_iter().chain(most).chain(when);
    let standing: Vec<_> = standing.flatten().collect();
    format!("{}; {}", runtimes.join(", "), standing.join(", "))
}
