//! What a maintainer writes, and what is said about their mistakes.

mod mistakes;

use std::path::Path;
use std::time::Duration;

use capability::{
    Checkpoint, Clause, Destination, Fact, Globs, JobFile, JobSpec, JobSpecError, Limits,
    MAX_JOB_FILE, Need, Preference, Problem, Requirements, Resource, Runtime, Step,
};
use proptest::prelude::*;

const FULL: &str = r#"name = "hello-make"
builder = "gcc"
tasks = 40
expires = "3d"

[requirements]
os = "linux"
arch = "x86_64"
cores = 2
memory = "256 MiB"
runtimes = ["native"]

[requirements.tools]
make = ">=4"
"g++" = "*"

[package]
path = "../src"
exclude = ["*.o", ".git"]

[environment]
CFLAGS = "-O2"

[[step]]
name = "build"
run = ["make", "-j1"]

[[step]]
name = "test"
run = "make && make check"
shell = true

[limits]
wall = "2m"
memory = "512 MiB"
disk = 268435456
output = "2 MiB"
processes = 64

[results]
artifacts = ["out/*.txt"]
tap = "test"
"#;

const SMALL: &str = r#"name = "small"
requirements.runtimes = ["native"]
[[step]]
name = "build"
run = ["make"]
"#;

#[test]
fn a_job_can_say_how_long_it_may_be_out_of_reach_and_how_urgent_it_is() {
    let job = |first: &str| JobFile::parse(&format!("{first}\n{FULL}"));
    let file = job("offline = \"36h\"\npriority = 9").expect("sound");
    assert_eq!((file.offline, file.priority), (Duration::from_hours(36), 9));
    let error = job("priority = 10").expect_err("too urgent");
    assert_eq!(error.to_string(), "1:12: priority: 10 is not between 0 and 9");
    let error = job("offline = \"31d\"").expect_err("too long");
    assert_eq!(error.to_string(), "1:11: offline: it must be above zero and at most 30days");
}

#[test]
fn a_job_says_what_it_reaches_and_then_needs_a_machine_that_lets_it() {
    let job = |first: &str| JobFile::parse(&format!("{first}\n{FULL}"));
    let file = job("network = [\"Deb.Debian.org:80\", \"*.crates.io\"]").expect("sound");
    let listed: Vec<_> = file.job.network.iter().map(ToString::to_string).collect();
    assert_eq!(listed, ["deb.debian.org:80", "*.crates.io:443"]);
    assert_eq!(file.requirements.clauses.last(), Some(&Destination::required()));
    assert_sound(&file);
    let none = job("network = []").expect("sound");
    assert_eq!(none, JobFile::parse(FULL).expect("sound"));

    let error = |first: &str| job(first).expect_err(first).to_string();
    assert_eq!(
        error("network = \"a.example\""),
        "1:11: network must be an array in brackets, this is of type string"
    );
    assert_eq!(
        error("network = [\"a.example\", \"https://a.example\"]"),
        "1:25: network[1]: the port of \"https://a.example\" is not a number of 1 to 65535"
    );
    assert_eq!(
        error("network = [\"127.1\"]"),
        "1:12: network[0]: \"127.1\" is no host, as in deb.debian.org:443, *.crates.io:443, 9.9.9.9:853 or \
         [2620:fe::fe]:853"
    );
    assert_eq!(
        error("network = [\"a.example\", \"a.example:443\"]"),
        "1:11: network: a.example:443 is there already"
    );
    let wasm = SMALL_WASM.replacen('\n', "\nnetwork = [\"a.example\"]\n", 1);
    let error = JobFile::parse(&wasm).expect_err("no network there");
    assert_eq!(
        error.to_string(),
        "2:11: network: only the native runtime has a network; write runtimes = [\"native\"]"
    );
}

const SMALL_WASM: &str = r#"name = "sieve"
[requirements]
runtimes = ["native", "wasm"]
[[step]]
name = "run"
run = ["sieve.wasm"]
"#;

