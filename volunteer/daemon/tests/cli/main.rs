//! The program as people and scripts meet it.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use capability::statements::{Credit, Delegation, Receipt, TaskId, Verdict};
use capability::{DecryptionKey, ProjectKey, SecretKey, Signer, StatementId, Verified};
use mesh_shell::{Clock, statement_text};
use serde_json::Value;

mod exec;
mod image;
mod lists;
mod service;
mod terminal;
mod why;

fn volunteer(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_talkoot-volunteer"));
    command.env("TALKOOT_STATE", state.join("state"));
    command.env("TALKOOT_CONFIG", state.join("volunteer.toml"));
    command
}

fn project() -> ProjectKey {
    SecretKey::from_seed(&[3; 32]).public().into()
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    volunteer(directory).args(arguments).output().unwrap()
}

/// A directory with a configuration of `text`.
fn with_config(text: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("volunteer.toml"), text).unwrap();
    directory
}

#[track_caller]
fn check_fails(output: &Output, code: i32, expected: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(expected), "{said:?} does not say {expected:?}");
    assert!(said.lines().count() <= 16, "{said}");
}

#[test]
fn without_the_helper_beside_it_no_native_job_is_taken_and_the_doctor_says_why() {
    let alone = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let program = alone.path().join("talkoot-volunteer");
    std::fs::hard_link(env!("CARGO_BIN_EXE_talkoot-volunteer"), &program).unwrap();
    let doctor = Command::new(program)
        .args(["doctor", "--json"])
        .env("TALKOOT_STATE", alone.path().join("state"))
        .env("TALKOOT_CONFIG", "/dev/null")
        .output()
        .unwrap();

    let found: Value = serde_json::from_slice(&doctor.stdout).unwrap();

    let native = &found["runtimes"][0];
    assert_eq!(native["strength"], Value::Null, "{native}");
    let reason = native["reason"].as_str().unwrap();
    assert!(reason.contains("talkoot-sandbox-helper is not there"), "{reason}");
}

#[test]
fn a_wrong_command_line_is_exit_2() {
    let directory = with_config("");
    check_fails(&run(directory.path(), &["frobnicate"]), 2, "unrecognized subcommand");
    check_fails(&run(directory.path(), &["run", "--memory", "much"]), 2, "not an amount of bytes");
    check_fails(&run(directory.path(), &["run", "--broker", "example.org"]), 2, "--broker");
    let add = run(directory.path(), &["project", "add", "https://example.org"]);
    check_fails(&add, 2, "a project URI starts with `talkoot:`");
    let uri = format!("talkoot:{}?broker=nowhere", project());
    check_fails(
        &run(directory.path(), &["project", "add", &uri]),
        2,
        "not the address of a broker",
    );
    let uri = format!("talkoot:{}", project());
    let add = run(directory.path(), &["project", "add", &uri, "--allow", "docker"]);
    check_fails(&add, 2, "there is no runtime docker");
}

#[test]
fn a_wrong_configuration_is_exit_3_with_its_line() {
    for (text, expected) in [
        ("cores = 1\ncroes = 2\n", "volunteer.toml:2: unknown field `croes`"),
        ("cores = [", "volunteer.toml:1: "),
        ("memory = \"lots\"", "not an amount of bytes"),
        ("brokers = [\"example.org:4077\"]", "not the address of a broker"),
        (
            "cores = 1\n[policy]\nduraton = { at-most = \"1h\" }",
            "volunteer.toml:3:1: unknown field \"duraton\"; did you mean \"duration\"?",
        ),
        (
            "policy.others = { at-most = \"few\" }",
            "volunteer.toml:1:29: policy.others.at-most must be a whole number",
        ),
        ("policy = 3", "volunteer.toml:1:10: policy must be a table"),
        ("memory = \"0\"", "`memory` donates 0 bytes, with which no job could run"),
        ("disk = \"1 KiB\"", "`disk` donates 1 KiB, with which no job could run"),
        (
            "cores = 1\n[[tool]]\nname = \"frob\"\npattern = '('",
            "volunteer.toml:2: tool `frob`: `pattern`",
        ),
        ("[[tool]]\nname = \"gcc\"", "tool `gcc` is looked for anyway"),
        ("hours = \"22-7\"", "volunteer.toml:1: \"22-7\" is not hours of the day"),
    ] {
        let directory = with_config(text);
        check_fails(&run(directory.path(), &["run"]), 3, expected);
    }
    let directory = tempfile::tempdir().unwrap();
    check_fails(&run(directory.path(), &["run"]), 3, "cannot read the configuration");
}

