//! Requests: questions that are bound to one peer and one moment, so that they cannot be replayed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::statements::Request;
use capability::{
    MAX_CLOCK_SKEW, PublicKey, Signer, StatementError, Timestamp, Verified, Verifier,
};
use thiserror::Error;

use crate::message::{Ask, MessageError};

/// How long a request holds: longer than any queue between two peers should be.
pub const REQUEST_LIFETIME: Duration = Duration::from_secs(30);

/// Nonces remembered of one peer at most. A peer that asks faster is refused until some expire.
pub const MAX_NONCES_A_PEER: usize = 65_536;

/// Nonces remembered of all peers together at most: some 100 MB.
pub const MAX_NONCES: usize = 1_000_000;

/// A request was not taken.
#[derive(Debug, Error)]
pub enum RequestError {
    /// The statement around it.
    #[error("the request")]
    Statement(#[from] StatementError),
    /// It has expired (S9).
    #[error(
        "the request has expired: its sender's clock is over 5 minutes behind, or it was long on its way"
    )]
    Late,
    /// It expires later than any request could (S9).
    #[error("the request is from the future: its sender's clock is over 5 minutes ahead")]
    Early,
    /// What is in it.
    #[error("the request's body")]
    Message(#[from] MessageError),
    /// It was meant for somebody else.
    #[error("the request is for {0:?}")]
    Audience(PublicKey),
    /// The peer that sent it did not sign it.
    #[error("the request was signed by {0:?}, not by the peer that sent it")]
    NotSender(PublicKey),
    /// It was taken before.
    #[error("the request was seen before")]
    Replayed,
    /// The peer, or all peers together, ask faster than nonces can be forgotten.
    #[error("more requests within their lifetime than can be remembered")]
    TooMany,
}

/// Signs `ask` for `audience`.
pub fn seal(
    ask: &Ask,
    audience: PublicKey,
    nonce: u64,
    now: Timestamp,
    signer: &dyn Signer,
) -> Verified<Request> {
    seal_body(ask.encode(), audience, nonce, now, signer)
}

/// Signs a question that is encoded already for `audience`.
pub fn seal_body(
    body: Vec<u8>,
    audience: PublicKey,
    nonce: u64,
    now: Timestamp,
    signer: &dyn Signer,
) -> Verified<Request> {
    let expires = now + REQUEST_LIFETIME;
    Verified::sign(Request { audience, nonce, expires, body }, signer)
}

/// Checks that a request is sound, current and meant for `audience`: all but whether it was taken
/// before ([`RequestGuard::take`]), so that many can be checked at a time.
pub fn check_request(
    bytes: &[u8],
    audience: PublicKey,
    now: Timestamp,
    verifier: &dyn Verifier,
) -> Result<Verified<Request>, RequestError> {
    let request = Verified::<Request>::parse(bytes, verifier)?;
    request.current(now).map_err(|_| untimely(&request, now))?;
    if request.audience == audience {
        Ok(request)
    } else {
        Err(RequestError::Audience(request.audience))
    }
}

/// Takes each request for one node once.
#[derive(Debug)]
pub struct RequestGuard {
    me: PublicKey,
    /// By peer, the nonces taken.
    taken: BTreeMap<PublicKey, BTreeSet<u64>>,
    /// The same, in the order in which they can be forgotten.
    by_end: BTreeSet<(Timestamp, PublicKey, u64)>,
}

impl RequestGuard {
    /// A guard for the node with key `me`.
    pub fn new(me: PublicKey) -> Self {
        Self { me, taken: BTreeMap::new(), by_end: BTreeSet::new() }
    }

    /// Checks a request that came from `peer`, and gives what it asks.
    pub fn admit(
        &mut self,
        bytes: &[u8],
        peer: PublicKey,
        now: Timestamp,
        verifier: &dyn Verifier,
    ) -> Result<Ask, RequestError> {
        let request = check_request(bytes, self.me, now, verifier)?;
        if request.signer() != peer {
            return Err(RequestError::NotSender(request.signer()));
        }
        self.take(&request, now)?;
        Ok(Ask::decode(&request.body, verifier)?)
    }

    /// Takes a request that [`check_request`] has found sound, unless it was taken before.
    pub fn take(
        &mut self,
        request: &Verified<Request>,
        now: Timestamp,
    ) -> Result<(), RequestError> {
        self.remember(request.signer(), request.nonce, request.expires, now)
    }

    /// Forgets what can no longer be replayed, and looks at nothing else. To be called now and
    /// then, so that a peer that has left leaves nothing behind.
    pub fn forget(&mut self, now: Timestamp) {
        while let Some((until, peer, nonce)) = self.by_end.first().copied()
            && until <= now
        {
            self.by_end.remove(&(until, peer, nonce));
            if let Some(nonces) = self.taken.get_mut(&peer) {
                nonces.remove(&nonce);
                if nonces.is_empty() {
                    self.taken.remove(&peer);
                }
            }
        }
    }

