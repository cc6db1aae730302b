use super::machine::Machine;
use super::settling::{few, table};
use super::*;
use crate::probing::MAX_OWN;
use crate::runtimes::MAX_LABELS;

#[test]
fn the_example_in_deploy_states_the_defaults() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/volunteer.toml");
    let example: Config = config::load(ROLE, Some(path.as_ref())).expect("it is sound");
    assert_eq!(format!("{example:?}"), format!("{:?}", Config::default()));
}

#[test]
fn the_template_says_the_defaults_and_is_sound_in_full() {
    let plain: Config = toml::from_str(TEMPLATE).expect("all commented out");
    assert_eq!(plain.http, Config::default().http);

    let text: String = TEMPLATE
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| !line.starts_with(' '))
        .map(|line| format!("{line}\n"))
        .collect();
    let all: Config = toml::from_str(&text).expect("every setting of the template");
    assert_eq!(all.memory, Some(Amount::Bytes(2 << 30)));
    assert_eq!(all.runtimes, Config::default().runtimes);
    assert_eq!((all.brokers.len(), all.labels.len(), all.tools.len()), (1, 1, 1));
    assert!(all.hours.is_some());
    let policy = Policy::read(&text).expect("its policy");
    assert_eq!((policy.clauses.len(), policy.rank.len()), (1, 1));
}

#[test]
fn the_policies_that_are_shown_as_examples_are_sound() {
    let at = |path: &str| concat!(env!("CARGO_MANIFEST_DIR"), "/../../").to_owned() + path;
    let deploy = std::fs::read_to_string(at("deploy/volunteer.toml")).expect("it is there");
    let (_, commented) = deploy.split_once("\n#[policy]\n").expect("it has a policy");
    let policy = format!("[policy]\n{}", commented.replace('#', ""));
    let policy = Policy::read(&policy).unwrap_or_else(|error| panic!("{policy}{error}"));
    assert_eq!((policy.clauses.len(), policy.rank.len()), (2, 1));

    let page = std::fs::read_to_string(at("docs/operating/volunteer.md")).expect("it is there");
    let blocks = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let policies: Vec<_> = blocks.filter(|block| block.contains("[policy]")).collect();
    assert_eq!(policies.len(), 3);
    for text in policies {
        let policy = Policy::read(text).unwrap_or_else(|error| panic!("{text}{error}"));
        assert!(!policy.clauses.is_empty(), "{text}");
        toml::from_str::<Config>(text).expect(text);
    }
}

#[test]
fn more_than_there_is_gets_a_warning() {
    let donated = Resources { cores: 4, memory: 4 << 30, disk: 4 << 30 };
    let exact = Machine { cores: Some(4), memory: Some(4 << 30), disk: Some(4 << 30) };
    assert_eq!(doubts(donated, &exact), [""; 0]);
    let unknown = Machine { cores: None, memory: None, disk: None };
    assert_eq!(doubts(donated, &unknown), [""; 0]);
    let small = Machine { cores: Some(2), memory: Some(1 << 30), disk: Some(2 << 30) };
    let expected = [
        "`cores` donates 4, and the machine has only 2",
        "`memory` donates 4 GiB, and only 1 GiB are in the machine",
        "`disk` donates 4 GiB, and only 2 GiB are free on the disk",
    ];
    assert_eq!(doubts(donated, &small), expected);
}

#[test]
fn tools_and_labels_are_few() {
    let tools = |count: usize| {
        let own = |number| toml::from_str(&format!("name = \"own{number}\"")).expect("a tool");
        table((0..count).map(own).collect())
    };
    let built_in = Table::built_in().iter().count();
    assert_eq!(tools(MAX_OWN).expect("allowed").iter().count(), built_in + MAX_OWN);
    assert!(tools(MAX_OWN + 1).expect_err("too many").to_string().contains("65 times"));
    let labels = |count: usize| {
        let text =
            format!("labels = {:?}", (0..count).map(|it| it.to_string()).collect::<Vec<_>>());
        few(toml::from_str::<Config>(&text).expect("labels").labels)
    };
    assert_eq!(labels(MAX_LABELS).expect("allowed").len(), MAX_LABELS);
    assert!(labels(MAX_LABELS + 1).expect_err("too many").to_string().contains("33 words"));
}

#[test]
fn what_no_machine_could_do_is_refused_with_what_would_do() {
    let refused = |text: &str| check(Path::new("x.toml"), text).expect_err(text).to_string();
    let expected = "`network-up` is 1 KiB a second, at which a transfer stalls";
    assert!(refused("network-up = \"1 KiB\"").starts_with(expected));
    let expected = "`memory` donates 1 KiB, with which no job could run";
    assert!(refused("memory = \"1 KiB\"").starts_with(expected));
    let expected = "`work-buffer` is over 14 days";
    assert!(refused("work-buffer = \"15d\"").starts_with(expected));
    let expected = "`work-buffer` fetches tasks that `offline = false` forbids";
    assert!(refused("work-buffer = \"1h\"\noffline = false").starts_with(expected));
    let expected = "`job-network-deny`: \"127.1\" is no host";
    assert!(refused("job-network-deny = [\"127.1\"]").starts_with(expected));
    let expected = "`image-repositories`: \"debian:12\" is not the name of a repository";
    assert!(refused("image-repositories = [\"debian:12\"]").starts_with(expected));
    assert!(
        refused("image-engine = \"rkt\"").contains("expected one of `none`, `podman`, `docker`")
    );
    check(
        Path::new("x.toml"),
        "image-engine = \"podman\"\nimage-repositories = [\"docker.io/library/*\"]\nimage-pull = true",
    )
    .expect("sound");
    check(
        Path::new("x.toml"),
        "job-network = true\njob-network-deny = [\"*.a.example\", \"9.9.9.9:53\"]",
    )
    .expect("sound");
    check(Path::new("x.toml"), "network-down = \"16 KiB\"\nmemory = \"50%\"").expect("sound");
}

#[test]
fn what_cannot_be_is_refused() {
    let check = |text: &str, expected: &str| {
        let error = toml::from_str::<Config>(text).expect_err(text).to_string();
        assert!(error.contains(expected), "{error}");
    };
    check("croes = 2", "unknown field `croes`");
    check("cores = 0", "from 1 to 4096");
    check("cores = \"all+1\"", "is not a number of cores");
    check("memory = \"two\"", "is not an amount of bytes");
    check("brokers = [\"example.org:4077\"]", "is not the address of a broker");
    check("labels = [\"Lab\"]", "\"Lab\" is no label");
    check("hours = \"at night\"", "\"at night\" is not hours of the day");
    check("[[tool]]\nname = \"frob\"\npattern = '('", "unclosed group");
}
