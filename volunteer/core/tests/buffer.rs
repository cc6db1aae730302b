//! Stories of work that is fetched ahead, for times without a connection.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::statements::{Claim, Ended, Intent, Lease, Offer, Renewal, Withdrawal};
use capability::{BlobHash, Runtime, StatementId, Timestamp, Verified};
use mesh_core::{Answer, Ask, Offered, Wants};
use proptest::prelude::*;
use support::{
    ADAPTER, BROKER, Bench, PROJECT, START, key, offered_by, outcome, peer, pin, project,
};
use volunteer_core::{Action, Input, MAX_AHEAD, News, Offline, Order, Pin, needs};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// A project beside the usual one.
const OTHER: u8 = 6;

/// An offer of `tasks` tasks of one core and an hour, which may be held for `offline` beyond that.
fn offer(name: &str, tasks: u32, offline: Duration) -> Offered {
    offer_by(PROJECT, name, tasks, |offer| offer.offline_ms = millis(offline))
}

fn offer_by(by: u8, name: &str, tasks: u32, change: impl Fn(&mut Offer)) -> Offered {
    let offered = offered_by(by, Runtime::Wasm, name, tasks, 1);
    let mut offer = (*offered.offer).clone();
    offer.job.limits.wall_ms = millis(HOUR);
    change(&mut offer);
    Offered { offer: Verified::sign(offer, &*key(ADAPTER)), ..offered }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap()
}

/// A broker that has these offers, and the home that grants their tasks.
struct Broker {
    offers: Vec<Offered>,
    /// How many tasks of each offer were leased.
    leased: BTreeMap<StatementId, u32>,
    /// What was granted, whether it is held yet or not.
    granted: Vec<Verified<Lease>>,
    /// Whether leases hold without renewals if that is wanted.
    lends: bool,
    /// For how long they hold, if not as long as they should.
    term: Option<Duration>,
    pulls: u32,
}

impl Broker {
    fn new(offers: Vec<Offered>) -> Self {
        Self { offers, leased: [].into(), granted: Vec::new(), lends: true, term: None, pulls: 0 }
    }

    /// Answers until there is nothing to answer but a pull that waits for more.
    fn serve(&mut self, bench: &mut Bench) {
        for _ in 0..1000 {
            if let Some((call, wants)) = bench.find_pull() {
                self.pulls += 1;
                let shown = self.shown(&wants);
                if !shown.is_empty() || wants.wait_ms == Some(0) {
                    bench.answer(call, Answer::Offers(shown));
                }
            } else if let Some((call, claims)) = bench.find(|action| match action {
                Action::Ask { call, ask: Ask::Claim { claims, .. }, .. } => {
                    Some((*call, claims.clone()))
                }
                _ => None,
            }) {
                let parts: Vec<_> =
                    claims.iter().map(|claim| self.grant(claim, bench.now.wall)).collect();
                let answer = if parts.len() == 1 { parts[0].clone() } else { Answer::Each(parts) };
                bench.answer(call, answer);
            } else if let Some(call) = bench.find(|action| match action {
                Action::Ask { call, ask: Ask::Advertise { .. }, .. } => Some(*call),
                _ => None,
            }) {
                bench.answer(call, Answer::Done);
            } else if let Some(hash) = bench.find(|action| match action {
                Action::Fetch { hash, .. } => Some(*hash),
                _ => None,
            }) {
                bench.handle(Input::Fetched { hash, fetched: Ok(()) });
            } else {
                return;
            }
        }
        panic!("there is no end to the questions");
    }

    /// Serves for so long, and looks each second.
    fn serve_for(&mut self, bench: &mut Bench, time: Duration) {
        for _ in 0..time.as_secs() {
            self.serve(bench);
            bench.pass(SECOND);
        }
        self.serve(bench);
    }

    fn shown(&self, wants: &Wants) -> Vec<Offered> {
        let suits = |offered: &&Offered| {
            let offer = &offered.offer;
            let (needs, free) = (needs(offer), wants.free);
            let left = offer.tasks - self.leased.get(&offer.id()).copied().unwrap_or_default();
            left > 0
                && !wants.except.contains(&offer.id())
                && (wants.projects.is_empty() || wants.projects.contains(&offer.project))
                && needs.cores <= free.cores
                && needs.memory <= free.memory
        };
        self.offers.iter().filter(suits).take(4).cloned().collect()
    }

