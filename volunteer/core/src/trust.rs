//! Whose work this machine does: the owner's pins, and what they permit.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::statements::{Home, Offer};
use capability::{
    Capabilities, Destination, Finding, NoMatch, Policy, ProjectKey, PublicKey, Repository,
    Resource, Runtime, Timestamp, Verified, evaluate, format_bytes,
};
use mesh_core::Offered;
use thiserror::Error;

use crate::lists::Voucher;
use crate::policy::may_pass;
use crate::reach::Reach;
use crate::shares::Standing;
use crate::work::needs;

/// A project that the owner trusts, and how far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The key that is trusted.
    pub project: ProjectKey,
    /// What the owner calls it, or the curator of the list.
    pub name: String,
    /// Runtimes that its jobs may use.
    pub runtimes: BTreeSet<Runtime>,
    /// Keys that the project once delegated to, and that the owner does not accept any more.
    pub revoked: BTreeSet<PublicKey>,
    /// What its offers have to keep to.
    pub bounds: Policy,
    /// The owner's own words.
    pub note: String,
    /// What it gets beside others.
    pub standing: Standing,
    /// At most one task of each of its builders begins in such a period, if there is one.
    pub every: Option<Duration>,
    /// Whether the owner lets it have hours of its own: what runs in them is not planned for.
    pub has_hours: bool,
    /// The list by which it is trusted, unless the owner pinned it.
    pub voucher: Option<Voucher>,
    /// What its jobs may have that does not come with them.
    pub reach: Reach,
}

impl Pin {
    /// Trusts `project`, which may use nothing yet.
    pub fn of(project: ProjectKey) -> Self {
        Self {
            project,
            name: String::new(),
            runtimes: BTreeSet::new(),
            revoked: BTreeSet::new(),
            bounds: Policy::default(),
            note: String::new(),
            standing: Standing::default(),
            every: None,
            has_hours: false,
            voucher: None,
            reach: Reach::default(),
        }
    }

    /// The owner's own word for it, or the curator's, or the beginning of its key.
    pub fn title(&self) -> String {
        if self.name.is_empty() { self.project.short() } else { self.name.clone() }
    }
}

