//! What peers that lie or take too much cannot do to a broker.

mod support;

use std::sync::Arc;
use std::time::Duration;

use broker_core::{
    Action, Broker, BrokerConfig, Direction, GossipToken, GossipVerdict, Input, MAX_BLOB_SOURCES,
    MAX_EXPLANATIONS, MAX_EXPLANATIONS_AN_ASKER, OVERDUE_PAUSE, PAUSE_ALLOWANCE, Quotas, Rate,
};
use capability::statements::{
    Ad, BrokerCard, Class, ClassCount, Intent, JobResult, Offer, Package, Summary,
};
use capability::{
    BlobHash, Capabilities, Clause, Fact, KEY_BYTES, MAX_ALTERNATIVES, MAX_CLAUSES,
    MAX_STATEMENT_BYTES, Platform, PublicKey, Requirements, Resources, Runtime, RuntimeFacts,
    Verified,
};
use mesh_core::{
    Answer, Ask, Bundle, CustodyLimits, Gossip, Handover, HandoverAnswer, JobNeeds, Now, Refusal,
};
use support::*;

const ALICE: u8 = 50;
const BOB: u8 = 51;

/// One broker whose writes are durable at once.
struct Alone {
    broker: Broker,
    now: Now,
}

impl Alone {
    fn new(config: BrokerConfig) -> Self {
        let now = World::of(&[]).now;
        let broker = Broker::new(config, Arc::new(key(1)), Arc::new(Hashed), now);
        let mut alone = Self { broker, now };
        // Its first card.
        alone.give(Input::Wake);
        alone
    }

    /// What follows from `input`.
    fn give(&mut self, input: Input) -> Vec<Action> {
        let mut inputs = vec![input];
        let mut actions = Vec::new();
        while let Some(input) = inputs.pop() {
            self.broker.handle(input, self.now);
            while let Some(action) = self.broker.poll_action() {
                if let Action::Commit(commit) = &action {
                    inputs.push(Input::Committed(commit.id));
                }
                actions.push(action);
            }
        }
        actions
    }

    fn tell(&mut self, gossip: Gossip) {
        self.give(Input::Gossip { gossip, from: key(9).0, token: GossipToken(0) });
    }

    /// Lets volunteers advertise, and gives the summaries that follow.
    fn summaries_of(&mut self, ads: impl IntoIterator<Item = Verified<Ad>>) -> Vec<Summary> {
        for ad in ads {
            let (from, reply) = (ad.signer(), mesh_core::ReplyId(0));
            self.give(Input::Ask { from, ask: Ask::Advertise { ad }, reply });
        }
        self.now = self.now.after(Duration::from_secs(5));
        let actions = self.give(Input::Wake).into_iter();
        let summaries = actions.filter_map(|action| match action {
            Action::Publish { gossip: Gossip::Summary(summary), .. } => {
                assert!(summary.envelope().as_bytes().len() <= MAX_STATEMENT_BYTES);
                Some((*summary).clone())
            }
            _ => None,
        });
        summaries.collect()
    }

    fn hand_over(&mut self, bundle: Bundle) -> HandoverAnswer {
        let (from, reply) = (key(9).0, mesh_core::ReplyId(0));
        let actions = self.give(Input::Handover { from, bundles: vec![bundle], reply }).into_iter();
        let mut answers = actions.filter_map(|action| match action {
            Action::ReplyHandover { mut answers, .. } => answers.pop(),
            _ => None,
        });
        answers.next().expect("an answer at once")
    }
}

fn volunteer(n: u16) -> Key {
    let mut bytes = [77; KEY_BYTES];
    bytes[..2].copy_from_slice(&n.to_be_bytes());
    Key(PublicKey::from_bytes(bytes))
}