    fn grant(&mut self, claim: &Claim, now: Timestamp) -> Answer {
        let offer = self.offers.iter().find(|it| it.offer.id() == claim.offer).unwrap();
        let offer = &offer.offer;
        let leased = self.leased.entry(claim.offer).or_default();
        let count = u32::from(claim.count).min(offer.tasks - *leased);
        let longest = offer.job.limits.wall() + Duration::from_millis(offer.offline_ms);
        let deadline = now + self.term.unwrap_or(longest);
        let lends = self.lends && claim.offline && offer.offline_ms > 0;
        let lease = |lease: Verified<Lease>| Lease {
            project: offer.project,
            granted: now,
            deadline: lends.then_some(deadline.min(offer.expires)),
            expires: offer.expires,
            ..(*lease).clone()
        };
        let leases = support::leases(claim, *leased, u16::try_from(count).unwrap());
        *leased += count;
        let leases = leases.into_iter().map(lease).collect();
        let leases = Verified::sign_batch(leases, &*key(BROKER));
        self.granted.extend(leases.iter().cloned());
        Answer::Leases(leases)
    }
}

/// A machine of one core that wants so many hours of work, at a broker with these offers.
fn buffering(hours: u32, offers: Vec<Offered>) -> (Bench, Broker) {
    let mut bench = Bench::ready(1);
    bench.handle(Input::WorkBuffer(hours * HOUR));
    let mut broker = Broker::new(offers);
    broker.serve_for(&mut bench, 2 * MINUTE);
    (bench, broker)
}

fn orders(bench: &mut Bench) -> Vec<Order> {
    let mut orders = Vec::new();
    while let Some(order) = bench.find(|it| match it {
        Action::Run(order) => Some(order.clone()),
        _ => None,
    }) {
        orders.push(order);
    }
    orders
}

fn releases(bench: &mut Bench) -> Vec<StatementId> {
    let renewals = support::renewals(bench);
    let releases = renewals.into_iter().filter(|it| it.intent == Intent::Release);
    releases.flat_map(|it: Verified<Renewal>| it.leases.clone()).collect()
}

fn ends(bench: &mut Bench, order: &Order) {
    bench.ran(order.lease, outcome(Ended::Passed));
}

#[test]
fn a_machine_fetches_what_it_can_do_in_the_hours_that_its_owner_wants_and_does_it_alone() {
    let (mut bench, broker) = buffering(5, vec![offer("a", 100, 20 * HOUR)]);
    let mut running = orders(&mut bench);
    assert_eq!(running.len(), 1, "there is one core");
    assert_eq!(broker.granted.len(), 5, "five hours, what runs included");
    assert_eq!(bench.volunteer.ahead_waiting(), 4);
    let fetched = bench.news();
    let ahead = fetched.iter().filter(|it| matches!(it, News::FetchedAhead { .. })).count();
    assert!(ahead > 0, "{fetched:?}");

    bench.handle(Input::BrokerDown { peer: peer(BROKER) });
    let mut done = 0;
    while let Some(order) = running.pop() {
        bench.pass(HOUR - MINUTE);
        ends(&mut bench, &order);
        done += 1;
        running.extend(orders(&mut bench));
    }
    assert_eq!((done, bench.volunteer.undelivered()), (5, 5));
}

#[test]
fn no_more_is_fetched_than_can_be_done_by_its_deadlines() {
    // Four hours from now, of which an eighth is kept back: what runs takes one.
    let (bench, broker) = buffering(48, vec![offer("a", 100, 3 * HOUR)]);
    assert_eq!(bench.volunteer.ahead_waiting(), 2);
    assert_eq!(broker.granted.len(), 3);
    // What cannot be held without a connection is never for later.
    let (bench, _) = buffering(48, vec![offer("a", 100, Duration::ZERO)]);
    assert_eq!(bench.volunteer.ahead_waiting(), 0);
}

