//! Putting what is encoded into its one encoding: maps in order, and lengths in front.

use std::ops::Range;

use super::{ARRAY, BYTES, CborError, MAP, Reader, TEXT, Writer};

/// Beginnings of an array and of a map whose end is marked (RFC 8949 section 3.2.2): of a type whose fields are
/// flattened into it serde does not know how many there are.
const ENDLESS_ARRAY: u8 = 0x9f;
const ENDLESS_MAP: u8 = 0xbf;
const END: u8 = 0xff;

/// The one encoding of what `bytes` encode, at most `depth` arrays and maps deep.
pub(super) fn put_in_order(bytes: &[u8], depth: usize) -> Result<Vec<u8>, CborError> {
    let mut reader = Reader::new(bytes);
    let mut ordered = Writer::with_capacity(bytes.len());
    put_item(&mut reader, &mut ordered, depth)?;
    if reader.rest().is_empty() { Ok(ordered.into_bytes()) } else { Err(CborError::Malformed) }
}

fn put_item(reader: &mut Reader<'_>, to: &mut Writer, depth: usize) -> Result<(), CborError> {
    let start = reader.rest();
    let (major, count) = match start.first() {
        Some(&ENDLESS_ARRAY) => reader.take(1).map(|_| (ARRAY, None))?,
        Some(&ENDLESS_MAP) => reader.take(1).map(|_| (MAP, None))?,
        _ => reader.head().map(|head| (head.major, Some(head.argument)))?,
    };
    let deeper = || depth.checked_sub(1).ok_or(CborError::Malformed);
    match (major, count) {
        (ARRAY, count) => return put_items(reader, to, count, deeper()?),
        (MAP, count) => return put_entries(reader, to, count, deeper()?),
        (BYTES | TEXT, Some(length)) => drop(reader.take(length)?),
        _ => {}
    }
    to.encoded(&start[..start.len() - reader.rest().len()]);
    Ok(())
}

fn put_items(
    reader: &mut Reader<'_>,
    to: &mut Writer,
    count: Option<u64>,
    depth: usize,
) -> Result<(), CborError> {
    let (mut items, mut found) = (Writer::default(), 0);
    while goes_on(reader, count, found)? {
        put_item(reader, &mut items, depth)?;
        found += 1;
    }
    to.array(found).encoded(&items.into_bytes());
    Ok(())
}

fn put_entries(
    reader: &mut Reader<'_>,
    to: &mut Writer,
    count: Option<u64>,
    depth: usize,
) -> Result<(), CborError> {
    let mut entries = Writer::default();
    let mut places: Vec<(Range<usize>, Range<usize>)> = Vec::new();
    while goes_on(reader, count, places.len() as u64)? {
        let start = entries.len();
        put_item(reader, &mut entries, depth)?;
        let key = start..entries.len();
        put_item(reader, &mut entries, depth)?;
        places.push((key, start..entries.len()));
    }
    let entries = entries.into_bytes();
    places.sort_by(|(one, _), (other, _)| entries[one.clone()].cmp(&entries[other.clone()]));
    if places.windows(2).any(|pair| entries[pair[0].0.clone()] == entries[pair[1].0.clone()]) {
        return Err(CborError::NotDeterministic);
    }
    to.map(places.len() as u64);
    for (_, entry) in places {
        to.encoded(&entries[entry]);
    }
    Ok(())
}

/// Whether another item comes, of `count` or before the end mark.
fn goes_on(reader: &mut Reader<'_>, count: Option<u64>, found: u64) -> Result<bool, CborError> {
    match count {
        Some(count) => Ok(found < count),
        None if reader.rest().first() == Some(&END) => reader.take(1).map(|_| false),
        None => Ok(true),
    }
}
