//! From the start of a step to its end.

use std::fs;
use std::process::Command;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use volunteer_sandbox::{Cgroups, Ending, Helper, Sandbox, StartError, self_test};

use crate::support::{
    Bench, FIXTURE, by_signals, eventually, fixture, groups, groups_of, is_running, sandbox, text,
};
use crate::traces::{naps_of, processes_with_mounts_of};

#[test]
fn steps_share_the_work_directory_and_nothing_else() {
    let bench = Bench::new();
    fs::write(bench.work().join("given"), "by the host").unwrap();

    bench.sh("cp given made; mkdir sub; echo lost >/tmp/lost; echo lost >~/lost");
    let mut spec = bench.script("pwd; cat ../given ../made; ls /tmp ~");
    spec.cwd = "sub".into();
    let outcome = bench.run(&spec);

    assert_eq!(text(&outcome), "/work/sub\nby the hostby the host/home/job:\n\n/tmp:\n");
    assert_eq!(fs::read_to_string(bench.work().join("made")).unwrap(), "by the host");
}

#[test]
fn endings_of_its_own_making_are_told_apart() {
    let bench = Bench::new();
    let check = |command: &[&str], expected: Ending| {
        let outcome = bench.run(&bench.step(command));
        assert_eq!(outcome.ending, expected, "{command:?}: {}", text(&outcome));
    };
    check(&["true"], Ending::Exited { code: 0 });
    check(&["sh", "-c", "exit 42"], Ending::Exited { code: 42 });
    check(&["sh", "-c", "kill -SEGV $$"], Ending::Signalled { signal: libc::SIGSEGV });
    check(&["no-such-program"], Ending::Exited { code: 127 });
    check(&["/etc/passwd"], Ending::Exited { code: 126 });
}

#[test]
fn output_comes_in_order_and_while_the_step_runs() {
    let bench = Bench::new();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hearing = Arc::clone(&heard);
    let observer = Box::new(move |piece: &[u8]| hearing.lock().unwrap().extend_from_slice(piece));
    let spec = bench.script(
        "echo one; echo two >/dev/stderr; echo three; while ! [ -e go ]; do :; done; echo go",
    );

    let running = sandbox().start(&spec, Some(observer)).unwrap();
    eventually("live output", || *heard.lock().unwrap() == b"one\ntwo\nthree\n");
    fs::write(bench.work().join("go"), "").unwrap();
    let outcome = running.wait();

    assert_eq!(text(&outcome), "one\ntwo\nthree\ngo\n");
    assert_eq!(*heard.lock().unwrap(), outcome.output);
}

#[test]
fn use_is_measured() {
    let bench = Bench::new();
    // Long enough after the last byte was touched for init to look again.
    let spec =
        bench.script(&format!("mkfifo said; {FIXTURE} hog 50 >said & read line <said; sleep 0.5"));

    let outcome = bench.run(&spec);

    assert_eq!(outcome.ending, Ending::Exited { code: 0 }, "{outcome:?}");
    assert!(outcome.cpu > Duration::from_millis(1), "{outcome:?}");
    assert!(outcome.wall > Duration::from_millis(500), "{outcome:?}");
    assert!(outcome.memory_peak > 50 << 20, "{outcome:?}");
}

#[test]
fn processes_left_in_the_background_are_gone() {
    let bench = Bench::new();
    let word = unique("1001");

    let outcome = bench.run(&bench.script(&format!(
        "setsid sleep {word} & (setsid sh -c 'sleep {word} & sleep {word}' &); echo started"
    )));

    assert_eq!(outcome.ending, Ending::Exited { code: 0 });
    assert!(!is_running(&word));
}

#[test]
fn nobody_outlives_the_job_while_its_files_are_counted() {
    let bench = Bench::new();
    // Take a good while to count, and the large one is a reason to.
    for number in 0..50_000 {
        fs::File::create(bench.work().join(number.to_string())).unwrap();
    }
    let mut spec = bench.script(
        "(while [ -d /proc/$$ ]; do sleep 0.01; done; sleep 0.01; echo here >survivor) & \
         fallocate -l 100000000 large",
    );
    spec.limits.disk = 1 << 30;

    let outcome = bench.run(&spec);

    assert_eq!(outcome.ending, Ending::Exited { code: 0 }, "{outcome:?}");
    assert!(!bench.work().join("survivor").exists());
}