#[test]
fn a_machine_that_is_seldom_there_fetches_less() {
    let mut bench = Bench::ready(1);
    bench.handle(Input::WorkBuffer(48 * HOUR));
    // A day as a new machine counts, and three in which it was asleep.
    bench.handle(Input::BrokerDown { peer: peer(BROKER) });
    bench.now.wall = bench.now.wall + 72 * HOUR;
    bench.connect(BROKER);
    let offer = offer_by(PROJECT, "a", 100, |offer| {
        offer.offline_ms = millis(15 * HOUR);
        offer.issued = START + 72 * HOUR;
        offer.expires = START + 240 * HOUR;
    });
    let home = (*offer.home).clone();
    let offer = Offered {
        home: Verified::sign(
            capability::statements::Home { expires: START + 240 * HOUR, ..home },
            &*key(ADAPTER),
        ),
        ..offer
    };
    let mut broker = Broker::new(vec![offer]);
    broker.serve_for(&mut bench, 2 * MINUTE);
    // Sixteen hours on the clock are fourteen without the reserve, and of these it works three and a half.
    assert_eq!(orders(&mut bench).len(), 1);
    assert_eq!(bench.volunteer.ahead_waiting(), 2);
}

#[test]
fn without_a_buffer_nothing_more_is_asked_than_before() {
    let (bench, broker) = buffering(0, vec![offer("a", 100, 20 * HOUR)]);
    assert_eq!((broker.pulls, broker.granted.len()), (1, 1));
    assert_eq!(bench.volunteer.ahead_waiting(), 0);
}

#[test]
fn a_full_buffer_asks_nothing_and_one_that_finds_nothing_asks_less_and_less() {
    let (mut bench, mut broker) = buffering(5, vec![offer("a", 100, 20 * HOUR)]);
    let pulls = broker.pulls;
    broker.serve_for(&mut bench, 10 * MINUTE);
    assert_eq!(broker.pulls, pulls);

    let (mut bench, mut broker) = buffering(20, vec![offer("a", 5, 20 * HOUR)]);
    assert_eq!(bench.volunteer.ahead_waiting(), 4);
    let pulls = broker.pulls;
    broker.serve_for(&mut bench, 10 * MINUTE);
    assert!((2..=4).contains(&(broker.pulls - pulls)), "{} in 10 minutes", broker.pulls - pulls);
}

#[test]
fn a_lease_that_does_not_hold_without_a_connection_is_given_back() {
    let mut bench = Bench::ready(1);
    bench.handle(Input::WorkBuffer(5 * HOUR));
    let mut broker = Broker::new(vec![offer("a", 100, 20 * HOUR)]);
    broker.lends = false;
    broker.serve_for(&mut bench, 20 * MINUTE);
    let runs = orders(&mut bench).remove(0).lease;
    let others = broker.granted.iter().map(Verified::id).filter(|lease| *lease != runs);
    let others: BTreeSet<_> = others.collect();
    assert_eq!(others.len(), 4, "that is tried once");
    assert_eq!(releases(&mut bench).into_iter().collect::<BTreeSet<_>>(), others);
    assert_eq!(bench.volunteer.ahead_waiting(), 0);
}

#[test]
fn an_owner_who_forbids_offline_leases_gets_no_buffer() {
    let mut bench = Bench::ready(1);
    bench.handle(Input::WorkBuffer(5 * HOUR));
    bench.handle(Input::Offline(Offline::Never));
    let mut broker = Broker::new(vec![offer("a", 100, 20 * HOUR)]);
    broker.serve_for(&mut bench, 2 * MINUTE);
    assert_eq!((broker.granted.len(), bench.volunteer.ahead_waiting()), (1, 0));
}

/// What is left by a process that was killed, with these packages.
fn restarted(bench: Bench, stored: impl IntoIterator<Item = BlobHash>) -> Bench {
    let mut bench = bench.restart_as(1, vec![pin()]);
    bench.handle(Input::TakeUp(Vec::new()));
    bench.handle(Input::Stored(stored.into_iter().collect()));
    bench
}

