//! Not verifying again what has been verified.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::key::{PublicKey, Signature, ToBeSigned, Verifier};

/// Signatures that are remembered: the batches whose leaves a node sees mixed together are some
/// dozens, with the delegations and ownerships in them, and a thousand take 64 KiB. The oldest goes
/// first, whoever signed it: who signs a thousand batches has those of others verified again, which
/// costs time and nothing else.
const MAX_REMEMBERED: usize = 1024;

/// Of those, so many are kept as they are, some MiB at most: the leaves of a batch come one after another, and
/// comparing takes a tenth of the time that hashing does.
const MAX_RECENT: usize = 16;

/// A verifier that remembers what was genuine of what many statements bring along, so that a batch of
/// 256 receipts costs two verifications, of its root and of its delegation, and not 512.
///
/// What is remembered is key, signature and message, or the hash of them, and only after `V` took them: who
/// changes any bit of them is not known here.
pub struct Remembering<V> {
    verifier: V,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    all: BTreeSet<[u8; blake3::OUT_LEN]>,
    /// The same, the oldest first.
    order: VecDeque<[u8; blake3::OUT_LEN]>,
    /// What was asked about most recently, the newest first.
    recent: VecDeque<Carried>,
}

struct Carried {
    key: PublicKey,
    signature: Signature,
    message: Box<[u8]>,
}

impl<V> Remembering<V> {
    /// Asks `verifier` about whatever is not remembered.
    pub fn new(verifier: V) -> Self {
        Self { verifier, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn is_recent(&mut self, key: &PublicKey, message: &ToBeSigned, signature: &Signature) -> bool {
        let place = self.recent.iter().position(|it| {
            it.signature == *signature && it.key == *key && *it.message == *message.as_bytes()
        });
        if let Some(place) = place {
            self.recent.make_contiguous()[..=place].rotate_right(1);
        }
        place.is_some()
    }

    fn remember(&mut self, seen: [u8; blake3::OUT_LEN], carried: Carried) {
        self.recent.truncate(MAX_RECENT - 1);
        self.recent.push_front(carried);
        if !self.all.insert(seen) {
            return;
        }
        self.order.push_back(seen);
        if self.order.len() > MAX_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
    }
}

impl<V: Verifier> Verifier for Remembering<V> {
    fn verify(&self, key: &PublicKey, message: &ToBeSigned, signature: &Signature) -> bool {
        self.verifier.verify(key, message, signature)
    }

    fn verify_carried(&self, key: &PublicKey, message: &ToBeSigned, signature: &Signature) -> bool {
        if self.known().is_recent(key, message, signature) {
            return true;
        }
        let mut hasher = blake3::Hasher::new();
        // The first two are of one length each, so that no two run together to the same bytes.
        hasher.update(key.as_bytes()).update(&signature.0).update(message.as_bytes());
        let seen = *hasher.finalize().as_bytes();
        let is_known = self.known().all.contains(&seen);
        // The lock is not held meanwhile: two may verify the same, and agree.
        let genuine = is_known || self.verifier.verify_carried(key, message, signature);
        if genuine {
            let (signature, message) = (*signature, message.as_bytes().into());
            self.known().remember(seen, Carried { key: *key, signature, message });
        }
        genuine
    }
}

impl<V: Default> Default for Remembering<V> {
    fn default() -> Self {
        Self::new(V::default())
    }
}

impl<V: fmt::Debug> fmt::Debug for Remembering<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remembering").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::key::{Ed25519, SecretKey, Signer};

    /// Counts how often it is asked.
    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl Verifier for Counting {
        fn verify(&self, key: &PublicKey, message: &ToBeSigned, signature: &Signature) -> bool {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ed25519.verify(key, message, signature)
        }
    }

    fn asked(verifier: &Remembering<Counting>) -> usize {
        verifier.verifier.0.load(Ordering::Relaxed)
    }

    fn message(n: usize) -> ToBeSigned {
        ToBeSigned::new(n.to_le_bytes().to_vec())
    }

    #[test]
    fn what_is_carried_is_verified_once_and_nothing_else_is_remembered() {
        let key = SecretKey::from_seed(&[1; 32]);
        let verifier = Remembering::<Counting>::default();
        let genuine = key.sign(&message(0));
        for _ in 0..3 {
            assert!(verifier.verify_carried(&key.public(), &message(0), &genuine));
        }
        assert_eq!(asked(&verifier), 1);
        for _ in 0..3 {
            assert!(verifier.verify(&key.public(), &message(0), &genuine));
        }
        assert_eq!(asked(&verifier), 4, "what stands alone is none of its business");
    }

    #[test]
    fn what_differs_in_anything_is_verified_and_forgeries_are_not_remembered() {
        let (key, other) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
        let verifier = Remembering::<Counting>::default();
        let genuine = key.sign(&message(0));
        assert!(verifier.verify_carried(&key.public(), &message(0), &genuine));
        let mut changed = genuine;
        changed.0[63] ^= 1;
        for _ in 0..2 {
            assert!(!verifier.verify_carried(&other.public(), &message(0), &genuine));
            assert!(!verifier.verify_carried(&key.public(), &message(1), &genuine));
            assert!(!verifier.verify_carried(&key.public(), &message(0), &changed));
        }
        assert_eq!(asked(&verifier), 7);
    }

    #[test]
    fn so_many_are_remembered_and_the_oldest_is_forgotten_first() {
        let key = SecretKey::from_seed(&[1; 32]);
        let verifier = Remembering::<Counting>::default();
        let verify =
            |n| verifier.verify_carried(&key.public(), &message(n), &key.sign(&message(n)));
        assert!((0..=MAX_REMEMBERED).all(verify));
        assert_eq!(verifier.known.lock().expect("nobody panics here").all.len(), MAX_REMEMBERED);
        assert!((1..=MAX_REMEMBERED).all(verify));
        assert_eq!(asked(&verifier), MAX_REMEMBERED + 1, "all but the first are known");
        assert!(verify(0));
        assert_eq!(asked(&verifier), MAX_REMEMBERED + 2);
    }
}
