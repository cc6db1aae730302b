//! When the checks of trusted projects run, and what the ad says of what they have found.
//!
//! A check is due when its project is trusted, may use its runtime, its key is not void, and it has not
//! run yet with the facts that it depends on as they are now. It begins only if a broker has told
//! lately that the key holds. What it has found is durable with its **basis**, a hash
//! of the check and of those facts, so that a restart runs nothing again. One check runs at a time,
//! within what is donated: it takes the next core that is free, before any new job.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::statements::Check;
use capability::{
    BlobHash, Capabilities, CborError, Fact, FactName, Facts, Limits, ProjectKey, Resources,
    Runtime, Timestamp, decode_cbor, encode_cbor,
};
use mesh_core::{Mono, Write};
use serde::{Deserialize, Serialize};

use crate::action::{Action, CheckEnd, CheckOrder, News};
use crate::backoff::Backoff;
use crate::check_finding::CheckFinding;
use crate::volunteer::{DISK_RESERVE, Volunteer};
use crate::working::MAX_RECORD;

/// First byte of the keys of what checks have found.
pub(crate) const CHECK_PREFIX: u8 = b'k';

/// What ends a check before its time (S36), unless less is donated.
const LIMITS: Limits = Limits {
    wall_ms: 10_000,
    memory: 256 << 20,
    disk: 16 << 20,
    output: 64 << 10,
    processes: 64,
    fuel: None,
};

/// Bytes of the ad that all checks' facts have together, a quarter of it: what projects make their
/// checks say must not keep a machine from advertising.
const MAX_STATED: usize = 16 << 10;
/// Bytes of an encoded fact beside its name and its text, at most.
const FACT_OVERHEAD: usize = 16;

/// Until a check that could not be run is tried again. Most often it has stopped for a pause.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(10 * 60);

type Key = (ProjectKey, String);

/// The checks of trusted projects.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    done: BTreeMap<Key, Done>,
    due: BTreeMap<Key, Due>,
    running: Option<Running>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Done {
    basis: BlobHash,
    finding: CheckFinding,
    at: Timestamp,
}

#[derive(Debug)]
struct Due {
    check: Check,
    basis: BlobHash,
    tries: Backoff,
    /// Why it could not be run; empty before it was tried.
    reason: String,
}

#[derive(Debug)]
struct Running {
    key: Key,
    basis: BlobHash,
    takes: Resources,
    stopping: bool,
}

/// A check of a trusted project, as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckView<'v> {
    /// Whose it is.
    pub project: ProjectKey,
    /// As the project has registered it.
    pub check: &'v Check,
    /// The name of what it finds.
    pub fact: FactName,
    /// What the ad says, or why it says nothing.
    pub value: Result<Fact, String>,
    /// When it ran, if it need not run again as things are.
    pub at: Option<Timestamp>,
}

impl Checks {
    /// Takes up again what a former process had made durable.
    pub fn restore(&mut self, value: &[u8]) -> Result<(), CborError> {
        let (project, name, done) = decode_cbor(value, MAX_RECORD)?;
        self.done.insert((project, name), done);
        Ok(())
    }

    /// What is left of `donated` beside the check that runs.
    pub fn spare(&self, donated: Resources) -> Resources {
        let takes = self.running.as_ref().map_or(Resources::default(), |it| it.takes);
        Resources {
            cores: donated.cores.saturating_sub(takes.cores),
            memory: donated.memory.saturating_sub(takes.memory),
            disk: donated.disk.saturating_sub(takes.disk),
        }
    }

    /// Cores that the check takes that runs.
    pub fn cores(&self) -> u32 {
        self.running.as_ref().map_or(0, |it| it.takes.cores)
    }

    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// When a check that could not be run may be tried again.
    pub fn next_wake(&self, now: Mono) -> Option<Mono> {
        self.due.values().map(|due| due.tries.not_before).filter(|at| *at > now).min()
    }

    fn is_due(&self, key: &Key, basis: BlobHash) -> bool {
        self.due.get(key).is_some_and(|due| due.basis == basis)
    }
}