#[test]
fn what_was_fetched_ahead_outlasts_the_process_and_begins_without_a_broker() {
    let (bench, _) = buffering(5, vec![offer("a", 100, 20 * HOUR)]);
    let packages: Vec<_> = bench.volunteer.packages_ahead().collect();
    assert_eq!(packages.len(), 1);
    let mut bench = restarted(bench, packages.clone());
    assert!(bench.volunteer.needs_blob(&packages[0]));
    let begun = orders(&mut bench);
    assert_eq!((begun.len(), bench.volunteer.ahead_waiting()), (1, 3));
    ends(&mut bench, &begun[0]);
    assert_eq!(orders(&mut bench).len(), 1);
}

#[test]
fn a_package_that_was_not_here_yet_is_fetched_by_the_next_process() {
    let (bench, _) = buffering(5, vec![offer("a", 100, 20 * HOUR)]);
    let mut bench = restarted(bench, []);
    assert_eq!(orders(&mut bench), []);
    bench.connect(BROKER);
    let fetched =
        bench.take(|it| if let Action::Fetch { hash, .. } = it { Some(*hash) } else { None });
    bench.handle(Input::Fetched { hash: fetched, fetched: Ok(()) });
    assert_eq!(orders(&mut bench).len(), 1);
}

#[test]
fn a_package_that_nobody_has_gives_its_tasks_back() {
    let mut bench = Bench::ready(1);
    bench.handle(Input::WorkBuffer(5 * HOUR));
    let (one, many) = (offer("a", 1, 20 * HOUR), offer("b", 100, 20 * HOUR));
    let mut broker = Broker::new(vec![one]);
    broker.serve(&mut bench);
    broker.offers = vec![many];
    bench.pass(MINUTE);
    for _ in 0..100 {
        if let Some((call, _)) = bench.find_pull() {
            let shown = broker.offers.clone();
            broker.offers.truncate(1);
            bench.answer(call, Answer::Offers(shown));
        }
        if bench.seen.iter().any(|it| matches!(it, Action::Ask { ask: Ask::Claim { .. }, .. })) {
            let (call, claim) = bench.take_claim();
            let answer = broker.grant(&claim, bench.now.wall);
            bench.answer(call, answer);
            break;
        }
        bench.pass(SECOND);
    }
    assert_eq!(bench.volunteer.ahead_waiting(), 4);
    for _ in 0..3 {
        let hash =
            bench.take(|it| if let Action::Fetch { hash, .. } = it { Some(*hash) } else { None });
        bench.handle(Input::Fetched { hash, fetched: Err("nobody has it".into()) });
        bench.pass(5 * SECOND);
    }
    assert_eq!(bench.volunteer.ahead_waiting(), 0);
    assert_eq!(releases(&mut bench).len(), 4);
}

#[test]
fn what_is_withdrawn_meanwhile_is_dropped_while_there_is_a_broker_that_tells() {
    let (mut bench, broker) = buffering(5, vec![offer("a", 100, 20 * HOUR)]);
    let offer = &broker.offers[0].offer;
    support::renewals(&mut bench);
    bench.pass(5 * MINUTE);
    let (call, renewal) = bench.take(|action| match action {
        Action::Ask { call, ask: Ask::Renew { renewal, .. }, .. } => Some((*call, renewal.clone())),
        _ => None,
    });
    assert_eq!((renewal.intent, renewal.leases.len()), (Intent::Keep, 4));
    let withdrawal =
        Withdrawal { statement: offer.id(), reason: String::new(), expires: offer.expires };
    let withdrawal = Verified::sign(withdrawal, &*key(ADAPTER));
    bench.answer(call, Answer::Withdrawn(withdrawal));
    assert_eq!(bench.volunteer.ahead_waiting(), 0);
    let mut bench = restarted(bench, []);
    bench.pass(SECOND);
    assert_eq!(orders(&mut bench), [], "nothing of it is left");
}

