//! `run` and `config`: the settings as flags, and what to do about them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use mesh_net::Multiaddr;

use crate::amounts::{Amount, Cores};

/// Settings of the daemon; each overrides the configuration file.
#[derive(Debug, Clone, Default, Args)]
pub struct RunArgs {
    /// Address of a broker, such as /dns/broker.example.org/tcp/4077; may be repeated.
    #[arg(
        long = "broker",
        value_name = "MULTIADDR",
        env = "TALKOOT_BROKERS",
        value_delimiter = ','
    )]
    pub brokers: Vec<Multiaddr>,
    /// Cores to donate: a number, or such as 50% or all-1.
    #[arg(long, value_name = "N", env = "TALKOOT_CORES")]
    pub cores: Option<Cores>,
    /// Memory to donate, such as "2 GiB" or 25%.
    #[arg(long, value_name = "AMOUNT", env = "TALKOOT_MEMORY")]
    pub memory: Option<Amount>,
    /// Disk space to donate, such as "4 GiB", or 10% of the disk.
    #[arg(long, value_name = "AMOUNT", env = "TALKOOT_DISK")]
    pub disk: Option<Amount>,
    /// Address of the status page; loopback unless you know better.
    #[arg(long, value_name = "ADDRESS", env = "TALKOOT_HTTP")]
    pub http: Option<SocketAddr>,
    /// A name for this machine, shown to masters as the fact `label`.
    #[arg(long, value_name = "LABEL", env = "TALKOOT_NAME")]
    pub name: Option<String>,
    /// Whether projects may watch what their jobs write here while they run.
    #[arg(long, value_name = "true|false", env = "TALKOOT_LIVE")]
    pub live: Option<bool>,
}

/// What to do about the settings.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Shows every setting as a daemon that is started here would have it, and where each comes from:
    /// default, file, variable or flag.
    Show {
        /// Flags of `run`, to see what they would do.
        #[command(flatten)]
        flags: RunArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Whether a configuration file is sound. Exit code 3 if it is not.
    Check {
        /// The file. Default: the one that the daemon reads.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Changes one setting in the configuration file, and leaves all else in it as it is. A running daemon
    /// takes it over within seconds.
    Set {
        /// The setting, such as `cores` or `in-use.load`.
        #[arg(value_name = "SETTING")]
        setting: String,
        /// Its value, as it would stand in the file; words and proportions also without quotes.
        #[arg(value_name = "VALUE", allow_hyphen_values = true)]
        value: String,
        /// Print JSON: what is so now.
        #[arg(long)]
        json: bool,
    },
}
