//! The owner's policy: which offers of trusted projects are taken, which first, and who hears of it.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use capability::statements::{Permissions, Registration};
use capability::{JobFile, Policy, Runtime, StatementId, Timestamp, Verified};
use mesh_core::{Answer, Ask, Offered};
use support::{ADAPTER, BROKER, Bench, PROJECT, key, machine, offered, pin};
use volunteer_core::{Decline, Input, Volunteer, describe_file, is_about_offers};

const MINUTE: Duration = Duration::from_secs(60);

fn policy(text: &str) -> Policy {
    Policy::read(&format!("[policy]\n{text}")).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A volunteer with the usual pin and that policy, at its broker.
fn ready(clauses: &str) -> Bench {
    let mut bench = Bench::new();
    bench.handle(Input::Capabilities(machine(2)));
    bench.handle(Input::Policy(policy(clauses)));
    bench.handle(Input::Pins(vec![pin()]));
    bench.connect(BROKER);
    bench
}

/// Answers the outstanding pull, and says what it asked not to be shown.
fn show(bench: &mut Bench, offers: &[Offered]) -> Vec<StatementId> {
    let (call, wants) = bench.take_pull();
    bench.answer(call, Answer::Offers(offers.to_vec()));
    wants.except
}

/// An offer of one core and ten minutes, of a project with keywords, that two others could run.
fn night_build() -> Offered {
    let registration = Registration {
        name: "calls itself so".into(),
        homepage: String::new(),
        keywords: vec!["Compilers".into(), "not a word of a set".into()],
        checks: Vec::new(),
        permissions: Permissions { runtimes: vec![Runtime::Wasm], network: false },
        expires: Timestamp(u64::MAX / 2),
    };
    let registration = Some(Verified::sign(registration, &*key(PROJECT)));
    Offered { registration, others: Some(2), ..offered("nightly", 4, 1) }
}

fn with_others(others: Option<u32>) -> Offered {
    Offered { others, ..night_build() }
}

#[test]
fn an_offer_is_judged_by_what_it_is_and_what_came_along() {
    /// `expected` is what stands against the offer; empty if it is claimed.
    #[track_caller]
    fn check(offer: &Offered, clauses: &str, expected: &str) {
        let mut bench = ready(clauses);
        show(&mut bench, std::slice::from_ref(offer));
        let reason = bench.volunteer.declined().next().map(|it| it.reason.to_string());
        let expected = (!expected.is_empty()).then(|| format!("your policy says no: {expected}"));
        assert_eq!(reason, expected, "{clauses}");
        assert_eq!(bench.claims(), expected.is_none(), "{clauses}");
    }
    let offer = night_build();
    check(&offer, "", "");
    check(&offer, "name = \"nightly\"\nbuilder = \"b\"\nduration = { at-most = \"10m\" }", "");
    check(
        &offer,
        "duration = { at-most = \"9m 59s\" }",
        "needs duration of at most 9m 59s, this offer has 10m",
    );
    check(&offer, "project = \"sweep\"\nruntimes = [\"wasm\"]\nnetwork = false", "");
    check(
        &offer,
        "project = \"calls itself so\"",
        "needs project calls itself so, this offer has sweep",
    );
    check(&offer, &format!("project-key = \"{}\"", support::project()), "");
    check(&offer, "keywords = [\"compilers\"]", "");
    check(&offer, "keywords = [\"games\"]", "needs keywords with games, this offer has compilers");
    check(&offer, "others = { at-most = 2 }\ncores = { at-most = 1 }", "");
    check(
        &offer,
        "others = { at-most = 1 }\nmemory = { at-most = \"512 MiB\" }",
        "needs memory of at most 512 MiB, this offer has 1 GiB; \
         needs others of at most 1, this offer has 2",
    );
    check(&offer, "tasks = { at-least = 2, at-most = 4 }\nreplicas = { at-most = 1 }", "");
    check(&offer, "package = { at-most = 1000 }\nprocesses = { at-most = 256 }", "");
}

#[test]
fn what_did_not_come_along_satisfies_nothing() {
    let bare = offered("nightly", 1, 1);
    let of_another = Offered {
        registration: night_build()
            .registration
            .map(|it| Verified::sign((*it).clone(), &*key(ADAPTER))),
        ..bare.clone()
    };
    for clause in ["keywords = [\"compilers\"]", "others = { at-most = 9 }"] {
        for offer in [&bare, &of_another] {
            let mut bench = ready(clause);
            show(&mut bench, std::slice::from_ref(offer));
            let reason = &bench.volunteer.declined().next().unwrap().reason;
            assert!(reason.to_string().ends_with("this offer does not state it"), "{reason}");
        }
    }
}

#[test]
fn trust_comes_before_policy() {
    let mut bench = ready("name = \"nightly\"");
    bench.handle(Input::Pins(Vec::new()));
    bench.handle(Input::Pins(vec![volunteer_core::Pin {
        project: support::peer(9).into(),
        ..pin()
    }]));
    show(&mut bench, &[offered("other", 1, 1)]);
    assert_eq!(bench.volunteer.declined().next().unwrap().reason, Decline::NotPinned);
}

#[test]
fn what_a_broker_says_is_looked_at_again_and_what_an_offer_says_is_not() {
    let mut bench = ready("others = { at-most = 2 }\nduration = { at-most = \"1h\" }");
    let (common, long) = (with_others(Some(3)), {
        let mut offer = (*night_build().offer).clone();
        offer.job.limits.wall_ms = 7_200_000;
        Offered { offer: Verified::sign(offer, &*key(ADAPTER)), ..with_others(Some(3)) }
    });
    let (rare_now, always) = (common.offer.id(), long.offer.id());
    assert_eq!(show(&mut bench, &[common.clone(), long]), []);
    bench.pass(Duration::from_secs(1));
    let mut both = vec![rare_now, always];
    both.sort();
    assert_eq!(show(&mut bench, &[]), both);

    bench.pass(10 * MINUTE);
    assert_eq!(show(&mut bench, &[common]), [always], "others can change, duration cannot");
    assert!(!bench.claims());
    bench.pass(10 * MINUTE);
    show(&mut bench, &[with_others(Some(2))]);
    assert!(bench.claims());
    assert_eq!(bench.volunteer.declined().len(), 1, "what is welcome is not declined any more");
}

#[test]
fn another_policy_makes_a_declined_offer_welcome_and_leaves_alone_what_runs() {
    let mut bench = ready("name = \"weekly\"");
    show(&mut bench, &[night_build()]);
    assert!(!bench.claims());

    bench.handle(Input::Policy(policy("name = \"nightly\"")));
    bench.pass(Duration::from_secs(1));
    assert_eq!(show(&mut bench, &[]), [], "it may be shown again");
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.run_offer(&night_build()).len(), 2);

    bench.handle(Input::Policy(policy("name = \"weekly\"")));
    assert_eq!(bench.volunteer.jobs().count(), 2);
    assert!(
        bench.find(|it| matches!(it, volunteer_core::Action::Stop { .. }).then_some(())).is_none()
    );
}

