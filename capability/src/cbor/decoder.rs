//! Reading values of our types.
//!
//! What is read has been checked: it is the one encoding of an item of the subset. Types are taken at their word,
//! unlike by ciborium, which takes byte strings for the names of fields, and lists of numbers for byte strings.

use std::fmt;

use serde::de::{
    self, DeserializeSeed, EnumAccess, Error, MapAccess, SeqAccess, Unexpected, VariantAccess,
    Visitor,
};

use super::reader::{Head, TRUE};
use super::{ARRAY, BYTES, CborError, MAP, NEGATIVE, Reader, TEXT, UNSIGNED};
use crate::invalid::Invalid;

impl Error for CborError {
    fn custom<T: fmt::Display>(text: T) -> Self {
        let text = text.to_string();
        Invalid::of_text(&text).map_or(Self::Shape(text), Self::Invalid)
    }
}

/// Reads one item.
pub(super) struct Decoder<'a, 'de>(pub &'a mut Reader<'de>);

impl<'de> Decoder<'_, 'de> {
    /// The beginning of an item of that type.
    fn begin(&mut self, major: u8, expected: &str) -> Result<u64, CborError> {
        let head = self.0.head()?;
        if head.major == major { Ok(head.argument) } else { Err(self.not(head, expected)) }
    }

    fn not(&mut self, head: Head, expected: &str) -> CborError {
        CborError::invalid_type(self.found(head), &expected)
    }

    fn found(&mut self, Head { major, argument }: Head) -> Unexpected<'de> {
        match major {
            UNSIGNED => Unexpected::Unsigned(argument),
            NEGATIVE => Unexpected::Signed(negative(argument)),
            BYTES => Unexpected::Bytes(self.0.take(argument).unwrap_or_default()),
            TEXT => Unexpected::Str(self.text(argument).unwrap_or_default()),
            ARRAY => Unexpected::Seq,
            MAP => Unexpected::Map,
            _ => Unexpected::Bool(argument == TRUE),
        }
    }

    fn text(&mut self, length: u64) -> Result<&'de str, CborError> {
        std::str::from_utf8(self.0.take(length)?).map_err(|_| CborError::Malformed)
    }

    fn items<V: Visitor<'de>>(&mut self, count: u64, visitor: V) -> Result<V::Value, CborError> {
        let mut items = Items { reader: &mut *self.0, left: count };
        let value = visitor.visit_seq(&mut items)?;
        items.end().map(|()| value)
    }

    fn entries<V: Visitor<'de>>(&mut self, count: u64, visitor: V) -> Result<V::Value, CborError> {
        let mut entries = Items { reader: &mut *self.0, left: count };
        let value = visitor.visit_map(&mut entries)?;
        entries.end().map(|()| value)
    }
}

/// The number that is encoded as `argument` (RFC 8949 section 3.1).
fn negative(argument: u64) -> i64 {
    -1 - i64::try_from(argument).unwrap_or(i64::MAX)
}

impl<'de> de::Deserializer<'de> for Decoder<'_, 'de> {
    type Error = CborError;

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, CborError> {
        let Head { major, argument } = self.0.head()?;
        match major {
            UNSIGNED => visitor.visit_u64(argument),
            NEGATIVE => visitor.visit_i64(negative(argument)),
            BYTES => visitor.visit_borrowed_bytes(self.0.take(argument)?),
            TEXT => visitor.visit_borrowed_str(self.text(argument)?),
            ARRAY => self.items(argument, visitor),
            MAP => self.entries(argument, visitor),
            _ => visitor.visit_bool(argument == TRUE),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, CborError> {
        let length = self.begin(BYTES, "bytes")?;
        visitor.visit_borrowed_bytes(self.0.take(length)?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CborError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, CborError> {
        let length = self.begin(TEXT, "str")?;
        visitor.visit_borrowed_str(self.text(length)?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CborError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CborError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CborError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, CborError> {
        let count = self.begin(ARRAY, "array")?;
        self.items(count, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, CborError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, CborError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, CborError> {
        let count = self.begin(MAP, "map")?;
        self.entries(count, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, CborError> {
        self.deserialize_map(visitor)
    }

    /// The subset has no null: what is absent is not there.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CborError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, CborError> {
        visitor.visit_newtype_struct(self)
    }

    /// A variant is its name, or a map from its name to what is in it.
    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, CborError> {
        let head = self.0.head()?;
        match head {
            Head { major: TEXT, argument } => {
                let name = self.text(argument)?;
                visitor.visit_enum(de::value::BorrowedStrDeserializer::new(name))
            }
            Head { major: MAP, argument: 1 } => visitor.visit_enum(self),
            _ => Err(self.not(head, "map")),
        }
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    // The visitors of these take what they are for and nothing else.
    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 unit unit_struct ignored_any
    }
}

/// A variant with something in it.
impl<'de> EnumAccess<'de> for Decoder<'_, 'de> {
    type Error = CborError;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), CborError> {
        let name = seed.deserialize(Decoder(&mut *self.0))?;
        Ok((name, self))
    }
}

impl<'de> VariantAccess<'de> for Decoder<'_, 'de> {
    type Error = CborError;

    fn unit_variant(mut self) -> Result<(), CborError> {
        let head = self.0.head()?;
        Err(self.not(head, "nothing"))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, CborError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, CborError> {
        de::Deserializer::deserialize_seq(self, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, CborError> {
        de::Deserializer::deserialize_map(self, visitor)
    }
}

/// The items of an array, or the entries of a map.
struct Items<'a, 'de> {
    reader: &'a mut Reader<'de>,
    left: u64,
}

impl Items<'_, '_> {
    /// Whoever has read the items wants no more.
    fn end(&self) -> Result<(), CborError> {
        if self.left == 0 {
            Ok(())
        } else {
            Err(CborError::Shape(format!("{} items too many", self.left)))
        }
    }

    fn next(&mut self) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        Some(())
    }
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = CborError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, CborError> {
        self.next().map(|()| seed.deserialize(Decoder(self.reader))).transpose()
    }
}

impl<'de> MapAccess<'de> for Items<'_, 'de> {
    type Error = CborError;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, CborError> {
        self.next().map(|()| seed.deserialize(Decoder(self.reader))).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, CborError> {
        seed.deserialize(Decoder(self.reader))
    }
}
