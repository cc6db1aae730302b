//! Whether the owner needs the machine, so that jobs give way.
//!
//! The shell's sensors give a [`Sample`] every few seconds. Each of five causes is a latch of its own: it
//! holds once its sign has been there for long enough, and lets go once the sign has been away for
//! longer, with a band between where that is a number. So nothing flaps, whatever the sensors do.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use capability::Resources;
use mesh_core::Mono;

use crate::action::Idle;
use crate::volunteer::Volunteer;

/// Other programs may be busy for so long: opening a page or a file is no reason.
const LOAD_RISE: Duration = Duration::from_secs(10);
/// And must be calm for so long.
const LOAD_FALL: Duration = Duration::from_secs(60);
/// A program may be started anew, and a plug may be loose.
const SWITCH_FALL: Duration = Duration::from_secs(30);
/// A machine cools down slowly, so that it may also warm up slowly afterwards.
const HEAT_FALL: Duration = Duration::from_secs(60);
/// Degrees below the ceiling at which it is cool again.
const HEAT_BAND: i16 = 10;

/// What of a [`Sample`] counts, and what is done then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GiveWay {
    /// Somebody counts as away after that time without input. Without it nobody is looked for.
    pub away_after: Option<Duration>,
    /// Percent of all cores that others than jobs may use.
    pub load: Option<u8>,
    /// Degrees Celsius from which the machine is too hot.
    pub ceiling: Option<i16>,
    /// What jobs may use while somebody is there, a named program runs or others are busy: nothing, if
    /// absent. On battery, and where it is too hot, they stand still anyway.
    pub meanwhile: Option<Share>,
}

/// What is left to jobs, together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Cores.
    pub cores: u32,
    /// Bytes of memory. What stands still keeps its memory, so that this bounds what is taken, not what is
    /// in hand.
    pub memory: u64,
}

/// What sensors tell. `None` is what is not looked at, or cannot be told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    /// Since somebody used the keyboard, the mouse or a terminal last.
    pub untouched: Option<Duration>,
    /// Percent of all cores that others than jobs use.
    pub load: Option<u8>,
    /// A program that runs, of those that the owner has named.
    pub program: Option<String>,
    /// Whether the machine runs on its battery.
    pub on_battery: Option<bool>,
    /// Degrees Celsius of the hottest sensor.
    pub heat: Option<i16>,
}

/// Why jobs give way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Somebody uses the machine.
    Input,
    /// A program runs that the owner has named.
    Program(String),
    /// Others use so many percent of all cores.
    Load(u8),
    /// There is no mains.
    Battery,
    /// So many degrees Celsius.
    Heat(i16),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input => f.write_str("somebody uses it"),
            Self::Program(name) => write!(f, "{name} runs"),
            Self::Load(percent) => write!(f, "other programs use {percent} % of its cores"),
            Self::Battery => f.write_str("it runs on its battery"),
            Self::Heat(degrees) => write!(f, "it is hot, {degrees} °C"),
        }
    }
}

/// The sign of a cause at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    There,
    /// Neither there nor away: whatever held goes on.
    Between,
    Away,
}

/// One cause: whether it holds, and since when its sign says the opposite.
#[derive(Debug)]
struct Latch {
    /// As it was when the sign was there last.
    cause: Cause,
    holds: bool,
    changing_since: Option<Mono>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Yielding {
    pub(crate) preferences: GiveWay,
    latches: BTreeMap<Kind, Latch>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Input,
    Program,
    Load,
    Battery,
    Heat,
}

impl Kind {
    /// How long its sign must be there, and away, until that counts. The time of `Input` is in the sign.
    fn times(self) -> (Duration, Duration) {
        match self {
            Self::Input => (Duration::ZERO, Duration::ZERO),
            Self::Program | Self::Battery => (Duration::ZERO, SWITCH_FALL),
            Self::Load => (LOAD_RISE, LOAD_FALL),
            Self::Heat => (Duration::ZERO, HEAT_FALL),
        }
    }
}

impl Yielding {
    /// Goes by `sample`, taken at `now`.
    pub fn sampled(&mut self, sample: Sample, now: Mono) {
        for (kind, cause, sign) in self.signs(sample) {
            let latch = self.latches.entry(kind).or_insert_with(|| Latch {
                cause: cause.clone(),
                holds: false,
                changing_since: None,
            });
            latch.see(cause, sign, kind.times(), now);
        }
    }

    /// From now on goes by `preferences` and by the samples that come: what is not looked at any more
    /// holds nothing up.
    pub fn prefer(&mut self, preferences: GiveWay) {
        *self = Self { preferences, latches: BTreeMap::new() };
    }

