//! The hours of the week in which something is allowed, in the time of the machine's clock and zone.
//!
//! Owners write one span for each day (`"22:00-07:00"`), a list of spans, `"always"` or `"never"`; or a
//! table with a line for some days. A span belongs to the day on which it begins, also over midnight, so
//! that `friday = "22:00-07:00"` ends on Saturday morning.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Time, Weekday};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

/// Spans of one day: so that the fact `hours` has room for a week of days that are all different.
const MAX_SPANS: usize = 2;

/// Minutes of a day, and of a week.
const DAY: u16 = 24 * 60;
const WEEK: u16 = 7 * DAY;

const DAYS: [&str; 7] =
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const SHORT_DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// When something is allowed: for each day of the week, from Monday on, the spans that begin on it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Hours([Day; 7]);

/// The spans that begin on one day, in the order in which they are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Day(Vec<Span>);

/// Minutes since midnight. The end is not in it, and above [`DAY`] if it is on the next day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: u16,
    to: u16,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "hours are as in \"22:00-07:00\", a list of such spans, or a table such as \
                 { weekdays = \"19:00-07:00\", weekend = \"always\" }"
)]
enum Written {
    Daily(OneOrMore),
    Weekly(Week),
}

/// What is closer to a day comes before what is farther; a day that nothing names has no hours.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
struct Week {
    daily: Option<OneOrMore>,
    weekdays: Option<OneOrMore>,
    weekend: Option<OneOrMore>,
    monday: Option<OneOrMore>,
    tuesday: Option<OneOrMore>,
    wednesday: Option<OneOrMore>,
    thursday: Option<OneOrMore>,
    friday: Option<OneOrMore>,
    saturday: Option<OneOrMore>,
    sunday: Option<OneOrMore>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged, expecting = "expected a span such as \"22:00-07:00\", or a list of spans")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl Hours {
    /// Whether it is that time now. Follows the zone and the clock of the machine as they change.
    pub fn hold_now(&self) -> bool {
        let now = jiff::Zoned::now();
        self.hold_at(now.weekday(), now.time())
    }

    fn hold_at(&self, day: Weekday, time: Time) -> bool {
        // Neither is ever below 0 or above 59.
        let number = |number: i8| u16::try_from(number).unwrap_or_default();
        let minute = number(time.hour()) * 60 + number(time.minute());
        self.spans().any(|(begin, length)| {
            let now = number(day.to_monday_zero_offset()) * DAY + minute;
            (now + WEEK - begin) % WEEK < length
        })
    }

    /// Each span as its first minute of the week and its length in minutes.
    fn spans(&self) -> impl Iterator<Item = (u16, u16)> {
        (0..).zip(&self.0).flat_map(|(day, Day(spans))| {
            spans.iter().map(move |span| (day * DAY + span.from, span.to - span.from))
        })
    }

    /// Whole hours that each day has, counted from midnight: those of the day that has least.
    pub fn daily(&self) -> u64 {
        let mut minutes = [false; WEEK as usize];
        for (begin, length) in self.spans() {
            for minute in begin..begin + length {
                minutes[usize::from(minute % WEEK)] = true;
            }
        }
        let days = minutes.chunks(DAY.into()).map(|day| day.iter().filter(|it| **it).count() / 60);
        days.min().unwrap_or_default() as u64
    }
}

impl TryFrom<Written> for Hours {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let hours = match written {
            Written::Daily(day) => {
                let day = Day::try_from(day)?;
                Self(std::array::from_fn(|_| day.clone()))
            }
            Written::Weekly(week) => Self(week.days()?),
        };
        if hours.0.iter().all(|day| day.0.is_empty()) {
            return Err("these hours are never; `pause` keeps a machine from all work".to_owned());
        }
        Ok(hours)
    }
}

/// As on the command line: a span, or what a configuration file has behind `hours =`.
impl FromStr for Hours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct File {
            hours: Hours,
        }
        let is_value = text.trim_start().starts_with(['[', '{']);
        if !is_value {
            return Self::try_from(Written::Daily(OneOrMore::One(text.to_owned())));
        }
        let file = toml::from_str::<File>(&format!("hours = {text}"));
        file.map(|file| file.hours).map_err(|error| error.message().to_owned())
    }
}

