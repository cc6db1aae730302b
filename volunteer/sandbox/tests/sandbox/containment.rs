//! What a job must not reach.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use volunteer_sandbox::{Ending, Helper, MARK, Strength, self_test, self_test_in};

use crate::support::{
    Bench, FIXTURE, NOBODY_ELSE, PROGRAMS, SET_USER_ID, alone, by_signals, fixture, groups, helper,
    is_root, sandbox, text,
};

#[test]
fn the_self_test_passes() {
    assert_eq!(self_test(&by_signals()), Ok(Strength::Native));
    if groups().is_some() {
        assert_eq!(self_test(&sandbox()), Ok(Strength::NativeInGroups));
    }
}

#[test]
fn the_self_test_passes_in_an_image_and_fails_where_that_is_not_seen() {
    let bench = Bench::new();
    let root = bench.host().join("root");
    fs::create_dir_all(root.join("etc")).unwrap();
    let error = self_test_in(&by_signals(), &root).unwrap_err();
    assert!(error.reason.contains("it cannot read /etc/talkoot-image"), "{error}");

    fs::write(root.join(MARK), "an image").unwrap();

    assert_eq!(self_test_in(&by_signals(), &root), Ok(Strength::Native));
}

#[test]
fn an_image_takes_the_place_of_the_hosts_files_and_its_links_stay_inside() {
    let bench = Bench::new();
    fs::write(bench.host().join("secret"), "secret").unwrap();
    let root = bench.host().join("root");
    for directory in ["bin", "etc", "home/job", "home/tool", "proc", "tmp", "work"] {
        fs::create_dir_all(root.join(directory)).unwrap();
        fs::write(root.join(directory).join("its"), "x").unwrap();
    }
    fs::copy("/bin/sh", root.join("bin/sh")).unwrap();
    let link = |target: &std::path::Path, name: &str| {
        std::os::unix::fs::symlink(target, root.join(name)).unwrap();
    };
    link(bench.host(), "host");
    link("/etc/shadow".as_ref(), "etc/shadow");
    link("/proc/1/root".as_ref(), "real");
    let mut spec = bench.script(
        "echo /*/its /home/*/its; for it in /host/secret /real/etc /etc/shadow /etc/alternatives; \
         do [ -e $it ] && echo sees $it; done; for it in / /etc /bin /home /home/tool; do \
         ( >$it/new ) 2>/dev/null && echo writes $it; done; echo end",
    );
    spec.root = Some(root.canonicalize().unwrap());
    spec.read_only = ["/lib", "/lib64", "/usr/lib"].map(|it| (it.into(), it.into())).into();
    spec.read_only.retain(|(host, _)| host.is_dir());

    let outcome = bench.run(&spec);

    let expected = "/bin/its /etc/its /home/tool/its\nend\n";
    assert_eq!(text(&outcome), expected, "{outcome:?}");
}

