//! Who is shown a fresh offer first, of those who wait.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use broker_core::HEAD_START;
use capability::statements::{Ad, Intent, Offer};
use capability::{
    Capabilities, Facts, Platform, Preference, PublicKey, Requirements, Resources, Runtime,
    RuntimeFacts, StatementId, Verified,
};
use mesh_core::{Answer, Ask, ReplyId, Wants};
use support::*;

const HOME: u8 = 1;
const SHORT: Duration = Duration::from_millis(1);

/// Volunteers that wait at one broker, and what they were shown.
struct Waiting {
    world: World,
    pulls: BTreeMap<u8, ReplyId>,
}

impl Waiting {
    /// Each of `machines` is a volunteer with so many cores, which waits.
    fn with(machines: &[(u8, u64)]) -> Self {
        let mut this = Self { world: World::of(&[key(HOME)]), pulls: BTreeMap::new() };
        for (volunteer, cores) in machines {
            this.advertise(*volunteer, &[(Runtime::Wasm, *cores)]);
            this.pull(*volunteer, wants());
        }
        this
    }

    /// Cores differ by runtime as no real ones do.
    fn advertise(&mut self, volunteer: u8, cores: &[(Runtime, u64)]) {
        let inside = |cores: u64| {
            let mut facts = Facts::new();
            facts.insert("machine.cores", cores).expect("a fact");
            RuntimeFacts { strength: String::new(), facts }
        };
        let capabilities = Capabilities {
            platform: Platform::new("linux", "x86_64").expect("a platform"),
            resources: Resources { cores: 2, memory: 1 << 30, disk: 1 << 30 },
            runtimes: cores.iter().map(|(it, cores)| (it.clone(), inside(*cores))).collect(),
        };
        let now = self.world.now;
        let (seq, expires) = (now.wall.0, now.wall + Duration::from_secs(3600));
        let ad = Ad { seq, broker: key(HOME).0, capabilities, encryption: encryption(), expires };
        let ad = Verified::sign(ad, &key(volunteer));
        let answer = self.world.ask(key(volunteer).0, key(HOME), Ask::Advertise { ad });
        assert_eq!(answer, Answer::Done);
    }

    fn pull(&mut self, volunteer: u8, wants: Wants) {
        let pull = self.world.begin(key(volunteer).0, key(HOME), Ask::Pull { wants });
        self.pulls.insert(volunteer, pull);
    }

    fn publish(&mut self, offer: &Verified<Offer>) {
        let publication = publication(project(0), offer, 1, key(HOME), self.world.now);
        assert_eq!(self.world.ask(project(0).master.0, key(HOME), publication), Answer::Done);
    }

    /// Who has been shown `offer` since this was asked last.
    fn shown(&mut self, offer: &Verified<Offer>) -> Vec<u8> {
        let pulls: Vec<_> =
            self.pulls.iter().map(|(volunteer, pull)| (*volunteer, *pull)).collect();
        let mut shown = Vec::new();
        for (volunteer, pull) in pulls {
            let Some(answer) = self.world.answer(pull) else { continue };
            self.pulls.remove(&volunteer);
            if offered(answer).iter().any(|it| it.offer.id() == offer.id()) {
                shown.push(volunteer);
            }
        }
        shown
    }

    fn claim(&mut self, volunteer: u8, offer: &Verified<Offer>) -> StatementId {
        let asking = Asking { volunteer: key(volunteer), at: key(HOME), home: key(HOME), epoch: 1 };
        let claim = asking.claim(offer.id(), 1, 0, self.world.now);
        let granted = leases(self.world.ask(key(volunteer).0, key(HOME), claim));
        assert_eq!(granted.len(), 1);
        granted[0].id()
    }
}

/// An offer that prefers many cores.
fn offer(tasks: u32, waiting: &Waiting) -> Verified<Offer> {
    let fact = "machine.cores".parse().expect("the name of a fact");
    let rank = vec![Preference::More { weight: 1, fact, enough: 100 }];
    let plain = project(0).offer(tasks, 1, waiting.world.now);
    let requirements = Requirements { rank, ..plain.requirements.clone() };
    Verified::sign(Offer { requirements, ..(*plain).clone() }, &project(0).master)
}

