//! What a maintainer writes, and what is said about their mistakes.

use std::path::Path;
use std::time::Duration;

use capability::{
    Clause, Fact, JobFile, JobSpec, JobSpecError, Limits, MAX_JOB_FILE, Need, Preference, Problem,
    Requirements, Resource, Runtime, Step,
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
            },
            artifacts: vec!["out/*.txt".to_owned()],
            tap: Some("test".to_owned()),
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
fn a_mistake_in_a_need_is_told_with_its_place() {
    const BASE: &str = "name = \"small\"\n[[step]]\nname = \"build\"\nrun = [\"make\"]\n\
                        [requirements]\nruntimes = [\"native\"]\n";
    let need = |needs: &str, expected: &str| {
        let error = JobFile::parse(&format!("{BASE}{needs}\n")).expect_err(needs);
        assert_eq!(error.to_string(), expected);
    };
    need("cpu = [\"avx3\"]", "7:8: requirements.cpu[0] cannot be \"avx3\"; did you mean \"avx\"?");
    need(
        "cpu = [\"sse4_1\"]",
        "7:8: requirements.cpu[0] cannot be \"sse4_1\"; did you mean \"sse4.1\"?",
    );
    need(
        "facts.kernal = \">=5\"",
        "7:7: requirements.facts.kernal: no volunteer states a fact \"kernal\"; did you mean \"kernel\"?",
    );
    need(
        "tools.cmkae = \"*\"",
        "7:7: requirements.tools.cmkae: no volunteer looks for it by itself; did you mean \"cmake\"? \
         if not, require facts.\"tool.cmkae\", and ask owners to add the tool",
    );
    need(
        "facts.\"donated.memory\" = { at-least = \"2 parsecs\" }",
        "7:39: requirements.facts.donated.memory.at-least: \"2 parsecs\" is not an amount of bytes; \
         write for example \"512 MiB\" or \"2 GB\"",
    );
    need(
        "facts.\"cpu.level\" = { at-least = \"2 GiB\" }",
        "7:34: requirements.facts.cpu.level.at-least must be a whole number, this is of type string",
    );
    need(
        "facts.\"cpu.level\" = 2",
        "7:21: requirements.facts.cpu.level: write for example { at-least = 3 }",
    );
    need(
        "any = []",
        "7:7: requirements.any: it is empty; write for example [{ tools.gcc = \">=10\" }]",
    );
    need(
        "any = [{}]",
        "7:8: requirements.any[0]: it requires nothing; write for example { tools.gcc = \">=10\" }",
    );
    need(
        "not = [{ runtimes = [\"wasm\"] }]",
        "7:10: unknown field \"runtimes\"; known are os, arch, cores, memory, cpu, tools, facts, all, any, not",
    );
    need(
        "any = [{any = [{any = [{any = [{any = [{os = \"linux\"}]}]}]}]}]",
        "7:39: requirements.any[0].any[0].any[0].any[0].any: groups are nested over 4 deep",
    );
    need("[[prefer]]\nmore = \"os\"\nenough = 3", "8:8: prefer[0].more: \"os\" is no number");
    need(
        "[[prefer]]\nweight = 5",
        "7:1: prefer[0]: a preference is { more = \"cpu.level\", enough = 4 }, { less = \"cpu.level\", bearable = 4 }, or what could be required, such as { tools.gcc = \">=10\" }",
    );
    need(
        "[[prefer]]\nweight = 0\nos = \"linux\"",
        "8:10: prefer[0].weight: 0 is not between 1 and 1000",
    );
}

#[test]
fn what_is_left_out_has_a_default() {
    let file = JobFile::parse(SMALL).expect("the file is right");
    assert_eq!((file.builder.as_str(), file.tasks), ("small", 1));
    assert_eq!(file.expires, Duration::from_hours(7 * 24));
    assert_eq!(file.package.path, Path::new("."));
    assert_eq!(file.job.limits, Limits::default());
    assert_eq!(file.job.limits.wall(), Duration::from_mins(10));
    let memory = Clause::Donates { resource: Resource::Memory, amount: 1 << 30 };
    assert!(file.requirements.clauses.contains(&memory), "memory follows the limit");
    assert_sound(&file);
}

