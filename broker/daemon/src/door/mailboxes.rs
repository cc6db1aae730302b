//! What is handed over to visitors, until they collect it (C35).
//!
//! A visitor cannot be asked, so a handover to it waits: it succeeds when the visitor names the
//! bundle as taken, and fails when it has not in [`PATIENCE`], or the visitor has gone. Then it is
//! custody's again, which tries later. How many wait for one peer at a time is custody's bound.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use capability::{PublicKey, StatementId};
use mesh_core::{Bundle, HandoverFailed, MAX_COLLECTED, MAX_FRAME_BYTES};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

/// How long a collecting visitor waits, as a pull does: below the half minute after which
/// middleboxes give up.
pub(super) const COLLECT_WAIT: Duration = Duration::from_secs(25);

/// How long a bundle waits for its visitor: twice what it takes to collect and to acknowledge.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a bundle takes in an answer beside its own bytes.
const HEAD_BYTES: usize = 5;

/// The mailboxes of all visitors; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Mailboxes(Arc<Mutex<BTreeMap<PublicKey, Mailbox>>>);

#[derive(Debug)]
struct Mailbox {
    waiting: BTreeMap<u64, Waiting>,
    /// Counts what comes in, bundles and collectors: each change is news to who waits.
    news: watch::Sender<u64>,
    /// The news that the last collector made; an older one has been superseded.
    collector: u64,
}

#[derive(Debug)]
struct Waiting {
    bundle: StatementId,
    frame: Vec<u8>,
    taken: oneshot::Sender<()>,
}

/// What a collector finds.
enum Found {
    Bundles(Vec<Vec<u8>>),
    Nothing,
    /// It is not, or not any more, the one that collects.
    Superseded,
}

impl Mailboxes {
    /// Waits until `to` has taken `bundle`.
    pub async fn hand_over(&self, to: PublicKey, bundle: &Bundle) -> Result<(), HandoverFailed> {
        let (taken, was_taken) = oneshot::channel();
        let order = self.put(to, Waiting { bundle: bundle.id(), frame: bundle.encode(), taken });
        match timeout(PATIENCE, was_taken).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(HandoverFailed("the visitor has gone".to_owned())),
            Err(_) => {
                self.remove(to, order);
                Err(HandoverFailed("the visitor has not collected it".to_owned()))
            }
        }
    }

    /// What waits for `peer`, oldest first, as far as one frame holds; nothing if nothing comes in
    /// `patience`, or a newer call of this collects. Those that were `taken` need not wait any more.
    pub(super) async fn collect(
        &self,
        peer: PublicKey,
        taken: &[StatementId],
        patience: Duration,
    ) -> Vec<Vec<u8>> {
        let deadline = Instant::now() + patience;
        let (collector, mut news) = self.begin(peer, taken);
        loop {
            match self.look(peer, collector) {
                Found::Bundles(bundles) => return bundles,
                Found::Superseded => return Vec::new(),
                Found::Nothing => (),
            }
            match timeout_at(deadline, news.changed()).await {
                Ok(Ok(())) => (),
                // In vain, or the visitor was given up meanwhile.
                Ok(Err(_)) | Err(_) => return Vec::new(),
            }
        }
    }

    /// `peer` has gone: what waits for it goes back to custody.
    pub fn close(&self, peer: PublicKey) {
        self.lock().remove(&peer);
    }

    fn put(&self, to: PublicKey, waiting: Waiting) -> u64 {
        let mut mailboxes = self.lock();
        let mailbox = mailboxes.entry(to).or_default();
        let order = mailbox.tell();
        mailbox.waiting.insert(order, waiting);
        order
    }

    fn remove(&self, to: PublicKey, order: u64) {
        let mut mailboxes = self.lock();
        let Some(mailbox) = mailboxes.get_mut(&to) else { return };
        mailbox.waiting.remove(&order);
        if mailbox.waiting.is_empty() && mailbox.news.receiver_count() == 0 {
            mailboxes.remove(&to);
        }
    }

    fn begin(&self, peer: PublicKey, taken: &[StatementId]) -> (u64, watch::Receiver<u64>) {
        let mut mailboxes = self.lock();
        let mailbox = mailboxes.entry(peer).or_default();
        let named = |waiting: &Waiting| taken.contains(&waiting.bundle);
        for (_, waiting) in mailbox.waiting.extract_if(.., |_, waiting| named(waiting)) {
            if waiting.taken.send(()).is_err() {
                // Its errand has given up at this moment; it will be handed over again.
                tracing::trace!("a bundle was taken too late");
            }
        }
        mailbox.collector = mailbox.tell();
        (mailbox.collector, mailbox.news.subscribe())
    }

    fn look(&self, peer: PublicKey, collector: u64) -> Found {
        let mailboxes = self.lock();
        let mailbox = mailboxes.get(&peer).filter(|it| it.collector == collector);
        let Some(mailbox) = mailbox else { return Found::Superseded };
        if mailbox.waiting.is_empty() {
            return Found::Nothing;
        }
        let mut room = MAX_FRAME_BYTES - HEAD_BYTES;
        let fitting = mailbox.waiting.values().take(MAX_COLLECTED).map_while(|waiting| {
            room = room.checked_sub(waiting.frame.len() + HEAD_BYTES)?;
            Some(waiting.frame.clone())
        });
        Found::Bundles(fitting.collect())
    }

    /// Each change is whole when the lock is let go.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PublicKey, Mailbox>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Mailbox {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), news: watch::Sender::new(0), collector: 0 }
    }
}

