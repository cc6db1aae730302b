//! Not verifying again what has been verified.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::key::{PublicKey, Signature, ToBeSigned, Verifier};

/// Roots that are remembered: the batches whose leaves a node sees mixed together are some dozens,
/// and a thousand take 64 KiB. The oldest goes first, whoever signed it: who signs a thousand batches
/// has those of others verified again, which costs time and nothing else.
const MAX_ROOTS: usize = 1024;

/// A verifier that remembers the roots of batches that were genuine, so that a batch of 256 costs
/// one verification and not 256.
///
/// What is remembered is the hash of key, signature and message, and only after `V` took them: who
/// changes any bit of them is not known here.
pub struct RememberingRoots<V> {
    verifier: V,
    roots: Mutex<Roots>,
}

#[derive(Default)]
struct Roots {
    known: BTreeSet<[u8; blake3::OUT_LEN]>,
    /// The same, the oldest first.
    order: VecDeque<[u8; blake3::OUT_LEN]>,
}

impl<V> RememberingRoots<V> {
    /// Asks `verifier` about whatever is not remembered.
    pub fn new(verifier: V) -> Self {
        Self { verifier, roots: Mutex::default() }
    }

    fn is_known(&self, root: &[u8; blake3::OUT_LEN]) -> bool {
        self.roots.lock().unwrap_or_else(PoisonError::into_inner).known.contains(root)
    }

    fn remember(&self, root: [u8; blake3::OUT_LEN]) {
        let mut roots = self.roots.lock().unwrap_or_else(PoisonError::into_inner);
        if !roots.known.insert(root) {
            return;
        }
        roots.order.push_back(root);
        if roots.order.len() > MAX_ROOTS
            && let Some(oldest) = roots.order.pop_front()
        {
            roots.known.remove(&oldest);
        }
    }
}

impl<V: Verifier> Verifier for RememberingRoots<V> {
    fn verify(&self, key: &PublicKey, message: &ToBeSigned, signature: &Signature) -> bool {
        self.verifier.verify(key, message, signature)
    }

    fn verify_root(&self, key: &PublicKey, message: &ToBeSigned, signature: &Signature) -> bool {
        let mut hasher = blake3::Hasher::new();
        // The first two are of one length each, so that no two roots run together to the same bytes.
        hasher.update(key.as_bytes()).update(&signature.0).update(message.as_bytes());
        let root = *hasher.finalize().as_bytes();
        // The lock is not held meanwhile: two may verify the same root, and agree.
        self.is_known(&root) || {
            let genuine = self.verifier.verify_root(key, message, signature);
            if genuine {
                self.remember(root);
            }
            genuine
        }
    }
}

impl<V: Default> Default for RememberingRoots<V> {
    fn default() -> Self {
        Self::new(V::default())
    }
}

impl<V: fmt::Debug> fmt::Debug for RememberingRoots<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RememberingRoots").field("verifier", &self.verifier).finish_non_exhaustive()
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

    fn asked(verifier: &RememberingRoots<Counting>) -> usize {
        verifier.verifier.0.load(Ordering::Relaxed)
    }

    fn message(n: usize) -> ToBeSigned {
        ToBeSigned::new(n.to_le_bytes().to_vec())
    }

    #[test]
    fn a_root_is_verified_once_and_nothing_else_is_remembered() {
        let key = SecretKey::from_seed(&[1; 32]);
        let verifier = RememberingRoots::<Counting>::default();
        let genuine = key.sign(&message(0));
        for _ in 0..3 {
            assert!(verifier.verify_root(&key.public(), &message(0), &genuine));
        }
        assert_eq!(asked(&verifier), 1);
        for _ in 0..3 {
            assert!(verifier.verify(&key.public(), &message(0), &genuine));
        }
        assert_eq!(asked(&verifier), 4, "what is no root is none of its business");
    }

    #[test]
    fn a_root_that_differs_in_anything_is_verified_and_forgeries_are_not_remembered() {
        let (key, other) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
        let verifier = RememberingRoots::<Counting>::default();
        let genuine = key.sign(&message(0));
        assert!(verifier.verify_root(&key.public(), &message(0), &genuine));
        let mut changed = genuine;
        changed.0[63] ^= 1;
        for _ in 0..2 {
            assert!(!verifier.verify_root(&other.public(), &message(0), &genuine));
            assert!(!verifier.verify_root(&key.public(), &message(1), &genuine));
            assert!(!verifier.verify_root(&key.public(), &message(0), &changed));
        }
        assert_eq!(asked(&verifier), 7);
    }

    #[test]
    fn so_many_roots_are_remembered_and_the_oldest_is_forgotten_first() {
        let key = SecretKey::from_seed(&[1; 32]);
        let verifier = RememberingRoots::<Counting>::default();
        let verify = |n| verifier.verify_root(&key.public(), &message(n), &key.sign(&message(n)));
        assert!((0..=MAX_ROOTS).all(verify));
        assert_eq!(verifier.roots.lock().expect("nobody panics here").known.len(), MAX_ROOTS);
        assert!((1..=MAX_ROOTS).all(verify));
        assert_eq!(asked(&verifier), MAX_ROOTS + 1, "all but the first are known");
        assert!(verify(0));
        assert_eq!(asked(&verifier), MAX_ROOTS + 2);
    }
}
