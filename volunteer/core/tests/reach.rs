//! Offers of jobs that reach the network, or have an image elsewhere: whether they are welcome, and what they use.
#![expect(clippy::unwrap_used, reason = "a failed test")]

mod support;

use capability::statements::{Ended, Offer};
use capability::{Destination, Fact, Image, ImageDigest, ImageSource, Runtime, Verified};
use mesh_core::{Answer, Offered};
use support::{ADAPTER, BROKER, Bench, key, offered_in, outcome, pin};
use volunteer_core::{Action, Decline, Idle, Input, Outcome, Permitted, Pin, Reach};

/// An offer of a job that lists `destinations`.
fn reaching(destinations: &[&str]) -> Offered {
    let plain = offered_in(Runtime::Native, "fetch", 1, 1);
    let mut offer: Offer = (*plain.offer).clone();
    offer.requirements.clauses.push(Destination::required());
    offer.job.network = listed(destinations);
    Offered { offer: Verified::sign(offer, &*key(ADAPTER)), ..plain }
}

fn listed(destinations: &[&str]) -> Vec<Destination> {
    destinations.iter().map(|it| it.parse().unwrap()).collect()
}

fn pinned(permitted: Permitted, denied: &[&str]) -> Input {
    let denied = denied.iter().map(|it| it.parse().unwrap()).collect();
    let reach = Reach { permitted, denied, ..Reach::default() };
    Input::Pins(vec![Pin { runtimes: [Runtime::Native].into(), reach, ..pin() }])
}

/// A volunteer at its broker whose native runtime has a proxy.
fn with_proxy(permitted: Permitted, denied: &[&str]) -> Bench {
    let mut bench = Bench::new();
    let mut machine = support::machine(2);
    let native = machine.runtimes.get_mut(&Runtime::Native).unwrap();
    native.facts.insert("network.proxy", Fact::Flag(true)).unwrap();
    bench.handle(Input::Capabilities(machine));
    bench.handle(pinned(permitted, denied));
    bench.connect(BROKER);
    bench
}

fn declined(bench: &mut Bench, offer: &Offered) -> Option<Decline> {
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![offer.clone()]));
    bench.volunteer.declined().next().map(|it| it.reason.clone())
}

#[test]
fn an_offer_is_welcome_if_its_project_may_reach_all_that_it_lists() {
    let offer = reaching(&["deb.example:80", "index.crates.example"]);
    let some = || Permitted::Listed(listed(&["deb.example:80", "*.crates.example"]));

    assert_eq!(declined(&mut with_proxy(some(), &[]), &offer), None);
    assert_eq!(declined(&mut with_proxy(Permitted::Anything, &[]), &offer), None);
    let nothing = declined(&mut with_proxy(Permitted::Nothing, &[]), &offer).unwrap();
    assert_eq!(nothing, Decline::OutOfReach(listed(&["deb.example:80", "index.crates.example"])));
    let denied = declined(&mut with_proxy(some(), &["*.crates.example"]), &offer).unwrap();
    assert_eq!(denied, Decline::Denied(listed(&["index.crates.example"])));
}

/// An offer of a job whose image is in a repository.
fn imaged() -> Offered {
    let plain = offered_in(Runtime::Container, "imaged", 1, 1);
    let mut offer: Offer = (*plain.offer).clone();
    let repository = "docker.io/library/debian".parse().unwrap();
    let digest = ImageDigest::from_bytes([1; 32]);
    let image = Image { source: ImageSource::Repository(repository), digest };
    offer.requirements.clauses.extend(image.required());
    offer.job.image = Some(image);
    Offered { offer: Verified::sign(offer, &*key(ADAPTER)), ..plain }
}

/// A volunteer whose owner lets jobs have images of `repositories`, and that has the `engine` to get them with.
fn with_images(repositories: &[&str], engine: bool) -> Bench {
    let mut bench = Bench::new();
    let mut machine = support::machine(2);
    let mut container = machine.runtimes[&Runtime::Native].clone();
    if engine {
        container.facts.insert("image.engine", "podman").unwrap();
    }
    machine.runtimes.insert(Runtime::Container, container);
    bench.handle(Input::Capabilities(machine));
    let repositories = repositories.iter().map(|it| it.parse().unwrap()).collect();
    let reach = Reach { repositories, ..Reach::default() };
    let runtimes = [Runtime::Container].into();
    bench.handle(Input::Pins(vec![Pin { runtimes, reach, ..pin() }]));
    bench.connect(BROKER);
    bench
}

