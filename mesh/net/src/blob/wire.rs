//! The headers of the blob protocol (its rules are in the documentation of [`blob`](super)).

use ciborium::Value;
use thiserror::Error;

/// The longest header. A request takes 45 bytes or so, an answer 270; the rest is for ranges.
pub(crate) const MAX_HEADER_BYTES: usize = 1024;

/// The longest reason that is sent.
pub(crate) const MAX_REASON_BYTES: usize = 256;

const VERSION: u64 = 1;
const MAX_HEADER_VALUES: usize = 6;

/// What the opener of a stream wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// To have a blob; `size` is the most it takes.
    Get,
    /// To hand over a blob of `size` bytes.
    Put,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) operation: Operation,
    pub(crate) hash: blake3::Hash,
    pub(crate) size: u64,
}

/// What is said in return, before the content and after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// GET: the blob has `size` bytes, and follows. PUT: go on. At the end: it is here, whole and right.
    Ok { size: u64 },
    /// GET: there is no such blob here.
    NotFound,
    /// GET: the blob has `size` bytes, more than the asker takes.
    TooLarge { size: u64 },
    /// PUT: the blob is here already.
    Have,
    /// No, because of `reason`.
    Refused { reason: String },
    /// It was begun and went wrong because of `reason`.
    Failed { reason: String },
    /// Not now.
    Busy,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum HeaderError {
    #[error("a blob header is not deterministic CBOR")]
    Cbor,
    #[error("a blob header has another shape than version 1 has")]
    Shape,
    #[error("version {0} of the blob protocol is not spoken here")]
    Version(u64),
    #[error("blob flags {0} or ranges are not known here")]
    Extension(u64),
}

impl Request {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let operation = match self.operation {
            Operation::Get => 0,
            Operation::Put => 1,
        };
        encode(vec![
            VERSION.into(),
            Value::from(operation),
            Value::from(0),
            Value::Bytes(self.hash.as_bytes().to_vec()),
            self.size.into(),
            Value::Array(Vec::new()),
        ])
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let values = decode(bytes)?;
        let [_, operation, flags, hash, size, ranges] = values.as_slice() else {
            return Err(HeaderError::Shape);
        };
        let flags = integer(flags)?;
        let ranges = ranges.as_array().ok_or(HeaderError::Shape)?;
        if flags != 0 || !ranges.is_empty() {
            return Err(HeaderError::Extension(flags));
        }
        let operation = match integer(operation)? {
            0 => Operation::Get,
            1 => Operation::Put,
            _ => return Err(HeaderError::Shape),
        };
        let hash = hash.as_bytes().ok_or(HeaderError::Shape)?;
        let hash = blake3::Hash::from_slice(hash).map_err(|_| HeaderError::Shape)?;
        Ok(Self { operation, hash, size: integer(size)? })
    }
}

impl Answer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (status, size, reason) = match self {
            Self::Ok { size } => (0, *size, ""),
            Self::NotFound => (1, 0, ""),
            Self::TooLarge { size } => (2, *size, ""),
            Self::Have => (3, 0, ""),
            Self::Refused { reason } => (4, 0, reason.as_str()),
            Self::Failed { reason } => (5, 0, reason.as_str()),
            Self::Busy => (6, 0, ""),
        };
        let reason = &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)];
        encode(vec![VERSION.into(), Value::from(status), size.into(), reason.into()])
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let values = decode(bytes)?;
        let [_, status, size, reason] = values.as_slice() else {
            return Err(HeaderError::Shape);
        };
        let size = integer(size)?;
        let reason = printable(reason.as_text().ok_or(HeaderError::Shape)?)?;
        Ok(match integer(status)? {
            0 => Self::Ok { size },
            1 => Self::NotFound,
            2 => Self::TooLarge { size },
            3 => Self::Have,
            4 => Self::Refused { reason },
            5 => Self::Failed { reason },
            6 => Self::Busy,
            _ => return Err(HeaderError::Shape),
        })
    }
}

