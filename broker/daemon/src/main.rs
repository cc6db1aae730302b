//! `talkoot-broker`: a public node of the mesh. It matches volunteers with offers, grants leases as
//! the home of projects, and carries results and receipts.
#![deny(clippy::print_stdout, reason = "`println!` panics when nobody reads")]

mod backup;
mod channels;
mod cli;
mod client;
mod commands;
mod config;
mod daemon;
mod descriptors;
mod desk;
mod door;
mod event_loop;
mod garbage;
mod guard;
mod limits;
mod lists;
mod metrics;
mod network;
mod network_command;
mod operator;
mod orders;
mod page;
mod presence;
mod reply;
mod report;
mod show;

use std::path::Path;
use std::process::ExitCode;

use capability::Signer;
use clap::Parser;
use mesh_net::Multiaddr;
use mesh_shell::config::CommonArgs;
use mesh_shell::{Exit, Failure, OrExit, Outcome, finish, key_file, logs, outln, peer_key};

use cli::{Cli, Command};
use client::Client;
use config::Config;

const ROLE: &str = "broker";

fn main() -> ExitCode {
    finish(run(Cli::parse()))
}

fn run(cli: Cli) -> Outcome {
    let CommonArgs { config, state, logs } = cli.common;
    let _logging = logs::start(&logs)?;
    let config: Config = mesh_shell::config::load(ROLE, config.as_deref())?;
    let state = state.or_else(|| config.state.clone());
    let state = mesh_shell::config::state_dir(ROLE, state.as_deref())?;
    let command = match cli.command {
        Command::Run(args) => {
            let settings = config.overlaid(args).settings(&state)?;
            let runtime = tokio::runtime::Runtime::new().or_exit(Exit::State)?;
            return runtime.block_on(daemon::run(settings));
        }
        Command::Key { addresses, json } => return key(&state, &addresses, json),
        Command::Backup { file, http } => {
            let client = Client::new(http.unwrap_or(config.http));
            return backup::back_up(&client, &state, &file);
        }
        Command::Restore { file } => return backup::restore(&state, &file),
        Command::Network(command) => return network_command::run(command),
        Command::Ask(command) => command,
    };
    commands::run(command, config.http, &state)
}

/// Prints the node key, and `addresses` as others can dial them.
fn key(state: &Path, addresses: &[String], json: bool) -> Outcome {
    let key = key_file::load_or_create(&daemon::key_file(state))?.public();
    let dialable = |address: &String| {
        let address = config::multiaddr(address)?;
        config::with_peer(&address, peer_key(key))
    };
    let addresses: Vec<Multiaddr> = addresses.iter().map(dialable).collect::<Outcome<_>>()?;
    let addresses: Vec<String> = addresses.iter().map(Multiaddr::to_string).collect();
    if json {
        outln!("{}", serde_json::json!({ "key": key.to_string(), "addresses": addresses }));
    } else {
        outln!("{key}");
        addresses.iter().for_each(|address| outln!("{address}"));
    }
    Ok(())
}

/// The operator's mistake in `what`.
fn wrong(what: impl std::fmt::Display, hint: &str) -> Failure {
    Failure::say(Exit::Input, what).hint(hint)
}
