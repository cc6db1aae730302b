//! Stories of homes that are lost for good, of tasks that bring machines down, and of machines that
//! are out of reach: real processes, as in `stories.rs`.

mod support;

use support::{Story, await_exit};
use xtask::events::Event;

#[test]
fn the_home_is_destroyed_for_good_in_the_middle_and_a_standby_takes_its_place() {
    let mut story = Story::empty();
    let network = &mut story.network;
    network.configure("master", "rehome-after = \"5s\"\n").expect("a configuration");
    network.broker("broker-a", &[], &[]).expect("broker-a");
    network.broker("broker-b", &["broker-a"], &[]).expect("broker-b");
    network.master("master", "Story", &["broker-a", "broker-b"]).expect("the master");
    let uri = network.uri("master").expect("its URI");
    for name in ["volunteer-1", "volunteer-2"] {
        network.volunteer(name, &["broker-b"], &[&uri], 1).expect("a volunteer starts");
    }
    let submit = story.submit(&story.sweep.clone());
    story.wait_for(5, "results to be accepted", |event| event.name == "accepted");

    story.network.destroy("broker-a").expect("destroyed");

    let second = |event: &Event| event.is("master", "home moved") && event.field("epoch") == "2";
    story.wait_for(1, "the home to move", second);
    story.expect_each_accepted_once(submit, 40);
    story.network.end().expect("every process ends when asked");
}

#[test]
fn a_task_that_brings_down_every_machine_is_given_up_and_says_so() {
    let mut story = Story::begin(5);
    let job = story.write_sleepy_job_with("poison", 20, "25s", "");
    let offer = story.master("master", &["submit", &job.display().to_string()]);
    let offer = offer.trim().to_owned();
    for number in 1..=5 {
        let started = story.wait_for(number, "the task to start", |event| event.name == "started");
        story.network.kill(&started.who).expect("killed");
        // Its new process gives the task back as lost, and others have it first.
        story.network.start_again(&started.who).expect("started again");
    }
    let given_up = |event: &Event| event.is("master", "task given up");
    let reason = story.wait_for(1, "the task to be given up", given_up).field("reason");
    assert_eq!(reason, "5 leases to 5 machines ended without a word: it may bring machines down");
    let mut wait = story.network.program_of("master", "talkoot-master");
    wait.args(["wait", &offer]).stdout(std::process::Stdio::null());
    let mut wait = wait.stderr(std::process::Stdio::piped()).spawn().expect("it starts");
    assert_eq!(await_exit(&mut wait), Some(1), "the job has failed");
    let mut words = String::new();
    std::io::Read::read_to_string(&mut wait.stderr.take().expect("piped"), &mut words)
        .expect("text");
    let line = format!("task 0 given up: {reason}");
    assert!(words.contains(&line), "{words}");
    for command in [&["results", &offer][..], &["status"][..]] {
        let text = story.master("master", command);
        assert!(text.contains(&line), "{command:?}: {text}");
    }
    println!("{}", story.master("master", &["results", &offer]));
    let fourth = story.network.events().all();
    let leased = fourth.iter().filter(|event| event.name == "leased").count();
    assert_eq!(leased, 5, "nobody gets it a sixth time");
    story.network.end().expect("every process ends when asked");
}

#[test]
fn a_machine_that_is_out_of_reach_for_longer_than_a_term_keeps_its_offline_task() {
    let mut story = Story::empty();
    let network = &mut story.network;
    network.configure("volunteer-1", "offline = true\n").expect("a configuration");
    network.broker("broker-a", &[], &[]).expect("broker-a");
    network.broker("broker-b", &["broker-a"], &[]).expect("broker-b");
    network.master("master", "Story", &["broker-a"]).expect("the master");
    let uri = network.uri("master").expect("its URI");
    network.volunteer("volunteer-1", &["broker-b"], &[&uri], 1).expect("a volunteer starts");
    let job = story.write_sleepy_job_with("slow", 40, "2m", "offline = \"1h\"");
    let submit = story.submit(&job);
    story.wait_for(1, "the task to start", |event| event.name == "started");
    let mut status = story.network.program_of("volunteer-1", "talkoot-volunteer");
    let status = xtask::tools::output(status.arg("status")).expect("its status");
    assert!(status.contains(", offline until "), "{status}");

    // A lease of a term would lapse 30 s after this, at the home.
    story.network.kill("broker-b").expect("killed");
    story.wait_for(1, "the task to end", |event| event.name == "finished");
    story.network.start_again("broker-b").expect("started again");

    story.expect_each_accepted_once(submit, 1);
    let all = story.network.events().all();
    let lapsed = all.iter().filter(|event| event.name == "lease lapsed").count();
    assert_eq!(lapsed, 0, "{}", story.last_events());
    story.network.end().expect("every process ends when asked");
}