fn ad_of(
    volunteer: Key,
    platform: (&str, &str),
    runtimes: impl IntoIterator<Item = Runtime>,
    now: Now,
) -> Verified<Ad> {
    let runtimes = runtimes.into_iter().map(|runtime| (runtime, RuntimeFacts::default()));
    let capabilities = Capabilities {
        platform: Platform::new(platform.0, platform.1).expect("two words"),
        resources: Resources { cores: 4, memory: 1 << 30, disk: 1 << 30 },
        runtimes: runtimes.collect(),
    };
    let expires = now.wall + Duration::from_secs(3600);
    Verified::sign(
        Ad { seq: 1, broker: key(1).0, capabilities, encryption: encryption(), expires },
        &volunteer,
    )
}

fn other_runtime(n: usize) -> Runtime {
    format!("{n:032}").parse().expect("a word")
}

// Words of peers in what we sign

#[test]
fn a_platform_that_nobody_gossips_about_is_in_no_summary() {
    let mut alone = Alone::new(BrokerConfig::default());
    let odd = (&*"a".repeat(32), &*"b".repeat(32));
    let ads = [
        ad_of(volunteer(0), odd, [Runtime::Native, Runtime::Wasm], alone.now),
        ad_of(volunteer(1), ("linux", "x86_64"), [Runtime::Native], alone.now),
    ];
    let summaries = alone.summaries_of(ads);
    let shards: Vec<_> = summaries.iter().map(|summary| &*summary.shard).collect();
    assert_eq!(shards, ["linux-x86_64", "wasm"]);
    let gossip = alone.broker.status().gossip;
    assert_eq!(gossip, 3, "those and the card: no other is told with each comparison");
}

#[test]
fn runtimes_that_nobody_knows_do_not_bloat_a_summary() {
    let mut alone = Alone::new(BrokerConfig::default());
    let now = alone.now;
    let ads = (0..60).map(|n: u16| {
        let invented = (0..15).map(|i| other_runtime(usize::from(n) * 15 + i));
        ad_of(volunteer(n), ("linux", "x86_64"), invented.chain([Runtime::Native]), now)
    });
    let summaries = alone.summaries_of(ads);
    let [Summary { classes, .. }] = &summaries[..] else { panic!("{summaries:?}") };
    let [ClassCount { class, count }] = &classes[..] else { panic!("{classes:?}") };
    assert_eq!((&class.runtime, *count), (&Runtime::Native, 60));
}

#[test]
fn what_is_too_large_for_a_statement_is_not_kept() {
    let mut alone = Alone::new(BrokerConfig::default());
    let class = |n| Class { runtime: other_runtime(n), cores_log2: 1, memory_log2: 1 };
    let classes = (0..1_024).map(|n| ClassCount { class: class(n), count: 1 }).collect();
    let expires = alone.now.wall + Duration::from_secs(60);
    let summary = Summary { seq: 1, shard: "wasm".to_owned(), classes, expires };
    let summary = Verified::sign(summary, &key(9));
    assert!(summary.envelope().as_bytes().len() > MAX_STATEMENT_BYTES);
    let before = alone.broker.status().gossip;
    alone.tell(Gossip::Summary(summary));
    assert_eq!(alone.broker.status().gossip, before);
}

#[test]
fn an_address_that_no_card_can_hold_is_left_out() {
    let mut alone = Alone::new(BrokerConfig::default());
    let addresses = vec!["x".repeat(257), "\u{1b}".to_owned(), "/memory/1".to_owned()];
    alone.give(Input::Addresses(addresses));
    alone.now = alone.now.after(Duration::from_secs(1));
    let cards = alone.give(Input::Wake).into_iter().filter_map(|action| match action {
        Action::Publish { gossip: Gossip::Card(card), .. } => Some(card.addresses.clone()),
        _ => None,
    });
    assert_eq!(cards.collect::<Vec<_>>(), [["/memory/1"]]);
}

// Packages

