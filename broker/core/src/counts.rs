//! How many machines could run each of the offers that are being shown, so that a volunteer can
//! choose work that few others could do.
//!
//! A count looks at many ads, and ads change all the time. So it is told for a minute whatever
//! happens meanwhile, and only so many are made in that time: it is advice, which may be left out.

use std::collections::BTreeMap;
use std::time::Duration;

use capability::StatementId;
use mesh_core::Mono;

/// How long a count is told.
const COUNT_KEPT: Duration = Duration::from_secs(60);
/// Offers counted for at a time. A count takes 3 ms at most (`MAX_COUNT_JUDGEMENTS` of `ad_table`), so this is a
/// twentieth of a core for a broker whose volunteers go out of their way, and far less for any other.
const MAX_COUNTS: usize = 1_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// How many, and until when that is told.
    of: BTreeMap<StatementId, (u32, Mono)>,
}

impl Counts {
    /// How many could run `offer`: what is known, or else what `count` finds, unless there have been
    /// too many counts lately.
    pub(crate) fn of(
        &mut self,
        offer: StatementId,
        now: Mono,
        count: impl FnOnce() -> u32,
    ) -> Option<u32> {
        if let Some((known, _)) = self.of.get(&offer).filter(|(_, until)| *until > now) {
            return Some(*known);
        }
        if self.of.len() >= MAX_COUNTS && !self.of.contains_key(&offer) {
            return None;
        }
        let count = count();
        self.of.insert(offer, (count, now + COUNT_KEPT));
        Some(count)
    }

    /// Forgets what is not told any more.
    pub(crate) fn expire(&mut self, now: Mono) {
        self.of.retain(|_, (_, until)| *until > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(n: usize) -> StatementId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&n.to_le_bytes());
        StatementId::from_bytes(id)
    }

    #[test]
    fn a_count_is_made_once_a_minute() {
        let (mut counts, start) = (Counts::default(), Mono::default());
        assert_eq!(counts.of(offer(1), start, || 7), Some(7));
        let late = start + (COUNT_KEPT - Duration::from_millis(1));
        assert_eq!(counts.of(offer(1), late, || panic!("it is known")), Some(7));
        assert_eq!(counts.of(offer(1), start + COUNT_KEPT, || 8), Some(8));
    }

    #[test]
    fn only_so_many_counts_are_made_at_a_time() {
        let (mut counts, start) = (Counts::default(), Mono::default());
        for n in 0..MAX_COUNTS {
            assert_eq!(counts.of(offer(n), start, || 1), Some(1));
        }
        assert_eq!(counts.of(offer(MAX_COUNTS), start, || panic!("one too many")), None);
        assert_eq!(counts.of(offer(0), start, || panic!("it is known")), Some(1));
        counts.expire(start + COUNT_KEPT);
        assert_eq!(counts.of(offer(MAX_COUNTS), start + COUNT_KEPT, || 1), Some(1));
    }
}