#[test]
fn every_field_becomes_a_typed_value() {
    let file = JobFile::parse(FULL).expect("the file is right");
    assert_eq!((file.name.as_str(), file.builder.as_str(), file.tasks), ("hello-make", "gcc", 40));
    assert_eq!(file.expires, Duration::from_hours(3 * 24));
    assert_eq!(file.package.path, Path::new("../src"));
    assert_eq!(
        file.job,
        JobSpec {
            environment: [("CFLAGS".to_owned(), "-O2".to_owned())].into(),
            steps: vec![
                step("build", &["make", "-j1"]),
                step("test", &["/bin/sh", "-c", "make && make check"]),
            ],
            limits: Limits {
                wall_ms: 120_000,
                memory: 512 << 20,
                disk: 256 << 20,
                output: 2 << 20,
                processes: 64,
                fuel: None,
            },
            artifacts: vec!["out/*.txt".to_owned()],
            tap: Some("test".to_owned()),
            network: Vec::new(),
            image: None,
            checkpoint: None,
        }
    );
    assert_eq!(file.requirements.runtimes, [Runtime::Native]);
    assert_eq!(
        file.requirements.clauses,
        [
            Clause::Donates { resource: Resource::Cores, amount: 2 },
            Clause::Donates { resource: Resource::Memory, amount: 256 << 20 },
            Clause::Donates { resource: Resource::Disk, amount: 256 << 20 },
            Clause::Equals { fact: name("os"), value: Fact::from("linux") },
            Clause::Equals { fact: name("arch"), value: Fact::from("x86_64") },
            Clause::Present { fact: name("tool.g++") },
            Clause::Version {
                fact: name("tool.make"),
                range: ">=4".parse().expect("a range of versions")
            },
        ]
    );
    assert_sound(&file);
}

#[test]
fn alternatives_exclusions_and_preferences_become_clauses() {
    let file = format!(
        r#"{SMALL}
[requirements]
runtimes = ["native"]
cpu = ["avx2", "aes"]
any = [{{ tools.gcc = ">=10" }}, {{ tools.clang = "*", os = "linux" }}]
not = [{{ facts.distribution = ["alpine", "void"] }}]
all = [{{ any = [{{ cores = 8 }}, {{ memory = "32 GiB" }}] }}]

[requirements.facts]
kernel = ">=5.14"
"cpu.level" = {{ at-least = 2, at-most = 3 }}
"check.abcdefgh234567ab.gpu" = true
label = "*"

[[prefer]]
weight = 10
tools.ccache = "*"

[[prefer]]
more = "cpu.level"
enough = 4
"#
    )
    .replacen("requirements.runtimes = [\"native\"]\n", "", 1);
    // Tables come behind the steps, which belong to no table.
    let file = JobFile::parse(&file).unwrap_or_else(|error| panic!("{error}"));
    let version = |fact: &str, range: &str| Clause::Version {
        fact: name(fact),
        range: range.parse().expect("a range"),
    };
    let level = name("cpu.level");
    assert_eq!(
        file.requirements.clauses[3..],
        [
            Clause::Includes {
                fact: name("cpu.features"),
                words: ["aes".to_owned(), "avx2".to_owned()].into()
            },
            Clause::Equals { fact: name("check.abcdefgh234567ab.gpu"), value: true.into() },
            Clause::All(vec![
                Clause::AtLeast { fact: level.clone(), amount: 2 },
                Clause::AtMost { fact: level.clone(), amount: 3 },
            ]),
            version("kernel", ">=5.14"),
            Clause::Present { fact: name("label") },
            Clause::Any(vec![
                Clause::Donates { resource: Resource::Cores, amount: 8 },
                Clause::Donates { resource: Resource::Memory, amount: 32 << 30 },
            ]),
            Clause::Any(vec![
                version("tool.gcc", ">=10"),
                Clause::All(vec![
                    Clause::Equals { fact: name("os"), value: "linux".into() },
                    Clause::Present { fact: name("tool.clang") },
                ]),
            ]),
            Clause::Not(Box::new(Clause::OneOf {
                fact: name("distribution"),
                values: vec!["alpine".into(), "void".into()]
            })),
        ]
    );
    assert_eq!(
        file.requirements.rank,
        [
            Preference::Holds { weight: 10, clause: Clause::Present { fact: name("tool.ccache") } },
            Preference::More { weight: 1, fact: level, enough: 4 },
        ]
    );
    assert_sound(&file);
}

proptest! {
    #[test]
    fn what_a_job_file_requires_can_be_written_as_a_line_of_one(clause in sayable()) {
        let line = clause.in_job_file();
        let file = SMALL.replacen("[[step]]", &format!("{line}\n[[step]]"), 1);
        let read = JobFile::parse(&file).unwrap_or_else(|error| panic!("{line}: {error}"));
        let read: Vec<_> = read.requirements.clauses[3..].iter().map(in_order).collect();
        prop_assert_eq!(read, [in_order(&clause)], "{}", line);
    }
}

