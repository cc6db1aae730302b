//! What people get wrong: each mistake ends in one clear line, a hint, and a documented exit code.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use xtask::tools;

const USAGE: i32 = 2;
const INPUT: i32 = 3;
const NETWORK: i32 = 4;
const STATE: i32 = 5;

/// A daemon, how it is started, and where its key is.
struct Daemon {
    program: &'static str,
    extra: &'static [&'static str],
}

const DAEMONS: [Daemon; 3] = [
    Daemon {
        program: "talkoot-broker",
        extra: &["--listen", "/ip4/127.0.0.1/tcp/0", "--door", "off"],
    },
    Daemon { program: "talkoot-volunteer", extra: &["--broker", NOBODY] },
    Daemon { program: "talkoot-master", extra: &["--broker", NOBODY] },
];

/// An address at which nobody listens.
const NOBODY: &str =
    "/ip4/127.0.0.1/tcp/9/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file that only its owner reads.
    fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> std::path::PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("below the directory")).expect("made");
        fs::write(&path, contents).expect("written");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("set");
        path
    }

    /// Makes a project in `state`, so that its adapter can start.
    fn prepare(&self, daemon: &Daemon, state: &Path) {
        if daemon.program == "talkoot-master" {
            let mut init = program(daemon.program);
            init.args(["init", "--name", "Mistakes", "--state"]).arg(state);
            assert!(init.output().expect("it runs").status.success());
        }
    }
}

fn program(name: &str) -> Command {
    let path = tools::programs().expect("the programs' folder").join(name);
    assert!(path.exists(), "{name} is not built: run `cargo build --release`");
    let mut command = Command::new(path);
    command.stdin(Stdio::null()).env_remove("TALKOOT_LOG");
    command
}

fn run(daemon: &Daemon, state: &Path, more: &[&str]) -> Command {
    let mut command = program(daemon.program);
    command.arg("run").args(daemon.extra).arg("--state").arg(state);
    if !more.contains(&"--http") {
        command.args(["--http", "127.0.0.1:0"]);
    }
    command.args(more);
    command
}

