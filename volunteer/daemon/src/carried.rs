//! What people carry as files: results that go, receipts that come.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use capability::statements::{JobResult, Receipt};
use capability::{BlobHash, Ed25519, Envelope, StatementId, Verified};
use mesh_core::MAX_BUNDLES_A_FRAME;
use mesh_shell::{ParcelWriter, StatementList, chain, open_blob, written_body};
use mesh_store::BlobStore;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use volunteer_core::ReceiptFate;

use crate::face::{Question, Questions, ask};

/// Results that the event loop is asked for at a time.
pub const RESULTS_A_PAGE: usize = 64;

/// Bytes of the statements that share a list, but for the last: with it they fit into a frame.
const LIST_BYTES: usize = 512 << 10;

/// Files that are open at a time, but for those of one result.
const OPEN_FILES: usize = 128;

/// The routes; those who ask have shown the token.
pub fn routes(blobs: Arc<BlobStore>) -> Router<Questions> {
    Router::new()
        .route("/api/v1/results/parcel", get(|state| async { results(state, blobs) }))
        .route("/api/v1/receipts/take", post(take_receipts))
}

/// What became of a receipt that was brought.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TakenReceipt {
    /// The result that it is for, if it is sound.
    pub result: Option<StatementId>,
    /// `taken`, `known`, `not-awaited` or `refused`.
    pub fate: String,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl TakenReceipt {
    fn of(result: StatementId, fate: ReceiptFate) -> Self {
        let (word, reason) = match fate {
            ReceiptFate::Taken => ("taken", ""),
            ReceiptFate::Known => ("known", ""),
            ReceiptFate::NotAwaited => ("not-awaited", ""),
            ReceiptFate::Refused(why) => ("refused", why),
        };
        Self { result: Some(result), fate: word.to_owned(), reason: reason.to_owned() }
    }

    fn refused(result: Option<StatementId>, reason: String) -> Self {
        Self { result, fate: "refused".to_owned(), reason }
    }
}

/// The results that wait for their receipts, as a parcel. They stay here: the duty to keep them ends with
/// the receipt.
fn results(State(questions): State<Questions>, blobs: Arc<BlobStore>) -> Response {
    let body = written_body(move |out| {
        write_results(|last| results_after(&questions, last), &blobs, out).map(drop)
    });
    ([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response()
}

fn results_after(
    questions: &Questions,
    last: Option<StatementId>,
) -> io::Result<Vec<Verified<JobResult>>> {
    let (answer, answered) = oneshot::channel();
    let asked = questions.blocking_send(Question::Results(last, answer));
    asked.map_err(|_| io::ErrorKind::ConnectionAborted)?;
    answered.blocking_recv().map_err(|_| io::ErrorKind::BrokenPipe.into())
}

/// Writes a parcel of all results, of which `after` gives some after the one of that id, none at the end, and of
/// their blobs; gives how many there are.
///
/// # Errors
/// What `after` says, or that it cannot be written.
pub fn write_results(
    mut after: impl FnMut(Option<StatementId>) -> io::Result<Vec<Verified<JobResult>>>,
    blobs: &BlobStore,
    out: impl Write,
) -> io::Result<usize> {
    let mut parcel = ParcelWriter::new(out)?;
    let (mut list, mut last, mut count) = (List::default(), None, 0);
    loop {
        let results = after(last)?;
        let Some(newest) = results.last() else { break };
        last = Some(newest.id());
        for result in &results {
            if list.is_full() {
                std::mem::take(&mut list).write(&mut parcel)?;
            }
            count += usize::from(list.add(result, blobs));
        }
    }
    list.write(&mut parcel)?;
    parcel.finish().map(|()| count)
}

/// Results that go together, and their blobs.
#[derive(Default)]
struct List {
    statements: Vec<Envelope>,
    bytes: usize,
    /// Open, so that they stay should a receipt come meanwhile.
    blobs: BTreeMap<BlobHash, (u64, File)>,
}

impl List {
    fn is_full(&self) -> bool {
        self.bytes >= LIST_BYTES
            || self.blobs.len() >= OPEN_FILES
            || self.statements.len() >= MAX_BUNDLES_A_FRAME
    }

    /// Adds `result`, unless a blob of it is gone: then its receipt has just come. Says whether it did.
    fn add(&mut self, result: &Verified<JobResult>, blobs: &BlobStore) -> bool {
        let open = |(hash, size)| Some((hash, (size, open_blob(blobs, hash, size)?)));
        let Some(opened) = result.blobs().map(open).collect::<Option<Vec<_>>>() else {
            return false;
        };
        self.blobs.extend(opened);
        self.bytes += result.envelope().as_bytes().len();
        self.statements.push(result.envelope().clone());
        true
    }

    fn write<W: Write>(self, parcel: &mut ParcelWriter<W>) -> io::Result<()> {
        parcel.statements(&self.statements)?;
        for (hash, (size, file)) in self.blobs {
            parcel.blob(hash, size, file)?;
        }
        Ok(())
    }
}

/// Takes a list of at most as many receipts as a handover has.
async fn take_receipts(State(questions): State<Questions>, list: Bytes) -> Response {
    let (mut receipts, mut taken) = (Vec::new(), Vec::new());
    for statement in StatementList::new(&list[..]) {
        let statement = match statement {
            Ok(statement) if receipts.len() < MAX_BUNDLES_A_FRAME => statement.statement,
            Ok(_) => return (StatusCode::PAYLOAD_TOO_LARGE, "too many at once\n").into_response(),
            Err(why) => return (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
        };
        let check =
            |it: Envelope| Verified::<Receipt>::check(&it, &Ed25519).map_err(|error| chain(&error));
        match statement.and_then(check) {
            Ok(receipt) => receipts.push(receipt),
            Err(why) => taken.push(TakenReceipt::refused(None, why)),
        }
    }
    let results: Vec<_> = receipts.iter().map(|receipt| receipt.result).collect();
    match ask(&questions, |answer| Question::TakeReceipts(receipts, answer)).await {
        Some(fates) => {
            let fates = results.into_iter().zip(fates);
            taken.extend(fates.map(|(result, fate)| TakenReceipt::of(result, fate)));
            Json(taken).into_response()
        }
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
