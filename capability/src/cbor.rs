//! Deterministic CBOR (RFC 8949 section 4.2.1): one value, one encoding.
//!
//! Statements use a subset: integers, text, bytes, booleans, arrays and maps. No floats, no null,
//! no tags, no indefinite lengths. Determinism is checked before anything is decoded, so that keys
//! unknown to this version pass, and are kept.

mod decoder;
mod order;
mod reader;
mod writer;

use std::cell::Cell;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use self::decoder::Decoder;
pub(crate) use self::reader::Reader;
pub(crate) use self::writer::Writer;
use crate::invalid::Invalid;

/// Arrays and maps nest no deeper: the deepest statement uses 8 levels.
pub const MAX_DEPTH: usize = 16;

/// Major types (RFC 8949 section 3.1).
const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;

/// Bytes are not the deterministic encoding of what was expected.
#[derive(Debug, Error)]
pub enum CborError {
    /// Longer than its place allows.
    #[error("{size} bytes of CBOR where {limit} are allowed")]
    TooLarge {
        /// Bytes received.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Not CBOR, or nested too deep.
    #[error("malformed CBOR")]
    Malformed,
    /// Trailing bytes, unsorted or repeated keys, or a number not in its shortest form.
    #[error("CBOR that is not deterministically encoded")]
    NotDeterministic,
    /// A float, null, tag, integer below -2^63 or other item that statements do not use.
    #[error("CBOR item of a type that statements do not use")]
    Forbidden,
    /// Sound CBOR, but not of the expected shape.
    #[error("CBOR of another shape: {0}")]
    Shape(String),
    /// Of the expected shape, but beyond a limit that is looked at while decoding.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

impl CborError {
    /// The rule of `docs/spec/statements.md` that is broken.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "S1",
            Self::Malformed | Self::NotDeterministic | Self::Forbidden => "S2",
            Self::Shape(_) => "S3",
            Self::Invalid(invalid) => invalid.rule,
        }
    }
}

/// Encodes `value`, with the keys of every map in bytewise order of their encodings.
///
/// # Panics
/// If `value` holds a float, null or a non-serialisable type: our own types never do.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    // What is encoded within an encoding finds none, and makes its own.
    let mut bytes = WORKSPACE.take();
    bytes.clear();
    ciborium::into_writer(value, &mut bytes).expect("our types serialise into memory");
    let ordered = match reader::check(&bytes) {
        Ok(()) => bytes.clone(),
        Err(_) => order::put_in_order(&bytes, MAX_DEPTH).expect("our types use the subset"),
    };
    if bytes.capacity() <= WORKSPACE_BYTES {
        WORKSPACE.set(bytes);
    }
    ordered
}

thread_local! {
    /// Room to encode in: how long an encoding becomes is not known before, and memory that grows is copied again
    /// and again.
    static WORKSPACE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// More than a record or a frame needs is not held on to.
const WORKSPACE_BYTES: usize = 256 << 10;

/// Decodes `bytes` if they are the one deterministic encoding of a `T`, unknown keys aside.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, CborError> {
    T::deserialize(Decoder(&mut read(bytes, limit)?))
}

