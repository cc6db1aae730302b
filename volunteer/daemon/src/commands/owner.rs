//! `owner …`: a key that answers for all machines of one person, and what it signs.
//!
//! The key need never be on a network. What it signs is a file, which the machine that it is for, or
//! any other one of the owner's, takes with `owner set`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use capability::statements::{MAX_OWNERSHIP_BYTES, Ownership, Revocation, Succession};
use capability::{Ed25519, Envelope, Kind, PublicKey, SecretKey, Signer, Timestamp, Verified};
use mesh_core::KeyChange;
use mesh_shell::key_file::{self, KeyFileError};
use mesh_shell::{
    Clock, Exit, Failure, KEY_CHANGE_LIFETIME, KeyChanges, OrExit, Outcome, chain,
    describe_key_change, escape_line, outln, read_statement, statement_text, write_whole,
};
use serde_json::json;

use super::print_json;
use crate::arguments::{Output, OwnerCommand, OwnerKey};
use crate::daemon;
use crate::ownership::{Ownerships, describe};

/// How long an ownership and a move hold: a year, a day less than the specification allows at most, for
/// clocks that are behind.
const LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Does it. A running daemon notices within seconds.
pub fn run(state: &Path, command: OwnerCommand) -> Outcome {
    let now = Clock::new().now().wall;
    match command {
        OwnerCommand::Init { key } => init(&OwnerFile::at(state, key)),
        OwnerCommand::Sign { node, key, output } => {
            sign(&OwnerFile::at(state, key), node, &output, now)
        }
        OwnerCommand::Show { key, json } => show(state, &OwnerFile::at(state, key), json, now),
        OwnerCommand::Set { file } => set(state, &file, now),
        OwnerCommand::Move { to, key, output } => {
            pass_on(&OwnerFile::at(state, key), to, &output, now)
        }
        OwnerCommand::Revoke { node, owner_key: _, reason, key, output } => {
            revoke(&OwnerFile::at(state, key), node, reason, &output, now)
        }
    }
}

/// An owner key on disk, and beside it the key that follows it, if one does.
struct OwnerFile {
    key: PathBuf,
}

impl OwnerFile {
    fn at(state: &Path, named: OwnerKey) -> Self {
        Self { key: named.file.unwrap_or_else(|| state.join("owner.key")) }
    }

    fn load(&self) -> Outcome<SecretKey> {
        key_file::load(&self.key).map_err(|error| {
            let absent = matches!(&error, KeyFileError::Io { source, .. }
                if source.kind() == std::io::ErrorKind::NotFound);
            let failure = Failure::from(error);
            if !absent {
                return failure;
            }
            Failure::say(Exit::Input, format!("there is no owner key in {}", self.key.display()))
                .hint("name its file with --key, or make one with `talkoot-volunteer owner init`")
        })
    }

    /// The same, unless the owner has moved: what an old key signs counts for the new one, but the
    /// thief of the old one could sign as well.
    fn load_unmoved(&self) -> Outcome<SecretKey> {
        let key = self.load()?;
        match self.successor(&key)? {
            None => Ok(key),
            Some(successor) => {
                let message = format!("this owner key has moved to {successor}");
                Err(Failure::say(Exit::Input, message).hint("name the new key's file with --key"))
            }
        }
    }

    /// The key that `key` was moved to.
    fn successor(&self, key: &SecretKey) -> Outcome<Option<PublicKey>> {
        let path = self.move_file();
        if !path.exists() {
            return Ok(None);
        }
        let moved = Verified::<Succession>::check(&read_statement(&path)?, &Ed25519);
        let moved = moved.ok().filter(|moved| moved.signer() == key.public());
        let moved = moved.ok_or_else(|| {
            let message = format!("{} is no move of this owner key", path.display());
            Failure::say(Exit::Input, message).hint("if you have never moved it, remove that file")
        })?;
        Ok(Some(moved.successor))
    }

