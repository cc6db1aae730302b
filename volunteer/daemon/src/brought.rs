//! Work that somebody has brought as a parcel: a registration, a home, an offer, leases, key changes, and
//! then the package (`docs/spec/files.md`).

use std::io::Read;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, routing};
use capability::statements::{Home, Lease, MAX_TASKS_A_CLAIM, Offer, Package, Registration};
use capability::{Carried, Ed25519, Envelope, Kind, Verified};
use mesh_core::KeyChange;
use mesh_shell::{ParcelFailed, ParcelFile, Unpacked, chain, open_blob, reader_of};
use mesh_store::BlobStore;
use serde::{Deserialize, Serialize};

use thiserror::Error;
use tokio::sync::oneshot;
use volunteer_core::{Brought, NotTaken, TakenWork, Unconfirmed};

use crate::face::{Question, Questions};
use crate::status::decline_hint;

/// Statements of a file of work at most: leases, key changes, and three more.
const MAX_STATEMENTS: usize = 1024;

/// How the owner wants it judged.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Judged {
    /// Whether it is taken although no broker has told of its keys within a day.
    #[serde(default)]
    pub unconfirmed: bool,
}

/// What becomes of a file of work.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum BroughtAnswer {
    /// It is taken, as far as it is new.
    Taken {
        /// The job's name.
        name: String,
        /// Tasks that are taken on.
        new: usize,
        /// Tasks that were here before, or are done.
        known: usize,
    },
    /// The owner, or the machine, does not want it.
    Declined {
        /// Why.
        reason: String,
        /// What to do; may be empty.
        hint: String,
    },
    /// It is no file of work for this machine.
    Unfit {
        /// Why.
        reason: String,
        /// What to do; may be empty.
        hint: String,
    },
}

/// Why nothing comes of a file.
#[derive(Debug, Error)]
enum Refused {
    #[error(transparent)]
    Parcel(#[from] ParcelFailed),
    #[error("a statement in it is not sound: {0}")]
    Unsound(String),
    #[error(
        "it has no work, which is a registration, a home, an offer and leases, each as it was made"
    )]
    NoWork,
    #[error("the package is not in the file")]
    NoPackage,
    #[error("{0}")]
    NotTaken(NotTaken, Option<capability::ProjectKey>),
    #[error("the daemon is ending")]
    Ending,
}

/// The route; who asks has shown the token.
pub fn routes(blobs: Arc<BlobStore>) -> Router<Questions> {
    let take = |state, judged, body| async { take(state, blobs, judged, body).await };
    Router::new().route("/api/v1/jobs/brought", routing::post(take))
}

async fn take(
    State(questions): State<Questions>,
    blobs: Arc<BlobStore>,
    Query(judged): Query<Judged>,
    body: Body,
) -> Response {
    let source = reader_of(body);
    let taken = tokio::task::spawn_blocking(move || {
        let bringing = Bringing { questions, blobs };
        bringing.take(ParcelFile::new(source), &judged)
    });
    match taken.await {
        Ok(Ok((name, TakenWork { new, known }))) => {
            Json(BroughtAnswer::Taken { name, new, known }).into_response()
        }
        Ok(Err(Refused::Ending)) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Ok(Err(refused)) => Json(answer(&refused)).into_response(),
        Err(bug) => (StatusCode::INTERNAL_SERVER_ERROR, chain(&bug)).into_response(),
    }
}

fn answer(refused: &Refused) -> BroughtAnswer {
    let (reason, hint) = (chain(refused), hint(refused));
    match refused {
        Refused::NotTaken(
            NotTaken::Declined(_) | NotTaken::Unconfirmed | NotTaken::Full | NotTaken::Probing,
            _,
        ) => BroughtAnswer::Declined { reason, hint },
        _ => BroughtAnswer::Unfit { reason, hint },
    }
}

fn hint(refused: &Refused) -> String {
    match refused {
        Refused::NotTaken(NotTaken::Declined(why), Some(project)) => decline_hint(why, *project),
        Refused::NotTaken(NotTaken::Unconfirmed, _) => {
            "ask the project whether it is still its own, then add --unconfirmed".to_owned()
        }
        Refused::NotTaken(NotTaken::ForAnother(_), _) => {
            "talkoot-volunteer owner show prints the key of this machine, for talkoot-master lend --for"
                .to_owned()
        }
        Refused::NotTaken(NotTaken::Lapsed(_) | NotTaken::Lease(_), _) => {
            "have its project lend it anew: talkoot-master lend".to_owned()
        }
        Refused::NotTaken(NotTaken::Full | NotTaken::Probing, _) => "wait, then try again".to_owned(),
        Refused::NoWork => {
            "work is in the file that talkoot-master lend wrote; receipts go to results --take".to_owned()
        }
        _ => "have the file brought once more, as talkoot-master lend wrote it".to_owned(),
    }
}

