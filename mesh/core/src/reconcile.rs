//! Set reconciliation: two brokers find what either lacks, at a cost that follows the difference.
//!
//! Ids are uniform, so the tree of their leading hexadecimal digits is balanced. A side sends the
//! digest (count and XOR) of each branch; where digests differ the other side answers with the
//! branches below, or with the ids themselves once they are few. Both sides are stateless: whoever
//! asks carries on with [`compare`] until nothing differs.

use std::collections::BTreeSet;

use capability::{CborError, Envelope, KEY_BYTES, StatementId, decode_cbor, encode_cbor};
use serde::{Deserialize, Serialize};

use crate::message::MAX_FRAME_BYTES;

/// Branches of up to that many ids are listed rather than split.
const LISTED: u32 = 32;

/// Statements in one question or answer at most. Offers have about a kilobyte: a frame is a quarter
/// full, and over a way of 100 ms a broker that has missed 10,000 catches up within some seconds.
pub const MAX_STATEMENTS_A_FRAME: usize = 256;

/// Bytes of the statements in one frame at most; what is wrapped around them has the rest.
const MAX_BYTES_A_FRAME: usize = MAX_FRAME_BYTES - (64 << 10);

/// Branches in one message at most.
const MAX_BRANCHES: usize = 4096;

/// What a broker asks on `/talkoot/1/reconcile`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReconcileAsk {
    /// Compare these branches with yours.
    Compare(Vec<Branch>),
    /// Give me these statements; at most [`MAX_STATEMENTS_A_FRAME`].
    Fetch(Vec<StatementId>),
    /// You lack these; as many as [`one_frame`] holds.
    Give(Vec<Envelope>),
}

/// The answer to a [`ReconcileAsk`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReconcileAnswer {
    /// Of the branches asked about, those that differ, split or listed.
    Differs(Vec<Difference>),
    /// The statements asked for, in that order, as far as they are here and [`one_frame`] holds them.
    Statements(Vec<Envelope>),
    /// Taken, as far as they were sound.
    Thanks,
}

/// All ids that start with certain hexadecimal digits, summed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Branch {
    /// The digits, each 0 to 15.
    #[serde(with = "serde_bytes")]
    prefix: Vec<u8>,
    count: u32,
    #[serde(with = "serde_bytes")]
    xor: [u8; KEY_BYTES],
}

/// A branch that is not the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Difference {
    /// Compare these further.
    Split(Vec<Branch>),
    /// All ids of the answering side below `prefix`.
    Listed {
        /// The digits.
        #[serde(with = "serde_bytes")]
        prefix: Vec<u8>,
        /// The ids.
        ids: Vec<StatementId>,
    },
}

/// What follows from an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Branches to ask about next.
    pub further: Vec<Branch>,
    /// Ids that only the other side has.
    pub wanted: Vec<StatementId>,
    /// Ids that only we have.
    pub to_give: Vec<StatementId>,
}

impl ReconcileAsk {
    /// The first question: everything.
    pub fn start(ids: &BTreeSet<StatementId>) -> Self {
        Self::Compare(vec![Branch::of(ids, &[])])
    }

    /// The frame.
    pub fn encode(&self) -> Vec<u8> {
        encode_cbor(self)
    }

    /// Reads a frame. The statements in it are yet to be checked.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        decode_cbor(bytes, MAX_FRAME_BYTES)
    }
}

impl ReconcileAnswer {
    /// The frame.
    pub fn encode(&self) -> Vec<u8> {
        encode_cbor(self)
    }

    /// Reads a frame. The statements in it are yet to be checked.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        decode_cbor(bytes, MAX_FRAME_BYTES)
    }
}

/// Those of `statements`, from the first on, that fit into one frame; one always does.
pub fn one_frame<'a>(statements: impl IntoIterator<Item = &'a Envelope>) -> Vec<Envelope> {
    let mut bytes = 0;
    let fits = statements.into_iter().take(MAX_STATEMENTS_A_FRAME).take_while(|statement| {
        bytes += statement.as_bytes().len();
        bytes <= MAX_BYTES_A_FRAME
    });
    fits.cloned().collect()
}