#[test]
fn what_its_home_does_not_know_any_more_is_dropped() {
    let (mut bench, _) = buffering(5, vec![offer("a", 100, 20 * HOUR)]);
    support::renewals(&mut bench);
    bench.pass(5 * MINUTE);
    let (call, renewal) = bench.take(|action| match action {
        Action::Ask { call, ask: Ask::Renew { renewal, .. }, .. } => Some((*call, renewal.clone())),
        _ => None,
    });
    let lapsed = renewal.leases[..3].to_vec();
    bench.answer(call, Answer::Renewed { lapsed });
    assert_eq!(bench.volunteer.ahead_waiting(), 1);
}

#[test]
fn what_cannot_be_done_in_time_any_more_is_given_back_in_time() {
    let (mut bench, _) = buffering(5, vec![offer("a", 100, 20 * HOUR)]);
    orders(&mut bench);
    bench.handle(Input::Pause(volunteer_core::Pause::default()));
    bench.pass(19 * HOUR);
    assert_eq!((bench.volunteer.ahead_waiting(), releases(&mut bench).len()), (4, 0));
    bench.pass(HOUR + 3 * MINUTE);
    assert_eq!((bench.volunteer.ahead_waiting(), releases(&mut bench).len()), (0, 4));
}

#[test]
fn a_machine_that_drains_gives_back_what_has_not_begun_and_one_that_stops_keeps_it() {
    let (mut bench, _) = buffering(5, vec![offer("a", 100, 20 * HOUR)]);
    bench.handle(Input::Drain { until: None });
    assert_eq!((bench.volunteer.ahead_waiting(), releases(&mut bench).len()), (0, 4));

    let (mut bench, _) = buffering(5, vec![offer("a", 100, 20 * HOUR)]);
    let packages: Vec<_> = bench.volunteer.packages_ahead().collect();
    let order = orders(&mut bench).remove(0);
    bench.handle(Input::Quit);
    bench.ran(order.lease, outcome(Ended::Passed));
    let bench = restarted(bench, packages);
    assert!(bench.volunteer.ahead_waiting() >= 3, "{}", bench.volunteer.ahead_waiting());
}

#[test]
fn an_owner_who_trusts_a_project_no_more_or_wants_no_buffer_has_nothing_of_it_left() {
    let (mut bench, _) = buffering(5, vec![offer("a", 100, 20 * HOUR)]);
    bench.handle(Input::Pins(Vec::new()));
    assert_eq!(bench.volunteer.ahead_waiting(), 0);

    let (mut bench, _) = buffering(5, vec![offer("a", 100, 20 * HOUR)]);
    bench.handle(Input::WorkBuffer(Duration::ZERO));
    assert_eq!((bench.volunteer.ahead_waiting(), releases(&mut bench).len()), (0, 4));
}

#[test]
fn two_projects_have_their_shares_of_what_is_fetched_ahead() {
    let mut bench = Bench::ready(1);
    bench.handle(Input::Pins(vec![pin(), Pin { project: peer(OTHER).into(), ..pin() }]));
    bench.handle(Input::WorkBuffer(8 * HOUR));
    let long = |offer: &mut Offer| offer.offline_ms = millis(20 * HOUR);
    let offers = vec![offer_by(PROJECT, "a", 100, long), offer_by(OTHER, "b", 100, long)];
    let mut broker = Broker::new(offers);
    broker.serve_for(&mut bench, 3 * MINUTE);
    let of_first = broker.granted.iter().filter(|lease| lease.project == project()).count();
    assert_eq!((of_first, broker.granted.len() - of_first), (4, 4));
}

#[test]
fn a_buffer_has_a_bounded_number_of_tasks() {
    let short = |offer: &mut Offer| {
        offer.offline_ms = millis(20 * HOUR);
        offer.job.limits.wall_ms = millis(MINUTE);
    };
    let offers = ["a", "b", "c"].map(|name| offer_by(PROJECT, name, 200, short)).to_vec();
    let (mut bench, mut broker) = buffering(300, offers);
    broker.serve_for(&mut bench, 5 * MINUTE);
    assert_eq!(bench.volunteer.ahead_waiting(), MAX_AHEAD);
}

