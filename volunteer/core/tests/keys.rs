//! A volunteer, the keys that it goes by, and work that nobody wants any more.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use capability::statements::{Claim, Ended, Intent, Ownership, Revocation, Succession, Withdrawal};
use capability::{Ed25519, PublicKey, Runtime, SecretKey, Signer, StatementId, Verified};
use mesh_core::{Answer, Ask, CallId, KeyChange, Offered, Refusal};
use support::{
    ADAPTER, BROKER, Bench, ME, OTHER_BROKER, PROJECT, START, accepted, key, offered, outcome,
    peer, pin, project, result_in,
};
use volunteer_core::{Action, Decline, Input, News, Order, Pin, Volunteer};

const HOUR: Duration = Duration::from_secs(60 * 60);
const SECOND: Duration = Duration::from_secs(1);
const STRANGER: u8 = 9;

fn revocation(of: u8, by: u8) -> KeyChange {
    let (key_of, expires) = (peer(of), START + 48 * HOUR);
    let revocation = Revocation { key: key_of, reason: String::new(), expires };
    KeyChange::Revocation(Verified::sign(revocation, &*key(by)))
}

fn withdrawal(offered: &Offered, by: u8) -> Verified<Withdrawal> {
    let (statement, expires) = (offered.offer.id(), offered.offer.expires);
    let withdrawal = Withdrawal { statement, reason: "cancelled".into(), expires };
    Verified::sign(withdrawal, &*key(by))
}

/// A volunteer whose brokers do not answer questions about keys by themselves.
fn silent_brokers(brokers: &[u8]) -> Bench {
    let mut bench = Bench::new();
    bench.said = None;
    bench.handle(Input::Capabilities(support::machine(2)));
    bench.handle(Input::Pins(vec![pin()]));
    bench.connect(brokers[0]);
    brokers[1..].iter().for_each(|it| bench.handle(Input::BrokerUp { peer: peer(*it) }));
    bench
}

fn show(bench: &mut Bench, offered: &Offered) {
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![offered.clone()]));
}

fn tell(bench: &mut Bench, call: CallId, changes: &[KeyChange]) {
    bench.answer(call, Answer::KeyChanges(changes.to_vec()));
}

fn stopped(bench: &mut Bench) -> Vec<StatementId> {
    let mut all = Vec::new();
    while let Some(lease) = bench.find(|action| match action {
        Action::Stop { lease } => Some(*lease),
        _ => None,
    }) {
        all.push(lease);
    }
    all
}

fn renewal(bench: &mut Bench) -> CallId {
    bench.take_ask(|ask| matches!(ask, Ask::Renew { .. })).0
}

fn running(bench: &mut Bench, cores: u64) -> (Offered, Vec<Order>) {
    let offer = offered("sweep", 4, cores);
    let orders = bench.run_offer(&offer);
    (offer, orders)
}

// Asking.

#[test]
fn every_broker_is_asked_on_connecting_and_each_hour() {
    let mut bench = silent_brokers(&[BROKER, OTHER_BROKER]);
    let to = |questions: Vec<(CallId, PublicKey, Vec<PublicKey>)>, bench: &mut Bench| {
        for (call, _, of) in &questions {
            assert_eq!(*of, [peer(PROJECT)]);
            tell(bench, *call, &[]);
        }
        questions.into_iter().map(|(_, to, _)| to).collect::<Vec<_>>()
    };
    let mut both = vec![peer(BROKER), peer(OTHER_BROKER)];
    let questions = bench.key_questions();
    let mut asked = to(questions, &mut bench);
    asked.sort();
    both.sort();
    assert_eq!(asked, both);

    bench.pass(HOUR - SECOND);
    assert!(bench.key_questions().is_empty());
    bench.pass(2 * SECOND);
    let questions = bench.key_questions();
    let mut asked = to(questions, &mut bench);
    asked.sort();
    assert_eq!(asked, both);
}

#[test]
fn nothing_is_claimed_before_a_broker_has_told_of_the_project_and_its_delegate() {
    let mut bench = silent_brokers(&[BROKER]);
    let (call, _, of) = bench.key_questions().remove(0);
    assert_eq!(of, [peer(PROJECT)]);
    tell(&mut bench, call, &[]);
    show(&mut bench, &offered("sweep", 1, 1));
    assert!(!bench.claims());

    let (call, _, of) = bench.key_questions().remove(0);
    assert_eq!(of, [peer(ADAPTER)]);
    tell(&mut bench, call, &[]);
    assert!(bench.claims());
    assert_eq!(bench.volunteer.declined().len(), 0);
}

