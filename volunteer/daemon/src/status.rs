//! What the daemon says about itself: one document, of which each command shows a part.

use std::collections::BTreeMap;

use capability::statements::{Receipt, Verdict};
use capability::{BlobHash, Fact, FactName, ProjectKey, Resources, Runtime, StatementId};
use serde::{Deserialize, Serialize};
use volunteer_core::{CheckView, Decline, Declined, Idle, Quiet, Volunteer};

use crate::config::Settings;
use crate::in_hand::{self, JobStatus};
use crate::job::Executor;
use crate::runtimes::Probe;
use crate::sensors::SensorStatus;

/// Receipts shown at most, the newest.
const MAX_RECEIPTS_SHOWN: usize = 100;

/// The whole document.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// The volunteer's public key.
    pub key: String,
    /// The machine's name.
    pub name: String,
    /// The owner key that vouches for the machine, while it does.
    #[serde(default)]
    pub owner: Option<String>,
    /// What is donated.
    pub donated: Resources,
    /// Bytes free on the disk of the state directory.
    pub disk_free: u64,
    /// Whether the owner has paused.
    pub paused: bool,
    /// Bytes that have passed over the network this month.
    #[serde(default)]
    pub traffic: TrafficStatus,
    /// Why jobs give way to the owner, wholly or in part; nothing, if they need not.
    #[serde(default)]
    pub gives_way_to: Vec<String>,
    /// What is wrong with the configuration file as it is now; the former settings hold.
    #[serde(default)]
    pub config_complaint: Option<String>,
    /// Settings that were changed and hold from the next start on.
    #[serde(default)]
    pub waits_for_restart: Vec<String>,
    /// The settings that need a sensor, and what they look at.
    #[serde(default)]
    pub sensors: Vec<SensorStatus>,
    /// Whether tasks are wanted that hold while the machine is out of reach.
    #[serde(default)]
    pub seldom_online: bool,
    /// Connected brokers, the primary first.
    pub brokers: Vec<String>,
    /// Addresses of brokers that are dialled.
    pub broker_addresses: usize,
    /// The runtimes, offered or not.
    pub runtimes: Vec<RuntimeStatus>,
    /// Why nothing runs, if nothing does.
    pub idle: Option<Advice>,
    /// What keeps the machine from taking more work, if anything does; it may be busy all the same.
    pub obstacle: Option<Advice>,
    /// The tasks in hand.
    pub jobs: Vec<JobStatus>,
    /// Tasks that somebody has brought as a file, and that have not begun.
    #[serde(default)]
    pub brought_waiting: usize,
    /// What is fetched ahead, if the owner wants that.
    #[serde(default)]
    pub work_buffer: Option<BufferStatus>,
    /// Results that wait for their receipts.
    pub undelivered: usize,
    /// Trusted projects.
    pub projects: Vec<ProjectStatus>,
    /// Offers that are not taken.
    pub declined: Vec<DeclinedStatus>,
    /// The newest receipts, the newest first.
    pub receipts: Vec<ReceiptStatus>,
}

/// A reason, and what one can do about it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Advice {
    /// The reason.
    pub reason: String,
    /// What to do; may be empty.
    pub hint: String,
}

/// What has passed over the network this month, in the time of Greenwich.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct TrafficStatus {
    /// Bytes of packages that came.
    pub down: u64,
    /// Bytes of blobs that went with results.
    pub up: u64,
    /// Bytes that may pass in all.
    pub quota: Option<u64>,
}

/// One runtime.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RuntimeStatus {
    /// Its name.
    pub runtime: Runtime,
    /// What keeps jobs in, if it is offered.
    pub strength: Option<String>,
    /// Why it is not offered.
    pub reason: Option<String>,
    /// What jobs find in it.
    pub facts: BTreeMap<String, String>,
}

/// One trusted project.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProjectStatus {
    /// Its key.
    pub project: String,
    /// What the owner calls it.
    pub name: String,
    /// Whether the owner still trusts it.
    pub trusted: bool,
    /// The list by which it is trusted, if it is by one.
    #[serde(default)]
    pub list: Option<String>,
    /// Results that it has accepted.
    pub accepted: u64,
    /// Results that did not count.
    pub rejected: u64,
    /// Core-milliseconds that it has credited.
    pub credit: u64,
    /// What it has tried on this machine, or wants to.
    pub checks: Vec<CheckStatus>,
}

