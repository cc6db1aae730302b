use capability::statements::{Credit, Delegation, Receipt, TaskId, Verdict};
use capability::{DecryptionKey, Ed25519, ProjectKey, SecretKey, Signer, Verified};

use super::*;
use crate::bundle::{Cargo, MAX_BUNDLES_A_FRAME};

const START: Now = Now { mono: Mono(Duration::ZERO), wall: Timestamp(1_800_000_000_000) };
const HOUR: Duration = Duration::from_secs(60 * 60);

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

fn bundle(n: u8) -> Bundle {
    let (project, node) = (key(1), key(2));
    let expires = START.wall + HOUR;
    let encryption = DecryptionKey::from_seed(&[2; 32]).public();
    let delegation = Delegation { node: node.public(), encryption, expires };
    let delegation = Verified::sign(delegation, &project);
    let receipt = Receipt {
        project: ProjectKey::from(project.public()),
        result: StatementId::from_bytes([n; 32]),
        task: TaskId { offer: StatementId::from_bytes([1; 32]), task: n.into(), replica: 0 },
        volunteer: key(3).public(),
        verdict: Verdict::Accepted(Credit(1)),
        issued: START.wall,
        delegation: delegation.envelope().clone(),
        expires,
    };
    Bundle { cargo: Cargo::Receipt(Verified::sign(receipt, &node)), via: key(4).public() }
}

/// Takes `bundle` and makes it durable.
fn take(custody: &mut Custody, bundle: &Bundle, duty: Duty) -> Vec<Write> {
    custody.take(bundle.clone(), duty).expect("there is room");
    commit(custody)
}

/// Makes durable what is not.
fn commit(custody: &mut Custody) -> Vec<Write> {
    let (writes, mark) = custody.writes();
    custody.made_durable(mark);
    writes
}

/// A custody that was made anew from `writes`.
fn restarted(writes: &[Write]) -> Custody {
    let mut records = BTreeMap::new();
    for write in writes {
        match write {
            Write::Put { key, value } => drop(records.insert(key, value)),
            Write::Delete { key } => drop(records.remove(key)),
        }
    }
    let mut custody = Custody::default();
    for (key, value) in records {
        custody.restore(key, value, &Ed25519).expect("our own record");
    }
    custody
}

/// Handovers, by the ids of their bundles.
fn handovers(custody: &mut Custody, now: Now) -> Vec<Vec<StatementId>> {
    let to = key(5).public();
    let due = custody.due(now, |_| Some(to));
    due.into_iter().map(|it| it.bundles.iter().map(Bundle::id).collect()).collect()
}

fn due(custody: &mut Custody, now: Now) -> Vec<StatementId> {
    handovers(custody, now).concat()
}

#[test]
fn nothing_is_handed_on_before_it_is_durable_here() {
    let (mut custody, bundle) = (Custody::default(), bundle(1));
    custody.take(bundle.clone(), Duty::Carrier).expect("there is room");
    assert_eq!(due(&mut custody, START), []);
    let (_, mark) = custody.writes();
    assert_eq!(due(&mut custody, START), [], "it is only on its way to the disk");
    custody.made_durable(mark);
    assert_eq!(due(&mut custody, START), [bundle.id()]);
    assert_eq!(due(&mut custody, START), [], "it is under way");
}

#[test]
fn a_carrier_forgets_what_the_next_one_took_and_an_originator_does_not() {
    let mut custody = Custody::default();
    let (carried, own) = (bundle(1), bundle(2));
    take(&mut custody, &carried, Duty::Carrier);
    take(&mut custody, &own, Duty::Originator);
    assert_eq!(due(&mut custody, START), [carried.id(), own.id()], "oldest first");

    custody.handed_over(carried.id(), START);
    assert!(matches!(commit(&mut custody)[..], [Write::Delete { .. }]));
    custody.handed_over(own.id(), START);
    assert_eq!(commit(&mut custody), []);
    assert!(!custody.holds(carried.id()) && custody.holds(own.id()));

    assert_eq!(due(&mut custody, START.after(FIRST_RESEND / 2)), []);
    assert_eq!(due(&mut custody, START.after(FIRST_RESEND)), [own.id()], "no answer came");
    custody.discharge(own.id());
    assert!(matches!(commit(&mut custody)[..], [Write::Delete { .. }]));
    assert!(custody.is_empty());
}

#[test]
fn a_refusal_is_tried_again_later_and_a_new_way_at_once() {
    let (mut custody, bundle) = (Custody::default(), bundle(1));
    take(&mut custody, &bundle, Duty::Originator);
    due(&mut custody, START);
    custody.not_handed_over(bundle.id(), START);
    assert_eq!(due(&mut custody, START), []);
    assert_eq!(custody.next_wake(), Some(START.after(FIRST_RETRY).mono));

    let new_broker = key(6).public();
    custody.send_again(new_broker);
    let sent = custody.due(START, |_| Some(new_broker));
    assert_eq!(sent[0].bundles[0].via, new_broker);
}

#[test]
fn what_was_durable_is_taken_up_again_in_its_order() {
    let mut custody = Custody::default();
    let bundles: Vec<_> = (1..4).map(bundle).collect();
    let writes: Vec<_> =
        bundles.iter().flat_map(|it| take(&mut custody, it, Duty::Carrier)).collect();

    let mut restored = restarted(&writes);
    let order: Vec<_> = bundles.iter().map(Bundle::id).collect();
    assert_eq!(due(&mut restored, START), order);
    assert_eq!(take(&mut restored, &bundles[0], Duty::Carrier), [], "it is here already");
}