#[test]
fn an_offer_that_no_broker_tells_about_is_declined_and_taken_once_one_does() {
    let mut bench = silent_brokers(&[BROKER]);
    let (call, ..) = bench.key_questions().remove(0);
    // An older broker does not know the question.
    bench.answer(call, Answer::Refused(Refusal::Invalid("not a question".into())));
    let offer = offered("sweep", 1, 1);
    show(&mut bench, &offer);
    assert!(!bench.claims());
    let declined = bench.volunteer.declined().next().unwrap();
    assert_eq!(declined.reason, Decline::Unconfirmed);

    bench.pass(2 * SECOND);
    let (call, _, of) = bench.key_questions().remove(0);
    assert_eq!(of.len(), 2, "it is asked again");
    tell(&mut bench, call, &[]);
    let (call, wants) = bench.take_pull();
    assert!(!wants.except.contains(&offer.offer.id()), "it may be shown again");
    bench.answer(call, Answer::Offers(vec![offer]));
    assert!(bench.claims());
}

#[test]
fn an_answer_of_yesterday_is_no_ground_for_a_claim_by_either_clock() {
    for sleeps in [false, true] {
        let mut bench = silent_brokers(&[BROKER]);
        let (call, ..) = bench.key_questions().remove(0);
        tell(&mut bench, call, &[]);
        show(&mut bench, &offered("first", 1, 1));
        let (call, ..) = bench.key_questions().remove(0);
        tell(&mut bench, call, &[]);
        let (call, claim) = bench.take_claim();
        bench.answer(call, Answer::Refused(Refusal::NoTask));
        drop(claim);

        let day = 24 * HOUR;
        if sleeps {
            bench.now.wall = bench.now.wall + day;
        } else {
            // Set back just as far meanwhile.
            bench.now.mono = bench.now.after(day).mono;
        }
        let mut offer = offered("second", 1, 1);
        let payload =
            capability::statements::Offer { expires: START + day, ..(*offer.offer).clone() };
        offer.offer = Verified::sign(payload, &*key(ADAPTER));
        bench.handle(Input::Wake);
        bench.seen.retain(|it| !matches!(it, Action::Ask { ask: Ask::Claim { .. }, .. }));
        show(&mut bench, &offer);
        assert!(!bench.claims(), "asleep: {sleeps}");
        assert!(!bench.key_questions().is_empty(), "asleep: {sleeps}");
    }
}

// Void keys.

#[test]
fn what_any_broker_tells_counts_and_the_other_cannot_withhold_it() {
    let mut bench = silent_brokers(&[BROKER, OTHER_BROKER]);
    for (call, to, _) in bench.key_questions() {
        let known = [revocation(ADAPTER, PROJECT)];
        tell(&mut bench, call, if to == peer(OTHER_BROKER) { &known } else { &[] });
    }
    show(&mut bench, &offered("sweep", 1, 1));
    for (call, ..) in bench.key_questions() {
        tell(&mut bench, call, &[]);
    }
    assert!(!bench.claims());
    let declined = bench.volunteer.declined().next().unwrap();
    assert_eq!(declined.reason, Decline::Revoked(peer(ADAPTER)));
}

#[test]
fn a_revocation_survives_a_restart() {
    let mut bench = Bench::new();
    bench.said = Some(vec![revocation(ADAPTER, PROJECT)]);
    bench.handle(Input::Capabilities(support::machine(2)));
    bench.handle(Input::Pins(vec![pin()]));
    bench.connect(BROKER);

    let mut bench = bench.restart();
    bench.said = None;
    bench.connect(BROKER);
    show(&mut bench, &offered("sweep", 1, 1));
    let declined = bench.volunteer.declined().next().unwrap();
    assert_eq!(declined.reason, Decline::Revoked(peer(ADAPTER)));
}

#[test]
fn a_stranger_revokes_nobody_and_what_was_not_asked_for_is_not_kept() {
    let mut bench = silent_brokers(&[BROKER]);
    let (call, ..) = bench.key_questions().remove(0);
    let records = bench.disk.len();
    tell(&mut bench, call, &[revocation(ADAPTER, STRANGER), revocation(STRANGER, STRANGER)]);
    assert_eq!(bench.disk.len(), records);
    show(&mut bench, &offered("sweep", 1, 1));
    let (call, ..) = bench.key_questions().remove(0);
    tell(&mut bench, call, &[]);
    assert!(bench.claims());
}

