//! The command line.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use capability::{ProjectUri, PublicKey, Runtime};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use mesh_net::Multiaddr;
use mesh_shell::config::{Bytes, CommonArgs, Span};

use crate::amounts::{Amount, Cores};
use crate::commands::Kind;
use crate::history::MAX_PAGE;

/// Runs jobs of the projects that you trust, in a sandbox, when you can spare the machine.
///
/// Exit codes: 0 done; 1 the job of `exec` failed, or a receipt is not sound; 2 usage; 3 a wrong
/// configuration, key file, list of receipts or name of a project; 4 no network, no daemon, or a port in
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
    Resume(Whom),
    /// Ends a pause, takes nothing new, gives back what has not begun, and ends the daemon when the last job is done.
    Drain(DrainArgs),
    /// Ends the daemon within moments: jobs are stopped, and given back for others to run.
    Stop(Whom),
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
        /// What it may do, and what you call it.
        #[command(flatten)]
        terms: Terms,
    },
    /// Changes what a project that you trust may do, or what you call it.
    Set {
        /// The project's key, a talkoot: URI, or the name that you gave it.
        #[arg(value_name = "PROJECT")]
        project: String,
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
    },
}

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
pub struct ResultsArgs {
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
    /// Which daemon.
    #[command(flatten)]
    pub whom: Whom,
}

/// A drain.
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// How long at most, such as `2h`; what still runs then is stopped, and given back for others to run.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub within: Option<Duration>,
    /// Which daemon.
    #[command(flatten)]
    pub whom: Whom,
}

/// A running daemon.
#[derive(Debug, Args)]
pub struct Whom {
    /// Address of its status page. Default: that of the daemon with this state directory.
    #[arg(long, value_name = "ADDRESS")]
    pub http: Option<SocketAddr>,
}
