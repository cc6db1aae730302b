//! Work directories that are traps.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use volunteer_sandbox::{CollectCaps, CollectError, Collected, Collection, collect, remove_tree};

use crate::support::{Bench, is_root};

const CAPS: CollectCaps = CollectCaps { files: 10, bytes_each: 1000, bytes_total: 2000 };

fn take(bench: &Bench, pattern: &str) -> Result<Collection, CollectError> {
    collect(&bench.work(), &[pattern.to_owned()], CAPS)
}

fn paths(collected: &[Collected]) -> Vec<&str> {
    collected.iter().map(|one| one.path.as_str()).collect()
}

#[test]
fn results_are_found_by_their_patterns() {
    let bench = Bench::new();
    bench.sh("mkdir -p out/deep; echo a >out/a.log; echo bc >out/deep/b.log; echo c >out/c.txt; echo d >d.log");
    let check = |pattern: &str, expected: &[&str]| {
        assert_eq!(paths(&take(&bench, pattern).unwrap().files), expected, "{pattern}");
    };
    check("out/a.log", &["out/a.log"]);
    check("out/*.log", &["out/a.log"]);
    check("**/*.log", &["d.log", "out/a.log", "out/deep/b.log"]);
    check("./*.{log,txt}", &["d.log"]);
    check("absent", &[]);

    let mut found = take(&bench, "out/deep/*").unwrap().files;
    let mut text = String::new();
    found[0].file.read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), found[0].size), ("bc\n", 3));
}

#[test]
fn what_is_not_an_honest_file_is_refused() {
    let bench = Bench::new();
    let work = bench.work();
    fs::write(bench.host().join("secret"), "secret").unwrap();
    symlink(bench.host().join("secret"), work.join("link")).unwrap();
    symlink("/proc/self/root/etc/passwd", work.join("magic")).unwrap();
    mknodat(CWD, work.join("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let _socket = UnixListener::bind(work.join("socket")).unwrap();
    fs::hard_link(bench.host().join("secret"), work.join("hard")).unwrap();
    File::create(work.join("sparse")).unwrap().set_len(4 << 40).unwrap();
    fs::write(work.join(OsStr::from_bytes(b"name-\xff")), "").unwrap();
    fs::write(work.join("line-\n"), "").unwrap();

    // Only root can make one that could be.
    let device =
        mknodat(CWD, work.join("device"), FileType::CharacterDevice, Mode::RUSR, makedev(1, 3));
    assert_eq!(device.is_ok(), is_root());
    if !is_root() {
        symlink("/dev/null", work.join("device")).unwrap();
    }

    for name in ["device", "link", "magic", "fifo", "socket", "hard", "sparse", "name-*", "line-*"]
    {
        let answer = take(&bench, name).unwrap();
        assert_eq!((answer.files.len(), answer.refused.len()), (0, 1), "{name}: {answer:?}");
    }
}

#[test]
fn what_is_refused_does_not_take_the_rest_with_it() {
    let bench = Bench::new();
    bench.sh("mkdir out; echo a >out/a; echo b >out/b");
    fs::write(bench.work().join("out/line-\n"), "").unwrap();
    fs::write(bench.work().join(OsStr::from_bytes(b"out/name-\xff")), "").unwrap();
    symlink("a", bench.work().join("out/link")).unwrap();

    let patterns = ["out/*", "absent/*"].map(str::to_owned);
    let found = collect(&bench.work(), &patterns, CAPS).unwrap();

    assert_eq!(paths(&found.files), ["out/a", "out/b"]);
    let mut refused: Vec<_> = found.refused.iter().map(|it| it.path.as_str()).collect();
    refused.sort_unstable();
    assert_eq!(refused, ["out/line-\n", "out/link", "out/name-\u{fffd}"]);
    assert_eq!(found.unmatched, ["absent/*"]);
}

#[test]
fn links_to_directories_lead_nowhere() {
    let bench = Bench::new();
    fs::create_dir(bench.host().join("host")).unwrap();
    fs::write(bench.host().join("host/secret"), "secret").unwrap();
    symlink(bench.host().join("host"), bench.work().join("out")).unwrap();
    symlink("..", bench.work().join("up")).unwrap();

    for pattern in ["out/secret", "**/secret", "up/host/secret", "../host/secret"] {
        assert_eq!(paths(&take(&bench, pattern).unwrap().files), [""; 0], "{pattern}");
    }
}

#[test]
fn too_much_is_refused() {
    let bench = Bench::new();
    bench.sh("for i in 1 2 3 4 5 6 7 8 9 10 11; do echo >few-$i; done; for i in 1 2 3; do head -c 900 /dev/zero >big-$i; done");

    assert!(matches!(take(&bench, "few-*"), Err(CollectError::TooMany { what: "files", .. })));
    assert!(matches!(take(&bench, "big-*"), Err(CollectError::TooMany { what: "bytes", .. })));
    assert_eq!(take(&bench, "big-[12]").unwrap().files.len(), 2);
    assert!(matches!(take(&bench, "a{"), Err(CollectError::Pattern { .. })));
}

#[test]
fn any_tree_can_be_removed() {
    let bench = Bench::new();
    let outside = bench.host().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("kept"), "").unwrap();
    bench.sh("mkdir -p closed/sub; echo x >closed/sub/file; chmod 000 closed/sub closed; \
         mkfifo fifo; echo >'a\nb'; mkdir .remove-0 .remove-1; echo x >.remove-0/x");
    symlink(&outside, bench.work().join("link")).unwrap();
    fs::set_permissions(bench.work(), fs::Permissions::from_mode(0o500)).unwrap();
    nest(&bench.work().join("closed"), 3000);

    remove_tree(&bench.work()).unwrap();

    assert!(!bench.work().exists());
    assert!(outside.join("kept").exists());
}

/// Makes a chain of directories too deep for any path, beside `beside`.
fn nest(beside: &std::path::Path, depth: usize) {
    use rustix::fs::{OFlags, mkdirat, open, openat};
    let parent = beside.parent().unwrap();
    fs::set_permissions(parent, fs::Permissions::from_mode(0o700)).unwrap();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut level = open(parent, flags, Mode::empty()).unwrap();
    for _ in 0..depth {
        mkdirat(&level, "nest", Mode::RWXU).unwrap();
        level = openat(&level, "nest", flags, Mode::empty()).unwrap();
    }
    fs::set_permissions(parent, fs::Permissions::from_mode(0o500)).unwrap();
}