/// Clauses that job files can say.
fn sayable() -> impl Strategy<Value = Clause> {
    let present = |fact: &str| Clause::Present { fact: name(fact) };
    let version = |fact: &str, range: &str| Clause::Version {
        fact: name(fact),
        range: range.parse().expect("a range"),
    };
    let equals = |fact: &str, value: Fact| Clause::Equals { fact: name(fact), value };
    let words = |fact: &str, words: &[&str]| Clause::Includes {
        fact: name(fact),
        words: words.iter().map(|word| (*word).to_owned()).collect(),
    };
    let at_least = |fact: &str, amount| Clause::AtLeast { fact: name(fact), amount };
    let at_most = |fact: &str, amount| Clause::AtMost { fact: name(fact), amount };
    let between =
        |fact: &str, low, high| Clause::All(vec![at_least(fact, low), at_most(fact, high)]);
    let leaf = prop::sample::select(vec![
        equals("os", "linux".into()),
        equals("label", "the \"big\" C:\\ one".into()),
        equals("check.abcdefgh234567ab.gpu", false.into()),
        Clause::OneOf { fact: name("os"), values: vec!["linux".into(), "macos".into()] },
        words("cpu.features", &["avx2", "aes"]),
        words("labels", &["lab"]),
        version("tool.cmake", ">=3.22, <4"),
        version("tool.cmake", "^3"),
        version("tool.g++", "=12.2.0"),
        version("library.zlib", "~1.3"),
        present("tool.cmake"),
        present("tool.cmkae"),
        present("label"),
        at_least("cpu.level", 3),
        at_most("machine.memory", (2 << 30) - 1),
        at_least("machine.memory", 2 << 30),
        between("machine.memory", 1 << 30, 2 << 30),
        between("cpu.level", 2, 3),
    ]);
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Clause::All),
            prop::collection::vec(inner.clone(), 1..3).prop_map(Clause::Any),
            inner.prop_map(|clause| Clause::Not(Box::new(clause))),
        ]
    })
}

/// The same, whatever the order of a group: a table has its fields in one of its own.
fn in_order(clause: &Clause) -> Clause {
    let sorted = |clauses: &[Clause]| {
        let mut clauses: Vec<_> = clauses.iter().map(in_order).collect();
        clauses.sort_by_cached_key(|clause| format!("{clause:?}"));
        clauses
    };
    match clause {
        Clause::All(clauses) => Clause::All(sorted(clauses)),
        Clause::Any(clauses) => Clause::Any(sorted(clauses)),
        Clause::Not(clause) => Clause::Not(Box::new(in_order(clause))),
        other => other.clone(),
    }
}

#[test]
fn donations_are_fields_of_their_own() {
    let donates = |resource, amount| Clause::Donates { resource, amount }.in_job_file();
    assert_eq!(donates(Resource::Cores, 2), "requirements.cores = 2");
    assert_eq!(donates(Resource::Memory, 3 << 29), "requirements.memory = \"1536 MiB\"");
    // 1 GiB less a byte has no unit that would be exact.
    assert_eq!(donates(Resource::Disk, (1 << 30) - 1), "limits.disk = 1073741823");
    let runtimes = Need::Runtimes(vec![Runtime::Native, Runtime::Wasm]);
    assert_eq!(runtimes.in_job_file(), "requirements.runtimes = [\"native\", \"wasm\"]");
}

#[test]
fn what_is_left_out_has_a_default() {
    let file = JobFile::parse(SMALL).expect("the file is right");
    assert_eq!((file.builder.as_str(), file.tasks), ("small", 1));
    assert_eq!(file.expires, Duration::from_hours(7 * 24));
    assert_eq!((file.offline, file.priority), (Duration::ZERO, 5));
    assert_eq!(file.package.path, Path::new("."));
    assert_eq!(file.job.limits, Limits::default());
    assert_eq!(file.job.limits.wall(), Duration::from_mins(10));
    let memory = Clause::Donates { resource: Resource::Memory, amount: 1 << 30 };
    assert!(file.requirements.clauses.contains(&memory), "memory follows the limit");
    assert_sound(&file);
}

