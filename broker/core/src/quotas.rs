//! How much one key, and one address, may ask of a broker in a time.
//!
//! Each has a meter, which what is taken moves ahead of the clock, by as much time as that takes at
//! the permitted rate; how far ahead it may be is the permitted burst. So a meter is one time, nothing
//! has to be filled up, and a meter that the clock has overtaken can be forgotten. A limit delays:
//! whoever is over it is told when to come again, and nothing of his is taken meanwhile.
//!
//! Addresses are classes that the shell has made up. What they stand for is not known here.

use std::collections::BTreeMap;
use std::time::Duration;

use capability::PublicKey;
use mesh_core::{Mono, Now};
use serde::{Serialize, Serializer};

/// Meters at most, some hundred bytes each. Who comes when they are all in use shares one.
const MAX_METERS: usize = 100_000;
/// Of those who were limited so many are remembered, for an hour.
const MAX_LIMITED: usize = 1_000;
const REMEMBERED: Duration = Duration::from_secs(60 * 60);
/// A linked broker brings what others ask: it has the allowance of so many.
const LINK_WEIGHT: u64 = 16;

/// What the shell makes of an address: the same for the same, and else unlike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressClass(pub u64);

/// So much in a minute, and at once as much as in so many minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In a minute; at least 1.
    pub a_minute: u64,
    /// At once; at least 1.
    pub burst: u64,
}

/// What one key, or all that come from one address, may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Questions, each as many as it has units of [`CALL_UNIT`] bytes.
    pub calls: Rate,
    /// Results and receipts, in units of [`CUSTODY_UNIT`] bytes.
    pub custody: Rate,
    /// Bytes of blobs that are brought.
    pub uploads: Rate,
}

/// What everybody may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// One key.
    pub key: Allowance,
    /// One address.
    pub address: Allowance,
    /// Offers of one project that are published here.
    pub offers_a_project: usize,
    /// Bytes of the packages of these offers.
    pub package_bytes_a_project: u64,
    /// Statements of one signer that are passed on as gossip. What is above comes by reconciliation.
    pub gossip_a_signer: Rate,
}

/// Bytes of a question that count once: most are shorter.
pub const CALL_UNIT: u64 = 4 << 10;
/// Bytes of custody that count once: about one result or receipt.
pub const CUSTODY_UNIT: u64 = 1 << 10;

impl Default for Quotas {
    /// Far above what honest peers need, and enough that one cannot keep a broker from the others. A
    /// key: a master that publishes and withdraws 500 offers a second asks 2,000 times in it, a
    /// volunteer that returns 1,250 tasks a second sends so many results, and its master gets rid of
    /// 10,000 receipts. An address: 10,000 volunteers behind one translation, all of which come back
    /// at once when the broker was restarted.
    fn default() -> Self {
        let rate = |a_minute, burst| Rate { a_minute, burst };
        Self {
            key: Allowance {
                calls: rate(180_000, 60_000),
                custody: rate(2_400_000, 400_000),
                uploads: rate(1 << 30, 8 << 30),
            },
            address: Allowance {
                calls: rate(600_000, 300_000),
                custody: rate(4_800_000, 800_000),
                uploads: rate(4 << 30, 16 << 30),
            },
            offers_a_project: crate::gossip_set::MAX_OFFERS_A_PROJECT,
            package_bytes_a_project: 4 << 30,
            // Of a project that publishes and withdraws 1,000 offers a second, ten times in a row.
            gossip_a_signer: rate(120_000, 20_000),
        }
    }
}

/// What is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toll {
    /// A question of so many bytes.
    Call(u64),
    /// So many bytes for custody.
    Custody(u64),
    /// A blob of so many bytes.
    Upload(u64),
}

impl Toll {
    fn name(self) -> &'static str {
        match self {
            Self::Call(_) => "calls",
            Self::Custody(_) => "custody",
            Self::Upload(_) => "uploads",
        }
    }

    fn amount_and_rate(self, allowance: &Allowance) -> (u64, Rate) {
        match self {
            Self::Call(bytes) => (bytes.div_ceil(CALL_UNIT).max(1), allowance.calls),
            Self::Custody(bytes) => (bytes.div_ceil(CUSTODY_UNIT).max(1), allowance.custody),
            Self::Upload(bytes) => (bytes, allowance.uploads),
        }
    }
}

/// What somebody is to this broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A volunteer, a master, or a broker that is not linked.
    Peer,
    /// A linked broker.
    Link,
}

