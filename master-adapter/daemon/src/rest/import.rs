//! Results that somebody brings in a parcel: judged as those that a broker hands over.

use std::collections::BTreeSet;
use std::io::Read;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use capability::statements::{JobResult, TaskId, Verdict};
use capability::{BlobHash, Ed25519, Envelope, Kind, Verified};
use master_core::Fate;
use mesh_shell::{ParcelFailed, ParcelFile, Unpacked, chain, reader_of, statement_text};
use thiserror::Error;
use tokio::sync::oneshot;

use super::{Api, Command, Problem, ending};
use crate::archive::blob_name;
use crate::model::{FateView, ImportView, ImportedView};

/// Reading ends here.
#[derive(Debug, Error)]
enum Stopped {
    #[error(transparent)]
    Parcel(#[from] ParcelFailed),
    #[error("it brings no results; work goes to a volunteer: talkoot-volunteer job import FILE")]
    NoResults,
    #[error("the adapter is ending")]
    Ending,
}

/// `POST /api/v1/import`.
pub async fn import(State(api): State<Api>, body: Body) -> Result<Json<ImportView>, Problem> {
    let source = reader_of(body);
    let read = tokio::task::spawn_blocking(move || {
        let mut import = Import { api, view: ImportView::default(), waiting: Vec::new() };
        let read = import.read(ParcelFile::new(source));
        (import.view, read)
    });
    let (mut view, read) =
        read.await.map_err(|error| Problem(StatusCode::INTERNAL_SERVER_ERROR, chain(&error)))?;
    match read {
        Err(Stopped::Ending) => return Err(ending()),
        // What was judged before stays judged.
        Err(error) => view.complaint = Some(chain(&error)),
        Ok(()) => {}
    }
    Ok(Json(view))
}

struct Import {
    api: Api,
    view: ImportView,
    /// Results of the last list that count if their blobs come.
    waiting: Vec<Verified<JobResult>>,
}

impl Import {
    /// Hands in all that can be read, also of a file that is broken off.
    fn read(&mut self, parcel: ParcelFile<impl Read>) -> Result<(), Stopped> {
        let read = self.read_lists(parcel);
        let ended = self.end_of_list();
        read.and(ended)
    }

    fn read_lists(&mut self, mut parcel: ParcelFile<impl Read>) -> Result<(), Stopped> {
        while let Some(next) = parcel.unpack_next()? {
            match next {
                Unpacked::Statements(statements) => {
                    self.end_of_list()?;
                    let results = self.check(&statements)?;
                    let blobs = results.iter().flat_map(|result| result.blobs());
                    blobs.for_each(|(hash, size)| parcel.expect(hash, size));
                    self.hand_in(results)?;
                }
                Unpacked::Blob { hash, size } if self.is_wanted(hash) => {
                    let blobs = self.api.storage.blobs().clone();
                    parcel.take_blob(size, &blobs)?;
                }
                Unpacked::Blob { .. } => {}
            }
        }
        Ok(())
    }

    /// The results among `statements` that are sound.
    fn check(&mut self, statements: &[Envelope]) -> Result<Vec<Verified<JobResult>>, Stopped> {
        if statements.iter().any(|it| it.kind() != Some(Kind::Result)) {
            return Err(Stopped::NoResults);
        }
        let mut results = Vec::new();
        for statement in statements {
            match Verified::check(statement, &Ed25519) {
                Ok(result) => results.push(result),
                Err(error) => self.view.unsound.push(chain(&error)),
            }
        }
        Ok(results)
    }

    /// Has `results` judged; those that count without their blobs wait for these.
    fn hand_in(&mut self, results: Vec<Verified<JobResult>>) -> Result<(), Stopped> {
        for (result, fate) in results.iter().zip(self.judge(&results)?) {
            match fate {
                Fate::Missing(_) => self.waiting.push(result.clone()),
                fate => self.tell(result, fate),
            }
        }
        Ok(())
    }

    /// No blob of the last list comes any more.
    fn end_of_list(&mut self) -> Result<(), Stopped> {
        let results = std::mem::take(&mut self.waiting);
        for (result, fate) in results.iter().zip(self.judge(&results)?) {
            self.tell(result, fate);
        }
        Ok(())
    }

    fn judge(&self, results: &[Verified<JobResult>]) -> Result<Vec<Fate>, Stopped> {
        if results.is_empty() {
            return Ok(Vec::new());
        }
        let (reply, judged) = oneshot::channel();
        let command = Command::Import { results: results.to_vec(), reply };
        self.api.commands.blocking_send(command).map_err(|_| Stopped::Ending)?;
        judged.blocking_recv().map_err(|_| Stopped::Ending)
    }

    fn is_wanted(&self, hash: BlobHash) -> bool {
        let mut named = self.waiting.iter().flat_map(|result| result.blobs());
        let is_here = matches!(self.api.storage.blobs().has(&blob_name(hash)), Ok(Some(_)));
        !is_here && named.any(|(blob, _)| blob == hash)
    }

    fn tell(&mut self, result: &Verified<JobResult>, fate: Fate) {
        let (fate, reason, known, receipt) = match fate {
            Fate::Judged { receipt, known } => {
                let (fate, reason) = match &receipt.verdict {
                    Verdict::Accepted(_) => (FateView::Accepted, String::new()),
                    Verdict::Rejected(why) => (FateView::Rejected, why.clone()),
                    Verdict::Again(why) => (FateView::Again, why.clone()),
                };
                (
                    fate,
                    reason,
                    known,
                    Some(statement_text(&about(fate, result), receipt.envelope())),
                )
            }
            Fate::Missing(blobs) => {
                let missing: BTreeSet<_> = blobs.iter().map(ToString::to_string).collect();
                let names: Vec<_> = missing.iter().map(|name| &name[..8]).collect();
                let reason = format!("its blobs are not in the file: {}", names.join(", "));
                (FateView::Refused, reason, false, None)
            }
            Fate::Refused(why) => (FateView::Refused, why, false, None),
        };
        let TaskId { offer, task, replica } = result.task;
        let (result, volunteer) = (result.id(), result.signer());
        self.view.results.push(ImportedView {
            result,
            offer,
            task,
            replica,
            volunteer,
            fate,
            reason,
            known,
            receipt,
        });
    }
}

/// A receipt in a line for people; it proves nothing.
fn about(fate: FateView, result: &Verified<JobResult>) -> String {
    let TaskId { offer, task, .. } = result.task;
    format!("{} {} task {task} of {}", result.signer().short(), fate.word(), offer.short())
}
