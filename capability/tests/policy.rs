//! What a volunteer wants of offers: reading it, and judging by it.

use capability::{Fact, Facts, Finding, OfOffer, Policy};

/// An offer by a trusted project, as a volunteer describes it.
fn offer() -> Facts {
    let mut facts = Facts::new();
    let mut insert = |name, fact: Fact| facts.insert(name, fact).expect(name);
    insert("project", "tree-sorter".into());
    insert("keywords", ["compilers", "rust"].into_iter().collect());
    insert("network", false.into());
    insert("builder", "nightly".into());
    insert("runtimes", ["native"].into_iter().collect());
    insert("needs", ["arch", "tool.gcc"].into_iter().collect());
    insert("duration", 7200_u64.into());
    insert("cores", 2_u64.into());
    insert("memory", (3_u64 << 30).into());
    insert("package", (5_u64 << 20).into());
    insert("others", 4_u64.into());
    facts
}

fn policy(text: &str) -> Policy {
    Policy::read(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn each_clause_is_held_against_the_offer_and_both_sides_are_shown() {
    // The lines of a policy, and what stands against the offer.
    #[track_caller]
    fn check(clauses: &str, expected: &[&str]) {
        let policy = policy(&format!("cores = 1\n[policy]\n{clauses}"));
        let unmet: Vec<_> = policy.unmet(&offer()).iter().map(Finding::to_string).collect();
        assert_eq!(unmet, expected, "{clauses}");
    }
    check("", &[]);
    check("duration = { at-most = \"2h\" }", &[]);
    check(
        "duration = { at-most = \"90m\" }",
        &["needs duration of at most 1h 30m, this offer has 2h"],
    );
    check("memory = { at-most = \"3 GiB\" }\ncores = { at-least = 2, at-most = 4 }", &[]);
    check(
        "memory = { at-most = \"2 GiB\" }\npackage = { at-most = 1_000_000 }",
        &[
            "needs memory of at most 2 GiB, this offer has 3 GiB",
            "needs package of at most 976.6 KiB (1000000 bytes), this offer has 5 MiB",
        ],
    );
    check("keywords = [\"rust\"]\nproject = [\"sweep\", \"tree-sorter\"]", &[]);
    check(
        "keywords = [\"games\", \"rust\"]",
        &["needs keywords with games rust, this offer has compilers rust"],
    );
    check("project = \"sweep\"", &["needs project sweep, this offer has tree-sorter"]);
    check("network = false\nnot = [{ runtimes = [\"wasm\"] }]", &[]);
    check("network = true", &["needs network yes, this offer has no"]);
    check("needs = [\"tool.gcc\"]", &[]);
    check("others = { at-most = 3 }", &["needs others of at most 3, this offer has 4"]);
    check("others = { at-most = 0 }", &["needs others of at most 0, this offer has 4"]);
    check("not = [{ replicas = \"*\" }]", &[]);
    check(
        "replicas = { at-most = 1 }",
        &["needs replicas of at most 1, this offer does not state it"],
    );
    check(
        "any = [{ duration = { at-most = \"1h\" } }, { others = { at-most = 2 } }]",
        &["needs (duration of at most 1h or others of at most 2), \
           this offer has duration 2h, others 4"],
    );
    check(
        "not = [{ builder = \"nightly\", all = [{ keywords = [\"rust\"] }] }]",
        &["needs not (builder nightly and keywords with rust), \
           this offer has builder nightly, keywords compilers rust"],
    );
}

#[test]
fn preferences_put_offers_in_order() {
    let policy = policy(
        "[[policy.prefer]]\nweight = 10\nless = \"duration\"\nbearable = \"4h\"\n\
         [[policy.prefer]]\nkeywords = [\"compilers\"]\n\
         [[policy.prefer]]\nmore = \"package\"\nenough = \"10 MiB\"\n",
    );
    assert!(policy.clauses.is_empty());
    assert_eq!(policy.rank(&offer()), 10 * 500 + 1000 + 500);
    assert_eq!(policy.rank(&Facts::new()), 0);
    let words: Vec<_> = policy.rank.iter().map(|it| OfOffer(it).to_string()).collect();
    let expected = [
        "the less duration, below 4h",
        "keywords with compilers",
        "the more package, up to 10 MiB",
    ];
    assert_eq!(words, expected);
}

#[test]
fn a_configuration_without_a_policy_takes_everything() {
    assert_eq!(policy("cores = 2\n[other]\nname = 1"), Policy::default());
    assert!(Policy::default().unmet(&Facts::new()).is_empty());
}

#[test]
fn a_mistake_is_named_with_its_place_and_what_would_be_right() {
    #[track_caller]
    fn check(line: &str, expected: &str) {
        let error = Policy::read(&format!("cores = 1\n[policy]\n{line}")).expect_err(line);
        assert_eq!(error.to_string(), expected);
    }
    check(
        "durations = { at-most = \"1h\" }",
        "3:1: unknown field \"durations\"; did you mean \"duration\"?",
    );
    check(
        "moon = 1",
        "3:1: unknown field \"moon\"; known are prefer, project, project-key, keywords, network, \
         name, builder, runtimes, needs, duration, cores, memory, disk, processes, package, tasks, \
         replicas, others, all, any, not",
    );
    check("duration = \"1h\"", "3:12: policy.duration: write for example { at-least = \"1h\" }");
    check(
        "duration = { at-most = 60 }",
        "3:24: policy.duration.at-most must be text in quotes, this is of type integer",
    );
    check(
        "duration = { at-most = \"1 fortnight\" }",
        "3:24: policy.duration.at-most: \"1 fortnight\" is not a duration; \
         write for example \"90s\", \"2m\" or \"1h 30m\"",
    );
    check(
        "duration = { at-most = \"1500ms\" }",
        "3:24: policy.duration.at-most: it must be in whole seconds",
    );
    check(
        "others = { at-most = -1 }",
        "3:22: policy.others.at-most: -1 is not between 0 and 4294967295",
    );
    check("network = \"no\"", "3:11: policy.network must be true or false, this is of type string");
    check(
        "runtimes = [\"wsam\"]",
        "3:13: policy.runtimes[0] cannot be \"wsam\"; did you mean \"wasm\"?",
    );
    check(
        "needs = [\"kernal\"]",
        "3:10: policy.needs[0]: no volunteer states a fact \"kernal\"; did you mean \"kernel\"?",
    );
    check(
        "keywords = []",
        "2:1: policy: fact keywords may be one of 0 values, 1 to 64 are allowed",
    );
    check(
        "not = []",
        "3:7: policy.not: it is empty; write for example [{ keywords = [\"compilers\"] }]",
    );
    check(
        "prefer = [{ more = \"builder\", enough = 1 }]",
        "3:20: policy.prefer[0].more: \"builder\" is no number",
    );
    check(
        "prefer = [{ more = \"moon\", enough = 1 }]",
        "3:20: policy.prefer[0].more: no offer has a fact \"moon\"",
    );
    check(
        "prefer = [{ weight = 2 }]",
        "3:11: policy.prefer[0]: a preference is { more = \"others\", enough = 4 }, \
         { less = \"others\", bearable = 4 }, or what could be required, such as \
         { keywords = [\"compilers\"] }",
    );
    let error = Policy::read("[policy]\nproject-key = \"abc\"").expect_err("no key").to_string();
    assert!(error.starts_with("2:15: policy.project-key: "), "{error}");
}