    fn signs(&self, sample: Sample) -> [(Kind, Cause, Sign); 5] {
        let GiveWay { away_after, load, ceiling, .. } = &self.preferences;
        let there = |is: bool| if is { Sign::There } else { Sign::Away };
        let input = sample.untouched.zip(*away_after).is_some_and(|(since, away)| since < away);
        let used = sample.load.unwrap_or_default();
        let load = load.map_or(Sign::Away, |most| band(used.into(), most.into(), most / 4));
        let heat = sample.heat.unwrap_or(i16::MIN);
        let hot = |ceiling: i16| {
            if heat < ceiling && heat > ceiling.saturating_sub(HEAT_BAND) {
                Sign::Between
            } else {
                there(heat >= ceiling)
            }
        };
        let program = there(sample.program.is_some());
        [
            (Kind::Input, Cause::Input, there(input)),
            (Kind::Program, Cause::Program(sample.program.unwrap_or_default()), program),
            (Kind::Load, Cause::Load(used), load),
            (Kind::Battery, Cause::Battery, there(sample.on_battery == Some(true))),
            (Kind::Heat, Cause::Heat(heat), ceiling.map_or(Sign::Away, hot)),
        ]
    }

    /// Why jobs give way; nothing, if they need not.
    pub fn causes(&self) -> impl Iterator<Item = &Cause> {
        self.latches.values().filter(|latch| latch.holds).map(|latch| &latch.cause)
    }

    /// What is left to jobs meanwhile; all of it, if absent.
    pub fn share(&self) -> Option<Share> {
        let nothing = Share { cores: 0, memory: 0 };
        let share = |cause: &Cause| match cause {
            Cause::Battery | Cause::Heat(_) => nothing,
            _ => self.preferences.meanwhile.unwrap_or(nothing),
        };
        self.causes().map(share).min_by_key(|share| share.cores)
    }
}

/// Whether not even the smallest task fits.
pub(crate) fn is_full(free: Resources) -> bool {
    free.cores == 0 || free.memory == 0 || free.disk == 0
}

/// Whether `used` is above `most`, or below that by `band` at least.
fn band(used: u16, most: u16, band: u8) -> Sign {
    match used {
        used if used > most => Sign::There,
        used if used > most.saturating_sub(band.into()) => Sign::Between,
        _ => Sign::Away,
    }
}

impl Latch {
    fn see(&mut self, cause: Cause, sign: Sign, (rise, fall): (Duration, Duration), now: Mono) {
        let (opposite, time) = match self.holds {
            true => (Sign::Away, fall),
            false => (Sign::There, rise),
        };
        if sign == Sign::There {
            self.cause = cause;
        }
        if sign != opposite {
            self.changing_since = None;
        } else if *self.changing_since.get_or_insert(now) + time <= now {
            self.holds = !self.holds;
            self.changing_since = None;
        }
    }
}

impl Volunteer {
    /// Why jobs give way to the owner, if they do.
    pub fn gives_way_to(&self) -> impl Iterator<Item = &Cause> {
        self.yielding.causes()
    }

    /// What of what is donated jobs may use at present.
    pub(crate) fn lent(&self) -> Option<Resources> {
        let donated = self.machine.as_ref()?.resources;
        let Some(Share { cores, memory }) = self.yielding.share() else { return Some(donated) };
        let (cores, memory) = (donated.cores.min(cores), donated.memory.min(memory));
        Some(Resources { cores, memory, ..donated })
    }

    /// What of that neither jobs nor a check in hand take.
    pub(crate) fn lent_left(&self) -> Option<Resources> {
        Some(self.left_of(self.lent()?))
    }

    fn donated_left(&self) -> Option<Resources> {
        Some(self.left_of(self.machine.as_ref()?.resources))
    }

    fn left_of(&self, resources: Resources) -> Resources {
        self.work.free(self.checks.spare(resources))
    }

    /// Whether the share is why no job moves although there are some, or why none may.
    pub(crate) fn share_holds_jobs(&self) -> bool {
        let all_are_still = !self.work.is_empty() && !self.moves();
        self.yielding.share().is_some_and(|share| share.cores == 0 || all_are_still)
    }

    /// Whether work could be taken but for the share.
    pub(crate) fn share_is_taken(&self) -> bool {
        let left = self.lent_left().zip(self.donated_left());
        left.is_some_and(|(lent, donated)| is_full(lent) && !is_full(donated))
    }

    /// Whether an offer was shown that would fit but for the share.
    pub(crate) fn share_is_too_small(&self) -> bool {
        let left = self.donated_left().filter(|_| self.yielding.share().is_some());
        left.is_some_and(|left| self.offers.too_large().any(|(_, it)| it.fits(left)))
    }

    pub(crate) fn giving_way(&self) -> Idle {
        Idle::GivesWay(self.gives_way_to().cloned().collect())
    }

    /// Whether any job moves, or will once its package is here.
    pub(crate) fn moves(&self) -> bool {
        !self.stands_still() && self.work.jobs().any(|(_, job)| !job.still)
    }

    pub(crate) fn sampled(&mut self, sample: Sample) {
        let before = self.yielding.share();
        self.yielding.sampled(sample, self.now.mono);
        if before != self.yielding.share() {
            self.resources_freed();
        }
    }

    pub(crate) fn give_way(&mut self, preferences: GiveWay) {
        self.yielding.prefer(preferences);
        self.resources_freed();
    }
}