/// One check of a trusted project.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CheckStatus {
    /// Its name.
    pub name: String,
    /// In which runtime it runs.
    pub runtime: Runtime,
    /// The name of the fact that it finds.
    pub fact: FactName,
    /// The facts on whose change it runs again.
    pub depends: Vec<FactName>,
    /// What the ad says of it.
    pub value: Option<Fact>,
    /// Why the ad says nothing.
    pub reason: Option<String>,
    /// When it ran, as RFC 3339, if it need not run again as things are.
    pub at: Option<String>,
}

/// Work for times without a connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BufferStatus {
    /// Seconds of the whole machine that are wanted.
    pub wanted_seconds: u64,
    /// Seconds of the whole machine that what is in hand takes, as far as can be told.
    pub work_seconds: u64,
    /// Tasks that were fetched ahead and have not begun.
    pub waiting: usize,
}

/// One offer that is not taken.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeclinedStatus {
    /// The offer.
    pub offer: StatementId,
    /// The job's name.
    pub name: String,
    /// Its project.
    pub project: String,
    /// What the project calls itself.
    pub project_name: Option<String>,
    /// Why, and what to do.
    #[serde(flatten)]
    pub advice: Advice,
}

/// One receipt.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReceiptStatus {
    /// The project.
    pub project: String,
    /// The result.
    pub result: StatementId,
    /// The offer.
    pub offer: StatementId,
    /// The task's number.
    pub task: u32,
    /// `accepted`, `rejected` or `again`.
    pub verdict: String,
    /// Why, unless it was accepted.
    pub reason: String,
    /// Core-milliseconds credited.
    pub credit: u64,
    /// When, as RFC 3339.
    pub issued: String,
}

impl CheckStatus {
    /// What has come of it, for people.
    pub fn outcome(&self) -> String {
        let Self { name, value, reason, at, .. } = self;
        let at = at.as_ref().map(|at| format!(" ({at})")).unwrap_or_default();
        match (value, reason) {
            (Some(value), _) => format!("{name} = {value}{at}"),
            (None, reason) => {
                format!("{name} says nothing: {}{at}", reason.as_deref().unwrap_or_default())
            }
        }
    }
}

impl ProjectStatus {
    /// The owner's own word for it, or its key.
    pub fn title(&self) -> &str {
        if self.name.is_empty() { &self.project } else { &self.name }
    }
}

/// Everything about `core` now.
pub fn status(
    core: &Volunteer,
    key: &str,
    settings: &Settings,
    probes: &[Probe],
    disk_free: u64,
    broker_addresses: usize,
    executor: &dyn Executor,
) -> Status {
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        key: key.to_owned(),
        name: settings.name.clone(),
        owner: core.owner().map(|owner| owner.to_string()),
        donated: settings.donated,
        disk_free,
        paused: core.is_paused(),
        traffic: TrafficStatus {
            down: core.traffic().down,
            up: core.traffic().up,
            quota: settings.network_quota,
        },
        gives_way_to: core.gives_way_to().map(ToString::to_string).collect(),
        config_complaint: None,
        waits_for_restart: Vec::new(),
        sensors: Vec::new(),
        seldom_online: core.is_seldom_online(),
        brokers: core.brokers().iter().map(ToString::to_string).collect(),
        broker_addresses,
        runtimes: probes.iter().map(runtime).collect(),
        idle: core.idle().map(|idle| advice(&idle, settings)),
        obstacle: core.obstacle().map(|obstacle| advice(&obstacle, settings)),
        jobs: core.jobs().map(|job| in_hand::status(core, &job, executor)).collect(),
        brought_waiting: core.brought_waiting(),
        work_buffer: work_buffer(core),
        undelivered: core.undelivered(),
        projects: projects(core),
        declined: core.declined().map(declined).collect(),
        receipts: core.receipts().rev().take(MAX_RECEIPTS_SHOWN).map(|it| receipt(it)).collect(),
    }
}

