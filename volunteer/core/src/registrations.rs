//! Who the trusted projects are: their registrations, asked of the primary before the first offer.

use std::collections::BTreeMap;
use std::time::Duration;

use capability::statements::{Check, Registration};
use capability::{
    Envelope, ProjectKey, StatementError, StatementId, Timestamp, Verified, Verifier,
};
use mesh_core::{Answer, Ask, CallFailed, MAX_REGISTRATIONS_AN_ANSWER, Mono, Write};

use crate::backoff::Backoff;
use crate::volunteer::{Call, Volunteer};

/// First byte of the keys of registrations.
pub(crate) const REGISTRATION_PREFIX: u8 = b'p';

/// Between two questions about a project that the broker knows. A job that requires a new check
/// waits so long, or twice if another one had just come.
const INTERVAL: Duration = Duration::from_secs(10 * 60);
/// The same for one that it does not know: its first offer may be the next thing that it hears.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Between two registrations that replace those before them: each can bring checks that have not run.
const REPLACE_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// The registrations of trusted projects.
#[derive(Debug, Default)]
pub(crate) struct Registrations {
    known: BTreeMap<ProjectKey, Verified<Registration>>,
    /// By project of which one was learnt, when the last one came in the place of another, that may
    /// have been over by then.
    replaced: BTreeMap<ProjectKey, Option<Mono>>,
    asking: BTreeMap<ProjectKey, Backoff>,
    under_way: bool,
}

impl Registrations {
    /// Takes up again what a former process had made durable.
    pub fn restore(&mut self, value: &[u8], verifier: &dyn Verifier) -> Result<(), StatementError> {
        let registration = Verified::check(&Envelope::parse(value)?, verifier)?;
        self.known.insert(project_of(&registration), registration);
        Ok(())
    }

    /// The checks of all projects.
    pub fn checks(&self) -> impl Iterator<Item = (ProjectKey, &Check)> {
        let each = self.known.iter();
        each.flat_map(|(project, it)| it.checks.iter().map(|check| (*project, check)))
    }

    /// Another primary may know more.
    pub fn hurry(&mut self) {
        self.asking.clear();
    }

    /// When to ask again.
    pub fn next_wake(&self) -> Option<Mono> {
        let next = self.asking.values().map(|tries| tries.not_before).min();
        next.filter(|_| !self.under_way)
    }

    fn forget(&mut self, is_over: impl Fn(&Verified<Registration>) -> bool) -> Vec<Write> {
        let over = self.known.extract_if(.., |_, registration| is_over(registration));
        over.map(|(project, _)| Write::delete(record_key(project))).collect()
    }

    fn keep(&mut self, project: ProjectKey, registration: Verified<Registration>, now: Mono) {
        let is_first = !self.replaced.contains_key(&project);
        self.replaced.insert(project, (!is_first).then_some(now));
        self.known.insert(project, registration);
    }

    fn is_too_soon(&self, project: &ProjectKey, now: Mono) -> bool {
        let replaced = self.replaced.get(project).copied().flatten();
        replaced.is_some_and(|at| now - at < REPLACE_INTERVAL)
    }

    fn is_newer(&self, registration: &Verified<Registration>) -> bool {
        let known = self.known.get(&project_of(registration));
        known.is_none_or(|known| rank(known) < rank(registration))
    }
}

impl Volunteer {
    pub(crate) fn ask_registrations(&mut self) {
        let now = self.now.mono;
        if self.registrations.under_way || self.is_leaving() || self.primary().is_none() {
            return;
        }
        let asking = &self.registrations.asking;
        let is_due = |project: &ProjectKey| asking.get(project).is_none_or(|it| it.is_over(now));
        let due = self.trust.pins().map(|pin| pin.project).filter(is_due);
        let projects: Vec<_> = due.take(MAX_REGISTRATIONS_AN_ANSWER).collect();
        if !projects.is_empty() {
            self.registrations.under_way = true;
            let ask = Ask::Registrations { projects: projects.clone() };
            self.ask(Call::Registrations(projects), ask);
        }
    }

    pub(crate) fn registrations_told(
        &mut self,
        projects: Vec<ProjectKey>,
        answer: Result<Answer, CallFailed>,
    ) {
        self.registrations.under_way = false;
        let told = match answer {
            Ok(Answer::Registrations(told)) => told,
            // A broker of an older version does not understand the question.
            Ok(_) => return projects.into_iter().for_each(|project| self.ask_later(project)),
            Err(CallFailed(_)) => Vec::new(),
        };
        let known: Vec<_> = told.iter().map(project_of).collect();
        told.into_iter().for_each(|registration| self.learn(registration));
        for project in projects {
            if known.contains(&project) {
                self.ask_later(project);
            } else {
                let tries = self.registrations.asking.entry(project).or_default();
                tries.fail(self.now.mono, FIRST_WAIT, LONGEST_WAIT);
            }
        }
    }

    fn ask_later(&mut self, project: ProjectKey) {
        let tries = Backoff { failures: 0, not_before: self.now.mono + INTERVAL };
        self.registrations.asking.insert(project, tries);
    }

    /// Keeps `registration` if its project is trusted, its key not void, nothing newer known,
    /// and the last one was not replaced just now.
    pub(crate) fn learn(&mut self, registration: Verified<Registration>) {
        let project = project_of(&registration);
        let holds = registration.current(self.now.wall).is_ok();
        let trusted = self.trust.pin(&project).is_some() && !self.is_void(project);
        let too_soon = self.registrations.is_too_soon(&project, self.now.mono);
        if !holds || !trusted || too_soon || !self.registrations.is_newer(&registration) {
            return;
        }
        let write = Write::put(record_key(project), registration.envelope().as_bytes());
        self.registrations.keep(project, registration, self.now.mono);
        self.commit(vec![write], Vec::new());
        self.checks_changed();
    }

    /// Forgets what does not hold any more.
    pub(crate) fn expire_registrations(&mut self) {
        let now = self.now.wall;
        let writes = self.registrations.forget(|registration| registration.current(now).is_err());
        self.forgotten(writes);
    }

    /// Forgets the projects that are not trusted. Only once the pins are known: a former process may
    /// have left what they bring back.
    pub(crate) fn forget_strangers(&mut self) {
        let (trust, registrations) = (&self.trust, &mut self.registrations);
        registrations.asking.retain(|project, _| trust.pin(project).is_some());
        registrations.replaced.retain(|project, _| trust.pin(project).is_some());
        let writes = registrations.forget(|it| trust.pin(&project_of(it)).is_none());
        self.forgotten(writes);
    }

    fn forgotten(&mut self, writes: Vec<Write>) {
        if !writes.is_empty() {
            self.commit(writes, Vec::new());
            self.checks_changed();
        }
    }
}

/// Of two registrations of a project the higher one holds (docs/spec/statements.md, behind S30).
fn rank(registration: &Verified<Registration>) -> (Timestamp, StatementId) {
    (registration.expires, registration.id())
}

fn project_of(registration: &Verified<Registration>) -> ProjectKey {
    registration.signer().into()
}

fn record_key(project: ProjectKey) -> Vec<u8> {
    [&[REGISTRATION_PREFIX], project.as_bytes().as_slice()].concat()
}
