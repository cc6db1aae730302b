//! Projects that are trusted because a curator lists them.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use capability::statements::{Ended, List, ListedProject, Revocation};
use capability::{ProjectKey, PublicKey, Runtime, Timestamp, Verified};
use mesh_core::{Answer, KeyChange, Offered};
use support::{BROKER, Bench, START, key, machine, offered_by, outcome, peer, pin};
use volunteer_core::{Action, Input, Pin, PinnedList, Stage, all_pins};

const CURATOR: u8 = 50;
const OTHER_CURATOR: u8 = 51;
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn listed(by: u8, keywords: &[&str]) -> ListedProject {
    ListedProject {
        key: peer(by).into(),
        name: format!("project {by}"),
        brokers: Vec::new(),
        keywords: keywords.iter().map(|word| (*word).to_owned()).collect(),
    }
}

fn list(curator: u8, projects: Vec<ListedProject>, expires: Timestamp) -> PinnedList {
    let list = List { name: "science".to_owned(), seq: 1, projects, expires };
    PinnedList {
        list: Verified::sign(list, &*key(curator)),
        keywords: BTreeSet::new(),
        terms: Pin { note: "of a list".to_owned(), ..pin() },
    }
}

fn keys(pins: &[Pin]) -> Vec<ProjectKey> {
    pins.iter().map(|pin| pin.project).collect()
}

fn sorted(keys: &[u8]) -> Vec<ProjectKey> {
    let keys: BTreeSet<ProjectKey> = keys.iter().map(|key| peer(*key).into()).collect();
    keys.into_iter().collect()
}

/// A volunteer of one core that trusts what is on the list, and is shown an offer of project 10.
fn shown(pins: Vec<Pin>) -> Bench {
    let mut bench = Bench::new();
    bench.handle(Input::Capabilities(machine(1)));
    bench.handle(Input::Pins(pins));
    bench.connect(BROKER);
    show(&mut bench, offer());
    bench
}

fn offer() -> Offered {
    offered_by(10, Runtime::Wasm, "job", 9, 1)
}

fn show(bench: &mut Bench, offered: Offered) {
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![offered]));
}