#[test]
fn the_policy_is_shown_in_words_and_tried_on_a_job_file() {
    let directory = with_config(
        "[policy]\nduration = { at-most = \"1h\" }\nothers = { at-most = 3 }\n\
         [[policy.prefer]]\nweight = 2\nless = \"duration\"\nbearable = \"1h\"\n",
    );
    let said = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let shown = said(&run(directory.path(), &["policy"]));
    let expected = "an offer of a project that you trust needs\n  duration of at most 1h\n  \
                    others of at most 3\nof several, those come first with\n  \
                    the less duration, below 1h (weight 2)\n";
    assert_eq!(shown, expected);

    let job = directory.path().join("job.toml");
    let judge = |wall: &str| {
        let text = format!(
            "name = \"nightly\"\nlimits.wall = \"{wall}\"\n[requirements]\n\
             runtimes = [\"native\"]\n[[step]]\nname = \"all\"\nrun = [\"make\"]\n"
        );
        std::fs::write(&job, text).unwrap();
        run(directory.path(), &["policy", "--try", job.to_str().unwrap()])
    };
    let short = judge("15m");
    let expected = "yes   duration of at most 1h: 15m\n\
                    open  others of at most 3: only its offer tells\n\
                    taken if the offer has what is open\nrank 1500 of 2000\n";
    assert_eq!((said(&short).as_str(), short.status.code()), (expected, Some(0)));
    let long = judge("2h");
    check_fails(&long, 6, "by your policy its offers are declined");
    assert!(said(&long).starts_with("no    duration of at most 1h: 2h\n"), "{}", said(&long));

    let missing = run(directory.path(), &["policy", "--try", "nowhere.toml"]);
    check_fails(&missing, 3, "cannot read the job file nowhere.toml");
    std::fs::write(&job, "name = 1").unwrap();
    let wrong = run(directory.path(), &["policy", "--try", job.to_str().unwrap()]);
    check_fails(&wrong, 3, "job.toml:1:8: name must be text in quotes");

    let none = with_config("");
    let shown = said(&run(none.path(), &["policy"]));
    assert_eq!(shown, "every offer of a project that you trust will do\n");
}

#[test]
fn damaged_state_is_named() {
    let directory = with_config("");
    let state = directory.path().join("state");
    std::fs::create_dir_all(&state).unwrap();

    std::fs::write(state.join("projects.toml"), "[[project]]\nkey = 1\n").unwrap();
    check_fails(&run(directory.path(), &["run"]), 3, "projects.toml");
    std::fs::remove_file(state.join("projects.toml")).unwrap();

    std::fs::write(state.join("node.key"), "not a key").unwrap();
    check_fails(&run(directory.path(), &["run"]), 3, "key file");
}

#[test]
fn without_a_daemon_there_is_nothing_to_ask() {
    let directory = with_config("");
    check_fails(&run(directory.path(), &["status"]), 4, "talkoot-volunteer run");
}

#[test]
fn init_makes_a_key_and_a_configuration_that_works_and_leaves_both_alone_next_time() {
    let directory = tempfile::tempdir().unwrap();
    let first = run(directory.path(), &["init"]);
    assert!(first.status.success());
    let again = run(directory.path(), &["init"]);
    assert!(String::from_utf8_lossy(&again.stdout).contains("left as it is"));
    let key = |output: &Output| {
        String::from_utf8_lossy(&output.stdout).lines().next().unwrap().to_owned()
    };
    assert_eq!(key(&first), key(&again));
}

#[test]
fn projects_are_added_listed_and_removed() {
    let directory = with_config("");
    let key = project().to_string();
    let uri = format!("talkoot:{key}?broker=/ip4/127.0.0.1/tcp/4077");
    let add = ["project", "add", &uri, "--allow", "wasm", "--name", "sweep"];
    assert!(run(directory.path(), &add).status.success());

    let list = run(directory.path(), &["project", "list", "--json"]);
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(list[0]["key"], key);
    assert_eq!(list[0]["runtimes"], serde_json::json!(["wasm"]));

    // What is not named stays as it is: trust is never widened by the way.
    let new_broker = format!("talkoot:{key}?broker=/ip4/127.0.0.1/tcp/4078");
    assert!(run(directory.path(), &["project", "add", &new_broker]).status.success());
    let set = ["project", "set", "sweep", "--note", "of a friend", "--weight", "300"];
    assert!(run(directory.path(), &set).status.success());
    assert!(
        run(directory.path(), &["project", "set", "sweep", "--backup", "true"]).status.success()
    );
    let changed = serde_json::json!([{
        "key": key, "name": "sweep", "runtimes": ["wasm"], "revoked": [], "note": "of a friend",
        "brokers": ["/ip4/127.0.0.1/tcp/4078"], "weight": 300, "tier": 0, "backup": true
    }]);
    let set =
        |what: &str, value: &str| run(directory.path(), &["project", "set", "sweep", what, value]);
    check_fails(&set("--tier", "10"), 2, "tiers are 0 to 9");
    check_fails(&set("--max-wall", "long"), 2, "--max-wall");
    let weight = ["project", "set", "sweep", "--weight", "0"];
    check_fails(&run(directory.path(), &weight), 2, "a weight is 1 to 10000");
    let list = run(directory.path(), &["project", "list", "--json"]);
    assert_eq!(serde_json::from_slice::<Value>(&list.stdout).unwrap(), changed);
    assert!(set("--max-memory", "1.5 GiB").status.success());
    assert!(set("--max-wall", "90m").status.success());
    assert!(set("--max-wall", "any").status.success());
    let list = run(directory.path(), &["project", "list"]);
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.contains("max 1536 MiB of memory") && !list.contains("90"), "{list}");
    let wider = ["project", "set", &key, "--allow", "wasm,docker"];
    check_fails(&run(directory.path(), &wider), 2, "there is no runtime docker");
    assert!(
        run(directory.path(), &["project", "set", &key, "--allow", "native,wasm"]).status.success()
    );
    let list = run(directory.path(), &["project", "list", "--json"]);
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(list[0]["runtimes"], serde_json::json!(["native", "wasm"]));
    check_fails(&run(directory.path(), &["project", "set", "swoop"]), 3, "not among the projects");
    check_fails(&run(directory.path(), &["project", "set", ""]), 3, "not among the projects");

    assert!(run(directory.path(), &["project", "remove", &key]).status.success());
    check_fails(&run(directory.path(), &["project", "remove", &key]), 3, "not among the projects");
}

