//! Settings: the file, and what flags and variables lay over it.

mod machine;
mod settling;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use capability::{Denied, Policy, Repositories, Resources, Runtime};
use mesh_net::Multiaddr;
use mesh_shell::config::{Bytes, CommonArgs, Span};
use mesh_shell::{Exit, Failure, NetworkSettings, Outcome, config};
use serde::Deserialize;
use serde::de::IgnoredAny;
use volunteer_core::Offline;

pub use self::machine::{Usual, usual};
use self::machine::{doubts, machine};
use self::settling::{no_longer_than, settle};
use crate::amounts::{Amount, Cores, Percent};
use crate::arguments::RunArgs;
use crate::hours::Hours;
use crate::images::Engine;
use crate::live::Watching;
use crate::probing::{OwnTool, Table};
use crate::runtimes::{JobNetwork, Label, Own};
use crate::sensors::Yields;

/// The role's name in paths.
pub const ROLE: &str = "volunteer";

/// The configuration file. Everything has a default.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Addresses of brokers. If there are none, those of pinned projects are dialled.
    brokers: Vec<Address>,
    /// Whether brokers that these tell of are dialled too, when fewer than two are reached.
    discover: bool,
    /// The key of the founder of a network, by whose list of brokers it is found.
    network: Option<String>,
    /// Files in which that list may be.
    network_list: Vec<PathBuf>,
    /// Cores donated. Default: all but one.
    cores: Option<Cores>,
    /// Memory donated. Default: half.
    memory: Option<Amount>,
    /// Disk space donated, or so much of the disk that has the state directory. Default: 8 GiB, or half
    /// of what is free if that is less.
    disk: Option<Amount>,
    /// The longest wall time that a job may ask for. Default: any.
    max_wall: Option<Span>,
    /// Address of the status page.
    http: SocketAddr,
    /// A name for the machine.
    name: String,
    /// Words for masters to go by.
    labels: BTreeSet<Label>,
    /// When the machine takes work, in local time. Default: always.
    hours: Option<Hours>,
    /// When it fetches work and hands over results, in local time. Default: always.
    network_hours: Option<Hours>,
    /// Bytes of packages and results that may pass in a month. Default: any.
    network_quota: Option<Bytes>,
    /// Bytes a second at which packages come. Default: any.
    network_down: Option<Bytes>,
    /// Bytes a second at which blobs go with results. Default: any.
    network_up: Option<Bytes>,
    /// Whether jobs may be connected with what they list and their project may reach. Default: false.
    job_network: bool,
    /// What no job is connected with, whatever its project may reach: hosts, at any port if none is named.
    /// Default: nothing beside what no job ever reaches.
    job_network_deny: Vec<String>,
    /// Whether jobs stand still while the machine runs on its battery. Default: false.
    pause_on_battery: bool,
    /// Degrees Celsius from which jobs stand still. Default: any.
    max_temperature: Option<u8>,
    /// When the owner needs the machine, and what jobs may use then.
    in_use: InUse,
    /// Whether tasks are wanted that hold while the machine is out of reach. Default: `"auto"`.
    offline: OfflineSetting,
    /// How much work is fetched ahead, as time of the whole machine. Default: none.
    work_buffer: Option<Span>,
    /// Runtimes that may be offered.
    runtimes: Vec<Runtime>,
    /// Bytes that unpacked images may take, all together, beside the donated disk space. Default: 4 GiB.
    image_cache: Bytes,
    /// What images are had from that come with no package. Default: nothing.
    image_engine: ImageEngine,
    /// The repositories of which jobs may have images so, at most 64: `REPOSITORY`, or `NAME/*` for all below.
    /// Default: none.
    image_repositories: Vec<String>,
    /// Whether that program may pull what it does not have. Default: false.
    image_pull: bool,
    /// Whether projects may watch what their running jobs write. Default: true.
    live: bool,
    /// What is wanted of offers. Default: nothing. [`Policy`] reads it, in the grammar of job files.
    policy: Option<IgnoredAny>,
    /// Tools to look for beside those that are looked for anyway.
    #[serde(rename = "tool")]
    tools: Vec<OwnTool>,
}

/// When the owner needs the machine. By default nobody looks.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct InUse {
    /// Somebody who has used keyboard, mouse or terminal within that time is there.
    away_after: Option<Span>,
    /// The part of all cores that other programs may use.
    load: Option<Percent>,
    /// Programs during which jobs give way, by their names.
    programs: Vec<String>,
    /// Cores that jobs may use meanwhile. Default: none, or all that are donated if `memory` is said.
    cores: Option<Cores>,
    /// Memory that jobs may use meanwhile. Default: what is donated.
    memory: Option<Amount>,
}

/// A program for containers, or none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ImageEngine {
    #[default]
    None,
    Podman,
    Docker,
}

/// `true`, `false` or `"auto"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "OfflineWord")]
struct OfflineSetting(Offline);

#[derive(Deserialize)]
#[serde(untagged, expecting = "offline is true, false or \"auto\"")]
enum OfflineWord {
    Said(bool),
    Word(String),
}

impl TryFrom<OfflineWord> for OfflineSetting {
    type Error = String;