#[test]
fn running_tasks_of_a_revoked_delegate_are_given_up_and_owe_nothing() {
    let mut bench = Bench::ready(2);
    let (_, orders) = running(&mut bench, 1);
    bench.said = Some(vec![revocation(ADAPTER, PROJECT)]);
    bench.pass(HOUR);
    let mut given_up: Vec<_> = orders.iter().map(|order| order.lease).collect();
    given_up.sort();
    let mut stops = stopped(&mut bench);
    stops.sort();
    assert_eq!(stops, given_up);
    for order in orders {
        bench.ran(order.lease, outcome(Ended::Failed));
    }
    assert_eq!(bench.find_handover(), None);
    assert_eq!(bench.volunteer.jobs().count(), 0);
    let reasons = bench.news().into_iter().filter_map(|news| match news {
        News::Released { reason, .. } => Some(reason),
        _ => None,
    });
    assert_eq!(reasons.collect::<Vec<_>>(), ["the key that offered it was revoked"]);
}

#[test]
fn a_home_that_no_longer_knows_an_offer_makes_the_volunteer_ask_why() {
    let mut bench = Bench::ready(2);
    let (_, orders) = running(&mut bench, 2);
    bench.said = Some(vec![revocation(PROJECT, PROJECT)]);
    bench.pass(10 * SECOND);
    let call = renewal(&mut bench);
    bench.answer(call, Answer::Refused(Refusal::UnknownOffer));
    assert_eq!(stopped(&mut bench), [orders[0].lease]);
    assert!(bench.volunteer.is_void(project()));
}

#[test]
fn a_receipt_of_a_void_key_settles_nothing() {
    let mut bench = Bench::ready(2);
    let (_, orders) = running(&mut bench, 2);
    bench.ran(orders[0].lease, outcome(Ended::Passed));
    let result = result_in(&bench.take_handover().1);
    bench.said = Some(vec![revocation(ADAPTER, PROJECT)]);
    bench.pass(HOUR);
    bench.receive(accepted(&result));
    assert_eq!(bench.volunteer.undelivered(), 1, "the project has not judged it");
}

#[test]
fn a_pin_keeps_what_its_project_said_beyond_its_expiry() {
    let mut bench = Bench::ready(2);
    bench.said = Some(vec![revocation(PROJECT, PROJECT)]);
    bench.pass(HOUR);
    bench.said = Some(Vec::new());
    bench.pass(72 * HOUR);
    assert!(bench.volunteer.is_void(project()));

    // A new process is told of its pins after other things.
    let mut bench = bench.restart();
    assert!(bench.volunteer.is_void(project()), "after a restart");
    assert!(bench.disk.keys().any(|key| key[0] == b'v'), "and it is still durable");

    bench.handle(Input::Pins(vec![Pin { project: peer(8).into(), ..pin() }]));
    bench.pass(SECOND);
    assert!(!bench.volunteer.is_void(project()), "nobody relies on it any more");
}

#[test]
fn what_nobody_relies_on_is_forgotten_although_nothing_is_pinned() {
    let mut bench = Bench::ready(2);
    bench.said = Some(vec![revocation(PROJECT, PROJECT)]);
    bench.pass(HOUR);
    let mut volunteer =
        Volunteer::restore(support::identity(), bench.disk.clone(), &Ed25519).unwrap();
    let later = bench.now.after(72 * HOUR);
    volunteer.handle(Input::Wake, later);
    assert!(volunteer.is_void(project()), "the pins are not known yet");
    volunteer.handle(Input::Pins(Vec::new()), later);
    assert!(!volunteer.is_void(project()));
}

#[test]
fn a_succession_is_shown_and_moves_no_trust() {
    let mut bench = Bench::new();
    let succession = Succession { successor: peer(7), expires: START + 48 * HOUR };
    let succession = Verified::sign(succession, &*key(PROJECT));
    bench.said = Some(vec![KeyChange::Succession(succession)]);
    bench.handle(Input::Capabilities(support::machine(2)));
    bench.handle(Input::Pins(vec![pin()]));
    bench.connect(BROKER);

    assert_eq!(bench.volunteer.heir(project()), Some(peer(7)));
    assert!(bench.volunteer.trust().pin(&peer(7).into()).is_none());
    show(&mut bench, &offered("sweep", 1, 1));
    assert!(bench.claims(), "the old key is not void");
}

// What is kept of what brokers tell.

/// A key that exists nowhere but in a revocation.
fn invented(n: u16) -> PublicKey {
    let mut seed = [0xee; 32];
    seed[..2].copy_from_slice(&n.to_le_bytes());
    SecretKey::from_seed(&seed).public()
}