#[test]
fn when_a_project_has_work_is_bounded_and_freed_by_the_owner() {
    let directory = with_config("hours = \"18:00-24:00\"");
    let uri = format!("talkoot:{}", project());
    let add = ["project", "add", &uri, "--every", "24h", "--hours", "22:00-06:00"];
    let added = run(directory.path(), &add);
    let asked = String::from_utf8_lossy(&added.stderr);
    let hours = "hours      22:00-06:00, as far as this machine works then: 18:00-24:00";
    let often = "how often  each of its builders, and of each at most one task every 1day";
    assert!(asked.contains(hours) && asked.contains(often), "{asked}");

    let set =
        |what: &str, value: &str| run(directory.path(), &["project", "set", &uri, what, value]);
    assert!(set("--builders", "nightly,release").status.success());
    let week = r#"{ weekend = "always", monday = ["01:00-02:00", "22:00-06:00"] }"#;
    assert!(set("--hours", week).status.success());
    check_fails(&set("--hours", "late"), 2, "is not hours of the day");
    check_fails(&set("--every", "0s"), 2, "`every` is 1s to 366d");
    let list = run(directory.path(), &["project", "list"]);
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    let expected = "every 1day, builders nightly, release, hours mon 01:00-02:00 22:00-06:00, \
                    sat-sun always";
    assert!(list.contains(expected), "{list}");

    for what in ["--every", "--builders", "--hours"] {
        assert!(set(what, "any").status.success(), "{what}");
    }
    let list = run(directory.path(), &["project", "list", "--json"]);
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    let bounds = ["every", "builders", "hours"].map(|what| list[0].get(what).cloned());
    assert_eq!(bounds, [None, None, None]);
}

#[test]
fn a_project_is_removed_by_the_owners_own_name_if_only_one_has_it() {
    let directory = with_config("");
    let other = SecretKey::from_seed(&[4; 32]).public();
    for (key, name) in [(project().to_string(), "twin"), (other.to_string(), "twin")] {
        let uri = format!("talkoot:{key}");
        assert!(run(directory.path(), &["project", "add", &uri, "--name", name]).status.success());
    }
    let remove = |what: &str| run(directory.path(), &["project", "remove", what]);

    check_fails(&remove("twin"), 3, "you call 2 projects twin");
    check_fails(&remove("triplet"), 3, "triplet is not among the projects");
    assert!(remove(&format!("talkoot:{other}")).status.success());
    assert!(remove("twin").status.success());
    check_fails(&remove("twin"), 3, "not among the projects");
}

#[test]
fn an_address_that_cannot_be_dialled_is_taken_with_a_warning() {
    let directory = with_config("");
    let uri = format!("talkoot:{}?broker=/ip4/192.0.2.1/udp/4077", project());
    let added = run(directory.path(), &["project", "add", &uri]);
    check_fails(&added, 0, "has no transport that this program speaks");
}

#[test]
fn receipts_in_a_file_are_checked_without_a_daemon() {
    let directory = with_config("");
    let verify = |text: &str, more: &[&str]| {
        let file = directory.path().join("receipts.txt");
        std::fs::write(&file, text).unwrap();
        let arguments = [&["results", "--verify", file.to_str().unwrap()], more].concat();
        run(directory.path(), &arguments)
    };
    let said = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let fresh = fresh_receipts();
    let sound = verify(&fresh, &[]);
    assert!(sound.status.success(), "{sound:?}");
    let sums = said(&sound);
    let project = project();
    assert!(
        sums.contains(&format!("  {project}: 2 accepted, 0 not, 3.0 core-seconds\n")),
        "{sums}"
    );
    let uri = format!("talkoot:{project}");
    assert!(run(directory.path(), &["project", "add", &uri, "--name", "demo"]).status.success());
    let named = said(&verify(&fresh, &[]));
    assert!(named.contains("  demo: 2 accepted"), "{named}");
    let json: Value = serde_json::from_slice(&verify(&fresh, &["--json"]).stdout).unwrap();
    assert_eq!((&json["listed"], &json["totals"][0]["credit"]), (&2.into(), &3000.into()));

    let twice = verify(&fresh.repeat(2), &[]);
    check_fails(&twice, 1, "2 of 4 receipts are not sound");
    assert!(said(&twice).contains(": a second receipt for result"), "{twice:?}");
    check_fails(&verify("# nothing\n", &[]), 3, "there is no receipt in");
    check_fails(
        &run(directory.path(), &["results", "--verify", "nowhere"]),
        3,
        "cannot read nowhere",
    );
    let endless = run(directory.path(), &["results", "--verify", "/dev/zero"]);
    check_fails(&endless, 3, "the list has over 128 MiB");
    check_fails(&run(directory.path(), &["results", "--verify"]), 4, "no daemon runs");
}