    fn try_from(word: OfflineWord) -> Result<Self, String> {
        match word {
            OfflineWord::Said(true) => Ok(Self(Offline::Always)),
            OfflineWord::Said(false) => Ok(Self(Offline::Never)),
            OfflineWord::Word(word) if word == "auto" => Ok(Self(Offline::Auto)),
            OfflineWord::Word(word) => Err(format!("{word:?} is not true, false or \"auto\"")),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            brokers: Vec::new(),
            discover: true,
            network: None,
            network_list: Vec::new(),
            cores: None,
            memory: None,
            disk: None,
            max_wall: None,
            http: SocketAddr::from(([127, 0, 0, 1], 4081)),
            name: String::new(),
            labels: BTreeSet::new(),
            hours: None,
            network_hours: None,
            network_quota: None,
            network_down: None,
            network_up: None,
            job_network: false,
            job_network_deny: Vec::new(),
            pause_on_battery: false,
            max_temperature: None,
            in_use: InUse::default(),
            offline: OfflineSetting::default(),
            work_buffer: None,
            runtimes: vec![Runtime::Native, Runtime::Wasm, Runtime::Container],
            image_cache: Bytes(4 << 30),
            image_engine: ImageEngine::None,
            image_repositories: Vec::new(),
            image_pull: false,
            live: true,
            policy: None,
            tools: Vec::new(),
        }
    }
}

/// The file that `init` writes: every setting with its default.
pub const TEMPLATE: &str = include_str!("template.toml");

/// What the daemon goes by.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The state directory.
    pub state: PathBuf,
    /// Addresses of brokers. If there are none, those of pinned projects are dialled.
    pub brokers: Vec<Multiaddr>,
    /// Whether brokers that these tell of are dialled too.
    pub discover: bool,
    /// The network whose list of brokers is followed.
    pub network: Option<NetworkSettings>,
    /// What is donated.
    pub donated: Resources,
    /// Address of the status page.
    pub http: SocketAddr,
    /// A name for the machine; may be empty.
    pub name: String,
    /// Words for masters to go by.
    pub labels: BTreeSet<Label>,
    /// When the machine takes work, in local time; always, if absent.
    pub hours: Option<Hours>,
    /// When it fetches work and hands over results, in local time; always, if absent.
    pub network_hours: Option<Hours>,
    /// Bytes of packages and results that may pass in a month; any, if absent.
    pub network_quota: Option<u64>,
    /// Bytes a second at which packages come; any, if absent.
    pub network_down: Option<u64>,
    /// Bytes a second at which blobs go with results; any, if absent.
    pub network_up: Option<u64>,
    /// What jobs may reach of the network.
    pub job_network: JobNetwork,
    /// What no job reaches.
    pub job_network_deny: Vec<Denied>,
    /// When jobs give way to the owner.
    pub yields: Yields,
    /// Whether tasks are wanted that hold while the machine is out of reach.
    pub offline: Offline,
    /// How much work is fetched ahead, as time of the whole machine; none is zero.
    pub work_buffer: Duration,
    /// Runtimes that may be offered.
    pub runtimes: Vec<Runtime>,
    /// Bytes that unpacked images may take, all together.
    pub image_cache: u64,
    /// What images are had from that come with no package.
    pub image_engine: Option<Engine>,
    /// The repositories of which jobs may have images so.
    pub image_repositories: Vec<Repositories>,
    /// Whether jobs may be watched while they run.
    pub watching: Watching,
    /// What is wanted of offers.
    pub policy: Policy,
    /// What is looked for on the machine.
    pub table: Table,
    /// The cache directory.
    pub cache: PathBuf,
}

impl Settings {
    /// What the owner may not have meant: more is donated than there is.
    pub fn doubts(&self) -> Vec<String> {
        doubts(self.donated, &machine(&self.state))
    }

    /// What the owner says of the machine in its ad.
    pub fn own(&self) -> Own {
        let Self { name, labels, hours, donated, .. } = self;
        Own { name: name.clone(), labels: labels.clone(), hours: hours.clone(), donated: *donated }
    }
}

/// A multiaddr in a file.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
struct Address(Multiaddr);

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse_address(&text).map(Self)
    }
}

/// The address that `text` names.
///
/// # Errors
/// For people.
pub fn parse_address(text: &str) -> Result<Multiaddr, String> {
    let shown: String = text.chars().take(80).collect();
    text.parse().map_err(|error| {
        format!(
            "`{shown}` is not the address of a broker, as in /dns/example.org/tcp/4077: {error}"
        )
    })
}

/// Reads the file and lays `flags` over it.
pub fn load(common: &CommonArgs, flags: RunArgs) -> Outcome<Settings> {
    let state = config::state_dir(ROLE, common.state.as_deref())?;
    let cache = config::cache_dir(ROLE, common.state.as_deref())?;
    settle(read(common.config.as_deref())?, flags, state, cache)
}

/// Whether `text`, which is or is to be the file at `path`, is a sound configuration.
pub fn check(path: &Path, text: &str) -> Outcome {
    let file = config::File { path: path.to_path_buf(), text: text.to_owned() };
    let state = config::state_dir(ROLE, None)?;
    settle(parse(&file)?, RunArgs::default(), state.clone(), state).map(drop)
}

/// The policy of the configuration at `path`, or in its usual place, with all that settings outside of
/// `[policy]` say of offers.
pub fn policy(path: Option<&Path>) -> Outcome<Policy> {
    read(path).map(|(file, policy)| no_longer_than(file.max_wall, policy))
}

/// Reads the file.
fn read(path: Option<&Path>) -> Outcome<(Config, Policy)> {
    match config::File::find(ROLE, path)? {
        Some(file) => parse(&file),
        None => Ok((Config::default(), Policy::default())),
    }
}

/// A file that is wrong in any place has no policy that anybody should go by.
fn parse(file: &config::File) -> Outcome<(Config, Policy)> {
    let config: Config = file.parse()?;
    let policy = match &config.policy {
        Some(_) => Policy::read(&file.text).map_err(|error| {
            Failure::say(Exit::Input, format!("{}:{error}", file.path.display()))
                .hint("docs/operating/volunteer.md lists the facts of offers, with examples")
        })?,
        None => Policy::default(),
    };
    Ok((config, policy))
}
