use capability::statements::Succession;
use capability::{SecretKey, Signer, Timestamp, Verified};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const BLOB: &[u8] = b"what a job has made";

fn statement(n: u8) -> Envelope {
    let key = |seed| SecretKey::from_seed(&[seed; 32]);
    let payload = Succession { successor: key(99).public(), expires: Timestamp(n.into()) };
    Verified::sign(payload, &key(1)).envelope().clone()
}

fn blob(content: &[u8]) -> Vec<u8> {
    let size = u64::try_from(content.len()).expect("small");
    [parcel_blob(BlobHash::of(content), size), content.to_vec()].concat()
}

/// Two lists of statements, the second of which names a blob.
fn parcel() -> Vec<u8> {
    let [first, second] = [[statement(1), statement(2)], [statement(3), statement(4)]];
    let lists = [parcel_statements(&first), parcel_statements(&second)].concat();
    [PARCEL_HEAD, &lists, &blob(BLOB), &parcel_end()].concat()
}

/// Reads `file` in pieces of `chunk` bytes; each list of statements names `named`.
fn read_naming(
    file: &[u8],
    chunk: usize,
    named: &[(BlobHash, u64)],
) -> Result<(usize, Vec<u8>), ParcelError> {
    let (mut reader, mut statements, mut content) = (ParcelReader::new(), 0, Vec::new());
    for bytes in file.chunks(chunk) {
        reader.push(bytes);
        while let Some(part) = reader.next_part()? {
            match part {
                ParcelPart::Statements(list) => {
                    statements += list.len();
                    named.iter().for_each(|(hash, size)| reader.expect(*hash, *size));
                }
                ParcelPart::Bytes(bytes) => content.extend(bytes),
                ParcelPart::Blob { .. } | ParcelPart::BlobEnd | ParcelPart::End => {}
            }
        }
        assert!(reader.come.len() <= MAX_FRAME_BYTES + MAX_LENGTH_BYTES + chunk);
    }
    reader.finish()?;
    Ok((statements, content))
}

fn read(file: &[u8], chunk: usize) -> Result<(usize, Vec<u8>), ParcelError> {
    let size = u64::try_from(BLOB.len()).expect("small");
    read_naming(file, chunk, &[(BlobHash::of(BLOB), size)])
}

fn refusal(file: &[u8]) -> String {
    read(file, 7).expect_err("refused").to_string()
}

#[test]
fn a_parcel_reads_the_same_in_whatever_pieces_it_comes() {
    let file = parcel();
    for chunk in [1, 2, 3, 64, file.len()] {
        assert_eq!(read(&file, chunk).expect("sound"), (4, BLOB.to_vec()), "{chunk}");
    }
}

#[test]
fn a_parcel_that_ends_anywhere_before_its_end_is_known_for_it() {
    let file = parcel();
    for length in 0..file.len() {
        let error = read(&file[..length], 64).expect_err("not all of it");
        let is_none = length < PARCEL_HEAD.len();
        assert_eq!(matches!(error, ParcelError::Head), is_none, "{length}: {error}");
        assert!(is_none || matches!(error, ParcelError::BrokenOff), "{length}: {error}");
    }
}

#[test]
fn nothing_may_come_after_the_end_or_before_the_first_line() {
    assert!(refusal(&[&parcel()[..], b"\n"].concat()).contains("added to its end"));
    assert!(refusal(b"PK\x03\x04").contains("no parcel of Talkoot"));
    let later = [b"talkoot parcel 2\n", &parcel()[PARCEL_HEAD.len()..]].concat();
    assert!(refusal(&later).contains("another version"));
}

#[test]
fn a_blob_is_taken_once_whole_and_as_it_was_named() {
    let list = parcel_statements(&[statement(1)]);
    let file = |blobs: &[Vec<u8>]| [PARCEL_HEAD, &list, &blobs.concat(), &parcel_end()].concat();
    assert!(read(&file(&[blob(BLOB)]), 5).is_ok());
    assert!(read(&file(&[]), 5).is_ok(), "what was judged meanwhile is not there any more");
    assert!(refusal(&file(&[blob(BLOB), blob(BLOB)])).contains("one twice"));
    assert!(refusal(&file(&[blob(b"another")])).contains("do not name"));
    let longer = parcel_blob(BlobHash::of(BLOB), u64::MAX);
    assert!(refusal(&file(&[longer])).contains("do not name"));
    let mut damaged = blob(BLOB);
    *damaged.last_mut().expect("bytes") ^= 1;
    assert!(refusal(&file(&[damaged])).contains("damaged"));
    // Before any statement nothing is named.
    let first = [PARCEL_HEAD, &blob(BLOB), &parcel_end()].concat();
    assert!(refusal(&first).contains("do not name"));
    // An empty file of a job is a blob too.
    let named = [(BlobHash::of(b""), 0)];
    assert!(read_naming(&file(&[blob(b"")]), 5, &named).is_ok());
}

#[test]
fn absurd_lengths_and_counts_are_refused_before_anything_is_read() {
    for length in [&[0xff, 0xff, 0xff][..], &[0x81, 0x80, 0x40], &[0xff, 0xff, 0x7f], &[0x80, 0]] {
        let file = [PARCEL_HEAD, length].concat();
        assert!(refusal(&file).contains("length"), "{length:?}");
    }
    let empty = [PARCEL_HEAD, &parcel_statements(&[])].concat();
    assert!(refusal(&empty).contains("no statement"));
    let many = vec![statement(1); MAX_STATEMENTS_A_PART + 1];
    assert!(refusal(&[PARCEL_HEAD, &parcel_statements(&many)].concat()).contains("over 256"));
    let list = parcel_statements(&many[1..]);
    let lists = MAX_STATEMENTS_A_PARCEL / MAX_STATEMENTS_A_PART + 1;
    let endless = [PARCEL_HEAD, &list.repeat(lists)].concat();
    let error = read(&endless, 1 << 16).expect_err("refused").to_string();
    assert!(error.contains("over 16384 statements"), "{error}");
}

#[test]
fn statements_are_split_into_lists_that_fit_into_a_part() {
    let many = vec![statement(1); 3 * MAX_STATEMENTS_A_PART + 1];
    let lists: Vec<_> = parcel_lists(&many).map(<[_]>::len).collect();
    assert_eq!(lists, [256, 256, 256, 1]);
    assert_eq!(parcel_lists(&[]).count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_changed_in_a_parcel_nothing_else_is_taken_for_its_blob(
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        chunk in 1_usize..200,
    ) {
        let mut file = parcel();
        for (at, byte) in changes {
            let length = file.len();
            file[at.index(length)] = byte;
        }
        file.truncate(cut.index(file.len() + 1).max(file.len() / 2));
        if let Ok((_, content)) = read(&file, chunk) {
            prop_assert!(content.is_empty() || content == BLOB);
        }
    }

    #[test]
    fn bytes_at_random_behind_the_first_line_are_read_without_a_panic(
        bytes in vec(any::<u8>(), 0..300),
        chunk in 1_usize..50,
    ) {
        let file = [PARCEL_HEAD, &bytes].concat();
        // Whatever comes of it, it comes to an end.
        drop(read(&file, chunk));
    }
}
