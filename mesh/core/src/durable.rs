//! How a core makes durability visible.
//!
//! A core that must not acknowledge before its state is on disk puts the acknowledgement behind a
//! [`Commit`]: [`Outbox::commit`] emits the writes and withholds the actions; the shell writes them,
//! flushes, and reports [`Outbox::committed`], which releases what was withheld. Commits complete in
//! the order in which they were emitted.

use std::collections::VecDeque;

/// Bytes of one commit, below the store's bound of 4 MiB even if one more record of 64 KiB follows.
const MAX_COMMIT_BYTES: usize = 3 << 20;

/// Names one commit of one core, counted from zero since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitId(pub u64);

/// One change of the durable state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets `key` to `value`.
    Put {
        /// First byte: the kind of record, so that ranges group by kind.
        key: Vec<u8>,
        /// At most 64 KiB; what is larger is a blob.
        value: Vec<u8>,
    },
    /// Removes `key`, which may be absent.
    Delete {
        /// The key to remove.
        key: Vec<u8>,
    },
}

impl Write {
    /// Sets `key` to `value`.
    pub fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self::Put { key: key.into(), value: value.into() }
    }

    /// Removes `key`.
    pub fn delete(key: impl Into<Vec<u8>>) -> Self {
        Self::Delete { key: key.into() }
    }
}

/// Writes that become durable together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// To be reported back once the writes are durable.
    pub id: CommitId,
    /// Applied in order.
    pub writes: Vec<Write>,
}

/// The actions of a core, some of them withheld until a commit is durable.
#[derive(Debug)]
pub struct Outbox<A> {
    ready: VecDeque<A>,
    withheld: VecDeque<(CommitId, Vec<A>)>,
    next: u64,
}

impl<A> Default for Outbox<A> {
    fn default() -> Self {
        Self { ready: VecDeque::new(), withheld: VecDeque::new(), next: 0 }
    }
}

impl<A: From<Commit>> Outbox<A> {
    /// Emits an action that waits for nothing.
    pub fn push(&mut self, action: impl Into<A>) {
        self.ready.push_back(action.into());
    }

    /// Emits `writes`, and withholds `released` until they are durable. Gives the commit, or the
    /// last of several if there is too much for one: they become durable in the order of the writes.
    pub fn commit(&mut self, mut writes: Vec<Write>, released: Vec<A>) -> CommitId {
        while let Some(rest) = split_off_after(&mut writes, MAX_COMMIT_BYTES) {
            self.commit_one(std::mem::replace(&mut writes, rest), Vec::new());
        }
        self.commit_one(writes, released)
    }

    fn commit_one(&mut self, writes: Vec<Write>, released: Vec<A>) -> CommitId {
        let id = CommitId(self.next);
        self.next += 1;
        self.withheld.push_back((id, released));
        self.ready.push_back(Commit { id, writes }.into());
        id
    }

    /// Releases what waited for `id`, and for every commit before it.
    pub fn committed(&mut self, id: CommitId) {
        while self.withheld.front().is_some_and(|(waiting, _)| *waiting <= id) {
            let (_, released) = self.withheld.pop_front().expect("front was just seen");
            self.ready.extend(released);
        }
    }

    /// The next action for the shell.
    pub fn poll(&mut self) -> Option<A> {
        self.ready.pop_front()
    }

    /// Commits that are not durable yet.
    pub fn uncommitted(&self) -> usize {
        self.withheld.len()
    }
}

/// What follows in `writes` once they have over `limit` bytes.
fn split_off_after(writes: &mut Vec<Write>, limit: usize) -> Option<Vec<Write>> {
    let mut bytes = 0;
    let within = writes.iter().position(|write| {
        bytes += match write {
            Write::Put { key, value } => key.len() + value.len(),
            Write::Delete { key } => key.len(),
        };
        bytes > limit
    })?;
    let rest = writes.split_off(within + 1);
    (!rest.is_empty()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Action {
        Commit(Commit),
        Acknowledge(u8),
    }

    impl From<Commit> for Action {
        fn from(commit: Commit) -> Self {
            Self::Commit(commit)
        }
    }

    #[test]
    fn an_acknowledgement_waits_for_its_commit_and_for_those_before_it() {
        let mut outbox = Outbox::default();
        outbox.commit(vec![Write::put(*b"a", *b"1")], vec![Action::Acknowledge(1)]);
        outbox.commit(vec![Write::delete(*b"a")], vec![Action::Acknowledge(2)]);

        assert!(matches!(outbox.poll(), Some(Action::Commit(Commit { id: CommitId(0), .. }))));
        assert!(matches!(outbox.poll(), Some(Action::Commit(Commit { id: CommitId(1), .. }))));
        assert_eq!(outbox.poll(), None);

        outbox.committed(CommitId(1));
        assert_eq!(outbox.poll(), Some(Action::Acknowledge(1)));
        assert_eq!(outbox.poll(), Some(Action::Acknowledge(2)));
        assert_eq!(outbox.uncommitted(), 0);
    }

    #[test]
    fn what_is_too_much_for_one_commit_is_acknowledged_with_the_last_of_several() {
        let mut outbox = Outbox::default();
        let writes = (0..100_u8).map(|n| Write::put([n], vec![0; 64 << 10])).collect::<Vec<_>>();
        let last = outbox.commit(writes.clone(), vec![Action::Acknowledge(1)]);
        let mut emitted = Vec::new();
        while let Some(Action::Commit(commit)) = outbox.poll() {
            assert!(commit.writes.len() <= 50, "{} writes in one commit", commit.writes.len());
            emitted.extend(commit.writes);
        }
        assert_eq!(emitted, writes);
        assert_eq!(last, CommitId(2));
        outbox.committed(CommitId(1));
        assert_eq!(outbox.poll(), None);
        outbox.committed(last);
        assert_eq!(outbox.poll(), Some(Action::Acknowledge(1)));
    }
}