/// A peer's text goes to logs and terminals: no control characters.
fn printable(text: &str) -> Result<String, HeaderError> {
    if text.len() > MAX_REASON_BYTES {
        return Err(HeaderError::Shape);
    }
    Ok(text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
}

fn encode(values: Vec<Value>) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(&Value::Array(values), &mut bytes)
        .expect("a vector takes whatever is written");
    bytes
}

/// The values of a header, of which the first is the version.
fn decode(bytes: &[u8]) -> Result<Vec<Value>, HeaderError> {
    let value: Value = ciborium::from_reader(bytes).map_err(|_| HeaderError::Cbor)?;
    let values = value.into_array().map_err(|_| HeaderError::Shape)?;
    let version = integer(values.first().ok_or(HeaderError::Shape)?)?;
    if version != VERSION {
        return Err(HeaderError::Version(version));
    }
    if values.len() > MAX_HEADER_VALUES {
        return Err(HeaderError::Shape);
    }
    // Neither longer forms of integers nor trailing bytes: one header, one encoding.
    if encode(values.clone()) != bytes {
        return Err(HeaderError::Cbor);
    }
    Ok(values)
}

fn integer(value: &Value) -> Result<u64, HeaderError> {
    value.as_integer().and_then(|integer| integer.try_into().ok()).ok_or(HeaderError::Shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_as_they_were() {
        for operation in [Operation::Get, Operation::Put] {
            let request = Request { operation, hash: blake3::hash(b"x"), size: 1 << 40 };
            assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
        let reason = || "the disk is full".to_owned();
        for answer in [
            Answer::Ok { size: 7 },
            Answer::NotFound,
            Answer::TooLarge { size: u64::MAX },
            Answer::Have,
            Answer::Refused { reason: reason() },
            Answer::Failed { reason: reason() },
            Answer::Busy,
        ] {
            assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
        }
    }

    /// The bytes that another implementation must produce; a change here is a new version.
    #[test]
    fn golden_bytes() {
        let hash = blake3::Hash::from_bytes([0xab; 32]);
        let request = Request { operation: Operation::Put, hash, size: 5_242_880 };
        let mut expected = vec![0x86, 0x01, 0x01, 0x00, 0x58, 0x20];
        expected.extend([0xab; 32]);
        expected.extend([0x1a, 0x00, 0x50, 0x00, 0x00, 0x80]);
        assert_eq!(request.encode(), expected);

        let answer = Answer::Refused { reason: "no".into() };
        assert_eq!(answer.encode(), [0x84, 0x01, 0x04, 0x00, 0x62, b'n', b'o']);
    }

    #[test]
    fn unknown_versions_flags_and_shapes_are_told_apart() {
        let good = Request { operation: Operation::Get, hash: blake3::hash(b""), size: 1 }.encode();
        let changed = |index: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[index] = byte;
            Request::decode(&bytes)
        };
        assert_eq!(changed(1, 2), Err(HeaderError::Version(2)));
        assert_eq!(changed(2, 2), Err(HeaderError::Shape));
        assert_eq!(changed(3, 1), Err(HeaderError::Extension(1)));
        assert_eq!(Request::decode(&[&good[..], &[0]].concat()), Err(HeaderError::Cbor));
        assert_eq!(Request::decode(&[]), Err(HeaderError::Cbor));
        assert_eq!(Request::decode(&[0x80]), Err(HeaderError::Shape));
    }

    #[test]
    fn reasons_are_cut_at_a_character_and_cleaned() {
        let long = Answer::Refused { reason: "ä".repeat(200) };
        let Ok(Answer::Refused { reason }) = Answer::decode(&long.encode()) else {
            panic!("a long reason is cut, not refused");
        };
        assert_eq!(reason.len(), MAX_REASON_BYTES);
        let escape = Answer::Failed { reason: "\u{1b}[2Jgone\n".into() };
        assert_eq!(
            Answer::decode(&escape.encode()),
            Ok(Answer::Failed { reason: " [2Jgone ".into() })
        );
    }
}
