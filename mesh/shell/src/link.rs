//! What a daemon does over the network, for use in tasks of its own: ask, hand over, move blobs.
//!
//! The event loop never waits for the network: it spawns a task with a clone of the [`Link`], and
//! the task's outcome comes back as an input of the core.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use capability::statements::MAX_PACKAGE_BYTES;
use capability::{
    BlobHash, Ed25519, PublicKey, Remembering, SecretKey, Signer, StatementError, StatementId,
};
use futures::future::try_join_all;
use mesh_core::{
    Answer, Ask, Bundle, BundleError, Handover, HandoverAnswer, HandoverFailed, MessageError,
    ReconcileAnswer, ReconcileAsk, decode_answers, decode_bundles, encode_bundles, seal,
};
use mesh_net::{BlobGet, BlobPut, IncomingBlob, Net, PeerKey, Protocol};
use mesh_store::BlobError;
use thiserror::Error;
use tracing::Instrument;

use crate::clock::Clock;
use crate::spans;
use crate::storage::{Storage, for_peer};

/// Rounds of "these blobs first" before a handover is given up until its next turn.
const MAX_BLOB_ROUNDS: usize = 3;

/// The network, the storage and the key of one daemon.
#[derive(Clone)]
pub struct Link {
    net: Net,
    storage: Storage,
    signer: Arc<SecretKey>,
    clock: Clock,
    nonce: Arc<AtomicU64>,
    /// Leases, results and receipts come in batches under one signature.
    verifier: Arc<Remembering<Ed25519>>,
}