/// A machine of one core that trusts two projects, the second as `second` says.
fn of_two_projects(hours: u32, second: impl Fn(&mut Pin)) -> Bench {
    let mut bench = Bench::ready(1);
    let mut pin_of_second = Pin { project: peer(OTHER).into(), ..pin() };
    second(&mut pin_of_second);
    bench.handle(Input::Pins(vec![pin(), pin_of_second]));
    bench.handle(Input::WorkBuffer(hours * HOUR));
    bench
}

fn long(offer: &mut Offer) {
    offer.offline_ms = millis(20 * HOUR);
}

/// Lets jobs take all that they may for so long; gives how many of each name were done.
fn work(bench: &mut Bench, broker: &mut Broker, time: Duration) -> BTreeMap<String, u32> {
    let mut running: BTreeMap<StatementId, (Timestamp, String)> = BTreeMap::new();
    let mut done = BTreeMap::new();
    for _ in 0..time.as_secs() / 10 {
        broker.serve(bench);
        for order in orders(bench) {
            let end = bench.now.wall + order.job.limits.wall();
            running.insert(order.lease, (end, order.name));
        }
        let over = running.extract_if(.., |_, (end, _)| *end <= bench.now.wall);
        for (lease, (_, name)) in over.collect::<Vec<_>>() {
            *done.entry(name).or_default() += 1;
            bench.ran(lease, outcome(Ended::Passed));
        }
        support::renewals(bench);
        bench.seen.retain(|action| !matches!(action, Action::HandOver(_)));
        bench.pass(10 * SECOND);
    }
    done
}

#[test]
fn a_needier_project_without_work_keeps_no_buffer_empty() {
    let mut bench = of_two_projects(5, |_| ());
    let mut broker = Broker::new(vec![offer_by(OTHER, "b", 100, long)]);
    broker.serve_for(&mut bench, 2 * MINUTE);
    assert_eq!(bench.volunteer.ahead_waiting(), 4);
}

#[test]
fn a_buffer_gives_nobody_more_than_its_share_and_no_backup_anything() {
    let offers = || vec![offer_by(PROJECT, "a", 100, |_| ()), offer_by(OTHER, "b", 100, long)];
    let mut bench = of_two_projects(6, |_| ());
    let done = work(&mut bench, &mut Broker::new(offers()), 22 * HOUR);
    assert!(done["a"].abs_diff(done["b"]) <= 1, "{done:?}");

    let mut bench = of_two_projects(6, |pin| pin.standing.rung.backup = true);
    let done = work(&mut bench, &mut Broker::new(offers()), 22 * HOUR);
    assert_eq!(done.keys().collect::<Vec<_>>(), ["a"], "there was work for it all the time");
}

#[test]
fn a_wide_task_that_was_fetched_ahead_is_not_kept_waiting_by_narrow_ones_until_it_is_late() {
    let narrow = |minutes: u64| {
        move |offer: &mut Offer| {
            offer.job.limits.wall_ms = minutes * 60_000;
            (offer.job.limits.memory, offer.job.limits.disk) = (1 << 20, 1 << 20);
        }
    };
    let mut bench = Bench::ready(2);
    bench.handle(Input::WorkBuffer(3 * HOUR));
    let first = [50, 70].map(|minutes| offer_by(PROJECT, &minutes.to_string(), 1, narrow(minutes)));
    let mut broker = Broker::new(first.to_vec());
    broker.serve(&mut bench);
    let wide = offered_by(PROJECT, Runtime::Wasm, "wide", 2, 2);
    let mut offer = (*wide.offer).clone();
    narrow(60)(&mut offer);
    offer.offline_ms = millis(10 * HOUR);
    broker.offers.push(Offered { offer: Verified::sign(offer, &*key(ADAPTER)), ..wide });
    broker.offers.push(offer_by(PROJECT, "narrow", 100, narrow(60)));
    let done = work(&mut bench, &mut broker, 14 * HOUR);
    assert_eq!(done["wide"], 2, "{done:?}");
}