impl Volunteer {
    /// Registrations, pins, keys or what was measured have changed: works out anew what is due, and what
    /// the ad says.
    pub(crate) fn checks_changed(&mut self) {
        self.forget_findings();
        let Some(mut machine) = self.measured.clone() else { return };
        let (mut due, mut room) = (BTreeMap::new(), MAX_STATED);
        for (project, check) in self.registrations.checks() {
            let Ok(facts) = self.may_run(project, check) else { continue };
            let (key, basis) = ((project, check.name.clone()), basis(check, facts));
            match self.checks.done.get(&key).filter(|done| done.basis == basis) {
                Some(Done { finding: CheckFinding::Value(value), .. }) => {
                    state(&mut machine, &check.runtime, check.fact(project), value, &mut room);
                }
                Some(_) => {}
                None => {
                    let before = self.checks.due.remove(&key).filter(|due| due.basis == basis);
                    let fresh = || Due::new(check.clone(), basis);
                    due.insert(key, before.unwrap_or_else(fresh));
                }
            }
        }
        self.checks.due = due;
        self.stop_check_unless(|checks, running| checks.is_due(&running.key, running.basis));
        if self.machine.as_ref() != Some(&machine) {
            self.machine = Some(machine);
            self.reconsider();
            self.ad.drop_taken();
        }
    }

    /// Forgets what checks have found that their projects do not have any more.
    fn forget_findings(&mut self) {
        let there = self.registrations.checks();
        let there: BTreeSet<_> =
            there.map(|(project, check)| (project, check.name.as_str())).collect();
        let is_gone = |(project, name): &Key| !there.contains(&(*project, name.as_str()));
        let gone = self.checks.done.extract_if(.., |key, _| is_gone(key));
        let writes: Vec<_> = gone.map(|(key, _)| Write::delete(record_key(&key))).collect();
        if !writes.is_empty() {
            self.commit(writes, Vec::new());
        }
    }

    /// The facts that a job of `project` finds in the runtime of `check`, or why the check does not
    /// run.
    fn may_run(&self, project: ProjectKey, check: &Check) -> Result<&Facts, &'static str> {
        // A module could only come with a package.
        if check.runtime != Runtime::Native {
            return Err("checks can run in the native runtime only");
        }
        if self.is_void(project) {
            return Err("the project has revoked its key");
        }
        if !self.trust.permits(&project, &check.runtime) {
            return Err("the project may not use its runtime here");
        }
        let measured = self.measured.as_ref().ok_or("the machine is still being probed")?;
        let runtime = measured.runtimes.get(&check.runtime);
        runtime.map(|runtime| &runtime.facts).ok_or("its runtime does not work here")
    }

    /// Starts the next check if there is room for it. What is claimed may take all that is free.
    pub(crate) fn run_checks(&mut self) {
        let Some(machine) = self.machine.as_ref().filter(|_| self.may_check()) else { return };
        let limits = limits(machine.resources);
        let takes = Resources { cores: 1, memory: limits.memory, disk: limits.disk };
        let free = self.work.free(self.lent().unwrap_or_default());
        if free.cores < takes.cores || free.memory < takes.memory || free.disk < takes.disk {
            return;
        }
        let Some((key, due)) = self.next_check() else { return };
        let running = Running { key: key.clone(), basis: due.basis, takes, stopping: false };
        let order = CheckOrder { project: key.0, check: due.check.clone(), limits };
        self.checks.running = Some(running);
        self.outbox.push(Action::RunCheck(order));
    }

    fn may_check(&self) -> bool {
        self.wishes.are_none()
            && !self.stands_still()
            && !self.off_duty
            && self.disk_free >= DISK_RESERVE
            && !self.fetching.is_claiming()
    }

    fn next_check(&self) -> Option<(&Key, &Due)> {
        let mut due = self.checks.due.iter().filter(|_| !self.checks.is_running());
        due.find(|((project, _), due)| {
            due.tries.is_over(self.now.mono) && self.is_confirmed(*project)
        })
    }

    /// Whether a broker has told lately that the key of `project` holds, as is wanted of claims.
    fn is_confirmed(&self, project: ProjectKey) -> bool {
        self.keys.is_confirmed(project.into(), self.now)
    }

    pub(crate) fn checked(&mut self, end: CheckEnd) {
        let Some(Running { key, basis, .. }) = self.checks.running.take() else { return };
        self.resources_freed();
        if !self.checks.is_due(&key, basis) {
            return;
        }
        let finding = match end {
            CheckEnd::Passed(output) => CheckFinding::read(&output),
            CheckEnd::Failed(reason) => CheckFinding::Nothing(reason),
            CheckEnd::NotRun(reason) => return self.not_checked(&key, reason),
        };
        let (project, check) = key.clone();
        self.news(News::Checked { project, check, finding: finding.clone() });
        let done = Done { basis, finding, at: self.now.wall };
        let record = encode_cbor(&(&key.0, &key.1, &done));
        self.commit(vec![Write::put(record_key(&key), record)], Vec::new());
        self.checks.done.insert(key, done);
        self.checks_changed();
    }

    fn not_checked(&mut self, key: &Key, reason: String) {
        let Some(due) = self.checks.due.get_mut(key) else { return };
        due.tries.fail(self.now.mono, FIRST_WAIT, LONGEST_WAIT);
        due.reason = reason;
    }

    /// Stops the check that runs; it is tried again if it is still due.
    pub(crate) fn stop_check(&mut self) {
        self.stop_check_unless(|_, _| false);
    }

    fn stop_check_unless(&mut self, wanted: impl Fn(&Checks, &Running) -> bool) {
        let Some(running) = self.checks.running.as_ref().filter(|it| !it.stopping) else { return };
        if wanted(&self.checks, running) {
            return;
        }
        self.outbox.push(Action::StopCheck);
        self.checks.running.iter_mut().for_each(|running| running.stopping = true);
    }

    /// The checks of trusted projects, by project and in the order of their registrations.
    pub fn checks(&self) -> impl Iterator<Item = CheckView<'_>> {
        self.registrations.checks().map(|(project, check)| {
            let fact = check.fact(project);
            let value = self.stated(&fact, check).cloned().ok_or_else(|| self.why(project, check));
            let at = self.ran_at(project, check);
            CheckView { project, check, fact, value, at }
        })
    }

    fn stated(&self, fact: &FactName, check: &Check) -> Option<&Fact> {
        let runtime = self.machine.as_ref()?.runtimes.get(&check.runtime)?;
        runtime.facts.get(fact.as_str())
    }

    fn ran_at(&self, project: ProjectKey, check: &Check) -> Option<Timestamp> {
        let basis = basis(check, self.may_run(project, check).ok()?);
        let done = self.checks.done.get(&(project, check.name.clone()))?;
        (done.basis == basis).then_some(done.at)
    }

    /// Why nothing is stated of what `check` finds.
    fn why(&self, project: ProjectKey, check: &Check) -> String {
        if let Err(reason) = self.may_run(project, check) {
            return reason.to_owned();
        }
        let key = (project, check.name.clone());
        let runs = self.checks.running.as_ref().is_some_and(|running| running.key == key);
        match (self.checks.due.get(&key), self.checks.done.get(&key)) {
            (Some(_), _) if runs => "it runs".to_owned(),
            (Some(due), _) if !due.reason.is_empty() => {
                format!("it could not be run and is tried again: {}", due.reason)
            }
            (Some(_), _) if !self.is_confirmed(project) => {
                "no broker has told within a day whether the project's key still holds".to_owned()
            }
            (Some(_), _) => "it waits for its turn".to_owned(),
            (None, Some(Done { finding: CheckFinding::Nothing(reason), .. })) => reason.clone(),
            (None, _) => "the ad has no room for it".to_owned(),
        }
    }
}

