//! Amounts as owners write them: fixed, or in proportion to what the machine has.
//!
//! A proportion is resolved whenever the configuration is read, so that one file serves many machines.

use std::fmt;
use std::str::FromStr;

use capability::format_bytes;
use mesh_shell::config::Bytes;
use serde::{Deserialize, Serialize};

/// More cores than that no machine has.
const MAX_CORES: u32 = 4096;

/// A number of cores: `2`, `"50%"`, `"all-1"` or `"all"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Written<u32>", into = "String")]
pub enum Cores {
    /// So many.
    Number(u32),
    /// So many of a hundred, rounded down.
    Percent(Percent),
    /// All but so many.
    AllBut(u32),
}

/// An amount of memory or disk space: `"2 GiB"` or `"25%"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Written<u64>", into = "String")]
pub enum Amount {
    /// So many bytes.
    Bytes(u64),
    /// So many of a hundred of what there is.
    Percent(Percent),
}

/// From 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "Written<u8>")]
pub struct Percent(u8);

/// A bare number, or text.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number of one or more, or text such as \"50%\"")]
enum Written<N> {
    Number(N),
    Text(String),
}

impl Cores {
    /// How many these are of `there`: one at least.
    pub fn of(self, there: u32) -> u32 {
        let cores = match self {
            Self::Number(cores) => cores,
            Self::Percent(percent) => u32::try_from(percent.of(there.into())).unwrap_or(there),
            Self::AllBut(spared) => there.saturating_sub(spared),
        };
        cores.max(1)
    }
}

impl Amount {
    /// How many bytes these are of what is `there`; of the unknown, a proportion is nothing.
    pub fn of(self, there: Option<u64>) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => percent.of(there.unwrap_or_default()),
        }
    }
}

impl Percent {
    /// The part of `whole`, rounded down.
    pub fn of(self, whole: u64) -> u64 {
        // Whole hundreds first, so that nothing overflows.
        whole / 100 * u64::from(self.0) + whole % 100 * u64::from(self.0) / 100
    }

    /// So many of a hundred.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl FromStr for Cores {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let written = text.trim();
        let wrong = || {
            let shown: String = text.chars().take(32).collect();
            format!("{shown:?} is not a number of cores, as in 2, \"50%\" or \"all-1\"")
        };
        if written.ends_with('%') {
            return written.parse().map(Self::Percent);
        }
        if let Some(spared) = written.strip_prefix("all") {
            let spared = match spared.trim_start().strip_prefix('-') {
                Some(spared) => spared.trim().parse().ok(),
                None => spared.is_empty().then_some(0),
            };
            return spared.filter(|it| *it <= MAX_CORES).map(Self::AllBut).ok_or_else(wrong);
        }
        let number: u32 = written.parse().map_err(|_| wrong())?;
        Self::try_from(Written::Number(number))
    }
}

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim_end().ends_with('%') {
            return text.parse().map(Self::Percent);
        }
        let bytes: Bytes = text.parse().map_err(|error: capability::QuantityError| {
            format!("{error}; or a proportion, as in \"50%\"")
        })?;
        Ok(Self::Bytes(bytes.0))
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.trim().strip_suffix('%').and_then(|number| number.trim().parse().ok());
        number.filter(|number| (1..=100).contains(number)).map(Self).ok_or_else(|| {
            let shown: String = text.chars().take(32).collect();
            format!("{shown:?} is not a proportion from \"1%\" to \"100%\"")
        })
    }
}

impl TryFrom<Written<u32>> for Cores {
    type Error = String;

    fn try_from(written: Written<u32>) -> Result<Self, String> {
        match written {
            Written::Number(cores) if (1..=MAX_CORES).contains(&cores) => Ok(Self::Number(cores)),
            Written::Number(_) => Err(format!("`cores` is a number from 1 to {MAX_CORES}")),
            Written::Text(text) => text.parse(),
        }
    }
}

impl TryFrom<Written<u64>> for Amount {
    type Error = String;

    fn try_from(written: Written<u64>) -> Result<Self, String> {
        match written {
            Written::Number(bytes) => Ok(Self::Bytes(bytes)),
            Written::Text(text) => text.parse(),
        }
    }
}

impl TryFrom<Written<u8>> for Percent {
    type Error = String;

    fn try_from(written: Written<u8>) -> Result<Self, String> {
        match written {
            Written::Number(number) => format!("{number}%").parse(),
            Written::Text(text) => text.parse(),
        }
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(cores) => cores.fmt(f),
            Self::Percent(percent) => percent.fmt(f),
            Self::AllBut(0) => f.write_str("all"),
            Self::AllBut(spared) => write!(f, "all-{spared}"),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => f.write_str(&format_bytes(*bytes)),
            Self::Percent(percent) => percent.fmt(f),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl From<Cores> for String {
    fn from(cores: Cores) -> Self {
        cores.to_string()
    }
}

impl From<Amount> for String {
    fn from(amount: Amount) -> Self {
        amount.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_a_number_a_proportion_or_all_but_some_and_never_none() {
        let check = |text: &str, there: u32, expected: u32| {
            assert_eq!(text.parse::<Cores>().expect(text).of(there), expected, "{text} of {there}");
        };
        check("2", 8, 2);
        check("2", 1, 2);
        check("50%", 8, 4);
        check("50%", 3, 1);
        check("10%", 4, 1);
        check("100%", 6, 6);
        check("all", 6, 6);
        check("all-1", 6, 5);
        check(" all - 2 ", 6, 4);
        check("all-8", 4, 1);
        let words = ["", "0", "-1", "0%", "101%", "%", "all-", "all1", "allx", "many", "2.5"];
        for wrong in words {
            assert!(wrong.parse::<Cores>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn bytes_are_fixed_or_a_proportion_of_what_is_there() {
        let check = |text: &str, there: Option<u64>, expected: u64| {
            assert_eq!(text.parse::<Amount>().expect(text).of(there), expected, "{text}");
        };
        check("2 GiB", Some(1 << 30), 2 << 30);
        check("7", None, 7);
        check("50%", Some(4 << 30), 2 << 30);
        check("33%", Some(10), 3);
        check("99%", Some(u64::MAX), u64::MAX / 100 * 99 + 14);
        check("50%", None, 0);
        for wrong in ["", "%", "0%", "200%", "two", "5.5%"] {
            assert!(wrong.parse::<Amount>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_shown_can_be_written() {
        for text in ["3", "50%", "all-1", "all"] {
            assert_eq!(text.parse::<Cores>().expect(text).to_string(), text);
        }
        for text in ["2 GiB", "25%"] {
            assert_eq!(text.parse::<Amount>().expect(text).to_string(), text);
        }
    }
}
