//! Key changes and the brokers that are told of them.

use std::time::Duration;

use capability::statements::Revocation;
use capability::{PublicKey, SecretKey, Signer, StatementId, Timestamp, Verified};
use mesh_core::{Answer, Ask, CallFailed, Declarations, KeyChange, Mono, Refusal};

const NOW: Mono = Mono(Duration::from_secs(10));

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn broker(n: u8) -> PublicKey {
    key(100 + n).public()
}

fn revocation(seed: u8) -> KeyChange {
    let (key, expires) = (key(seed), Timestamp(1_800_000_000_000));
    let payload = Revocation { key: key.public(), reason: String::new(), expires };
    KeyChange::Revocation(Verified::sign(payload, &key))
}

fn after(seconds: u64) -> Mono {
    NOW + Duration::from_secs(seconds)
}

/// Whom it tells of what, at `now`.
fn told(declarations: &mut Declarations, now: Mono) -> Vec<(PublicKey, StatementId)> {
    let due = declarations.due(now).into_iter().map(|(broker, id, ask)| {
        let Ask::Declare { change } = ask else { panic!("a declaration") };
        assert_eq!(change.id(), id);
        (broker, id)
    });
    due.collect()
}

#[test]
fn every_broker_hears_every_change_one_after_the_other() {
    let mut declarations = Declarations::default();
    declarations.set([revocation(1), revocation(2)]);
    declarations.broker_up(broker(1));
    declarations.broker_up(broker(2));
    let first = told(&mut declarations, NOW);
    assert_eq!(first.len(), 2);
    assert_eq!(told(&mut declarations, NOW), [], "both are under way");
    for (broker, id) in first {
        assert!(declarations.precede(broker));
        assert_eq!(declarations.answered(broker, id, Ok(Answer::Done), NOW).kept, Ok(()));
        let second = told(&mut declarations, NOW);
        assert_ne!(second, [(broker, id)]);
        let (broker, id) = second[0];
        declarations.answered(broker, id, Ok(Answer::Done), NOW);
        assert!(!declarations.precede(broker));
    }
    assert_eq!((told(&mut declarations, NOW), declarations.next_wake(NOW)), (vec![], None));

    declarations.broker_down(broker(1));
    declarations.broker_up(broker(1));
    assert_eq!(told(&mut declarations, NOW).len(), 1, "it may have lost its disk");
}

#[test]
fn a_broker_that_does_not_take_it_is_told_again_and_holds_nothing_up() {
    let mut declarations = Declarations::default();
    declarations.set([revocation(1)]);
    declarations.broker_up(broker(1));
    let failures = [
        Err(CallFailed("the connection was lost".into())),
        Ok(Answer::Refused(Refusal::Full("of revocations".into()))),
        Ok(Answer::KeyChanges(Vec::new())),
    ];
    for (wait, failure) in [1, 2, 4].into_iter().zip(failures) {
        let now = declarations.next_wake(NOW).unwrap_or(NOW);
        let (broker, id) = told(&mut declarations, now)[0];
        let declared = declarations.answered(broker, id, failure, now);
        assert!(declared.kept.is_err());
        assert_eq!(declarations.next_wake(now), Some(now + Duration::from_secs(wait)));
        assert!(!declarations.precede(broker));
    }
    declarations.set([revocation(1), revocation(2)]);
    assert_eq!(told(&mut declarations, after(0)).len(), 1, "what is new is told at once");
}

#[test]
fn what_was_taken_back_while_it_was_told_does_not_stand_for_what_is_new() {
    let mut declarations = Declarations::default();
    declarations.set([revocation(1)]);
    declarations.broker_up(broker(1));
    let (to, id) = told(&mut declarations, NOW)[0];
    declarations.set([revocation(2)]);
    declarations.answered(to, id, Ok(Answer::Done), NOW);
    let (to, id) = told(&mut declarations, NOW)[0];
    declarations.answered(to, id, Err(CallFailed("it is gone".into())), NOW);
    assert_eq!(declarations.next_wake(NOW), Some(after(1)));
}

#[test]
fn a_broker_that_never_will_is_left_alone_until_it_is_met_again() {
    let mut declarations = Declarations::default();
    declarations.set([revocation(1)]);
    declarations.broker_up(broker(1));
    let (to, id) = told(&mut declarations, NOW)[0];
    let older = Ok(Answer::Refused(Refusal::Invalid("not a question".into())));
    let declared = declarations.answered(to, id, older, NOW);
    assert_eq!(declared.kept, Err("not a question".into()));
    assert_eq!((told(&mut declarations, after(3600)), declarations.next_wake(NOW)), (vec![], None));
    declarations.broker_up(broker(1));
    assert_eq!(told(&mut declarations, NOW).len(), 1);
}