/// Answers [`ReconcileAsk::Compare`] from our `ids`, as far as a frame holds: what is left out differs
/// still when it is compared the next time.
pub fn differences(ids: &BTreeSet<StatementId>, branches: &[Branch]) -> Vec<Difference> {
    let mut order = Disjoint::default();
    let asked = branches.iter().filter(|branch| order.admits(&branch.prefix));
    let differing =
        asked.take(MAX_BRANCHES).filter(|theirs| Branch::of(ids, &theirs.prefix) != **theirs);
    let mut bytes = 0;
    let answers = differing.map(|theirs| difference(ids, theirs));
    let fits = answers.take_while(|answer| {
        bytes += answer.max_bytes();
        bytes <= MAX_BYTES_A_FRAME
    });
    fits.collect()
}

impl Difference {
    /// What it takes in a frame at most: names of fields, prefixes, counts and sums are short.
    fn max_bytes(&self) -> usize {
        match self {
            Self::Split(branches) => 16 + 128 * branches.len(),
            Self::Listed { ids, .. } => 128 + (KEY_BYTES + 2) * ids.len(),
        }
    }
}

/// Draws the conclusions from an answer to [`ReconcileAsk::Compare`].
pub fn compare(ids: &BTreeSet<StatementId>, answer: &[Difference]) -> Comparison {
    let mut comparison = Comparison::default();
    let mut order = Disjoint::default();
    for difference in answer {
        match difference {
            Difference::Split(branches) => {
                let sound = branches.iter().filter(|branch| order.admits(&branch.prefix));
                let ours = sound.map(|theirs| (Branch::of(ids, &theirs.prefix), theirs));
                let differing = ours.filter(|(ours, theirs)| ours != *theirs).map(|(ours, _)| ours);
                comparison.further.extend(differing);
            }
            Difference::Listed { prefix, ids: theirs } if order.admits(prefix) => {
                let theirs: BTreeSet<_> = theirs.iter().copied().collect();
                let ours: BTreeSet<_> = below(ids, prefix).collect();
                comparison.wanted.extend(theirs.difference(&ours));
                comparison.to_give.extend(ours.difference(&theirs));
            }
            Difference::Listed { .. } => (),
        }
    }
    comparison.further.truncate(MAX_BRANCHES);
    comparison
}

impl Branch {
    fn of(ids: &BTreeSet<StatementId>, prefix: &[u8]) -> Self {
        let mut branch = Self { prefix: prefix.to_vec(), count: 0, xor: [0; KEY_BYTES] };
        for id in below(ids, prefix) {
            branch.count += 1;
            branch.xor.iter_mut().zip(id.as_bytes()).for_each(|(sum, byte)| *sum ^= byte);
        }
        branch
    }
}

/// Lets through prefixes that are sound, ascending, and not one below another. Honest sides send
/// them so; whatever a hostile one sends, the set is walked once at most.
#[derive(Default)]
struct Disjoint {
    last: Option<Vec<u8>>,
}

impl Disjoint {
    fn admits(&mut self, prefix: &[u8]) -> bool {
        let sound = prefix.len() <= 2 * KEY_BYTES && prefix.iter().all(|digit| *digit < 16);
        let after = self.last.as_deref().is_none_or(|it| prefix > it && !prefix.starts_with(it));
        if sound && after {
            self.last = Some(prefix.to_vec());
        }
        sound && after
    }
}

fn difference(ids: &BTreeSet<StatementId>, theirs: &Branch) -> Difference {
    let prefix = &theirs.prefix;
    let ours = below(ids, prefix).take(LISTED as usize + 1).count();
    if ours <= LISTED as usize || prefix.len() == 2 * KEY_BYTES {
        return Difference::Listed { prefix: prefix.clone(), ids: below(ids, prefix).collect() };
    }
    let child = |digit| Branch::of(ids, &[prefix.as_slice(), &[digit]].concat());
    Difference::Split((0..16).map(child).collect())
}