    fn remember(
        &mut self,
        peer: PublicKey,
        nonce: u64,
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<(), RequestError> {
        self.forget(now);
        let of_peer = self.taken.get(&peer);
        if of_peer.is_some_and(|nonces| nonces.contains(&nonce)) {
            return Err(RequestError::Replayed);
        }
        let full = of_peer.is_some_and(|nonces| nonces.len() >= MAX_NONCES_A_PEER);
        // A peer that is refused leaves nothing behind, or new keys would take the memory instead.
        if full || self.by_end.len() >= MAX_NONCES {
            return Err(RequestError::TooMany);
        }
        // A request is current until its expiry plus the skew that `current` allows.
        self.by_end.insert((expires + MAX_CLOCK_SKEW, peer, nonce));
        self.taken.entry(peer).or_default().insert(nonce);
        Ok(())
    }
}

/// Requests hold for half a minute, so that one out of time says that a clock is wrong.
fn untimely(request: &Request, now: Timestamp) -> RequestError {
    if request.expires < now { RequestError::Late } else { RequestError::Early }
}

#[cfg(test)]
mod tests {
    use capability::{Ed25519, SecretKey, StatementId};

    use super::*;
    use crate::message::JobNeeds;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn ask() -> Ask {
        Ask::Explain(JobNeeds::Offer(StatementId::from_bytes([5; 32])))
    }

    #[test]
    fn a_request_is_taken_once_by_its_audience_from_its_signer_in_time() {
        let (peer, me) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
        let other = SecretKey::from_seed(&[3; 32]).public();
        let mut guard = RequestGuard::new(me.public());
        let sealed = seal(&ask(), me.public(), 7, NOW, &peer);
        let bytes = sealed.envelope().as_bytes();
        let mut admit = |bytes: &[u8], from, now| guard.admit(bytes, from, now, &Ed25519);

        assert!(matches!(admit(bytes, other, NOW), Err(RequestError::NotSender(_))));
        assert_eq!(admit(bytes, peer.public(), NOW).expect("sound"), ask());
        assert!(matches!(admit(bytes, peer.public(), NOW), Err(RequestError::Replayed)));

        let late = NOW + REQUEST_LIFETIME + MAX_CLOCK_SKEW;
        assert!(matches!(admit(bytes, peer.public(), late), Err(RequestError::Late)));
        let early = Timestamp(NOW.0 - 6 * 60 * 1000);
        assert!(matches!(admit(bytes, peer.public(), early), Err(RequestError::Early)));

        let elsewhere = seal(&ask(), other, 8, NOW, &peer);
        let bytes = elsewhere.envelope().as_bytes();
        assert!(matches!(admit(bytes, peer.public(), NOW), Err(RequestError::Audience(_))));
    }

    #[test]
    fn a_nonce_is_remembered_as_long_as_it_could_be_replayed() {
        let (peer, me) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
        let mut guard = RequestGuard::new(me.public());
        let sealed = seal(&ask(), me.public(), 7, NOW, &peer);
        let bytes = sealed.envelope().as_bytes();
        guard.admit(bytes, peer.public(), NOW, &Ed25519).expect("sound");

        let last = NOW + REQUEST_LIFETIME + MAX_CLOCK_SKEW.saturating_sub(Duration::from_millis(1));
        guard.forget(last);
        let again = guard.admit(bytes, peer.public(), last, &Ed25519);
        assert!(matches!(again, Err(RequestError::Replayed)));
    }

    fn stranger(n: u32) -> PublicKey {
        let mut bytes = [9; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        PublicKey::from_bytes(bytes)
    }

    #[test]
    fn who_is_refused_leaves_nothing_behind() {
        let mut guard = RequestGuard::new(stranger(0));
        let (soon, later) = (NOW, NOW + REQUEST_LIFETIME);
        for n in 0..u32::try_from(MAX_NONCES).expect("a million") {
            let peer = stranger(n / u32::try_from(MAX_NONCES_A_PEER).expect("small"));
            let expires = if n % 2 == 0 { soon } else { later };
            guard.remember(peer, n.into(), expires, NOW).expect("there is room");
        }
        let peers = guard.taken.len();
        for n in 100..200 {
            let refused = guard.remember(stranger(n), 0, later, NOW);
            assert!(matches!(refused, Err(RequestError::TooMany)));
        }
        assert_eq!(guard.taken.len(), peers);

        let now = soon + MAX_CLOCK_SKEW;
        assert!(guard.remember(stranger(100), 0, later, now).is_ok(), "half of them are over");
        guard.forget(later + MAX_CLOCK_SKEW);
        assert!(guard.taken.is_empty() && guard.by_end.is_empty());
    }

    #[test]
    fn one_peer_takes_a_share_of_the_nonces() {
        let mut guard = RequestGuard::new(stranger(0));
        let mut remember = |peer, nonce, now| guard.remember(stranger(peer), nonce, NOW, now);
        let all = u64::try_from(MAX_NONCES_A_PEER).expect("small");
        assert!((0..all).all(|nonce| remember(1, nonce, NOW).is_ok()));
        assert!(matches!(remember(1, all, NOW), Err(RequestError::TooMany)));
        assert!(matches!(remember(1, 0, NOW), Err(RequestError::Replayed)));
        assert!(remember(2, 0, NOW).is_ok());
        assert!(remember(1, all, NOW + MAX_CLOCK_SKEW).is_ok());
    }
}
