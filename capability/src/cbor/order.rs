//! Putting what is encoded into its one encoding: maps in order, and lengths in front.

use super::{ARRAY, CborError, MAP, Reader, Writer};

/// Beginnings of an array and of a map whose end is marked (RFC 8949 section 3.2.2): of a type whose fields are
/// flattened into it serde does not know how many there are.
const ENDLESS_ARRAY: u8 = 0x9f;
const ENDLESS_MAP: u8 = 0xbf;
const END: u8 = 0xff;

/// The one encoding of what `bytes` encode, at most `depth` arrays and maps deep.
pub(super) fn put_in_order(bytes: &[u8], depth: usize) -> Result<Vec<u8>, CborError> {
    let mut sorter = Sorter {
        reader: Reader::new(bytes),
        ordered: Writer::with_capacity(bytes.len()),
        entries: Vec::new(),
    };
    sorter.item(depth)?;
    let rest = sorter.reader.rest();
    if rest.is_empty() { Ok(sorter.ordered.into_bytes()) } else { Err(CborError::Malformed) }
}

struct Sorter<'a> {
    reader: Reader<'a>,
    ordered: Writer,
    /// The entries of the maps that are not through, the outermost first.
    entries: Vec<Entry>,
}

/// Where an entry is in what is ordered.
#[derive(Clone, Copy)]
struct Entry {
    key: usize,
    value: usize,
    end: usize,
}

impl Sorter<'_> {
    fn item(&mut self, depth: usize) -> Result<(), CborError> {
        let start = self.reader.rest();
        let deeper = || depth.checked_sub(1).ok_or(CborError::Malformed);
        match start.first() {
            Some(&ENDLESS_ARRAY) => self.reader.take(1).and_then(|_| self.items(None, deeper()?)),
            Some(&ENDLESS_MAP) => self.reader.take(1).and_then(|_| self.entries(None, deeper()?)),
            Some(first) if first >> 5 == ARRAY => {
                let count = self.reader.head()?.argument;
                self.items(Some(count), deeper()?)
            }
            Some(first) if first >> 5 == MAP => {
                let count = self.reader.head()?.argument;
                self.entries(Some(count), deeper()?)
            }
            _ => {
                self.reader.check(depth)?;
                self.ordered.encoded(&start[..start.len() - self.reader.rest().len()]);
                Ok(())
            }
        }
    }

    fn items(&mut self, count: Option<u64>, depth: usize) -> Result<(), CborError> {
        let start = self.ordered.len();
        if let Some(count) = count {
            self.ordered.array(count);
        }
        let mut found = 0;
        while self.goes_on(count, found)? {
            self.item(depth)?;
            found += 1;
        }
        if count.is_none() {
            self.ordered.insert(start, Writer::default().array(found));
        }
        Ok(())
    }

    fn entries(&mut self, count: Option<u64>, depth: usize) -> Result<(), CborError> {
        let (start, outer) = (self.ordered.len(), self.entries.len());
        if let Some(count) = count {
            self.ordered.map(count);
        }
        let mut found = 0;
        while self.goes_on(count, found)? {
            let key = self.ordered.len();
            self.item(depth)?;
            let value = self.ordered.len();
            self.item(depth)?;
            self.entries.push(Entry { key, value, end: self.ordered.len() });
            found += 1;
        }
        self.sort(outer)?;
        if count.is_none() {
            self.ordered.insert(start, Writer::default().map(found));
        }
        Ok(())
    }

    /// Puts the entries from `outer` on in order, and forgets them.
    fn sort(&mut self, outer: usize) -> Result<(), CborError> {
        let (entries, bytes) = (&mut self.entries[outer..], self.ordered.as_bytes());
        let key = |it: &Entry| &bytes[it.key..it.value];
        if let Some(first) = entries.first().copied()
            && !entries.is_sorted_by(|one, other| key(one) < key(other))
        {
            entries.sort_unstable_by_key(key);
            if entries.windows(2).any(|pair| key(&pair[0]) == key(&pair[1])) {
                return Err(CborError::NotDeterministic);
            }
            let sorted: Vec<_> = entries.iter().map(|it| &bytes[it.key..it.end]).collect();
            let sorted = sorted.concat();
            self.ordered.overwrite(first.key, &sorted);
        }
        self.entries.truncate(outer);
        Ok(())
    }

    /// Whether another item comes, of `count` or before the end mark.
    fn goes_on(&mut self, count: Option<u64>, found: u64) -> Result<bool, CborError> {
        match count {
            Some(count) => Ok(found < count),
            None if self.reader.rest().first() == Some(&END) => self.reader.take(1).map(|_| false),
            None => Ok(true),
        }
    }
}
