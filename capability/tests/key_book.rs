//! What revocations and successions add up to.

use std::time::Duration;

use capability::statements::{Revocation, Succession};
use capability::{
    DecryptionKey, KeyBook, MAX_SUCCESSIONS, PublicKey, SecretKey, Signer, Timestamp, Verified,
};

const EXPIRES: Timestamp = Timestamp(1_800_000_000_000);

const PROJECT: u8 = 1;
const NODE: u8 = 2;
const STRANGER: u8 = 9;

fn secret(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

fn key(n: u8) -> PublicKey {
    secret(n).public()
}

fn revocation(of: u8, by: u8) -> Verified<Revocation> {
    let payload = Revocation { key: key(of), reason: String::new(), expires: EXPIRES };
    Verified::sign(payload, &secret(by))
}

fn succession(from: u8, to: u8) -> Verified<Succession> {
    Verified::sign(Succession { successor: key(to), expires: EXPIRES }, &secret(from))
}

fn passed_on(steps: &[(u8, u8)]) -> KeyBook {
    let mut book = KeyBook::default();
    for (from, to) in steps {
        assert!(book.pass_on(&succession(*from, *to)));
    }
    book
}

#[test]
fn a_project_revokes_a_delegate_for_itself_and_a_key_itself_everywhere() {
    let mut book = KeyBook::default();
    assert!(book.revoke(&revocation(NODE, STRANGER)));
    assert!(!book.is_void_for(key(NODE), key(PROJECT)), "a stranger has no say");
    assert!(book.is_void_for(key(NODE), key(STRANGER)));

    assert!(book.revoke(&revocation(NODE, PROJECT)));
    assert!(!book.revoke(&revocation(NODE, PROJECT)), "known");
    assert!(book.is_void_for(key(NODE), key(PROJECT)));
    assert!(!book.is_void(key(NODE)));

    assert!(book.revoke(&revocation(NODE, NODE)));
    assert!(book.is_void(key(NODE)) && book.is_void_for(key(NODE), key(8)));

    book.forget_revocation(key(NODE), key(NODE));
    assert!(!book.is_void(key(NODE)) && book.is_void_for(key(NODE), key(PROJECT)));
}

#[test]
fn whoever_speaks_for_a_void_key_speaks_for_nobody() {
    let mut book = KeyBook::default();
    book.revoke(&revocation(PROJECT, PROJECT));
    assert!(book.is_void_for(key(NODE), key(PROJECT)));
    assert!(!book.is_void_for(key(NODE), key(STRANGER)));
}

#[test]
fn the_heir_is_at_the_end_of_the_chain() {
    let mut book = passed_on(&[(1, 2), (2, 3)]);
    assert_eq!(book.heir(key(1)), Some(key(3)));
    assert_eq!(book.heir(key(3)), None);

    book.forget_succession(key(2), key(3));
    assert_eq!(book.heir(key(1)), Some(key(2)));
    book.forget_succession(key(1), key(2));
    assert_eq!(book, KeyBook::default());
}

#[test]
fn a_key_that_named_two_has_no_heir() {
    let book = passed_on(&[(1, 2), (2, 3), (2, 4)]);
    assert_eq!(book.heir(key(2)), None);
    assert_eq!(book.heir(key(1)), None);
}

#[test]
fn a_revocation_beats_a_succession_whichever_comes_first() {
    for void in [1, 2, 3] {
        let mut book = passed_on(&[(1, 2), (2, 3)]);
        book.revoke(&revocation(void, void));
        assert_eq!(book.heir(key(1)), None, "{void} is void");
    }
    let mut book = KeyBook::default();
    book.revoke(&revocation(1, 1));
    book.pass_on(&succession(1, 2));
    assert_eq!(book.heir(key(1)), None);
}

#[test]
fn circles_and_chains_without_end_lead_nowhere() {
    let circle = passed_on(&[(1, 2), (2, 3), (3, 1)]);
    assert_eq!(circle.heir(key(1)), None);
    let inner = passed_on(&[(1, 2), (2, 3), (3, 2)]);
    assert_eq!(inner.heir(key(1)), None);

    let last = 1 + u8::try_from(MAX_SUCCESSIONS).expect("few");
    let mut book = passed_on(&(1..last).map(|n| (n, n + 1)).collect::<Vec<_>>());
    assert_eq!(book.heir(key(1)), Some(key(last)));
    book.pass_on(&succession(last, last + 1));
    assert_eq!(book.heir(key(1)), None);
    assert_eq!(book.heir(key(2)), Some(key(last + 1)));
}

#[test]
fn nothing_is_taken_under_a_delegation_that_holds_for_longer_than_delegations_do() {
    use capability::statements::{Delegation, Home};
    let now = EXPIRES;
    let day = Duration::from_secs(24 * 60 * 60);
    let home = |delegated: u32| {
        let delegation = Delegation {
            node: key(NODE),
            encryption: DecryptionKey::from_seed(&[7; 32]).public(),
            expires: now + day * delegated,
        };
        let home = Home {
            project: key(PROJECT).into(),
            epoch: 1,
            home: key(3),
            standbys: Vec::new(),
            delegation: Verified::sign(delegation, &secret(PROJECT)).envelope().clone(),
            expires: now + day,
        };
        Verified::sign(home, &secret(NODE)).current(now)
    };
    assert!(home(366).is_ok());
    let error = home(367).expect_err("its revocation would end before it").to_string();
    assert!(error.starts_with("delegation expires at"), "{error}");
}
