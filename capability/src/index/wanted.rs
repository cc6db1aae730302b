//! What a clause wants of one fact, as a row of values in their order.

use std::cmp::Ordering;

use semver::{Comparator, Op, Version, VersionReq};

use super::value::{Key, Value, ValueKind};

/// Values that stand in a row.
#[derive(Debug, Clone)]
pub(super) enum Wanted<'a> {
    /// Whatever it is.
    Anything,
    /// Any set.
    Sets,
    /// This one.
    Exactly(Key<'a>),
    /// A number within, both ends included.
    Numbers { low: u64, high: u64 },
    /// A version within.
    Versions(&'a VersionReq),
}

impl Wanted<'_> {
    /// Where `value` lies to the row: before, within or behind it.
    pub(super) fn side<T: AsRef<str>>(&self, value: &Value<T>) -> Ordering {
        match self {
            Self::Anything => Ordering::Equal,
            Self::Sets => value.kind.cmp(&ValueKind::Set),
            Self::Exactly(wanted) => value.cmp(wanted),
            Self::Numbers { low, high } => {
                let kind = value.kind.cmp(&ValueKind::Number);
                let number = value.numbers[0];
                kind.then_with(|| {
                    u8::from(number >= *low).cmp(&1).then(u8::from(number > *high).cmp(&0))
                })
            }
            Self::Versions(range) => match value.version() {
                None => value.kind.cmp(&ValueKind::Version),
                Some(version) => {
                    let sides = range.comparators.iter().map(|bound| side(bound, &version));
                    sides.fold(Ordering::Equal, Ordering::then)
                }
            },
        }
    }

    pub(super) fn admits<T: AsRef<str>>(&self, value: &Value<T>) -> bool {
        self.side(value).is_eq()
    }
}

/// Where `version` lies to those that `bound` admits. They stand in a row, because versions here
/// have no pre-release.
fn side(bound: &Comparator, version: &Version) -> Ordering {
    if bound.matches(version) {
        return Ordering::Equal;
    }
    match bound.op {
        Op::Greater | Op::GreaterEq => Ordering::Less,
        Op::Less | Op::LessEq => Ordering::Greater,
        _ => {
            let lowest =
                Version::new(bound.major, bound.minor.unwrap_or(0), bound.patch.unwrap_or(0));
            if *version < lowest { Ordering::Less } else { Ordering::Greater }
        }
    }
}