#[test]
fn an_offer_that_waits_for_its_claim_is_judged_by_the_policy_of_then() {
    let mut bench = ready("");
    let (first, second) = (offered("first", 1, 2), offered("second", 1, 2));
    show(&mut bench, &[first, second.clone()]);
    let (call, _) = bench.take_claim();

    bench.handle(Input::Policy(policy("name = \"third\"")));
    bench.answer(call, Answer::Refused(mesh_core::Refusal::NoTask));
    assert!(!bench.claims());
    bench.pass(Duration::from_secs(1));
    show(&mut bench, &[second]);
    assert!(!bench.claims());
}

#[test]
fn preferences_choose_among_the_offers_shown_and_the_broker_where_they_are_silent() {
    /// The order in which offers are claimed of which the machine can run one at a time.
    fn order(preferences: &str) -> Vec<String> {
        let mut bench = ready(preferences);
        let shown = ["b", "a", "rare", "c"].map(|name| {
            let others = Some(if name == "rare" { 0 } else { 9 });
            Offered { others, ..offered(name, 1, 2) }
        });
        show(&mut bench, &shown);
        let mut order = Vec::new();
        while order.len() < shown.len() {
            let (call, claim) = bench.take_claim();
            let claimed = shown.iter().find(|it| it.offer.id() == claim.offer).unwrap();
            order.push(claimed.offer.name.clone());
            bench.answer(call, Answer::Refused(mesh_core::Refusal::NoTask));
        }
        order
    }
    assert_eq!(order(""), ["b", "a", "rare", "c"]);
    let rare = "[[policy.prefer]]\nless = \"others\"\nbearable = 4\n";
    assert_eq!(order(rare), ["rare", "b", "a", "c"]);
    let also = format!("{rare}[[policy.prefer]]\nweight = 5\nname = \"c\"\n");
    assert_eq!(order(&also), ["c", "rare", "b", "a"]);
}