/// Two receipts that were issued just now, as a list.
fn fresh_receipts() -> String {
    let (adapter, now) = (SecretKey::from_seed(&[7; 32]), Clock::new().now().wall);
    let expires = now + Duration::from_secs(60 * 60);
    let encryption = DecryptionKey::from_seed(&[8; 32]).public();
    let delegation = Delegation { node: adapter.public(), encryption, expires };
    let delegation = Verified::sign(delegation, &SecretKey::from_seed(&[3; 32]));
    let receipt = |task: u8| Receipt {
        project: project(),
        result: StatementId::from_bytes([task; 32]),
        task: TaskId { offer: StatementId::from_bytes([9; 32]), task: task.into(), replica: 0 },
        volunteer: SecretKey::from_seed(&[4; 32]).public(),
        verdict: Verdict::Accepted(Credit(1500)),
        issued: now,
        delegation: delegation.envelope().clone(),
        expires,
    };
    let signed = [1, 2].map(|task| Verified::sign(receipt(task), &adapter));
    signed.iter().map(|it| statement_text("a receipt", it.envelope())).collect()
}

#[test]
fn the_help_names_the_exit_codes() {
    let help = run(tempfile::tempdir().unwrap().path(), &["--help"]);
    let help = String::from_utf8_lossy(&help.stdout);
    let codes =
        "Exit codes: 0 done; 1 the job of `exec` failed, or a receipt is not sound; 2 usage; 3 ";
    assert!(help.contains(codes), "{help}");
}

#[test]
fn where_all_runtimes_are_switched_off_nobody_blames_the_machine() {
    let directory = with_config("runtimes = []\n");
    let doctor = run(directory.path(), &["doctor"]);
    check_fails(&doctor, 6, "the owner has switched off all runtimes");
    let broker = "/ip4/192.0.2.1/udp/4077";
    let mut daemon = Daemon::start(directory.path(), &["--broker", broker, "--cores", "4096"]);
    let doubt = daemon.wait_for("doubtful setting");
    assert!(doubt["doubt"].as_str().unwrap().starts_with("`cores` donates 4096"), "{doubt}");
    let useless = daemon.wait_for("broker address of no use");
    assert!(
        useless["reason"].as_str().unwrap().contains("no transport of this program reaches it"),
        "{useless}"
    );
    daemon.wait_for("idle");
    let status = run(directory.path(), &["status", "--json"]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["idle"]["reason"], "the owner has switched off all runtimes");
    assert_eq!(status["broker_addresses"], 0);
    assert_eq!(daemon.terminate(), Some(0));
}

// The owner, whose key is on a machine of its own: here, a directory.