#[test]
fn problems_of_others_words_are_told_with_their_place_too() {
    let syntax = JobFile::parse("name = \"a\"\nbuilder = \n").expect_err("no value");
    assert_eq!((syntax.line, syntax.column), (2, 11), "{syntax}");
    assert!(matches!(*syntax.problem, Problem::Syntax(_)));

    let twice = JobFile::parse("name = \"a\"\nname = \"b\"\n").expect_err("a name twice");
    assert_eq!(
        (twice.line, twice.column, twice.to_string().as_str()),
        (2, 1, "2:1: duplicate key")
    );

    let range = FULL.replace("\">=4\"", "\">=4 <6\"");
    let range = JobFile::parse(&range).expect_err("no comma");
    assert_eq!((range.line, range.column), (14, 8));
    assert_eq!(range.field, "requirements.tools.make");
    assert!(range.to_string().ends_with("; write for example \">=4, <6\" or \"*\""), "{range}");

    let pattern = FULL.replace("\"*.o\"", "\"[\"");
    let pattern = JobFile::parse(&pattern).expect_err("an open class");
    assert_eq!((pattern.line, pattern.field.as_str()), (19, "package.exclude[0]"));
}

#[test]
fn the_column_counts_characters() {
    let error = JobFile::parse("# ääkköset\n\"ä\" = 1\n").expect_err("no such field");
    assert_eq!((error.line, error.column), (2, 1));
    let error = JobFile::parse("environment = { A = \"ä\", B = 1 }\n").expect_err("no name");
    assert_eq!(error.field, "name");
    let text = format!("environment = {{ A = \"ä\", B = 1 }}\n{SMALL}");
    let error = JobFile::parse(&text).expect_err("a number");
    assert_eq!((error.line, error.column), (1, 30));
}

#[test]
fn names_of_secrets_are_refused_and_their_neighbours_are_not() {
    let check = |name: &str, refused: bool| {
        let text = FULL.replace("CFLAGS", name);
        let result = JobFile::parse(&text);
        assert_eq!(result.is_err(), refused, "{name}: {result:?}");
        if let Err(error) = result {
            assert!(error.to_string().contains("looks like a secret"), "{error}");
        }
    };
    for name in [
        "GITHUB_TOKEN",
        "NPM_AUTH_TOKEN",
        "githubtoken",
        "AWS_SECRET_ACCESS_KEY",
        "DB_PASSWORD",
        "API_KEY",
        "APIKEY",
        "SIGNING_KEYS",
        "GPG_PASSPHRASE",
        "MY_CREDENTIALS",
        "GH_PAT",
    ] {
        check(name, true);
    }
    for name in
        ["CC", "KEYBOARD_LAYOUT", "PATH_PREFIX", "MONKEYS", "TOKENIZERS_PARALLELISM", "AUTHORS"]
    {
        check(name, false);
    }
}

#[test]
fn too_much_of_anything_is_refused() {
    let long = format!("{SMALL}#{}", "x".repeat(MAX_JOB_FILE));
    let error = JobFile::parse(&long).expect_err("too long");
    assert_eq!(*error.problem, Problem::TooLong(long.len()));

    let steps: String =
        (0..64).map(|n| format!("[[step]]\nname = \"s{n}\"\nrun = [\"x\"]\n")).collect();
    let error = JobFile::parse(&format!("{SMALL}{steps}")).expect_err("65 steps");
    assert_eq!(error.to_string(), "3:1: step: 65 steps, 1 to 64 are allowed");

    let tools: String = (0..62).map(|n| format!("t{n} = \"*\"\n")).collect();
    let error =
        JobFile::parse(&format!("{SMALL}[requirements.tools]\n{tools}")).expect_err("tools");
    assert_eq!(
        error.to_string(),
        "2:1: requirements: 65 clauses, those of preferences included, at most 64 are allowed"
    );
    let tools: String = (0..65).map(|n| format!("t{n} = \"*\"\n")).collect();
    let error =
        JobFile::parse(&format!("{SMALL}[requirements.tools]\n{tools}")).expect_err("tools");
    assert_eq!(error.to_string(), "6:1: requirements.tools: at most 64 can be required");

    let nested = format!("name = {}{}", "[".repeat(10_000), "]".repeat(10_000));
    let error = JobFile::parse(&nested).expect_err("nested too deep");
    assert!(matches!(*error.problem, Problem::Syntax(_)), "{error}");
}

#[test]
fn a_pattern_without_a_slash_excludes_at_any_depth() {
    let file = JobFile::parse(FULL).expect("the file is right");
    let globs = file.package.exclude_globs().expect("patterns were checked");
    for (path, excluded) in [
        ("a.o", true),
        ("deep/er/a.o", true),
        (".git", true),
        ("vendor/.git", true),
        ("a.c", false),
        (".gitignore", false),
    ] {
        assert_eq!(globs.matches(path), excluded, "{path}");
    }
}

