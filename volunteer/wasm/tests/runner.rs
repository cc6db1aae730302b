//! What a guest gets, what it cannot get, and how its end is told.

#![expect(clippy::unwrap_used, reason = "a failed test")]

mod support;

use std::fs;
use std::process::Command;

use support::{Ended, MIB, MODULE, RUNNER, Run};

// ---- what a guest gets -------------------------------------------------------------------------

#[test]
fn hello() {
    let run = command(
        r#"(data (i32.const 100) "hello\n")"#,
        "(call $print (i32.const 1) (i32.const 100) (i32.const 6))",
    );

    let ended = run.start();

    ended.expect_exit(0);
    assert_eq!(ended.stdout, "hello\n");
}

#[test]
fn arguments_follow_the_modules_name() {
    let run = command(
        "",
        "(drop (call $args_sizes_get (i32.const 0) (i32.const 4)))
         (drop (call $args_get (i32.const 1024) (i32.const 2048)))
         (call $print (i32.const 1) (i32.const 2048) (i32.load (i32.const 4)))",
    );

    let ended = run.start_with(&["--fuel", "7 8"]);

    ended.expect_exit(0);
    assert_eq!(ended.stdout, "guest.wasm\0--fuel\x007 8\0");
}

#[test]
fn the_environment_is_what_was_given_and_no_more() {
    let run = command(
        "",
        "(drop (call $environ_sizes_get (i32.const 0) (i32.const 4)))
         (drop (call $environ_get (i32.const 1024) (i32.const 2048)))
         (call $print (i32.const 1) (i32.const 2048) (i32.load (i32.const 4)))",
    );

    let ended = run.option("--env", "A=1=2").option("--env", "B=").start();

    ended.expect_exit(0);
    assert_eq!(ended.stdout, "A=1=2\0B=\0");
}

#[test]
fn standard_input_is_at_its_end() {
    // Exits with the error, or with the number of bytes read.
    let run = command(
        "",
        "(i32.store (i32.const 0) (i32.const 1024))
         (i32.store (i32.const 4) (i32.const 64))
         (i32.store (i32.const 8) (i32.const 99))
         (call $proc_exit (i32.or
           (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
           (i32.load (i32.const 8))))",
    );

    run.start().expect_exit(0);
}

#[test]
fn the_work_folder_is_written_and_read() {
    let run = command(
        r#"(data (i32.const 100) "in.txt") (data (i32.const 120) "out.txt")"#,
        "(local $bytes i32)
         (i32.store (i32.const 0) (i32.const 1024))
         (i32.store (i32.const 4) (i32.const 64))
         (call $must (call $open (i32.const 100) (i32.const 6) (i32.const 0) (i64.const 2)))
         (call $must (call $fd_read
           (i32.load (i32.const 16)) (i32.const 0) (i32.const 1) (i32.const 8)))
         (local.set $bytes (i32.load (i32.const 8)))
         (call $must (call $open (i32.const 120) (i32.const 7) (i32.const 9) (i64.const 64)))
         (call $print (i32.load (i32.const 16)) (i32.const 1024) (local.get $bytes))",
    );
    fs::write(run.work().join("in.txt"), "as it was").unwrap();

    run.start().expect_exit(0);

    assert_eq!(fs::read_to_string(run.work().join("out.txt")).unwrap(), "as it was");
}

#[test]
fn a_guest_can_sleep() {
    // Two subscriptions to the monotonic clock: 1 ms and an hour from now.
    let run = command(
        "",
        "(i32.store (i32.const 1040) (i32.const 1))
         (i64.store (i32.const 1048) (i64.const 1000000))
         (i32.store (i32.const 1088) (i32.const 1))
         (i64.store (i32.const 1096) (i64.const 3600000000000))
         (call $must (call $poll_oneoff
           (i32.const 1024) (i32.const 2048) (i32.const 2) (i32.const 0)))
         (call $proc_exit (i32.load (i32.const 0)))",
    );

    run.start().expect_exit(1);
}

// ---- what it cannot get ------------------------------------------------------------------------

#[test]
fn paths_out_of_the_work_folder_are_refused() {
    const PERMISSION: i32 = 63;
    let run = opener();
    fs::write(run.scratch().join("outside"), "theirs").unwrap();
    fs::write(run.work().join("inside"), "mine").unwrap();
    fs::create_dir(run.work().join("folder")).unwrap();
    let mut permitted = vec!["inside", "./folder/../inside"];
    let mut escapes = vec!["../outside", "./../outside", "folder/../../outside", "/etc/passwd"];
    #[cfg(unix)]
    for (link, target) in [
        ("link-in", "inside"),
        ("link-out", "../outside"),
        ("link-root", "/etc/passwd"),
        ("link-up", ".."),
        ("link-slash", "/"),
    ] {
        std::os::unix::fs::symlink(target, run.work().join(link)).unwrap();
    }
    if cfg!(unix) {
        permitted.push("link-in");
        escapes.extend(["link-out", "link-root", "link-up/outside", "link-slash/etc/passwd"]);
    }

    for path in permitted {
        run.start_with(&[path]).expect_exit(0);
    }
    for path in escapes {
        let ended = run.start_with(&[path]);
        assert_eq!(ended.code, PERMISSION, "{path}: {ended:?}");
    }
    assert_eq!(fs::read_to_string(run.scratch().join("outside")).unwrap(), "theirs");
}

#[test]
fn a_link_that_the_guest_makes_does_not_lead_out_either() {
    let run = command(
        r#"(data (i32.const 100) "../outside") (data (i32.const 120) "link")"#,
        "(call $must (call $path_symlink
           (i32.const 100) (i32.const 10) (i32.const 3) (i32.const 120) (i32.const 4)))
         (call $proc_exit (call $open (i32.const 120) (i32.const 4) (i32.const 9) (i64.const 64)))",
    );
    fs::write(run.scratch().join("outside"), "theirs").unwrap();

    run.start().expect_exit(63);

    assert_eq!(fs::read_to_string(run.scratch().join("outside")).unwrap(), "theirs");
}