/// Reads `bytes`, under the same rules as [`decode`], item by item.
pub(crate) fn read(bytes: &[u8], limit: usize) -> Result<Reader<'_>, CborError> {
    if bytes.len() > limit {
        return Err(CborError::TooLarge { size: bytes.len(), limit });
    }
    reader::check(bytes)?;
    Ok(Reader::new(bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ciborium::Value;
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    fn refused(bytes: &[u8]) -> CborError {
        decode::<BTreeMap<String, u64>>(bytes, 1024).expect_err("these bytes must be refused")
    }

    #[test]
    fn keys_are_sorted_by_their_encoding() {
        let map = BTreeMap::from([("aa", 1), ("b", 2)]);
        assert_eq!(encode(&map), b"\xa2\x61b\x02\x62aa\x01");
    }

    #[test]
    fn only_the_one_encoding_is_taken() {
        let map: BTreeMap<String, u64> = decode(b"\xa1\x61a\x01", 1024).expect("deterministic");
        assert_eq!(map["a"], 1);

        for (what, bytes) in [
            ("trailing byte", &b"\xa1\x61a\x01\x00"[..]),
            ("long integer", b"\xa1\x61a\x18\x01"),
            ("indefinite map", b"\xbf\x61a\x01\xff"),
            ("repeated key", b"\xa2\x61a\x01\x61a\x02"),
            ("unsorted keys", b"\xa2\x61b\x01\x61a\x02"),
        ] {
            assert!(matches!(refused(bytes), CborError::NotDeterministic), "{what}");
        }
        assert!(matches!(refused(b"\xa1\x61a\xf6"), CborError::Forbidden), "null");
        assert!(matches!(refused(b"\xa1\x61a\xf9\x3c\x00"), CborError::Forbidden), "float");
        assert!(matches!(refused(b"\xc1\x01"), CborError::Forbidden), "tag");
        assert!(matches!(refused(b""), CborError::Malformed), "nothing");
        assert!(matches!(refused(&[0x81; 500]), CborError::Malformed), "deep nesting");
        assert!(matches!(refused(&[0; 1025]), CborError::TooLarge { .. }), "size");
    }

    /// The same with the end of every array and map marked.
    fn to_endless_bytes(value: &Value) -> Vec<u8> {
        let inner: Vec<u8> = match value {
            Value::Array(items) => items.iter().flat_map(to_endless_bytes).collect(),
            Value::Map(entries) => {
                let entries = entries.iter().flat_map(|(key, value)| [key, value]);
                entries.flat_map(to_endless_bytes).collect()
            }
            _ => return to_bytes(value),
        };
        let start = if value.is_array() { 0x9f } else { 0xbf };
        [vec![start], inner, vec![0xff]].concat()
    }

    fn to_bytes(value: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        ciborium::into_writer(value, &mut bytes).expect("writing to memory does not fail");
        bytes
    }

    /// By the book: sorts maps in place; refuses what is outside the subset, and repeated keys.
    fn sort(value: &mut Value, depth: usize) -> Result<(), CborError> {
        match value {
            Value::Bytes(_) | Value::Text(_) | Value::Bool(_) => Ok(()),
            // CBOR has one bit more for negative integers than languages do.
            Value::Integer(number) if i128::from(*number) >= i128::from(i64::MIN) => Ok(()),
            Value::Array(items) => {
                let depth = depth.checked_sub(1).ok_or(CborError::Malformed)?;
                items.iter_mut().try_for_each(|item| sort(item, depth))
            }
            Value::Map(entries) => {
                let depth = depth.checked_sub(1).ok_or(CborError::Malformed)?;
                for (key, value) in entries.iter_mut() {
                    sort(key, depth)?;
                    sort(value, depth)?;
                }
                entries.sort_by_key(|(key, _)| to_bytes(key));
                let repeated = entries.windows(2).any(|pair| pair[0].0 == pair[1].0);
                if repeated { Err(CborError::NotDeterministic) } else { Ok(()) }
            }
            _ => Err(CborError::Forbidden),
        }
    }

    /// One field of each kind that is easily taken for another.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Kinds {
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
        text: String,
        pair: (u8, bool),
        variant: Variant,
        #[serde(skip_serializing_if = "Option::is_none")]
        option: Option<i64>,
        #[serde(flatten)]
        inner: Inner,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Variant {
        Unit,
        New(u8),
        Pair(u8, u8),
        Named { a: u8 },
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Inner {
        list: Vec<u64>,
    }

    #[test]
    fn every_kind_of_field_comes_back() {
        use Variant::{Named, New, Pair, Unit};
        for (variant, option) in
            [(Unit, None), (New(1), Some(-5)), (Pair(1, 2), None), (Named { a: 3 }, Some(7))]
        {
            let kinds = Kinds {
                bytes: vec![1, 2],
                text: "t".to_owned(),
                pair: (200, true),
                variant,
                option,
                inner: Inner { list: vec![0, u64::MAX] },
            };
            let bytes = encode(&kinds);
            assert!(is_deterministic(&bytes));
            assert_eq!(decode::<Kinds>(&bytes, 1024).expect("our own"), kinds);
        }
    }

    #[test]
    fn nothing_is_taken_for_something_else() {
        let shape =
            |bytes: &[u8]| matches!(decode::<Variant>(bytes, 1024), Err(CborError::Shape(_)));
        assert!(decode::<Variant>(b"\x64unit", 1024).is_ok());
        assert!(shape(b"\x44unit"), "bytes for a name");
        assert!(shape(b"\xa1\x64unit\x01"), "something in a unit");
        assert!(shape(b"\x63new"), "nothing in what has something");
        assert!(shape(b"\xa1\x64pair\x83\x01\x02\x03"), "an item too many");
        assert!(shape(b"\xa1\x64pair\x81\x01"), "an item too few");
        assert!(shape(b"\xa1\x65named\x81\x01"), "a list for fields");
        assert!(shape(b"\xa1\x65named\xa1\x41a\x01"), "bytes for the name of a field");
        assert!(shape(b"\xa1\x63new\x19\x01\x00"), "a number too large");
        assert!(shape(b"\xa1\x63new\x20"), "a negative number");
        let bytes = decode::<serde_bytes::ByteBuf>(b"\x82\x01\x02", 1024);
        assert!(matches!(bytes, Err(CborError::Shape(_))), "a list for bytes");
        assert!(
            matches!(decode::<String>(b"\x41a", 1024), Err(CborError::Shape(_))),
            "bytes for text"
        );
    }

    /// By the book: what encodes to the same bytes when its maps are sorted.
    fn is_deterministic(bytes: &[u8]) -> bool {
        let value = ciborium::de::from_reader_with_recursion_limit(bytes, MAX_DEPTH + 1);
        let Ok(mut value): Result<Value, _> = value else { return false };
        sort(&mut value, MAX_DEPTH).is_ok() && to_bytes(&value) == bytes
    }

    fn value() -> impl Strategy<Value = Value> {
        let number = prop_oneof![0..300_i64, any::<i64>(), Just(i64::MIN), Just(-1)];
        let simple = prop_oneof![
            number.prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            ".{0,30}".prop_map(Value::from),
            prop::collection::vec(any::<u8>(), 0..300).prop_map(Value::from),
            Just(Value::Null),
            Just(Value::Float(1.5)),
            Just(Value::Tag(1, Box::new(Value::from(1)))),
        ];
        simple.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                prop::collection::vec((inner.clone(), inner), 0..6).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_taken_item_by_item_is_what_encodes_to_the_same_bytes(
            mut value in value(),
            sorted: bool,
            change in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        ) {
            if sorted {
                let _ = sort(&mut value, MAX_DEPTH);
            }
            let mut bytes = to_bytes(&value);
            if let Some((at, byte)) = change {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            prop_assert_eq!(read(&bytes, usize::MAX).is_ok(), is_deterministic(&bytes));
        }

        #[test]
        fn what_is_put_in_order_is_what_the_book_puts_in_order(mut value in value()) {
            let ordered = order::put_in_order(&to_bytes(&value), MAX_DEPTH);
            let ordered = ordered.and_then(|bytes| reader::check(&bytes).map(|()| bytes));
            match sort(&mut value, MAX_DEPTH) {
                Ok(()) => prop_assert_eq!(ordered.expect("of the subset"), to_bytes(&value)),
                Err(_) => prop_assert!(ordered.is_err()),
            }
        }

        #[test]
        fn a_marked_end_says_the_same_as_a_length(value in value()) {
            let ordered = order::put_in_order(&to_bytes(&value), MAX_DEPTH);
            let endless = order::put_in_order(&to_endless_bytes(&value), MAX_DEPTH);
            prop_assert_eq!(endless.ok(), ordered.ok());
        }

        #[test]
        fn what_is_decoded_is_what_was_encoded(mut value in value()) {
            prop_assume!(sort(&mut value, MAX_DEPTH).is_ok());
            let decoded: Value = decode(&to_bytes(&value), usize::MAX).expect("of the subset");
            prop_assert_eq!(decoded, value);
        }

        #[test]
        fn any_bytes_are_taken_or_refused_like_by_the_book(
            bytes in prop::collection::vec(any::<u8>(), 0..12),
        ) {
            prop_assert_eq!(read(&bytes, usize::MAX).is_ok(), is_deterministic(&bytes));
        }
    }
}
