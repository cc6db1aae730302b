//! Payloads that break one bound of their kind each, most of them by one.

use ciborium::Value;

use super::Vector;
use super::samples::{self, BROKER, MASTER, PROJECT, VOLUNTEER};
use super::variants::{entries, entry, items};
use super::wire::with_value;

/// All of them.
pub fn bounds() -> Vec<Vector> {
    let groups = [facts(), machines(), projects(), requirements(), jobs()];
    groups.into_iter().flatten().collect()
}

fn facts() -> Vec<Vector> {
    let ad = |name: &str, comment: &str, change: &dyn Fn(&mut Value)| {
        with_value(name, comment, &samples::ad(), VOLUNTEER, |it| {
            change(entry(entry(it, "capabilities"), "runtimes"));
        })
    };
    let fact = |name: &str, comment: &str, fact: &str, value: Value| {
        ad(name, comment, &|runtimes| {
            let facts = entries(entry(entry(runtimes, "native"), "facts"));
            facts.push((Value::from(fact), value.clone()));
        })
    };
    vec![
        ad("ad-runtimes", "S20: 17 runtimes", &|runtimes| {
            let more = (0..15).map(|n| (Value::from(format!("r{n}")), Value::Map(Vec::new())));
            entries(runtimes).extend(more);
        }),
        ad("ad-runtime-name", "S20: a runtime with a capital letter", &|runtimes| {
            entries(runtimes)[0].0 = Value::from("Wasm");
        }),
        ad("ad-facts", "S20: 513 facts", &|runtimes| {
            let facts = entries(entry(entry(runtimes, "native"), "facts"));
            let more = (facts.len()..513).map(|n| (Value::from(format!("f{n}")), Value::from(1)));
            facts.extend(more.collect::<Vec<_>>());
        }),
        fact("fact-name", "S20: a fact with a space in its name", "tool gcc", Value::from("12")),
        fact("fact-no-name", "S20: a fact without a name", "", Value::from("12")),
        fact("fact-long-name", "S20: a name of 65 characters", &"x".repeat(65), Value::from("12")),
        fact("fact-text", "S20: a text of 257 bytes", "label", Value::from("x".repeat(257))),
        fact(
            "fact-digits",
            "S20: a version with a number of 16 digits",
            "tool.gcc",
            Value::from("9999999999999999.0.0"),
        ),
        fact("fact-control", "S20: a text with U+0085", "label", Value::from("a\u{85}b")),
    ]
}

fn machines() -> Vec<Vector> {
    let platform = |name: &str, comment: &str, os: &str| {
        with_value(name, comment, &samples::ad(), VOLUNTEER, |it| {
            *entry(entry(entry(it, "capabilities"), "platform"), "os") = Value::from(os);
        })
    };
    vec![
        platform("platform-hyphen", "S20: an operating system with a hyphen", "gnu-linux"),
        platform("platform-long", "S20: an operating system of 33 characters", &"x".repeat(33)),
        with_value(
            "weak-encryption",
            "S80: an encryption key of 0",
            &samples::ad(),
            VOLUNTEER,
            |it| {
                *entry(it, "encryption") = Value::Bytes(vec![0; 32]);
            },
        ),
        with_value("card-links", "S22: 257 links", &samples::broker_card(), BROKER, |it| {
            let links = items(entry(it, "links"));
            *links = vec![links[0].clone(); 257];
        }),
        with_value(
            "card-address",
            "S10: an address of 257 bytes",
            &samples::broker_card(),
            BROKER,
            |it| {
                items(entry(it, "addresses"))[0] = Value::from("x".repeat(257));
            },
        ),
    ]
}

fn projects() -> Vec<Vector> {
    vec![
        with_value(
            "registration-keywords",
            "S30: 17 keywords",
            &samples::registration(),
            PROJECT,
            |it| {
                *entry(it, "keywords") = Value::Array(vec![Value::from("c"); 17]);
            },
        ),
        with_value(
            "registration-keyword",
            "S10: a keyword of 33 bytes",
            &samples::registration(),
            PROJECT,
            |it| {
                *entry(it, "keywords") = Value::Array(vec![Value::from("x".repeat(33))]);
            },
        ),
        with_value(
            "registration-del",
            "S10: a name with U+007F",
            &samples::registration(),
            PROJECT,
            |it| {
                *entry(it, "name") = Value::from("a\u{7f}");
            },
        ),
        with_value("home-standbys", "S32: 5 standbys", &samples::home(), MASTER, |it| {
            let standbys = items(entry(it, "standbys"));
            *standbys = vec![standbys[0].clone(); 5];
        }),
        with_value("home-last-epoch", "S32: the last epoch", &samples::home(), MASTER, |it| {
            *entry(it, "epoch") = Value::from(u64::MAX);
        }),
    ]
}

