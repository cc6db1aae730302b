//! What the owner says of the machine, the same in every runtime.

use std::collections::BTreeSet;

use capability::{Fact, Facts, FactsError, MAX_WORD, Resources};
use serde::Deserialize;

use crate::hours::Hours;

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
        if let Some(hours) = &self.hours {
            facts.insert("hours", hours.to_string())?;
            facts.insert("hours.daily", hours.daily())?;
        }
        facts.insert("donated.cores", u64::from(self.donated.cores))?;
        facts.insert("donated.memory", self.donated.memory)?;
        facts.insert("donated.disk", self.donated.disk)
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
    fn what_the_owner_says_becomes_facts_that_job_files_may_name() {
        let own = Own {
            name: "bench".to_owned(),
            labels: [Label("lab".to_owned()), Label("quiet".to_owned())].into(),
            hours: Some(Hours::deserialize(serde_json::json!("22:00-07:00")).expect("hours")),
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
