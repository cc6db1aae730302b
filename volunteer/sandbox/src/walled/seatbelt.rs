//! The Seatbelt profile of a walled program: what it may do on macOS, all else being denied.
//!
//! Paths are parameters of the profile and no part of its text, so that no name can be taken for a rule.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A profile, for `sandbox-exec -p`.
#[derive(Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its text.
    pub text: String,
    /// What its parameters stand for, for `-D`.
    pub parameters: Vec<(String, PathBuf)>,
}

/// The same for every program. It may be executed, which is how it starts, and starts nobody else: `process-fork` is
/// not among these, nor is any network, any Mach service, shared memory, device or signal to others.
const COMMON: &str = r#"(version 1)
(deny default)
(allow process-exec* (literal (param "PROGRAM")))
(allow file-read* file-map-executable (literal (param "PROGRAM")))
(allow file-read* file-map-executable
  (subpath "/usr/lib")
  (subpath "/System/Library")
  (subpath "/System/Volumes/Preboot/Cryptexes")
  (subpath "/System/Cryptexes"))
(allow file-read* (literal "/") (literal "/dev/null") (literal "/dev/random") (literal "/dev/urandom"))
(allow file-write-data (literal "/dev/null"))
(allow file-read* file-write* (subpath (param "WORK")))
(deny file-write-setugid)
(allow sysctl-read
  (sysctl-name-prefix "hw.")
  (sysctl-name-prefix "machdep.cpu.")
  (sysctl-name "kern.osproductversion" "kern.osrelease" "kern.ostype" "kern.osversion" "kern.usrstack64"))
(allow process-info* (target self))
(allow signal (target self))
"#;

/// For `program`, which reads the files `reads` and writes below `work`: all as they are without links, since it is
/// that by which the kernel goes.
pub fn profile(program: &Path, reads: &[PathBuf], work: &Path) -> Profile {
    let mut text = COMMON.to_owned();
    let mut parameters =
        vec![("PROGRAM".to_owned(), program.to_owned()), ("WORK".to_owned(), work.to_owned())];
    let mut allow = |operation: &str, name: String, path: &Path| {
        text.push_str(&format!("(allow {operation} (literal (param \"{name}\")))\n"));
        parameters.push((name, path.to_owned()));
    };
    for (number, file) in reads.iter().enumerate() {
        allow("file-read*", format!("READ{number}"), file);
    }
    // The way to each of them: that the folders are there, and not what is in them.
    for (number, folder) in ways_to(program, reads, work).into_iter().enumerate() {
        allow("file-read-metadata", format!("WAY{number}"), folder);
    }
    Profile { text, parameters }
}

/// All folders above them but the root, once each.
fn ways_to<'a>(program: &'a Path, reads: &'a [PathBuf], work: &'a Path) -> Vec<&'a Path> {
    let all = reads.iter().map(PathBuf::as_path).chain([program, work]);
    let above = all.flat_map(|path| path.ancestors().skip(1));
    let mut ways: Vec<&Path> = above.filter(|folder| folder.parent().is_some()).collect();
    ways.sort_unstable();
    ways.dedup();
    ways
}

impl Profile {
    /// The arguments of `sandbox-exec` that come before the program's.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut all = vec!["-p".into(), OsString::from(&self.text)];
        for (name, path) in &self.parameters {
            let mut definition = OsString::from(format!("{name}="));
            definition.push(path);
            all.extend(["-D".into(), definition]);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(reads: &[&str], work: &str) -> Profile {
        let reads: Vec<PathBuf> = reads.iter().map(PathBuf::from).collect();
        profile(Path::new("/opt/talkoot/runner"), &reads, Path::new(work))
    }

    #[test]
    fn a_profile_names_its_files_and_the_ways_to_them_and_nothing_beside() {
        let profile = of(&["/var/cache/entry"], "/var/work/7");

        let named: Vec<String> = profile
            .parameters
            .iter()
            .map(|(name, path)| format!("{name} {}", path.display()))
            .collect();
        let expected = [
            "PROGRAM /opt/talkoot/runner",
            "WORK /var/work/7",
            "READ0 /var/cache/entry",
            "WAY0 /opt",
            "WAY1 /opt/talkoot",
            "WAY2 /var",
            "WAY3 /var/cache",
            "WAY4 /var/work",
        ];
        assert_eq!(named, expected);
        for (name, _) in &profile.parameters {
            assert!(profile.text.contains(&format!("(param \"{name}\")")), "{name}");
        }
    }

    #[test]
    fn whoever_gets_no_rule_gets_nothing_and_the_work_directory_alone_is_written_to() {
        let text = of(&["/entry"], "/work").text;

        let rules: Vec<&str> = text.split("\n(").collect();
        assert_eq!(rules[1], "deny default)");
        let permits_writing =
            |rule: &&&str| rule.starts_with("allow") && rule.contains("file-write");
        let writing: Vec<&&str> = rules.iter().filter(permits_writing).collect();
        assert_eq!(
            writing,
            [
                &"allow file-write-data (literal \"/dev/null\"))",
                &"allow file-read* file-write* (subpath (param \"WORK\")))"
            ]
        );
        for never in ["network", "mach-", "process-fork", "ipc-", "iokit", "(allow file-read*)"] {
            assert!(!text.contains(never), "{never}");
        }
        let open = text.matches('(').count();
        assert_eq!(open, text.matches(')').count());
    }

    #[test]
    fn a_name_is_no_rule() {
        let hostile = "/work\")) (allow network*) (allow file-read* (literal \"/";
        let profile = of(&[], hostile);

        assert!(!profile.text.contains("network"));
        let expected = OsString::from(format!("WORK={hostile}"));
        assert!(profile.arguments().contains(&expected));
    }
}
