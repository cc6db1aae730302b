//! The other end of the status page: `talkoot-broker status`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use mesh_shell::out::put;
use mesh_shell::{Exit, OrExit, Outcome};
use serde_json::Value;
use ureq::Agent;

use crate::page::STATUS_PATH;

/// The broker is on this machine or near it.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a status at most: a thousand offers and some thousands of peers.
const MAX_STATUS: u64 = 8 << 20;

/// Prints the status of the broker whose page is at `http`.
pub fn status(http: SocketAddr, json: bool) -> Outcome {
    let agent: Agent = Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        // A proxy for the web is not the way to this machine's own broker.
        .proxy(None)
        .build()
        .into();
    let mut answer = agent
        .get(format!("http://{http}{STATUS_PATH}"))
        .call()
        .with_context(|| format!("no broker answers at {http}"))
        .or_exit(Exit::Network)
        .map_err(|failure| failure.hint("start it with `talkoot-broker run`, or name --http"))?;
    let body = answer.body_mut().with_config().limit(MAX_STATUS).read_to_string();
    let body = body.context("cannot read the broker's answer").or_exit(Exit::Network)?;
    let status: Value = serde_json::from_str(&body)
        .with_context(|| format!("what answers at {http} is no broker"))
        .or_exit(Exit::Network)?;
    let text = if json { format!("{status:#}\n") } else { in_words(&status) };
    put(&text)
}

fn in_words(status: &Value) -> String {
    let number = |name: &str| status[name].as_u64().unwrap_or_default();
    let mut text = format!(
        "broker {}\n{} brokers known, {} reachable; {} volunteers, {} waiting; {} leases; {} in custody\n",
        status["broker"].as_str().unwrap_or("?"),
        number("brokers"),
        number("reachable"),
        number("ads"),
        number("pulls"),
        number("leases"),
        number("custody"),
    );
    if status["disk-is-full"] == true {
        text += "the disk is nearly full: nothing new is taken\n";
    }
    for peer in status["peers"].as_array().into_iter().flatten() {
        text += &format!("peer {} {}\n", short(&peer["peer"]), word(&peer["role"]));
    }
    for offer in status["offers"].as_array().into_iter().flatten() {
        let counts = &offer["counts"];
        let tasks = match counts.as_object() {
            Some(_) => format!(
                "{} open, {} leased, {} returned, {} done",
                counts["open"], counts["leased"], counts["returned"], counts["done"]
            ),
            None => format!("{} tasks, home {}", offer["tasks"], short(&offer["home"])),
        };
        text += &format!("offer {} {}: {tasks}\n", short(&offer["offer"]), word(&offer["name"]));
    }
    text
}

fn short(key: &Value) -> &str {
    key.as_str().and_then(|key| key.get(..8)).unwrap_or("?")
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}
