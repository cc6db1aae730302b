//! Which broker is home to the project's offers, and which ones were.
//!
//! Epochs strictly increase. A new one is durable before anybody hears of it. The homes of former
//! epochs are remembered, because leases that they signed may still lead to results.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::statements::Home;
use capability::{Envelope, PublicKey, StatementError, Timestamp, Verified, Verifier};
use mesh_core::{Mono, Now, Write};

use crate::authority::Authority;
use crate::records::{RestoreError, home_key};

/// How long the home may be out of reach before a standby takes its place, unless the operator says
/// otherwise: longer than a broker's restart or upgrade takes. A move costs each lease that is held a
/// late result, and nothing else.
pub const REHOME_AFTER: Duration = Duration::from_secs(60);

/// A home and its standbys at most (S32).
pub const MAX_BROKERS: usize = 5;

/// Former homes that are remembered. At one an hour that is longer than any lease holds.
const MAX_HISTORY: usize = 1024;

/// A home of this age is good for a year at most, as all statements.
const HOME_LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A home that expires sooner than the longest offer would is replaced if the delegation allows.
const HOME_MARGIN: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// A home that keeps forgetting gets no new epoch sooner than this after the last.
const FORGOTTEN_PAUSE: Duration = Duration::from_secs(10);

/// The project's home, its standbys, and the homes before.
#[derive(Debug)]
pub(crate) struct Homes {
    /// The brokers of the configuration, the preferred home first.
    brokers: Vec<PublicKey>,
    up: BTreeSet<PublicKey>,
    current: Option<Verified<Home>>,
    durable: bool,
    history: BTreeMap<u64, PublicKey>,
    /// Since when the current home has been out of reach.
    down_since: Option<Mono>,
    rehome_after: Duration,
    /// Brokers that take no new work because they are about to leave.
    leaving: BTreeSet<PublicKey>,
    last_move: Option<Mono>,
    /// Whether a broker has taken anything under the current home in this process.
    is_heeded: bool,
    /// Whether this process has begun an epoch above somebody else's.
    has_overbid: bool,
    superseded: Option<u64>,
}

impl Homes {
    /// Knows the configured `brokers`, the preferred home first.
    pub(crate) fn new(brokers: Vec<PublicKey>, now: Now) -> Self {
        Self {
            brokers,
            up: BTreeSet::new(),
            current: None,
            durable: false,
            history: BTreeMap::new(),
            down_since: Some(now.mono),
            rehome_after: REHOME_AFTER,
            leaving: BTreeSet::new(),
            last_move: None,
            is_heeded: false,
            has_overbid: false,
            superseded: None,
        }
    }

    /// Takes up what a former process had made durable; in the order of epochs.
    pub(crate) fn restore(
        &mut self,
        value: &[u8],
        authority: &Authority,
        verifier: &dyn Verifier,
    ) -> Result<(), RestoreError> {
        let envelope = Envelope::parse(value).map_err(StatementError::from)?;
        let home = Verified::<Home>::check(&envelope, verifier)?;
        // The key of a project may have passed on to another; then epochs begin anew.
        if home.project != authority.project() {
            return Ok(());
        }
        self.history.insert(home.epoch, home.home);
        self.current = Some(home);
        self.durable = true;
        Ok(())
    }

    /// The home that may be published: durable.
    pub(crate) fn published(&self) -> Option<&Verified<Home>> {
        self.current.as_ref().filter(|_| self.durable)
    }

    /// The newest epoch, durable or not; 0 before the first.
    pub(crate) fn epoch(&self) -> u64 {
        self.current.as_ref().map_or(0, |home| home.epoch)
    }

    /// Which broker was home in `epoch`.
    pub(crate) fn broker_of(&self, epoch: u64) -> Option<PublicKey> {
        self.history.get(&epoch).copied()
    }

    /// The brokers that offers go to: the home, then the standbys.
    pub(crate) fn brokers(&self) -> Vec<PublicKey> {
        let home = self.current.as_ref();
        home.map(|home| [home.home].into_iter().chain(home.standbys.iter().copied()).collect())
            .unwrap_or_default()
    }

    /// Whether `peer` is one of the configured brokers and connected.
    pub(crate) fn is_up(&self, peer: PublicKey) -> bool {
        self.up.contains(&peer)
    }

    /// A connection came up; says whether it is news.
    pub(crate) fn broker_up(&mut self, peer: PublicKey) -> bool {
        if !self.brokers.contains(&peer) {
            return false;
        }
        if self.current.as_ref().is_some_and(|home| home.home == peer) {
            self.down_since = None;
        }
        self.up.insert(peer)
    }

    /// A connection went down.
    pub(crate) fn broker_down(&mut self, peer: PublicKey, now: Now) {
        let was_up = self.up.remove(&peer);
        // It comes back as one that stays, or says again that it does not.
        self.leaving.remove(&peer);
        if was_up && self.current.as_ref().is_some_and(|home| home.home == peer) {
            self.down_since = Some(now.mono);
        }
    }

