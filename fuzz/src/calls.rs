//! Laws of what peers say to each other.

use std::collections::BTreeSet;

use capability::StatementId;
use mesh_core::{Answer, Ask, Bundle, HandoverAnswer, Pass, ReconcileAnswer, ReconcileAsk};

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
    if let Ok(bundle) = Bundle::decode(data, &Gullible) {
        assert_eq!(Bundle::decode(&bundle.encode(), &Gullible).expect("our own encoding"), bundle);
        assert!(bundle.blobs().len() <= data.len(), "each is named somewhere");
    }
    if let Ok(answer) = HandoverAnswer::decode(data) {
        assert_eq!(HandoverAnswer::decode(&answer.encode()).expect("our own encoding"), answer);
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

/// Some ids, others for other input.
fn ids(data: &[u8]) -> BTreeSet<StatementId> {
    let id = |n: u8| *blake3::Hasher::new().update(&[n]).update(data).finalize().as_bytes();
    (0..100).map(|n| StatementId::from_bytes(id(n))).collect()
}