fn requirements() -> Vec<Vector> {
    let clauses = |name: &str, comment: &str, clauses: Vec<Value>| {
        with_value(name, comment, &samples::offer(), MASTER, |it| {
            *entry(entry(it, "requirements"), "clauses") = Value::Array(clauses);
        })
    };
    let rank = |name: &str, comment: &str, rank: Vec<Value>| {
        with_value(name, comment, &samples::offer(), MASTER, |it| {
            *entry(entry(it, "requirements"), "rank") = Value::Array(rank);
        })
    };
    let present = || clause(("present", "os"));
    vec![
        clauses("clauses-65", "S43: 65 clauses", vec![present(); 65]),
        clauses(
            "clauses-65-inside",
            "S43: 65 clauses, those inside an alternative included",
            vec![clause(("any", vec![present(); 63])), present()],
        ),
        clauses("clause-no-array", "S43: a clause that is a text", vec![Value::from("present")]),
        clauses("clause-no-kind", "S43: a clause without a kind", vec![Value::Array(Vec::new())]),
        clauses(
            "one-of-nothing",
            "S43: an alternative of no values",
            vec![clause(("one-of", "os", Vec::<Value>::new()))],
        ),
        clauses(
            "one-of-65",
            "S43: an alternative of 65 values",
            vec![clause(("one-of", "n", vec![1; 65]))],
        ),
        clauses(
            "includes-nothing",
            "S43: a set of no words",
            vec![clause(("includes", "cpu.features", Vec::<Value>::new()))],
        ),
        clauses(
            "all-of-nothing",
            "S43: a group of no clauses",
            vec![clause(("all", Vec::<Value>::new()))],
        ),
        clauses(
            "equals-long",
            "S43: a text of 257 bytes",
            vec![clause(("equals", "os", "x".repeat(257)))],
        ),
        rank("rank-17", "S43: 17 preferences", vec![clause(("more", 1, "n", 1)); 17]),
        rank("rank-weight", "S43: a weight of 1,001", vec![clause(("more", 1001, "n", 1))]),
        rank("rank-scale", "S43: a scale of 0", vec![clause(("less", 1, "n", 0))]),
        with_value(
            "offer-runtime-name",
            "S20: a runtime of 33 characters",
            &samples::offer(),
            MASTER,
            |it| {
                let runtimes = entry(entry(it, "requirements"), "runtimes");
                items(runtimes)[0] = Value::from("x".repeat(33));
            },
        ),
    ]
}

fn clause(terms: impl serde::Serialize) -> Value {
    Value::serialized(&terms).expect("terms are values")
}