struct Bringing {
    questions: Questions,
    blobs: Arc<BlobStore>,
}

impl Bringing {
    /// Reads what the file says, has it judged before its package is taken, and then once more.
    fn take(
        &self,
        mut parcel: ParcelFile<impl Read>,
        judged: &Judged,
    ) -> Result<(String, TakenWork), Refused> {
        let (mut statements, mut work) = (Vec::new(), None);
        while let Some(next) = parcel.unpack_next()? {
            match next {
                Unpacked::Statements(more) => {
                    statements.extend(more);
                    if work.is_some() || statements.len() > MAX_STATEMENTS {
                        return Err(Refused::NoWork);
                    }
                    // Whatever offer it is: that it is sound is seen before its package is taken.
                    for Package { hash, size } in packages(&statements) {
                        parcel.expect(hash, size);
                    }
                }
                Unpacked::Blob { size, hash } => {
                    let read = read(&statements, judged)?;
                    let judged = self.ask(&read, Question::JudgeBrought)?;
                    let is_here = open_blob(&self.blobs, hash, size).is_some();
                    if judged.new > 0 && !is_here {
                        parcel.take_blob(size, &self.blobs)?;
                    }
                    work = Some(read);
                }
            }
        }
        let work = work.map_or_else(|| read(&statements, judged), Ok)?;
        let Package { hash, size } = work.offer.package;
        let judged = self.ask(&work, Question::JudgeBrought)?;
        if judged.new > 0 && open_blob(&self.blobs, hash, size).is_none() {
            return Err(Refused::NoPackage);
        }
        Ok((work.offer.name.clone(), self.ask(&work, Question::TakeBrought)?))
    }

    fn ask(
        &self,
        work: &Brought,
        question: impl FnOnce(Box<Brought>, oneshot::Sender<Result<TakenWork, NotTaken>>) -> Question,
    ) -> Result<TakenWork, Refused> {
        let (answer, answered) = oneshot::channel();
        let asked = self.questions.blocking_send(question(Box::new(work.clone()), answer));
        asked.map_err(|_| Refused::Ending)?;
        let judged = answered.blocking_recv().map_err(|_| Refused::Ending)?;
        judged.map_err(|why| Refused::NotTaken(why, Some(work.offer.project)))
    }
}

/// The packages of the offers among `statements`.
fn packages(statements: &[Envelope]) -> impl Iterator<Item = Package> {
    let offers = statements.iter().filter(|it| it.kind() == Some(Kind::Offer));
    let offers = offers.filter_map(|it| Verified::<Offer>::check(it, &Ed25519).ok());
    offers.map(|offer| offer.package)
}

/// The work in `statements`.
fn read(statements: &[Envelope], judged: &Judged) -> Result<Brought, Refused> {
    let unsound = |error: capability::StatementError| Refused::Unsound(chain(&error));
    let carried = Carried(&Ed25519);
    let of = |kind| statements.iter().filter(move |it| it.kind() == Some(kind));
    let one = |kind| {
        let mut found = of(kind);
        found.next().filter(|_| found.next().is_none()).ok_or(Refused::NoWork)
    };
    let leases = of(Kind::Lease).map(|it| Verified::<Lease>::check(it, &Ed25519));
    let leases = leases.collect::<Result<Vec<_>, _>>().map_err(unsound)?;
    let changes = of(Kind::Revocation).chain(of(Kind::Succession));
    let changes = changes.map(|it| KeyChange::check(it, &Ed25519));
    let key_changes = changes.collect::<Result<Vec<_>, _>>().map_err(unsound)?;
    if !(1..=usize::from(MAX_TASKS_A_CLAIM)).contains(&leases.len()) {
        return Err(Refused::NoWork);
    }
    Ok(Brought {
        registration: Verified::<Registration>::check(one(Kind::Registration)?, &carried)
            .map_err(unsound)?,
        home: Verified::<Home>::check(one(Kind::Home)?, &carried).map_err(unsound)?,
        offer: Verified::<Offer>::check(one(Kind::Offer)?, &Ed25519).map_err(unsound)?,
        leases,
        key_changes,
        unconfirmed: if judged.unconfirmed { Unconfirmed::Accept } else { Unconfirmed::Refuse },
    })
}
