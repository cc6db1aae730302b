//! Versions as tools print them and distributions package them.

use semver::Version;

use crate::facts::MAX_DIGITS;

/// Whether no more than [`MAX_DIGITS`] stand together in `text`, as in the versions of tools and
/// libraries (rule S20).
pub fn has_short_numbers(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_digit()).all(|number| number.len() <= MAX_DIGITS)
}

/// Reads a tool's version leniently as a semantic one.
///
/// An epoch (`1:`) and leading letters (`go`, `v`, `jdk-`) are skipped; then come up to three
/// numbers with dots between them; the rest is left out, pre-release marks too, because the
/// suffixes of distributions mean something else. Missing numbers are 0.
///
/// ```
/// use capability::parse_version;
///
/// assert_eq!(parse_version("4.3"), Some(semver::Version::new(4, 3, 0)));
/// assert_eq!(parse_version("12.2.0-14+deb12u1"), Some(semver::Version::new(12, 2, 0)));
/// assert_eq!(parse_version("unknown"), None);
/// ```
pub fn parse_version(text: &str) -> Option<Version> {
    let text = text.trim();
    let text = match text.split_once(':') {
        Some((epoch, rest)) if epoch.bytes().all(|byte| byte.is_ascii_digit()) => rest,
        _ => text,
    };
    let text = text.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let text = text.strip_prefix(['-', '_', ' ']).unwrap_or(text);
    let mut rest = text;
    let mut numbers = [0; 3];
    for (index, number) in numbers.iter_mut().enumerate() {
        let digits = match index {
            0 => rest,
            _ => match rest.strip_prefix('.') {
                Some(digits) if digits.starts_with(|c: char| c.is_ascii_digit()) => digits,
                _ => break,
            },
        };
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        *number = digits[..end].parse().ok()?;
        rest = &digits[end..];
    }
    let [major, minor, patch] = numbers;
    Some(Version::new(major, minor, patch))
}