/// Runs a command that should end by itself.
fn end_of(mut command: Command) -> Output {
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let deadline = Instant::now() + Duration::from_secs(30);
    while child.try_wait().expect("our child").is_none() {
        if Instant::now() > deadline {
            child.kill().expect("our child");
            let output = child.wait_with_output().expect("our child");
            panic!("{command:?} goes on in spite of the mistake: {}", text(&output.stderr));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().expect("our child")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// One `error:` line that contains `says`, no panic, the exit code.
fn expect(output: &Output, code: i32, says: &str) {
    let stderr = text(&output.stderr);
    let errors: Vec<_> = stderr.lines().filter(|line| line.starts_with("error:")).collect();
    assert_eq!(errors.len(), 1, "one line says what is wrong:\n{stderr}");
    assert!(errors[0].contains(says), "`{says}` is missing in:\n{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert_eq!(output.status.code(), Some(code), "{stderr}");
}

#[test]
fn a_garbled_configuration_is_named_with_its_line() {
    for daemon in &DAEMONS {
        let place = Place::new();
        place.prepare(daemon, &place.path("state"));
        let config = place.write("config.toml", "http = \"127.0.0.1:0\"\nhtpp = 1\n");
        let config = config.to_str().expect("text");
        let output = end_of(run(daemon, &place.path("state"), &["--config", config]));
        expect(&output, INPUT, "config.toml:2");

        let config = place.write("config.toml", b"\xff\xfe not toml");
        let config = config.to_str().expect("text");
        let output = end_of(run(daemon, &place.path("state"), &["--config", config]));
        expect(&output, INPUT, "config.toml");
    }
}

#[test]
fn a_wrong_key_file_is_refused_and_left_alone() {
    for daemon in &DAEMONS {
        let place = Place::new();
        place.prepare(daemon, &place.path("state"));
        let key = place.write("state/node.key", "this is my shopping list\n");
        expect(&end_of(run(daemon, &place.path("state"), &[])), INPUT, "node.key");
        assert_eq!(fs::read(&key).expect("still there"), b"this is my shopping list\n");

        fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).expect("set");
        expect(&end_of(run(daemon, &place.path("state"), &[])), INPUT, "chmod 600");
    }
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    for daemon in &DAEMONS {
        let place = Place::new();
        place.prepare(daemon, &place.path("state"));
        let output = end_of(run(daemon, &place.path("state"), &["--http", &address]));
        expect(&output, NETWORK, &address);
    }
}

#[test]
fn a_state_directory_that_cannot_be_is_named() {
    for daemon in &DAEMONS {
        let place = Place::new();
        let file = place.write("a-file", "");
        let code = end_of(run(daemon, &file.join("state"), &[])).status.code();
        assert!(matches!(code, Some(INPUT | STATE)), "{}: {code:?}", daemon.program);
    }
}

#[test]
fn two_daemons_cannot_have_one_state() {
    let place = Place::new();
    let broker = &DAEMONS[0];
    let mut first = run(broker, &place.path("state"), &[]);
    let mut first = first.stderr(Stdio::piped()).spawn().expect("it starts");
    // Once it listens, the state is its own.
    let mut log = BufReader::new(first.stderr.take().expect("piped")).lines();
    assert!(log.any(|line| line.expect("text").contains("listening")), "it ended");
    let output = end_of(run(broker, &place.path("state"), &[]));
    first.kill().expect("our child");
    first.wait().expect("our child");
    expect(&output, STATE, "in use");
}

#[test]
fn an_unknown_job_field_is_named_with_its_line_and_the_right_word() {
    let place = Place::new();
    place.prepare(&DAEMONS[2], &place.path("state"));
    let job = "name = \"x\"\n[requirments]\nruntimes = [\"wasm\"]\n[[step]]\nname = \"a\"\nrun = [\"a.wasm\"]\n";
    let job = place.write("job.toml", job);
    let mut submit = program("talkoot-master");
    submit.arg("submit").arg(job).arg("--state").arg(place.path("state"));
    let output = end_of(submit);
    expect(&output, INPUT, "job.toml:2");
    assert!(text(&output.stderr).contains("did you mean \"requirements\""));
}

#[test]
fn a_project_uri_with_a_mistyped_key_is_refused() {
    let place = Place::new();
    let mut add = program("talkoot-volunteer");
    add.args(["project", "add", "talkoot:abcdefg", "--state"]).arg(place.path("state"));
    expect(&end_of(add), USAGE, "not a key");
}

#[test]
fn submitting_without_an_adapter_says_how_to_start_one() {
    let place = Place::new();
    place.prepare(&DAEMONS[2], &place.path("state"));
    let job = "name = \"x\"\n[requirements]\nruntimes = [\"wasm\"]\n[[step]]\nname = \"a\"\nrun = [\"a.wasm\"]\n";
    let job = place.write("package/job.toml", job);
    place.write("package/a.wasm", "");
    let mut submit = program("talkoot-master");
    submit.arg("submit").arg(job).arg("--state").arg(place.path("state"));
    let output = end_of(submit);
    expect(&output, NETWORK, "");
    assert!(text(&output.stderr).contains("talkoot-master run"), "{}", text(&output.stderr));
}

/// On a disk that takes no more files no daemon can start, and each says so. That a broker whose disk fills up
/// acknowledges nothing is a story of its own crate. Needs root, for the disk; CI has it.
#[test]
fn a_full_disk_is_named() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "CI runs as root, to make a small disk");
        eprintln!("NOT RUN: only root can make a small disk");
        return;
    }
    for daemon in &DAEMONS {
        let place = Place::new();
        let state = place.path("state");
        fs::create_dir(&state).expect("made");
        let program = tools::programs().expect("the programs' folder").join(daemon.program);
        let script = format!(
            "mount -t tmpfs -o size=256k,nr_inodes=4 tmpfs {state} && {{ {init}; }} && \
             exec {program} run {extra} --http 127.0.0.1:0 --state {state}",
            state = state.display(),
            program = program.display(),
            extra = daemon.extra.join(" "),
            init = match daemon.program {
                "talkoot-master" => {
                    format!("{} init --name Full --state {}", program.display(), state.display())
                }
                _ => "true".to_owned(),
            },
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]).stdin(Stdio::null());
        expect(&end_of(command), STATE, "");
    }
}
