//! `project`: whom the owner trusts, and with what.

use std::num::NonZeroU32;
use std::str::FromStr;

use capability::{ProjectUri, Runtime};
use clap::{Args, Subcommand};
use mesh_shell::config::{Bytes, Span};

use crate::hours::Hours;
use crate::reach::PinnedReach;

/// What to do about trust.
#[derive(Debug, Subcommand)]
pub enum ProjectCommand {
    /// Trusts a project: its jobs may run here. Shows what that lets it do, and asks at a terminal. Of one
    /// that you trust already, only what you name is changed, and its brokers.
    Add {
        /// The URI that the project publishes: `talkoot:<key>?broker=<address>`
        #[arg(value_name = "URI")]
        uri: ProjectUri,
        /// Ask nothing.
        #[arg(short, long)]
        yes: bool,
        /// Print JSON: what is so now.
        #[arg(long)]
        json: bool,
        /// What it may do, and what you call it.
        #[command(flatten)]
        terms: Terms,
    },
    /// Changes what a project that you trust may do, or what you call it.
    Set {
        /// The project's key, a talkoot: URI, or the name that you gave it.
        #[arg(value_name = "PROJECT")]
        project: String,
        /// Print JSON: what is so now.
        #[arg(long)]
        json: bool,
        /// What is to change.
        #[command(flatten)]
        terms: Terms,
    },
    /// Lists the projects that you trust.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Trusts a project no longer: its jobs are stopped.
    Remove {
        /// The project's key, a talkoot: URI, or the name that you gave it.
        #[arg(value_name = "PROJECT")]
        project: String,
        /// Print JSON: what is so now.
        #[arg(long)]
        json: bool,
    },
}

/// What a project may do, and what the owner calls it; what is not there stays as it is.
#[derive(Debug, Args)]
pub struct Terms {
    /// Runtimes that its jobs may use. Default for a new one: native,wasm
    #[arg(long, value_name = "RUNTIMES", value_delimiter = ',')]
    pub allow: Option<Vec<Runtime>>,
    /// The longest time that its jobs may ask for, such as 4h; any: whatever they ask for.
    #[arg(long, value_name = "DURATION|any")]
    pub max_wall: Option<Most<Span>>,
    /// The most memory that one of them may ask for, such as "2 GiB".
    #[arg(long, value_name = "BYTES|any")]
    pub max_memory: Option<Most<Bytes>>,
    /// The most disk space that one of them may ask for.
    #[arg(long, value_name = "BYTES|any")]
    pub max_disk: Option<Most<Bytes>>,
    /// The most cores that one of them may ask for.
    #[arg(long, value_name = "N|any")]
    pub max_cores: Option<Most<NonZeroU32>>,
    /// What of the network its jobs may reach, if the configuration lets jobs: destinations such as
    /// deb.debian.org:80,*.crates.io (a port that is not named is 443); any: whatever they list. Default
    /// for a new one: none
    #[arg(long, value_name = "DESTINATIONS|any|none")]
    pub network: Option<PinnedReach>,
    /// What you call it.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Anything that you want to remember about it.
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// How much of the machine it gets beside others, 1 to 10000. Default for a new one: 100
    #[arg(long, value_name = "N")]
    pub weight: Option<u16>,
    /// Projects of lower tiers come first, 0 to 9. Default for a new one: 0
    #[arg(long, value_name = "N")]
    pub tier: Option<u8>,
    /// Whether it gets only what no other project has work for. Default for a new one: false
    #[arg(long, value_name = "true|false")]
    pub backup: Option<bool>,
    /// At most one task of each of its builders begins in such a period, such as 24h; any: as many as there are.
    #[arg(long, value_name = "DURATION|any")]
    pub every: Option<Most<Span>>,
    /// Only tasks of these builders of it, such as nightly,release; any: of all.
    #[arg(long, value_name = "NAMES|any", value_delimiter = ',')]
    pub builders: Option<Vec<String>>,
    /// When its tasks are taken, such as 22:00-06:00, or what a configuration has behind `hours =`; any: whenever
    /// the machine works.
    #[arg(long, value_name = "HOURS|any")]
    pub hours: Option<Most<Hours>>,
}

/// A bound, or that there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Most<T>(pub Option<T>);

impl<T: FromStr> FromStr for Most<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text == "any" { Ok(Self(None)) } else { text.parse().map(|most| Self(Some(most))) }
    }
}