fn revocation_until(of: PublicKey, by: u8, lifetime: Duration) -> KeyChange {
    let revocation = Revocation { key: of, reason: String::new(), expires: START + lifetime };
    KeyChange::Revocation(Verified::sign(revocation, &*key(by)))
}

fn succession(of: u8, to: u8, lifetime: Duration) -> KeyChange {
    let succession = Succession { successor: peer(to), expires: START + lifetime };
    KeyChange::Succession(Verified::sign(succession, &*key(of)))
}

fn kept(bench: &Bench) -> usize {
    bench.disk.keys().filter(|key| key[0] == b'v').count()
}

/// A volunteer whose broker has told `said` of the project and its delegate, in turn.
fn told(said: &[KeyChange]) -> Bench {
    let mut bench = silent_brokers(&[BROKER]);
    bench.now.wall = START;
    tell_of_both(&mut bench, said);
    bench
}

/// Shows an offer, and answers all questions about keys from `said`.
fn tell_of_both(bench: &mut Bench, said: &[KeyChange]) {
    bench.said = Some(said.to_vec());
    for (call, _, of) in bench.key_questions() {
        let known = said.iter().filter(|change| of.contains(&change.signer()));
        let known: Vec<_> = known.cloned().collect();
        tell(bench, call, &known);
    }
    show(bench, &offered("sweep", 1, 1));
}

fn declined(bench: &Bench) -> Option<Decline> {
    bench.volunteer.declined().next().map(|declined| declined.reason.clone())
}

#[test]
fn a_stolen_delegate_fills_no_memory_with_keys_that_it_invents() {
    let mut said: Vec<_> =
        (0..5000).map(|n| revocation_until(invented(n), ADAPTER, 48 * HOUR)).collect();
    said.push(succession(ADAPTER, STRANGER, 48 * HOUR));
    let mut bench = told(&said);
    assert_eq!(kept(&bench), 0);
    assert!(bench.claims(), "it says nothing of the keys that this volunteer goes by");

    bench.said = Some(vec![revocation(ADAPTER, PROJECT)]);
    bench.handle(Input::BrokerUp { peer: peer(OTHER_BROKER) });
    let void = News::Revoked { key: peer(ADAPTER), signer: peer(PROJECT) };
    assert!(bench.news().contains(&void), "the project is heard");
}

#[test]
fn what_revokes_its_own_signer_is_kept_once_and_the_longest() {
    for by in [ADAPTER, PROJECT] {
        let said = [12, 48, 24].map(|hours| revocation_until(peer(by), by, hours * HOUR));
        let bench = told(&said);
        assert_eq!(declined(&bench), Some(Decline::Revoked(peer(ADAPTER))), "by {by}");
        assert_eq!(kept(&bench), 1, "by {by}");
        let longest = said[1].envelope().as_bytes();
        assert!(bench.disk.values().any(|value| value == longest), "by {by}");
    }
}

#[test]
fn of_a_pinned_project_so_much_is_kept_as_brokers_keep() {
    let mut said: Vec<_> = (0..64).map(|n| revocation_until(invented(n), PROJECT, HOUR)).collect();
    said.extend([7, 8, 9].map(|to| succession(PROJECT, to, HOUR)));
    let mut bench = told(&said);
    assert_eq!(kept(&bench), 64 + 2);
    assert!(bench.claims(), "all that matters was kept");
    assert_eq!(bench.volunteer.heir(project()), None, "it has named two");
}

#[test]
fn a_revocation_without_room_leaves_its_signer_unconfirmed() {
    let said: Vec<_> = (0..65).map(|n| revocation_until(invented(n), PROJECT, HOUR)).collect();
    let mut bench = told(&said);
    assert_eq!(kept(&bench), 64);
    assert_eq!(declined(&bench), Some(Decline::Unconfirmed));

    bench.said = Some(Vec::new());
    bench.handle(Input::BrokerUp { peer: peer(OTHER_BROKER) });
    bench.pass(2 * SECOND);
    show(&mut bench, &offered("sweep", 1, 1));
    assert!(!bench.claims(), "another broker does not know it, which proves nothing");
}

