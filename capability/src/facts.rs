//! What a machine can do, as it says so itself in its ad.
//!
//! A machine has a platform, resources that its owner donates, and runtimes. Facts belong to a
//! runtime, because they are measured inside it: a compiler in the owner's home directory is none
//! for a job that cannot see it. A fact that is not listed is not there; nothing is ever "maybe".
//!
//! Names are dotted words. The tools that a job can call are `tool.<name>` with the version as
//! text; `os`, `arch`, `libc` and `distribution` describe the system that a job finds itself in.
//!
//! Everything here travels inside ads. On the wire a fact is a text, an unsigned number, a Boolean
//! or a set of words; whatever else a newer peer sends is kept as [`Fact::Unknown`], which is present
//! and equals nothing.

mod fact;
mod machine;
mod runtimes;
mod stated;

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::Deserializer;
use serde::de::{self, Visitor};

pub use self::fact::{Fact, FactName};
pub(crate) use self::fact::{is_set_word, shortened};
pub(crate) use self::machine::is_word;
pub use self::machine::*;
pub use self::runtimes::Runtimes;
pub use self::stated::Facts;
use crate::invalid::Invalid;

/// Facts of one runtime: a well equipped machine has about 150 tools, and 512 of average size
/// still fit into a statement.
pub const MAX_FACTS: usize = 512;
/// Length of a fact's name in bytes.
pub const MAX_FACT_NAME: usize = 64;
/// Length of a fact's text in bytes: versions and labels, not documents.
pub const MAX_FACT_TEXT: usize = 256;
/// Digits that stand together in the version of a tool or a library: a date with its time has 14. What
/// is longer is only there to be newer than whatever is required.
pub const MAX_DIGITS: usize = 15;
/// Words in a fact that is a set: a processor of today has some 60 features that compilers name.
pub const MAX_SET: usize = 256;
/// Length of the name of a runtime, an operating system or an architecture in bytes.
pub const MAX_WORD: usize = 32;

/// Gives `$name`, which derives serde's traits with `remote = "Self"`, a decoder that ends with
/// its own `validate`, so that there is no decoded value that breaks a limit. In a statement a limit
/// has a rule, which `$told` adds to the error.
macro_rules! validated_on_decoding {
    ($name:ty) => {
        validated_on_decoding!($name, std::convert::identity);
    };
    ($name:ty, $told:expr) => {
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = <$name>::deserialize(deserializer)?;
                value.validate().map_err($told).map_err(serde::de::Error::custom)?;
                Ok(value)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                <$name>::serialize(self, serializer)
            }
        }
    };
}
pub(crate) use validated_on_decoding;

/// Reads a word of this module from a text, and from nothing else.
///
/// Nor from bytes: serde hands over the fields of flattened structures by way of a buffer that takes
/// them for a text where the reader would. On the wire a value has one form (S3).
fn word<'de, D: Deserializer<'de>, T>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err = FactsError>,
{
    struct Word<T>(PhantomData<T>);

    impl<T: FromStr<Err = FactsError>> Visitor<'_> for Word<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(|error| E::custom(Invalid::from(error)))
        }
    }

    deserializer.deserialize_str(Word(PhantomData))
}

/// A description of a machine breaks a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// The name has a wrong length or character.
    #[error(
        "fact name {0:?} is not 1 to {MAX_FACT_NAME} characters of a-z, 0-9, dot, plus, hyphen and underscore"
    )]
    Name(String),
    /// The text is too long or has control characters.
    #[error(
        "fact {name} has a text of {length} bytes that is over {MAX_FACT_TEXT} or has control characters"
    )]
    Text {
        /// Which fact.
        name: FactName,
        /// Length of the text in bytes.
        length: usize,
    },
    /// A version has a number of over [`MAX_DIGITS`].
    #[error("fact {0} has a number of over {MAX_DIGITS} digits, which no version has")]
    Digits(FactName),
    /// A set has too many words, or a wrong one.
    #[error(
        "fact {0} is not a set of at most {MAX_SET} words of 1 to {MAX_WORD} characters of a-z, 0-9, dot, hyphen and underscore"
    )]
    Set(FactName),
    /// There are more than [`MAX_FACTS`].
    #[error("more than {MAX_FACTS} facts in one runtime")]
    TooMany,
    /// The name of an operating system, an architecture or a runtime is wrong.
    #[error("{0:?} is not a word of 1 to {MAX_WORD} characters of a-z, 0-9, hyphen and underscore")]
    Word(String),
    /// There are more than [`MAX_RUNTIMES`].
    #[error("{0} runtimes, at most {MAX_RUNTIMES} are allowed")]
    TooManyRuntimes(usize),
    /// The sandbox's description is too long or has control characters.
    #[error("strength of runtime {0} is over {MAX_STRENGTH} bytes or has control characters")]
    Strength(Runtime),
}

impl From<FactsError> for Invalid {
    fn from(error: FactsError) -> Self {
        Self::new("S20", error.to_string())
    }
}
