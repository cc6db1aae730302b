//! `owner`: whose the machine is.

use std::path::PathBuf;

use capability::PublicKey;
use clap::{Args, Subcommand};

/// What to do about the owner. All but `set` and `show` need the owner key and no daemon, so that they
/// can be done on a machine that is never on a network.
#[derive(Debug, Subcommand)]
pub enum OwnerCommand {
    /// Makes an owner key.
    Init {
        /// Which file.
        #[command(flatten)]
        key: OwnerKey,
    },
    /// Vouches for a machine for a year: makes the file that `owner set` takes there.
    Sign {
        /// The machine's node key, which `owner show` prints there.
        #[arg(value_name = "NODE-KEY")]
        node: PublicKey,
        /// The owner key.
        #[command(flatten)]
        key: OwnerKey,
        /// Where to.
        #[command(flatten)]
        output: Output,
    },
    /// Shows this machine's node key, who vouches for it and until when, the owner key if it is here,
    /// and what brokers are told.
    Show {
        /// The owner key.
        #[command(flatten)]
        key: OwnerKey,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Takes what an owner key has signed: whose this machine is from now on; or a move or a
    /// revocation, which the daemon tells its brokers.
    Set {
        /// The file, or - for standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Names the owner key that follows yours, once and for all. Give the file to `owner set` on one
    /// of your machines, and sign all of them with the new key.
    Move {
        /// The new owner key, as `owner init` printed it.
        #[arg(long, value_name = "OWNER-KEY")]
        to: PublicKey,
        /// The old owner key.
        #[command(flatten)]
        key: OwnerKey,
        /// Where to.
        #[command(flatten)]
        output: Output,
    },
    /// Says for ever that a machine is yours no more, as when it was stolen. With --owner-key: that
    /// the owner key itself is void. Give the file to `owner set` on another machine.
    Revoke {
        /// The node key of the machine.
        #[arg(value_name = "NODE-KEY", required_unless_present = "owner_key")]
        node: Option<PublicKey>,
        /// Revoke the owner key itself: it vouches for no machine any more.
        #[arg(long = "owner-key", conflicts_with = "node")]
        owner_key: bool,
        /// Why, for people; at most 256 bytes.
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
        /// The owner key.
        #[command(flatten)]
        key: OwnerKey,
        /// Where to.
        #[command(flatten)]
        output: Output,
    },
}

/// The file of an owner key.
#[derive(Debug, Args)]
pub struct OwnerKey {
    /// The file of the owner key. Default: owner.key in the state directory.
    #[arg(long = "key", value_name = "FILE", id = "key_file")]
    pub file: Option<PathBuf>,
}

/// Where a signed statement goes.
#[derive(Debug, Args)]
pub struct Output {
    /// The file to make. Default: standard output.
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub output: Option<PathBuf>,
}