/// One runtime, as the probe found it.
pub fn runtime(probe: &Probe) -> RuntimeStatus {
    let facts = probe.found.iter().flat_map(|found| found.facts.iter());
    RuntimeStatus {
        runtime: probe.runtime.clone(),
        strength: probe.found.as_ref().ok().map(|found| found.strength.clone()),
        reason: probe.found.as_ref().err().cloned(),
        facts: facts.map(|(name, fact)| (name.to_string(), fact.to_string())).collect(),
    }
}

fn work_buffer(core: &Volunteer) -> Option<BufferStatus> {
    let (wanted, work) = core.work_buffer();
    let (wanted_seconds, work_seconds) = (wanted.as_secs(), work.as_secs());
    let waiting = core.ahead_waiting();
    let status = BufferStatus { wanted_seconds, work_seconds, waiting };
    (wanted_seconds > 0 || waiting > 0).then_some(status)
}

fn projects(core: &Volunteer) -> Vec<ProjectStatus> {
    let mut projects: BTreeMap<_, _> = core.totals().map(|(key, total)| (*key, *total)).collect();
    for pin in core.trust().pins() {
        projects.entry(pin.project).or_default();
    }
    let status = |(project, total): (ProjectKey, volunteer_core::Total)| {
        let pin = core.trust().pin(&project);
        ProjectStatus {
            project: project.to_string(),
            name: pin.map(|pin| pin.name.clone()).unwrap_or_default(),
            trusted: pin.is_some(),
            list: pin.and_then(|pin| Some(pin.voucher.as_ref()?.list.clone())),
            accepted: total.accepted,
            rejected: total.rejected,
            credit: total.credit.0,
            checks: core.checks().filter(|it| it.project == project).map(check).collect(),
        }
    };
    projects.into_iter().map(status).collect()
}

fn check(check: CheckView<'_>) -> CheckStatus {
    let CheckView { check, fact, value, at, .. } = check;
    let (value, reason) = match value {
        Ok(value) => (Some(value), None),
        Err(reason) => (None, Some(reason)),
    };
    CheckStatus {
        name: check.name.clone(),
        runtime: check.runtime.clone(),
        fact,
        depends: check.depends.clone(),
        value,
        reason,
        at: at.map(|at| at.to_string()),
    }
}

fn declined(declined: &Declined) -> DeclinedStatus {
    let Declined { offer, name, project, project_name, reason, .. } = declined;
    DeclinedStatus {
        offer: *offer,
        name: name.clone(),
        project: project.to_string(),
        project_name: project_name.clone(),
        advice: Advice { reason: reason.to_string(), hint: decline_hint(reason, *project) },
    }
}

/// What to do about an offer of `project` that is declined for `reason`.
pub fn decline_hint(reason: &Decline, project: ProjectKey) -> String {
    match reason {
        Decline::NotPinned => {
            format!("if you trust it: talkoot-volunteer project add talkoot:{project}")
        }
        Decline::NotPermitted(_) => {
            format!(
                "to permit it: talkoot-volunteer project add talkoot:{project} --allow native,wasm"
            )
        }
        Decline::OutOfReach(_) => {
            format!(
                "to permit it: talkoot-volunteer project set talkoot:{project} --network with what it may reach"
            )
        }
        Decline::Repository(_) => {
            "to permit it: name it in `image-repositories` of the configuration".to_owned()
        }
        Decline::Denied(_) => "see `job-network-deny` in the configuration".to_owned(),
        Decline::Unmatched(_) => {
            "see what jobs find on this machine: talkoot-volunteer doctor".to_owned()
        }
        Decline::Limit { resource, .. } => format!("donate more with --{resource}"),
        Decline::Quota { .. } => "wait for the next month, or raise `network-quota`".to_owned(),
        Decline::Beyond(_) => {
            format!(
                "to let it: talkoot-volunteer project set talkoot:{project} with another --max-… or \
                 --builders"
            )
        }
        Decline::TooSoon { .. } => {
            format!("to let it: talkoot-volunteer project set talkoot:{project} --every")
        }
        Decline::ListOver { .. } => {
            "ask the curator for a newer list, or trust the project itself: project add".to_owned()
        }
        Decline::CuratorVoid { .. } => {
            "ask the curator for the new key; talkoot-volunteer list remove ends this list"
                .to_owned()
        }
        Decline::OffHours => {
            format!("to let it: talkoot-volunteer project set talkoot:{project} --hours")
        }
        Decline::Policy(_) => "to see what you want: talkoot-volunteer policy".to_owned(),
        Decline::Revoked(_) => {
            "nothing: its project has revoked it, or you have in projects.toml".to_owned()
        }
        Decline::Unconfirmed => {
            "wait; if it stays so, your brokers may be too old to tell: name others".to_owned()
        }
        Decline::NotForUs => {
            "its project can name this machine when it offers the job again: talkoot-volunteer \
             status shows its key"
                .to_owned()
        }
        Decline::HomeUnseen { .. } => {
            "nothing: your machine takes it when there is a way again".to_owned()
        }
        Decline::WrongHome
        | Decline::SignerMismatch
        | Decline::OfferNotCurrent(_)
        | Decline::HomeNotCurrent(_)
        | Decline::Package => "nothing: it is the project's or the broker's to correct".to_owned(),
    }
}