fn jobs() -> Vec<Vector> {
    let job = |name: &str, comment: &str, change: &dyn Fn(&mut Value)| {
        with_value(name, comment, &samples::offer(), MASTER, |it| change(entry(it, "job")))
    };
    let step = |name: &str, comment: &str, run: Vec<String>| {
        job(name, comment, &|job| {
            *entry(&mut items(entry(job, "steps"))[0], "run") = clause(&run);
        })
    };
    let variable = |name: &str, comment: &str, variable: &str, value: &str| {
        job(name, comment, &|job| {
            entries(entry(job, "environment")).push((Value::from(variable), Value::from(value)));
        })
    };
    let limit = |name: &str, comment: &str, limit: &str, value: u64| {
        job(name, comment, &|job| *entry(entry(job, "limits"), limit) = Value::from(value))
    };
    let pattern = |name: &str, comment: &str, pattern: &str| {
        job(name, comment, &|job| *entry(job, "artifacts") = clause([pattern]))
    };
    let network = |name: &str, comment: &str, destinations: &[&str]| {
        job(name, comment, &|job| {
            entries(job).push((Value::from("network"), clause(destinations)));
        })
    };
    let image = |name: &str, comment: &str, places: &[(&str, &str)]| {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let mut image = vec![(Value::from("digest"), Value::from(digest))];
        image.extend(places.iter().map(|(key, place)| (Value::from(*key), Value::from(*place))));
        job(name, comment, &|job| {
            entries(job).push((Value::from("image"), Value::Map(image.clone())));
        })
    };
    let many: Vec<_> = (1..=65).map(|port| format!("a.example:{port}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    vec![
        job("steps-65", "S44: 65 steps", &|job| {
            let steps = items(entry(job, "steps"));
            for n in steps.len()..65 {
                let mut step = steps[0].clone();
                *entry(&mut step, "name") = Value::from(format!("step-{n}"));
                steps.push(step);
            }
        }),
        job("step-twice", "S44: two steps of one name", &|job| {
            let steps = items(entry(job, "steps"));
            let again = steps[0].clone();
            steps.push(again);
        }),
        job("step-name", "S44: a step with a space in its name", &|job| {
            *entry(&mut items(entry(job, "steps"))[0], "name") = Value::from("make it");
        }),
        job("tap-of-no-step", "S44: TAP of a step that is not there", &|job| {
            *entry(job, "tap") = Value::from("lint");
        }),
        step("step-without-program", "S44: no argument", Vec::new()),
        step("step-empty-program", "S44: an empty program", vec![String::new(), "x".into()]),
        step("step-arguments", "S44: 257 arguments", vec!["x".into(); 257]),
        step("step-long-argument", "S44: an argument of 8,193 bytes", vec!["x".repeat(8193)]),
        step("step-nul", "S44: a NUL in an argument", vec!["make".into(), "a\0b".into()]),
        variable("variable-reserved", "S44: a variable that the volunteer sets", "TALKOOT_X", ""),
        variable("variable-digit", "S44: a variable that begins with a digit", "1X", ""),
        variable("variable-value", "S44: a value of 4,097 bytes", "X", &"x".repeat(4097)),
        job("variables-129", "S44: 129 variables", &|job| {
            let variables = entries(entry(job, "environment"));
            for n in variables.len()..129 {
                variables.push((Value::from(format!("X{n}")), Value::from("")));
            }
        }),
        limit("limit-wall", "S44: a day and a millisecond", "wall-ms", 86_400_001),
        limit("limit-memory", "S44: no memory", "memory", 0),
        limit("limit-output", "S44: 16 MiB and a byte of output", "output", (16 << 20) + 1),
        limit("limit-processes", "S44: 65,537 processes", "processes", 65_537),
        pattern("pattern-absolute", "S44: an absolute pattern", "/out/*"),
        pattern("pattern-empty", "S44: an empty pattern", ""),
        pattern("pattern-open", "S44: a pattern with an open bracket", "out/[a"),
        pattern("pattern-range", "S44: a range from z to a", "out/[z-a]"),
        pattern("pattern-brace", "S44: a closing brace alone", "out/a}"),
        pattern("pattern-escape", "S44: a backslash at the end", "out\\"),
        job("patterns-65", "S44: 65 patterns", &|job| {
            *entry(job, "artifacts") = clause(vec!["x"; 65]);
        }),
        image("repository-tag", "S115: a tag", &[("repository", "docker.io/library/debian:12")]),
        image("repository-option", "S115: an option", &[("repository", "--privileged")]),
        image("repository-short", "S115: no registry", &[("repository", "library/debian")]),
        image("repository-capitals", "S115: capitals", &[("repository", "docker.io/Debian")]),
        image("image-nowhere", "S113: neither path nor repository", &[]),
        image("image-twice", "S113: both", &[("path", "a"), ("repository", "a.example/b")]),
        network("destination-capitals", "S98: a host in capitals", &["A.example:443"]),
        network("destination-no-port", "S98: no port", &["a.example"]),
        network("destination-port", "S98: port 65,536", &["a.example:65536"]),
        network("destination-zeroes", "S98: a port that begins with 0", &["a.example:0443"]),
        network("destination-number", "S98: an address as one number", &["2130706433:443"]),
        network("destination-wildcard", "S98: a wildcard inside", &["a.*.example:443"]),
        network("destination-mapped", "S98: an IPv4 address in IPv6", &["[::ffff:9.9.9.9]:443"]),
        network("destination-long", "S98: an IPv6 address at length", &["[2620:fe:0::fe]:443"]),
        network("destination-twice", "S98: a destination twice", &["a.example:1", "a.example:1"]),
        network("destinations-65", "S98: 65 destinations", &many),
    ]
}
