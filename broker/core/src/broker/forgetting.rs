//! What a restored broker lets go: the pools of epochs in which it granted what it does not remember.

use std::collections::BTreeSet;

use capability::statements::Home;
use capability::{ProjectKey, StatementId, Verified};
use mesh_core::{Now, Write};

use super::Broker;
use super::restoring::{Records, RestoreError, decode, offer_in, take};
use crate::lease_table::PoolRecord;
use crate::record;

/// Kinds of records that are about a pool.
const OF_POOLS: [u8; 3] = [record::POOL, record::SETTLED, record::SLOTS];

impl Broker {
    /// Takes up whether the records come from a back-up, and if so, drops those of old pools. To be
    /// called when the offers are known, and the pools are not.
    pub(super) fn forget_past_epochs(
        &mut self,
        records: &mut Records,
        now: Now,
    ) -> Result<(), RestoreError> {
        for (key, value) in take(records, record::RESTORED) {
            self.owed.restore(&decode(&key, &value)?, now.wall);
            if !self.owed.is_restored() {
                self.turn.writes.push(Write::delete(key));
            }
        }
        for (key, value) in take(records, record::PAST_EPOCH) {
            let project = record::project_in(&key).ok_or(RestoreError::Key('y'))?;
            self.owed.restore_past(project, decode(&key, &value)?);
            if !self.owed.is_restored() {
                self.turn.writes.push(Write::delete(key));
            }
        }
        let ours = self.book.homes().filter(|home| home.home == self.me);
        let shown: Vec<(ProjectKey, u64)> = ours.map(project_and_epoch).collect();
        let first =
            shown.into_iter().filter_map(|(project, epoch)| self.owed.shown(project, epoch));
        self.turn.writes.extend(first);
        self.drop_past_pools(records)
    }

    fn drop_past_pools(&mut self, records: &mut Records) -> Result<(), RestoreError> {
        let mut past: BTreeSet<StatementId> = BTreeSet::new();
        for (key, value) in records.get(&record::POOL).into_iter().flatten() {
            let PoolRecord { epoch } = decode(key, value)?;
            let offer = self.book.offer(offer_in(key)?);
            if offer.is_some_and(|offer| self.owed.is_past(offer.project, epoch)) {
                past.extend(offer.map(Verified::id));
            }
        }
        for kind in OF_POOLS {
            let of_kind = records.entry(kind).or_default();
            let gone = of_kind.extract_if(.., |(key, _)| {
                record::offer_in(key).is_some_and(|offer| past.contains(&offer))
            });
            self.turn.writes.extend(gone.map(|(key, _)| Write::delete(key)));
        }
        Ok(())
    }
}

fn project_and_epoch(home: &Verified<Home>) -> (ProjectKey, u64) {
    (home.project, home.epoch)
}