#[test]
fn an_image_of_a_repository_is_welcome_where_its_owner_lists_that_and_there_is_an_engine() {
    let offer = imaged();
    assert_eq!(declined(&mut with_images(&["docker.io/library/*"], true), &offer), None);
    let unlisted = declined(&mut with_images(&["docker.io/library2/*"], true), &offer).unwrap();
    let expected = "its image is one of docker.io/library/debian, which is not among your";
    assert!(unlisted.to_string().starts_with(expected), "{unlisted}");
    let none = declined(&mut with_images(&["docker.io/library/*"], false), &offer).unwrap();
    assert!(none.to_string().contains("image.engine"), "{none}");
}

#[test]
fn a_machine_without_a_proxy_declines_and_says_so() {
    let mut bench = with_proxy(Permitted::Anything, &[]);
    bench.handle(Input::Capabilities(support::machine(2)));
    let reason = declined(&mut bench, &reaching(&["a.example"])).unwrap().to_string();
    assert!(reason.contains("network.proxy"), "{reason}");
}

#[test]
fn a_job_is_stopped_once_its_project_may_not_reach_what_it_lists() {
    let mut bench = with_proxy(Permitted::Anything, &[]);
    bench.run_offer(&reaching(&["a.example"]));
    bench.handle(pinned(Permitted::Anything, &["b.example"]));
    let stopped = |bench: &mut Bench| {
        bench.find(|action| matches!(action, Action::Stop { .. }).then_some(())).is_some()
    };
    assert!(!stopped(&mut bench));
    bench.handle(pinned(Permitted::Anything, &["a.example:443"]));
    assert!(stopped(&mut bench));
}

#[test]
fn what_a_job_passes_counts_and_what_is_left_is_all_that_it_may_pass() {
    let mut bench = with_proxy(Permitted::Anything, &[]);
    bench.handle(Input::Quota(Some(5000)));
    let order = bench.run_offer(&reaching(&["a.example"])).remove(0);
    assert_eq!(order.network_bytes, 4000, "the package has 1000");
    let ended = Outcome { network_down: 3000, network_up: 1500, ..outcome(Ended::Passed) };
    bench.ran(order.lease, ended);
    assert_eq!((bench.volunteer.traffic().down, bench.volunteer.traffic().up), (4000, 1500));
    assert_eq!(bench.volunteer.obstacle(), Some(Idle::QuotaUsed(5000)));
}

#[test]
fn what_a_job_passes_counts_while_it_runs_and_not_again_at_its_end() {
    let mut bench = with_proxy(Permitted::Anything, &[]);
    bench.handle(Input::Quota(Some(5000)));
    let lease = bench.run_offer(&reaching(&["a.example"])).remove(0).lease;
    let passed = |bench: &Bench| {
        let traffic = bench.volunteer.traffic();
        (traffic.down, traffic.up)
    };
    bench.handle(Input::Passing { lease, down: 1000, up: 100 });
    bench.handle(Input::Passing { lease, down: 3000, up: 500 });
    assert_eq!(passed(&bench), (4000, 500), "the package has 1000");
    let ended = Outcome { network_down: 3500, network_up: 500, ..outcome(Ended::Passed) };
    bench.ran(lease, ended);
    assert_eq!(passed(&bench), (4500, 500));

    // What was told is durable, and nothing else is.
    let mut bench = with_proxy(Permitted::Anything, &[]);
    let lease = bench.run_offer(&reaching(&["a.example"])).remove(0).lease;
    bench.handle(Input::Passing { lease, down: 2000, up: 0 });
    let mut bench = bench.restart();
    assert_eq!(passed(&bench), (3000, 0));
    bench.handle(Input::Passing { lease, down: 9000, up: 0 });
    assert_eq!(passed(&bench), (3000, 0), "nothing runs under that lease");
}
