//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

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
    /// What is asked of the running broker.
    #[command(flatten)]
    Ask(Ask),
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
    /// Where to accept connections; repeatable. Default: `/ip4/0.0.0.0/tcp/4077`.
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
