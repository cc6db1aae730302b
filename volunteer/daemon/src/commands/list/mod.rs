//! `list add`, `show`, `remove`: whose choice of projects the owner trusts; `init`, `sign`: what a curator does.

mod sign;

use std::path::Path;

use capability::statements::{List, ListedProject};
use capability::{PublicKey, Signer, Timestamp, Verified};
use mesh_shell::config::{self as shell_config, CommonArgs};
use mesh_shell::{
    Clock, Exit, Failure, Followed, Outcome, SignedList, chain, escape_line, key_file, outln,
    read_list,
};
use serde_json::json;

use super::print_json;
use super::project::{self, Whom};
use crate::arguments::{ListCommand, Terms};
use crate::config::ROLE;
use crate::lists::{Lists, kept_file};
use crate::pins::{ListEntry, Pins};

/// Does it. A running daemon notices within seconds.
pub fn run(common: &CommonArgs, command: ListCommand) -> Outcome {
    let now = Clock::new().now().wall;
    let state = &shell_config::state_dir(ROLE, common.state.as_deref())?;
    match command {
        ListCommand::Init { key } => {
            outln!("{}", key_file::load_or_create(&key)?.public());
            Ok(())
        }
        ListCommand::Sign { file, key, lifetime, output } => {
            sign::sign(&file, &key, lifetime, &output, now)
        }
        ListCommand::Add { file, key, keywords, yes, json, terms } => {
            let list = read(&file)?;
            check(&list, key, now)?;
            let mut pins = Pins::load(state)?;
            let (entry, is_new) = entry_of(&mut pins, list.signer(), &file)?;
            change(entry, keywords, &terms)?;
            if is_new {
                if !json {
                    list.projects.iter().for_each(print_listed);
                }
                let whom = Whom::List(&list);
                project::agree(common, &whom, &entry.allowed, yes)?;
            }
            let added = json!({ "pin": entry, "list": in_json(&list, now) });
            keep(list, &file, state, now)?;
            pins.save(state)?;
            if json { print_json(&added) } else { Ok(()) }
        }
        ListCommand::Show { file: Some(file), json } => {
            let list = read(&file)?;
            if json { print_json(&in_json(&list, now)) } else { print(&list, now) }
        }
        ListCommand::Show { file: None, json } => show(&Pins::load(state)?, state, json, now),
        ListCommand::Remove { list, json } => {
            let mut pins = Pins::load(state)?;
            let key = find(&pins, state, &list, now)?;
            pins.lists.retain(|entry| entry.key != key);
            // What was kept stays, so that nobody is led back to an earlier one.
            pins.save(state)?;
            if json { print_json(&json!({ "curator": key, "trusted": false })) } else { Ok(()) }
        }
    }
}

fn read(file: &Path) -> Outcome<Verified<List>> {
    read_list(file).map_err(|why| {
        let what = format!("there is no list of projects in {}: {why}", file.display());
        Failure::say(Exit::Input, what).hint("give it the file as the curator publishes it")
    })
}

fn check(list: &Verified<List>, key: Option<PublicKey>, now: Timestamp) -> Outcome {
    if key.is_some_and(|key| key != list.signer()) {
        let what = format!("the list is signed by another key, {}", list.signer());
        return Err(wrong(what, "ask whoever gave it to you; nothing was changed"));
    }
    list.current(now).map_err(|error| {
        wrong(format!("the list does not hold now: {error}"), "ask its curator for a newer one")
    })
}

/// What is pinned of the list of `curator`, or a new entry; and whether it is new.
fn entry_of<'a>(
    pins: &'a mut Pins,
    curator: PublicKey,
    file: &Path,
) -> Outcome<(&'a mut ListEntry, bool)> {
    let file = std::path::absolute(file)
        .map_err(|error| wrong(format!("{}: {error}", file.display()), "name it by its path"))?;
    if file.to_str().is_none() {
        return Err(wrong("the name of the file is no text", "give it another name"));
    }
    let known = pins.lists.iter().position(|entry| entry.key == curator);
    let place = known.unwrap_or_else(|| {
        pins.lists.push(ListEntry::new(curator, file.clone()));
        pins.lists.len() - 1
    });
    let entry = &mut pins.lists[place];
    entry.file = file;
    Ok((entry, known.is_none()))
}