    fn move_file(&self) -> PathBuf {
        let mut name = self.key.clone().into_os_string();
        name.push(".moved");
        name.into()
    }
}

fn init(file: &OwnerFile) -> Outcome {
    if file.key.exists() {
        let message = format!("there is a key in {} already", file.key.display());
        return Err(Failure::say(Exit::State, message).hint("name another file with --key"));
    }
    let key = key_file::create(&file.key)?;
    eprintln!(
        "made the owner key {}\nKeep a copy where no thief and no fire gets both. No daemon needs \
         it: it may stay on a machine without network.\nNext: for each machine, `talkoot-volunteer \
         owner sign NODE-KEY`; its node key is shown there by `talkoot-volunteer owner show`.",
        file.key.display()
    );
    outln!("{}", key.public());
    Ok(())
}

fn sign(file: &OwnerFile, node: PublicKey, output: &Output, now: Timestamp) -> Outcome {
    let key = file.load_unmoved()?;
    if node == key.public() {
        return Err(Failure::say(Exit::Usage, "that is the owner key itself, not a machine's")
            .hint("on the machine, `talkoot-volunteer owner show` prints its node key"));
    }
    let ownership = Ownership { nodes: vec![node], expires: now + LIFETIME };
    let ownership = Verified::sign(ownership, &key);
    put(output, &describe(&ownership), ownership.envelope())?;
    eprintln!("on that machine: talkoot-volunteer owner set FILE");
    Ok(())
}

fn pass_on(file: &OwnerFile, to: PublicKey, output: &Output, now: Timestamp) -> Outcome {
    let key = file.load()?;
    if to == key.public() {
        return Err(Failure::say(Exit::Usage, "that is the same owner key")
            .hint("make the new one with `talkoot-volunteer owner init --key FILE`"));
    }
    if let Some(other) = file.successor(&key)?.filter(|other| *other != to) {
        let message = format!("this owner key has moved to {other} already");
        return Err(Failure::say(Exit::Input, message)
            .hint("a key that names two has none; move that one, or revoke this one"));
    }
    let moved = Verified::sign(Succession { successor: to, expires: now + LIFETIME }, &key);
    let about = describe_key_change(&KeyChange::Succession(moved.clone()));
    // First of all: nobody may have the statement and not remember it.
    let text = statement_text(&about, moved.envelope());
    write_whole(&file.move_file(), text.as_bytes(), 0o644)?;
    put(output, &about, moved.envelope())?;
    eprintln!(
        "on one of your machines: talkoot-volunteer owner set FILE\nthen sign each machine with the \
         new key, and keep the old one until all have that"
    );
    Ok(())
}

fn revoke(
    file: &OwnerFile,
    node: Option<PublicKey>,
    reason: String,
    output: &Output,
    now: Timestamp,
) -> Outcome {
    let signer = file.load()?;
    let key = node.unwrap_or_else(|| signer.public());
    // Who knows until when somebody counts on the key (S71)?
    let payload = Revocation { key, reason, expires: now + KEY_CHANGE_LIFETIME };
    let revocation = Verified::try_sign(payload, &signer).or_exit(Exit::Usage)?;
    let about = describe_key_change(&KeyChange::Revocation(revocation.clone()));
    put(output, &about, revocation.envelope())?;
    eprintln!("on one of your other machines: talkoot-volunteer owner set FILE");
    Ok(())
}

/// Gives the statement to whoever is to have it.
fn put(to: &Output, about: &str, statement: &Envelope) -> Outcome {
    let text = statement_text(about, statement);
    match &to.output {
        None => mesh_shell::out::put(&text),
        Some(path) => {
            write_whole(path, text.as_bytes(), 0o644)?;
            eprintln!("{about}");
            Ok(())
        }
    }
}