/// As it can be read again.
impl Serialize for Hours {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(days) = self;
        if days.iter().all(|day| *day == days[0]) {
            return days[0].serialize(serializer);
        }
        let mut table = serializer.serialize_map(Some(days.len()))?;
        DAYS.iter().zip(days).try_for_each(|(name, day)| table.serialize_entry(name, day))?;
        table.end()
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [] => serializer.serialize_str("never"),
            [span] => serializer.collect_str(span),
            spans => serializer.collect_seq(spans.iter().map(Span::to_string)),
        }
    }
}

impl Week {
    fn days(self) -> Result<[Day; 7], String> {
        let Self { daily, weekdays, weekend, .. } = self;
        let usual = |own: Option<OneOrMore>, group: &Option<OneOrMore>| {
            let written = own.or_else(|| group.clone()).or_else(|| daily.clone());
            written.map_or_else(|| Ok(Day::default()), Day::try_from)
        };
        Ok([
            usual(self.monday, &weekdays)?,
            usual(self.tuesday, &weekdays)?,
            usual(self.wednesday, &weekdays)?,
            usual(self.thursday, &weekdays)?,
            usual(self.friday, &weekdays)?,
            usual(self.saturday, &weekend)?,
            usual(self.sunday, &weekend)?,
        ])
    }
}

impl TryFrom<OneOrMore> for Day {
    type Error = String;

    fn try_from(written: OneOrMore) -> Result<Self, String> {
        let spans = match written {
            OneOrMore::One(word) if word.trim() == "never" => Vec::new(),
            OneOrMore::One(span) => vec![span],
            OneOrMore::More(spans) => spans,
        };
        if spans.len() > MAX_SPANS {
            return Err(format!("a day has at most {MAX_SPANS} spans of hours"));
        }
        spans.iter().map(|span| span.parse()).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "always" {
            return Ok(Self { from: 0, to: DAY });
        }
        let span = text.split_once('-');
        let span = span.and_then(|(from, to)| Some((minutes(from.trim())?, minutes(to.trim())?)));
        let shown: String = text.chars().take(32).collect();
        match span {
            Some((from, to)) if from < to => Ok(Self { from, to }),
            Some((from, to)) if from > to && from < DAY => Ok(Self { from, to: to + DAY }),
            Some(_) => {
                Err(format!("{shown:?} is no span of the day; say \"always\" for all of it"))
            }
            None => Err(format!("{shown:?} is not hours of the day, as in \"22:00-07:00\"")),
        }
    }
}

