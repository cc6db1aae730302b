//! How often tasks of a project's builders begin here, where its owner bounds that.
//!
//! What a project does each night, or for each new revision, shows as offers of the same builder again and
//! again. The owner may follow a builder less often: at most one of its tasks begins in the period that the
//! pin has. A task in hand that has not begun keeps others from being taken, so that two never begin at once.
//! When a builder's task began last is durable with its lease, before it begins; a process that dies in
//! between counts it, since it cannot know.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::statements::Offer;
use capability::{
    CborError, ProjectKey, StatementId, Timestamp, Verified, decode_cbor, encode_cbor,
};
use mesh_core::Write;

use crate::claiming::Plan;
use crate::trust::Decline;
use crate::volunteer::Volunteer;

/// First byte of the keys of what began when.
pub(crate) const RHYTHM_PREFIX: u8 = b'b';

/// Builders of one project that are followed in a period, at most. Whoever has more could have as many
/// tasks begin as it makes up names.
const MAX_BUILDERS: usize = 256;

/// Bytes of the record of a project at most: that many names of 64 bytes, and times.
const MAX_RHYTHM_RECORD: usize = 64 << 10;

/// A builder whose task has not begun yet is looked at again that much later, at the earliest.
const LOOK: Duration = Duration::from_secs(10 * 60);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Rhythm {
    projects: BTreeMap<ProjectKey, BTreeMap<String, Begun>>,
    /// Projects of which the record is not as they are.
    changed: BTreeSet<ProjectKey>,
}

/// The last task of a builder.
#[derive(Debug)]
struct Begun {
    /// When it began, or was leased.
    at: Timestamp,
    /// Its lease, until it begins.
    waits: Option<StatementId>,
}

/// A builder of which nothing more may begin for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rest {
    pub builder: String,
    /// When its last task began, or was leased.
    pub since: Timestamp,
    /// When the next one may begin, or one looks again.
    pub next: Timestamp,
}

impl Begun {
    fn next(&self, every: Duration, now: Timestamp) -> Timestamp {
        let next = self.at + every;
        if self.waits.is_some() { next.max(now + LOOK) } else { next }
    }
}

impl Rhythm {
    /// Takes up again what a former process had made durable.
    pub fn restore(&mut self, value: &[u8]) -> Result<(), CborError> {
        type Record = (ProjectKey, BTreeMap<String, Timestamp>);
        let (project, builders) = decode_cbor::<Record>(value, MAX_RHYTHM_RECORD)?;
        let begun = |(builder, at)| (builder, Begun { at, waits: None });
        self.projects.insert(project, builders.into_iter().map(begun).collect());
        Ok(())
    }

    /// It is `now`. Says whether the clock was set back behind what has begun: that counts as begun now, since
    /// nobody can tell how long ago it was.
    pub fn at(&mut self, now: Timestamp) -> bool {
        let mut was_set_back = false;
        for (project, builders) in &mut self.projects {
            for begun in builders.values_mut().filter(|begun| begun.at > now) {
                begun.at = now;
                self.changed.insert(*project);
                was_set_back = true;
            }
        }
        was_set_back
    }

    /// These projects are bounded, and no others.
    pub fn bound(&mut self, bounded: &BTreeSet<ProjectKey>) {
        let free = self.projects.extract_if(.., |project, _| !bounded.contains(project));
        self.changed.extend(free.map(|(project, _)| project));
    }

    /// What keeps a task of `builder` from beginning, if one may begin `every` so often.
    pub fn rest(
        &self,
        project: ProjectKey,
        builder: &str,
        every: Duration,
        now: Timestamp,
    ) -> Option<Rest> {
        let builders = self.projects.get(&project)?;
        let resting = self.resting(project, every, now);
        if builders.contains_key(builder) {
            return resting.into_iter().find(|rest| rest.builder == builder);
        }
        // One more is followed once any of them may begin again.
        let first = resting.iter().min_by_key(|rest| rest.next);
        first.filter(|_| resting.len() >= MAX_BUILDERS).cloned()
    }

    /// The builders of `project` of which nothing may begin now, in the order of their names.
    pub fn resting(&self, project: ProjectKey, every: Duration, now: Timestamp) -> Vec<Rest> {
        let builders = self.projects.get(&project).into_iter().flatten();
        let rest = builders.map(|(builder, begun)| {
            let (since, next) = (begun.at, begun.next(every, now));
            Rest { builder: builder.clone(), since, next }
        });
        rest.filter(|rest| rest.next > now).collect()
    }