/// Changes what is named.
fn change(entry: &mut ListEntry, keywords: Option<Vec<String>>, terms: &Terms) -> Outcome {
    project::change_allowed(&mut entry.allowed, terms)?;
    if let Some(name) = &terms.name {
        entry.name.clone_from(name);
    }
    if let Some(note) = &terms.note {
        entry.note.clone_from(note);
    }
    if let Some(keywords) = keywords {
        entry.keywords = if keywords == ["any"] { Vec::new() } else { keywords };
    }
    entry.check().map_err(|why| Failure::say(Exit::Usage, why))
}

/// Keeps `list` unless a later one is known.
fn keep(list: Verified<List>, file: &Path, state: &Path, now: Timestamp) -> Outcome {
    let (curator, kept) = (list.signer(), kept_file(state, list.signer()));
    let mut followed = SignedList::follow(curator, Vec::new(), kept, now);
    followed.take_named(list, now).map_err(|error| {
        wrong(format!("the list in {}: {}", file.display(), chain(&error)), "nothing was changed")
    })
}

fn show(pins: &Pins, state: &Path, as_json: bool, now: Timestamp) -> Outcome {
    let lists = Lists::kept(pins, state, now);
    if as_json {
        let lists = lists
            .pinned()
            .map(|(entry, pinned)| json!({ "pin": entry, "list": in_json(&pinned.list, now) }));
        return print_json(&lists.collect::<Vec<_>>());
    }
    for (entry, pinned) in lists.pinned() {
        print(&pinned.list, now)?;
        let words = entry.keywords.join(", ");
        let words = if words.is_empty() { words } else { format!("of those about {words} ") };
        outln!("  {words}each may use: {}", project::standing(&entry.allowed));
        outln!("  read from {}", escape_line(&entry.file.display().to_string()));
    }
    Ok(())
}

fn print(list: &Verified<List>, now: Timestamp) -> Outcome {
    outln!("{}", escape_line(&List::describe(list)));
    if let Err(reason) = list.current(now) {
        outln!("it does not hold: {reason}");
    }
    list.projects.iter().for_each(print_listed);
    Ok(())
}

fn print_listed(listed: &ListedProject) {
    let ListedProject { key, name, keywords, .. } = listed;
    let words =
        if keywords.is_empty() { String::new() } else { format!("  {}", keywords.join(", ")) };
    outln!("  {key}  {}", escape_line(&format!("{name}{words}")));
}

fn in_json(list: &Verified<List>, now: Timestamp) -> serde_json::Value {
    let projects = list.projects.iter().map(|listed| {
        json!({
            "key": listed.key,
            "name": listed.name,
            "brokers": listed.brokers,
            "keywords": listed.keywords,
        })
    });
    json!({
        "name": list.name,
        "curator": list.signer().to_string(),
        "seq": list.seq,
        "expires": list.expires.to_string(),
        "holds": list.current(now).is_ok(),
        "projects": projects.collect::<Vec<_>>(),
    })
}

/// The pinned list with that key, or that name of the owner's or the curator's.
fn find(pins: &Pins, state: &Path, wanted: &str, now: Timestamp) -> Outcome<PublicKey> {
    let key: Option<PublicKey> = wanted.parse().ok();
    let lists = Lists::kept(pins, state, now);
    let named = lists.pinned().filter(|(_, pinned)| pinned.list.name == wanted);
    let mut keys: Vec<_> = named.map(|(entry, _)| entry.key).collect();
    let is_meant =
        |entry: &&ListEntry| key == Some(entry.key) || (!wanted.is_empty() && entry.name == wanted);
    keys.extend(pins.lists.iter().filter(is_meant).map(|entry| entry.key));
    keys.sort();
    keys.dedup();
    match keys.as_slice() {
        [key] => Ok(*key),
        [] => Err(wrong(
            format!("{} is not among the lists that you trust", escape_line(wanted)),
            "talkoot-volunteer list show shows them",
        )),
        several => Err(wrong(
            format!("{} names {} lists", escape_line(wanted), several.len()),
            "name the curator's key; talkoot-volunteer list show shows it",
        )),
    }
}

fn wrong(what: impl std::fmt::Display, hint: &str) -> Failure {
    Failure::say(Exit::Input, what).hint(hint)
}