#[test]
fn another_projects_offer_does_not_hide_where_a_package_is() {
    let (near, home, far) = (key(1), key(2), key(3));
    let mut world = World::of(&[near, home, far]);
    for broker in [home, far] {
        world.connect(near.0, broker.0);
    }
    world.pass(Duration::from_secs(5));
    let victim = project(0);
    let offer = victim.offer(1, 1, world.now);
    let published = publication(victim, &offer, 1, home, world.now);
    assert_eq!(world.ask(victim.master.0, home, published), Answer::Done);

    // Of each size there is one that comes first in the order of ids.
    let (hash, size) = (offer.package.hash, offer.package.size);
    let rival = project(1);
    for (size, tasks) in [(1, 2), (size, 3), (size + 1, 4)].into_iter() {
        let theirs = (tasks..).step_by(3).map(|tasks| {
            let package = Package { hash, size };
            let theirs = Offer { package, ..(*rival.offer(tasks, 1, world.now)).clone() };
            Verified::sign(theirs, &rival.master)
        });
        let first = theirs.into_iter().find(|it| it.id() < offer.id()).expect("soon");
        let published = publication(rival, &first, 1, far, world.now);
        assert_eq!(world.ask(rival.master.0, far, published), Answer::Done);
    }
    let sources = |asker, limit| world.broker(near).blob_sources(hash, asker, limit);
    let asker = key(ALICE).0;
    assert_eq!(sources(asker, size), [(far.0, size), (home.0, size), (far.0, 1)]);
    assert_eq!(sources(far.0, size), [(home.0, size)], "who asks does not have it");
    assert_eq!(sources(asker, u64::MAX)[0], (far.0, size + 1));
    assert!(sources(asker, u64::MAX).contains(&(home.0, size)));
}

#[test]
fn not_everybody_who_says_so_is_asked_for_a_package() {
    let mut alone = Alone::new(BrokerConfig::default());
    let project = project(0);
    let now = alone.now;
    alone.tell(Gossip::Home(project.home(1, key(1), &[], now)));
    alone.give(Input::PeerUp { peer: project.master.0, direction: Direction::Inbound });
    let hash = BlobHash::of(b"package");
    for size in 1..=40 {
        let package = Package { hash, size };
        let offer = Offer { package, ..(*project.offer(1, 1, now)).clone() };
        alone.tell(Gossip::Offer(Verified::sign(offer, &project.master)));
    }
    let sources = alone.broker.blob_sources(hash, key(ALICE).0, 39);
    let sizes: Vec<_> = sources.iter().map(|(_, size)| *size).collect();
    assert_eq!(sizes, (40 - MAX_BLOB_SOURCES as u64..=39).rev().collect::<Vec<_>>());
}

// Room

#[test]
fn one_project_cannot_take_all_the_room_for_tasks() {
    let (home, greedy, modest) = (key(1), project(0), project(1));
    let mut world = World::of(&[home]);
    let mut publish = |project: Project, tasks, replicas| {
        let offer = project.offer(tasks, replicas, world.now);
        let publication = publication(project, &offer, 1, home, world.now);
        let answer = world.ask(project.master.0, home, publication);
        let withdrawal = project.withdrawal(&offer);
        (answer, Ask::Withdraw { withdrawals: vec![withdrawal] })
    };
    let (answer, withdraw) = publish(greedy, 100_000, 16);
    assert_eq!(answer, Answer::Done, "the largest offer fits");
    let (answer, _) = publish(greedy, 1, 1);
    let why = "too many tasks of this project".to_owned();
    assert_eq!(refusal(answer), Refusal::Full(why));
    assert_eq!(publish(modest, 100_000, 16).0, Answer::Done);

    assert_eq!(world.ask(greedy.master.0, home, withdraw), Answer::Done);
    let offer = greedy.offer(2, 1, world.now);
    let publication = publication(greedy, &offer, 1, home, world.now);
    assert_eq!(world.ask(greedy.master.0, home, publication), Answer::Done, "room again");
}

