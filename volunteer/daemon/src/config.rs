//! Settings: the file, and what flags and variables lay over it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use capability::{Clause, Policy, Resources, Runtime, format_bytes};
use mesh_net::{MIN_PACE, Multiaddr};
use mesh_shell::config::{Bytes, CommonArgs, Span};
use mesh_shell::{Exit, Failure, NetworkSettings, Outcome, config};
use serde::Deserialize;
use serde::de::IgnoredAny;

use volunteer_core::{GiveWay, Offline, Share};

use crate::amounts::{Amount, Cores, Percent};
use crate::arguments::RunArgs;
use crate::hours::Hours;
use crate::live::Watching;
use crate::probing::{MAX_OWN, OwnTool, Table};
use crate::runtimes::{Label, MAX_LABELS, Own};
use crate::sensors::Yields;

/// The role's name in paths.
pub const ROLE: &str = "volunteer";

/// Length of a machine's name in bytes, so that it fits into a fact.
const MAX_NAME: usize = 64;

/// Programs that are looked for while they run.
const MAX_PROGRAMS: usize = 32;

/// Bytes of memory and of disk space donated at least: below, hardly a module could run.
const MIN_DONATED: u64 = 16 << 20;

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
    /// Whether jobs stand still while the machine runs on its battery. Default: false.
    pause_on_battery: bool,
    /// Degrees Celsius from which jobs stand still. Default: any.
    max_temperature: Option<u8>,
    /// When the owner needs the machine, and what jobs may use then.
    in_use: InUse,
    /// Whether tasks are wanted that hold while the machine is out of reach. Default: `"auto"`.
    offline: OfflineSetting,
    /// Runtimes that may be offered.
    runtimes: Vec<Runtime>,
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
            pause_on_battery: false,
            max_temperature: None,
            in_use: InUse::default(),
            offline: OfflineSetting::default(),
            runtimes: vec![Runtime::Native, Runtime::Wasm],
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
    /// When jobs give way to the owner.
    pub yields: Yields,
    /// Whether tasks are wanted that hold while the machine is out of reach.
    pub offline: Offline,
    /// Runtimes that may be offered.
    pub runtimes: Vec<Runtime>,
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

/// What there is; `None` for what cannot be told.
#[derive(Debug, Clone, Copy)]
struct Machine {
    cores: Option<u32>,
    memory: Option<u64>,
    /// Free where the state directory is.
    disk: Option<u64>,
}

