//! Keys of durable records. The first byte tells the kind; custody has one of its own.

use capability::statements::TaskId;
use capability::{ProjectKey, PublicKey, StatementId};

use crate::rules::{Content, Whom};

/// An offer that was published here: its bytes.
pub(crate) const OFFER: u8 = b'o';
/// A project's home: its bytes.
pub(crate) const HOME: u8 = b'h';
/// A project's registration: its bytes.
pub(crate) const REGISTRATION: u8 = b'p';
/// A withdrawal: its bytes.
pub(crate) const WITHDRAWAL: u8 = b'w';
/// A revocation: its bytes.
pub(crate) const REVOCATION: u8 = b'v';
/// A succession: its bytes.
pub(crate) const SUCCESSION: u8 = b'n';
/// That this broker grants an offer's tasks, and in which epoch.
pub(crate) const POOL: u8 = b'g';
/// Ranges of settled tasks of an offer, numbered in the order in which they were written.
pub(crate) const SETTLED: u8 = b's';
/// What became of one replica of one task: no record of its own, but a part of [`SLOTS`].
pub(crate) const SLOT: u8 = b'l';
/// What became of some replicas of an offer's tasks, numbered in the order in which it did.
pub(crate) const SLOTS: u8 = b'q';
/// A chunk of receipts.
pub(crate) const RECEIPT: u8 = b'r';

/// That the records come from a back-up, and since when: a key of one byte.
pub(crate) const RESTORED: u8 = b'x';
/// The epoch of a project in which a restored broker grants nothing, nor before.
pub(crate) const PAST_EPOCH: u8 = b'y';

/// Somebody who is turned away, and why.
pub(crate) const BLOCKED: u8 = b'k';
/// Something that was taken down, and why.
pub(crate) const TAKEN_DOWN: u8 = b't';

pub(crate) fn offer(offer: StatementId) -> Vec<u8> {
    key(OFFER, &[offer.as_bytes()])
}

pub(crate) fn home(project: ProjectKey) -> Vec<u8> {
    key(HOME, &[project.as_bytes()])
}

pub(crate) fn registration(project: ProjectKey) -> Vec<u8> {
    key(REGISTRATION, &[project.as_bytes()])
}

pub(crate) fn withdrawal(offer: StatementId, signer: PublicKey) -> Vec<u8> {
    key(WITHDRAWAL, &[offer.as_bytes(), signer.as_bytes()])
}

pub(crate) fn revocation(revoked: PublicKey, signer: PublicKey) -> Vec<u8> {
    key(REVOCATION, &[revoked.as_bytes(), signer.as_bytes()])
}

pub(crate) fn succession(signer: PublicKey, successor: PublicKey) -> Vec<u8> {
    key(SUCCESSION, &[signer.as_bytes(), successor.as_bytes()])
}

pub(crate) fn pool(offer: StatementId) -> Vec<u8> {
    key(POOL, &[offer.as_bytes()])
}

pub(crate) fn settled(offer: StatementId, number: u32) -> Vec<u8> {
    key(SETTLED, &[offer.as_bytes(), &number.to_be_bytes()])
}

pub(crate) fn slots(offer: StatementId, number: u32) -> Vec<u8> {
    key(SLOTS, &[offer.as_bytes(), &number.to_be_bytes()])
}

pub(crate) fn slot(id: TaskId) -> Vec<u8> {
    key(SLOT, &[id.offer.as_bytes(), &id.task.to_be_bytes(), &id.replica.to_be_bytes()])
}

pub(crate) fn past_epoch(project: ProjectKey) -> Vec<u8> {
    key(PAST_EPOCH, &[project.as_bytes()])
}

pub(crate) fn blocked(whom: &Whom) -> Vec<u8> {
    match whom {
        Whom::Key(blocked) => key(BLOCKED, &[&[0], blocked.as_bytes()]),
        Whom::Range(range) => key(BLOCKED, &[&[1], range.as_bytes()]),
    }
}

/// Who a key of [`BLOCKED`] is about.
pub(crate) fn whom_in(key: &[u8]) -> Option<Whom> {
    match (*key.get(1)?, key.get(2..)?) {
        (0, bytes) => Some(Whom::Key(PublicKey::from_bytes(bytes.try_into().ok()?))),
        (1, bytes) => Some(Whom::Range(String::from_utf8(bytes.to_vec()).ok()?)),
        _ => None,
    }
}

pub(crate) fn taken_down(it: Content) -> Vec<u8> {
    key(TAKEN_DOWN, &[&it.0])
}

/// What a key of [`TAKEN_DOWN`] is about.
pub(crate) fn content_in(key: &[u8]) -> Option<Content> {
    Some(Content(key.get(1..)?.try_into().ok()?))
}

/// The project that a key of [`PAST_EPOCH`] is about.
pub(crate) fn project_in(key: &[u8]) -> Option<ProjectKey> {
    Some(ProjectKey::from_bytes(key.get(1..33)?.try_into().ok()?))
}

/// The offer that a key of [`POOL`], [`SETTLED`] or [`SLOTS`] is about.
pub(crate) fn offer_in(key: &[u8]) -> Option<StatementId> {
    let bytes = key.get(1..33)?.try_into().ok()?;
    Some(StatementId::from_bytes(bytes))
}

/// The number in a key of [`SETTLED`] or [`SLOTS`].
pub(crate) fn number_in(key: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(key.get(33..37)?.try_into().ok()?))
}

/// The task that a key of [`SLOT`] is about.
pub(crate) fn task_in(key: &[u8]) -> Option<TaskId> {
    let task = u32::from_be_bytes(key.get(33..37)?.try_into().ok()?);
    let replica = u16::from_be_bytes(key.get(37..39)?.try_into().ok()?);
    Some(TaskId { offer: offer_in(key)?, task, replica })
}

fn key(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![kind];
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}