#[test]
fn what_is_taken_together_is_one_record_until_the_last_of_it_has_gone() {
    let mut custody = Custody::default();
    let bundles: Vec<_> = (1..=20).map(bundle).collect();
    for bundle in &bundles {
        custody.take(bundle.clone(), Duty::Carrier).expect("there is room");
    }
    let mut writes = commit(&mut custody);
    assert_eq!(writes.len(), 1);
    due(&mut custody, START);
    for bundle in &bundles[1..] {
        custody.handed_over(bundle.id(), START);
    }
    assert_eq!(commit(&mut custody), [], "one is left");
    assert_eq!(restarted(&writes).len(), 20, "to hand one over twice is harmless");

    custody.tidy();
    writes.extend(commit(&mut custody));
    assert_eq!(restarted(&writes).len(), 1, "what is left is by itself now");
    custody.handed_over(bundles[0].id(), START);
    writes.extend(commit(&mut custody));
    assert!(restarted(&writes).is_empty());
}

#[test]
fn bundles_travel_together_and_what_failed_once_alone() {
    let mut custody = Custody::default();
    let bundles: Vec<_> = (1..=3).map(bundle).collect();
    let ids: Vec<_> = bundles.iter().map(Bundle::id).collect();
    for bundle in &bundles {
        take(&mut custody, bundle, Duty::Carrier);
    }
    assert_eq!(handovers(&mut custody, START), std::slice::from_ref(&ids));
    ids.iter().for_each(|id| custody.not_handed_over(*id, START));
    let later = START.after(FIRST_RETRY);
    assert_eq!(handovers(&mut custody, later), ids.iter().map(|id| vec![*id]).collect::<Vec<_>>());
}

#[test]
fn what_comes_while_two_handovers_are_under_way_gathers_for_the_third() {
    let mut custody = Custody::default();
    let bundles: Vec<_> = (1..=4).map(bundle).collect();
    take(&mut custody, &bundles[0], Duty::Carrier);
    assert_eq!(due(&mut custody, START), [bundles[0].id()]);
    take(&mut custody, &bundles[1], Duty::Carrier);
    assert_eq!(due(&mut custody, START), [bundles[1].id()]);
    take(&mut custody, &bundles[2], Duty::Carrier);
    take(&mut custody, &bundles[3], Duty::Carrier);
    assert_eq!(due(&mut custody, START), []);
    custody.handed_over(bundles[0].id(), START);
    assert_eq!(handovers(&mut custody, START), [vec![bundles[2].id(), bundles[3].id()]]);
}

#[test]
fn what_has_no_way_waits_for_one_and_stops_no_other() {
    let (mut custody, to) = (Custody::default(), key(5).public());
    let (stranded, other) = (bundle(1), Bundle { via: key(7).public(), ..bundle(2) });
    take(&mut custody, &stranded, Duty::Carrier);
    take(&mut custody, &other, Duty::Carrier);
    let sent = custody.due(START, |bundle| (bundle.via == other.via).then_some(to));
    assert_eq!(sent, [Handover { to, bundles: vec![other] }]);
    assert!(custody.is_stranded());
    assert_eq!(due(&mut custody, START), [], "nobody said that a way has come");
    custody.reroute();
    assert_eq!(due(&mut custody, START), [stranded.id()]);
}

#[test]
fn a_handover_has_as_many_bundles_as_a_frame_may_have() {
    let mut custody = Custody::default();
    let Bundle { cargo: Cargo::Receipt(one), via } = bundle(1) else { panic!("it is one") };
    let most = u32::try_from(MAX_BUNDLES_A_FRAME).expect("small");
    let task = |task| TaskId { task, ..one.task };
    let receipts = (0..=most).map(|n| Receipt { task: task(n), ..(*one).clone() }).collect();
    for receipt in Verified::sign_batch(receipts, &key(2)) {
        let cargo = Cargo::Receipt(receipt);
        custody.take(Bundle { cargo, via }, Duty::Carrier).expect("there is room");
    }
    commit(&mut custody);
    let sizes = handovers(&mut custody, START).iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(sizes, [MAX_BUNDLES_A_FRAME, 1]);
}

#[test]
fn bounds_refuse_and_expiry_makes_room() {
    let limits = CustodyLimits { bundles: 2, bundles_an_origin: 10, bytes: 1 << 20 };
    let mut custody = Custody::new(limits);
    take(&mut custody, &bundle(1), Duty::Carrier);
    take(&mut custody, &bundle(2), Duty::Carrier);
    assert_eq!(custody.take(bundle(3), Duty::Carrier), Err(CustodyFull::InAll));
    custody.expire(START.after(HOUR));
    assert!(custody.is_empty());
    assert!(custody.take(bundle(3), Duty::Carrier).is_ok());

    let limits = CustodyLimits { bundles: 10, bundles_an_origin: 1, bytes: 1 << 20 };
    let mut custody = Custody::new(limits);
    take(&mut custody, &bundle(1), Duty::Carrier);
    assert_eq!(custody.take(bundle(2), Duty::Carrier), Err(CustodyFull::ForOrigin));

    let two = 2 * weight(&bundle(1)) * BYTES_AN_ORIGIN;
    let limits = CustodyLimits { bundles: 10, bundles_an_origin: 10, bytes: two };
    let mut custody = Custody::new(limits);
    take(&mut custody, &bundle(1), Duty::Carrier);
    take(&mut custody, &bundle(2), Duty::Carrier);
    assert_eq!(custody.take(bundle(3), Duty::Carrier), Err(CustodyFull::ForOrigin));
    custody.discharge(bundle(1).id());
    assert!(custody.take(bundle(3), Duty::Carrier).is_ok(), "there is room again");
}
