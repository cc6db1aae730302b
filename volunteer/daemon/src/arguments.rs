//! The command line.

mod list;
mod owner;
mod project;
mod settings;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use capability::Runtime;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use mesh_net::Multiaddr;
use mesh_shell::config::CommonArgs;

pub use self::list::ListCommand;
pub use self::owner::{Output, OwnerCommand, OwnerKey};
pub use self::project::{Most, ProjectCommand, Terms};
pub use self::settings::{ConfigCommand, RunArgs};
use crate::commands::Kind;
use crate::history::MAX_PAGE;

/// Runs jobs of the projects that you trust, in a sandbox, when you can spare the machine.
///
/// Exit codes: 0 done; 1 the job of `exec` failed, or a receipt is not sound; 2 usage; 3 a wrong
/// configuration, key file, list of receipts, file of work or name of a project; 4 no network, no daemon, or a port in
/// use; 5 state or disk; 6 no runtime works here, not for the job of `doctor --job`, or your policy says no.
#[derive(Debug, Parser)]
#[command(name = "talkoot-volunteer", version)]
pub struct Arguments {
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
    /// Makes a key and a configuration file with every setting explained. At a terminal it asks what
    /// you give.
    Init {
        /// Ask nothing: the defaults will do.
        #[arg(short, long)]
        yes: bool,
    },
    /// Runs the daemon.
    Run(RunArgs),
    /// Whom you trust.
    Project {
        /// What to do with it.
        #[command(subcommand)]
        command: ProjectCommand,
    },
    /// Whose choice of projects you trust, and how a curator signs one.
    List {
        /// What to do about it.
        #[command(subcommand)]
        command: ListCommand,
    },
    /// Whose this machine is: an owner key vouches for the node keys of all machines of yours.
    Owner {
        /// What to do about it.
        #[command(subcommand)]
        command: OwnerCommand,
    },
    /// What you want of offers, in words, and how it would judge a job.
    Policy {
        /// A job file to judge. Exit code 6 if its offers would be declined.
        #[arg(long = "try", value_name = "FILE")]
        job: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// The settings: what they are, whether a file is sound, and one changed.
    Config {
        /// What to do about them.
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// What the daemon does at the moment.
    Status(Shown),
    /// What is in hand: whose tasks, how far they are, what they may use.
    Jobs {
        /// All there is to say of each, in a line each.
        #[arg(long)]
        long: bool,
        /// Which daemon, and how to show it.
        #[command(flatten)]
        shown: Shown,
    },
    /// Jobs that come by other means than a network.
    Job {
        /// What to do with one.
        #[command(subcommand)]
        command: JobCommand,
    },
    /// What a running job writes.
    Logs(LogsArgs),
    /// Why the daemon is idle and which offers it declines; of a project, why nothing of it runs; of a
    /// job in hand, why it was taken.
    Why {
        /// A project, by its key, a talkoot: URI, or the name that you gave it; or a job, as `jobs`
        /// names it.
        #[arg(value_name = "PROJECT|JOB")]
        what: Option<String>,
        /// Which daemon, and how to show it.
        #[command(flatten)]
        shown: Shown,
    },
    /// What masters have said about your results, and what they credit you with.
    Results(ResultsArgs),
    /// What ran on this machine, the newest first: how it ended, what it took, what its project said.
    History(HistoryArgs),
    /// Runs a job file here, in the sandbox that a leased job gets, without a daemon, keys or a network.
    /// Exit code 1 if the job fails, 6 if it cannot run here.
    Exec(ExecArgs),
    /// The daemon as a service of the system.
    Service {
        /// What to do about it.
        #[command(subcommand)]
        command: ServiceCommand,
    },
    /// Prints a script by which a shell completes this program's commands.
    Completions {
        /// Which shell.
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Which runtimes work on this machine, what jobs would find in them, what is missing for which
    /// project or job, and how to get it.
    Doctor(DoctorArgs),
    /// Makes all jobs stand still and takes nothing new, also after the daemon is started anew.
    Pause(PauseArgs),
    /// Ends a pause, or else a drain.
    Resume(Shown),
    /// Ends a pause, takes nothing new, gives back what has not begun, and ends the daemon when the last job is done.
    Drain(DrainArgs),
    /// Ends the daemon within moments: jobs are stopped, and given back for others to run.
    Stop(Shown),
    /// Prints the address with which the page of a running daemon opens in a browser. It holds the
    /// token: whoever has it can pause and stop the daemon.
    Page(Whom),
}

/// What to look at.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Print JSON, which has all of it.
    #[arg(long)]
    pub json: bool,
    /// A job file: shows every requirement with the fact beside it, and what to install. Exit code 6
    /// if this machine could not run the job.
    #[arg(long, value_name = "FILE")]
    pub job: Option<PathBuf>,
    /// Ask every program anew, even those that have not changed.
    #[arg(long)]
    pub fresh: bool,
    /// Print how long it took.
    #[arg(long)]
    pub timing: bool,
}

/// A running daemon, and how to show what it says.
#[derive(Debug, Args)]
pub struct Shown {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Which daemon.
    #[command(flatten)]
    pub whom: Whom,
}

/// What of the results.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ResultsArgs {
    /// What to do with them; without it, show them.
    #[command(subcommand)]
    pub command: Option<ResultsCommand>,
    /// Take the receipts in a list that somebody has brought, as `talkoot-master import -o` wrote it: the
    /// results that they are for need not be kept any more. Exit code 3 if not all of them are taken.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["verify", "receipts"])]
    pub take: Option<PathBuf>,
    /// Write the receipts that are kept here to a file, as the projects have signed them; - is standard
    /// output. Anybody can check it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["verify", "json"])]
    pub receipts: Option<PathBuf>,
    /// Check such a file, for which no daemon need run; without one, the receipts that are kept here.
    /// Exit code 1 if one is not sound, 3 if the file cannot be read.
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    pub verify: Option<Option<PathBuf>>,
    /// How to show it.
    #[command(flatten)]
    pub shown: Shown,
}

/// What to do with a job.
#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// Takes the work in a file that `talkoot-master lend` wrote for this machine, as if a broker had shown and
    /// granted it. The daemon runs it, with a broker or without. Exit code 6 if the owner or the machine are
    /// against it.
    Import {
        /// The file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Take it although it was made over a day ago and no broker has told since whether the keys behind it
        /// still hold.
        #[arg(long)]
        unconfirmed: bool,
        /// Which daemon, and how to show it.
        #[command(flatten)]
        shown: Shown,
    },
}

