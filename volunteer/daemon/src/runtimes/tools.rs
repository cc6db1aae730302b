//! What a native job finds: the system, and the versions of tools.
//!
//! One shell script asks everything, so that one sandbox will do. It prints a line of `key value`
//! for each answer; what the values mean is read here.

use std::collections::BTreeMap;
use std::fmt::Write;

use capability::{Facts, FactsError};

/// A tool, how it is asked for its version, and what comes right before the version in its answer.
struct Tool {
    name: &'static str,
    arguments: &'static str,
    before: &'static str,
}

const fn tool(name: &'static str, arguments: &'static str, before: &'static str) -> Tool {
    Tool { name, arguments, before }
}

const TOOLS: [Tool; 20] = [
    tool("bash", "--version", "version "),
    tool("cargo", "--version", "cargo "),
    tool("cc", "--version", ""),
    tool("clang", "--version", "version "),
    tool("cmake", "--version", "version "),
    tool("g++", "-dumpfullversion", ""),
    tool("gcc", "-dumpfullversion", ""),
    tool("git", "--version", "version "),
    tool("go", "version", "go version go"),
    tool("java", "-version", "version \""),
    tool("make", "--version", "GNU Make "),
    tool("meson", "--version", ""),
    tool("ninja", "--version", ""),
    tool("node", "--version", "v"),
    tool("perl", "-e 'printf \"%vd\", $^V'", ""),
    tool("pkg-config", "--version", ""),
    tool("python3", "--version", "Python "),
    tool("ruby", "--version", "ruby "),
    tool("rustc", "--version", "rustc "),
    tool("valgrind", "--version", "valgrind-"),
];

/// Length of a version in bytes; what is longer is none.
const MAX_VERSION: usize = 64;

/// Prints what this machine's system is called and which versions its tools have.
pub fn script() -> String {
    let mut script = String::from(
        "say() { printf '%s %s\\n' \"$1\" \"$2\"; }\n\
         say kernel \"$(uname -r)\"\n\
         say libc \"$(getconf GNU_LIBC_VERSION 2>/dev/null)\"\n\
         if [ -r /etc/os-release ]; then sed 's/^/os-release /' /etc/os-release; fi\n\
         ask() { if command -v \"$1\" >/dev/null 2>&1; then \
         say \"tool.$1\" \"$(eval \"$2\" </dev/null 2>&1 | head -n 1)\"; fi; }\n",
    );
    for Tool { name, arguments, .. } in &TOOLS {
        let quoted = format!("{name} {arguments}").replace('\'', "'\\''");
        writeln!(script, "ask {name} '{quoted}'").expect("writing to a string");
    }
    // The last tool may be absent, which is no failure.
    script.push_str("exit 0\n");
    script
}

/// What the script found.
#[derive(Debug, Default)]
pub struct System {
    answers: BTreeMap<String, String>,
    release: BTreeMap<String, String>,
}

impl System {
    /// Reads the script's output. Lines that make no sense are passed over.
    pub fn parse(output: &str) -> Self {
        let mut system = Self::default();
        for line in output.lines() {
            let Some((key, value)) = line.split_once(' ') else { continue };
            let value = value.trim();
            match (key, value.split_once('=')) {
                ("os-release", Some((name, value))) => {
                    let value = value.trim_matches(['"', '\'']).to_owned();
                    system.release.insert(name.to_owned(), value);
                }
                _ if !value.is_empty() => {
                    system.answers.insert(key.to_owned(), value.to_owned());
                }
                _ => {}
            }
        }
        system
    }

    /// What the system calls itself; may be empty.
    pub fn pretty_name(&self) -> &str {
        self.release.get("PRETTY_NAME").map_or("", String::as_str)
    }

