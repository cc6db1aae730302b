//! The ways that claims and renewals have come, which are the ways back to volunteers (rule C45).
//!
//! A volunteer is connected to its own brokers alone. Its renewals cross the mesh to the home every few seconds, and
//! each broker that they cross notes from which broker they came: so what is for the volunteer finds it, without
//! that anybody has to tell where it is, and finds it anew a moment after it has moved to another broker.

use std::collections::BTreeMap;
use std::time::Duration;

use capability::{PublicKey, Timestamp};
use mesh_core::Mono;

/// Volunteers noted at most; each takes some hundred bytes. Beyond, jobs run as ever and cannot be watched.
pub(crate) const MAX_WAYS: usize = 65_536;

/// A way on which nothing came for so long, six renewals, is none.
const STALE: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct WaysBack(BTreeMap<PublicKey, Way>);

#[derive(Debug)]
struct Way {
    from: PublicKey,
    /// When what came last expires: an older one may be somebody's repetition.
    expires: Timestamp,
    until: Mono,
}

impl WaysBack {
    /// Something that `volunteer` has signed, and that expires then, came `from` a broker.
    pub(crate) fn note(
        &mut self,
        volunteer: PublicKey,
        from: PublicKey,
        expires: Timestamp,
        now: Mono,
    ) {
        let known = self.0.get(&volunteer);
        let newer = known.map_or(self.0.len() < MAX_WAYS, |known| known.expires < expires);
        if newer {
            self.0.insert(volunteer, Way { from, expires, until: now + STALE });
        }
    }

    /// The broker next on the way to `volunteer`.
    pub(crate) fn to(&self, volunteer: PublicKey) -> Option<PublicKey> {
        self.0.get(&volunteer).map(|way| way.from)
    }

    /// Forgets ways on which nothing comes any more.
    pub(crate) fn expire(&mut self, now: Mono) {
        self.0.retain(|_, way| way.until > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Mono = Mono(Duration::from_secs(1000));

    fn key(n: u32) -> PublicKey {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        PublicKey::from_bytes(bytes)
    }

    #[test]
    fn the_newest_way_counts_and_a_repetition_changes_nothing() {
        let mut ways = WaysBack::default();
        ways.note(key(1), key(10), Timestamp(5), NOW);
        ways.note(key(1), key(11), Timestamp(5), NOW);
        ways.note(key(1), key(12), Timestamp(4), NOW);
        assert_eq!(ways.to(key(1)), Some(key(10)));
        ways.note(key(1), key(13), Timestamp(6), NOW);
        assert_eq!(ways.to(key(1)), Some(key(13)));
        ways.expire(NOW + STALE);
        assert_eq!(ways.to(key(1)), None);
    }

    #[test]
    fn strangers_without_number_take_no_room_from_those_that_are_known() {
        let mut ways = WaysBack::default();
        for n in 0..=u32::try_from(MAX_WAYS).expect("small") {
            ways.note(key(n), key(10), Timestamp(5), NOW);
        }
        assert_eq!(ways.0.len(), MAX_WAYS);
        ways.note(key(0), key(11), Timestamp(6), NOW);
        assert_eq!(ways.to(key(0)), Some(key(11)));
    }
}
