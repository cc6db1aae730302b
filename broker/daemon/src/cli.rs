//! The command line.

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand};
use mesh_shell::config::CommonArgs;

/// Matches volunteers with offers, grants leases, and carries results and receipts.
///
/// Exit codes: 0 done; 2 usage; 3 a wrong configuration or key file; 4 no network, or a port in use;
/// 5 state or disk.
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
    /// Show what the running broker knows and does.
    Status {
        /// Where its status page is.
        #[arg(long, env = "TALKOOT_HTTP", value_name = "ADDRESS")]
        http: Option<SocketAddr>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the node key, which is made if there is none, and addresses as others dial them.
    Key {
        /// Addresses to complete with the peer id, such as `/dns4/broker.example/tcp/4077`.
        #[arg(value_name = "MULTIADDR")]
        addresses: Vec<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
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
    /// Where the status page and the metrics are; port 0 takes a free one. Default:
    /// `127.0.0.1:4079`.
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