/// Does what must work; gives its standard output.
#[track_caller]
fn owner(directory: &Path, arguments: &[&str]) -> String {
    let output = run(directory, &[&["owner"], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn shown(directory: &Path) -> Value {
    serde_json::from_str(&owner(directory, &["show", "--json"])).unwrap()
}

fn node_key(directory: &Path) -> String {
    shown(directory)["node"].as_str().unwrap().to_owned()
}

#[test]
fn an_owner_signs_a_machine_elsewhere_and_the_machine_takes_the_file() {
    let (machine, other, safe) = (with_config(""), with_config(""), with_config(""));
    let key = owner(safe.path(), &["init"]).trim().to_owned();
    let mode = std::fs::metadata(safe.path().join("state/owner.key")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);

    let node = node_key(machine.path());
    let signed = owner(safe.path(), &["sign", &node]);
    assert!(signed.starts_with(&format!("# {key} owns {node}; until ")), "{signed}");
    let file = safe.path().join("mailed");
    std::fs::write(&file, &signed).unwrap();
    let file = file.to_str().unwrap();
    owner(machine.path(), &["set", file]);
    let said = shown(machine.path());
    assert_eq!((&said["owner"], &said["flaw"]), (&key.into(), &Value::Null));

    // As through a pipe.
    let mut set = volunteer(machine.path());
    let piped = std::fs::File::open(file).unwrap();
    let set = set.args(["owner", "set", "-"]).stdin(piped).output().unwrap();
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));

    let wrong = run(other.path(), &["owner", "set", file]);
    check_fails(&wrong, 3, &format!("owner sign {}", node_key(other.path())));
    std::fs::write(file, &signed[..signed.len() / 2]).unwrap();
    check_fails(&run(machine.path(), &["owner", "set", file]), 3, "no statement");
    // Copied by hand to where it does not belong, it is told and does not count.
    let place = other.path().join("state/ownership.statement");
    std::fs::copy(machine.path().join("state/ownership.statement"), place).unwrap();
    assert_eq!(shown(other.path())["flaw"], "it is for another machine");
}

#[test]
fn an_owner_key_is_made_once_and_missed_with_advice() {
    let safe = with_config("");
    let nothing = run(safe.path(), &["owner", "sign", &project().to_string()]);
    check_fails(&nothing, 3, "talkoot-volunteer owner init");
    let key = owner(safe.path(), &["init"]).trim().to_owned();
    check_fails(&run(safe.path(), &["owner", "init"]), 5, "there is a key in");
    assert_eq!(shown(safe.path())["owner-key"], *key);
    check_fails(&run(safe.path(), &["owner", "sign", &key]), 2, "owner show");
    check_fails(&run(safe.path(), &["owner", "sign", "abc"]), 2, "is not a key");
    check_fails(&run(safe.path(), &["owner", "move", "--to", &key]), 2, "the same owner key");
    check_fails(&run(safe.path(), &["owner", "set", "nowhere"]), 3, "cannot read nowhere");
    check_fails(&run(safe.path(), &["owner", "revoke"]), 2, "NODE-KEY");
}

#[test]
fn an_owner_moves_once_and_the_old_key_signs_no_machine_any_more() {
    let (machine, safe) = (with_config(""), with_config(""));
    owner(safe.path(), &["init"]);
    let place = |name: &str| safe.path().join(name).to_str().unwrap().to_owned();
    let new = owner(safe.path(), &["init", "--key", &place("new.key")]).trim().to_owned();
    owner(safe.path(), &["move", "--to", &new, "-o", &place("moved")]);
    owner(machine.path(), &["set", &place("moved")]);
    let told = shown(machine.path())["told"][0].as_str().unwrap().to_owned();
    assert!(told.contains(&format!(" is followed by {new}; until ")), "{told}");

    owner(safe.path(), &["move", "--to", &new]);
    let other = project().to_string();
    let again = run(safe.path(), &["owner", "move", "--to", &other]);
    check_fails(&again, 3, &format!("has moved to {new} already"));
    let node = node_key(machine.path());
    check_fails(&run(safe.path(), &["owner", "sign", &node]), 3, "has moved to");
    owner(safe.path(), &["sign", &node, "--key", &place("new.key")]);
}

#[test]
fn a_revocation_of_a_machine_or_of_the_owner_is_told_by_another_machine() {
    let (machine, safe) = (with_config(""), with_config(""));
    let key = owner(safe.path(), &["init"]).trim().to_owned();
    let lost = project().to_string();
    let file = safe.path().join("revoked").to_str().unwrap().to_owned();
    let revoke = ["revoke", &lost, "--reason", "stolen", "-o", &file];
    owner(safe.path(), &revoke);
    let told = owner(machine.path(), &["set", &file]);
    assert!(told.starts_with(&format!("{lost} is void, says {key}; until ")), "{told}");
    owner(safe.path(), &["revoke", "--owner-key", "-o", &file]);
    let told = owner(machine.path(), &["set", &file]);
    assert!(told.starts_with(&format!("{key} is void, says the key itself; until ")), "{told}");
    assert_eq!(shown(machine.path())["told"].as_array().unwrap().len(), 2);
}

// What is found on the machine, in the real sandbox.

/// What `doctor` with these arguments finds, as JSON.
fn doctor(directory: &Path, more: &[&str]) -> Value {
    let arguments = [&["doctor", "--json"], more].concat();
    let output = run(directory, &arguments);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// The native runtime of a diagnosis, which must be offered.
fn native(found: &Value) -> &Value {
    let native = &found["runtimes"][0];
    assert_eq!(native["reason"], Value::Null, "these tests need the sandbox");
    native
}

#[test]
fn a_tool_that_hangs_floods_fails_or_is_not_to_be_seen_loses_its_own_fact_alone() {
    let outside = tempfile::tempdir().unwrap();
    let tool = outside.path().join("tool");
    std::fs::write(&tool, "#!/bin/sh\necho 1.2.3\n").unwrap();
    let text = format!(
        r#"
runtimes = ["native"]
[[tool]]
name = "hangs"
command = ["sleep", "60"]
[[tool]]
name = "floods"
command = ["yes", "1.2.3"]
[[tool]]
name = "fails"
command = ["sh", "-c", "echo 1.2.3; exit 3"]
[[tool]]
name = "leaves-somebody"
command = ["sh", "-c", "sleep 60 >/dev/null 2>&1 & echo 1.2.3"]
[[tool]]
name = "outside"
command = ["{}"]
[[tool]]
name = "works"
command = ["sh", "-c", "echo v7.8, they say"]
pattern = 'v(\d)\.(\d)'
"#,
        tool.display()
    );
    let directory = with_config(&text);
    let found = doctor(directory.path(), &[]);
    let facts = &native(&found)["facts"];
    assert_eq!(
        (&facts["tool.works"], &facts["tool.leaves-somebody"]),
        (&"7.8".into(), &"1.2.3".into())
    );
    assert_eq!((&facts["os"], &facts["network"]), (&"linux".into(), &"none".into()));
    for lost in ["tool.hangs", "tool.floods", "tool.fails", "tool.outside"] {
        assert_eq!(facts[lost], Value::Null, "{lost}");
    }
    let reason = |fact: &str| {
        let lost = native(&found)["lost"].as_array().unwrap();
        let lost = lost.iter().find(|lost| lost["fact"] == fact).unwrap();
        lost["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(reason("tool.hangs"), "did not answer within 5 s");
    assert_eq!(reason("tool.floods"), "says more than 8 KiB");
    assert_eq!(reason("tool.fails"), "ends with exit code 3: 1.2.3");
}

#[test]
fn what_has_not_changed_is_not_asked_again() {
    let directory = with_config("runtimes = [\"native\"]\n");
    let first = doctor(directory.path(), &[]);
    let asked = |found: &Value| native(found)["asked"].as_u64().unwrap();
    assert!(asked(&first) > 5, "{first}");
    let second = doctor(directory.path(), &[]);
    assert_eq!(
        (asked(&second), &native(&second)["facts"]["tool.bash"]),
        (0, &native(&first)["facts"]["tool.bash"])
    );
    assert_eq!(asked(&doctor(directory.path(), &["--fresh"])), asked(&first));

    let cache = directory.path().join("state/cache/probes.json");
    std::fs::write(&cache, "{\"layout\":1,\"known\":[[[[").unwrap();
    assert_eq!(asked(&doctor(directory.path(), &[])), asked(&first));

    let config = "runtimes = [\"native\"]\n[[tool]]\nname = \"frob\"\n";
    std::fs::write(directory.path().join("volunteer.toml"), config).unwrap();
    assert_eq!(asked(&doctor(directory.path(), &[])), asked(&first), "the table is another one");
}

#[test]
fn a_job_file_is_held_against_the_machine() {
    let directory = with_config("runtimes = [\"native\"]\nlabels = [\"lab\"]\n");
    let job = directory.path().join("job.toml");
    let write = |needs: &str| {
        let text = format!(
            "name = \"hello\"\n[requirements]\nruntimes = [\"native\"]\n{needs}\n\
             [[step]]\nname = \"a\"\nrun = [\"a\"]\n"
        );
        std::fs::write(&job, text).unwrap();
    };
    let job = job.to_str().unwrap();
    write("tools.bash = \"*\"\nfacts.labels = [\"lab\"]");
    let fits = run(directory.path(), &["doctor", "--job", job]);
    assert!(fits.status.success(), "{}", String::from_utf8_lossy(&fits.stderr));
    assert!(String::from_utf8_lossy(&fits.stdout).contains("native: could run it"));

    write("tools.bash = \">=99\"\ntools.zig = \"*\"");
    check_fails(&run(directory.path(), &["doctor", "--job", job]), 6, "cannot run hello");
    let found = doctor(directory.path(), &["--job", job]);
    assert_eq!(found["job"]["runtime"], Value::Null);
    let missing = found["job"]["missing"].as_array().unwrap();
    let what: Vec<_> = missing.iter().map(|missing| missing["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["tool.bash", "tool.zig"]);

    write("tools.cmkae = \"*\"");
    let misspelt = run(directory.path(), &["doctor", "--job", job]);
    check_fails(&misspelt, 3, "job.toml:4:7: requirements.tools.cmkae");
}

#[test]
fn a_project_is_told_which_of_its_runtimes_works() {
    let directory = with_config("runtimes = [\"native\"]\n");
    let uri = format!("talkoot:{}", project());
    assert!(run(directory.path(), &["project", "add", &uri, "--name", "sweep"]).status.success());
    let found = doctor(directory.path(), &[]);
    let sweep = &found["projects"][0];
    assert_eq!((&sweep["name"], &sweep["runtimes"]["native"]), (&"sweep".into(), &Value::Null));
    let wasm = sweep["runtimes"]["wasm"].as_str().unwrap();
    assert!(wasm.contains("switched off"), "{wasm}");
}

// A running daemon.

#[test]
fn a_daemon_keeps_its_hours_in_local_time() {
    let minute = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let minute = minute.as_secs() / 60;
    let time = |ahead: u64| {
        let minute = (minute + ahead) % (24 * 60);
        format!("{:02}:{:02}", minute / 60, minute % 60)
    };
    // From in two hours to in four, in the zone of Greenwich.
    let hours = format!("runtimes = []\nhours = \"{}-{}\"\n", time(120), time(240));
    let reason = |zone: &str| {
        let directory = with_config(&hours);
        let mut command = volunteer(directory.path());
        command.env("TZ", zone);
        let mut daemon = Daemon::start_as(command, &["--cores", "1"]);
        // The first is that the machine is still being probed, or what is wanted here.
        daemon.wait_for("idle")["reason"].as_str().unwrap().to_owned()
    };
    assert!(reason("UTC0").starts_with("outside of the hours"));
    assert_eq!(reason("AHEAD-3"), "no runtime works on this machine");
}

/// Asks until `wanted` is true of the status; gives that.
fn wait_for_status(directory: &Path, wanted: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let output = run(directory, &["status", "--json"]);
        let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if wanted(&status) {
            return status;
        }
        assert!(Instant::now() < until, "{status:#}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_changed_configuration_is_taken_over_and_a_wrong_one_changes_nothing() {
    let directory = with_config("runtimes = []\ncores = 3\nmemory = \"64 MiB\"\n");
    let path = directory.path().join("volunteer.toml");
    let mut daemon = Daemon::start(directory.path(), &["--memory", "32 MiB"]);
    daemon.wait_for("idle");
    let wait = |wanted: &dyn Fn(&Value) -> bool| wait_for_status(directory.path(), wanted);
    assert_eq!(wait(&|it| it["donated"]["cores"] == 3)["donated"]["memory"], 32 << 20);

    let set = run(directory.path(), &["config", "set", "cores", "2"]);
    assert!(set.status.success(), "{set:?}");
    let status = wait(&|it| it["donated"]["cores"] == 2);
    assert_eq!(status["donated"]["memory"], 32 << 20, "flags win over the file");

    std::fs::write(&path, "cores = 1\ncroes = 2\n").unwrap();
    let status = wait(&|it| it["config_complaint"].is_string());
    let complaint = status["config_complaint"].as_str().unwrap();
    assert!(complaint.contains("volunteer.toml:2: unknown field `croes`"), "{complaint}");
    assert_eq!(status["donated"]["cores"], 2);

    let changed = "runtimes = []\ndiscover = false\nmax-temperature = 200\n";
    std::fs::write(&path, changed).unwrap();
    let status = wait(&|it| it["waits_for_restart"][0] == "discover");
    assert_eq!(status["config_complaint"], Value::Null);
    assert_eq!(status["sensors"][0]["setting"], "max-temperature");
    assert_eq!(daemon.terminate(), Some(0));
}

#[test]
fn jobs_give_way_to_a_program_that_the_owner_has_named() {
    let name = "talkoot-chess";
    let directory = with_config(&format!("runtimes = []\n[in-use]\nprograms = [\"{name}\"]\n"));
    let program = directory.path().join(name);
    std::fs::copy("/bin/sleep", &program).unwrap();
    let mut child = Command::new(&program).arg("600").spawn().unwrap();
    let mut daemon = Daemon::start(directory.path(), &[]);
    daemon.wait_for("idle");
    let status = wait_for_status(directory.path(), |it| it["gives_way_to"][0].is_string());
    child.kill().unwrap();
    child.wait().unwrap();
    let expected = "the machine gives way to its owner: talkoot-chess runs";
    assert_eq!(status["idle"]["reason"], expected, "{status:#}");
    assert_eq!(status["sensors"][0]["sees"], "all processes");
}

#[test]
fn the_configuration_is_shown_with_where_each_setting_comes_from() {
    let directory = with_config("cores = \"100%\"\nname = \"bench\"\n");
    let mut command = volunteer(directory.path());
    command.env("TALKOOT_NAME", "other").args(["config", "show", "--json", "--memory", "64 MiB"]);
    let output = command.output().unwrap();
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    let row = |setting: &str| {
        let mut rows = rows.as_array().unwrap().iter();
        rows.find(|row| row["setting"] == setting).unwrap().clone()
    };
    let check = |setting: &str, value: &str, from: &str| {
        let found = row(setting);
        assert_eq!((&found["value"], &found["from"]), (&value.into(), &from.into()), "{found}");
    };
    check("cores", "\"100%\"", "file");
    check("memory", "\"64 MiB\"", "flag");
    check("name", "\"other\"", "variable");
    check("hours", "always", "default");
    let there = std::thread::available_parallelism().unwrap().to_string();
    assert_eq!(row("cores")["here"], there.as_str());
}

#[test]
fn a_setting_is_changed_in_its_file_or_not_at_all() {
    let text = "# mine\ncores = 1 # few\n\n[policy]\nduration = { at-most = \"1h\" }\n";
    let directory = with_config(text);
    let read = || std::fs::read_to_string(directory.path().join("volunteer.toml")).unwrap();
    let set =
        |setting: &str, value: &str| run(directory.path(), &["config", "set", setting, value]);
    assert!(set("cores", "50%").status.success());
    assert!(set("hours", "{ weekend = \"always\" }").status.success());
    assert!(set("in-use.load", "40%").status.success());
    let expected = "# mine\ncores = \"50%\" # few\n\nhours = { weekend = \"always\" }\n[policy]\n\
                    duration = { at-most = \"1h\" }\n\n[in-use]\nload = \"40%\"\n";
    assert_eq!(read(), expected);
    assert!(run(directory.path(), &["config", "check"]).status.success());

    check_fails(&set("croes", "1"), 3, "unknown field `croes`");
    check_fails(&set("cores", "many"), 3, "is not a number of cores");
    check_fails(&set("in-use.load", "0"), 3, "is not a proportion");
    check_fails(&set("memory", "1 KiB"), 3, "with which no job could run");
    assert_eq!(read(), expected);

    let wrong = directory.path().join("wrong.toml");
    std::fs::write(&wrong, "hours = 3\n").unwrap();
    check_fails(
        &run(directory.path(), &["config", "check", wrong.to_str().unwrap()]),
        3,
        "wrong.toml:1: hours are as in",
    );
}

#[test]
fn a_wish_that_the_daemon_refuses_is_not_called_silence() {
    let directory = with_config("runtimes = []\n");
    let mut daemon = Daemon::start(directory.path(), &[]);
    daemon.wait_for("idle");
    // Something else than a daemon, or one of another version.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let other = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(&stream).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.is_empty()), "the end of the request");
        stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nwhat").unwrap();
    });
    let refused = run(directory.path(), &["resume", "--http", &address]);
    check_fails(&refused, 4, "the daemon refuses (404 Not Found) what");
    other.join().unwrap();
    let long = "x".repeat(300);
    check_fails(&run(directory.path(), &["pause", "--note", &long]), 2, "a note has at most");
    let within = run(directory.path(), &["drain", "--within", "2years"]);
    check_fails(&within, 2, "a drain ends within a year");
    let paused = run(directory.path(), &["pause"]);
    assert!(paused.status.success(), "{paused:?}");
    assert!(run(directory.path(), &["drain", "--within", "1h"]).status.success());
    drop(daemon);
}

struct Daemon {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStderr>>,
}

impl Daemon {
    /// Starts one without a runtime to try, so that it is ready at once.
    fn start(directory: &Path, more: &[&str]) -> Self {
        Self::start_as(volunteer(directory), more)
    }

    fn start_as(mut command: Command, more: &[&str]) -> Self {
        command.args(["--log-format", "json", "run", "--http", "127.0.0.1:0"]).args(more);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Reads the log up to the event `message`.
    fn wait_for(&mut self, message: &str) -> Value {
        for line in self.lines.by_ref() {
            let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
            if event["message"] == message {
                return event;
            }
        }
        panic!("the daemon ended without {message:?}");
    }

    fn terminate(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_daemon_says_why_it_is_idle_notices_a_pin_and_ends_when_asked() {
    let directory = with_config("runtimes = [\"wasm\"]\n");
    let mut daemon = Daemon::start(directory.path(), &["--cores", "1", "--name", "bench"]);
    daemon.wait_for("http");

    let status = run(directory.path(), &["status", "--json"]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!((&status["name"], &status["donated"]["cores"]), (&"bench".into(), &1.into()));

    let key = project().to_string();
    assert!(run(directory.path(), &["project", "add", &format!("talkoot:{key}")]).status.success());
    daemon.wait_for("trusted projects read again");

    assert!(run(directory.path(), &["pause"]).status.success());
    let why = run(directory.path(), &["why", "--json"]);
    let why: Value = serde_json::from_slice(&why.stdout).unwrap();
    assert_eq!(why["idle"]["reason"], "paused by the owner");
    let results = run(directory.path(), &["results", "--json"]);
    let results: Value = serde_json::from_slice(&results.stdout).unwrap();
    assert_eq!(results["projects"][0]["project"], key);

    let asked = Instant::now();
    assert_eq!(daemon.terminate(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(10));
    check_fails(&run(directory.path(), &["status"]), 4, "no daemon runs");
}

#[test]
fn a_running_daemon_notices_whose_machine_it_is() {
    let (machine, safe) = (with_config("runtimes = []\n"), with_config(""));
    owner(safe.path(), &["init"]);
    let mut daemon = Daemon::start(machine.path(), &[]);
    daemon.wait_for("http");
    let node = shown(machine.path())["node"].as_str().unwrap().to_owned();
    let file = safe.path().join("owned");
    let file = file.to_str().unwrap();
    owner(safe.path(), &["sign", &node, "-o", file]);
    let key = shown(safe.path())["owner-key"].clone();

    owner(machine.path(), &["set", file]);
    assert_eq!(daemon.wait_for("owner")["owner"], key);
    let status = run(machine.path(), &["status", "--json"]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["owner"], key);
    assert_eq!(daemon.terminate(), Some(0));
}

#[test]
fn one_state_directory_is_for_one_daemon() {
    let directory = with_config("runtimes = []\n");
    let mut daemon = Daemon::start(directory.path(), &[]);
    daemon.wait_for("http");
    let second = run(directory.path(), &["run", "--http", "127.0.0.1:0"]);
    check_fails(&second, 5, "in use");
    assert_eq!(daemon.terminate(), Some(0));
}

#[test]
fn stopping_ends_the_daemon_although_it_is_paused() {
    let directory = with_config("runtimes = []\n");
    let mut daemon = Daemon::start(directory.path(), &[]);
    daemon.wait_for("http");
    assert!(run(directory.path(), &["pause", "--for", "2h", "--note", "a call"]).status.success());
    assert!(run(directory.path(), &["stop"]).status.success());
    daemon.wait_for("asked to end; stopping jobs and releasing leases");
    assert_eq!(daemon.child.wait().unwrap().code(), Some(0));

    let mut daemon = Daemon::start(directory.path(), &[]);
    daemon.wait_for("http");
    let logged = daemon.wait_for("idle")["reason"].to_string();
    assert!(logged.contains("paused by the owner until") && !logged.contains("a call"), "{logged}");
    let why = run(directory.path(), &["why"]);
    let why = String::from_utf8_lossy(&why.stdout);
    assert!(why.contains("paused by the owner until") && why.contains(": a call"), "{why}");
    let long = "n".repeat(257);
    check_fails(&run(directory.path(), &["pause", "--note", &long]), 2, "256 bytes");
    check_fails(&run(directory.path(), &["pause", "--for", "soon"]), 2, "--for");
    check_fails(&run(directory.path(), &["pause", "--for", "0s"]), 2, "from a second to a year");
    assert!(run(directory.path(), &["resume"]).status.success());
    let status = run(directory.path(), &["status"]);
    assert!(!String::from_utf8_lossy(&status.stdout).contains("paused"));
}

#[test]
fn draining_ends_the_daemon() {
    let directory = with_config("runtimes = []\n");
    let mut daemon = Daemon::start(directory.path(), &[]);
    daemon.wait_for("http");
    assert!(run(directory.path(), &["drain"]).status.success());
    daemon.wait_for("drained");
    assert_eq!(daemon.child.wait().unwrap().code(), Some(0));
}
