//! `list`: whose choice of projects the owner trusts, and what a curator signs.

use std::path::PathBuf;
use std::time::Duration;

use capability::PublicKey;
use clap::Subcommand;

use super::project::Terms;

/// What to do about lists of projects. `init`, `sign` and `show` need no daemon.
#[derive(Debug, Subcommand)]
pub enum ListCommand {
    /// Trusts all projects on a curator's list, also those that a later one names: their jobs may run here.
    /// Shows what that lets them do, and asks at a terminal. Of one that you trust already, only what you name
    /// is changed.
    Add {
        /// The file with the list; it is read again whenever it changes.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The curator's key, as the curator publishes it: the list must be signed by it.
        #[arg(long, value_name = "KEY")]
        key: Option<PublicKey>,
        /// Only those projects of which the curator uses one of these words; any: all.
        #[arg(long, value_name = "WORDS|any", value_delimiter = ',')]
        keywords: Option<Vec<String>>,
        /// Ask nothing.
        #[arg(short, long)]
        yes: bool,
        /// Print JSON: what is so now.
        #[arg(long)]
        json: bool,
        /// What each project may do, and what you call the list.
        #[command(flatten)]
        terms: Terms,
    },
    /// Shows the lists that you trust and what is on them, or a list in a file.
    Show {
        /// A file with a list. Default: those that you trust.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Trusts a list no longer: jobs of projects that you trust by it alone are stopped.
    Remove {
        /// The curator's key, or the name that you or the curator gave the list.
        #[arg(value_name = "LIST")]
        list: String,
        /// Print JSON: what is so now.
        #[arg(long)]
        json: bool,
    },
    /// Makes a curator's key, and prints its public half, which is what others are given.
    Init {
        /// Where the key is, or is made if there is none. Keep a copy in a safe place.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Signs a list, which takes the place of all before it.
    Sign {
        /// What is on it, in TOML: `name`, and for each `[[project]]` its `uri`, `name` and `keywords`.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The curator's key.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// How long the list holds; at most 366d.
        #[arg(long, default_value = "90d", value_name = "DURATION", value_parser = humantime::parse_duration)]
        lifetime: Duration,
        /// The file to write, which is replaced.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
}
