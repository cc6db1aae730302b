//! Laws of what peers say to each other.

use std::collections::BTreeSet;

use capability::statements::JobResult;
use capability::{StatementId, Verified};
use mesh_core::{
    Answer, Ask, ParcelPart, ParcelReader, Pass, ReconcileAnswer, ReconcileAsk, decode_answers,
    decode_bundles, encode_answers, encode_bundles,
};

use crate::statements::Gullible;

// The headers are no other crate's business, and all of libp2p would have to be built for them.
#[path = "../../mesh/net/src/blob/wire.rs"]
mod wire;

/// Questions, passes and answers that are taken read the same again.
pub fn call(data: &[u8]) {
    if let Ok(pass) = Pass::decode(data) {
        assert!(Ask::decode(data, &Gullible).is_err(), "no pass is a question");
        assert_eq!(Pass::decode(&pass.encode()).expect("our own encoding"), pass);
    }
    if let Ok(ask) = Ask::decode(data, &Gullible) {
        assert_eq!(Ask::decode(&ask.encode(), &Gullible).expect("our own encoding"), ask);
    }
    if let Ok(answer) = Answer::decode(data, &Gullible) {
        assert_eq!(Answer::decode(&answer.encode(), &Gullible).expect("our own encoding"), answer);
    }
}

/// Bundles and the answers to them that are taken read the same again.
pub fn custody(data: &[u8]) {
    if let Ok(checked) = decode_bundles(data, &Gullible) {
        let bundles: Vec<_> = checked.into_iter().filter_map(Result::ok).collect();
        let again = decode_bundles(&encode_bundles(&bundles), &Gullible).expect("our own encoding");
        let again: Vec<_> = again.into_iter().map(|it| it.expect("it was sound")).collect();
        assert_eq!(again, bundles);
        let named: usize = bundles.iter().map(|bundle| bundle.blobs().len()).sum();
        assert!(named <= data.len(), "each is named somewhere");
    }
    for count in 0..=4 {
        if let Ok(answers) = decode_answers(data, count) {
            let again = decode_answers(&encode_answers(&answers), count);
            assert_eq!(again.expect("our own encoding"), answers);
        }
    }
}

/// Steps of reconciliation that are taken read the same again, and a hostile comparison is answered.
pub fn reconcile(data: &[u8]) {
    if let Ok(ask) = ReconcileAsk::decode(data) {
        assert_eq!(ReconcileAsk::decode(&ask.encode()).expect("our own encoding"), ask);
        if let ReconcileAsk::Compare(branches) = &ask {
            mesh_core::differences(&ids(data), branches);
        }
    }
    if let Ok(answer) = ReconcileAnswer::decode(data) {
        assert_eq!(ReconcileAnswer::decode(&answer.encode()).expect("our own encoding"), answer);
        if let ReconcileAnswer::Differs(differences) = &answer {
            mesh_core::compare(&ids(data), differences);
        }
    }
}

/// Headers of blobs are taken in their one encoding only.
pub fn blob_header(data: &[u8]) {
    if data.len() > wire::MAX_HEADER_BYTES {
        return;
    }
    if let Ok(request) = wire::Request::decode(data) {
        assert_eq!(request.encode(), data);
    }
    if let Ok(answer) = wire::Answer::decode(data) {
        assert_eq!(wire::Answer::decode(&answer.encode()), Ok(answer));
    }
}

/// Parcels read the same in whatever pieces they come, and hold what they name.
pub fn parcel(data: &[u8]) {
    let whole = read_parcel(data, data.len().max(1));
    assert_eq!(read_parcel(data, 7), whole);
    if let Ok((statements, content)) = whole {
        assert!(content <= data.len() && statements <= data.len(), "nothing is made of nothing");
    }
}

/// How many statements and bytes of blobs there are in a parcel that comes in such pieces.
fn read_parcel(data: &[u8], piece: usize) -> Result<(usize, usize), String> {
    let (mut reader, mut statements, mut content) = (ParcelReader::new(), 0, 0);
    for piece in data.chunks(piece) {
        reader.push(piece);
        while let Some(part) = reader.next_part().map_err(|error| error.to_string())? {
            match part {
                ParcelPart::Statements(list) => {
                    statements += list.len();
                    for envelope in list {
                        let result = Verified::<JobResult>::check(&envelope, &Gullible);
                        let blobs = result.iter().flat_map(|result| result.blobs());
                        blobs.for_each(|(hash, size)| reader.expect(hash, size));
                    }
                }
                ParcelPart::Bytes(bytes) => content += bytes.len(),
                ParcelPart::Blob { .. } | ParcelPart::BlobEnd | ParcelPart::End => {}
            }
        }
    }
    reader.finish().map_err(|error| error.to_string())?;
    Ok((statements, content))
}

/// Some ids, others for other input.
fn ids(data: &[u8]) -> BTreeSet<StatementId> {
    let id = |n: u8| *blake3::Hasher::new().update(&[n]).update(data).finalize().as_bytes();
    (0..100).map(|n| StatementId::from_bytes(id(n))).collect()
}