    /// A task is leased, and begins next.
    fn take(&mut self, lease: StatementId, offer: &Offer, every: Duration, now: Timestamp) {
        let builders = self.projects.entry(offer.project).or_default();
        builders.retain(|_, begun| begun.next(every, now) > now);
        let begun = Begun { at: now, waits: Some(lease) };
        builders.insert(offer.builder.clone(), begun);
        self.changed.insert(offer.project);
    }

    /// The task of `lease` begins.
    pub fn begins(&mut self, lease: StatementId, now: Timestamp) {
        for (project, builders) in &mut self.projects {
            let waiting = builders.values_mut().find(|begun| begun.waits == Some(lease));
            if let Some(begun) = waiting {
                (begun.at, begun.waits) = (now, None);
                self.changed.insert(*project);
            }
        }
    }

    /// The task of `lease` is given back before it began. Says whether it would have counted.
    pub fn gives_back(&mut self, lease: StatementId) -> bool {
        let mut counted = false;
        for (project, builders) in &mut self.projects {
            let before = builders.len();
            builders.retain(|_, begun| begun.waits != Some(lease));
            if builders.len() < before {
                self.changed.insert(*project);
                counted = true;
            }
        }
        counted
    }

    /// What must become durable of all that has changed since the last call.
    pub fn writes(&mut self) -> Vec<Write> {
        let write = |project| {
            let key = [&[RHYTHM_PREFIX], ProjectKey::as_bytes(&project).as_slice()].concat();
            let builders = self.projects.get(&project).filter(|builders| !builders.is_empty());
            let Some(builders) = builders else { return Write::delete(key) };
            let times = builders.iter().map(|(builder, begun)| (builder.as_str(), begun.at));
            Write::put(key, encode_cbor(&(project, times.collect::<BTreeMap<_, _>>())))
        };
        std::mem::take(&mut self.changed).into_iter().map(write).collect()
    }
}

impl Volunteer {
    /// The pins have changed.
    pub(crate) fn bound_rhythm(&mut self) {
        let bounded = self.trust.pins().filter(|pin| pin.every.is_some());
        self.rhythm.bound(&bounded.map(|pin| pin.project).collect());
        self.commit_rhythm();
    }

    /// The clock may have been set back.
    pub(crate) fn keep_rhythm(&mut self) {
        if self.rhythm.at(self.now.wall) {
            self.offers.look_again(is_about_rhythm);
            self.commit_rhythm();
        }
    }

    /// These projects are outside of the hours that their owner lets them have.
    pub(crate) fn hours_changed(&mut self, off_hours: BTreeSet<ProjectKey>) {
        if off_hours != self.off_hours {
            self.off_hours = off_hours;
            self.offers.look_again(|reason| *reason == Decline::OffHours);
        }
    }

    /// Whether a task of `offer` may be taken at this time, as its project's terms are.
    ///
    /// # Errors
    /// That its builder rests, or that these are not its hours.
    pub(crate) fn may_begin(&self, offer: &Offer) -> Result<(), Decline> {
        if self.off_hours.contains(&offer.project) {
            return Err(Decline::OffHours);
        }
        let Some(every) = self.every(offer.project) else { return Ok(()) };
        match self.rhythm.rest(offer.project, &offer.builder, every, self.now.wall) {
            Some(Rest { builder, next, .. }) => Err(Decline::TooSoon { builder, next }),
            None => Ok(()),
        }
    }

    /// How many tasks of `offer` may be claimed together with what is planned.
    pub(crate) fn most_of_builder(&self, plan: &Plan, offer: &Offer) -> u16 {
        match self.every(offer.project) {
            None => u16::MAX,
            Some(_) if plan.has_builder_of(offer) => 0,
            Some(_) => 1,
        }
    }

    /// A task of `offer` is leased.
    pub(crate) fn follow(&mut self, lease: StatementId, offer: &Verified<Offer>) {
        if let Some(every) = self.every(offer.project) {
            self.rhythm.take(lease, offer, every, self.now.wall);
        }
    }

    /// A task that has not begun is given back: another one may take its place.
    pub(crate) fn unfollow(&mut self, lease: StatementId) {
        if self.rhythm.gives_back(lease) {
            self.offers.look_again(is_about_rhythm);
        }
    }

    pub(crate) fn commit_rhythm(&mut self) {
        let writes = self.rhythm.writes();
        if !writes.is_empty() {
            self.commit(writes, Vec::new());
        }
    }

    pub(crate) fn every(&self, project: ProjectKey) -> Option<Duration> {
        self.trust.pin(&project)?.every
    }
}

fn is_about_rhythm(reason: &Decline) -> bool {
    matches!(reason, Decline::TooSoon { .. })
}