/// The ids that start with `prefix`.
fn below<'a>(
    ids: &'a BTreeSet<StatementId>,
    prefix: &'a [u8],
) -> impl Iterator<Item = StatementId> + 'a {
    let bound = |fill: u8| {
        let mut bytes = [fill; KEY_BYTES];
        for (index, digit) in prefix.iter().take(2 * KEY_BYTES).enumerate() {
            let (keep, shift) = if index % 2 == 0 { (0x0f, 4) } else { (0xf0, 0) };
            bytes[index / 2] = (bytes[index / 2] & keep) | ((digit & 0x0f) << shift);
        }
        StatementId::from_bytes(bytes)
    };
    ids.range(bound(0)..=bound(0xff)).copied()
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;

    /// Runs the exchange to its end; gives what is wanted, what is to be given, and the rounds.
    fn reconcile(
        ours: &BTreeSet<StatementId>,
        theirs: &BTreeSet<StatementId>,
    ) -> (BTreeSet<StatementId>, BTreeSet<StatementId>, usize) {
        let (mut wanted, mut to_give, mut rounds) = (BTreeSet::new(), BTreeSet::new(), 0);
        let mut branches = vec![Branch::of(ours, &[])];
        while !branches.is_empty() {
            rounds += 1;
            let comparison = compare(ours, &differences(theirs, &branches));
            wanted.extend(comparison.wanted);
            to_give.extend(comparison.to_give);
            branches = comparison.further;
        }
        (wanted, to_give, rounds)
    }

    fn ids(range: std::ops::Range<u32>) -> BTreeSet<StatementId> {
        let hash = |n: u32| StatementId::from_bytes(*blake3::hash(&n.to_be_bytes()).as_bytes());
        range.map(hash).collect()
    }

    #[test]
    fn an_answer_fits_into_a_frame_however_much_differs() {
        let (ours, theirs) = (ids(0..1), ids(1..150_000));
        let mut branches = vec![Branch::of(&ours, &[])];
        let mut listed = 0;
        while !branches.is_empty() {
            let answer = differences(&theirs, &branches);
            assert!(!answer.is_empty());
            let comparison = compare(&ours, &answer);
            listed += comparison.wanted.len();
            let frame = ReconcileAnswer::Differs(answer).encode();
            assert!(frame.len() <= MAX_FRAME_BYTES, "{}", frame.len());
            branches = comparison.further;
        }
        assert!(listed > 10_000, "the rest comes the next time: {listed}");
    }

    #[test]
    fn equal_sets_take_one_round_and_a_small_difference_few() {
        let ours = ids(0..10_000);
        assert_eq!(reconcile(&ours, &ours).2, 1);

        let (wanted, to_give, rounds) = reconcile(&ours, &ids(3..10_002));
        assert_eq!((wanted.len(), to_give.len()), (2, 3));
        assert!(rounds <= 5, "{rounds} rounds");
    }

    #[test]
    fn a_hostile_prefix_is_passed_over() {
        let branch = Branch { prefix: vec![99; 200], count: 1, xor: [0; KEY_BYTES] };
        assert_eq!(differences(&ids(0..10), &[branch]), []);
    }

    #[test]
    fn asking_for_the_same_branch_again_and_again_is_answered_once() {
        let root = Branch { prefix: Vec::new(), count: 0, xor: [0; KEY_BYTES] };
        let below = Branch { prefix: vec![3], count: 0, xor: [0; KEY_BYTES] };
        let answer = differences(&ids(0..100), &[root.clone(), root.clone(), below, root]);
        assert_eq!(answer.len(), 1);
        assert_eq!(compare(&ids(0..10), &[answer.clone(), answer].concat()).further.len(), 16);
    }

    proptest! {
        #[test]
        fn what_either_side_lacks_is_found(
            ours in btree_set(0_u32..300, 0..200),
            theirs in btree_set(0_u32..300, 0..200),
        ) {
            let id = |n: &u32| StatementId::from_bytes(*blake3::hash(&n.to_be_bytes()).as_bytes());
            let ours: BTreeSet<_> = ours.iter().map(id).collect();
            let theirs: BTreeSet<_> = theirs.iter().map(id).collect();
            let (wanted, to_give, _) = reconcile(&ours, &theirs);
            prop_assert_eq!(wanted, theirs.difference(&ours).copied().collect());
            prop_assert_eq!(to_give, ours.difference(&theirs).copied().collect());
        }
    }
}