#[test]
fn a_core_that_becomes_free_is_filled_before_anything_is_fetched_for_later() {
    let offers = (0..100).map(|number| offer_by(PROJECT, &number.to_string(), 1000, |_| ()));
    let (mut bench, mut broker) = (Bench::ready(1), Broker::new(offers.collect()));
    bench.handle(Input::WorkBuffer(20 * HOUR));
    broker.serve(&mut bench);
    let order = orders(&mut bench).remove(0);
    bench.pass(SECOND);
    ends(&mut bench, &order);
    let free = bench.now.mono;
    while orders(&mut bench).is_empty() {
        broker.serve(&mut bench);
        bench.pass(SECOND / 2);
        assert!(bench.now.mono - free <= 2 * SECOND, "the core is idle");
    }
}

#[test]
fn packages_of_later_tasks_take_no_more_of_the_disk_than_is_donated() {
    let large = |offer: &mut Offer| {
        long(offer);
        offer.package.size = 1 << 30;
        offer.job.limits.disk = 2 << 30;
    };
    let offers = (0..30).map(|number| offer_by(PROJECT, &number.to_string(), 1, large));
    let (mut bench, mut broker) = (Bench::ready(1), Broker::new(offers.collect()));
    bench.handle(Input::DiskFree(1 << 40));
    bench.handle(Input::WorkBuffer(15 * HOUR));
    broker.serve_for(&mut bench, 10 * MINUTE);
    assert_eq!(bench.volunteer.packages_ahead().count(), 8, "of the 8 GiB that are donated");
}

#[test]
fn what_a_project_with_hours_of_its_own_offers_is_not_fetched_ahead() {
    let mut bench = of_two_projects(5, |pin| pin.has_hours = true);
    let mut broker = Broker::new(vec![offer_by(OTHER, "b", 100, long)]);
    broker.serve_for(&mut bench, 2 * MINUTE);
    assert_eq!((broker.granted.len(), bench.volunteer.ahead_waiting()), (1, 0));
}

#[test]
fn a_home_that_lends_for_less_than_it_should_is_left_alone() {
    let mut bench = Bench::ready(1);
    bench.handle(Input::WorkBuffer(5 * HOUR));
    let mut broker = Broker::new(vec![offer("a", 1000, 20 * HOUR)]);
    broker.term = Some(SECOND);
    broker.serve_for(&mut bench, 10 * MINUTE);
    assert_eq!((broker.granted.len(), bench.volunteer.ahead_waiting()), (5, 0));
}

#[test]
fn a_task_with_a_checkpoint_goes_on_in_the_next_process_however_near_its_deadline_is() {
    let ten_hours = |offer: &mut Offer| {
        offer.job.limits.wall_ms = millis(10 * HOUR);
        offer.offline_ms = millis(13 * HOUR);
        offer.job.checkpoint = Some(capability::Checkpoint { every_ms: 60_000, size: 1 << 20 });
    };
    for hours in [20, 0] {
        let mut bench = Bench::ready(1);
        bench.handle(Input::WorkBuffer(20 * HOUR));
        let mut broker = Broker::new(vec![offer_by(PROJECT, "a", 100, ten_hours)]);
        broker.serve_for(&mut bench, 2 * MINUTE);
        let first = orders(&mut bench).remove(0);
        bench.pass(10 * HOUR);
        ends(&mut bench, &first);
        let second = orders(&mut bench).remove(0);
        bench.pass(8 * HOUR);
        bench.handle(Input::Checkpointed { lease: second.lease });

        let mut bench = bench.restart_as(1, vec![pin()]);
        bench.handle(Input::WorkBuffer(hours * HOUR));
        bench.handle(Input::TakeUp(vec![second.lease]));
        bench.handle(Input::Stored([second.package.hash].into()));
        bench.connect(BROKER);
        assert_eq!(releases(&mut bench), []);
        assert_eq!(
            orders(&mut bench).iter().map(|it| it.lease).collect::<Vec<_>>(),
            [second.lease]
        );
    }
}