#[test]
fn no_mount_reaches_the_host() {
    let bench = Bench::new();
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = mounts();

    let running = sandbox().start(&bench.script("touch ready; sleep 1000"), None).unwrap();
    eventually("the step's start", || bench.work().join("ready").exists());

    assert_eq!(mounts(), before);
    drop(running);
}

#[test]
fn the_owner_can_end_a_step() {
    let bench = Bench::new();
    let word = unique("1002");
    let running = sandbox().start(&bench.step(&["sleep", &word]), None).unwrap();
    eventually("the step's start", || is_running(&word));

    running.handle().kill();

    assert_eq!(running.wait().ending, Ending::Killed);
    assert!(!is_running(&word));
}

#[test]
fn a_step_that_nobody_waits_for_ends() {
    let bench = Bench::new();
    let word = unique("1003");
    let running = sandbox().start(&bench.step(&["sleep", &word]), None).unwrap();
    eventually("the step's start", || is_running(&word));

    drop(running);

    eventually("the step's end", || !is_running(&word));
}

#[test]
fn the_job_dies_with_its_helper() {
    let bench = Bench::new();
    let word = unique("1004");
    let running = sandbox().start(&bench.step(&["sleep", &word]), None).unwrap();
    eventually("the step's start", || is_running(&word));

    kill_helper_of(&word);

    assert!(matches!(running.wait().ending, Ending::SandboxFailed { .. } | Ending::Killed));
    eventually("the job's end", || !is_running(&word));
}

#[test]
fn nothing_outlives_a_daemon_that_is_killed() {
    let bench = Bench::new();
    let word = unique("1005");
    let script =
        format!("trap '' TERM HUP; (setsid sleep {word} &); setsid sleep {word} & sleep {word}");
    let mut daemon = Command::new(fixture())
        .args(["run".as_ref(), bench.work().as_os_str()])
        .args(["sh", "-c", &script])
        .spawn()
        .unwrap();
    eventually("the step's start", || is_running(&word));

    daemon.kill().unwrap();
    daemon.wait().unwrap();

    eventually("the end of all processes", || processes_with_mounts_of(bench.name()).is_empty());
    assert!(!is_running(&word));
    if let Some(groups) = groups() {
        assert_eq!(groups_of(daemon.id(), &groups).len(), 1);
        // As the next daemon does.
        Cgroups::find().unwrap();
        assert_eq!(groups_of(daemon.id(), &groups), [""; 0]);
    }
}

#[test]
fn a_paused_step_stands_still_and_its_clock_too() {
    check_pause(&sandbox());
}

#[test]
fn a_pause_by_signals_is_one_too() {
    check_pause(&by_signals());
}

fn check_pause(sandbox: &Sandbox) {
    let bench = Bench::new();
    let mut spec = bench.script("while :; do echo x >>ticks; done");
    spec.limits.wall = Duration::from_secs(2);
    let ticks = || fs::metadata(bench.work().join("ticks")).map_or(0, |meta| meta.len());
    let running = sandbox.start(&spec, None).unwrap();
    let handle = running.handle();
    eventually("progress", || ticks() > 0);

    handle.pause();
    let mut before = ticks();
    eventually("standstill", || {
        std::thread::sleep(Duration::from_millis(50));
        before == std::mem::replace(&mut before, ticks())
    });
    // Longer than its whole time.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(ticks(), before);
    handle.resume();
    let outcome = running.wait();

    assert!(ticks() > before);
    assert_eq!(outcome.ending, Ending::TimedOut);
    assert!(outcome.wall < Duration::from_millis(2400), "{outcome:?}");
}