/// One receipt.
pub fn receipt(receipt: &Receipt) -> ReceiptStatus {
    let (verdict, reason, credit) = verdict(&receipt.verdict);
    ReceiptStatus {
        project: receipt.project.to_string(),
        result: receipt.result,
        offer: receipt.task.offer,
        task: receipt.task.task,
        verdict: verdict.to_owned(),
        reason: reason.to_owned(),
        credit,
        issued: receipt.issued.to_string(),
    }
}

/// The verdict's word, its reason, and the credit.
pub fn verdict(verdict: &Verdict) -> (&'static str, &str, u64) {
    match verdict {
        Verdict::Accepted(credit) => ("accepted", "", credit.0),
        Verdict::Rejected(reason) => ("rejected", reason, 0),
        Verdict::Again(reason) => ("again", reason, 0),
    }
}

/// The reason for idleness, and what to do.
pub fn advice(idle: &Idle, settings: &Settings) -> Advice {
    if *idle == Idle::NoRuntime && settings.runtimes.is_empty() {
        return no_runtimes();
    }
    Advice { reason: idle.to_string(), hint: idle_hint(idle).to_owned() }
}

/// What is to be said where `runtimes` is empty.
pub fn no_runtimes() -> Advice {
    Advice {
        reason: "the owner has switched off all runtimes".to_owned(),
        hint: "name some in `runtimes` of the configuration".to_owned(),
    }
}

fn idle_hint(idle: &Idle) -> &'static str {
    match idle {
        Idle::Paused(_) => "talkoot-volunteer resume",
        Idle::GivesWay(_) => {
            "wait until you need it less; `in-use`, `pause-on-battery` and `max-temperature` in the \
             configuration say when"
        }
        Idle::QuotaUsed(_) => "see `network-quota` in the configuration",
        Idle::Quiet(Quiet::Hours) => "see `network-hours` in the configuration",
        Idle::Draining(_) | Idle::Probing | Idle::NotAdvertised => "wait",
        Idle::MakesRoom { .. } => {
            "nothing: it is owed as much; talkoot-volunteer project set changes weights"
        }
        Idle::AdRefused(_) => "correct what the reason says; `date` shows this machine's clock",
        Idle::OffDuty => "see `hours` in the configuration",
        Idle::NoRuntime => "talkoot-volunteer doctor says what each of them lacks",
        Idle::NoPins => "talkoot-volunteer project add <URI that the project publishes>",
        Idle::NoBroker => "check the addresses of brokers in the configuration, and the network",
        Idle::DiskLow { .. } | Idle::DiskShort { .. } => {
            "make room on the disk of the state directory"
        }
        Idle::Backlog { .. } => {
            "wait: they are sent again until their masters, or the brokers between, are back"
        }
        Idle::BacksOff { .. } => {
            "correct what the reason says; then wait, or start the daemon anew"
        }
        Idle::NothingSuits { declined: 0, .. } => {
            "the broker offers what this machine can run; a master's `results` shows what a job lacks"
        }
        Idle::NothingSuits { .. } => {
            "talkoot-volunteer why lists the offers declined; what this machine cannot run is not \
             offered to it, and a master's `results` shows what a job lacks"
        }
    }
}

/// The network's and the store's name of a blob.
pub fn blob_name(hash: &BlobHash) -> blake3::Hash {
    blake3::Hash::from_bytes(*hash.as_bytes())
}
