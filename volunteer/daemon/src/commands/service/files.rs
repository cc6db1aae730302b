//! The files by which systems start the daemon: those of `deploy`, with this program's own path in them.

use std::ffi::OsStr;
use std::path::Path;

use clap::ValueEnum;
use mesh_shell::{Exit, Failure, Outcome};

/// By what a daemon is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// systemd, for the user who asks.
    SystemdUser,
    /// systemd, from the start of the machine on.
    SystemdSystem,
    /// launchd, for a user of a Mac.
    Launchd,
    /// The Task Scheduler, for a user of Windows.
    Windows,
}

const SYSTEMD_USER: &str = include_str!("../../../../../deploy/systemd/talkoot-volunteer.service");
const SYSTEMD_SYSTEM: &str =
    include_str!("../../../../../deploy/systemd/talkoot-volunteer-system.service");
const LAUNCHD: &str = include_str!("../../../../../deploy/launchd/org.talkoot.volunteer.plist");
const WINDOWS: &str = include_str!("../../../../../deploy/windows/talkoot-volunteer.xml");

/// Where the program is in the files of `deploy`.
const PROGRAM: &str = "/usr/local/bin/talkoot-volunteer";
const PROGRAM_ON_WINDOWS: &str = r"C:\Program Files\Talkoot\talkoot-volunteer.exe";

/// The file of `kind` that runs `program` with `more` behind `run`.
pub fn file(kind: Kind, program: &Path, more: &[String]) -> Outcome<String> {
    let words = std::iter::once(program.as_os_str()).chain(more.iter().map(OsStr::new));
    let words: Vec<&str> = words.map(plain).collect::<Outcome<_>>()?;
    let program = words[0];
    Ok(match kind {
        Kind::SystemdUser => unit(SYSTEMD_USER, &words),
        Kind::SystemdSystem => unit(SYSTEMD_SYSTEM, &words),
        Kind::Launchd => {
            let item = |word: &str| format!("<string>{}</string>", xml(word));
            let more: String =
                words[1..].iter().map(|word| format!("\n    {}", item(word))).collect();
            let run = item("run");
            LAUNCHD.replace(&item(PROGRAM), &item(program)).replace(&run, &format!("{run}{more}"))
        }
        Kind::Windows => {
            let run: String = words[1..].iter().map(|word| format!(" {}", quoted(word))).collect();
            WINDOWS
                .replace(PROGRAM_ON_WINDOWS, &xml(program))
                .replace("<Arguments>run<", &format!("<Arguments>run{}<", xml(&run)))
        }
    })
}

/// A word that no format needs more than quotes for.
fn plain(word: &OsStr) -> Outcome<&str> {
    let word = word.to_str().filter(|word| !word.contains(char::is_control));
    word.ok_or_else(|| {
        Failure::say(
            Exit::Usage,
            "a path with control characters, or not in UTF-8, fits no service",
        )
    })
}

/// `text` with this program in place of the usual one, and what is named in place of its settings.
fn unit(text: &str, words: &[&str]) -> String {
    let line = |line: &str| match line.strip_prefix("ExecStart=") {
        Some(usual) => {
            let usual: Vec<&str> = usual.split(' ').skip(1).collect();
            let (run, settings) = usual.split_at(1);
            let kept = settings.chunks(2).filter(|setting| !words[1..].contains(&setting[0]));
            let words = words.iter().map(|word| of_systemd(word)).collect::<Vec<_>>();
            let kept = kept.flatten().map(|it| (*it).to_owned());
            let run = run.iter().map(|it| (*it).to_owned());
            let all = words[..1].iter().cloned().chain(run).chain(kept);
            let all: Vec<_> = all.chain(words[1..].iter().cloned()).collect();
            format!("ExecStart={}\n", all.join(" "))
        }
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// `word` as systemd reads it back: it knows quotes, backslashes, specifiers and variables.
fn of_systemd(word: &str) -> String {
    let escaped = word.replace('\\', r"\\").replace('"', "\\\"");
    let escaped = escaped.replace('%', "%%").replace('$', "$$");
    let bare = |c: char| c.is_ascii_alphanumeric() || "/._-+:".contains(c);
    if escaped.chars().all(bare) { escaped } else { format!("\"{escaped}\"") }
}

fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn quoted(word: &str) -> String {
    if word.contains(' ') { format!("\"{word}\"") } else { word.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(kind: Kind, program: &str, more: &[&str]) -> String {
        let more: Vec<_> = more.iter().map(|it| (*it).to_owned()).collect();
        file(kind, Path::new(program), &more).expect("plain words")
    }

    #[test]
    fn where_the_program_is_usual_the_files_are_those_of_deploy() {
        for (kind, text) in [
            (Kind::SystemdUser, SYSTEMD_USER),
            (Kind::SystemdSystem, SYSTEMD_SYSTEM),
            (Kind::Launchd, LAUNCHD),
        ] {
            assert_eq!(made(kind, PROGRAM, &[]), text, "{kind:?}");
        }
        assert_eq!(made(Kind::Windows, PROGRAM_ON_WINDOWS, &[]), WINDOWS);
    }

    #[test]
    fn paths_are_written_so_that_each_system_reads_them_back() {
        let more = ["--state", "/srv/a b"];
        let unit = made(Kind::SystemdUser, "/opt/50% \"new\"/$it", &more);
        let line = unit.lines().find(|line| line.starts_with("ExecStart=")).expect("one");
        assert_eq!(line, r#"ExecStart="/opt/50%% \"new\"/$$it" run --state "/srv/a b""#);
        let unit = made(Kind::SystemdSystem, PROGRAM, &["--state", "/srv/ab"]);
        let line = unit.lines().find(|line| line.starts_with("ExecStart=")).expect("one");
        let once = line.ends_with(" --state /srv/ab") && line.matches("--state").count() == 1;
        assert!(once, "{line}");
        let plist = made(Kind::Launchd, "/opt/a&b", &more);
        assert!(plist.contains("<string>/opt/a&amp;b</string>"), "{plist}");
        assert!(plist.contains("<string>run</string>\n    <string>--state</string>\n"), "{plist}");
        let task = made(Kind::Windows, r"C:\t.exe", &["--state", r"C:\a b"]);
        assert!(task.contains("<Command>C:\\t.exe</Command>"), "{task}");
        assert!(task.contains("<Arguments>run --state \"C:\\a b\"</Arguments>"), "{task}");
        assert!(file(Kind::Launchd, Path::new("/a\nb"), &[]).is_err());
    }

    #[test]
    fn no_unit_takes_away_what_sandboxes_are_made_of() {
        let fatal = [
            "PrivateUsers",
            "RestrictNamespaces",
            "ProtectProc",
            "ProcSubset",
            "SystemCallFilter",
            "ProtectKernelTunables",
            "ProtectKernelLogs",
            "ProtectControlGroups",
            "PrivateDevices",
            "ProtectHostname",
            "CapabilityBoundingSet",
            "MemoryDenyWriteExecute",
        ];
        for unit in [SYSTEMD_USER, SYSTEMD_SYSTEM] {
            let settings: Vec<_> = unit.lines().filter_map(|line| line.split_once('=')).collect();
            assert!(settings.contains(&("Delegate", "yes")));
            for (name, _) in settings {
                assert!(name.starts_with('#') || !fatal.contains(&name), "{name}");
            }
        }
    }
}