#[test]
fn whatever_patterns_a_job_may_have_can_be_matched() {
    for pattern in ["*", "?", "*?", "**/", "[!a]", "{*,?}", "é*"] {
        let patterns = vec![pattern.repeat(256 / pattern.len()); 64];
        Globs::new(&patterns).unwrap_or_else(|error| panic!("64 of {pattern}: {error}"));
    }
}

#[test]
fn a_wasm_job_runs_modules() {
    let text = SMALL.replace("native", "wasm").replace("\"make\"", "\"bin/test.wasm\"");
    let file = JobFile::parse(&text).expect("the file is right");
    assert_eq!(file.requirements.runtimes, [Runtime::Wasm]);
}

#[test]
fn a_job_from_the_network_is_held_to_its_limits() {
    let good = JobFile::parse(FULL).expect("the file is right").job;
    let check = |change: fn(&mut JobSpec), expected: JobSpecError| {
        let mut job = good.clone();
        change(&mut job);
        assert_eq!(job.validate(), Err(expected));
        let bytes = capability::encode_cbor(&job);
        let decoded = capability::decode_cbor::<JobSpec>(&bytes, 1 << 20);
        assert_eq!(decoded.expect_err("it is refused").rule(), "S44");
    };
    check(|job| job.steps.clear(), JobSpecError::StepCount(0));
    check(|job| job.steps[0].run.clear(), JobSpecError::ArgumentCount(0));
    check(|job| job.steps[0].run[0].clear(), JobSpecError::NoProgram);
    check(|job| job.steps[1].run[2] = "x".repeat(8193), JobSpecError::Argument(8193));
    check(|job| job.steps[1].run[2] = "\0".into(), JobSpecError::Argument(1));
    check(|job| job.steps[0].name = "../x".into(), JobSpecError::Name("../x".into()));
    check(|job| job.steps[0].name = "test".into(), JobSpecError::DuplicateStep("test".into()));
    check(|job| job.tap = Some("no".into()), JobSpecError::TapStep("no".into()));
    check(
        |job| job.limits.wall_ms = 0,
        JobSpecError::Limit { limit: "wall-ms", value: 0, max: 86_400_000 },
    );
    check(
        |job| job.limits.output = u64::MAX,
        JobSpecError::Limit { limit: "output", value: u64::MAX, max: 16 << 20 },
    );
    check(
        |job| drop(job.environment.insert("LD=X".into(), String::new())),
        JobSpecError::VariableName("LD=X".into()),
    );
    check(
        |job| drop(job.environment.insert("TALKOOT_X".into(), String::new())),
        JobSpecError::ReservedVariable("TALKOOT_X".into()),
    );
    check(
        |job| job.artifacts = vec!["../../etc/*".into()],
        JobSpecError::Pattern {
            pattern: "../../etc/*".into(),
            reason: "it must not lead out by \"..\"".into(),
        },
    );
    check(|job| job.artifacts = vec!["a".into(); 65], JobSpecError::PatternCount(65));
}

/// What the parser accepts is what peers accept, and travels unchanged.
fn assert_sound(file: &JobFile) {
    assert_eq!(file.job.validate(), Ok(()));
    assert_eq!(file.requirements.validate(), Ok(()));
    let bytes = capability::encode_cbor(&file.job);
    assert_eq!(capability::decode_cbor::<JobSpec>(&bytes, 1 << 16).expect("sound"), file.job);
    let bytes = capability::encode_cbor(&file.requirements);
    let requirements = capability::decode_cbor::<Requirements>(&bytes, 1 << 16).expect("sound");
    assert_eq!(requirements, file.requirements);
}

fn step(name: &str, run: &[&str]) -> Step {
    Step { name: name.to_owned(), run: run.iter().map(|word| (*word).to_owned()).collect() }
}

fn name(name: &str) -> capability::FactName {
    name.parse().expect("the name of a fact")
}

