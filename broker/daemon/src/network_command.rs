//! What a network's founder does: making its key, signing lists of brokers, looking at them.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use capability::statements::{ListedBroker, Network};
use capability::{Ed25519, Payload, PublicKey, Signer, Verified};
use mesh_net::PeerKey;
use mesh_shell::{
    Clock, Exit, OrExit, Outcome, describe_network, key_file, outln, public_key, read_statement,
    statement_text, write_whole,
};

use crate::cli::NetworkCommand;
use crate::config::multiaddr;
use crate::wrong;

/// Does what `command` says.
pub fn run(command: NetworkCommand) -> Outcome {
    match command {
        NetworkCommand::Init { key } => {
            outln!("{}", key_file::load_or_create(&key)?.public());
            Ok(())
        }
        NetworkCommand::Sign { key, name, brokers, lifetime, list } => {
            let brokers = listed(&brokers)?;
            let signed = sign(&key, name, brokers, lifetime)?;
            let text = statement_text(&describe_network(&signed), signed.envelope());
            write_whole(&list, text.as_bytes(), 0o644)?;
            outln!("{}", describe_network(&signed));
            Ok(())
        }
        NetworkCommand::Show { list, json } => show(&list, json),
    }
}

fn sign(
    key: &Path,
    name: String,
    brokers: Vec<ListedBroker>,
    lifetime: Duration,
) -> Outcome<Verified<Network>> {
    let key = key_file::load(key)?;
    if lifetime > Network::MAX_LIFETIME {
        let longest = humantime::format_duration(Network::MAX_LIFETIME);
        return Err(wrong("the list would hold too long", &format!("{longest} is the longest")));
    }
    let now = Clock::new().now().wall;
    // The time of the issue is later than that of any list before (S22).
    let network = Network { name, seq: now.0, brokers, expires: now + lifetime };
    let signed = Verified::try_sign(network, &key);
    signed.map_err(|error| wrong(error, "name 1 to 32 brokers, each with at most 4 addresses"))
}

/// The brokers of `addresses`, each with all of its addresses, in the order in which they are named.
fn listed(addresses: &[String]) -> Outcome<Vec<ListedBroker>> {
    let mut brokers: Vec<ListedBroker> = Vec::new();
    for text in addresses {
        let key = key_of(text)?;
        match brokers.iter_mut().find(|broker| broker.key == key) {
            Some(broker) => broker.addresses.push(text.clone()),
            None => brokers.push(ListedBroker { key, addresses: vec![text.clone()] }),
        }
    }
    Ok(brokers)
}

fn key_of(address: &str) -> Outcome<PublicKey> {
    let key = PeerKey::in_address(&multiaddr(address)?).ok_or_else(|| {
        let what = format!("the address `{address}` does not end with the broker's peer id");
        wrong(what, "give it as the broker prints it when it starts, or run talkoot-broker key")
    })?;
    Ok(public_key(key))
}

fn show(list: &Path, json: bool) -> Outcome {
    let list = Verified::<Network>::check(&read_statement(list)?, &Ed25519);
    let list = list.context("this is no list of a network").or_exit(Exit::Input)?;
    let state = list.current(Clock::new().now().wall).map_err(|error| error.to_string());
    if json {
        let brokers = list.brokers.iter().map(|broker| {
            serde_json::json!({ "key": broker.key.to_string(), "addresses": broker.addresses })
        });
        let shown = serde_json::json!({
            "name": list.name,
            "founder": list.signer().to_string(),
            "seq": list.seq,
            "expires": list.expires.to_string(),
            "holds": state.is_ok(),
            "brokers": brokers.collect::<Vec<_>>(),
        });
        outln!("{shown:#}");
        return Ok(());
    }
    outln!("{}", describe_network(&list));
    if let Err(reason) = state {
        outln!("it does not hold: {reason}");
    }
    for broker in &list.brokers {
        outln!("{}", broker.key);
        broker.addresses.iter().for_each(|address| outln!("  {address}"));
    }
    Ok(())
}