/// Minutes since midnight of `HH:MM`, up to `24:00`.
fn minutes(time: &str) -> Option<u16> {
    let (hours, minutes) = time.split_once(':')?;
    let number = |text: &str, most: u16| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|number| digits && *number <= most)
    };
    let minutes = number(hours, 24)? * 60 + number(minutes, 59)?;
    (minutes <= DAY).then_some(minutes)
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(days) = self;
        if days.iter().all(|day| *day == days[0]) {
            return days[0].fmt(f);
        }
        let named: Vec<_> = SHORT_DAYS.iter().zip(days).collect();
        let groups = named.chunk_by(|(_, one), (_, other)| one == other);
        let groups = groups.filter(|group| !group[0].1.0.is_empty()).map(|group| {
            let ((first, day), (last, _)) = (group[0], group[group.len() - 1]);
            if first == last { format!("{first} {day}") } else { format!("{first}-{last} {day}") }
        });
        f.write_str(&groups.collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spans: Vec<_> = self.0.iter().map(Span::to_string).collect();
        f.write_str(&spans.join(" "))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to } = *self;
        if (from, to) == (0, DAY) {
            return f.write_str("always");
        }
        let to = if to > DAY { to - DAY } else { to };
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Hours, String> {
        #[derive(Debug, Deserialize)]
        struct File {
            hours: Hours,
        }
        let file: Result<File, _> = toml::from_str(&format!("hours = {text}"));
        file.map(|file| file.hours).map_err(|error| error.message().to_owned())
    }

    fn hours(text: &str) -> Hours {
        read(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn hours_go_over_midnight() {
        let check = |text: &str, shown: &str, daily: u64| {
            let hours = hours(text);
            assert_eq!((hours.to_string().as_str(), hours.daily()), (shown, daily), "{text}");
        };
        check("\"22:00-07:00\"", "22:00-07:00", 9);
        check("\"08:30 - 17:00\"", "08:30-17:00", 8);
        check("\"00:00-23:59\"", "00:00-23:59", 23);
        check("\"12:00-24:00\"", "12:00-24:00", 12);
        check("\"always\"", "always", 24);
        check("[\"12:00-13:00\", \"22:00-07:00\"]", "12:00-13:00 22:00-07:00", 10);
        check(
            "{ weekdays = \"18:00-24:00\", weekend = \"always\" }",
            "mon-fri 18:00-24:00, sat-sun always",
            6,
        );
        check(
            "{ daily = \"22:00-06:00\", wednesday = \"never\" }",
            "mon-tue 22:00-06:00, thu-sun 22:00-06:00",
            2,
        );
        check("{ friday = \"22:00-07:00\" }", "fri 22:00-07:00", 0);
    }

    #[test]
    fn what_is_no_hours_is_refused_with_words() {
        let check = |text: &str, expected: &str| {
            let error = read(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        };
        let no_table = "hours are as in \"22:00-07:00\", a list";
        let no_span = "is not hours of the day, as in \"22:00-07:00\"";
        for wrong in ["22-7", "22:00", "24:01-07:00", "22:60-07:00", "2:00-07:00", "+1:00-07:00"] {
            check(&format!("\"{wrong}\""), no_span);
            check(&format!("{{ monday = \"{wrong}\" }}"), no_span);
        }
        check("\"07:00-07:00\"", "say \"always\"");
        check("[\"01:00-02:00\", \"03:00-04:00\", \"05:00-06:00\"]", "at most 2 spans");
        check("3", no_table);
        check("{ mondays = \"always\" }", no_table);
        check("\"never\"", "these hours are never");
        check("{}", "these hours are never");
    }

    #[test]
    fn hours_are_read_from_the_command_line_and_survive_a_file() {
        for text in [
            "22:00-07:00",
            "always",
            "[\"12:00-13:00\", \"22:00-07:00\"]",
            "{ weekdays = \"18:00-24:00\", saturday = [\"01:00-02:00\", \"12:00-24:00\"] }",
        ] {
            let hours: Hours = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            let written = toml::Value::try_from(&hours).expect("TOML");
            assert_eq!(read(&written.to_string()), Ok(hours), "{text}");
        }
        for wrong in ["never", "22-7", "[\"1\"", "{ mondays = \"always\" }"] {
            assert!(wrong.parse::<Hours>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn hours_begin_and_end_to_the_minute_of_the_week() {
        let check = |text: &str, within: &[(Weekday, i8, i8)], outside: &[(Weekday, i8, i8)]| {
            let hours = hours(text);
            let holds = |(day, hour, minute): &(Weekday, i8, i8)| {
                hours.hold_at(*day, Time::constant(*hour, *minute, 0, 0))
            };
            assert!(within.iter().all(holds), "{text}");
            assert!(!outside.iter().any(holds), "{text}");
        };
        use Weekday::{Friday, Monday, Saturday, Sunday, Tuesday};
        check(
            "\"08:30-17:00\"",
            &[(Monday, 8, 30), (Sunday, 16, 59)],
            &[(Monday, 8, 29), (Tuesday, 17, 0), (Sunday, 0, 0), (Friday, 23, 59)],
        );
        check(
            "\"22:00-07:00\"",
            &[(Sunday, 22, 0), (Monday, 6, 59), (Monday, 23, 59), (Tuesday, 0, 0)],
            &[(Monday, 7, 0), (Sunday, 21, 59)],
        );
        check(
            "{ friday = \"22:00-07:00\", sunday = \"23:00-01:00\" }",
            &[(Friday, 22, 0), (Saturday, 6, 59), (Sunday, 23, 0), (Monday, 0, 59)],
            &[(Friday, 6, 0), (Saturday, 7, 0), (Saturday, 22, 0), (Monday, 1, 0)],
        );
    }
}