#[test]
fn tasks_of_several_epochs_outlast_the_process_together_and_leave_no_record_behind() {
    let (mut bench, mut broker) = buffering(3, vec![offer("x", 100, 20 * HOUR)]);
    let in_epoch_2 = |offered: Offered| {
        let home = capability::statements::Home { epoch: 2, ..(*offered.home).clone() };
        Offered { home: Verified::sign(home, &*key(ADAPTER)), ..offered }
    };
    let mut grow = |bench: &mut Bench, hours: u32, offered: Offered| {
        broker.offers = vec![in_epoch_2(offered)];
        bench.handle(Input::WorkBuffer(hours * HOUR));
        broker.serve_for(bench, 2 * MINUTE);
    };
    grow(&mut bench, 5, offer("x", 100, 20 * HOUR));
    grow(&mut bench, 6, offer("y", 1, 10 * HOUR));
    bench.handle(Input::BrokerDown { peer: peer(BROKER) });
    // The one of y is the most urgent but for what runs.
    for _ in 0..2 {
        let order = orders(&mut bench).remove(0);
        bench.pass(MINUTE);
        ends(&mut bench, &order);
    }
    let (running, waiting) = (orders(&mut bench).len(), bench.volunteer.ahead_waiting());
    assert_eq!((running, waiting), (1, 3));
    let packages: Vec<_> = bench.volunteer.packages_ahead().collect();
    let mut bench = restarted(bench, packages);
    assert_eq!((orders(&mut bench).len(), bench.volunteer.ahead_waiting()), (1, 3));
    bench.handle(Input::Drain { until: None });
    let running = bench.volunteer.jobs().next().expect("one runs").lease;
    bench.ran(running, outcome(Ended::Passed));
    assert!(!bench.disk.keys().any(|key| b"fi".contains(&key[0])), "nothing of it is left");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is offered: a machine that is never disturbed does all that it has fetched ahead by the deadlines.
    #[test]
    fn all_that_was_fetched_ahead_is_done_in_time(
        cores in 1_u32..5,
        hours in 1_u32..30,
        jobs in proptest::collection::vec((1_u64..5, 1_u64..240, 0_u64..24, 1_u32..20), 1..8),
    ) {
        let offers = jobs.iter().enumerate().map(|(number, (wide, minutes, offline, tasks))| {
            let offered = offered_by(PROJECT, Runtime::Wasm, &number.to_string(), *tasks, *wide);
            let mut offer = (*offered.offer).clone();
            offer.job.limits.wall_ms = minutes * 60_000;
            offer.job.limits.memory = 1 << 20;
            offer.job.limits.disk = 1 << 20;
            offer.offline_ms = offline * millis(HOUR);
            offer.expires = START + 96 * HOUR;
            let home = (*offered.home).clone();
            let home = capability::statements::Home { expires: START + 96 * HOUR, ..home };
            let (offer, home) = (Verified::sign(offer, &*key(ADAPTER)), Verified::sign(home, &*key(ADAPTER)));
            Offered { offer, home, ..offered }
        });
        let mut broker = Broker::new(offers.collect());
        let mut bench = Bench::ready(cores);
        bench.handle(Input::WorkBuffer(hours * HOUR));
        let deadlines = |broker: &Broker| -> BTreeMap<_, _> {
            broker.granted.iter().map(|it| (it.id(), it.deadline)).collect()
        };
        let mut running: BTreeMap<StatementId, Timestamp> = BTreeMap::new();
        for minute in 0..30 * 60 {
            // There is a connection in the first minutes, and then none.
            if minute < 5 {
                broker.serve(&mut bench);
            } else if minute == 5 {
                bench.handle(Input::BrokerDown { peer: peer(BROKER) });
            }
            for order in orders(&mut bench) {
                running.insert(order.lease, bench.now.wall + order.job.limits.wall());
            }
            let over: Vec<_> =
                running.iter().filter(|(_, end)| **end <= bench.now.wall).map(|(id, _)| *id).collect();
            for lease in over {
                running.remove(&lease);
                let deadline = deadlines(&broker)[&lease];
                prop_assert!(deadline.is_none_or(|at| bench.now.wall <= at), "too late");
                bench.ran(lease, outcome(Ended::Passed));
            }
            let given_back = bench.news().into_iter().find(|it| matches!(it, News::Released { .. }));
            prop_assert_eq!(given_back, None);
            bench.pass(MINUTE);
        }
        prop_assert_eq!(bench.volunteer.ahead_waiting(), 0);
    }
}