#[test]
fn there_is_room_for_what_revokes_the_signer_or_a_delegate_in_use() {
    for of in [ADAPTER, PROJECT] {
        let mut said: Vec<_> =
            (0..64).map(|n| revocation_until(invented(n), PROJECT, HOUR)).collect();
        let mut bench = told(&said);
        said.push(revocation(of, PROJECT));
        bench.said = Some(said);
        bench.handle(Input::BrokerUp { peer: peer(OTHER_BROKER) });
        assert_eq!(kept(&bench), 65, "of {of}");
        let void = News::Revoked { key: peer(of), signer: peer(PROJECT) };
        assert!(bench.news().contains(&void), "of {of}");
    }
}

#[test]
fn what_has_expired_gives_way_to_what_a_pinned_project_says_now() {
    let old: Vec<_> = (0..64).map(|n| revocation_until(invented(n), PROJECT, HOUR)).collect();
    let mut bench = told(&old);
    bench.said = Some(vec![revocation_until(invented(64), PROJECT, 48 * HOUR)]);
    bench.pass(2 * HOUR);
    assert_eq!(kept(&bench), 64);
    bench.pass(2 * SECOND);
    let wanted = bench.said.as_ref().unwrap()[0].envelope().as_bytes().to_vec();
    assert!(bench.disk.values().any(|value| *value == wanted));
}

#[test]
fn a_volunteer_whose_clock_lags_does_not_take_a_key_for_good_that_it_was_told_is_void() {
    let year = 366 * 24 * HOUR;
    for (of, by) in [(PROJECT, PROJECT), (ADAPTER, PROJECT), (ADAPTER, ADAPTER)] {
        let said = [revocation_until(peer(of), by, year + HOUR)];
        let mut bench = told(&said);
        assert!(!bench.claims(), "{by} on {of}");
        assert_eq!(declined(&bench), Some(Decline::Unconfirmed), "{by} on {of}");

        bench.now.wall = bench.now.wall + HOUR;
        bench.pass(HOUR);
        assert_eq!(kept(&bench), 1, "once the clock is right: {by} on {of}");
    }
}

// Claims under way.

/// A volunteer of one core that waits for the answer to its claim, and the claim.
fn claiming() -> (Bench, CallId, Verified<Claim>) {
    let mut bench = Bench::ready(1);
    show(&mut bench, &offered("sweep", 1, 1));
    let (call, claim) = bench.take_claim();
    (bench, call, claim)
}

fn is_given_back(bench: &mut Bench, leases: &[StatementId]) {
    let (_, ask) = bench.take_ask(|ask| matches!(ask, Ask::Renew { .. }));
    let Ask::Renew { renewal, .. } = ask else { unreachable!() };
    assert_eq!((renewal.intent, renewal.leases.as_slice()), (Intent::Release, leases));
    assert_eq!(bench.volunteer.jobs().count(), 0);
    assert!(!bench.disk.keys().any(|key| key[0] == b'l'), "no lease is kept");
}

#[test]
fn what_was_claimed_before_its_project_was_unpinned_is_given_back() {
    let pins = [
        Vec::new(),
        vec![Pin { runtimes: [Runtime::Native].into(), ..pin() }],
        vec![Pin { revoked: [peer(ADAPTER)].into(), ..pin() }],
    ];
    for pins in pins {
        let (mut bench, call, claim) = claiming();
        bench.handle(Input::Pins(pins));
        let leases = bench.grant(call, &claim, 0, 1);
        is_given_back(&mut bench, &leases);
    }
}

#[test]
fn what_was_claimed_before_its_key_was_revoked_is_given_back() {
    for void in [ADAPTER, PROJECT] {
        let (mut bench, call, claim) = claiming();
        bench.said = Some(vec![revocation(void, PROJECT)]);
        bench.handle(Input::BrokerUp { peer: peer(OTHER_BROKER) });
        let leases = bench.grant(call, &claim, 0, 1);
        is_given_back(&mut bench, &leases);
    }
}

#[test]
fn a_claim_that_nobody_wants_any_more_is_not_repeated() {
    let (mut bench, call, _) = claiming();
    bench.fail(call);
    bench.handle(Input::Pins(Vec::new()));
    bench.pass(60 * SECOND);
    assert!(!bench.claims());
    assert!(bench.news().iter().any(|news| matches!(news, News::NotGranted { .. })));
}

// Withdrawn work.

