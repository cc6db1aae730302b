//! Parts of blobs, in HTTP's words (RFC 9110, section 14).

use axum::http::{HeaderMap, header};

/// Bytes `from..=last` of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) from: u64,
    pub(super) last: u64,
}

/// What of a blob is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    All,
    Part(Part),
    /// The range begins behind its end.
    Beyond,
}

impl Part {
    /// How many bytes.
    pub(super) fn length(self) -> u64 {
        self.last - self.from + 1
    }
}

/// What of `size` bytes is asked for. Several ranges, those from the end and what is malformed are
/// passed over, as RFC 9110 lets a server do: the whole blob is the answer.
pub(super) fn wanted(headers: &HeaderMap, size: u64) -> Wanted {
    let range = headers.get(header::RANGE).and_then(|it| it.to_str().ok());
    let Some((from, last)) = range.and_then(read_range) else { return Wanted::All };
    let last = last.unwrap_or(u64::MAX);
    if from >= size {
        return Wanted::Beyond;
    }
    if last < from {
        return Wanted::All;
    }
    Wanted::Part(Part { from, last: last.min(size - 1) })
}

fn read_range(range: &str) -> Option<(u64, Option<u64>)> {
    let (from, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let last = if last.is_empty() { None } else { Some(last.parse().ok()?) };
    Some((from.parse().ok()?, last))
}

/// Which part of how many bytes a body is, by `Content-Range`; `None` if it makes no sense.
pub(super) fn content_range(value: &str) -> Option<(Part, u64)> {
    let (part, size) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (from, last) = part.split_once('-')?;
    let (from, last, size) = (from.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
    (from <= last && last < size).then_some((Part { from, last }, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_blob_and_refused_behind_it() {
        let wanted = |range: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, range.parse().expect("a header"));
            wanted(&headers, 10)
        };
        let part = |from, last| Wanted::Part(Part { from, last });
        assert_eq!(wanted("bytes=0-"), part(0, 9));
        assert_eq!(wanted("bytes=3-5"), part(3, 5));
        assert_eq!(wanted("bytes=9-18446744073709551615"), part(9, 9));
        assert_eq!(wanted("bytes=10-"), Wanted::Beyond);
        assert_eq!(wanted("bytes=18446744073709551615-"), Wanted::Beyond);
        for odd in ["bytes=5-3", "bytes=-5", "bytes=0-1,3-4", "bytes=", "lines=1-2", "bytes=a-b"] {
            assert_eq!(wanted(odd), Wanted::All, "{odd}");
        }
    }

    #[test]
    fn nothing_of_an_empty_blob_can_be_a_part() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, "bytes=0-".parse().expect("a header"));
        assert_eq!(wanted(&headers, 0), Wanted::Beyond);
    }

    #[test]
    fn a_part_lies_within_its_blob() {
        let sound = content_range("bytes 3-9/10");
        assert_eq!(sound, Some((Part { from: 3, last: 9 }, 10)));
        for odd in ["bytes 3-10/10", "bytes 4-3/10", "bytes */10", "bytes 0-1/*", "3-9/10", ""] {
            assert_eq!(content_range(odd), None, "{odd}");
        }
    }
}
