//! The memory of requests that were taken, for the mesh and the door together: none is taken by both.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use capability::statements::Request;
use capability::{Ed25519, PublicKey, Timestamp, Verified};
use mesh_core::{Ask, RequestError, RequestGuard};

/// See the module. Clones share it.
#[derive(Debug, Clone)]
pub struct Guard(Arc<Mutex<RequestGuard>>);

impl Guard {
    /// A guard for the node with key `me`.
    pub fn new(me: PublicKey) -> Self {
        Self(Arc::new(Mutex::new(RequestGuard::new(me))))
    }

    /// As [`RequestGuard::admit`].
    pub fn admit(
        &self,
        bytes: &[u8],
        peer: PublicKey,
        now: Timestamp,
    ) -> Result<Ask, RequestError> {
        self.lock().admit(bytes, peer, now, &Ed25519)
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