#[test]
fn descriptors_beyond_the_work_folder_are_not_there() {
    const BAD_DESCRIPTOR: i32 = 8;
    // 3 and 4 are both the work folder, as `/work` and as `.`.
    let run = command("", "(call $proc_exit (call $fd_close (i32.const 5)))");

    run.start().expect_exit(BAD_DESCRIPTOR);
}

// ---- limits ------------------------------------------------------------------------------------

#[test]
fn memory_stops_growing_at_the_limit() {
    let run = Run::of_text(
        r#"(module
             (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
             (memory (export "memory") 1 128)
             (func (export "_start")
               (loop $more
                 (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
               ;; The last page is there to be used.
               (i32.store (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 4))
                 (i32.const 1))
               (call $proc_exit (memory.size))))"#,
    );

    run.memory(4 * MIB).start().expect_exit(64);
}

#[test]
fn all_memories_and_tables_share_the_limit() {
    // Takes turns growing a table by 64 KiB of entries and two memories by a page, until all fail.
    let run = Run::of_text(
        r#"(module
             (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
             (memory $a (export "memory") 1 128)
             (memory $b 0 128)
             (table $t 0 1048576 funcref)
             (func (export "_start")
               (loop $more
                 (br_if $more (i32.ne (i32.const -3) (i32.add
                   (table.grow $t (ref.null func) (i32.const 8192))
                   (i32.add
                     (memory.grow $a (i32.const 1))
                     (memory.grow $b (i32.const 1)))))))
               (call $proc_exit (i32.add
                 (i32.div_u (table.size $t) (i32.const 8192))
                 (i32.add (memory.size $a) (memory.size $b))))))"#,
    );

    run.memory(4 * MIB).start().expect_exit(64);
}

#[test]
fn a_module_that_starts_above_the_limit_is_refused() {
    let run = Run::of_text(r#"(module (memory 65) (func (export "_start")))"#);

    run.memory(4 * MIB).start().expect_verdict(126, "refused: ");
}

#[test]
fn endless_recursion_traps() {
    let run = Run::of_text(
        r#"(module
             (func $deeper (param i64) (result i64)
               (i64.add (i64.const 1) (call $deeper (i64.add (local.get 0) (i64.const 1)))))
             (func (export "_start") (drop (call $deeper (i64.const 0)))))"#,
    );

    run.start().expect_verdict(134, "trapped: call stack exhausted");
}

#[test]
fn fuel_ends_an_endless_loop_at_the_same_point_every_time() {
    let text = r#"(module
         (import "wasi_snapshot_preview1" "fd_write"
           (func $fd_write (param i32 i32 i32 i32) (result i32)))
         (memory (export "memory") 1)
         (data (i32.const 0) "\10\00\00\00\01\00\00\00")
         (data (i32.const 16) ".")
         (func (export "_start")
           (loop $for_ever
             (drop (call $fd_write
               (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
             (br $for_ever))))"#;
    let dots = || {
        let ended = Run::of_text(text).option("--fuel", "1000").start();
        ended.expect_verdict(152, "out of fuel");
        ended.stdout.len()
    };

    let first = dots();

    assert!((10..1000).contains(&first), "{first}");
    assert_eq!(dots(), first);
}

#[test]
fn fuel_used_is_reported_and_repeats() {
    let used = || {
        let run = command("", "(call $proc_exit (i32.const 3))").option("--fuel", "1000000");
        let report = run.report();
        let run = run.option("--report", report.to_str().unwrap());
        run.start().expect_verdict(3, "units of fuel");
        fs::read_to_string(report).unwrap()
    };

    let first = used();

    let (head, rest) = first.split_at("{\"ending\":\"exited\",\"code\":3,\"fuel_used\":".len());
    assert_eq!(head, "{\"ending\":\"exited\",\"code\":3,\"fuel_used\":");
    let fuel: u64 = rest.trim_end().trim_end_matches('}').parse().unwrap();
    assert!((1..100).contains(&fuel), "{fuel}");
    assert_eq!(used(), first);
}

/// The 4 GiB that a memory reserves by default, and stacks and arenas of threads, would not fit.
#[cfg(target_os = "linux")]
#[test]
fn little_address_space_is_enough() {
    for limits in ["-v 262144", "-d 131072"] {
        let run = Run::of_text(
            r#"(module
                 (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
                 (memory (export "memory") 1)
                 (func (export "_start")
                   (drop (memory.grow (i32.const 1022)))
                   (i32.store (i32.const 0x3fefffc) (i32.const 1))
                   (if (i32.ne (memory.grow (i32.const 2)) (i32.const -1)) (then unreachable))
                   (call $proc_exit (i32.load (i32.const 0x3feffffc)))))"#,
        );

        let ended = run.memory(64 * MIB).limited(limits).start();

        ended.expect_verdict(134, "out of bounds memory access");
    }
}

// ---- what is refused ---------------------------------------------------------------------------

#[test]
fn what_is_no_module_is_refused() {
    let text = "not a WebAssembly module in binary format";
    for (bytes, reason) in [
        (&b""[..], text),
        (b"\0asm", text),
        (b"(module)", text),
        (b"\x7fELF\x02\x01\x01\0\0\0\0\0", text),
        (b"\0asm\x01\0\0\0garbage", "refused: "),
    ] {
        Run::of_bytes(bytes).start().expect_verdict(126, reason);
    }
}

#[test]
fn an_oversize_module_is_refused_before_it_is_compiled() {
    let run = Run::of_bytes(b"\0asm\x01\0\0\0");
    let file = fs::File::options().write(true).open(run.module()).unwrap();
    // What follows the header is no valid section, so that compiling would give another reason.
    file.set_len(32 * MIB + 1).unwrap();

    run.start().expect_verdict(126, "larger than 33554432 bytes");

    file.set_len(32 * MIB).unwrap();
    let fits = run.start();
    assert!(!fits.stderr.contains("larger"), "{fits:?}");
}

#[test]
fn missing_imports_and_exports_are_refused() {
    Run::of_text(r#"(module (func (export "main")))"#)
        .start()
        .expect_verdict(126, "exports no function `_start`");
    Run::of_text(r#"(module (func (export "_start") (param i32)))"#)
        .start()
        .expect_verdict(126, "without parameters and results");
    // As does the test above, this asserts one line, whatever the names contain.
    Run::of_text(r#"(module (import "env\n\1b[2J" "f" (func)) (func (export "_start")))"#)
        .start()
        .expect_verdict(126, "env  [2J");
}

#[test]
fn a_module_that_is_not_there_is_the_callers_mistake_not_the_machines() {
    let run = Run::of_text("(module)");
    fs::create_dir(run.work().join("folder")).unwrap();

    for module in ["nowhere", "nowhere/a", "guest.wasm/a", "folder"] {
        read(&run, module).expect_verdict(126, "cannot read the module");
    }
}

#[test]
fn a_module_outside_the_folder_is_refused() {
    let run = Run::of_text("(module)");
    fs::create_dir(run.work().join("folder")).unwrap();
    let absolute = run.module();

    for module in ["../a.wasm", "folder/../guest.wasm", "/etc/passwd", absolute.to_str().unwrap()] {
        read(&run, module).expect_verdict(126, "is not inside the folder");
    }
}

/// Whatever a link leads to, the answer is the same.
#[test]
#[cfg(unix)]
fn a_link_in_the_place_of_the_module_tells_nothing_about_the_machine() {
    let run = Run::of_text(r#"(module (func (export "_start")))"#);
    fs::create_dir(run.work().join("folder")).unwrap();
    fs::copy(run.module(), run.work().join("folder/a.wasm")).unwrap();
    read(&run, "folder/a.wasm").expect_exit(0);
    let mut answers = std::collections::BTreeSet::new();

    for target in ["/etc/passwd", "/nowhere", "..", "guest.wasm", "folder", "a.wasm"] {
        std::os::unix::fs::symlink(target, run.work().join("a.wasm")).unwrap();
        for module in ["a.wasm", "a.wasm/b.wasm"] {
            let ended = read(&run, module);
            assert_eq!(ended.code, 126, "{target}: {ended:?}");
            answers.insert(ended.stderr.replace(module, ""));
        }
        fs::remove_file(run.work().join("a.wasm")).unwrap();
    }

    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn what_is_no_file_is_not_waited_for() {
    let run = Run::of_text("(module)");
    let pipe = run.work().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(run.work().join("socket")).unwrap();

    for module in ["pipe", "socket"] {
        read(&run, module).expect_verdict(126, "not a file");
    }
}

/// Runs `module` in the folder of `run`.
fn read(run: &Run, module: &str) -> Ended {
    let mut command = Command::new(RUNNER);
    command.args(["--memory", "1000000", "--dir"]).arg(run.work()).args(["--", module]);
    Ended::new(&command.output().unwrap())
}

#[test]
#[cfg(target_os = "linux")]
fn a_runner_can_limit_itself() {
    use std::os::unix::process::ExitStatusExt;
    const SIGXFSZ: i32 = 25;
    let run = Run::of_text(r#"(module (memory 1) (func (export "_start")))"#)
        .option("--data", (512 * MIB).to_string())
        .option("--file-size", MIB.to_string())
        .option("--open-files", "100")
        .option("--cpu", "60");
    run.start().expect_exit(0);

    let status = Command::new(RUNNER)
        .args(["--memory", "1000000", "--file-size", "0", "--dir"])
        .args([run.work(), "--report".into(), run.report(), MODULE.into()])
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(SIGXFSZ));
}

#[test]
#[cfg(target_os = "linux")]
fn few_files_may_be_open() {
    // Exits with how many could be opened.
    let run = command(
        r#"(data (i32.const 100) "guest.wasm")"#,
        "(local $count i32)
         (loop $more
           (if (call $open (i32.const 100) (i32.const 10) (i32.const 0) (i64.const 2))
             (then (call $proc_exit (local.get $count))))
           (local.set $count (i32.add (local.get $count) (i32.const 1)))
           (br $more))",
    );

    let ended = run.option("--open-files", "30").start();

    assert!((10..30).contains(&ended.code), "{ended:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn files_without_a_name_cannot_fill_the_disk() {
    use std::os::unix::process::ExitStatusExt;
    const SIGXFSZ: i32 = 25;
    // Writes 6 MB into a file that it has unlinked, and sleeps for ten seconds.
    let run = command(
        r#"(data (i32.const 100) "nameless")"#,
        "(local $left i32)
         (call $must (call $open (i32.const 100) (i32.const 8) (i32.const 9) (i64.const 64)))
         (call $must (call $path_unlink_file (i32.const 3) (i32.const 100) (i32.const 8)))
         (local.set $left (i32.const 100))
         (loop $more
           (call $print (i32.load (i32.const 16)) (i32.const 128) (i32.const 60000))
           (local.set $left (i32.sub (local.get $left) (i32.const 1)))
           (br_if $more (local.get $left)))
         (memory.fill (i32.const 1024) (i32.const 0) (i32.const 96))
         (i32.store (i32.const 1040) (i32.const 1))
         (i64.store (i32.const 1048) (i64.const 10000000000))
         (call $must (call $poll_oneoff
           (i32.const 1024) (i32.const 2048) (i32.const 1) (i32.const 0)))",
    );
    let status = Command::new(RUNNER)
        .args(["--memory", "1000000", "--unlinked", "1000000", "--dir"])
        .args([run.work(), MODULE.into()])
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(SIGXFSZ));
}

/// A guest could crash the runner on purpose, and its memory holds what the guest's does.
#[test]
#[cfg(target_os = "linux")]
fn no_core_is_ever_dumped() {
    use std::io::Read;
    let run = command(
        r#"(data (i32.const 100) "!")"#,
        "(call $print (i32.const 1) (i32.const 100) (i32.const 1)) (loop $for_ever (br $for_ever))",
    );
    let mut runner = Command::new(RUNNER)
        .args(["--memory", "1000000", "--dir"])
        .args([run.work(), MODULE.into()])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    runner.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();

    let limits = fs::read_to_string(format!("/proc/{}/limits", runner.id())).unwrap();
    runner.kill().unwrap();
    runner.wait().unwrap();

    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().take(2).collect::<Vec<_>>(), ["1", "1"]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_runner_does_not_outlive_a_parent_that_ended_before_it_was_tied_to_it() {
    let run = Run::of_text(r#"(module (func (export "_start")))"#);
    let start = |parent: u32| {
        let run = Run::of_bytes(&fs::read(run.module()).unwrap());
        run.option("--end-with-parent", parent.to_string()).start()
    };

    start(std::process::id()).expect_exit(0);
    start(std::os::unix::process::parent_id()).expect_verdict(127, "cannot end with parent");
}

#[test]
fn a_runner_that_is_told_so_ends_with_its_input() {
    use std::io::Read;
    let run = command(
        r#"(data (i32.const 100) "!")"#,
        "(call $print (i32.const 1) (i32.const 100) (i32.const 1)) (loop $for_ever (br $for_ever))",
    );
    let mut runner = Command::new(RUNNER)
        .args(["--end-with-input", "--memory", "1000000", "--dir"])
        .args([run.work(), MODULE.into()])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    runner.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    assert!(runner.try_wait().unwrap().is_none());

    drop(runner.stdin.take());

    assert_eq!(runner.wait().unwrap().code(), None);
}

#[test]
#[cfg(target_os = "linux")]
fn a_runner_gives_up_the_rights_of_root() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    const USER: &str = "64999";
    let run = command(
        r#"(data (i32.const 100) "made")"#,
        "(call $must (call $open (i32.const 100) (i32.const 4) (i32.const 9) (i64.const 64)))",
    );
    let is_root = fs::metadata(run.work()).unwrap().uid() == 0;
    let start = |folder: &str| {
        let mut command = Command::new(RUNNER);
        command.args([
            "--memory",
            "1000000",
            "--unlinked",
            "1000000",
            "--user",
            USER,
            "--dir",
            folder,
            MODULE,
        ]);
        Ended::new(&command.current_dir(run.scratch()).output().unwrap())
    };
    if !is_root {
        start("work").expect_verdict(127, "cannot become user 64999");
        return;
    }
    fs::set_permissions(run.scratch(), fs::Permissions::from_mode(0o700)).unwrap();
    start("work").expect_verdict(127, "cannot open the folder");
    for path in [run.scratch(), &run.work()] {
        std::os::unix::fs::chown(path, Some(64999), Some(64999)).unwrap();
    }
    start("work").expect_exit(0);
    let made = fs::metadata(run.work().join("made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (64999, 64999));
    let of_root = run.scratch().join("of-root");
    fs::create_dir(&of_root).unwrap();
    fs::set_permissions(of_root, fs::Permissions::from_mode(0o700)).unwrap();
    start("of-root").expect_verdict(127, "cannot open the folder");
}

#[test]
fn a_wrong_call_is_told_apart_from_the_guests_codes() {
    let ended =
        |arguments: &[&str]| Ended::new(&Command::new(RUNNER).args(arguments).output().unwrap());
    let run = Run::of_text(r#"(module (func (export "_start")))"#);
    let (folder, module) = (run.work(), run.module());
    let (folder, module) = (folder.to_str().unwrap(), module.to_str().unwrap());

    ended(&[]).expect_verdict(127, "wrong arguments");
    ended(&["--memory", "1", "--dir", "/nowhere", MODULE]).expect_verdict(127, "cannot open");
    ended(&["--memory", "1", "--dir", folder, "--env", "A", MODULE])
        .expect_verdict(127, "wrong arguments");
    // An existing file is not overwritten.
    ended(&["--memory", "1", "--dir", folder, "--report", module, MODULE])
        .expect_verdict(127, "cannot create");
}

#[test]
fn the_version_is_one_line() {
    let output = Command::new(RUNNER).arg("--version").output().unwrap();

    let ended = Ended::new(&output);

    ended.expect_exit(0);
    assert_eq!(ended.stdout, "talkoot-wasm-runner 0.1.0 (wasmtime 48.0.8)\n");
}

#[test]
fn what_guests_may_use_is_told_in_json() {
    let output = Command::new(RUNNER).arg("--features").output().unwrap();

    let ended = Ended::new(&output);

    ended.expect_exit(0);
    let told: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&told["engine"], &told["version"]), (&"wasmtime".into(), &"48.0.8".into()));
    let features: Vec<_> = told["features"].as_array().unwrap().iter().collect();
    for feature in ["bulk-memory", "multivalue", "sign-ext", "simd128"] {
        assert!(features.contains(&&feature.into()), "{feature}: {features:?}");
    }
}

// ---- how an end is told ------------------------------------------------------------------------

#[test]
fn the_guests_code_is_passed_on() {
    for code in [0, 1, 101, 125] {
        command("", &format!("(call $proc_exit (i32.const {code}))")).start().expect_exit(code);
    }
}

#[test]
fn a_guest_cannot_exit_with_a_code_of_the_runner() {
    for code in [126, 127, 134, 152, 255, 256, -1] {
        command("", &format!("(call $proc_exit (i32.const {code}))"))
            .start()
            .expect_verdict(134, "trapped: exit with invalid exit status");
    }
}

#[test]
fn the_reason_stands_on_a_line_of_its_own() {
    let run = command(
        r#"(data (i32.const 100) "half a line")"#,
        "(call $print (i32.const 2) (i32.const 100) (i32.const 11))
         unreachable",
    );

    let ended = run.start();

    ended.expect_verdict(134, "trapped: wasm `unreachable` instruction executed");
    assert!(ended.stderr.starts_with("half a line\n"), "{ended:?}");
}

/// A parent may stop reading; writing to it then fails.
#[cfg(target_os = "linux")]
#[test]
fn the_exit_code_arrives_even_if_the_reason_does_not() {
    let run = command("", "unreachable");
    let full = fs::File::options().write(true).open("/dev/full").unwrap();

    let status = Command::new(RUNNER)
        .args(["--memory", "1000000", "--dir"])
        .args([run.work(), MODULE.into()])
        .stderr(full)
        .status()
        .unwrap();

    assert_eq!(status.code(), Some(134));
}

// ---- helpers -----------------------------------------------------------------------------------

/// A module whose `_start` is `body`, with the calls of WASI that these tests need.
fn command(data: &str, body: &str) -> Run {
    Run::of_text(&format!(
        r#"(module
          (import "wasi_snapshot_preview1" "args_get"
            (func $args_get (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "args_sizes_get"
            (func $args_sizes_get (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "environ_get"
            (func $environ_get (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "environ_sizes_get"
            (func $environ_sizes_get (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_read"
            (func $fd_read (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_write"
            (func $fd_write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "path_open"
            (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "path_symlink"
            (func $path_symlink (param i32 i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "path_unlink_file"
            (func $path_unlink_file (param i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "poll_oneoff"
            (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
          (memory (export "memory") 1)
          {data}
          (func $must (param $error i32)
            (if (local.get $error) (then (call $proc_exit (local.get $error)))))
          (func $print (param $file i32) (param $text i32) (param $length i32)
            (i32.store (i32.const 0) (local.get $text))
            (i32.store (i32.const 4) (local.get $length))
            (call $must
              (call $fd_write (local.get $file) (i32.const 0) (i32.const 1) (i32.const 8))))
          ;; Opens a path below /work, following links; the descriptor goes to address 16.
          (func $open
            (param $path i32) (param $length i32) (param $create i32) (param $rights i64)
            (result i32)
            (call $path_open (i32.const 3) (i32.const 1) (local.get $path) (local.get $length)
              (local.get $create) (local.get $rights) (i64.const 0) (i32.const 0) (i32.const 16)))
          (func (export "_start") {body}))"#
    ))
}

/// A module that opens the path in its argument for writing, and exits with the error.
fn opener() -> Run {
    command(
        "",
        "(local $path i32)
         (drop (call $args_sizes_get (i32.const 0) (i32.const 4)))
         (drop (call $args_get (i32.const 1024) (i32.const 2048)))
         (local.set $path (i32.load (i32.const 1028)))
         (call $proc_exit (call $open
           (local.get $path)
           (i32.sub
             (i32.add (i32.const 2047) (i32.load (i32.const 4)))
             (local.get $path))
           (i32.const 0)
           (i64.const 64)))",
    )
}
