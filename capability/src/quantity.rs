//! Amounts of bytes and of time, as people write them.

use std::time::Duration;

use bytesize::ByteSize;

/// A text is not an amount that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a number with a unit of bytes.
    #[error("{0:?} is not an amount of bytes; write for example \"512 MiB\" or \"2 GB\"")]
    Bytes(String),
    /// Not a whole number of bytes.
    #[error("{0:?} is not a whole number of bytes; write for example \"512 MiB\" or \"1.5 GiB\"")]
    FractionOfByte(String),
    /// More than 64 bits hold.
    #[error("{0:?} is more than can be counted; write for example \"2 GiB\"")]
    TooManyBytes(String),
    /// Not a duration.
    #[error("{0:?} is not a duration; write for example \"90s\", \"2m\" or \"1h 30m\"")]
    Duration(String),
}

const UNITS: [(&str, u64); 13] = [
    ("b", 1),
    // As `format_bytes` writes it.
    ("byte", 1),
    ("bytes", 1),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("pib", 1 << 50),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("pb", 1_000_000_000_000_000),
];

/// Longest text that is looked at; the longest sensible amount is much shorter.
const MAX_LENGTH: usize = 40;

/// The number of bytes that `text` names: a decimal number and a unit, or bytes without one.
///
/// Binary units are `KiB` to `PiB`, decimal ones `kB` to `PB`; case does not matter. The result is
/// exact, which a parser that goes through floating point is not.
///
/// # Errors
/// If `text` is no such amount, or not a whole number of bytes below 2⁶⁴.
///
/// ```
/// use capability::parse_bytes;
///
/// assert_eq!(parse_bytes("1.5 KiB"), Ok(1536));
/// assert!(parse_bytes("2 parsecs").is_err());
/// ```
pub fn parse_bytes(text: &str) -> Result<u64, QuantityError> {
    let unreadable = || QuantityError::Bytes(text.chars().take(MAX_LENGTH).collect());
    if text.len() > MAX_LENGTH {
        return Err(unreadable());
    }
    let amount = text.trim();
    let end = amount.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(amount.len());
    let (number, unit) = amount.split_at(end);
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction.trim_end_matches('0')),
        Some(_) => return Err(unreadable()),
        None => (number, ""),
    };
    let digits_only = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits_only(fraction) {
        return Err(unreadable());
    }
    let unit = unit_size(unit.trim_start()).ok_or_else(unreadable)?;
    let too_many = || QuantityError::TooManyBytes(text.to_owned());
    let whole: u64 = whole.parse().map_err(|_| too_many())?;
    whole
        .checked_mul(unit)
        .ok_or_else(too_many)?
        .checked_add(
            part_of(unit, fraction)
                .ok_or_else(|| QuantityError::FractionOfByte(text.to_owned()))?,
        )
        .ok_or_else(too_many)
}

/// Writes `bytes` with the largest unit that leaves a whole number, or roughly and exactly.
///
/// ```
/// use capability::format_bytes;
///
/// assert_eq!(format_bytes(512 << 20), "512 MiB");
/// assert_eq!(format_bytes((1 << 30) - 1), "1024.0 MiB (1073741823 bytes)");
/// ```
pub fn format_bytes(bytes: u64) -> String {
    const NAMES: [&str; 6] = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"];
    // Ten binary digits a unit.
    let unit = (bytes.trailing_zeros() / 10).min(5);
    let count = if bytes == 0 { 0 } else { bytes >> (10 * unit) };
    if bytes == 0 || count < 10_000 {
        let unit = if bytes == 0 { 0 } else { unit as usize };
        return format!("{count} {}", NAMES[unit]);
    }
    format!("{} ({bytes} bytes)", ByteSize(bytes))
}

/// The duration that `text` names, such as `90s` or `1h 30m`.
///
/// # Errors
/// If `text` is no such duration.
///
/// ```
/// use std::time::Duration;
///
/// assert_eq!(capability::parse_duration("1h 30m"), Ok(Duration::from_secs(5400)));
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, QuantityError> {
    let unreadable = || QuantityError::Duration(text.chars().take(MAX_LENGTH).collect());
    if text.len() > MAX_LENGTH {
        return Err(unreadable());
    }
    humantime::parse_duration(text.trim()).map_err(|_| unreadable())
}

fn unit_size(name: &str) -> Option<u64> {
    if name.is_empty() {
        return Some(1);
    }
    UNITS.iter().find(|(unit, _)| unit.eq_ignore_ascii_case(name)).map(|(_, size)| *size)
}

/// `0.<fraction>` of `unit`, if that is a whole number.
fn part_of(unit: u64, fraction: &str) -> Option<u64> {
    if fraction.is_empty() {
        return Some(0);
    }
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let parts = u128::from(unit).checked_mul(fraction.parse().ok()?)?;
    if parts % scale == 0 { u64::try_from(parts / scale).ok() } else { None }
}