fn why(bench: &Bench) -> String {
    let reasons = bench.volunteer.why_not(peer(10).into());
    reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[test]
fn an_own_pin_comes_before_every_list_and_who_was_removed_is_on_none() {
    let own = Pin { note: "of my own".to_owned(), ..Pin::of(peer(10).into()) };
    let lists = [list(CURATOR, vec![listed(10, &[]), listed(11, &[]), listed(12, &[])], START)];
    let removed = [peer(11).into()].into();

    let pins = all_pins(vec![own.clone()], &lists, &removed);

    assert_eq!(keys(&pins), sorted(&[10, 12]));
    assert!(pins.contains(&own));
    let listed = pins.iter().find(|pin| pin.project == peer(12).into()).expect("it is listed");
    let voucher = listed.voucher.as_ref().expect("a list vouches for it");
    assert_eq!((voucher.curator, voucher.list.as_str()), (peer(CURATOR), "science"));
    assert_eq!((listed.name.as_str(), listed.note.as_str()), ("project 12", "of a list"));
}

#[test]
fn keywords_choose_among_those_that_the_curator_names_by_the_curators_words() {
    let projects =
        vec![listed(10, &["Science"]), listed(11, &["science", "sky"]), listed(12, &["games"])];
    let mut list = list(CURATOR, projects, START);
    for (words, expected) in
        [(vec!["science"], vec![10, 11]), (vec!["sky", "games"], vec![11, 12]), (vec!["x"], vec![])]
    {
        list.keywords = words.into_iter().map(str::to_owned).collect();
        let pins = all_pins(Vec::new(), &[list.clone()], &BTreeSet::new());
        assert_eq!(keys(&pins), sorted(&expected));
    }
}

/// A list of the one curator for a day, and one of the other for two, both with project 10.
fn short_and_long() -> [PinnedList; 2] {
    let short = list(CURATOR, vec![listed(10, &[])], START + DAY);
    [short, list(OTHER_CURATOR, vec![listed(10, &[])], START + DAY * 2)]
}

/// By whose list project 10 is trusted.
fn trusted_by(bench: &Bench) -> Option<PublicKey> {
    let pin = bench.volunteer.trust().pin(&peer(10).into())?;
    pin.voucher.as_ref().map(|voucher| voucher.curator)
}

fn revoked(curator: u8) -> KeyChange {
    let revocation =
        Revocation { key: peer(curator), reason: "stolen".to_owned(), expires: START + DAY * 30 };
    KeyChange::Revocation(Verified::sign(revocation, &*key(curator)))
}

#[test]
fn of_several_lists_the_one_counts_that_holds_longest() {
    let [short, long] = short_and_long();
    for lists in [[short.clone(), long.clone()], [long, short]] {
        let mut bench = Bench::new();
        bench.handle(Input::Pins(all_pins(Vec::new(), &lists, &BTreeSet::new())));
        assert_eq!(trusted_by(&bench), Some(peer(OTHER_CURATOR)));
    }
}

#[test]
fn a_list_that_does_not_hold_hides_no_other_that_does() {
    let mut bench = Bench::new();
    bench.handle(Input::Capabilities(machine(1)));
    bench.handle(Input::Pins(all_pins(Vec::new(), &short_and_long(), &BTreeSet::new())));
    assert_eq!(trusted_by(&bench), Some(peer(OTHER_CURATOR)));

    // The key behind the longer one is void.
    bench.said = Some(vec![revoked(OTHER_CURATOR)]);
    bench.connect(BROKER);
    assert_eq!(trusted_by(&bench), Some(peer(CURATOR)));
    show(&mut bench, offer());
    assert!(bench.claims(), "{}", why(&bench));

    // And then nothing is left.
    bench.pass(DAY);
    assert!(why(&bench).contains("by which you trust it"), "{}", why(&bench));
}

#[test]
fn a_project_of_a_list_is_worked_for_until_the_list_expires_and_what_is_in_hand_then_goes_on() {
    let lists = [list(CURATOR, vec![listed(10, &[])], START + HOUR)];
    let mut bench = shown(all_pins(Vec::new(), &lists, &BTreeSet::new()));
    let (call, claim) = bench.take_claim();
    let leases = support::leases_of(10, &claim, 0, 1);
    let lease = leases[0].id();
    bench.answer(call, Answer::Leases(leases));
    bench.fetched(&offer().offer);
    bench.take_order();

    bench.pass(HOUR * 2);
    bench.seen.clear();
    assert_eq!(bench.volunteer.jobs().next().map(|job| job.stage), Some(Stage::Running));
    bench.ran(lease, outcome(Ended::Passed));
    bench.pass(Duration::from_secs(60));
    while bench.find_pull().is_some() {}
    bench.handle(Input::BrokerDown { peer: peer(BROKER) });
    bench.connect(BROKER);
    show(&mut bench, offer());
    assert!(!bench.claims());
    assert!(
        why(&bench).contains("the list science, by which you trust it, ended at"),
        "{}",
        why(&bench)
    );
}

#[test]
fn a_project_that_a_newer_list_does_not_name_is_trusted_no_more_and_its_jobs_are_stopped() {
    let first = [list(CURATOR, vec![listed(10, &[]), listed(11, &[])], START + DAY)];
    let mut bench = shown(all_pins(Vec::new(), &first, &BTreeSet::new()));
    let (call, claim) = bench.take_claim();
    bench.answer(call, Answer::Leases(support::leases_of(10, &claim, 0, 1)));
    bench.fetched(&offer().offer);
    let order = bench.take_order();

    let newer = [list(CURATOR, vec![listed(11, &[])], START + DAY)];
    bench.handle(Input::Pins(all_pins(Vec::new(), &newer, &BTreeSet::new())));

    let stopped = bench.take(|it| match it {
        Action::Stop { lease } => Some(*lease),
        _ => None,
    });
    assert_eq!(stopped, order.lease);
    assert_eq!(why(&bench), "it is not trusted on this machine");
}

#[test]
fn a_curator_whose_key_is_void_vouches_for_nobody() {
    let lists = [list(CURATOR, vec![listed(10, &[])], START + DAY)];
    let mut bench = Bench::new();
    bench.said = Some(vec![revoked(CURATOR)]);
    bench.handle(Input::Capabilities(machine(1)));
    bench.handle(Input::Pins(all_pins(Vec::new(), &lists, &BTreeSet::new())));
    bench.connect(BROKER);
    show(&mut bench, offer());
    assert!(!bench.claims());
    assert!(
        why(&bench)
            .contains("the key that signed the list science, by which you trust it, was revoked"),
        "{}",
        why(&bench)
    );
}
