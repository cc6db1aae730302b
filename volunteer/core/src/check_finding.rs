//! What a check's output says (rule S36).

use capability::{Fact, MAX_FACT_TEXT};
use serde::{Deserialize, Serialize};

/// What has come of a check that ran to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckFinding {
    /// The value of its fact.
    Value(Fact),
    /// There is no fact, for this reason.
    Nothing(String),
}

impl CheckFinding {
    /// What the output of a check says that has ended with exit code 0.
    pub fn read(output: &[u8]) -> Self {
        let line = output.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let Ok(line) = std::str::from_utf8(line) else {
            return Self::Nothing("the first line of its output is not UTF-8".to_owned());
        };
        let line = line.trim();
        let digits = line.bytes().all(|byte| byte.is_ascii_digit());
        match (line, line.parse()) {
            ("" | "true", _) => Self::Value(Fact::Flag(true)),
            ("false", _) => Self::Value(Fact::Flag(false)),
            (_, Ok(number)) if digits => Self::Value(Fact::Number(number)),
            _ if line.len() > MAX_FACT_TEXT => {
                let reason = format!("the first line of its output is over {MAX_FACT_TEXT} bytes");
                Self::Nothing(reason)
            }
            _ if line.contains(char::is_control) => {
                Self::Nothing("the first line of its output has control characters".to_owned())
            }
            _ => Self::Value(Fact::from(line)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(output: &str) -> Option<Fact> {
        match CheckFinding::read(output.as_bytes()) {
            CheckFinding::Value(fact) => Some(fact),
            CheckFinding::Nothing(_) => None,
        }
    }

    #[test]
    fn the_first_line_is_the_value() {
        for flag in ["", "\n", "  \t\r\nfalse", "true", " true \nwhatever"] {
            assert_eq!(value(flag), Some(Fact::Flag(true)), "{flag:?}");
        }
        assert_eq!(value("false\n"), Some(Fact::Flag(false)));
        assert_eq!(value("0042\n"), Some(Fact::Number(42)));
        assert_eq!(value("18446744073709551615"), Some(Fact::Number(u64::MAX)));
        for text in ["18446744073709551616", "+42", "-1", "4.3", "True", "ä b"] {
            assert_eq!(value(text), Some(Fact::from(text)), "{text}");
        }
    }

    #[test]
    fn what_no_fact_can_hold_is_none() {
        assert_eq!(value(&"x".repeat(256)), Some(Fact::from("x".repeat(256).as_str())));
        assert_eq!(value(&"x".repeat(257)), None);
        assert_eq!(value("a\u{1b}[2Jb"), None);
        assert!(matches!(CheckFinding::read(b"a\xffb\n"), CheckFinding::Nothing(_)));
        assert_eq!(CheckFinding::read(b"fine\n\xff"), CheckFinding::Value(Fact::from("fine")));
    }
}