/// A receipt of `project` for a result of a task `n` that nobody was given.
fn receipt_of(project: Project, n: u32, now: Now) -> Bundle {
    let volunteer = key(ALICE);
    let offer = project.offer(n + 1, 1, now);
    let lease = capability::statements::Lease {
        project: project.name(),
        task: capability::statements::TaskId { offer: offer.id(), task: n, replica: 0 },
        epoch: 1,
        volunteer: volunteer.0,
        runtime: Runtime::Wasm,
        granted: now.wall,
        term_ms: 30_000,
        deadline: None,
        expires: offer.expires,
    };
    let result: Verified<JobResult> = result(volunteer, &Verified::sign(lease, &key(1)), now);
    let receipt = project.receipt(&result, accepted(), now);
    receipt_bundle(&receipt, key(1).0)
}

#[test]
fn of_one_signer_so_much_gossip_is_passed_on_and_the_rest_comes_by_comparison() {
    let quotas = Quotas { gossip_a_signer: Rate { a_minute: 60, burst: 2 }, ..Quotas::default() };
    let mut alone = Alone::new(BrokerConfig { quotas, ..BrokerConfig::default() });
    let now = alone.now;
    let offer = |project: Project, n: u32| Gossip::Offer(project.offer(n + 1, 1, now));
    let heard = |alone: &mut Alone, gossip: Gossip| {
        let id = gossip.id();
        let token = GossipToken(0);
        let actions = alone.give(Input::Gossip { gossip, from: key(9).0, token });
        let judged = actions.into_iter().find_map(|action| match action {
            Action::Judge { verdict, .. } => Some(verdict == GossipVerdict::Accept),
            _ => None,
        });
        let passed_on = judged.expect("a verdict");
        assert_eq!(passed_on, alone.broker.knows(id));
        passed_on
    };
    assert!(heard(&mut alone, offer(project(0), 0)) && heard(&mut alone, offer(project(0), 1)));
    let known = offer(project(0), 1);
    alone.give(Input::Gossip { gossip: known, from: key(9).0, token: GossipToken(0) });
    assert!(!heard(&mut alone, offer(project(0), 2)));
    assert!(heard(&mut alone, offer(project(1), 2)), "others have their own");
    assert_eq!(alone.broker.limited().len(), 0, "he asked for nothing");

    let rest = offer(project(0), 2);
    let id = rest.id();
    alone.give(Input::Given { from: key(9).0, statements: vec![rest] });
    assert!(alone.broker.knows(id));
    alone.now = alone.now.after(Duration::from_secs(1));
    assert!(heard(&mut alone, offer(project(0), 3)), "what is known already costs nothing");
}

#[test]
fn custody_of_a_receipt_is_taken_only_where_the_home_of_its_project_is_known() {
    let mut alone = Alone::new(BrokerConfig::default());
    let (project, now) = (project(0), alone.now);
    let answer = alone.hand_over(receipt_of(project, 0, now));
    assert!(matches!(&answer, HandoverAnswer::Refused(why) if why.contains("no home")));
    alone.tell(Gossip::Home(project.home(1, key(2), &[], now)));
    assert_eq!(alone.hand_over(receipt_of(project, 0, now)), HandoverAnswer::Taken);
}

#[test]
fn what_is_wrong_with_one_bundle_stops_no_other_of_its_handover() {
    let mut alone = Alone::new(BrokerConfig::default());
    let now = alone.now;
    alone.tell(Gossip::Home(project(0).home(1, key(2), &[], now)));
    let bundles = [project(0), project(1), project(0)].into_iter().zip(0..);
    let bundles = bundles.map(|(project, n)| receipt_of(project, n, now)).collect();
    let (from, reply) = (key(9).0, mesh_core::ReplyId(0));
    let mut actions = alone.give(Input::Handover { from, bundles, reply }).into_iter();
    let answers = actions.find_map(|action| match action {
        Action::ReplyHandover { answers, .. } => Some(answers),
        _ => None,
    });
    let answers = answers.expect("an answer");
    assert!(matches!(
        &answers[..],
        [HandoverAnswer::Taken, HandoverAnswer::Refused(why), HandoverAnswer::Taken]
            if why.contains("no home")
    ));
    assert_eq!(alone.broker.status().custody, 2);
}