/// Why an offer is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Decline {
    /// The owner has not pinned its project.
    #[error("its project is not trusted on this machine")]
    NotPinned,
    /// The owner does not accept the key that signed it, or it is void.
    #[error("it is signed by a key that was revoked, {}", .0.short())]
    Revoked(PublicKey),
    /// No broker has told lately whether its keys still hold.
    #[error("no broker has told within a day whether its keys still hold; they are being asked")]
    Unconfirmed,
    /// It could run, but only in a runtime that the owner does not let the project use.
    #[error("it needs the {0} runtime, which this project may not use here")]
    NotPermitted(Runtime),
    /// It wants to be connected with what the owner does not let its project reach.
    #[error("it reaches {}, which its project may not here", listed(.0))]
    OutOfReach(Vec<Destination>),
    /// It wants to be connected with what the owner lets nobody reach.
    #[error("it reaches {}, which you deny to all projects", listed(.0))]
    Denied(Vec<Destination>),
    /// Its image is in a repository from which the owner lets nobody have images.
    #[error("its image is one of {0}, which is not among your `image-repositories`")]
    Repository(Repository),
    /// Its package is encrypted for others.
    #[error("its package is private, and this machine is not among those that can read it")]
    NotForUs,
    /// The home is another project's.
    #[error("the broker sent it with the home of another project")]
    WrongHome,
    /// The home and the offer are from different adapters, so that the home may not be the offer's.
    #[error("its home is signed by another key than the offer itself")]
    SignerMismatch,
    /// The offer is over, or expires too far ahead.
    #[error("it does not hold now: {0}")]
    OfferNotCurrent(String),
    /// The home is.
    #[error("its home does not hold now: {0}")]
    HomeNotCurrent(String),
    /// The machine does not satisfy it.
    #[error("{0}")]
    Unmatched(NoMatch),
    /// A job may use more than the owner donates.
    #[error(
        "its limit on {resource} is {}, {} are donated",
        format_bytes(*needed),
        format_bytes(*donated)
    )]
    Limit {
        /// Of what.
        resource: Resource,
        /// How much it may use.
        needed: u64,
        /// How much there is.
        donated: u64,
    },
    /// The owner's policy does not want it; what stands against it.
    #[error("your policy says no: {}", all(.0))]
    Policy(Vec<Finding>),
    /// It asks for more than the owner lets the project ask for.
    #[error("it is beyond what you let its project ask for: {}", all(.0))]
    Beyond(Vec<Finding>),
    /// The broker knows no way to the offer's home, so that a claim would come to nothing.
    #[error(
        "its home broker has not been seen for over {}; it waits for that, or for its project to \
         name another",
        span(*minutes)
    )]
    HomeUnseen {
        /// A power of two, so that the words stay the same for a while.
        minutes: u32,
    },
    /// Too little of this month's quota for the network is left for the package.
    #[error("its package has {}, of this month's quota for the network {} are left",
        format_bytes(*package),
        format_bytes(*left)
    )]
    Quota {
        /// Bytes of the package.
        package: u64,
        /// Bytes left of the quota when the offer was seen.
        left: u64,
    },
    /// A task of its builder has begun, or is about to, and the owner's period for the next one lasts.
    #[error(
        "its builder {builder} has had a task lately, and you let the next one begin at {next} at the \
         earliest"
    )]
    TooSoon {
        /// The builder.
        builder: String,
        /// When it is looked at again.
        next: Timestamp,
    },
    /// The list by which its project is trusted does not hold any more.
    #[error("the list {list}, by which you trust it, ended at {expires}")]
    ListOver {
        /// The list.
        list: String,
        /// When it ended.
        expires: Timestamp,
    },
    /// The curator's key is void.
    #[error("the key that signed the list {list}, by which you trust it, was revoked")]
    CuratorVoid {
        /// The list.
        list: String,
    },
    /// The owner lets its project have other hours.
    #[error("outside of the hours that you let its project have")]
    OffHours,
    /// The package alone is larger than what the job may use.
    #[error("its package is larger than the disk space that the job may use")]
    Package,
}

impl Decline {
    /// When it is over by itself, if that is known.
    pub(crate) fn ends(&self) -> Option<Timestamp> {
        match self {
            Self::TooSoon { next, .. } => Some(*next),
            _ => None,
        }
    }

    /// When what the broker shows could make the offer welcome. Never, where only pins, policy and
    /// capabilities can.
    pub(crate) fn passes(&self) -> Passes {
        match self {
            Self::WrongHome
            | Self::SignerMismatch
            | Self::Unconfirmed
            | Self::HomeUnseen { .. }
            | Self::HomeNotCurrent(_)
            | Self::OfferNotCurrent(_) => Passes::Soon,
            Self::Quota { .. } => Passes::Later,
            Self::Policy(unmet) if may_pass(unmet) => Passes::Later,
            _ => Passes::Never,
        }
    }
}

fn all(findings: &[Finding]) -> String {
    findings.iter().map(Finding::to_string).collect::<Vec<_>>().join("; ")
}

/// A reason is read in a line: of a long list, the beginning.
fn listed(destinations: &[Destination]) -> String {
    const SHOWN: usize = 4;
    let shown = destinations.iter().take(SHOWN).map(ToString::to_string);
    let shown = shown.collect::<Vec<_>>().join(", ");
    match destinations.len().checked_sub(SHOWN) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}

fn span(minutes: u32) -> String {
    match (minutes / (24 * 60), minutes / 60) {
        (0, 0) => format!("{minutes} min"),
        (0, hours) => format!("{hours} h"),
        (days, _) => format!("{days} d"),
    }
}

/// When an offer that is declined is worth another look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passes {
    /// With the next answer.
    Soon,
    /// Once facts that the broker tells have had time to change.
    Later,
    /// Not before the owner or the machine changes something.
    Never,
}

