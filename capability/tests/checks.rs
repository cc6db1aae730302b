//! A project's checks: the facts that they find, their bounds, and how a job file names them.

use std::time::Duration;

use capability::statements::{
    Check, MAX_CHECK_ARGUMENTS, MAX_CHECK_COMMANDS, MAX_CHECK_DEPENDS, MAX_CHECKS, Permissions,
    Registration,
};
use capability::{
    Clause, FactName, JobFile, Preference, ProjectKey, Runtime, SecretKey, Signer, Timestamp,
    Verified,
};

const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn key() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

fn check(name: &str) -> Check {
    Check {
        name: name.to_owned(),
        runtime: Runtime::Native,
        command: vec!["true".to_owned()],
        depends: Vec::new(),
    }
}

fn registration(checks: Vec<Check>) -> Registration {
    Registration {
        name: "tree-sorter".into(),
        homepage: String::new(),
        keywords: Vec::new(),
        permissions: Permissions { runtimes: vec![Runtime::Native], network: false },
        checks,
        expires: NOW + Duration::from_secs(60),
    }
}

fn signed(names: &[&str]) -> Verified<Registration> {
    Verified::sign(registration(names.iter().map(|name| check(name)).collect()), &key())
}

fn job(requirements: &str) -> String {
    format!(
        "name = \"a\"\nrequirements.runtimes = [\"native\"]\n{requirements}\n\
         [[step]]\nname = \"b\"\nrun = [\"c\"]\n"
    )
}

/// What the job requires beyond resources.
fn required(text: &str, names: &[&str]) -> Result<Vec<Clause>, String> {
    let file = JobFile::parse_for(&job(text), &signed(names)).map_err(|error| error.to_string())?;
    let beyond = |clause: &Clause| !matches!(clause, Clause::Donates { .. });
    Ok(file.requirements.clauses.into_iter().filter(beyond).collect())
}

fn fact(name: &str) -> FactName {
    name.parse().expect("the name of a fact")
}

#[test]
fn the_fact_of_the_longest_name_is_a_fact() {
    let project = ProjectKey::from(key().public());
    let start = &project.to_string()[..16];
    assert_eq!(check("gpu").fact(project).as_str(), format!("check.{start}.gpu"));
    assert_eq!(check(&"x".repeat(32)).fact(project).as_str().len(), 55);
}

#[test]
fn a_registration_with_the_most_of_everything_fits_into_a_statement() {
    let argument = MAX_CHECK_COMMANDS / MAX_CHECKS / MAX_CHECK_ARGUMENTS;
    let longest = |n: usize| Check {
        name: format!("{n:032}"),
        command: vec!["x".repeat(argument); MAX_CHECK_ARGUMENTS],
        depends: (0..MAX_CHECK_DEPENDS).map(|n| fact(&format!("{n:064}"))).collect(),
        ..check("")
    };
    let full = Registration {
        name: "n".repeat(64),
        homepage: format!("https://{}", "h".repeat(248)),
        keywords: vec!["k".repeat(32); 16],
        ..registration((0..MAX_CHECKS).map(longest).collect())
    };
    let length = Verified::sign(full, &key()).envelope().as_bytes().len();
    assert!(length < 56 << 10, "{length}");
}

#[test]
fn a_job_file_names_its_own_projects_checks_by_their_names_alone() {
    let own = check("gpu").fact(key().public().into());
    let equals = Clause::Equals { fact: own.clone(), value: true.into() };
    let text = "requirements.facts.\"check.gpu\" = true";
    assert_eq!(required(text, &["gpu"]), Ok(vec![equals]));

    let full = format!("requirements.facts.\"{own}\" = \"*\"");
    assert_eq!(required(&full, &["gpu"]), Ok(vec![Clause::Present { fact: own.clone() }]));

    let nested = "requirements.not = [{ facts.\"check.gpu\" = { at-least = 3 } }]";
    let at_least = Clause::AtLeast { fact: own.clone(), amount: 3 };
    assert_eq!(required(nested, &["gpu"]), Ok(vec![Clause::Not(Box::new(at_least))]));

    let preferred = job("prefer = [{ more = \"check.gpu\", enough = 4 }]");
    let preferred = JobFile::parse_for(&preferred, &signed(&["gpu"])).expect("sound");
    let more = Preference::More { weight: 1, fact: own, enough: 4 };
    assert_eq!(preferred.requirements.rank, [more]);
}

#[test]
fn another_projects_check_is_named_in_full() {
    let other = "check.abcdefgh234567ab.gpu";
    let text = format!("requirements.facts.\"{other}\" = true");
    let equals = Clause::Equals { fact: fact(other), value: true.into() };
    assert_eq!(required(&text, &[]), Ok(vec![equals]));
}

#[test]
fn a_check_that_the_project_does_not_have_is_named_with_the_nearest_one() {
    let own = check("gpuu").fact(key().public().into());
    let mistakes = [
        (
            "check.gpuu",
            "3:20: requirements.facts.check.gpuu: the project has no check \"gpuu\"; did you mean \"gpu\"?",
        ),
        ("check.moon", "no check \"moon\"; there are gpu, make-works"),
        (own.as_str(), "no check \"gpuu\"; did you mean \"gpu\"?"),
        ("check.tree-sorter.gpu", "\"tree-sorter\" is not a project: write check.NAME"),
    ];
    for (name, expected) in mistakes {
        let text = format!("requirements.facts.\"{name}\" = true");
        let error = required(&text, &["gpu", "make-works"]).expect_err(name);
        assert!(error.contains(expected), "{error}");
    }
    let error = required("requirements.facts.\"check.gpu\" = true", &[]).expect_err("none");
    assert!(error.contains("it has none; see [[check]] in master.toml"), "{error}");
}

#[test]
fn without_a_project_a_check_is_left_as_it_stands() {
    let file = JobFile::parse(&job("requirements.facts.\"check.gpu\" = true")).expect("sound");
    let own = Clause::Equals { fact: fact("check.gpu"), value: true.into() };
    assert!(file.requirements.clauses.contains(&own));
}