#[test]
fn many_delegates_of_one_project_have_the_room_for_receipts_of_one() {
    let custody = CustodyLimits { bundles_an_origin: 2, ..CustodyLimits::default() };
    let mut alone = Alone::new(BrokerConfig { custody, ..BrokerConfig::default() });
    let now = alone.now;
    let (greedy, modest) = (project(0), project(1));
    for project in [greedy, modest] {
        alone.tell(Gossip::Home(project.home(1, key(2), &[], now)));
    }
    let delegate = |n: u8| Project { master: key(240 + n), ..greedy };
    let first = receipt_of(delegate(0), 0, now);
    assert_eq!(alone.hand_over(first.clone()), HandoverAnswer::Taken);
    assert_eq!(alone.hand_over(receipt_of(delegate(1), 1, now)), HandoverAnswer::Taken);
    let third = receipt_of(delegate(2), 2, now);
    let answer = alone.hand_over(third.clone());
    assert!(matches!(&answer, HandoverAnswer::Refused(why) if why.contains("this origin")));
    assert_eq!(alone.hand_over(first), HandoverAnswer::Taken, "it is here already");
    assert_eq!(alone.hand_over(receipt_of(modest, 0, now)), HandoverAnswer::Taken);

    // Their reader comes and takes them.
    let actions = alone.give(Input::PeerUp { peer: key(ALICE).0, direction: Direction::Inbound });
    for action in actions {
        if let Action::HandOver(Handover { to, bundles }) = action {
            let outcomes = bundles.iter().map(|bundle| (bundle.id(), Ok(()))).collect();
            alone.give(Input::HandedOver { to, outcomes });
        }
    }
    assert_eq!(alone.hand_over(third), HandoverAnswer::Taken, "there is room again");
    alone.now = alone.now.after(31 * DAY);
    alone.give(Input::Wake);
    assert_eq!(alone.broker.status().custody, 0);
}

#[test]
fn a_visitor_with_a_card_is_no_link_before_it_is_connected() {
    let mut alone = Alone::new(BrokerConfig::default());
    let (visitor, now) = (key(2), alone.now);
    let card = BrokerCard {
        seq: 1,
        addresses: Vec::new(),
        links: vec![key(1).0],
        expires: now.wall + Duration::from_secs(3600),
    };
    alone.give(Input::PeerUp { peer: visitor.0, direction: Direction::Door });
    let statements = vec![Gossip::Card(Verified::sign(card, &visitor))];
    let actions = alone.give(Input::Given { from: visitor.0, statements });
    let asks = |actions: &[Action]| {
        actions.iter().any(|action| matches!(action, Action::Ask { .. } | Action::Reconcile { .. }))
    };
    assert!(!asks(&actions) && alone.broker.status().reachable == 0, "it cannot be asked");
    let actions = alone.give(Input::PeerUp { peer: visitor.0, direction: Direction::Inbound });
    assert!(asks(&actions) && alone.broker.status().reachable == 1);
}

// Leases