/// What to do with results.
#[derive(Debug, Subcommand)]
pub enum ResultsCommand {
    /// Writes the results that wait for their receipts, with logs and artifacts, to a file that anybody can
    /// hand in for this machine: hand-in, or talkoot-master import. What is in it only their projects can read;
    /// they stay here until a receipt comes. Where no daemon runs, the state directory is read.
    Export {
        /// Where to.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Which daemon, and how to show it.
        #[command(flatten)]
        shown: Shown,
    },
    /// Hands in the results in a file that `export` wrote on any machine, at a broker, for which no daemon and
    /// no project is needed. Exit code 3 if not all of them are taken.
    HandIn {
        /// The file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Address of a broker, such as /dns/broker.example.org/tcp/4077; the first that answers gets them.
        /// May be repeated. Default: the brokers of this volunteer.
        #[arg(
            long = "broker",
            value_name = "MULTIADDR",
            env = "TALKOOT_BROKERS",
            value_delimiter = ','
        )]
        brokers: Vec<Multiaddr>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// What of the history.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Only what ran before the run of this number.
    #[arg(long, value_name = "NUMBER")]
    pub before: Option<u64>,
    /// At most so many runs; 1 to 500.
    #[arg(long, value_name = "N", default_value = "20", value_parser = page_limit)]
    pub limit: usize,
    /// How to show it.
    #[command(flatten)]
    pub shown: Shown,
}

/// What to run, and where its results go.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// The job file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// In which of the job's runtimes. Default: the first that works here and has what it requires.
    #[arg(long, value_name = "RUNTIME")]
    pub runtime: Option<Runtime>,
    /// Which of the job's tasks.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub task: u32,
    /// A new or empty directory for logs and artifacts. Default: they are not kept.
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Run it although this machine has not all that it requires.
    #[arg(long)]
    pub anyway: bool,
    /// Print what became of it as JSON, and what it writes to standard error.
    #[arg(long)]
    pub json: bool,
}

/// What to do about the service.
#[derive(Debug, Subcommand)]
pub enum ServiceCommand {
    /// Writes the file by which systemd starts the daemon, and starts it.
    Install {
        /// For the machine, from its start on, instead of the user who asks.
        #[arg(long)]
        system: bool,
        /// Print the file instead.
        #[arg(long)]
        print: bool,
        /// By what the daemon is started; all but systemd with --print alone.
        #[arg(long = "for", value_name = "KIND")]
        kind: Option<Kind>,
    },
    /// Ends the service, and removes its file; key, projects and results are kept.
    Uninstall {
        /// That of the machine.
        #[arg(long)]
        system: bool,
    },
    /// Shows what is installed, and what systemd says of it.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Which log, and how much of it.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The job, as `jobs` names it: the beginning of its id, NAME or NAME/TASK. Without it the one
    /// that runs.
    #[arg(value_name = "JOB")]
    pub job: Option<String>,
    /// Go on until the job has ended.
    #[arg(short, long)]
    pub follow: bool,
    /// Which daemon, and how to show it: JSON comes as an object a line.
    #[command(flatten)]
    pub shown: Shown,
}

fn page_limit(text: &str) -> Result<usize, String> {
    let limit = text.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit));
    limit.ok_or_else(|| format!("a page has 1 to {MAX_PAGE} runs"))
}

/// A pause.
#[derive(Debug, Args)]
pub struct PauseArgs {
    /// How long, such as `2h` or `30m`. Without it until `resume`.
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub length: Option<Duration>,
    /// Why, for yourself: `status`, `why` and the status page show it.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub note: String,
    /// Which daemon, and how to show what is so then.
    #[command(flatten)]
    pub shown: Shown,
}

/// A drain.
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// How long at most, such as `2h`; what still runs then is stopped, and given back for others to run.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub within: Option<Duration>,
    /// Which daemon, and how to show what is so then.
    #[command(flatten)]
    pub shown: Shown,
}

/// A running daemon.
#[derive(Debug, Args)]
pub struct Whom {
    /// Address of its status page. Default: that of the daemon with this state directory.
    #[arg(long, value_name = "ADDRESS")]
    pub http: Option<SocketAddr>,
}