#[test]
fn everything_holds_for_a_caller_without_privileges() {
    if !is_root() {
        // Then that is what all these tests have shown.
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let copy = |from: &std::path::Path, name: &str| {
        let to = directory.path().join(name);
        fs::copy(from, &to).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).unwrap();
        to
    };
    let tests = copy(&std::env::current_exe().unwrap(), "tests");
    copy(&helper().exe, Helper::NAME);
    copy(&fixture(), "sandbox-fixture");
    let of_root = copy(&fixture(), "fixture-of-root");
    fs::set_permissions(&of_root, fs::Permissions::from_mode(0o4755)).unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let scratch = directory.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    std::os::unix::fs::chown(&scratch, Some(NOBODY_ELSE), Some(NOBODY_ELSE)).unwrap();

    let listed = Command::new(&tests).arg("--list").output().unwrap().stdout;
    let all = String::from_utf8(listed).unwrap().matches(": test\n").count();

    let group = DelegatedGroup::to(NOBODY_ELSE);
    let _alone = alone();
    // In a control group that is this user's before it begins.
    let mut waiting = Command::new("sh")
        .args(["-c", "read go && exec \"$0\""])
        .arg(tests)
        .env(PROGRAMS, directory.path())
        .env(SET_USER_ID, of_root)
        .env("TMPDIR", &scratch)
        .current_dir("/")
        .uid(NOBODY_ELSE)
        .gid(NOBODY_ELSE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    group.take_in(waiting.id());
    waiting.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let output = waiting.wait_with_output().unwrap();

    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let none_skipped = format!("ok. {all} passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
    assert!(said.contains(&none_skipped), "{said}");
}

/// A control group as systemd would give it to a user's service.
struct DelegatedGroup(PathBuf);

impl DelegatedGroup {
    fn to(user: u32) -> Self {
        let name = format!("talkoot-test-{}", std::process::id());
        let group = Self(groups().expect("for root").base().join(name));
        fs::create_dir(&group.0).unwrap();
        for file in ["", "cgroup.procs"] {
            std::os::unix::fs::chown(group.0.join(file), Some(user), Some(user)).unwrap();
        }
        group
    }

    fn take_in(&self, process: u32) {
        fs::write(self.0.join("cgroup.procs"), process.to_string()).unwrap();
    }
}

impl Drop for DelegatedGroup {
    fn drop(&mut self) {
        let removed = fs::remove_dir(&self.0);
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
    }
}

#[test]
fn the_job_is_nobody_on_the_host() {
    let bench = Bench::new();
    let spec = bench.script("id -u; cat /proc/self/uid_map; cat /proc/self/gid_map");

    let outcome = bench.run(&spec);

    let host_uid = match rustix::process::geteuid() {
        root if root.is_root() => spec.host_uid,
        caller => caller.as_raw(),
    };
    let said = text(&outcome);
    let words: Vec<&str> = said.split_ascii_whitespace().collect();
    assert_eq!(words[..4], ["1000", "1000", &host_uid.to_string(), "1"], "{outcome:?}");
    assert_ne!(words[5], "0", "{outcome:?}");
}

#[test]
fn files_of_the_host_are_not_there() {
    let bench = Bench::new();
    fs::write(bench.host().join("id_ed25519"), "secret").unwrap();
    let host = bench.host().display().to_string();

    let said = bench.sh(&format!(
        "for path in /etc/shadow {host}/id_ed25519 {host} /root /home/* /boot /var /sys /mnt /run \
         /work/../{host} /proc/1/root/etc /proc/1/cwd/ /proc/self/root/{host} /etc/ssl/private; do \
         [ $path = /home/job ] || cat $path 2>/dev/null || ls -a $path 2>/dev/null; done; echo end"
    ));

    assert_eq!(said, "end\n");
}

#[test]
fn only_its_own_places_can_be_written() {
    let bench = Bench::new();

    let said = bench.sh(
        "for place in / /etc /usr /usr/bin /lib /opt /dev /proc /proc/sys/kernel /home; do \
         echo x 2>/dev/null >$place/new && echo wrote $place; done; \
         for file in /opt/fixture /etc/passwd /etc/ld.so.cache /proc/sys/kernel/core_pattern /usr/bin/env; do \
         sh -c \"echo x >>$file\" 2>/dev/null && echo wrote $file; done; \
         chmod 777 / /etc /dev 2>/dev/null && echo changed a mode; \
         for place in /work /tmp /dev/shm /home/job; do echo x >$place/new || echo cannot write $place; done; \
         mknod /work/null c 1 3 2>/dev/null && echo made a device; \
         mknod /tmp/null c 1 3 2>/dev/null && echo made a device; echo end",
    );

    assert_eq!(said, "end\n");
}

#[test]
fn what_is_shown_in_the_midst_of_something_else_is_not_written_there() {
    let bench = Bench::new();
    let (outer, inner) = (bench.host().join("outer"), bench.host().join("inner"));
    fs::create_dir(&outer).unwrap();
    fs::write(outer.join("file"), "the host's").unwrap();
    fs::write(&inner, "inner").unwrap();
    // Whoever builds the sandbox, the host's permissions do not stop him.
    for (path, mode) in [(bench.host(), 0o755), (&outer, 0o777), (&outer.join("file"), 0o666)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut spec = bench.script("cat /opt/outer/file");
    spec.read_only.push((outer.clone(), "/opt/outer".into()));
    spec.read_only.push((inner, "/opt/outer/file".into()));

    let outcome = bench.run(&spec);

    assert_eq!(text(&outcome), "inner", "{outcome:?}");
    assert_eq!(fs::read_to_string(outer.join("file")).unwrap(), "the host's");
}

#[test]
fn services_of_the_host_cannot_be_reached() {
    let bench = Bench::new();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = bench.host().join("agent.sock");
    let _unix = UnixListener::bind(&path).unwrap();
    let name = format!("talkoot-test-{}", std::process::id());
    let _abstract =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let address = tcp.local_addr().unwrap().to_string();

    let outcome = bench.run(&bench.step(&[
        FIXTURE,
        "reach",
        &address,
        &path.display().to_string(),
        &format!("@{name}"),
    ]));

    assert_eq!(outcome.ending, Ending::Exited { code: 0 }, "{outcome:?}");
    assert_eq!(text(&outcome), "");
}

#[test]
fn processes_of_the_host_cannot_be_seen() {
    // The shell is the job.
    assert_eq!(Bench::new().sh("echo /proc/[0-9]*"), "/proc/1 /proc/2\n");
}

#[test]
fn processes_of_the_host_cannot_be_signalled() {
    let bench = Bench::new();
    let mut sleeper = Command::new("sleep");
    let spec = bench.script("");
    if is_root() {
        // The same user on the host as the job.
        sleeper.uid(spec.host_uid).gid(spec.host_uid);
    }
    let mut sleeper = sleeper.arg("1000").spawn().unwrap();
    let mut spec = spec;
    let host = sleeper.id();
    spec.command[2] = format!("trap '' TERM; kill -9 {host}; kill -KILL 1; kill -- -1; exit 0");

    let outcome = bench.run(&spec);

    assert_eq!(outcome.ending, Ending::Exited { code: 0 }, "{outcome:?}");
    assert!(sleeper.try_wait().unwrap().is_none(), "the host's process was killed");
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
}

#[test]
fn namespaces_mounts_and_priorities_are_out_of_reach() {
    let bench = Bench::new();

    let said = bench.sh(
        "{ unshare -Ur true && echo nested; mount -t tmpfs none /tmp && echo mounted; \
         umount /usr && echo unmounted; nice -n -5 true && echo; chrt -o 0 true && echo other class; \
         ulimit -u 100000 && echo more processes; ulimit -n 100000 && echo more files; \
         hostname other && echo renamed; } 2>/dev/null >/tmp/said; \
         grep -v '^$' /tmp/said; nice; uname -n",
    );

    assert_eq!(said, "19\ntalkoot\n");
}

#[test]
fn nothing_is_inherited() {
    let bench = Bench::new();

    let said = bench.sh("ls /proc/self/fd | grep -v '^[0123]$'; env | cut -d= -f1 | sort | xargs");

    // PWD and the others that a shell sets itself.
    let given = ["HOME", "LANG", "PATH", "TMPDIR", "USER"];
    let by_the_shell = ["OLDPWD", "PWD", "SHLVL", "_"];
    for name in said.split_ascii_whitespace() {
        assert!(given.contains(&name) || by_the_shell.contains(&name), "{said}");
    }
}