    /// The facts that follow.
    pub fn facts(&self) -> Result<Facts, FactsError> {
        let mut facts = Facts::new();
        facts.insert("os", std::env::consts::OS)?;
        facts.insert("arch", std::env::consts::ARCH)?;
        let mut state = |name: &str, text: Option<&str>| match text.and_then(plain) {
            Some(text) => facts.insert(name, text),
            None => Ok(()),
        };
        state("kernel", self.answers.get("kernel").map(String::as_str))?;
        state("distribution", self.release.get("ID").map(String::as_str))?;
        state("distribution.version", self.release.get("VERSION_ID").map(String::as_str))?;
        let glibc = self.answers.get("libc").and_then(|answer| answer.strip_prefix("glibc "));
        state("libc", glibc.map(|_| "gnu"))?;
        state("libc.version", glibc)?;
        for Tool { name, before, .. } in &TOOLS {
            let fact = format!("tool.{name}");
            let answer = self.answers.get(&fact);
            state(&fact, answer.and_then(|answer| version(answer, before)))?;
        }
        Ok(facts)
    }
}

/// A short text without surprises, or nothing.
fn plain(text: &str) -> Option<&str> {
    let sound = !text.is_empty() && text.len() <= MAX_VERSION && !text.contains(char::is_control);
    sound.then_some(text)
}

/// The version in `answer`: what follows `before`, or the first word that begins with a digit.
fn version<'a>(answer: &'a str, before: &str) -> Option<&'a str> {
    let rest = match before {
        "" => {
            answer.split([' ', '(']).find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?
        }
        _ => &answer[answer.find(before)? + before.len()..],
    };
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "._+~-".contains(c)));
    let version = &rest[..end.unwrap_or(rest.len())];
    version.starts_with(|c: char| c.is_ascii_digit()).then_some(version)
}

#[cfg(test)]
mod tests {
    use capability::Fact;

    use super::*;

    #[test]
    fn versions_are_found_in_what_tools_say() {
        let check = |name: &str, answer: &str, expected: Option<&str>| {
            let tool = TOOLS.iter().find(|tool| tool.name == name).expect("a tool of the table");
            assert_eq!(version(answer, tool.before), expected, "{name}: {answer}");
        };
        check("make", "GNU Make 4.3", Some("4.3"));
        check("gcc", "12.2.0", Some("12.2.0"));
        check("cc", "cc (Debian 12.2.0-14+deb12u1) 12.2.0", Some("12.2.0-14+deb12u1"));
        check("clang", "Debian clang version 14.0.6", Some("14.0.6"));
        check("git", "git version 2.39.5", Some("2.39.5"));
        check("go", "go version go1.22.1 linux/amd64", Some("1.22.1"));
        check("java", "openjdk version \"17.0.13\" 2024-10-15", Some("17.0.13"));
        check("node", "v18.19.0", Some("18.19.0"));
        check("python3", "Python 3.11.2", Some("3.11.2"));
        check("rustc", "rustc 1.95.0 (59807616e 2026-04-14)", Some("1.95.0"));
        check("bash", "GNU bash, version 5.2.15(1)-release (x86_64-pc-linux-gnu)", Some("5.2.15"));
        check("valgrind", "valgrind-3.19.0", Some("3.19.0"));
        check("cargo", "error: no default toolchain", None);
        check("meson", "meson: not found", None);
    }

    #[test]
    fn a_system_becomes_facts() {
        let system = System::parse(
            "kernel 6.1.0-28-amd64\nlibc glibc 2.36\nos-release ID=debian\n\
             os-release PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n\
             os-release VERSION_ID=\"12\"\ntool.make GNU Make 4.3\ntool.git \nnonsense\n",
        );
        let facts = system.facts().expect("within all limits");
        let fact = |name: &str| facts.get(name).cloned();
        assert_eq!(fact("distribution"), Some(Fact::from("debian")));
        assert_eq!(fact("distribution.version"), Some(Fact::from("12")));
        assert_eq!(fact("libc.version"), Some(Fact::from("2.36")));
        assert_eq!(fact("tool.make"), Some(Fact::from("4.3")));
        assert_eq!(fact("tool.git"), None);
        assert_eq!(system.pretty_name(), "Debian GNU/Linux 12 (bookworm)");
    }

    #[test]
    fn the_script_runs_in_a_plain_shell() {
        let run = std::process::Command::new("/bin/sh").args(["-c", &script()]).output();
        let output = run.expect("a shell");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let system = System::parse(&String::from_utf8_lossy(&output.stdout));
        assert!(system.answers.contains_key("kernel"), "{system:?}");
        system.facts().expect("within all limits");
    }
}