    /// `peer` has said that it is about to leave.
    pub(crate) fn leaves(&mut self, peer: PublicKey) {
        self.leaving.insert(peer);
    }

    /// The broker with which a new epoch should begin now, if one should.
    pub(crate) fn successor(&self, authority: &Authority, now: Now) -> Option<PublicKey> {
        if !authority.is_current(now.wall) {
            return None;
        }
        let Some(current) = &self.current else { return self.brokers.first().copied() };
        let is_former = current.signer() != authority.node();
        let suits = self.serves_configuration(current) && !is_former;
        if !suits || self.is_short_lived(authority, now.wall) {
            let stays = self.brokers.contains(&current.home);
            return if stays { Some(current.home) } else { self.brokers.first().copied() };
        }
        let overdue = self.down_since.is_some_and(|since| now.mono - since >= self.rehome_after);
        let leaves = self.leaving.contains(&current.home);
        let stays = |standby: &PublicKey| self.is_up(*standby) && !self.leaving.contains(standby);
        let standby = || current.standbys.iter().copied().find(stays);
        if overdue || leaves { standby() } else { None }
    }

    /// The home has forgotten the offers of `epoch`; says whether a new epoch is due for it.
    pub(crate) fn forgotten(&self, epoch: u64, now: Now) -> Option<PublicKey> {
        let current = self.current.as_ref().filter(|home| home.epoch == epoch)?;
        let paused = self.last_move.is_some_and(|last| now.mono - last < FORGOTTEN_PAUSE);
        (!paused).then_some(current.home)
    }

    /// Begins a new epoch with `home`, above the newest here and the one that is given. The writes must be durable before it is published.
    pub(crate) fn begin_epoch(
        &mut self,
        home: PublicKey,
        above: u64,
        authority: &Authority,
        now: Now,
    ) -> (u64, Vec<Write>) {
        let standbys = self.brokers.iter().copied().filter(|broker| *broker != home).collect();
        let epoch = self.epoch().max(above) + 1;
        let payload = Home {
            project: authority.project(),
            epoch,
            home,
            standbys,
            delegation: authority.delegation().envelope().clone(),
            expires: authority.expiry(now.wall, HOME_LIFETIME),
        };
        let statement = Verified::sign(payload, authority.signer());
        let mut writes = vec![Write::put(home_key(epoch), statement.envelope().as_bytes())];
        self.history.insert(epoch, home);
        while self.history.len() > MAX_HISTORY {
            let (oldest, _) = self.history.pop_first().expect("it is longer than its bound");
            writes.push(Write::delete(home_key(oldest)));
        }
        self.current = Some(statement);
        self.durable = false;
        self.last_move = Some(now.mono);
        self.down_since = if self.is_up(home) { None } else { Some(now.mono) };
        (epoch, writes)
    }

    /// How long the home may be out of reach before a standby takes its place.
    pub(crate) fn rehome_after(&mut self, outage: Duration) {
        self.rehome_after = outage;
    }

    /// A broker has taken something under the current home.
    pub(crate) fn heeded(&mut self) {
        self.is_heeded = true;
    }

    /// A broker knows another home, of `epoch`, than the one of `ours` (rule C14). Gives the home of
    /// the epoch above it, if one should begin; else somebody else speaks for the project.
    pub(crate) fn superseded(&mut self, ours: u64, epoch: u64) -> Option<PublicKey> {
        let current = self.current.as_ref().filter(|home| home.epoch == ours && epoch >= ours)?;
        if self.is_heeded || self.has_overbid {
            self.superseded = Some(epoch);
            return None;
        }
        self.has_overbid = true;
        Some(current.home)
    }

    /// The epoch of another home, if somebody else speaks for the project.
    pub(crate) fn other(&self) -> Option<u64> {
        self.superseded
    }

    /// The home of `epoch` is durable.
    pub(crate) fn made_durable(&mut self, epoch: u64) {
        self.durable |= self.epoch() == epoch;
    }

    /// When a standby may have to take over.
    pub(crate) fn next_wake(&self) -> Option<Mono> {
        self.down_since.map(|since| since + self.rehome_after)
    }

    fn serves_configuration(&self, home: &Home) -> bool {
        let brokers: BTreeSet<_> = self.brokers.iter().collect();
        brokers == [&home.home].into_iter().chain(&home.standbys).collect()
    }

    fn is_short_lived(&self, authority: &Authority, now: Timestamp) -> bool {
        let current = self.current.as_ref();
        current.is_some_and(|home| {
            home.expires < now + HOME_MARGIN && home.expires < authority.expiry(now, HOME_LIFETIME)
        })
    }
}