/// Who is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Charged {
    /// A key.
    Key(PublicKey),
    /// All who come from one address. It has a number that means nothing.
    Address(#[serde(serialize_with = "as_number")] AddressClass),
    /// All for whom there is no meter any more.
    Others,
}

fn as_number<S: Serializer>(class: &AddressClass, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{:016x}", class.0))
}

/// Somebody who was limited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Limited {
    /// Who.
    pub who: Charged,
    /// By which limit.
    pub limit: &'static str,
    /// How often within the hour.
    pub times: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Meters {
    quotas: Quotas,
    meters: BTreeMap<(Charged, &'static str), Mono>,
    limited: BTreeMap<(Charged, &'static str), (u64, Mono)>,
    times: u64,
}

impl Meters {
    pub(crate) fn new(quotas: Quotas) -> Self {
        Self { quotas, meters: BTreeMap::new(), limited: BTreeMap::new(), times: 0 }
    }

    pub(crate) fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// Charges `key` and the address that it comes from; if one of them is over its limit, says
    /// after which time there is room, and charges nobody.
    pub(crate) fn charge(
        &mut self,
        key: PublicKey,
        address: Option<AddressClass>,
        toll: Toll,
        standing: Standing,
        now: Now,
    ) -> Result<(), Duration> {
        let weight = if standing == Standing::Link { LINK_WEIGHT } else { 1 };
        let of_key = (Charged::Key(key), self.quotas.key);
        let of_address = address.map(|class| (Charged::Address(class), self.quotas.address));
        let mut moved = Vec::new();
        for (who, allowance) in std::iter::once(of_key).chain(of_address) {
            let (amount, Rate { a_minute, burst }) = toll.amount_and_rate(&allowance);
            let (a_minute, burst) = (a_minute.saturating_mul(weight), burst.saturating_mul(weight));
            moved.push(self.moved((who, toll.name()), amount, Rate { a_minute, burst }, now)?);
        }
        self.meters.extend(moved);
        Ok(())
    }

    /// Whether a statement of `signer` that others tell is to be passed on; charges him.
    pub(crate) fn passes_on(&mut self, signer: PublicKey, now: Now) -> bool {
        let moved =
            self.moved((Charged::Key(signer), "gossip"), 1, self.quotas.gossip_a_signer, now);
        moved.map(|(name, ahead)| self.meters.insert(name, ahead)).is_ok()
    }

    /// Where `amount` moves the meter of that name; if that is over the limit, after which time there is room.
    fn moved(
        &mut self,
        (who, limit): (Charged, &'static str),
        amount: u64,
        rate: Rate,
        now: Now,
    ) -> Result<((Charged, &'static str), Mono), Duration> {
        let name = (self.metered(who, limit), limit);
        let at = self.meters.get(&name).copied().unwrap_or_default().max(now.mono);
        let burst = time_of(rate.burst, rate.a_minute);
        // What is larger than a burst would never be taken.
        let ahead = at + time_of(amount, rate.a_minute).min(burst);
        let allowed = now.mono + burst;
        if ahead > allowed {
            self.remember((who, limit), now);
            return Err(ahead - allowed);
        }
        Ok((name, ahead))
    }

    /// Those who were limited within the hour.
    pub(crate) fn limited(&self) -> impl Iterator<Item = Limited> + '_ {
        let limited = self.limited.iter();
        limited.map(|((who, limit), (times, _))| Limited { who: *who, limit, times: *times })
    }

    /// How many there are.
    pub(crate) fn limited_now(&self) -> usize {
        self.limited.len()
    }

    /// How often anybody was.
    pub(crate) fn times(&self) -> u64 {
        self.times
    }

    /// Forgets meters that have nothing to say.
    pub(crate) fn forget(&mut self, now: Now) {
        self.meters.retain(|_, ahead| *ahead > now.mono);
        self.limited.retain(|_, (_, last)| *last + REMEMBERED > now.mono);
    }

    fn metered(&self, who: Charged, limit: &'static str) -> Charged {
        let has_one = self.meters.contains_key(&(who, limit));
        if has_one || self.meters.len() < MAX_METERS { who } else { Charged::Others }
    }

    fn remember(&mut self, name: (Charged, &'static str), now: Now) {
        self.times += 1;
        if self.limited.len() < MAX_LIMITED || self.limited.contains_key(&name) {
            let (times, last) = self.limited.entry(name).or_insert((0, now.mono));
            (*times, *last) = (*times + 1, now.mono);
        }
    }
}

/// How long `count` takes at `a_minute`.
fn time_of(count: u64, a_minute: u64) -> Duration {
    const MINUTE_NANOS: u128 = 60_000_000_000;
    let nanos = u128::from(count) * MINUTE_NANOS / u128::from(a_minute.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use capability::Timestamp;

    use super::*;

    const ALICE: PublicKey = PublicKey::from_bytes([1; 32]);
    const BOB: PublicKey = PublicKey::from_bytes([2; 32]);
    const HERE: Option<AddressClass> = Some(AddressClass(7));

    fn at(seconds: u64) -> Now {
        let time = Duration::from_secs(seconds);
        Now { mono: Mono(time), wall: Timestamp(0) + time }
    }

    fn meters(of_key: Rate, of_address: Rate) -> Meters {
        let all = |rate| Allowance { calls: rate, custody: rate, uploads: rate };
        Meters::new(Quotas { key: all(of_key), address: all(of_address), ..Quotas::default() })
    }

    const FEW: Rate = Rate { a_minute: 60, burst: 3 };
    const MANY: Rate = Rate { a_minute: 6_000, burst: 300 };

    #[test]
    fn who_is_over_the_limit_is_told_when_to_come_again_and_then_has_room() {
        let mut meters = meters(FEW, MANY);
        let mut charge = |now| meters.charge(ALICE, HERE, Toll::Call(1), Standing::Peer, now);
        (0..3).for_each(|_| charge(at(0)).expect("a burst"));
        assert_eq!(charge(at(0)), Err(Duration::from_secs(1)));
        assert_eq!(charge(at(0)), Err(Duration::from_secs(1)), "a refusal costs nothing");
        assert_eq!(charge(at(1)), Ok(()));
        assert!(charge(at(1)).is_err());
        let limited: Vec<_> = meters.limited().collect();
        assert_eq!((limited[0].who, limited[0].times), (Charged::Key(ALICE), 3));
        assert_eq!(meters.times(), 3);
    }

    #[test]
    fn many_keys_at_one_address_share_its_limit_and_others_have_their_own() {
        let mut meters = meters(MANY, FEW);
        for n in 0..3 {
            let key = PublicKey::from_bytes([n; 32]);
            meters.charge(key, HERE, Toll::Call(1), Standing::Peer, at(0)).expect("a burst");
        }
        assert!(meters.charge(BOB, HERE, Toll::Call(1), Standing::Peer, at(0)).is_err());
        assert_eq!(
            meters.charge(BOB, Some(AddressClass(8)), Toll::Call(1), Standing::Peer, at(0)),
            Ok(())
        );
        assert_eq!(meters.charge(BOB, None, Toll::Call(1), Standing::Peer, at(0)), Ok(()));
    }

    #[test]
    fn kinds_are_metered_apart_size_counts_and_links_have_more() {
        let mut meters = meters(FEW, MANY);
        let large = Toll::Call(3 * CALL_UNIT);
        assert_eq!(meters.charge(ALICE, None, large, Standing::Peer, at(0)), Ok(()));
        assert!(meters.charge(ALICE, None, Toll::Call(1), Standing::Peer, at(0)).is_err());
        assert_eq!(meters.charge(ALICE, None, Toll::Custody(1), Standing::Peer, at(0)), Ok(()));
        let mut brought =
            |bytes| meters.charge(BOB, None, Toll::Call(bytes), Standing::Link, at(0));
        (0..16).for_each(|_| brought(3 * CALL_UNIT).expect("the allowance of sixteen"));
        assert!(brought(1).is_err());
    }

    #[test]
    fn what_is_larger_than_a_burst_is_taken_by_who_has_taken_nothing() {
        let mut meters = meters(FEW, MANY);
        let mut charge =
            |now| meters.charge(ALICE, None, Toll::Upload(1 << 40), Standing::Peer, now);
        assert_eq!(charge(at(0)), Ok(()));
        assert_eq!(charge(at(1)), Err(Duration::from_secs(2)));
        assert_eq!(charge(at(3)), Ok(()));
    }

    #[test]
    fn meters_are_forgotten_when_they_say_nothing_and_bounded_before() {
        let mut meters = meters(FEW, MANY);
        for n in 0..MAX_METERS + 10 {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&n.to_be_bytes());
            // The last ones share a meter, which they overrun.
            let _ = meters.charge(
                PublicKey::from_bytes(key),
                None,
                Toll::Call(1),
                Standing::Peer,
                at(0),
            );
        }
        assert_eq!(meters.meters.len(), MAX_METERS + 1);
        meters.forget(at(60));
        assert_eq!(meters.meters.len(), 0);
        meters.forget(at(2 * 60 * 60));
        assert_eq!(meters.limited_now(), 0);
    }
}
