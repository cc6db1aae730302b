//! `talkoot-master`: offers a project's jobs to volunteers and keeps their results.
#![deny(clippy::print_stdout, reason = "`println!` panics when nobody reads")]

mod archive;
mod brokers;
mod cli;
mod client;
mod commands;
mod config;
mod daemon;
mod event_loop;
mod identity;
mod keys;
mod metrics;
mod model;
mod rest;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use capability::statements::Check;
use capability::{ProjectUri, PublicKey};
use clap::Parser;
use mesh_shell::config::CommonArgs;
use mesh_shell::{
    Clock, Exit, NetworkSettings, OrExit, Outcome, describe_key_change, finish, logs, outln,
};

use cli::{BrokerArgs, Cli, ClientArgs, Command};
use client::Client;
use commands::{Follow, Form, Lent};
use config::Config;
use identity::{Description, Identity};
use keys::{Heir, Rotated};

const ROLE: &str = "master";

fn main() -> ExitCode {
    finish(run(Cli::parse()))
}

fn run(cli: Cli) -> Outcome {
    let CommonArgs { config, state, logs } = cli.common;
    let _logging = logs::start(&logs)?;
    let config: Config = mesh_shell::config::load(ROLE, config.as_deref())?;
    let state = state.or_else(|| config.state.clone());
    let state = mesh_shell::config::state_dir(ROLE, state.as_deref())?;
    let identity = Identity::in_state(&state);
    let client = |args: &ClientArgs| Client::new(&identity, args.http);
    match cli.command {
        Command::Init { name, homepage, keywords } => {
            init(&identity, Description { name, homepage, keywords }, config.checks())
        }
        Command::Delegate => delegate(&identity, config.checks()),
        Command::Revoke { key, reason, key_file } => revoke(&identity, key, reason, key_file),
        Command::Rotate { project: false, reason } => rotate(&identity, reason),
        Command::Rotate { project: true, .. } => pass_on(&identity),
        Command::Run { http, brokers } => {
            let http = http.unwrap_or(config.http);
            serve(config, brokers, http, state)
        }
        Command::Uri { brokers } => uri(&identity, config, brokers),
        Command::Submit { job, wait, replicas, client: args } => {
            let follow = if wait { Follow::UntilDone } else { Follow::No };
            commands::submit(&client(&args)?, &job, replicas, follow, args.form())
        }
        Command::Wait { offer, client: args } => {
            commands::wait(&client(&args)?, &offer, args.form())
        }
        Command::Explain { job, volunteer, client: args } => {
            commands::explain(&client(&args)?, &job, volunteer, args.form())
        }
        Command::Status { client: args } => commands::status(&client(&args)?, args.form()),
        Command::Results { offer, client: args } => {
            commands::results(&client(&args)?, &offer, args.form())
        }
        Command::Lend { offer, volunteer, tasks, runtime, days, output, http } => {
            let lent = Lent { offer: &offer, volunteer, runtime, tasks, days };
            commands::lend(&Client::new(&identity, http)?, lent, &output)
        }
        Command::Import { file, output, client: args } => {
            commands::import(&client(&args)?, &file, output.as_deref(), args.form())
        }
        Command::Logs { offer, task, step, replica, follow: true, client: args } => {
            commands::follow(&client(&args)?, &offer, task, replica, step.as_deref())
        }
        Command::Logs { offer, task, step, replica, follow: false, client: args } => {
            commands::logs(&client(&args)?, &offer, task, replica, step.as_deref())
        }
        Command::Artifacts { offer, into, client: args } => {
            commands::artifacts(&client(&args)?, &offer, &into)
        }
        Command::Matrix { client: args } => commands::matrix(&client(&args)?, args.form()),
        Command::Cancel { offer, client: args } => client(&args)?.cancel(&offer),
    }
}

impl ClientArgs {
    fn form(&self) -> Form {
        if self.json { Form::Json } else { Form::Text }
    }
}

fn init(identity: &Identity, description: Description, checks: Vec<Check>) -> Outcome {
    let project = identity.create(description, checks, Clock::new().now().wall)?;
    let key = identity.project_key_file();
    eprintln!(
        "made the project {project}\n\
         Its key is {}. The adapter does not need it: move it to a safe place, and bring it back \
         every 90 days for `talkoot-master delegate`. Whoever has it is the project.\n\
         Next: talkoot-master run --broker ADDRESS, then give volunteers what `talkoot-master uri` \
         prints.",
        key.display(),
    );
    outln!("{project}");
    Ok(())
}

fn delegate(identity: &Identity, checks: Vec<Check>) -> Outcome {
    let expires = identity.delegate(checks, Clock::new().now().wall)?;
    eprintln!("delegated until {expires}; restart a running adapter so that it uses it");
    Ok(())
}

fn revoke(
    identity: &Identity,
    key: Option<PublicKey>,
    reason: String,
    key_file: Option<PathBuf>,
) -> Outcome {
    let change = identity.revoke(key, reason, key_file, Clock::new().now().wall)?;
    outln!("{}", describe_key_change(&change));
    eprintln!("a running adapter tells its brokers within seconds; else start it, so that it does");
    if identity.is_own_node(&change) {
        eprintln!(
            "next: talkoot-master rotate, which makes a new node key; then restart the adapter"
        );
    }
    Ok(())
}

fn rotate(identity: &Identity, reason: String) -> Outcome {
    let Rotated { former, node, expires } = identity.rotate(reason, Clock::new().now().wall)?;
    eprintln!(
        "{former} is void\ndelegated to the new node key {node} until {expires}\nrestart a running \
         adapter: it signs open offers again, and tells its brokers before anything else"
    );
    Ok(())
}

fn pass_on(identity: &Identity) -> Outcome {
    let Heir { former, project, kept } = identity.pass_on(Clock::new().now().wall)?;
    eprintln!(
        "the project {former} is followed by {project}\nThe new key is {}: move it to a safe place. \
         The former one is {}: keep it, it alone can revoke the former project.\nNext: start the \
         adapter, and publish what `talkoot-master uri` prints now. Volunteers are shown the new key, \
         and pin it themselves.",
        identity.project_key_file().display(),
        kept.display(),
    );
    outln!("{project}");
    Ok(())
}

fn uri(identity: &Identity, config: Config, args: BrokerArgs) -> Outcome {
    let known = [args.brokers, config.brokers, identity.brokers()];
    let brokers = known.into_iter().find(|brokers| !brokers.is_empty()).unwrap_or_default();
    let project = identity.project()?;
    if brokers.is_empty() {
        eprintln!(
            "warning: no broker is known here, so that volunteers who pin this find nobody; name \
             one with --broker, or start the adapter first"
        );
    }
    outln!("{}", ProjectUri { project, brokers });
    Ok(())
}

fn serve(config: Config, args: BrokerArgs, http: std::net::SocketAddr, state: PathBuf) -> Outcome {
    let checks = config.checks();
    let addresses = if args.brokers.is_empty() { config.brokers } else { args.brokers };
    let network = NetworkSettings::parse(config.network.as_deref(), config.network_list)?;
    let listed = addresses.is_empty() && network.is_some();
    let brokers = if listed { Vec::new() } else { brokers::parse(&addresses)? };
    let settings = daemon::Settings {
        state: &state,
        brokers,
        network,
        http,
        blob_quota: config.blob_quota.0,
        rehome_after: config.rehome_after.0,
        checks,
    };
    let runtime = tokio::runtime::Runtime::new().or_exit(Exit::State)?;
    runtime.block_on(daemon::run(settings))
}