#[test]
fn a_paused_step_is_looked_at_now_and_then_however_near_its_limit() {
    let bench = Bench::new();
    let mut spec = bench.step(&[FIXTURE, "hog", "150"]);
    spec.limits.memory = 160 << 20;
    let (told, held) = mpsc::channel();
    let observer = Box::new(move |_: &[u8]| told.send(()).unwrap());
    let running = by_signals().start(&spec, Some(observer)).unwrap();
    held.recv().unwrap();

    running.handle().pause();

    // Forty at the most that a job far from its limit causes.
    eventually("rest", || {
        let before = naps_of(bench.name());
        std::thread::sleep(Duration::from_secs(1));
        naps_of(bench.name()) - before <= 20
    });
    running.handle().kill();
    assert_eq!(running.wait().ending, Ending::Killed);
}

#[test]
fn a_compiler_works_inside_if_the_host_has_one() {
    let bench = Bench::new();

    let said = bench.sh(
        "command -v cc >/dev/null || { echo 0; exit; }; echo 'int main(void) { return 0; }' >a.c; \
         cc a.c && ./a.out; echo $?",
    );

    assert_eq!(said, "0\n");
}

#[test]
fn without_a_toolchain_only_what_was_given_can_run() {
    let bench = Bench::new();
    let mut spec = bench.step(&["/bin/sh", "-c", "true"]);
    spec.toolchain = false;
    assert_eq!(bench.run(&spec).ending, Ending::Exited { code: 127 });

    spec.command = vec![FIXTURE.into(), "fork-bomb".into()];
    assert_eq!(bench.run(&spec).ending, Ending::Exited { code: 0 });
}

#[test]
fn without_a_toolchain_proc_tells_of_processes_alone() {
    let bench = Bench::new();
    let mut spec = bench.step(&["/ls", "/proc"]);
    spec.toolchain = false;
    spec.read_only.push(("/bin/ls".into(), "/ls".into()));

    let outcome = bench.run(&spec);

    assert_eq!(outcome.ending, Ending::Exited { code: 0 }, "{}", text(&outcome));
    let said = text(&outcome);
    let of_processes = |it: &&str| it.parse::<u32>().is_ok() || it.ends_with("self");
    assert!(said.lines().any(|it| it == "self"), "{said}");
    assert!(said.lines().all(|it| of_processes(&it)), "{said}");
}

#[test]
fn a_helper_that_is_none_is_found_out() {
    let bench = Bench::new();
    let spec = bench.step(&["true"]);
    let sandbox_of = |exe: &str| Sandbox::new(Helper { exe: exe.into() });

    let missing = sandbox_of("/no/such/helper").run(&spec);
    assert!(matches!(missing, Err(StartError::Spawn { .. })), "{missing:?}");
    let other = sandbox_of("/bin/true").run(&spec).unwrap();
    assert!(matches!(other.ending, Ending::SandboxFailed { .. }), "{other:?}");
    assert!(self_test(&sandbox_of("/bin/true")).is_err());
}

#[test]
fn a_work_directory_that_is_none_is_refused() {
    let bench = Bench::new();
    let mut spec = bench.step(&["true"]);
    spec.work = bench.host().join("absent");

    let outcome = bench.run(&spec);

    let Ending::SandboxFailed { reason } = outcome.ending else { panic!("{outcome:?}") };
    assert!(reason.contains("absent") || reason.contains("work directory"), "{reason}");
}

/// An argument of `sleep` that no other process on this machine has.
pub fn unique(seconds: &str) -> String {
    format!("{seconds}.{}", std::process::id())
}

/// Kills the parent of init, whose child has `word` among its arguments.
pub fn kill_helper_of(word: &str) {
    let parent = |process: u32| -> u32 {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
        line.trim().parse().unwrap()
    };
    let has_word = |process: &u32| {
        let command = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        command.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())
    };
    let names = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
    let processes = names.filter_map(|name| name.to_str()?.parse::<u32>().ok());
    let job = processes.into_iter().find(has_word).unwrap();
    let helper = i32::try_from(parent(parent(job))).unwrap();
    let helper = rustix::process::Pid::from_raw(helper).unwrap();
    rustix::process::kill_process(helper, rustix::process::Signal::KILL).unwrap();
}
