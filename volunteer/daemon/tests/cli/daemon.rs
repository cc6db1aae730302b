//! A running daemon, and what is said to it.

use crate::*;

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
    let paused = run(directory.path(), &["pause", "--note", "a call", "--json"]);
    let paused: Value = serde_json::from_slice(&paused.stdout).unwrap();
    assert_eq!((&paused["running"], &paused["paused"]), (&true.into(), &true.into()), "{paused}");
    assert_eq!(paused["obstacle"]["reason"], "paused by the owner: a call");
    assert!(run(directory.path(), &["drain", "--within", "1h"]).status.success());
    drop(daemon);
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