#[test]
fn nobody_keeps_a_task_for_ever() {
    let (home, project) = (key(1), project(0));
    let mut world = World::of(&[home]);
    let lasting =
        Offer { expires: world.now.wall + 9 * DAY, ..(*project.offer(1, 1, world.now)).clone() };
    let wall = lasting.job.limits.wall();
    let offer = Verified::sign(lasting, &project.master);
    let published = publication(project, &offer, 1, home, world.now);
    assert_eq!(world.ask(project.master.0, home, published), Answer::Done);
    let asking = |n: u8| Asking { volunteer: key(n), at: home, home, epoch: 1 };
    let claim = |world: &mut World, who, nonce| {
        let claim = asking(who).claim(offer.id(), 1, nonce, world.now);
        world.ask(key(who).0, home, claim)
    };
    let lease = leases(claim(&mut world, ALICE, 0)).remove(0);
    let keep = |world: &mut World| {
        let keep = asking(ALICE).renewal(offer.id(), vec![lease.id()], Intent::Keep, world.now);
        world.ask(key(ALICE).0, home, keep)
    };

    world.now.wall = lease.granted + (wall + PAUSE_ALLOWANCE - Duration::from_millis(1));
    assert_eq!(keep(&mut world), Answer::Renewed { lapsed: vec![] }, "she may have paused");
    world.now.wall = world.now.wall + Duration::from_millis(1);
    assert_eq!(keep(&mut world), Answer::Renewed { lapsed: vec![lease.id()] });
    let counts = |world: &World| world.broker(home).status().offers[0].counts.expect("granted");
    assert_eq!((counts(&world).open, counts(&world).leased), (1, 0));
    world.restart(home);
    assert_eq!(counts(&world).open, 1, "for good");

    let lease = leases(claim(&mut world, BOB, 0)).remove(0);
    let keep = |world: &mut World, intent| {
        let keep = asking(BOB).renewal(offer.id(), vec![lease.id()], intent, world.now);
        world.ask(key(BOB).0, home, keep)
    };
    world.now.wall = world.now.wall + (wall + PAUSE_ALLOWANCE);
    assert_eq!(keep(&mut world, Intent::Keep), Answer::Renewed { lapsed: vec![lease.id()] });
    assert_eq!(refusal(claim(&mut world, BOB, 1)), Refusal::NoTask, "others come first");
    world.pass(OVERDUE_PAUSE);
    assert_eq!(leases(claim(&mut world, BOB, 2)).len(), 1, "but nobody came");

    let result = result(key(BOB), &lease, world.now);
    world.pass(Duration::from_secs(40));
    world.hand_over(key(BOB).0, home, result_bundle(&result, home));
    assert_eq!(counts(&world).returned, 1, "a late result counts");
}

#[test]
fn a_claim_that_is_repeated_counts_once_where_it_passes() {
    let (near, home) = (key(1), key(2));
    let (first, second) = (project(0), project(1));
    let mut world = World::line(&[near, home]);
    let offers = [first, second].map(|project| world.publish(project, 9, 1, home));
    for volunteer in [ALICE, BOB] {
        let ad = ad(key(volunteer), near, 4, world.now);
        world.ask(key(volunteer).0, near, Ask::Advertise { ad });
    }
    let asking = Asking { volunteer: key(BOB), at: near, home, epoch: 1 };
    let once = asking.claim(offers[0].id(), 1, 0, world.now);
    for _ in 0..3 {
        assert_eq!(leases(world.ask(key(BOB).0, near, once.clone())).len(), 1);
    }
    let claim = asking.claim(offers[1].id(), 2, 1, world.now);
    assert_eq!(leases(world.ask(key(BOB).0, near, claim)).len(), 2);
    let shown = offered(world.ask(key(ALICE).0, near, Ask::Pull { wants: wants() }));
    let order: Vec<_> = shown.iter().map(|shown| shown.offer.project).collect();
    assert_eq!(order, [first.name(), second.name()], "one task is less than two");
}

// Ads

