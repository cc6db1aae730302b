//! A mistake is told with its place, and with what would be right.

use capability::{ImageSource, JobFile};

use super::FULL;

/// What is put into the full file in place of what, and what is said of it.
type Mistake = (&'static str, &'static str, &'static str);

#[track_caller]
fn told<const N: usize>(mistakes: [Mistake; N]) {
    for (right, wrong, expected) in mistakes {
        assert_eq!(FULL.matches(right).count(), 1, "{right:?} is no single place of the file");
        let error = JobFile::parse(&FULL.replace(right, wrong)).expect_err(wrong);
        assert_eq!(error.to_string(), expected, "{wrong}");
    }
}

#[test]
fn a_wrong_name_of_a_field_is_told_with_the_nearest() {
    told([
        (
            "[requirements]",
            "[requirments]",
            "6:2: unknown field \"requirments\"; did you mean \"requirements\"?",
        ),
        ("cores", "core", "9:1: unknown field \"core\"; did you mean \"cores\"?"),
        ("wall", "Wall", "34:1: unknown field \"Wall\"; did you mean \"wall\"?"),
        (
            "wall",
            "timeout",
            "34:1: unknown field \"timeout\"; known are wall, memory, disk, output, processes, fuel",
        ),
        ("shell", "shel", "31:1: unknown field \"shel\"; did you mean \"shell\"?"),
    ]);
}

#[test]
fn a_field_that_must_be_there_is_asked_for() {
    told([
        (
            "name = \"hello-make\"",
            "",
            "1:1: name is missing; write for example name = \"hello-make\"",
        ),
        (
            "runtimes = [\"native\"]",
            "",
            "6:1: requirements.runtimes is missing; write for example runtimes = [\"native\"]",
        ),
        (
            "run = [\"make\", \"-j1\"]",
            "",
            "24:1: step[0].run is missing; write for example run = [\"make\", \"-j1\"]",
        ),
    ]);
}

#[test]
fn a_value_of_a_wrong_type_is_told_with_the_right_one() {
    told([
        ("\"hello-make\"", "7", "1:8: name must be text in quotes, this is of type integer"),
        (
            "tasks = 40",
            "tasks = \"40\"",
            "3:9: tasks must be a whole number, this is of type string",
        ),
        (
            "runtimes = [\"native\"]",
            "runtimes = \"native\"",
            "11:12: requirements.runtimes must be an array in brackets, this is of type string",
        ),
        (
            "shell = true",
            "shell = 1",
            "31:9: step[1].shell must be true or false, this is of type integer",
        ),
        (
            "disk = 268435456",
            "disk = 0.5",
            "36:8: limits.disk must be an amount such as \"512 MiB\", this is of type float",
        ),
        (
            "\"-O2\"",
            "2",
            "22:10: environment.CFLAGS must be text in quotes, this is of type integer",
        ),
    ]);
}

#[test]
fn a_wrong_word_is_told_with_the_nearest() {
    told([
        (
            "[\"native\"]",
            "[\"nativ\"]",
            "11:13: requirements.runtimes[0] cannot be \"nativ\"; did you mean \"native\"?",
        ),
        (
            "[\"native\"]",
            "[\"docker\"]",
            "11:13: requirements.runtimes[0] cannot be \"docker\"; did you mean \"container\"?",
        ),
        (
            "[\"native\"]",
            "[]",
            "11:12: requirements.runtimes: name at least one of native, wasm, container",
        ),
        (
            "[\"native\"]",
            "[\"native\", \"native\"]",
            "11:23: requirements.runtimes[1]: native is there already",
        ),
        (
            "\"linux\"",
            "\"Darwin\"",
            "7:6: requirements.os cannot be \"Darwin\"; did you mean \"macos\"?",
        ),
        (
            "\"x86_64\"",
            "\"amd64\"",
            "8:8: requirements.arch cannot be \"amd64\"; did you mean \"x86_64\"?",
        ),
        (
            "tap = \"test\"",
            "tap = \"tests\"",
            "42:7: results.tap cannot be \"tests\"; did you mean \"test\"?",
        ),
    ]);
}

#[test]
fn an_amount_beyond_its_bounds_is_told_with_them() {
    told([
        ("tasks = 40", "tasks = 0", "3:9: tasks: 0 is not between 1 and 100000"),
        ("tasks = 40", "tasks = 100_001", "3:9: tasks: 100001 is not between 1 and 100000"),
        ("cores = 2", "cores = -1", "9:9: requirements.cores: -1 is not between 1 and 4294967295"),
        ("\"3d\"", "\"31d\"", "4:11: expires: it must be above zero and at most 30days"),
        ("\"3d\"", "\"0s\"", "4:11: expires: it must be above zero and at most 30days"),
        (
            "\"2m\"",
            "\"2 minuets\"",
            "34:8: limits.wall: \"2 minuets\" is not a duration; write for example \"90s\", \"2m\" or \"1h 30m\"",
        ),
        ("\"2m\"", "\"25h\"", "34:8: limits.wall: it must be above zero and at most 1day"),
        ("\"2m\"", "\"5us\"", "34:8: limits.wall: it must be above zero and at most 1day"),
        (
            "\"512 MiB\"",
            "\"512 MB!\"",
            "35:10: limits.memory: \"512 MB!\" is not an amount of bytes; write for example \"512 MiB\" or \"2 GB\"",
        ),
        ("\"512 MiB\"", "0", "35:10: limits.memory: it must be above zero"),
        ("\"2 MiB\"", "\"17 MiB\"", "37:10: limits.output: it must be at most 16 MiB"),
        (
            "processes = 64",
            "processes = 65537",
            "38:13: limits.processes: 65537 is not between 1 and 65536",
        ),
    ]);
}

#[test]
fn a_tool_that_cannot_be_is_told() {
    told([(
        "\"g++\"",
        "\"G++\"",
        "15:1: requirements.tools.G++: fact name \"tool.G++\" is not 1 to 64 characters of a-z, 0-9, dot, plus, hyphen and underscore",
    )]);
}

#[test]
fn a_path_or_pattern_that_leads_out_is_told() {
    told([
        ("\"../src\"", "\"/src\"", "18:8: package.path: \"/src\" must be relative to the job file"),
        ("\"../src\"", "\"\"", "18:8: package.path: \"\" is not a directory"),
        (
            "\"out/*.txt\"",
            "\"/out/*.txt\"",
            "41:14: results.artifacts[0]: \"/out/*.txt\" is not a pattern: it must be relative",
        ),
        (
            "\"out/*.txt\"",
            "\"a/../../b\"",
            "41:14: results.artifacts[0]: \"a/../../b\" is not a pattern: it must not lead out by \"..\"",
        ),
    ]);
}

#[test]
fn a_step_that_cannot_run_is_told_with_what_can() {
    told([
        (
            "\"build\"",
            "\"Build it\"",
            "25:8: step[0].name: \"Build it\" is not a name of 1 to 64 characters of a-z, 0-9, dot, hyphen and underscore",
        ),
        (
            "name = \"build\"",
            "name = \"test\"",
            "29:8: step[1].name: two steps are called \"test\"",
        ),
        (
            "[\"make\", \"-j1\"]",
            "[]",
            "26:7: step[0].run: step has 0 arguments, 1 to 256 are allowed, the program included",
        ),
        ("[\"make\", \"-j1\"]", "[\"\"]", "26:7: step[0].run: the program of a step is empty"),
        (
            "[\"make\", \"-j1\"]",
            "\"make -j1\"",
            "26:7: step[0].run: a text is split by no shell; write [\"make\", \"-j1\"], or add shell = true to give it to /bin/sh",
        ),
        (
            "\"make && make check\"",
            "[\"make\"]",
            "30:7: step[1].run: with shell = true it is one text, such as \"make && make check\"",
        ),
        (
            "[\"native\"]",
            "[\"native\", \"wasm\"]",
            "26:7: step[0].run: the wasm runtime cannot run \"make\", only a .wasm file of the package",
        ),
    ]);
}

#[test]
fn a_variable_that_cannot_be_set_is_told() {
    told([
        (
            "CFLAGS",
            "TALKOOT_TASK_INDEX",
            "22:1: environment.TALKOOT_TASK_INDEX: environment variable \"TALKOOT_TASK_INDEX\" is reserved; those that begin with TALKOOT_ are set for the job",
        ),
        (
            "CFLAGS",
            "\"C FLAGS\"",
            "22:1: environment.C FLAGS: \"C FLAGS\" cannot name an environment variable; use letters, digits and underscore",
        ),
    ]);
}

/// What is below `[requirements]`, and what is said of it.
#[track_caller]
fn told_of_needs<const N: usize>(mistakes: [(&str, &str); N]) {
    const BASE: &str = "name = \"small\"\n[[step]]\nname = \"build\"\nrun = [\"make\"]\n\
                        [requirements]\nruntimes = [\"native\"]\n";
    for (needs, expected) in mistakes {
        let error = JobFile::parse(&format!("{BASE}{needs}\n")).expect_err(needs);
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_fact_or_tool_that_nobody_states_is_told_with_the_nearest() {
    told_of_needs([
        ("cpu = [\"avx3\"]", "7:8: requirements.cpu[0] cannot be \"avx3\"; did you mean \"avx\"?"),
        (
            "cpu = [\"sse4_1\"]",
            "7:8: requirements.cpu[0] cannot be \"sse4_1\"; did you mean \"sse4.1\"?",
        ),
        (
            "facts.kernal = \">=5\"",
            "7:7: requirements.facts.kernal: no volunteer states a fact \"kernal\"; did you mean \"kernel\"?",
        ),
        (
            "tools.cmkae = \"*\"",
            "7:7: requirements.tools.cmkae: no volunteer looks for it by itself; did you mean \"cmake\"? \
         if not, require facts.\"tool.cmkae\", and ask owners to add the tool",
        ),
        (
            "facts.\"donated.memory\" = { at-least = \"2 parsecs\" }",
            "7:39: requirements.facts.donated.memory.at-least: \"2 parsecs\" is not an amount of bytes; \
         write for example \"512 MiB\" or \"2 GB\"",
        ),
        (
            "facts.\"cpu.level\" = { at-least = \"2 GiB\" }",
            "7:34: requirements.facts.cpu.level.at-least must be a whole number, this is of type string",
        ),
        (
            "facts.\"cpu.level\" = 2",
            "7:21: requirements.facts.cpu.level: write for example { at-least = 3 }",
        ),
    ]);
}

#[test]
fn a_group_that_cannot_be_is_told() {
    told_of_needs([
        (
            "any = []",
            "7:7: requirements.any: it is empty; write for example [{ tools.gcc = \">=10\" }]",
        ),
        (
            "any = [{}]",
            "7:8: requirements.any[0]: it requires nothing; write for example { tools.gcc = \">=10\" }",
        ),
        (
            "not = [{ runtimes = [\"wasm\"] }]",
            "7:10: unknown field \"runtimes\"; known are os, arch, cores, memory, cpu, tools, facts, all, any, not",
        ),
        (
            "any = [{any = [{any = [{any = [{any = [{os = \"linux\"}]}]}]}]}]",
            "7:39: requirements.any[0].any[0].any[0].any[0].any: groups are nested over 4 deep",
        ),
    ]);
}

#[test]
fn a_preference_that_orders_nothing_is_told() {
    told_of_needs([
        ("[[prefer]]\nmore = \"os\"\nenough = 3", "8:8: prefer[0].more: \"os\" is no number"),
        (
            "[[prefer]]\nweight = 5",
            "7:1: prefer[0]: a preference is { more = \"cpu.level\", enough = 4 }, { less = \"cpu.level\", bearable = 4 }, or what could be required, such as { tools.gcc = \">=10\" }",
        ),
        (
            "[[prefer]]\nweight = 0\nos = \"linux\"",
            "8:10: prefer[0].weight: 0 is not between 1 and 1000",
        ),
    ]);
}

#[test]
fn a_job_has_an_image_if_it_runs_in_one_and_only_then() {
    let job = |runtime: &str, container: &str| {
        JobFile::parse(&format!(
            "name = \"it\"\n[requirements]\nruntimes = [\"{runtime}\"]\n{container}\n\
             [[step]]\nname = \"all\"\nrun = [\"make\"]\n"
        ))
    };
    let digest = format!("sha256:{}", "0f".repeat(32));
    let table = |image: &str, digest: &str| {
        format!("[container]\nimage = \"{image}\"\ndigest = \"{digest}\"")
    };
    let image = job("container", &table("images/debian/", &digest)).expect("sound").job.image;
    let image = image.expect("it has one");
    assert_eq!(image.source, ImageSource::Package("images/debian".to_owned()));
    assert_eq!(image.digest.to_string(), digest);
    for (runtime, container, expected) in [
        ("container", String::new(), "container is missing; write for example [container] with"),
        ("native", table("image", &digest), "for jobs with \"container\" among their runtimes"),
        (
            "container",
            table("../image", &digest),
            "5:9: container.image: \"../image\" is not the path",
        ),
        (
            "container",
            table("image", "latest"),
            "6:10: container.digest: \"latest\" is not the digest",
        ),
        ("container", "[container]\nimage = \"i\"".to_owned(), "container.digest is missing"),
    ] {
        let error = job(runtime, &container).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn an_image_of_a_repository_is_named_by_its_digest_and_asks_for_an_engine() {
    let job = |runtimes: &str, image: &str| {
        JobFile::parse(&format!(
            "name = \"it\"\n[requirements]\nruntimes = [{runtimes}]\n[container]\nimage = \"{image}\"\n\
             [[step]]\nname = \"all\"\nrun = [\"make\"]\n"
        ))
    };
    let digest = format!("sha256:{}", "0f".repeat(32));
    let debian = format!("docker.io/library/debian@{digest}");

    let sound = job("\"container\"", &debian).expect("sound");

    let image = sound.job.image.expect("it has one");
    let repository = "docker.io/library/debian".parse().expect("a repository");
    assert_eq!(image.source, ImageSource::Repository(repository));
    assert_eq!(image.digest.to_string(), digest);
    let asked: Vec<_> = sound.requirements.clauses.iter().map(ToString::to_string).collect();
    assert_eq!(asked.iter().filter(|it| *it == "image.engine").count(), 1, "{asked:?}");
    for (image, expected) in [
        (
            "docker.io/library/debian:12".to_owned(),
            "container.digest is missing; write for example digest",
        ),
        (
            format!("debian@{digest}"),
            "5:9: container.image: \"debian\" is not the name of a repository",
        ),
        (
            format!("docker.io/library/debian:12@{digest}"),
            "without a tag, as in docker.io/library/debian",
        ),
        (format!("--privileged@{digest}"), "\"--privileged\" is not the name of a repository"),
        ("docker.io/library/debian@latest".to_owned(), "\"latest\" is not the digest of an image"),
    ] {
        let error = job("\"container\"", &image).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = job("\"native\", \"container\"", &debian).expect_err("two").to_string();
    assert!(error.contains("write runtimes = [\"container\"]"), "{error}");
}
