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

mod daemon;
mod doctor;
mod engine;
mod exec;
mod image;
mod lists;
mod owner;
mod projects;
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
