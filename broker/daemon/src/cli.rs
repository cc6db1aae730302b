//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use mesh_shell::config::CommonArgs;

use crate::config::DoorAt;

/// Matches volunteers with offers, grants leases, and carries results and receipts.
///
/// Exit codes: 0 done; 2 usage; 3 a wrong configuration or key file; 4 no network, no running broker, or a
/// port in use; 5 state or disk.
#[derive(Debug, Parser)]
#[command(name = "talkoot-broker", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What all commands have.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the broker until SIGTERM or SIGINT.
    Run(RunArgs),
    /// Print the node key, which is made if there is none, and addresses as others dial them.
    Key {
        /// Addresses to complete with the peer id, such as `/dns4/broker.example/tcp/4077`.
        #[arg(value_name = "MULTIADDR")]
        addresses: Vec<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write the broker's records to a file; it may run meanwhile.
    Backup {
        /// The file, which is replaced.
        file: PathBuf,
        /// Where the status page is, if it runs. Default: as in the configuration.
        #[arg(long, env = "TALKOOT_HTTP", value_name = "ADDRESS")]
        http: Option<SocketAddr>,
    },
    /// Rebuild the records of a broker that does not run from a back-up.
    ///
    /// It grants no task of which it may have forgotten a lease: masters begin a new epoch with it,
    /// by themselves.
    Restore {
        /// What `backup` has written.
        file: PathBuf,
    },
    /// Found a network, and publish by which brokers it is found.
    #[command(subcommand)]
    Network(NetworkCommand),
    /// What is asked of the running broker.
    #[command(flatten)]
    Ask(Ask),
}

/// What a network's founder does.
#[derive(Debug, Subcommand)]
pub enum NetworkCommand {
    /// Make the founder's key and print its public half, which is what everybody else is given.
    Init {
        /// Where the key is, or is made if there is none. Keep a copy in a safe place.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Sign a list of brokers, which takes the place of all before it.
    Sign {
        /// The founder's key.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The network's name, for people.
        #[arg(long)]
        name: String,
        /// A broker, with its peer id at the end, as `talkoot-broker key ADDRESS` prints it;
        /// repeatable, also for further addresses of one broker.
        #[arg(long = "broker", required = true, value_name = "MULTIADDR")]
        brokers: Vec<String>,
        /// How long the list holds.
        #[arg(long, default_value = "90d", value_name = "DURATION", value_parser = humantime::parse_duration)]
        lifetime: Duration,
        /// The file to write, which is replaced.
        #[arg(value_name = "FILE")]
        list: PathBuf,
    },
    /// Check a list and print what is in it.
    Show {
        /// The file.
        #[arg(value_name = "FILE")]
        list: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// What is asked of the running broker.
#[derive(Debug, Subcommand)]
pub enum Ask {
    /// Show what the running broker knows and does.
    Status(Shown),
    /// List who is connected.
    Peers(Listed),
    /// List the offers, and how their tasks stand.
    Offers(Listed),
    /// List the broker's own volunteers.
    Ads(Listed),
    /// List the results and receipts that wait to be handed over.
    Custody(Listed),
    /// List the keys and addresses that were over a limit within the hour.
    Limited(Shown),
    /// Turn somebody away: a key, or a range of addresses.
    Block {
        /// A project's, volunteer's or broker's key, or addresses such as 192.0.2.0/24.
        #[arg(value_name = "KEY OR ADDRESSES")]
        subject: String,
        /// Why; those concerned are told.
        #[arg(long, default_value = "")]
        reason: String,
        /// Which broker.
        #[command(flatten)]
        at: At,
    },
    /// Turn them away no more.
    Unblock {
        /// As `blocked` shows it.
        #[arg(value_name = "KEY OR ADDRESSES")]
        subject: String,
        /// Which broker.
        #[command(flatten)]
        at: At,
    },
    /// List who is turned away.
    Blocked(Listed),
    /// Take something down: it is neither kept, nor served, nor told on any more.
    TakeDown {
        /// A package's hash, or the id of an offer or another statement.
        #[arg(value_name = "HASH")]
        subject: String,
        /// Why; whoever asks for it is told.
        #[arg(long, default_value = "")]
        reason: String,
        /// Which broker.
        #[command(flatten)]
        at: At,
    },
    /// Take it again if it comes.
    PutBack {
        /// As `taken-down` shows it.
        #[arg(value_name = "HASH")]
        subject: String,
        /// Which broker.
        #[command(flatten)]
        at: At,
    },
    /// List what was taken down.
    TakenDown(Listed),
    /// Let the broker leave: no new work, custody to its neighbours, then it ends.
    Drain {
        /// The longest that it may take.
        #[arg(long, default_value = "10m", value_name = "DURATION", value_parser = humantime::parse_duration)]
        within: Duration,
        /// Which broker.
        #[command(flatten)]
        at: At,
    },
    /// Say how an offer stands, and which machines could run it.
    Explain {
        /// The beginning of the offer's id, as `offers` and the logs show it.
        offer: String,
        /// How to ask and to print.
        #[command(flatten)]
        shown: Shown,
    },
}

/// Which broker, and how its answer is printed.
#[derive(Debug, Args)]
pub struct Shown {
    /// Where its status page is. Default: as in the configuration.
    #[arg(long, env = "TALKOOT_HTTP", value_name = "ADDRESS")]
    pub http: Option<SocketAddr>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Which broker.
#[derive(Debug, Args)]
pub struct At {
    /// Where its status page is. Default: as in the configuration.
    #[arg(long, env = "TALKOOT_HTTP", value_name = "ADDRESS")]
    pub http: Option<SocketAddr>,
}

/// Which part of a list.
#[derive(Debug, Args)]
pub struct Listed {
    /// Entries at most.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub limit: u16,
    /// Begin after this entry, which the list before has named.
    #[arg(long, value_name = "KEY OR ID")]
    pub after: Option<String>,
    /// How to ask and to print.
    #[command(flatten)]
    pub shown: Shown,
}

/// What goes before the configuration file.
#[derive(Debug, Default, Args)]
pub struct RunArgs {
    /// Where to accept connections; repeatable. Default: TCP and QUIC at port 4077, WebSocket at 4078.
    #[arg(long, env = "TALKOOT_LISTEN", value_delimiter = ',', value_name = "MULTIADDR")]
    pub listen: Vec<String>,
    /// Where others reach this broker, if not where it listens; repeatable.
    #[arg(long, env = "TALKOOT_EXTERNAL", value_delimiter = ',', value_name = "MULTIADDR")]
    pub external: Vec<String>,
    /// A broker to be connected to; repeatable.
    #[arg(long, env = "TALKOOT_BOOTSTRAP", value_delimiter = ',', value_name = "MULTIADDR")]
    pub bootstrap: Vec<String>,
    /// Whether to dial the brokers that other brokers tell of. Default: true.
    #[arg(long, env = "TALKOOT_DISCOVER", value_name = "BOOL")]
    pub discover: Option<bool>,
    /// Where volunteers and masters come without libp2p, by HTTP; `off` for nowhere, port 0 takes a
    /// free one. Default: `0.0.0.0:4079`.
    #[arg(long, env = "TALKOOT_DOOR", value_name = "ADDRESS")]
    pub door: Option<DoorAt>,
    /// Where the status page and the metrics are; port 0 takes a free one. Default:
    /// `127.0.0.1:4082`.
    #[arg(long, env = "TALKOOT_HTTP", value_name = "ADDRESS")]
    pub http: Option<SocketAddr>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_coherent() {
        Cli::command().debug_assert();
    }
}