impl Due {
    fn new(check: Check, basis: BlobHash) -> Self {
        Self { check, basis, tries: Backoff::default(), reason: String::new() }
    }
}

/// What must stay the same for a check to find the same.
fn basis(check: &Check, facts: &Facts) -> BlobHash {
    let depends = check.depends.iter();
    let depends: BTreeMap<_, _> =
        depends.filter_map(|name| Some((name, facts.get(name.as_str())?))).collect();
    BlobHash::of(&encode_cbor(&(check, depends)))
}

/// States `value` of `fact` if the ad has `room` for it.
fn state(
    machine: &mut Capabilities,
    runtime: &Runtime,
    fact: FactName,
    value: &Fact,
    room: &mut usize,
) {
    let text = if let Fact::Text(text) = value { text.len() } else { 0 };
    let size = fact.as_str().len() + text + FACT_OVERHEAD;
    let facts = machine.runtimes.get_mut(runtime).map(|runtime| &mut runtime.facts);
    if let (Some(facts), Some(left)) = (facts, room.checked_sub(size))
        // Fails only if there are as many facts as there can be.
        && facts.insert(fact.as_str(), value.clone()).is_ok()
    {
        *room = left;
    }
}

fn limits(donated: Resources) -> Limits {
    Limits {
        memory: LIMITS.memory.min(donated.memory),
        disk: LIMITS.disk.min(donated.disk),
        ..LIMITS
    }
}

fn record_key((project, name): &Key) -> Vec<u8> {
    [&[CHECK_PREFIX], project.as_bytes().as_slice(), name.as_bytes()].concat()
}