#[test]
fn a_private_job_names_its_volunteers() {
    let keys =
        [1, 2].map(|n| capability::Signer::public(&capability::SecretKey::from_seed(&[n; 32])));
    let file = |head: &str| {
        let text = format!(
            "name = \"x\"\n{head}\n[requirements]\nruntimes = [\"native\"]\n[[step]]\n\
             name = \"a\"\nrun = [\"true\"]\n"
        );
        JobFile::parse(&text).map(|file| file.private).map_err(|error| error.to_string())
    };
    let named = format!("volunteers = [\"{}\", \"{}\"]", keys[0], keys[1]);
    assert_eq!(file(&format!("private = true\n{named}")), Ok(keys.to_vec()));
    assert_eq!(file(""), Ok(Vec::new()));
    for (head, complaint) in [
        ("private = true".to_owned(), "volunteers is missing"),
        (named, "write private = true"),
        ("private = true\nvolunteers = []".to_owned(), "1 to 64"),
        (format!("private = true\nvolunteers = [\"{0}\", \"{0}\"]", keys[0]), "there already"),
        ("private = true\nvolunteers = [\"someone\"]".to_owned(), "is not a key"),
    ] {
        let error = file(&head).expect_err(complaint);
        assert!(error.contains(complaint), "{error}");
    }
}

#[test]
fn amounts_of_bytes_and_tools_of_somebodys_own_can_be_required() {
    let text = "name = \"j\"\n[[step]]\nname = \"s\"\nrun = [\"a\"]\n[requirements]\n\
                runtimes = [\"native\"]\ntools.gdc = \"*\"\n\
                facts.\"tool.cmkae\" = \"*\"\nfacts.\"library.zlib\" = \">=1.2\"\n\
                facts.\"donated.memory\" = { at-least = \"2 GiB\" }\n\
                [[prefer]]\nmore = \"donated.memory\"\nenough = \"64 GiB\"\n";
    let job = JobFile::parse(text).expect(text);
    let memory =
        Clause::AtLeast { fact: "donated.memory".parse().expect("a name"), amount: 2 << 30 };
    assert!(job.requirements.clauses.contains(&memory), "{:?}", job.requirements.clauses);
    assert_eq!(job.requirements.clauses.len(), 7);
    assert!(
        matches!(job.requirements.rank[..], [Preference::More { enough, .. }] if enough == 64 << 30)
    );
}

#[test]
fn a_job_that_keeps_checkpoints_and_is_metered_says_so() {
    let text = r#"
        name = "long"
        checkpoint = { every = "10m", size = "8 MiB" }
        [requirements]
        runtimes = ["wasm"]
        [limits]
        fuel = 5_000_000_000
        [[step]]
        name = "count"
        run = ["count.wasm"]
    "#;
    let job = JobFile::parse(text).expect("the file is right").job;
    assert_eq!(job.checkpoint, Some(Checkpoint { every_ms: 600_000, size: 8 << 20 }));
    assert_eq!(job.limits.fuel, Some(5_000_000_000));
    let usual = JobFile::parse(&text.replace(", size = \"8 MiB\"", "")).expect("right").job;
    assert_eq!(usual.checkpoint.map(|it| it.size), Some(64 << 20));
}

#[test]
fn checkpoints_and_fuel_that_cannot_be_are_told_with_their_line() {
    let file = |checkpoint: &str, runtimes: &str, limits: &str| {
        let text = format!(
            "name = \"long\"\ncheckpoint = {checkpoint}\n[requirements]\nruntimes = {runtimes}\n\
             [limits]\n{limits}\n[[step]]\nname = \"count\"\nrun = [\"count.wasm\"]\n"
        );
        JobFile::parse(&text).expect_err("it is wrong").to_string()
    };
    let good = "{ every = \"10m\" }";
    let wasm = "[\"wasm\"]";
    for (checkpoint, runtimes, limits, expected) in [
        (
            "{}",
            wasm,
            "",
            "2:14: checkpoint.every is missing; write for example checkpoint = { every = \"10m\" }",
        ),
        ("{ every = \"1s\" }", wasm, "", "2:24: checkpoint.every: it must be at least 10s"),
        (
            "{ every = \"10m\", files = [] }",
            wasm,
            "",
            "2:31: unknown field \"files\"; known are every, size",
        ),
        (
            good,
            wasm,
            "disk = \"128 MiB\"",
            "2:14: checkpoint: two checkpoints of 64 MiB leave nothing of limits.disk, 128 MiB; lower its size, or raise limits.disk",
        ),
        (good, wasm, "fuel = 0", "6:8: limits.fuel: it must be 1 to 9223372036854775807"),
        (
            good,
            "[\"wasm\", \"native\"]",
            "fuel = 1",
            "6:8: limits.fuel: nobody meters the fuel of native; write requirements.runtimes = [\"wasm\"], or leave it out",
        ),
    ] {
        assert_eq!(file(checkpoint, runtimes, limits), expected);
    }
}