fn doubts(donated: Resources, machine: &Machine) -> Vec<String> {
    let bytes = |what: &str, donated: u64, there: Option<u64>, at_all: &str| {
        let there = there.filter(|there| *there < donated)?;
        let (donated, there) = (format_bytes(donated), format_bytes(there));
        Some(format!("`{what}` donates {donated}, and only {there} {at_all}"))
    };
    let cores = machine.cores.filter(|there| *there < donated.cores).map(|there| {
        format!("`cores` donates {}, and the machine has only {there}", donated.cores)
    });
    let memory = bytes("memory", donated.memory, machine.memory, "are in the machine");
    let disk = bytes("disk", donated.disk, machine.disk, "are free on the disk");
    [cores, memory, disk].into_iter().flatten().collect()
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

/// What `flags` over a file mean on this machine.
fn settle(
    (file, policy): (Config, Policy),
    flags: RunArgs,
    state: PathBuf,
    cache: PathBuf,
) -> Outcome<Settings> {
    let brokers = if flags.brokers.is_empty() {
        file.brokers.iter().map(|address| address.0.clone()).collect()
    } else {
        flags.brokers.clone()
    };
    let name = flags.name.clone().unwrap_or_else(|| file.name.clone());
    if name.len() > MAX_NAME || name.contains(char::is_control) {
        let message =
            format!("the name of the machine has control characters or over {MAX_NAME} bytes");
        return Err(Failure::say(Exit::Input, message).hint("choose a shorter one with --name"));
    }
    let donated = donated(&flags, &file, &state)?;
    let policy = no_longer_than(file.max_wall, policy);
    let yields = yields(&file, donated)?;
    Ok(Settings {
        http: flags.http.unwrap_or(file.http),
        table: table(file.tools)?,
        labels: few(file.labels)?,
        offline: offline(file.offline.0, file.network_hours.as_ref()),
        hours: file.hours,
        network_hours: file.network_hours,
        network_quota: file.network_quota.map(|bytes| bytes.0),
        network_down: pace("network-down", file.network_down)?,
        network_up: pace("network-up", file.network_up)?,
        runtimes: file.runtimes,
        watching: if flags.live.unwrap_or(file.live) {
            Watching::Allowed
        } else {
            Watching::Declined
        },
        cache,
        state,
        brokers,
        discover: file.discover,
        network: NetworkSettings::parse(file.network.as_deref(), file.network_list)?,
        donated,
        name,
        policy,
        yields,
    })
}

/// What is donated where the owner says nothing, in words of the file.
#[derive(Debug)]
pub struct Usual {
    /// Cores.
    pub cores: String,
    /// Memory.
    pub memory: String,
    /// Disk space.
    pub disk: String,
}

/// See [`Usual`]; the disk is that of the state directory `state`.
pub fn usual(state: &Path) -> Usual {
    let machine = machine(state);
    Usual {
        cores: "all-1".to_owned(),
        memory: format_bytes(half_of(machine.memory)),
        disk: format_bytes(some_of(machine.disk)),
    }
}

/// The policy of the configuration at `path`, or in its usual place, with all that settings outside of
/// `[policy]` say of offers.
pub fn policy(path: Option<&Path>) -> Outcome<Policy> {
    read(path).map(|(file, policy)| no_longer_than(file.max_wall, policy))
}

/// `max-wall` is a clause like any other, for owners who want no policy beside it.
fn no_longer_than(most: Option<Span>, mut policy: Policy) -> Policy {
    if let Some(Span(most)) = most {
        let fact = "duration".parse().expect("the name of a fact");
        policy.clauses.push(Clause::AtMost { fact, amount: most.as_secs() });
    }
    policy
}

/// A machine that is silent for hours every day is better given tasks that it may keep meanwhile.
fn offline(said: Offline, network_hours: Option<&Hours>) -> Offline {
    match said {
        Offline::Auto if network_hours.is_some() => Offline::Always,
        said => said,
    }
}

/// A pace that no other end takes for a standstill.
fn pace(setting: &str, given: Option<Bytes>) -> Outcome<Option<u64>> {
    match given {
        Some(Bytes(pace)) if pace < MIN_PACE => {
            let (pace, least) = (format_bytes(pace), format_bytes(MIN_PACE));
            let message = format!("`{setting}` is {pace} a second, at which a transfer stalls");
            Err(Failure::say(Exit::Input, message).hint(format!("say {least} or more")))
        }
        given => Ok(given.map(|bytes| bytes.0)),
    }
}

/// When jobs give way, of what is `donated`.
fn yields(file: &Config, donated: Resources) -> Outcome<Yields> {
    let InUse { away_after, load, programs, cores, memory } = &file.in_use;
    if programs.len() > MAX_PROGRAMS
        || programs.iter().any(|it| it.is_empty() || it.len() > MAX_NAME)
    {
        let message = format!(
            "`in-use.programs` names at most {MAX_PROGRAMS} programs, in at most {MAX_NAME} bytes each"
        );
        return Err(Failure::say(Exit::Input, message));
    }
    let there = self::cores().unwrap_or(1);
    let share = Share {
        cores: cores.map_or(donated.cores, |cores| cores.of(there)),
        memory: memory.map_or(donated.memory, |amount| amount.of(self::memory())),
    };
    let preferences = GiveWay {
        away_after: away_after.map(|Span(time)| time),
        load: load.map(Percent::get),
        ceiling: file.max_temperature.map(i16::from),
        meanwhile: (cores.is_some() || memory.is_some()).then_some(share),
    };
    Ok(Yields { preferences, on_battery: file.pause_on_battery, programs: programs.clone() })
}

fn donated(flags: &RunArgs, file: &Config, state: &Path) -> Outcome<Resources> {
    let machine = machine(state);
    let cores = flags.cores.or(file.cores).unwrap_or(Cores::AllBut(1));
    let bytes = |what, given: Option<Amount>, there, usual| match given {
        Some(given) => enough(what, given, there),
        None => Ok(usual),
    };
    let (memory, disk) = (flags.memory.or(file.memory), flags.disk.or(file.disk));
    Ok(Resources {
        cores: cores.of(machine.cores.unwrap_or(1)),
        memory: bytes("memory", memory, machine.memory, half_of(machine.memory))?,
        disk: bytes("disk", disk, disk_size(state), some_of(machine.disk))?,
    })
}

/// What `given` is of what is `there`, if any job could run with that.
fn enough(what: &str, given: Amount, there: Option<u64>) -> Outcome<u64> {
    let bytes = given.of(there);
    if bytes >= MIN_DONATED {
        return Ok(bytes);
    }
    let (bytes, least) = (format_bytes(bytes), format_bytes(MIN_DONATED));
    let message = format!("`{what}` donates {bytes}, with which no job could run");
    Err(Failure::say(Exit::Input, message).hint(format!("donate {least} or more")))
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

fn few(labels: BTreeSet<Label>) -> Outcome<BTreeSet<Label>> {
    if labels.len() > MAX_LABELS {
        let message = format!("`labels` has {} words", labels.len());
        return Err(
            Failure::say(Exit::Input, message).hint(format!("at most {MAX_LABELS} are told"))
        );
    }
    Ok(labels)
}

fn table(own: Vec<OwnTool>) -> Outcome<Table> {
    if own.len() > MAX_OWN {
        let message = format!("`tool` is there {} times", own.len());
        return Err(Failure::say(Exit::Input, message).hint(format!("at most {MAX_OWN} are added")));
    }
    let mut table = Table::built_in();
    for tool in own {
        table.add(tool).map_err(|why| {
            Failure::say(Exit::Input, why).hint("correct `[[tool]]` in the configuration")
        })?;
    }
    Ok(table)
}

fn half_of(memory: Option<u64>) -> u64 {
    /// Where it cannot be told: what a job takes by default.
    const GUESS: u64 = 1 << 30;
    memory.map_or(GUESS, |memory| memory / 2)
}

fn some_of(disk_free: Option<u64>) -> u64 {
    (disk_free.unwrap_or_default() / 2).min(8 << 30)
}

fn machine(state: &Path) -> Machine {
    Machine { cores: cores(), memory: memory(), disk: disk_free(state) }
}

fn cores() -> Option<u32> {
    u32::try_from(std::thread::available_parallelism().ok()?.get()).ok()
}

fn memory() -> Option<u64> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    Some(system.total_memory())
}

fn disk_free(state: &Path) -> Option<u64> {
    mesh_store::disk_free(existing(state)).ok()
}

/// Bytes of the whole disk that `state` is on.
fn disk_size(state: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(existing(state)).ok()?;
    found.f_blocks.checked_mul(found.f_frsize)
}

/// The directory itself may not be there yet.
fn existing(state: &Path) -> &Path {
    state.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_in_deploy_states_the_defaults() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/volunteer.toml");
        let example: Config = config::load(ROLE, Some(path.as_ref())).expect("it is sound");
        assert_eq!(format!("{example:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn the_template_says_the_defaults_and_is_sound_in_full() {
        let plain: Config = toml::from_str(TEMPLATE).expect("all commented out");
        assert_eq!(plain.http, Config::default().http);

        let text: String = TEMPLATE
            .lines()
            .filter_map(|line| line.strip_prefix('#'))
            .filter(|line| !line.starts_with(' '))
            .map(|line| format!("{line}\n"))
            .collect();
        let all: Config = toml::from_str(&text).expect("every setting of the template");
        assert_eq!(all.memory, Some(Amount::Bytes(2 << 30)));
        assert_eq!(all.runtimes, Config::default().runtimes);
        assert_eq!((all.brokers.len(), all.labels.len(), all.tools.len()), (1, 1, 1));
        assert!(all.hours.is_some());
        let policy = Policy::read(&text).expect("its policy");
        assert_eq!((policy.clauses.len(), policy.rank.len()), (1, 1));
    }

    #[test]
    fn the_policies_that_are_shown_as_examples_are_sound() {
        let at = |path: &str| concat!(env!("CARGO_MANIFEST_DIR"), "/../../").to_owned() + path;
        let deploy = std::fs::read_to_string(at("deploy/volunteer.toml")).expect("it is there");
        let (_, commented) = deploy.split_once("\n#[policy]\n").expect("it has a policy");
        let policy = format!("[policy]\n{}", commented.replace('#', ""));
        let policy = Policy::read(&policy).unwrap_or_else(|error| panic!("{policy}{error}"));
        assert_eq!((policy.clauses.len(), policy.rank.len()), (2, 1));

        let page = std::fs::read_to_string(at("docs/operating/volunteer.md")).expect("it is there");
        let blocks = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
        let policies: Vec<_> = blocks.filter(|block| block.contains("[policy]")).collect();
        assert_eq!(policies.len(), 3);
        for text in policies {
            let policy = Policy::read(text).unwrap_or_else(|error| panic!("{text}{error}"));
            assert!(!policy.clauses.is_empty(), "{text}");
            toml::from_str::<Config>(text).expect(text);
        }
    }

    #[test]
    fn more_than_there_is_gets_a_warning() {
        let donated = Resources { cores: 4, memory: 4 << 30, disk: 4 << 30 };
        let exact = Machine { cores: Some(4), memory: Some(4 << 30), disk: Some(4 << 30) };
        assert_eq!(doubts(donated, &exact), [""; 0]);
        let unknown = Machine { cores: None, memory: None, disk: None };
        assert_eq!(doubts(donated, &unknown), [""; 0]);
        let small = Machine { cores: Some(2), memory: Some(1 << 30), disk: Some(2 << 30) };
        let expected = [
            "`cores` donates 4, and the machine has only 2",
            "`memory` donates 4 GiB, and only 1 GiB are in the machine",
            "`disk` donates 4 GiB, and only 2 GiB are free on the disk",
        ];
        assert_eq!(doubts(donated, &small), expected);
    }

    #[test]
    fn tools_and_labels_are_few() {
        let tools = |count: usize| {
            let own = |number| toml::from_str(&format!("name = \"own{number}\"")).expect("a tool");
            table((0..count).map(own).collect())
        };
        let built_in = Table::built_in().iter().count();
        assert_eq!(tools(MAX_OWN).expect("allowed").iter().count(), built_in + MAX_OWN);
        assert!(tools(MAX_OWN + 1).expect_err("too many").to_string().contains("65 times"));
        let labels = |count: usize| {
            let text =
                format!("labels = {:?}", (0..count).map(|it| it.to_string()).collect::<Vec<_>>());
            few(toml::from_str::<Config>(&text).expect("labels").labels)
        };
        assert_eq!(labels(MAX_LABELS).expect("allowed").len(), MAX_LABELS);
        assert!(labels(MAX_LABELS + 1).expect_err("too many").to_string().contains("33 words"));
    }

    #[test]
    fn what_no_machine_could_do_is_refused_with_what_would_do() {
        let refused = |text: &str| check(Path::new("x.toml"), text).expect_err(text).to_string();
        let expected = "`network-up` is 1 KiB a second, at which a transfer stalls";
        assert!(refused("network-up = \"1 KiB\"").starts_with(expected));
        let expected = "`memory` donates 1 KiB, with which no job could run";
        assert!(refused("memory = \"1 KiB\"").starts_with(expected));
        check(Path::new("x.toml"), "network-down = \"16 KiB\"\nmemory = \"50%\"").expect("sound");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let check = |text: &str, expected: &str| {
            let error = toml::from_str::<Config>(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("croes = 2", "unknown field `croes`");
        check("cores = 0", "from 1 to 4096");
        check("cores = \"all+1\"", "is not a number of cores");
        check("memory = \"two\"", "is not an amount of bytes");
        check("brokers = [\"example.org:4077\"]", "is not the address of a broker");
        check("labels = [\"Lab\"]", "\"Lab\" is no label");
        check("hours = \"at night\"", "\"at night\" is not hours of the day");
        check("[[tool]]\nname = \"frob\"\npattern = '('", "unclosed group");
    }
}