impl Mailbox {
    /// Tells who waits; gives the number of the news.
    fn tell(&self) -> u64 {
        self.news.send_modify(|number| *number += 1);
        *self.news.borrow()
    }
}

#[cfg(test)]
mod tests {
    use capability::statements::{Credit, Delegation, Receipt, TaskId, Verdict};
    use capability::{DecryptionKey, ProjectKey, SecretKey, Signer, Timestamp, Verified};
    use mesh_core::Cargo;

    use super::*;

    fn key(n: u8) -> SecretKey {
        SecretKey::from_seed(&[n; 32])
    }

    /// A receipt with a reason of so many bytes.
    fn bundle(n: u8, reason: usize) -> Bundle {
        let expires = Timestamp(1_800_000_000_000);
        let encryption = DecryptionKey::from_seed(&[2; 32]).public();
        let delegation = Delegation { node: key(2).public(), encryption, expires };
        let receipt = Receipt {
            project: ProjectKey::from(key(1).public()),
            result: StatementId::from_bytes([n; 32]),
            task: TaskId { offer: StatementId::from_bytes([1; 32]), task: 0, replica: 0 },
            volunteer: key(3).public(),
            verdict: match reason {
                0 => Verdict::Accepted(Credit(1)),
                length => Verdict::Rejected("x".repeat(length)),
            },
            issued: expires,
            delegation: Verified::sign(delegation, &key(1)).envelope().clone(),
            expires,
        };
        Bundle { cargo: Cargo::Receipt(Verified::sign(receipt, &key(2))), via: key(4).public() }
    }

    fn visitor() -> PublicKey {
        key(3).public()
    }

    fn hand_over(
        mailboxes: &Mailboxes,
        bundle: Bundle,
    ) -> tokio::task::JoinHandle<Result<(), HandoverFailed>> {
        let mailboxes = mailboxes.clone();
        tokio::spawn(async move { mailboxes.hand_over(visitor(), &bundle).await })
    }

    #[tokio::test(start_paused = true)]
    async fn a_bundle_is_handed_over_when_it_is_named_as_taken_and_not_before() {
        let (mailboxes, one) = (Mailboxes::default(), bundle(1, 0));
        let handover = hand_over(&mailboxes, one.clone());
        assert_eq!(mailboxes.collect(visitor(), &[], COLLECT_WAIT).await, [one.encode()]);
        assert_eq!(
            mailboxes.collect(key(9).public(), &[one.id()], COLLECT_WAIT).await,
            [[0; 0]; 0]
        );
        assert!(!handover.is_finished(), "another key collects nothing, and takes nothing");
        assert_eq!(
            mailboxes.collect(visitor(), &[], COLLECT_WAIT).await,
            [one.encode()],
            "until it is named"
        );
        assert_eq!(mailboxes.collect(visitor(), &[one.id()], COLLECT_WAIT).await, [[0; 0]; 0]);
        assert_eq!(handover.await.expect("it does not panic"), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_hears_of_what_comes_and_an_older_call_ends() {
        let (mailboxes, one) = (Mailboxes::default(), bundle(1, 0));
        let collect = || {
            let mailboxes = mailboxes.clone();
            tokio::spawn(async move { mailboxes.collect(visitor(), &[], COLLECT_WAIT).await })
        };
        let begun = Instant::now();
        let older = collect();
        tokio::task::yield_now().await;
        let newer = collect();
        assert_eq!(older.await.expect("it ends"), [[0; 0]; 0]);
        drop(hand_over(&mailboxes, one.clone()));
        assert_eq!(newer.await.expect("it ends"), [one.encode()]);
        assert_eq!(begun.elapsed(), Duration::ZERO, "at once");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_collects_goes_back_and_leaves_nothing_behind() {
        let mailboxes = Mailboxes::default();
        let handover = hand_over(&mailboxes, bundle(1, 0));
        assert!(handover.await.expect("it does not panic").is_err());
        assert!(mailboxes.lock().is_empty());

        let handover = hand_over(&mailboxes, bundle(1, 0));
        tokio::task::yield_now().await;
        let begun = Instant::now();
        mailboxes.close(visitor());
        assert!(handover.await.expect("it does not panic").is_err());
        assert_eq!(begun.elapsed(), Duration::ZERO, "who has gone is not waited for");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_fits_into_a_frame_and_has_the_oldest() {
        let mailboxes = Mailboxes::default();
        let all: Vec<_> = (0..=255).map(|n| bundle(n, 250)).collect();
        for number in 0..10 {
            for one in &all {
                let one = Bundle { via: key(number).public(), ..one.clone() };
                drop(hand_over(&mailboxes, one));
                tokio::task::yield_now().await;
            }
        }
        let collected = mailboxes.collect(visitor(), &[], COLLECT_WAIT).await;
        assert_eq!(collected.len(), MAX_COLLECTED);
        assert!(collected.iter().map(|it| it.len() + HEAD_BYTES).sum::<usize>() < MAX_FRAME_BYTES);
        let oldest = Bundle { via: key(0).public(), ..all[0].clone() };
        assert_eq!(collected[0], oldest.encode());
    }
}
