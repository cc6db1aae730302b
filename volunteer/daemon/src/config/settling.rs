//! What the file and the flags mean on this machine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use capability::{Clause, Denied, MAX_DESTINATIONS, Policy, Repositories, Resources, format_bytes};
use mesh_net::MIN_PACE;
use mesh_shell::config::{Bytes, Span};
use mesh_shell::{Exit, Failure, NetworkSettings, Outcome};
use volunteer_core::{GiveWay, MAX_WORK_BUFFER, Offline, Share};

use super::machine::{self, disk_size, half_of, machine, some_of};
use super::{Config, ImageEngine, InUse, Settings};
use crate::amounts::{Amount, Cores, Percent};
use crate::arguments::RunArgs;
use crate::hours::Hours;
use crate::images::{Engine, Program};
use crate::live::Watching;
use crate::probing::{MAX_OWN, OwnTool, Table};
use crate::runtimes::{JobNetwork, Label, MAX_LABELS};
use crate::sensors::Yields;

/// Length of a machine's name in bytes, so that it fits into a fact.
const MAX_NAME: usize = 64;

/// Programs that are looked for while they run.
const MAX_PROGRAMS: usize = 32;

/// Repositories that are permitted: people read the list.
const MAX_REPOSITORIES: usize = 64;

/// Bytes of memory and of disk space donated at least: below, hardly a module could run.
const MIN_DONATED: u64 = 16 << 20;

/// What `flags` over a file mean on this machine.
pub(super) fn settle(
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
    let (network_down, network_up) =
        (pace("network-down", file.network_down)?, pace("network-up", file.network_up)?);
    Ok(Settings {
        http: flags.http.unwrap_or(file.http),
        table: table(file.tools)?,
        labels: few(file.labels)?,
        offline: offline(file.offline.0, file.network_hours.as_ref()),
        work_buffer: work_buffer(file.work_buffer, file.offline.0)?,
        hours: file.hours,
        network_hours: file.network_hours,
        network_quota: file.network_quota.map(|bytes| bytes.0),
        network_down,
        network_up,
        job_network: JobNetwork { allowed: file.job_network, down: network_down, up: network_up },
        job_network_deny: denied(&file.job_network_deny)?,
        runtimes: file.runtimes,
        image_cache: file.image_cache.0,
        image_engine: engine(file.image_engine, file.image_pull),
        image_repositories: repositories(&file.image_repositories)?,
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

/// `max-wall` is a clause like any other, for owners who want no policy beside it.
pub(super) fn no_longer_than(most: Option<Span>, mut policy: Policy) -> Policy {
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

/// Work for times without a connection, which is held as such work is.
fn work_buffer(wanted: Option<Span>, offline: Offline) -> Outcome<Duration> {
    let wanted = wanted.map(|Span(wanted)| wanted).unwrap_or_default();
    let refused = |message: &str| Failure::say(Exit::Input, message.to_owned());
    if wanted > MAX_WORK_BUFFER {
        return Err(refused("`work-buffer` is over 14 days").hint("say \"14d\" or less"));
    }
    if !wanted.is_zero() && offline == Offline::Never {
        return Err(refused("`work-buffer` fetches tasks that `offline = false` forbids")
            .hint("leave `offline` out, or `work-buffer`"));
    }
    Ok(wanted)
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

/// What no job reaches.
fn denied(written: &[String]) -> Outcome<Vec<Denied>> {
    let refused = |why: String| Failure::say(Exit::Input, format!("`job-network-deny`: {why}"));
    if written.len() > MAX_DESTINATIONS {
        return Err(refused(format!("at most {MAX_DESTINATIONS} hosts can be denied")));
    }
    let read = |text: &String| text.parse::<Denied>().map_err(|error| refused(error.to_string()));
    written.iter().map(read).collect()
}

/// What images are had from that come with no package.
fn engine(said: ImageEngine, pulls: bool) -> Option<Engine> {
    let program = match said {
        ImageEngine::None => return None,
        ImageEngine::Podman => Program::Podman,
        ImageEngine::Docker => Program::Docker,
    };
    Some(Engine { program, pulls })
}

/// Of which jobs may have images that come with no package.
fn repositories(written: &[String]) -> Outcome<Vec<Repositories>> {
    let refused = |why: String| {
        Failure::say(Exit::Input, format!("`image-repositories`: {why}")).hint(
            "write \"docker.io/library/debian\", or \"docker.io/library/*\" for all below that",
        )
    };
    if written.len() > MAX_REPOSITORIES {
        return Err(refused(format!("at most {MAX_REPOSITORIES} are permitted")));
    }
    let read =
        |text: &String| text.parse::<Repositories>().map_err(|error| refused(error.to_string()));
    written.iter().map(read).collect()
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
    let there = machine::cores().unwrap_or(1);
    let share = Share {
        cores: cores.map_or(donated.cores, |cores| cores.of(there)),
        memory: memory.map_or(donated.memory, |amount| amount.of(machine::memory())),
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

pub(super) fn few(labels: BTreeSet<Label>) -> Outcome<BTreeSet<Label>> {
    if labels.len() > MAX_LABELS {
        let message = format!("`labels` has {} words", labels.len());
        return Err(
            Failure::say(Exit::Input, message).hint(format!("at most {MAX_LABELS} are told"))
        );
    }
    Ok(labels)
}

pub(super) fn table(own: Vec<OwnTool>) -> Outcome<Table> {
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