#[test]
fn a_mistake_in_a_field_is_told_with_its_place() {
    // What is put into the full file in place of what, and what is said.
    let check = |old: &str, new: &str, expected: &str| {
        assert_eq!(FULL.matches(old).count(), 1, "{old:?} is no single place of the file");
        let error = JobFile::parse(&FULL.replace(old, new)).expect_err(new);
        assert_eq!(error.to_string(), expected, "{new}");
    };

    // Names of fields.
    check(
        "[requirements]",
        "[requirments]",
        "6:2: unknown field \"requirments\"; did you mean \"requirements\"?",
    );
    check("cores", "core", "9:1: unknown field \"core\"; did you mean \"cores\"?");
    check("wall", "Wall", "34:1: unknown field \"Wall\"; did you mean \"wall\"?");
    check(
        "wall",
        "timeout",
        "34:1: unknown field \"timeout\"; known are wall, memory, disk, output, processes",
    );
    check("shell", "shel", "31:1: unknown field \"shel\"; did you mean \"shell\"?");

    // Fields that must be there.
    check(
        "name = \"hello-make\"",
        "",
        "1:1: name is missing; write for example name = \"hello-make\"",
    );
    check(
        "runtimes = [\"native\"]",
        "",
        "6:1: requirements.runtimes is missing; write for example runtimes = [\"native\"]",
    );
    check(
        "run = [\"make\", \"-j1\"]",
        "",
        "24:1: step[0].run is missing; write for example run = [\"make\", \"-j1\"]",
    );

    // Types.
    check("\"hello-make\"", "7", "1:8: name must be text in quotes, this is of type integer");
    check(
        "tasks = 40",
        "tasks = \"40\"",
        "3:9: tasks must be a whole number, this is of type string",
    );
    check(
        "runtimes = [\"native\"]",
        "runtimes = \"native\"",
        "11:12: requirements.runtimes must be an array in brackets, this is of type string",
    );
    check(
        "shell = true",
        "shell = 1",
        "31:9: step[1].shell must be true or false, this is of type integer",
    );
    check(
        "disk = 268435456",
        "disk = 0.5",
        "36:8: limits.disk must be an amount such as \"512 MiB\", this is of type float",
    );
    check(
        "\"-O2\"",
        "2",
        "22:10: environment.CFLAGS must be text in quotes, this is of type integer",
    );

    // Words.
    check(
        "[\"native\"]",
        "[\"nativ\"]",
        "11:13: requirements.runtimes[0] cannot be \"nativ\"; did you mean \"native\"?",
    );
    check(
        "[\"native\"]",
        "[\"docker\"]",
        "11:13: requirements.runtimes[0] cannot be \"docker\"; known are native, wasm",
    );
    check("[\"native\"]", "[]", "11:12: requirements.runtimes: name at least one of native, wasm");
    check(
        "[\"native\"]",
        "[\"native\", \"native\"]",
        "11:23: requirements.runtimes[1]: native is there already",
    );
    check(
        "\"linux\"",
        "\"Darwin\"",
        "7:6: requirements.os cannot be \"Darwin\"; did you mean \"macos\"?",
    );
    check(
        "\"x86_64\"",
        "\"amd64\"",
        "8:8: requirements.arch cannot be \"amd64\"; did you mean \"x86_64\"?",
    );
    check(
        "tap = \"test\"",
        "tap = \"tests\"",
        "42:7: results.tap cannot be \"tests\"; did you mean \"test\"?",
    );

    // Amounts.
    check("tasks = 40", "tasks = 0", "3:9: tasks: 0 is not between 1 and 100000");
    check("tasks = 40", "tasks = 100_001", "3:9: tasks: 100001 is not between 1 and 100000");
    check(
        "cores = 2",
        "cores = -1",
        "9:9: requirements.cores: -1 is not between 1 and 4294967295",
    );
    check("\"3d\"", "\"31d\"", "4:11: expires: it must be above zero and at most 30days");
    check("\"3d\"", "\"0s\"", "4:11: expires: it must be above zero and at most 30days");
    check(
        "\"2m\"",
        "\"2 minuets\"",
        "34:8: limits.wall: \"2 minuets\" is not a duration; write for example \"90s\", \"2m\" or \"1h 30m\"",
    );
    check("\"2m\"", "\"25h\"", "34:8: limits.wall: it must be above zero and at most 1day");
    check("\"2m\"", "\"5us\"", "34:8: limits.wall: it must be above zero and at most 1day");
    check(
        "\"512 MiB\"",
        "\"512 MB!\"",
        "35:10: limits.memory: \"512 MB!\" is not an amount of bytes; write for example \"512 MiB\" or \"2 GB\"",
    );
    check("\"512 MiB\"", "0", "35:10: limits.memory: it must be above zero");
    check("\"2 MiB\"", "\"17 MiB\"", "37:10: limits.output: it must be at most 16 MiB");
    check(
        "processes = 64",
        "processes = 65537",
        "38:13: limits.processes: 65537 is not between 1 and 65536",
    );

    // Tools.
    check(
        "\"g++\"",
        "\"G++\"",
        "15:1: requirements.tools.G++: fact name \"tool.G++\" is not 1 to 64 characters of a-z, 0-9, dot, plus, hyphen and underscore",
    );

    // Paths and patterns.
    check(
        "\"../src\"",
        "\"/src\"",
        "18:8: package.path: \"/src\" must be relative to the job file",
    );
    check("\"../src\"", "\"\"", "18:8: package.path: \"\" is not a directory");
    check(
        "\"out/*.txt\"",
        "\"/out/*.txt\"",
        "41:14: results.artifacts[0]: \"/out/*.txt\" is not a pattern: it must be relative",
    );
    check(
        "\"out/*.txt\"",
        "\"a/../../b\"",
        "41:14: results.artifacts[0]: \"a/../../b\" is not a pattern: it must not lead out by \"..\"",
    );

    // Steps.
    check(
        "\"build\"",
        "\"Build it\"",
        "25:8: step[0].name: \"Build it\" is not a name of 1 to 64 characters of a-z, 0-9, dot, hyphen and underscore",
    );
    check(
        "name = \"build\"",
        "name = \"test\"",
        "29:8: step[1].name: two steps are called \"test\"",
    );
    check(
        "[\"make\", \"-j1\"]",
        "[]",
        "26:7: step[0].run: step has 0 arguments, 1 to 256 are allowed, the program included",
    );
    check("[\"make\", \"-j1\"]", "[\"\"]", "26:7: step[0].run: the program of a step is empty");
    check(
        "[\"make\", \"-j1\"]",
        "\"make -j1\"",
        "26:7: step[0].run: a text is split by no shell; write [\"make\", \"-j1\"], or add shell = true to give it to /bin/sh",
    );
    check(
        "\"make && make check\"",
        "[\"make\"]",
        "30:7: step[1].run: with shell = true it is one text, such as \"make && make check\"",
    );
    check(
        "[\"native\"]",
        "[\"native\", \"wasm\"]",
        "26:7: step[0].run: the wasm runtime cannot run \"make\", only a .wasm file of the package",
    );

    // Environment.
    check(
        "CFLAGS",
        "TALKOOT_TASK_INDEX",
        "22:1: environment.TALKOOT_TASK_INDEX: environment variable \"TALKOOT_TASK_INDEX\" is reserved; those that begin with TALKOOT_ are set for the job",
    );
    check(
        "CFLAGS",
        "\"C FLAGS\"",
        "22:1: environment.C FLAGS: \"C FLAGS\" cannot name an environment variable; use letters, digits and underscore",
    );
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
