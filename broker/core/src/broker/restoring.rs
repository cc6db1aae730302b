//! A broker takes up again what a former process had made durable.

use std::collections::BTreeMap;
use std::sync::Arc;

use capability::statements::{Home, Offer, Registration};
use capability::{
    CborError, Payload, Signer, StatementError, StatementId, Verified, Verifier, decode_cbor,
};
use mesh_core::{BundleError, CUSTODY_PREFIX, Gossip, MAX_FRAME_BYTES, Now, Write};
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::{Broker, BrokerConfig};
use crate::lease_table::{PoolRecord, RestoredSlot, SlotRecord};
use crate::record;

/// The durable state cannot be read.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// A record of a kind that this program does not write.
    #[error("a record of unknown kind {0:#04x}; a newer version may have written it")]
    Kind(u8),
    /// A key is not what its kind prescribes.
    #[error("malformed key of a record of kind `{0}`")]
    Key(char),
    /// The value is no statement of its kind.
    #[error("the statement in a record of kind `{kind}`")]
    Statement {
        /// The first byte of its key.
        kind: char,
        /// What is wrong.
        source: StatementError,
    },
    /// The value is not what its kind prescribes.
    #[error("malformed record of kind `{kind}`")]
    Record {
        /// The first byte of its key.
        kind: char,
        /// What is wrong.
        source: CborError,
    },
    /// A bundle in custody.
    #[error("a record of custody or of receipts")]
    Bundle(#[from] BundleError),
}

type Slots = BTreeMap<Vec<u8>, Vec<u8>>;

pub(super) type Records = BTreeMap<u8, Vec<(Vec<u8>, Vec<u8>)>>;

impl Broker {
    /// A broker that remembers `records`, in any order: the writes of its former commits.
    ///
    /// Every lease in them gets one more term, counted from `now`.
    pub fn restore(
        records: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
        config: BrokerConfig,
        signer: Arc<dyn Signer>,
        verifier: Arc<dyn Verifier>,
        now: Now,
    ) -> Result<Self, RestoreError> {
        let mut broker = Self::new(config, signer, verifier, now);
        let mut by_kind = Records::new();
        for (key, value) in records {
            let kind = key.first().copied().unwrap_or_default();
            by_kind.entry(kind).or_default().push((key, value));
        }
        broker.restore_book(&mut by_kind)?;
        broker.forget_past_epochs(&mut by_kind, now)?;
        broker.restore_leases(&mut by_kind, now)?;
        for (key, value) in take(&mut by_kind, record::RECEIPT) {
            broker.receipts.restore(&key, &value, &*broker.verifier)?;
        }
        for (key, value) in take(&mut by_kind, CUSTODY_PREFIX) {
            broker.custody.restore(&key, &value, &*broker.verifier)?;
        }
        // A former version has kept them.
        broker.drop_void_receipts(|_| true);
        match by_kind.first_key_value() {
            Some((kind, _)) => Err(RestoreError::Kind(*kind)),
            None => Ok(broker),
        }
    }

    fn restore_book(&mut self, records: &mut Records) -> Result<(), RestoreError> {
        for (key, value) in take(records, record::REVOCATION) {
            let revocation = self.statement(&key, &value)?;
            self.book.keys_mut().revoke(&revocation);
            self.known.admit(&Gossip::Revocation(revocation));
        }
        for (key, value) in take(records, record::SUCCESSION) {
            let succession = self.statement(&key, &value)?;
            self.book.keys_mut().pass_on(&succession);
            self.known.admit(&Gossip::Succession(succession));
        }
        for (key, value) in take(records, record::BLOCKED) {
            let whom = record::whom_in(&key).ok_or(RestoreError::Key('k'))?;
            self.rules.blocked.insert(whom, decode(&key, &value)?);
        }
        for (key, value) in take(records, record::TAKEN_DOWN) {
            let content = record::content_in(&key).ok_or(RestoreError::Key('t'))?;
            self.rules.taken_down.insert(content, decode(&key, &value)?);
        }
        for (key, value) in take(records, record::WITHDRAWAL) {
            let withdrawal = self.statement(&key, &value)?;
            self.book.restore_withdrawal(&withdrawal);
            self.known.admit(&Gossip::Withdrawal(withdrawal));
        }
        for (key, value) in take(records, record::REGISTRATION) {
            let registration: Verified<Registration> = self.statement(&key, &value)?;
            self.known.admit(&Gossip::Registration(registration.clone()));
            self.book.insert_registration(registration);
        }
        for (key, value) in take(records, record::HOME) {
            let home: Verified<Home> = self.statement(&key, &value)?;
            self.known.admit(&Gossip::Home(home.clone()));
            self.admitted.acts_for(home.signer(), home.project);
            self.book.insert_home(home);
        }
        for (key, value) in take(records, record::OFFER) {
            let offer: Verified<Offer> = self.statement(&key, &value)?;
            self.known.admit(&Gossip::Offer(offer.clone()));
            self.book.make_durable(offer.id());
            self.book.insert_offer(offer);
        }
        Ok(())
    }