#[test]
fn a_project_that_asks_for_more_than_it_may_is_declined_and_others_are_not() {
    let bounded = |clauses: &str| {
        let mut bench = ready("");
        let bounds = policy(clauses);
        bench.handle(Input::Pins(vec![volunteer_core::Pin { bounds, ..pin() }]));
        show(&mut bench, &[night_build()]);
        let reason = bench.volunteer.declined().next().map(|it| it.reason.to_string());
        (reason, bench.claims())
    };
    assert_eq!(bounded("duration = { at-most = \"10m\" }"), (None, true));
    let (reason, claims) = bounded("duration = { at-most = \"9m\" }");
    let expected = "it is beyond what you let its project ask for: needs duration of at most 9m, this \
                    offer has 10m";
    assert_eq!((reason.as_deref(), claims), (Some(expected), false));
}

/// The bytes of the pull that follows when these offers were shown.
fn pull_after(mut bench: Bench, shown: &[Offered]) -> Vec<u8> {
    show(&mut bench, shown);
    bench.pass(Duration::from_secs(1));
    Ask::Pull { wants: bench.take_pull().1 }.encode()
}

#[test]
fn a_policy_is_in_no_pull() {
    let (with, mut without) = (ready("others = { at-most = 1 }"), Bench::ready(2));
    assert_eq!(pull_after(with, &[]), pull_after(Bench::ready(2), &[]));

    // What is declined is asked not to be shown, as it is for any other reason: here the offer is
    // too large for what the owner donates.
    let mut small = machine(2);
    small.resources.memory = 8 << 30;
    let mut offer = (*night_build().offer).clone();
    offer.job.limits.memory = 9 << 30;
    let large = Offered { offer: Verified::sign(offer, &*key(ADAPTER)), ..night_build() };
    without.handle(Input::Capabilities(small));
    let unlike = pull_after(without, std::slice::from_ref(&large));
    let with = ready("memory = { at-most = \"8 GiB\" }");
    assert_eq!(pull_after(with, &[large]), unlike);
}

#[test]
fn a_policy_is_in_no_record() {
    let mut bench = ready("name = \"a-name-that-nobody-else-uses\"");
    show(&mut bench, &[night_build()]);
    let all: Vec<_> = bench.disk.iter().flat_map(|(key, value)| key.iter().chain(value)).collect();
    let text: String = all.into_iter().map(|byte| char::from(*byte)).collect();
    assert!(!text.contains("nobody-else"), "{text:?}");
    let again = Volunteer::restore(support::identity(), bench.disk.clone(), &capability::Ed25519);
    assert!(again.is_ok());
}

#[test]
fn a_job_file_is_described_as_its_offer_would_be() {
    let job = JobFile::parse(
        "name = \"nightly\"\ntasks = 3\nlimits.wall = \"90s\"\n\
         [requirements]\nruntimes = [\"native\"]\ncores = 2\nany = [{ tools.gcc = \"*\" }, { cpu = [\"avx2\"] }]\n\
         [[step]]\nname = \"all\"\nrun = [\"make\"]\n",
    )
    .unwrap();
    let facts = describe_file(&job);
    let shown: Vec<_> = facts.iter().map(|(name, fact)| format!("{name} {fact}")).collect();
    let expected = [
        "builder nightly",
        "cores 2",
        "disk 1073741824",
        "duration 90",
        "memory 1073741824",
        "name nightly",
        "needs cpu.features tool.gcc",
        "network no",
        "processes 256",
        "runtimes native",
        "tasks 3",
    ];
    assert_eq!(shown, expected);
    let clauses =
        policy("keywords = [\"a\"]\nduration = { at-most = \"1h\" }\nnot = [{ project = \"x\" }]");
    let open: Vec<_> = clauses.clauses.iter().map(is_about_offers).collect();
    assert_eq!(open, [true, false, true]);
}