fn set(state: &Path, file: &Path, now: Timestamp) -> Outcome {
    let envelope = read_statement(file)?;
    let shown = file.display().to_string();
    let unsound = |error: capability::StatementError| {
        Failure::say(Exit::Input, format!("{shown} cannot be used: {}", chain(&error)))
            .hint("sign it anew, with the clocks of both machines right")
    };
    if envelope.kind() == Some(Kind::Ownership) {
        let ownership = Verified::<Ownership>::check(&envelope, &Ed25519).map_err(unsound)?;
        ownership.current(now).map_err(unsound)?;
        return set_owner(state, &ownership);
    }
    if !matches!(envelope.kind(), Some(Kind::Revocation | Kind::Succession)) {
        let message = format!("{shown} is nothing that an owner signs");
        return Err(Failure::say(Exit::Input, message)
            .hint("it takes what owner sign, owner move and owner revoke make"));
    }
    let change = KeyChange::check(&envelope, &Ed25519).map_err(unsound)?;
    change.current(now).map_err(unsound)?;
    KeyChanges::in_state(state).add(&change)?;
    outln!("{}", describe_key_change(&change));
    eprintln!("the daemon tells its brokers as long as it holds");
    Ok(())
}

fn set_owner(state: &Path, ownership: &Verified<Ownership>) -> Outcome {
    let node = daemon::key(state)?.public();
    if !ownership.nodes.contains(&node) {
        let message = format!("it is for another machine; this one is {node}");
        return Err(Failure::say(Exit::Input, message)
            .hint(format!("where the owner key is: talkoot-volunteer owner sign {node}")));
    }
    let size = ownership.envelope().as_bytes().len();
    if size > MAX_OWNERSHIP_BYTES {
        let message = format!("it has {size} bytes, and results carry {MAX_OWNERSHIP_BYTES}");
        return Err(Failure::say(Exit::Input, message).hint("sign fewer machines with one"));
    }
    Ownerships::in_state(state).save(ownership)?;
    outln!("{}", describe(ownership));
    Ok(())
}

fn show(state: &Path, file: &OwnerFile, as_json: bool, now: Timestamp) -> Outcome {
    let node = daemon::key(state)?.public();
    let key = if file.key.exists() { Some(file.load()?) } else { None };
    let successor = key.as_ref().map(|key| file.successor(key)).transpose()?.flatten();
    let key = key.map(|key| key.public());
    let ownership = Ownerships::in_state(state).load()?;
    let changes = KeyChanges::in_state(state).load(now)?;
    let flaw = ownership.as_ref().and_then(|it| flaw(it, node, now));
    if as_json {
        let told: Vec<_> = changes.iter().map(describe_key_change).collect();
        return print_json(&json!({
            "node": node,
            "owner": ownership.as_ref().map(Verified::signer),
            "until": ownership.as_ref().map(|it| it.expires.to_string()),
            "flaw": flaw,
            "told": told,
            "owner-key": key,
            "moved-to": successor,
        }));
    }
    outln!("node key: {node}");
    match (&ownership, flaw) {
        (None, _) => outln!("owner: nobody vouches for this machine"),
        (Some(it), None) => outln!("owner: {}, until {}", it.signer(), it.expires),
        (Some(it), Some(flaw)) => outln!("owner: {} does not count: {flaw}", it.signer()),
    }
    if let Some(key) = key {
        let moved = successor.map(|it| format!(", moved to {it}")).unwrap_or_default();
        outln!("owner key here: {key}{moved}");
    }
    for change in &changes {
        outln!("brokers are told: {}", escape_line(&describe_key_change(change)));
    }
    Ok(())
}

/// Why `ownership` does not count.
fn flaw(ownership: &Verified<Ownership>, node: PublicKey, now: Timestamp) -> Option<String> {
    if let Err(error) = ownership.current(now) {
        return Some(chain(&error));
    }
    (!ownership.nodes.contains(&node)).then(|| "it is for another machine".to_owned())
}
