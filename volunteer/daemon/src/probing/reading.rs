//! From what a program says to a version.

use capability::{has_short_numbers, parse_version};
use regex::{Regex, RegexBuilder};

/// Bytes of a version; what is longer is none.
const MAX_VERSION: usize = 64;

/// Bytes that a compiled pattern may take: patterns are short, and their text comes from owners.
const MAX_COMPILED: usize = 1 << 20;

/// The first number with a dot in it, and what hangs on to it.
pub const DEFAULT_PATTERN: &str = r"(\d+(?:\.\d+)+(?:[-+~._]?[0-9A-Za-z]+)*)";

/// The pattern that `text` describes.
///
/// # Errors
/// What is wrong with it, for people.
pub fn pattern(text: &str) -> Result<Regex, String> {
    let compiled = RegexBuilder::new(text).size_limit(MAX_COMPILED).build();
    let pattern = compiled.map_err(|error| {
        let error = error.to_string();
        let line = error.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        line.trim_start_matches("error: ").to_owned()
    })?;
    if pattern.captures_len() < 2 {
        return Err("it has no group, as in 'version (\\d[\\w.]*)'".to_owned());
    }
    Ok(pattern)
}

/// The version in `answer`: the groups of `pattern` in its first match, joined by dots.
pub fn version(answer: &str, pattern: &Regex) -> Option<String> {
    let captures = pattern.captures(answer)?;
    let groups: Vec<_> = captures.iter().skip(1).flatten().map(|group| group.as_str()).collect();
    let version = groups.join(".").trim_end_matches(['.', '-', '+', '_']).to_owned();
    is_version(&version).then_some(version)
}

/// Whether `text` is one that ranges of versions can be tried on.
pub fn is_version(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+~:-".contains(&byte);
    text.len() <= MAX_VERSION
        && text.bytes().all(is_plain)
        && has_short_numbers(text)
        && parse_version(text).is_some()
}

/// Enough of what a program says for people to know it again.
pub fn first_line(text: &str) -> String {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    plain(line)
}

/// `text` on one line of bounded length, without surprises for a terminal.
pub fn plain(text: &str) -> String {
    const MAX_SHOWN: usize = 160;
    text.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect()
}