/// The owner's pins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trust {
    pins: BTreeMap<ProjectKey, Pin>,
}

impl Trust {
    /// Trusts the projects that `pins` name, and nobody else.
    pub fn new(pins: impl IntoIterator<Item = Pin>) -> Self {
        Self { pins: pins.into_iter().map(|pin| (pin.project, pin)).collect() }
    }

    /// The pin of `project`.
    pub fn pin(&self, project: &ProjectKey) -> Option<&Pin> {
        self.pins.get(project)
    }

    /// All pins, in the order of their keys.
    pub fn pins(&self) -> impl Iterator<Item = &Pin> {
        self.pins.values()
    }

    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.pins.is_empty()
    }

    /// Whether `project` may use `runtime` here.
    pub fn permits(&self, project: &ProjectKey, runtime: &Runtime) -> bool {
        self.pin(project).is_some_and(|pin| pin.runtimes.contains(runtime))
    }

    /// Whether `offer` may still be worked on in `runtime`.
    pub(crate) fn permits_offer(&self, offer: &Verified<Offer>, runtime: &Runtime) -> bool {
        let pin = self.pin(&offer.project);
        self.permits(&offer.project, runtime)
            && pin.is_some_and(|pin| {
                !pin.revoked.contains(&offer.signer()) && pin.reach.judge(&offer.job).is_ok()
            })
    }

    /// Judges an offer for `machine`, and chooses the runtime: the first in the offer's order that
    /// is permitted and satisfies it.
    ///
    /// # Errors
    /// The first reason found, those about trust before those about the machine.
    pub fn judge(
        &self,
        offered: &Offered,
        machine: &Capabilities,
        now: Timestamp,
    ) -> Result<Runtime, Decline> {
        let Offered { offer, home, .. } = offered;
        let pin = self.pin(&offer.project).ok_or(Decline::NotPinned)?;
        judge_signers(pin, offer, home)?;
        offer.current(now).map_err(|error| Decline::OfferNotCurrent(error.to_string()))?;
        home.current(now).map_err(|error| Decline::HomeNotCurrent(error.to_string()))?;
        let runtime = choose_runtime(pin, offer, machine)?;
        pin.reach.judge(&offer.job)?;
        judge_limits(offer, machine)?;
        Ok(runtime)
    }
}

fn judge_signers(pin: &Pin, offer: &Verified<Offer>, home: &Verified<Home>) -> Result<(), Decline> {
    if pin.revoked.contains(&offer.signer()) {
        Err(Decline::Revoked(offer.signer()))
    } else if home.project != offer.project {
        Err(Decline::WrongHome)
    } else if home.signer() != offer.signer() {
        Err(Decline::SignerMismatch)
    } else {
        Ok(())
    }
}

fn choose_runtime(pin: &Pin, offer: &Offer, machine: &Capabilities) -> Result<Runtime, Decline> {
    let able = evaluate(machine, &offer.requirements).map_err(Decline::Unmatched)?;
    let mut permitted = machine.clone();
    permitted.runtimes.retain(|runtime, _| pin.runtimes.contains(runtime));
    match evaluate(&permitted, &offer.requirements) {
        Ok(chosen) => Ok(chosen.runtime),
        Err(_) => Err(Decline::NotPermitted(able.runtime)),
    }
}

fn judge_limits(offer: &Offer, machine: &Capabilities) -> Result<(), Decline> {
    let (needed, donated) = (needs(offer), machine.resources);
    let exceeded = [
        (Resource::Memory, needed.memory, donated.memory),
        (Resource::Disk, needed.disk, donated.disk),
    ]
    .into_iter()
    .find(|(_, needed, donated)| needed > donated);
    if let Some((resource, needed, donated)) = exceeded {
        return Err(Decline::Limit { resource, needed, donated });
    }
    if offer.package.size > needed.disk { Err(Decline::Package) } else { Ok(()) }
}