#[test]
fn the_best_of_those_who_wait_are_shown_as_many_tasks_as_there_are() {
    let mut waiting = Waiting::with(&[(50, 4), (51, 16), (52, 8), (53, 2)]);
    let offer = offer(2, &waiting);
    waiting.publish(&offer);
    assert_eq!(waiting.shown(&offer), [51, 52]);
}

#[test]
fn whoever_waits_beside_better_machines_is_shown_the_offer_a_second_later() {
    let mut waiting = Waiting::with(&[(50, 4), (51, 16), (52, 8), (53, 2)]);
    let offer = offer(1, &waiting);
    waiting.publish(&offer);
    assert_eq!(waiting.shown(&offer), [51]);
    waiting.world.pass(HEAD_START - SHORT);
    assert_eq!(waiting.shown(&offer), []);
    waiting.world.pass(SHORT);
    assert_eq!(waiting.shown(&offer), [50, 52, 53], "the best one did not want it");
}

#[test]
fn whoever_waits_beside_a_better_machine_that_takes_the_task_goes_on_waiting() {
    let mut waiting = Waiting::with(&[(50, 4), (51, 16)]);
    let offer = offer(1, &waiting);
    waiting.publish(&offer);
    waiting.claim(51, &offer);
    waiting.world.pass(HEAD_START * 2);
    assert_eq!(waiting.shown(&offer), [51]);
    assert!(waiting.pulls.contains_key(&50));
}

#[test]
fn nobody_who_waits_alone_waits_for_a_better_machine() {
    let mut waiting = Waiting::with(&[(53, 2)]);
    let offer = offer(1, &waiting);
    waiting.publish(&offer);
    assert_eq!(waiting.shown(&offer), [53]);
    waiting.advertise(51, &[(Runtime::Wasm, 16)]);
    waiting.pull(51, wants());
    assert_eq!(waiting.shown(&offer), [51], "it came late, and the task is open");
}

#[test]
fn whoever_asks_anew_is_not_before_the_best() {
    let mut waiting = Waiting::with(&[(50, 4), (51, 16)]);
    let offer = offer(1, &waiting);
    waiting.publish(&offer);
    waiting.pull(50, wants());
    assert_eq!(waiting.shown(&offer), [51]);
    waiting.world.pass(HEAD_START);
    assert_eq!(waiting.shown(&offer), [50]);
}

#[test]
fn a_head_start_is_not_prolonged_by_tasks_that_open_again_and_again() {
    let mut waiting = Waiting::with(&[(50, 4), (51, 16), (52, 8), (53, 2)]);
    let offer = offer(1, &waiting);
    waiting.publish(&offer);
    assert_eq!(waiting.shown(&offer), [51]);
    waiting.world.pass(HEAD_START - SHORT);
    // The master meets its home again, and publishes what that has.
    waiting.publish(&offer);
    assert_eq!(waiting.shown(&offer), []);
    waiting.world.pass(SHORT);
    assert_eq!(waiting.shown(&offer), [50, 52, 53]);
}

#[test]
fn whoever_is_shown_all_that_an_answer_can_hold_leaves_the_rest_to_others() {
    let mut waiting = Waiting::with(&[(50, 4), (51, 16)]);
    let far = key(2);
    waiting.world.join(far);
    let mut offers = Vec::new();
    for _ in 0..5 {
        waiting.world.pass(SHORT);
        let offer = offer(1, &waiting);
        let publication = publication(project(0), &offer, 1, far, waiting.world.now);
        assert_eq!(waiting.world.ask(project(0).master.0, far, publication), Answer::Done);
        offers.push(offer.id());
    }
    // All of them are heard of at once.
    waiting.world.connect(key(HOME).0, far.0);
    let mut shown = |volunteer: u8| {
        let answer = waiting.world.answer(waiting.pulls[&volunteer]).expect("offers");
        offered(answer).iter().map(|it| it.offer.id()).collect::<Vec<_>>()
    };
    let (best, other) = (shown(51), shown(50));
    assert_eq!((best.len(), other.len()), (4, 1));
    let mut all = [best, other].concat();
    all.sort_unstable();
    offers.sort_unstable();
    assert_eq!(all, offers);
}

