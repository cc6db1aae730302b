//! The memory of requests that were taken, for the mesh and the door together: none is taken by both.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use capability::statements::Request;
use capability::{Ed25519, PublicKey, Remembering, Timestamp, Verified};
use mesh_core::{Ask, RequestError, RequestGuard};

/// See the module. Clones share it.
#[derive(Debug, Clone)]
pub struct Guard {
    memory: Arc<Mutex<RequestGuard>>,
    verifier: Arc<Remembering<Ed25519>>,
}

impl Guard {
    /// A guard for the node with key `me`.
    pub fn new(me: PublicKey, verifier: Arc<Remembering<Ed25519>>) -> Self {
        Self { memory: Arc::new(Mutex::new(RequestGuard::new(me))), verifier }
    }

    /// What it checks statements with.
    pub fn verifier(&self) -> &Remembering<Ed25519> {
        &self.verifier
    }

    /// As [`RequestGuard::admit`].
    pub fn admit(
        &self,
        bytes: &[u8],
        peer: PublicKey,
        now: Timestamp,
    ) -> Result<Ask, RequestError> {
        self.lock().admit(bytes, peer, now, &*self.verifier)
    }

    /// As [`RequestGuard::take`].
    pub fn take(&self, request: &Verified<Request>, now: Timestamp) -> Result<(), RequestError> {
        self.lock().take(request, now)
    }

    /// As [`RequestGuard::forget`].
    pub fn forget(&self, now: Timestamp) {
        self.lock().forget(now);
    }

    /// A nonce is in both of its places or in none when nothing panics between the two insertions.
    fn lock(&self) -> MutexGuard<'_, RequestGuard> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
