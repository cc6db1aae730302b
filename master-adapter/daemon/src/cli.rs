//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use capability::{PublicKey, Runtime};
use clap::{Args, Parser, Subcommand};
use mesh_shell::config::CommonArgs;

/// Offers a project's jobs to volunteers and keeps their results.
///
/// Exit codes: 0 done; 1 the job failed; 2 usage; 3 a wrong file; 4 no adapter or network; 5 state
/// or disk.
#[derive(Debug, Parser)]
#[command(name = "talkoot-master", version)]
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
    /// Make a project: its keys, its registration, and a delegation of 90 days.
    Init {
        /// The project's name.
        #[arg(long)]
        name: String,
        /// Its homepage.
        #[arg(long, default_value = "", value_name = "URL")]
        homepage: String,
        /// A word by which volunteers can choose; repeatable.
        #[arg(long = "keyword", value_name = "WORD")]
        keywords: Vec<String>,
    },
    /// Renew the delegation; needs the project key.
    Delegate,
    /// Say for ever that a key is void; needs the project key. Brokers drop what it has signed, and
    /// volunteers stop its tasks.
    Revoke {
        /// A node key that this project delegated to; this adapter's by default. Or the project key
        /// itself: that ends the project.
        #[arg(value_name = "KEY")]
        key: Option<PublicKey>,
        /// Why, for people; at most 256 bytes.
        #[arg(long, default_value = "", value_name = "TEXT")]
        reason: String,
        /// The file of the project key. Default: project.key in the state directory.
        #[arg(long = "key", value_name = "FILE")]
        key_file: Option<PathBuf>,
    },
    /// Make a new node key, delegate to it, and revoke the former one; needs the project key. Restart the
    /// adapter then: it signs what is open again, and nothing is lost.
    Rotate {
        /// Make a new project key instead, and name it as the one that follows. Volunteers have to pin it
        /// themselves. Not while jobs are open or not yet withdrawn; stop the adapter first.
        #[arg(long)]
        project: bool,
        /// Why, for people; at most 256 bytes.
        #[arg(long, default_value = "", value_name = "TEXT", conflicts_with = "project")]
        reason: String,
    },
    /// Run the adapter.
    Run {
        /// Where the REST interface listens; port 0 takes a free one.
        #[arg(long, env = "TALKOOT_HTTP", value_name = "ADDRESS")]
        http: Option<SocketAddr>,
        /// The brokers.
        #[command(flatten)]
        brokers: BrokerArgs,
    },
    /// Print the project URI that volunteers pin.
    Uri {
        /// The brokers in it; those of the running adapter by default.
        #[command(flatten)]
        brokers: BrokerArgs,
    },
    /// Pack a job's files and submit it to the running adapter.
    Submit {
        /// The job file.
        job: PathBuf,
        /// Wait until every task is settled; the exit code tells whether all passed.
        /// An adapter that restarts meanwhile is awaited.
        #[arg(long)]
        wait: bool,
        /// Results wanted of each task, from different volunteers; 1 to 16.
        #[arg(
            long,
            default_value_t = 1,
            value_name = "COUNT",
            value_parser = clap::value_parser!(u16).range(1..=16)
        )]
        replicas: u16,
        /// How to reach the adapter, and how to print.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Follow a job as `submit --wait` does, with the same exit codes.
    Wait {
        /// The offer's name, or its first characters.
        offer: String,
        /// How to reach the adapter, and how to print.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Tell how many machines could run a job, what keeps out the others, and what would change that.
    Explain {
        /// A job file, which need not be submitted; or an offer's name, or its first characters.
        #[arg(value_name = "FILE|OFFER")]
        job: String,
        /// Hold the job against the machine of this volunteer instead. Of one that has returned a
        /// result the beginning of its key or of its label will do.
        #[arg(long, value_name = "KEY")]
        volunteer: Option<String>,
        /// How to reach the adapter, and how to print.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Show the project, its brokers, its jobs, and who could run what waits.
    Status {
        /// How to reach the adapter, and how to print.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Show the accepted results of a job.
    Results {
        /// The offer's name, or its first characters.
        offer: String,
        /// How to reach the adapter, and how to print.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Lend tasks of a job to a machine without a network: writes a file for it to take with
    /// `talkoot-volunteer job import`. Nobody else is given these tasks meanwhile. The same again writes the same
    /// tasks.
    Lend {
        /// The offer's name, or its first characters.
        offer: String,
        /// The node key of the machine, as `talkoot-volunteer owner show` prints it there.
        #[arg(long = "for", value_name = "NODE-KEY")]
        volunteer: PublicKey,
        /// How many tasks, those that it has of the job already included; 1 to 256.
        #[arg(
            long,
            default_value_t = 1,
            value_name = "COUNT",
            value_parser = clap::value_parser!(u16).range(1..=256)
        )]
        tasks: u16,
        /// The runtime that they are to run in. Default: the job's first.
        #[arg(long, value_name = "RUNTIME")]
        runtime: Option<Runtime>,
        /// For how many days, 1 to 30; then others are given what has not come back. Never longer than the offer.
        #[arg(
            long,
            default_value_t = 7,
            value_name = "DAYS",
            value_parser = clap::value_parser!(u8).range(1..=30)
        )]
        days: u8,
        /// The file to write.
        #[arg(short = 'o', long = "output", value_name = "FILE")]
        output: PathBuf,
        /// Where the adapter listens; where the last one did by default.
        #[arg(long, env = "TALKOOT_HTTP", value_name = "ADDRESS")]
        http: Option<SocketAddr>,
    },
    /// Hand in results that somebody has brought as a file, as `talkoot-volunteer results export` wrote it.
    /// Exit code 3 if not all of them could be judged.
    Import {
        /// The file.
        file: PathBuf,
        /// Where to write the receipts, for `talkoot-volunteer results --take`.
        #[arg(short = 'o', long = "output", value_name = "FILE")]
        output: Option<PathBuf>,
        /// How to reach the adapter, and how to print.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Print the log of a task: of all steps, or of one.
    Logs {
        /// The offer's name, or its first characters.
        offer: String,
        /// The task's number.
        task: u32,
        /// This step only.
        #[arg(long)]
        step: Option<String>,
        /// Of this replica.
        #[arg(long, default_value_t = 0)]
        replica: u16,
        /// While a volunteer works on the task: print what it writes as it writes it, to the task's end.
        #[arg(long)]
        follow: bool,
        /// How to reach the adapter, and how to print.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Save the artifacts of a job as DIR/TASK/PATH.
    Artifacts {
        /// The offer's name, or its first characters.
        offer: String,
        /// Where to.
        #[arg(long, value_name = "DIR")]
        into: PathBuf,
        /// How to reach the adapter, and how to print.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Show results by platform and builder.
    Matrix {
        /// How to reach the adapter, and how to print.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// End a job before all of its tasks are settled.
    Cancel {
        /// The offer's name, or its first characters.
        offer: String,
        /// How to reach the adapter, and how to print.
        #[command(flatten)]
        client: ClientArgs,
    },
}

/// Brokers.
#[derive(Debug, Clone, Args)]
pub struct BrokerArgs {
    /// A broker's address with its peer id; repeatable. The first is home, the others stand by.
    #[arg(
        long = "broker",
        env = "TALKOOT_BROKERS",
        value_delimiter = ',',
        value_name = "MULTIADDR"
    )]
    pub brokers: Vec<String>,
}

/// How the running adapter is reached, and how its answers are printed.
#[derive(Debug, Clone, Args)]
pub struct ClientArgs {
    /// Where the adapter listens; where the last one did by default.
    #[arg(long, env = "TALKOOT_HTTP", value_name = "ADDRESS")]
    pub http: Option<SocketAddr>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
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