#[test]
fn a_broker_wakes_when_a_head_start_ends() {
    let mut waiting = Waiting::with(&[(50, 4), (51, 16)]);
    waiting.world.pass(Duration::from_secs(5));
    let end = waiting.world.now.mono + HEAD_START;
    let wake = |waiting: &Waiting| waiting.world.broker(key(HOME)).next_wake();
    assert!(wake(&waiting).is_none_or(|wake| wake > end), "nothing else is due so soon");
    let offer = offer(1, &waiting);
    waiting.publish(&offer);
    assert_eq!(wake(&waiting), Some(end));
}

#[test]
fn equals_take_turns_by_a_hash_of_the_offer_and_their_keys() {
    let machines = [(50, 4), (51, 4), (52, 4), (53, 4)];
    let lot = |volunteer: u8, offer: StatementId| {
        let key: PublicKey = key(volunteer).0;
        blake3::hash(&[*offer.as_bytes(), *key.as_bytes()].concat())
    };
    let mut winners: Vec<u8> = Vec::new();
    for later in 0..8 {
        let mut waiting = Waiting::with(&machines);
        waiting.world.pass(Duration::from_secs(later));
        let offer = offer(1, &waiting);
        waiting.publish(&offer);
        let by_lot =
            machines.iter().map(|(it, _)| *it).min_by_key(|it| *lot(*it, offer.id()).as_bytes());
        assert_eq!(waiting.shown(&offer), by_lot.into_iter().collect::<Vec<_>>());
        winners.extend(by_lot);
    }
    winners.sort_unstable();
    winners.dedup();
    assert!(winners.len() > 1, "no key wins always");
}

#[test]
fn machines_rank_in_the_runtime_that_they_have_free() {
    let mut waiting = Waiting::with(&[(50, 8)]);
    waiting.advertise(51, &[(Runtime::Native, 64), (Runtime::Wasm, 4)]);
    waiting.pull(51, wants());
    let plain = offer(1, &waiting);
    let runtimes = vec![Runtime::Native, Runtime::Wasm];
    let requirements = Requirements { runtimes, ..plain.requirements.clone() };
    let offer = Verified::sign(Offer { requirements, ..(*plain).clone() }, &project(0).master);
    waiting.publish(&offer);
    assert_eq!(waiting.shown(&offer), [50], "the other's 64 cores are not what it offers now");
}

#[test]
fn of_an_offer_from_elsewhere_the_best_know_first_too() {
    let mut waiting = Waiting::with(&[(50, 4), (51, 16)]);
    let far = key(2);
    waiting.world.join(far);
    waiting.world.connect(key(HOME).0, far.0);
    waiting.world.pass(Duration::from_secs(5));
    let offer = offer(1, &waiting);
    let publication = publication(project(0), &offer, 1, far, waiting.world.now);
    assert_eq!(waiting.world.ask(project(0).master.0, far, publication), Answer::Done);
    assert_eq!(waiting.shown(&offer), [51]);
    waiting.world.pass(HEAD_START);
    assert_eq!(waiting.shown(&offer), [50]);
}

#[test]
fn an_offer_whose_tasks_open_again_and_again_is_ranked_once_a_second() {
    let mut waiting = Waiting::with(&[(51, 16)]);
    waiting.world.pass(Duration::from_secs(5));
    let offer = offer(1, &waiting);
    waiting.publish(&offer);
    assert_eq!(waiting.shown(&offer), [51]);
    let lease = waiting.claim(51, &offer);
    waiting.advertise(50, &[(Runtime::Wasm, 4)]);
    waiting.pull(50, wants());
    let asking = Asking { volunteer: key(51), at: key(HOME), home: key(HOME), epoch: 1 };
    let release = asking.renewal(offer.id(), vec![lease], Intent::Release, waiting.world.now);
    waiting.world.ask(key(51).0, key(HOME), release);
    assert_eq!(waiting.shown(&offer), []);
    waiting.world.pass(Duration::from_secs(1));
    assert_eq!(waiting.shown(&offer), [50]);
}