    fn restore_leases(&mut self, records: &mut Records, now: Now) -> Result<(), RestoreError> {
        for (key, value) in take(records, record::POOL) {
            let PoolRecord { epoch } = decode(&key, &value)?;
            // The end of an offer may have been cut off between two commits: what is left of a pool
            // without its offer means nothing.
            if let Some(offer) = self.book.offer(offer_in(&key)?) {
                self.leases.restore_pool(offer, epoch);
            }
        }
        for (key, value) in take(records, record::SETTLED) {
            let ranges: Vec<(u32, u32)> = decode(&key, &value)?;
            let number = record::number_in(&key).ok_or(RestoreError::Key('s'))?;
            self.leases.restore_settled(offer_in(&key)?, number, &ranges);
        }
        for (key, value) in self.restore_slots(records)? {
            let task = record::task_in(&key).ok_or(RestoreError::Key('l'))?;
            let slot = match decode(&key, &value)? {
                SlotRecord::Leased { lease, owner } => {
                    let lease = Verified::check(&lease, &*self.verifier)
                        .map_err(|source| RestoreError::Statement { kind: 'l', source })?;
                    RestoredSlot::Leased { lease, owner }
                }
                SlotRecord::Returned { result, holder } => {
                    RestoredSlot::Returned { result, holder }
                }
                SlotRecord::Done(holder) => RestoredSlot::Done { holder },
            };
            self.leases.restore_slot(task, slot, now);
        }
        Ok(())
    }

    /// What the slots of pools are, each by its key.
    fn restore_slots(&mut self, records: &mut Records) -> Result<Slots, RestoreError> {
        let mut slots = Slots::new();
        for (key, value) in take(records, record::SLOTS) {
            let number = record::number_in(&key).ok_or(RestoreError::Key('q'))?;
            let changes = self.slot_log.restore(offer_in(&key)?, number, &value);
            let changes = changes.map_err(|source| RestoreError::Record { kind: 'q', source })?;
            for change in changes {
                match change {
                    Write::Put { key, value } => drop(slots.insert(key, value)),
                    Write::Delete { key } => drop(slots.remove(&key)),
                }
            }
        }
        let stray = self.slot_log.retain(|offer| self.leases.open(offer).is_some());
        self.turn.writes.extend(stray);
        Ok(slots)
    }

    fn statement<T: Payload>(&self, key: &[u8], value: &[u8]) -> Result<Verified<T>, RestoreError> {
        let statement = Verified::parse(value, &*self.verifier);
        statement.map_err(|source| RestoreError::Statement { kind: kind(key), source })
    }
}

pub(super) fn take(records: &mut Records, kind: u8) -> Vec<(Vec<u8>, Vec<u8>)> {
    records.remove(&kind).unwrap_or_default()
}

pub(super) fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, RestoreError> {
    decode_cbor(value, MAX_FRAME_BYTES)
        .map_err(|source| RestoreError::Record { kind: kind(key), source })
}

pub(super) fn offer_in(key: &[u8]) -> Result<StatementId, RestoreError> {
    record::offer_in(key).ok_or_else(|| RestoreError::Key(kind(key)))
}

fn kind(key: &[u8]) -> char {
    key.first().copied().map_or('?', char::from)
}