#[test]
fn ads_go_to_linked_homes_of_offers_for_such_machines_and_to_nobody_else() {
    let (near, home, idle, project) = (key(1), key(2), key(3), project(0));
    let mut world = World::line(&[home, near, idle]);
    let both = [Runtime::Native, Runtime::Wasm];
    let ad = ad_of(key(ALICE), ("linux", "x86_64"), both, world.now);
    world.ask(key(ALICE).0, near, Ask::Advertise { ad });
    let class = |runtime| Class { runtime, cores_log2: 0, memory_log2: 0 };
    let shown = |world: &mut World, asker: Key, runtime| {
        let answer = world.ask(asker.0, near, Ask::Ads { class: class(runtime) });
        let Answer::Ads(ads) = answer else { panic!("{answer:?}") };
        ads.len()
    };
    assert_eq!(shown(&mut world, home, Runtime::Wasm), 0, "it has no offer yet");
    world.publish(project, 1, 1, home);
    assert_eq!(shown(&mut world, home, Runtime::Wasm), 1);
    assert_eq!(shown(&mut world, home, Runtime::Native), 0, "of another runtime");
    assert_eq!(shown(&mut world, idle, Runtime::Wasm), 0, "another's offer");
    assert_eq!(shown(&mut world, key(BOB), Runtime::Wasm), 0, "no broker");

    world.disconnect(home.0, near.0);
    assert_eq!(shown(&mut world, home, Runtime::Wasm), 0, "its card is known, but no link");
}

#[test]
fn a_broker_that_does_not_know_an_offer_yet_is_asked_for_ads_again() {
    let (near, home, project) = (key(1), key(2), project(0));
    let mut world = World::line(&[near, home]);
    let ad = ad(key(ALICE), near, 4, world.now);
    world.ask(key(ALICE).0, near, Ask::Advertise { ad });
    world.pass(Duration::from_secs(70));
    world.lose_gossip = true;
    let offer = world.publish(project, 1, 1, home);
    let matching = |world: &mut World| {
        let ask = Ask::Explain(JobNeeds::Offer(offer.id()));
        explained(world.ask(project.master.0, home, ask)).matching
    };
    world.pass(Duration::from_secs(5));
    assert_eq!(matching(&mut world), 0, "the offer was lost on its way");
    world.pass(broker_core::RECONCILE_EVERY + Duration::from_secs(11));
    assert_eq!(matching(&mut world), 1);
}

#[test]
fn nobody_can_keep_a_broker_busy_with_explanations() {
    let home = key(1);
    let mut world = World::of(&[home]);
    let needs = JobNeeds::Requirements(project(0).offer(1, 1, world.now).requirements.clone());
    let answered = |world: &mut World, asker: Key| {
        let answer = world.ask(asker.0, home, Ask::Explain(needs.clone()));
        matches!(answer, Answer::Explanation(_))
    };
    let count =
        |world: &mut World, asker: u8| (0..100).filter(|_| answered(world, key(asker))).count();
    let (in_all, of_one) = (MAX_EXPLANATIONS as usize, MAX_EXPLANATIONS_AN_ASKER as usize);
    assert_eq!(count(&mut world, 10), of_one);
    assert_eq!((11..20).map(|asker| count(&mut world, asker)).sum::<usize>(), in_all - of_one);
    world.pass(Duration::from_secs(1));
    assert_eq!(count(&mut world, 10), of_one);
}

#[test]
fn extravagant_needs_are_not_explained() {
    let home = key(1);
    let mut world = World::of(&[home]);
    for volunteer in 100..180 {
        let mut ad = Ad::clone(&ad(key(volunteer), home, 4, world.now));
        // Each is of a kind of its own.
        ad.capabilities.platform =
            Platform::new("linux", &format!("arch{volunteer}")).expect("words");
        let ad = Verified::sign(ad, &key(volunteer));
        world.ask(key(volunteer).0, home, Ask::Advertise { ad });
    }
    let values = vec![Fact::Number(1); MAX_ALTERNATIVES];
    let clause = Clause::OneOf { fact: "label.size".parse().expect("a name"), values };
    let mut explain = |clauses: usize| {
        let clauses = vec![clause.clone(); clauses];
        let needs = Requirements { runtimes: vec![Runtime::Wasm], clauses, rank: Vec::new() };
        world.ask(key(ALICE).0, home, Ask::Explain(JobNeeds::Requirements(needs)))
    };
    assert_eq!(explained(explain(1)).known, 80);
    // To ask again would not help.
    let refused = refusal(explain(MAX_CLAUSES));
    assert!(matches!(&refused, Refusal::Invalid(why) if why.contains("fewer clauses")));
}