#[test]
fn the_same_home_in_other_words_makes_no_offer_fresh() {
    let mut waiting = Waiting::with(&[(50, 4)]);
    let (far, other) = (key(2), key(3));
    for broker in [far, other] {
        waiting.world.join(broker);
        waiting.world.connect(key(HOME).0, broker.0);
    }
    waiting.world.pass(Duration::from_secs(5));
    let offer = offer(1, &waiting);
    let publish = |waiting: &mut Waiting, epoch: u64, at: Key| {
        let publication = publication(project(0), &offer, epoch, at, waiting.world.now);
        assert_eq!(waiting.world.ask(project(0).master.0, at, publication), Answer::Done);
    };
    publish(&mut waiting, 1, far);
    assert_eq!(waiting.shown(&offer), [50]);
    // Waits on, for others.
    waiting.pull(50, Wants { except: vec![offer.id()], ..wants() });
    let wake = |waiting: &Waiting| waiting.world.broker(key(HOME)).next_wake();
    let rested = waiting.world.now.mono + Duration::from_secs(1);
    waiting.world.pass(SHORT);
    for (epoch, at) in [(1, far), (2, far), (3, other)] {
        publish(&mut waiting, epoch, at);
        assert_eq!(wake(&waiting) == Some(rested), at.0 == other.0, "in epoch {epoch}");
    }
}

#[test]
fn an_offer_that_is_published_again_is_not_fresh() {
    let mut waiting = Waiting::with(&[(50, 4)]);
    waiting.world.pass(Duration::from_secs(5));
    let offer = offer(1, &waiting);
    waiting.publish(&offer);
    assert_eq!(waiting.shown(&offer), [50]);
    waiting.pull(50, Wants { except: vec![offer.id()], ..wants() });
    let rested = waiting.world.now.mono + Duration::from_secs(1);
    waiting.publish(&offer);
    assert_ne!(waiting.world.broker(key(HOME)).next_wake(), Some(rested));
}

#[test]
fn who_waits_is_shown_fresh_offers_in_the_order_of_who_asks_anew() {
    let mut waiting = Waiting::with(&[(50, 4)]);
    let far = key(2);
    waiting.world.join(far);
    waiting.world.connect(key(HOME).0, far.0);
    waiting.world.pass(Duration::from_secs(5));
    // What one project was given counts against it.
    let given = offer(1, &waiting);
    waiting.publish(&given);
    waiting.claim(50, &given);
    let wants = || Wants { except: vec![given.id()], ..wants() };
    waiting.pulls.clear();
    waiting.pull(50, wants());
    waiting.world.disconnect(key(HOME).0, far.0);
    for n in [0, 1, 0, 1] {
        waiting.world.pass(SHORT);
        let offer = project(n).offer(1, 1, waiting.world.now);
        let publication = publication(project(n), &offer, 2, far, waiting.world.now);
        assert_eq!(waiting.world.ask(project(n).master.0, far, publication), Answer::Done);
    }
    // All of them are heard of at once.
    waiting.world.connect(key(HOME).0, far.0);
    let shown = |waiting: &mut Waiting| {
        let answer = waiting.world.answer(waiting.pulls[&50]).expect("offers");
        let offers = offered(answer);
        assert!(offers.iter().all(|it| it.others == Some(0)));
        offers.iter().map(|it| (it.offer.project, it.offer.issued)).collect::<Vec<_>>()
    };
    let fresh = shown(&mut waiting);
    let projects: Vec<_> = fresh.iter().map(|(project, _)| *project).collect();
    assert_eq!(projects, [1, 1, 0, 0].map(|n| project(n).name()));
    assert!(fresh[0].1 < fresh[1].1 && fresh[2].1 < fresh[3].1, "the oldest of each first");
    waiting.pull(50, wants());
    assert_eq!(shown(&mut waiting), fresh);
}