/// A question had no answer.
#[derive(Debug, Error)]
pub enum AskFailed {
    /// The network.
    #[error("the peer did not answer")]
    Network(#[from] mesh_net::RequestError),
    /// The answer is not one.
    #[error("the peer's answer")]
    Answer(#[from] MessageError),
    /// A frame that is not CBOR.
    #[error("the peer's answer")]
    Frame(#[from] capability::CborError),
    /// A blob that the question needs could not be sent first.
    #[error("a blob that goes with it")]
    Blob(#[from] BlobFailed),
}

/// A blob could not be moved.
#[derive(Debug, Error)]
pub enum BlobFailed {
    /// Our own disk.
    #[error("here")]
    Here(#[from] BlobError),
    /// The network or the peer.
    #[error("at the peer")]
    There(#[from] mesh_net::BlobError),
    /// The peer's blob has another size than announced.
    #[error("a blob of {found} bytes where {expected} were announced")]
    Size {
        /// Bytes announced.
        expected: u64,
        /// Bytes received.
        found: u64,
    },
}

impl Link {
    /// `nonce` must differ from run to run: the wall clock in milliseconds will do, shifted.
    pub fn new(net: Net, storage: Storage, signer: Arc<SecretKey>, clock: Clock) -> Self {
        let nonce = Arc::new(AtomicU64::new(clock.now().wall.0 << 20));
        Self { net, storage, signer, clock, nonce, verifier: Arc::default() }
    }

    /// The network.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// The storage.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// The node's key.
    pub fn key(&self) -> PublicKey {
        self.signer.public()
    }

    pub(crate) fn signer(&self) -> &SecretKey {
        &self.signer
    }

    pub(crate) fn now(&self) -> mesh_core::Now {
        self.clock.now()
    }

    /// Different for each request of this node.
    pub(crate) fn next_nonce(&self) -> u64 {
        self.nonce.fetch_add(1, Ordering::Relaxed)
    }

    /// Asks `to`. Before offers go their packages.
    pub async fn ask(&self, to: PublicKey, ask: &Ask) -> Result<Answer, AskFailed> {
        self.put(to, ask).instrument(spans::of_ask(ask, to)).await
    }

    async fn put(&self, to: PublicKey, ask: &Ask) -> Result<Answer, AskFailed> {
        if let Ask::Publish { offers, .. } = ask {
            let packages: BTreeSet<_> = offers.iter().map(|it| it.offer.package.hash).collect();
            let sent = packages.into_iter().map(|package| self.send_blob(to, package));
            try_join_all(sent).await?;
        }
        let request = seal(ask, to, self.next_nonce(), self.clock.now().wall, self.signer.as_ref());
        let frame = request.envelope().as_bytes().to_vec();
        let answer = self.net.request(Protocol::Call, peer_key(to), frame).await?;
        Ok(Answer::decode(&answer, &*self.verifier)?)
    }

    /// What a handover brings, each statement checked (C20 to C22).
    ///
    /// # Errors
    /// If it is not the frame of a handover.
    pub fn read_handover(
        &self,
        frame: &[u8],
    ) -> Result<Vec<Result<Bundle, StatementError>>, BundleError> {
        decode_bundles(frame, &*self.verifier)
    }

    /// The verifier for statements of which many share a signature.
    pub fn verifier(&self) -> &Arc<Remembering<Ed25519>> {
        &self.verifier
    }

    /// Hands `handover` over, each bundle with the blobs that it turns out to lack. Gives what became
    /// of each.
    pub async fn hand_over(
        &self,
        handover: Handover,
    ) -> Vec<(StatementId, Result<(), HandoverFailed>)> {
        let Handover { to, mut bundles } = handover;
        let mut outcomes = Vec::new();
        for _ in 0..=MAX_BLOB_ROUNDS {
            let span = spans::of_bundles(&bundles, to);
            let answers = match self.offer_custody(to, &bundles).instrument(span).await {
                Ok(answers) => answers,
                Err(error) => {
                    outcomes.extend(failed(to, &bundles, &chain(&error)));
                    return outcomes;
                }
            };
            let mut again = Vec::new();
            for (bundle, answer) in bundles.into_iter().zip(answers) {
                match answer {
                    HandoverAnswer::Taken => outcomes.push((bundle.id(), Ok(()))),
                    HandoverAnswer::Refused(why) => {
                        outcomes.push((bundle.id(), Err(HandoverFailed::refused(&why))));
                    }
                    HandoverAnswer::Missing(missing) => {
                        match self.send_blobs(to, &bundle, &missing).await {
                            Ok(()) => again.push(bundle),
                            Err(error) => outcomes.extend(failed(to, &[bundle], &chain(&error))),
                        }
                    }
                }
            }
            if again.is_empty() {
                return outcomes;
            }
            bundles = again;
        }
        outcomes.extend(failed(to, &bundles, "the peer keeps asking for blobs that it was sent"));
        outcomes
    }

    async fn offer_custody(
        &self,
        to: PublicKey,
        bundles: &[Bundle],
    ) -> Result<Vec<HandoverAnswer>, AskFailed> {
        let frame = encode_bundles(bundles);
        let answer = self.net.request(Protocol::Custody, peer_key(to), frame).await?;
        Ok(decode_answers(&answer, bundles.len())?)
    }

    async fn send_blobs(
        &self,
        to: PublicKey,
        bundle: &Bundle,
        missing: &[BlobHash],
    ) -> Result<(), BlobFailed> {
        for (hash, _) in bundle.blobs().iter().filter(|(hash, _)| missing.contains(hash)) {
            self.send_blob(to, *hash).await?;
        }
        Ok(())
    }

    /// One step of set reconciliation with `to`.
    pub async fn reconcile(
        &self,
        to: PublicKey,
        ask: &ReconcileAsk,
    ) -> Result<ReconcileAnswer, AskFailed> {
        let answer = self.net.request(Protocol::Reconcile, peer_key(to), ask.encode()).await?;
        Ok(ReconcileAnswer::decode(&answer)?)
    }

    /// Fetches a blob of at most `size` bytes from `from`, unless it is here.
    pub async fn fetch(
        &self,
        from: PublicKey,
        hash: BlobHash,
        size: u64,
    ) -> Result<(), BlobFailed> {
        let name = blob_name(hash);
        let blobs = self.storage.blobs().clone();
        if blobs.has(&name)?.is_some() {
            return Ok(());
        }
        let writer = match blobs.resume(&name, size) {
            // Two jobs of one package: the other fetch brings it.
            Err(BlobError::Busy { .. }) => return self.await_other_fetch(hash).await,
            opened => opened?,
        };
        let file = clone_file(writer.file(), &name)?;
        let found = self.net.fetch_blob(peer_key(from), name, size, file).await?;
        if found != size {
            writer.discard()?;
            return Err(BlobFailed::Size { expected: size, found });
        }
        blocking(move || writer.finish()).await?;
        Ok(())
    }

    /// The blobs of `bundle` that are not here.
    pub fn missing(&self, bundle: &Bundle) -> Vec<BlobHash> {
        let blobs = self.storage.blobs();
        // A size that is not the blob's is never here: it would be counted as what it claims to be.
        let absent = |(hash, size): &(BlobHash, u64)| !matches!(blobs.has(&blob_name(*hash)), Ok(Some(found)) if found == *size);
        bundle.blobs().into_iter().filter(absent).map(|(hash, _)| hash).collect()
    }

    /// Answers a peer that wants a blob, or takes one that a peer brings.
    ///
    /// What is not here is pulled through from one of `sources`, which are tried in turn, each with
    /// the blob's size in bytes according to it. A node with `None` pulls nothing through.
    pub async fn serve_blob(&self, incoming: IncomingBlob, sources: Option<Vec<(PublicKey, u64)>>) {
        let outcome = match incoming {
            IncomingBlob::Get(get) => self.serve_get(get, sources.unwrap_or_default()).await,
            IncomingBlob::Put(put) => self.serve_put(put).await,
        };
        if let Err(error) = outcome {
            tracing::debug!(error = %chain(&error), "blob not moved");
        }
    }

    async fn serve_get(
        &self,
        get: BlobGet,
        sources: Vec<(PublicKey, u64)>,
    ) -> Result<(), BlobFailed> {
        let name = get.hash;
        let hash = BlobHash::from_bytes(*name.as_bytes());
        match self.pull_through(hash, sources).await? {
            Some(size) => Ok(get.serve(self.storage.blobs().read(&name)?, size).await?),
            None => Ok(get.not_found().await?),
        }
    }

    /// The size of a blob, which is fetched from one of `sources` if it is not here: they are tried
    /// in turn, each with the blob's size in bytes according to it.
    pub async fn pull_through(
        &self,
        hash: BlobHash,
        sources: Vec<(PublicKey, u64)>,
    ) -> Result<Option<u64>, BlobError> {
        for (from, size) in sources {
            match self.fetch(from, hash, size).await {
                Ok(()) => break,
                Err(error) => {
                    let (peer, reason) = (from.short(), chain(&error));
                    tracing::debug!(%hash, peer, reason, "cannot pull a blob through");
                    // Another source would not help our own disk.
                    if matches!(error, BlobFailed::Here(_)) {
                        break;
                    }
                }
            }
        }
        self.storage.blobs().has(&blob_name(hash))
    }

    async fn serve_put(&self, put: BlobPut) -> Result<(), BlobFailed> {
        let (name, size) = (put.hash, put.size);
        let blobs = self.storage.blobs();
        if blobs.has(&name)?.is_some() {
            return Ok(put.have().await?);
        }
        if size > MAX_PACKAGE_BYTES {
            return Ok(put.refuse("a blob of over 1 GiB").await?);
        }
        let writer = match blobs.resume(&name, size) {
            Ok(writer) => writer,
            Err(error) => return Ok(put.refuse(for_peer(&error)).await?),
        };
        let peer = put.peer;
        let received = put.receive_into(clone_file(writer.file(), &name)?).await;
        if matches!(received, Err(mesh_net::BlobError::WrongByte { .. })) {
            self.net.blame(peer).await;
        }
        let received = received?;
        match blocking(move || writer.finish()).await {
            Ok(()) => Ok(received.stored().await?),
            Err(error) => Ok(received.failed(for_peer(&error)).await?),
        }
    }

    async fn send_blob(&self, to: PublicKey, hash: BlobHash) -> Result<(), BlobFailed> {
        let name = blob_name(hash);
        let blobs = self.storage.blobs();
        let absent = || BlobError::Absent { hash: name };
        let size = blobs.has(&name)?.ok_or_else(absent)?;
        self.net.send_blob(peer_key(to), name, blobs.read(&name)?, size).await?;
        Ok(())
    }

    /// Waits, for a bounded time, until another task of ours has brought the blob.
    async fn await_other_fetch(&self, hash: BlobHash) -> Result<(), BlobFailed> {
        const STEP: std::time::Duration = std::time::Duration::from_millis(50);
        const STEPS: u32 = 1200;
        let name = blob_name(hash);
        for _ in 0..STEPS {
            tokio::time::sleep(STEP).await;
            if self.storage.blobs().has(&name)?.is_some() {
                return Ok(());
            }
        }
        Err(BlobFailed::Here(BlobError::Busy { hash: name }))
    }
}

/// That none of `bundles` was handed over to `to`.
fn failed(
    to: PublicKey,
    bundles: &[Bundle],
    why: &str,
) -> Vec<(StatementId, Result<(), HandoverFailed>)> {
    tracing::debug!(peer = to.short(), bundles = bundles.len(), why, "not handed over");
    bundles.iter().map(|bundle| (bundle.id(), Err(HandoverFailed(why.to_owned())))).collect()
}

/// The network's name for a node.
pub fn peer_key(key: PublicKey) -> PeerKey {
    PeerKey(*key.as_bytes())
}

/// Our name for a peer of the network.
pub fn public_key(peer: PeerKey) -> PublicKey {
    PublicKey::from_bytes(peer.0)
}

/// An error with all of its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

pub(crate) fn blob_name(hash: BlobHash) -> blake3::Hash {
    blake3::Hash::from_bytes(*hash.as_bytes())
}

fn clone_file(file: &File, name: &blake3::Hash) -> Result<File, BlobError> {
    file.try_clone().map_err(|source| BlobError::Io {
        attempt: "open once more",
        path: name.to_string().into(),
        source,
    })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}
