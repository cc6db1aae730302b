use std::time::Duration;

use capability::statements::{Credit, Delegation, Succession, TaskId, Verdict};
use capability::{DecryptionKey, Envelope, SecretKey, Signer, StatementId};

use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// When receipts are made here, and a day later, when they are checked.
const ISSUED: Timestamp = Timestamp(1_800_000_000_000);
const NOW: Timestamp = Timestamp(1_800_086_400_000);

/// Keys as in the vectors: 1 is the project, 2 its adapter, 4 the volunteer.
const PROJECT: u8 = 1;
const ADAPTER: u8 = 2;
const VOLUNTEER: u8 = 4;
const STRANGER: u8 = 6;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

/// A delegation by `project` that ends at `expires`.
fn delegation(project: u8, expires: Timestamp) -> Envelope {
    let encryption = DecryptionKey::from_seed(&[102; 32]).public();
    let delegation = Delegation { node: key(ADAPTER).public(), encryption, expires };
    Verified::sign(delegation, &key(project)).envelope().clone()
}

/// A receipt for the result that `result` stands for.
fn receipt(result: u8, verdict: Verdict) -> Receipt {
    let expires = ISSUED + 30 * DAY;
    Receipt {
        project: key(PROJECT).public().into(),
        result: id(result),
        task: TaskId { offer: id(200), task: result.into(), replica: 0 },
        volunteer: key(VOLUNTEER).public(),
        verdict,
        issued: ISSUED,
        delegation: delegation(PROJECT, expires),
        expires,
    }
}

fn id(seed: u8) -> StatementId {
    let payload = Succession { successor: key(seed).public(), expires: ISSUED };
    Verified::sign(payload, &key(STRANGER)).id()
}

fn accepted(result: u8) -> Receipt {
    receipt(result, Verdict::Accepted(Credit(1_500)))
}

fn signed(receipt: Receipt) -> Verified<Receipt> {
    Verified::sign(receipt, &key(ADAPTER))
}

fn listed(receipts: &[Verified<Receipt>]) -> String {
    list(key(VOLUNTEER).public(), receipts)
}

/// Three receipts, two of them signed together.
fn three() -> Vec<Verified<Receipt>> {
    let rejected = receipt(2, Verdict::Rejected("a replica was faster".into()));
    let mut all = Verified::sign_batch(vec![accepted(1), rejected], &key(ADAPTER));
    all.push(signed(accepted(3)));
    all
}

fn read(text: impl AsRef<[u8]>) -> Audited {
    audit(text.as_ref(), NOW).expect("it can be read")
}

#[track_caller]
fn check_bad(receipt: &Verified<Receipt>, why: &str) {
    let found = read(listed(&[signed(accepted(1)), receipt.clone(), signed(accepted(3))]));
    assert_eq!((found.listed, found.totals[0].accepted), (3, 2), "{found:?}");
    let [bad] = found.bad.as_slice() else { panic!("one is bad: {found:?}") };
    assert!(bad.reason.contains(why), "{bad:?}");
}

#[test]
fn the_list_has_the_bytes_that_it_always_had_and_adds_up() {
    let golden = include_str!("../../../../docs/spec/vectors/receipts.txt");
    assert_eq!(listed(&three()), golden);
    let sum = Sum {
        volunteer: key(VOLUNTEER).public(),
        project: key(PROJECT).public().into(),
        accepted: 2,
        rejected: 1,
        credit: 3_000,
    };
    let sound = Audited { listed: 3, expired: 0, bad: vec![], totals: vec![sum] };
    assert_eq!(read(golden), sound);
}

#[test]
fn no_digit_can_be_changed_unnoticed() {
    let text = listed(&three());
    let sound = read(&text);
    let digits = text.match_indices('\n').map(|(at, _)| at + 20).filter(|at| *at < text.len());
    for at in digits.filter(|at| text.as_bytes()[*at].is_ascii_hexdigit()) {
        let mut altered = text.clone().into_bytes();
        let is_word = text[..at].rsplit('\n').next().is_some_and(|line| line.starts_with('#'));
        altered[at] = if altered[at] == b'0' { b'1' } else { b'0' };
        let found = read(&altered);
        assert_eq!(found == sound, is_word, "at {at}");
        assert_eq!(found.bad.len(), usize::from(!is_word), "at {at}");
    }
}

#[test]
fn what_the_project_did_not_say_does_not_count() {
    let foreign = Receipt { delegation: delegation(STRANGER, ISSUED + 30 * DAY), ..accepted(2) };
    check_bad(&signed(foreign), "the delegation is another project's");
    let stolen = Verified::sign(accepted(2), &key(STRANGER));
    check_bad(&stolen, "the delegation is to another key");
}

#[test]
fn a_receipt_holds_only_if_its_delegation_held_when_it_was_made() {
    let over = ISSUED.before(DAY);
    let late = Receipt { delegation: delegation(PROJECT, over), expires: over, ..accepted(2) };
    check_bad(&signed(late), "dated 2027-01-15T08:00:00Z, when it did not hold");
    let beyond = ISSUED + 400 * DAY;
    let endless = Receipt { delegation: delegation(PROJECT, beyond), ..accepted(2) };
    check_bad(&signed(endless), "when it did not hold: delegation expires");
    let outliving = Receipt { expires: ISSUED + 60 * DAY, ..accepted(2) };
    check_bad(&signed(outliving), "signed without authority");
    let ahead = Receipt { issued: NOW + DAY, ..accepted(2) };
    check_bad(&signed(ahead), "dated 2027-01-17T08:00:00Z, which is to come");
}

#[test]
fn what_has_expired_since_counts_nothing_and_is_no_fraud() {
    let text = listed(&three());
    let found = audit(text.as_bytes(), ISSUED + 31 * DAY).expect("it can be read");
    assert_eq!((found.expired, found.bad, found.totals), (3, vec![], vec![]));
}

#[test]
fn a_result_counts_once_however_often_it_is_listed() {
    check_bad(&signed(accepted(1)), "a second receipt for result");
    check_bad(&signed(receipt(1, Verdict::Rejected("no".into()))), "a second receipt for result");
}

#[test]
fn each_volunteer_and_project_has_its_own_sum() {
    let mine = accepted(1);
    let other = Receipt { volunteer: key(STRANGER).public(), ..accepted(2) };
    let found = read(listed(&[signed(mine), signed(other)]));
    let volunteers: Vec<_> = found.totals.iter().map(|it| (it.volunteer, it.accepted)).collect();
    let mut expected = [(key(VOLUNTEER).public(), 1), (key(STRANGER).public(), 1)];
    expected.sort_unstable();
    assert_eq!(volunteers, expected);
}

#[test]
fn of_a_list_that_breaks_off_the_whole_receipts_count() {
    let text = listed(&three());
    let found = read(&text[..text.len() - 100]);
    assert_eq!((found.listed, found.totals[0].accepted, found.totals[0].rejected), (3, 1, 1));
    assert!(found.bad[0].reason.starts_with("not a statement: "), "{found:?}");
}

#[test]
fn other_statements_are_no_receipts() {
    let ad = include_str!("../../../../docs/spec/vectors/valid/ad.cbor");
    let found = read(ad);
    assert!(found.bad[0].reason.contains("a statement of kind ad where receipt was"), "{found:?}");
}