#[test]
fn a_withdrawn_job_ends_within_a_renewal_and_owes_nothing() {
    let mut bench = Bench::ready(2);
    let (offer, orders) = running(&mut bench, 1);
    bench.pass(10 * SECOND);
    let call = renewal(&mut bench);
    bench.answer(call, Answer::Withdrawn(withdrawal(&offer, ADAPTER)));

    assert_eq!(stopped(&mut bench).len(), 2);
    for order in orders {
        bench.ran(order.lease, outcome(Ended::Failed));
    }
    assert_eq!(bench.find_handover(), None);
    bench.pass(60 * SECOND);
    assert_eq!(
        bench.find(|it| matches!(it, Action::Ask { ask: Ask::Renew { .. }, .. }).then_some(())),
        None
    );
    let (_, total) = bench.volunteer.totals().next().unwrap();
    assert_eq!(total.withdrawn, 2);

    let bench = bench.restart();
    let (_, total) = bench.volunteer.totals().next().unwrap();
    assert_eq!(total.withdrawn, 2);
}

#[test]
fn a_withdrawal_by_another_key_or_of_another_offer_stops_nothing() {
    let mut bench = Bench::ready(2);
    let (offer, _) = running(&mut bench, 2);
    bench.pass(10 * SECOND);
    let call = renewal(&mut bench);
    bench.answer(call, Answer::Withdrawn(withdrawal(&offer, STRANGER)));
    assert_eq!(stopped(&mut bench), []);
    let lapsed = bench.news().into_iter().any(|news| matches!(news, News::Lapsed { .. }));
    assert!(lapsed, "the home does not know the offer, all the same");

    let mut bench = Bench::ready(2);
    running(&mut bench, 2);
    bench.pass(10 * SECOND);
    let call = renewal(&mut bench);
    let other = withdrawal(&offered("other", 1, 1), ADAPTER);
    bench.answer(call, Answer::Withdrawn(other));
    assert_eq!(stopped(&mut bench), []);
}

#[test]
fn a_result_that_is_on_its_way_stays_so_when_its_job_is_withdrawn() {
    let mut bench = Bench::ready(2);
    let (offer, orders) = running(&mut bench, 2);
    bench.ran(orders[0].lease, outcome(Ended::Passed));
    bench.pass(10 * SECOND);
    let call = renewal(&mut bench);
    bench.answer(call, Answer::Withdrawn(withdrawal(&offer, ADAPTER)));
    assert_eq!(bench.volunteer.undelivered(), 1);
}

// Owners.

#[test]
fn a_result_names_the_owner_while_the_ownership_holds_and_names_the_machine() {
    let ownership = |node: u8, hours: u32| {
        let expires = START + HOUR * hours;
        Verified::sign(Ownership { nodes: vec![peer(node)], expires }, &*key(STRANGER))
    };
    let mut bench = Bench::ready(2);
    let (offer, orders) = running(&mut bench, 1);
    let mut results = Vec::new();
    for (order, owned) in orders.iter().zip([ownership(ME, 12), ownership(BROKER, 12)]) {
        bench.handle(Input::Owner(Some(owned)));
        bench.ran(order.lease, outcome(Ended::Passed));
        results.push(result_in(&bench.take_handover().1));
    }
    drop(offer);
    let reports: Vec<_> = results.iter().map(support::report_in).collect();
    let vouched = reports[0].ownership.as_ref().unwrap();
    let vouched = Verified::<Ownership>::check(vouched, &Ed25519).unwrap();
    assert_eq!(vouched.signer(), peer(STRANGER));
    assert_eq!(reports[1].ownership, None, "it names another machine");
    for result in &results {
        Verified::<capability::statements::JobResult>::check(result.envelope(), &Ed25519).unwrap();
    }
}

#[test]
fn a_damaged_record_of_a_key_is_an_error() {
    let records = [(vec![b'v', 0], vec![1, 2, 3])];
    assert!(Volunteer::restore(support::identity(), records, &Ed25519).is_err());
}

#[test]
fn what_the_owner_wants_known_about_keys_is_told_to_every_broker() {
    let mut bench = Bench::ready(2);
    bench.handle(Input::Declare(vec![revocation(STRANGER, STRANGER)]));
    bench.handle(Input::BrokerUp { peer: peer(OTHER_BROKER) });
    let mut told = Vec::new();
    for _ in 0..2 {
        let (call, to) = bench.take(|action| match action {
            Action::Ask { to, call, ask: Ask::Declare { .. } } => Some((*call, *to)),
            _ => None,
        });
        bench.answer(call, Answer::Done);
        told.push(to);
    }
    assert_eq!(told, [peer(BROKER), peer(OTHER_BROKER)]);
    let kept = bench
        .news()
        .into_iter()
        .filter(|news| matches!(news, News::Declared(declared) if declared.kept.is_ok()));
    assert_eq!(kept.count(), 2);
}
