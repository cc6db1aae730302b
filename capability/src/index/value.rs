//! The value of a fact, with what is worked out from it once, and its order.

use std::borrow::Cow;

use semver::Version;

use crate::facts::Fact;
use crate::version::parse_version;

/// Kinds of values, in their order: all numbers stand in a row, and all texts that name versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ValueKind {
    Flag,
    Number,
    /// A text that names no version.
    Word,
    /// A text that names a version.
    Version,
    Set,
    /// Of a kind that this version does not know. Equal to itself here, so that it can be told
    /// that nothing has changed; no clause asks for it.
    Unknown,
}

/// A value as a key: what is compared, and in which order.
///
/// A flag and a number are the first of `numbers`, a version is all three. A set's words are its
/// text, in order, with spaces between them, which no word has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Value<T> {
    pub(crate) kind: ValueKind,
    pub(super) numbers: [u64; 3],
    pub(crate) text: T,
}

/// A value to look for.
pub(crate) type Key<'a> = Value<Cow<'a, str>>;
/// A value that is kept.
pub(super) type Kept = Value<Box<str>>;

impl<'a> Key<'a> {
    /// That of a number.
    pub(crate) fn of_number(number: u64) -> Self {
        Self { kind: ValueKind::Number, numbers: [number, 0, 0], text: "".into() }
    }

    /// That of a text that names no version.
    pub(crate) fn of_word(word: &'a str) -> Self {
        Self { kind: ValueKind::Word, numbers: [0; 3], text: word.into() }
    }

    pub(crate) fn of(fact: &'a Fact) -> Self {
        let plain = |kind, number| Self { kind, numbers: [number, 0, 0], text: "".into() };
        match fact {
            Fact::Flag(flag) => plain(ValueKind::Flag, u64::from(*flag)),
            Fact::Number(number) => plain(ValueKind::Number, *number),
            Fact::Unknown => plain(ValueKind::Unknown, 0),
            Fact::Text(text) => match parse_version(text) {
                Some(Version { major, minor, patch, .. }) => Self {
                    kind: ValueKind::Version,
                    numbers: [major, minor, patch],
                    text: text.as_str().into(),
                },
                None => Self { text: text.as_str().into(), ..plain(ValueKind::Word, 0) },
            },
            Fact::Set(words) => {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                Self { text: words.join(" ").into(), ..plain(ValueKind::Set, 0) }
            }
        }
    }
}

impl<T: AsRef<str>> Value<T> {
    pub(super) fn cmp<U: AsRef<str>>(&self, other: &Value<U>) -> std::cmp::Ordering {
        let numbers = || self.numbers.cmp(&other.numbers);
        let texts = || self.text.as_ref().cmp(other.text.as_ref());
        self.kind.cmp(&other.kind).then_with(numbers).then_with(texts)
    }

    pub(crate) fn number(&self) -> Option<u64> {
        (self.kind == ValueKind::Number).then_some(self.numbers[0])
    }

    pub(crate) fn version(&self) -> Option<Version> {
        let [major, minor, patch] = self.numbers;
        (self.kind == ValueKind::Version).then(|| Version::new(major, minor, patch))
    }

    /// The words of a set; none of anything else.
    pub(crate) fn words(&self) -> impl Iterator<Item = &str> {
        let text = if self.kind == ValueKind::Set { self.text.as_ref() } else { "" };
        text.split(' ').filter(|word| !word.is_empty())
    }

    /// Whether this is the value of `fact`; without reading a version anew.
    pub(super) fn is(&self, fact: &Fact) -> bool {
        let text = self.text.as_ref();
        match (self.kind, fact) {
            (ValueKind::Flag, Fact::Flag(flag)) => self.numbers[0] == u64::from(*flag),
            (ValueKind::Number, Fact::Number(number)) => self.numbers[0] == *number,
            (ValueKind::Word | ValueKind::Version, Fact::Text(other)) => text == other,
            (ValueKind::Set, Fact::Set(words)) => self.words().eq(words),
            (ValueKind::Unknown, Fact::Unknown) => true,
            _ => false,
        }
    }

    /// The fact that this is the value of.
    pub(crate) fn fact(&self) -> Fact {
        match self.kind {
            ValueKind::Flag => Fact::Flag(self.numbers[0] != 0),
            ValueKind::Number => Fact::Number(self.numbers[0]),
            ValueKind::Word | ValueKind::Version => Fact::from(self.text.as_ref()),
            ValueKind::Set => self.words().collect(),
            ValueKind::Unknown => Fact::Unknown,
        }
    }

    /// This value as one to look for.
    pub(super) fn key(&self) -> Key<'_> {
        let text = Cow::Borrowed(self.text.as_ref());
        Value { kind: self.kind, numbers: self.numbers, text }
    }

    pub(super) fn kept(&self) -> Kept {
        Value { kind: self.kind, numbers: self.numbers, text: self.text.as_ref().into() }
    }
}
