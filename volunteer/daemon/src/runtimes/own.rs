//! What the owner says of the machine, the same in every runtime.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use capability::{Fact, Facts, FactsError, MAX_WORD, Resources};
use serde::Deserialize;

/// Labels of one machine.
pub const MAX_LABELS: usize = 32;

/// What the owner says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Own {
    /// The machine's name; may be empty.
    pub name: String,
    /// Words for masters to go by.
    pub labels: BTreeSet<Label>,
    /// When the machine takes work; always, if absent.
    pub hours: Option<Hours>,
    /// What is donated.
    pub donated: Resources,
}

/// A word of 1 to [`MAX_WORD`] characters of `a-z`, `0-9` and `._-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Label(String);

/// A span of each day in local time. It may go over midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Hours {
    /// Minutes since midnight.
    from: u16,
    to: u16,
}

const DAY: u16 = 24 * 60;

impl Own {
    /// Adds it to `facts`.
    pub fn state(&self, facts: &mut Facts) -> Result<(), FactsError> {
        if !self.name.is_empty() {
            facts.insert("label", self.name.as_str())?;
        }
        if !self.labels.is_empty() {
            let words: Fact = self.labels.iter().map(|label| label.0.as_str()).collect();
            facts.insert("labels", words)?;
        }
        if let Some(hours) = self.hours {
            facts.insert("hours", hours.to_string())?;
            facts.insert("hours.daily", hours.daily())?;
        }
        facts.insert("donated.cores", u64::from(self.donated.cores))?;
        facts.insert("donated.memory", self.donated.memory)?;
        facts.insert("donated.disk", self.donated.disk)
    }
}

impl Hours {
    /// Whether it is that time now. Follows the zone and the clock of the machine as they change.
    pub fn hold_now(self) -> bool {
        let now = jiff::Zoned::now().time();
        // Neither is ever below 0 or above 59.
        let minutes = |number: i8| u16::try_from(number).unwrap_or_default();
        self.hold_at(minutes(now.hour()) * 60 + minutes(now.minute()))
    }

    /// Whether `minute` of the day is among them; the end is not.
    fn hold_at(self, minute: u16) -> bool {
        (minute + DAY - self.from) % DAY < (self.to + DAY - self.from) % DAY
    }

    /// Whole hours of each day.
    fn daily(self) -> u64 {
        u64::from((self.to + DAY - self.from) % DAY / 60)
    }
}

impl FromStr for Hours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span = text.split_once('-');
        let span = span.and_then(|(from, to)| Some((minutes(from.trim())?, minutes(to.trim())?)));
        let shown: String = text.chars().take(32).collect();
        match span {
            Some((from, to)) if from != to => Ok(Self { from, to }),
            Some(_) => {
                Err(format!("{shown:?} is no span of the day; leave `hours` out for all day"))
            }
            None => Err(format!("{shown:?} is not hours of the day, as in \"22:00-07:00\"")),
        }
    }
}

/// Minutes since midnight of `HH:MM`.
fn minutes(time: &str) -> Option<u16> {
    let (hours, minutes) = time.split_once(':')?;
    let number = |text: &str, most: u16| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|number| digits && *number <= most)
    };
    Some(number(hours, 23)? * 60 + number(minutes, 59)?)
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

impl TryFrom<String> for Hours {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl TryFrom<String> for Label {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        if (1..=MAX_WORD).contains(&text.len()) && text.bytes().all(is_plain) {
            return Ok(Self(text));
        }
        let shown: String = text.chars().take(MAX_WORD).collect();
        Err(format!(
            "{shown:?} is no label: 1 to {MAX_WORD} characters of a-z, 0-9, dot, hyphen and underscore"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_go_over_midnight() {
        let check = |text: &str, shown: &str, daily: u64| {
            let hours: Hours = text.parse().expect(text);
            assert_eq!((hours.to_string().as_str(), hours.daily()), (shown, daily));
        };
        check("22:00-07:00", "22:00-07:00", 9);
        check("08:30 - 17:00", "08:30-17:00", 8);
        check("00:00-23:59", "00:00-23:59", 23);
        for wrong in
            ["", "22-7", "22:00", "24:00-07:00", "22:60-07:00", "2:00-07:00", "+1:00-07:00"]
        {
            let error = wrong.parse::<Hours>().expect_err(wrong);
            assert!(error.contains("is not hours of the day"), "{error}");
        }
        assert!("07:00-07:00".parse::<Hours>().expect_err("empty").contains("leave `hours` out"));
    }

    #[test]
    fn hours_begin_and_end_to_the_minute() {
        let check = |text: &str, within: &[&str], outside: &[&str]| {
            let hours: Hours = text.parse().expect(text);
            let holds = |time: &&str| hours.hold_at(minutes(time).expect(time));
            assert!(within.iter().all(holds), "{text}");
            assert!(!outside.iter().any(holds), "{text}");
        };
        check("08:30-17:00", &["08:30", "16:59"], &["08:29", "17:00", "00:00", "23:59"]);
        check("22:00-07:00", &["22:00", "23:59", "00:00", "06:59"], &["07:00", "21:59", "12:00"]);
        check("00:00-23:59", &["00:00", "23:58"], &["23:59"]);
        check("12:00-00:00", &["12:00", "23:59"], &["00:00", "11:59"]);
    }

    #[test]
    fn what_the_owner_says_becomes_facts_that_job_files_may_name() {
        let own = Own {
            name: "bench".to_owned(),
            labels: [Label("lab".to_owned()), Label("quiet".to_owned())].into(),
            hours: Some("22:00-07:00".parse().expect("hours")),
            donated: Resources { cores: 2, memory: 4 << 30, disk: 8 << 30 },
        };
        let mut facts = Facts::new();
        own.state(&mut facts).expect("within all limits");
        assert_eq!(facts.get("labels"), Some(&["lab", "quiet"].into_iter().collect()));
        assert_eq!(facts.get("hours.daily"), Some(&9.into()));
        assert_eq!(facts.get("donated.memory"), Some(&(4 << 30).into()));
        assert_eq!(facts.len(), 7);
        for (name, _) in facts.iter() {
            assert!(capability::fact_kind(name.as_str()).is_some(), "{name}");
        }
    }

    #[test]
    fn a_label_is_a_word_of_a_set() {
        let label = |text: &str| Label::try_from(text.to_owned());
        for wrong in ["", "Lab", "a b", &"x".repeat(MAX_WORD + 1)] {
            assert!(label(wrong).is_err(), "{wrong:?}");
        }
        let longest = label(&"x".repeat(MAX_WORD)).expect("a label");
        let own = Own { labels: [longest].into(), ..Own::default() };
        own.state(&mut Facts::new()).expect("a word");
    }
}
