//! Tasks for a machine without a network: leased in its name, and packed as a parcel (C15).

use std::fs::File;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use capability::statements::{Home, Lease, Offer};
use capability::{Envelope, PublicKey, Verified};
use mesh_core::{Answer, Ask, Loan};
use mesh_shell::{ParcelWriter, open_blob, written_body};
use tokio::sync::oneshot;

use super::{Api, Command, Problem, ending};
use crate::model::LendRequest;

/// `POST /api/v1/jobs/{offer}/lend`.
pub async fn lend(
    State(api): State<Api>,
    Path(offer): Path<String>,
    Json(asked): Json<LendRequest>,
) -> Result<Response, Problem> {
    let job = api.offer(&offer)?;
    let (reply, answer) = oneshot::channel();
    api.command(Command::Standing { job, reply }).await?;
    let standing = answer.await.map_err(|_| ending())?;
    let (offer, home) = standing.ok_or_else(|| {
        let message =
            "that job is over, or no broker is home to it yet; talkoot-master status tells";
        Problem(StatusCode::CONFLICT, message.to_owned())
    })?;
    let package = api.package_of(&offer)?;
    let leases = api.leases(&offer, &home, &asked).await?;
    let mut statements = vec![
        api.registration.envelope().clone(),
        home.envelope().clone(),
        offer.envelope().clone(),
    ];
    statements.extend(leases.iter().map(|lease| lease.envelope().clone()));
    statements.extend(api.key_changes(&offer).await?);
    let packed = offer.package;
    let body = written_body(move |out| {
        let mut parcel = ParcelWriter::new(out)?;
        parcel.statements(&statements)?;
        parcel.blob(packed.hash, packed.size, package)?;
        parcel.finish()
    });
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response())
}

impl Api {
    fn package_of(&self, offer: &Offer) -> Result<File, Problem> {
        let package = open_blob(self.storage.blobs(), offer.package.hash, offer.package.size);
        package.ok_or_else(|| {
            Problem(StatusCode::NOT_FOUND, "the package of that job is not here".to_owned())
        })
    }

    async fn leases(
        &self,
        offer: &Verified<Offer>,
        home: &Verified<Home>,
        asked: &LendRequest,
    ) -> Result<Vec<Verified<Lease>>, Problem> {
        let runtime = asked.runtime.clone().or(offer.requirements.runtimes.first().cloned());
        let runtime = runtime
            .ok_or_else(|| Problem(StatusCode::CONFLICT, "that job names no runtime".to_owned()))?;
        let loan = Loan {
            offer: offer.id(),
            epoch: home.epoch,
            volunteer: asked.volunteer,
            runtime,
            count: asked.tasks,
            until: asked.until.min(offer.expires),
        };
        match self.ask_home(Ask::Lend(loan)).await? {
            (_, Answer::Leases(leases)) if !leases.is_empty() => Ok(leases),
            (home, Answer::Refused(refusal)) => {
                let message = format!("the home broker {} lends nothing: {refusal}", home.short());
                Err(Problem(StatusCode::CONFLICT, message))
            }
            (home, _) => {
                let message = format!("the home broker {} gave an odd answer", home.short());
                Err(Problem(StatusCode::SERVICE_UNAVAILABLE, message))
            }
        }
    }

    /// What the home knows of the keys behind `offer`: a machine that asks nobody else goes by it.
    async fn key_changes(&self, offer: &Verified<Offer>) -> Result<Vec<Envelope>, Problem> {
        let of = vec![PublicKey::from(offer.project), offer.signer()];
        match self.ask_home(Ask::KeyChanges { of }).await? {
            (_, Answer::KeyChanges(changes)) => {
                Ok(changes.iter().map(|change| change.envelope().clone()).collect())
            }
            (home, _) => {
                let message = format!("the home broker {} tells nothing of keys", home.short());
                Err(Problem(StatusCode::SERVICE_UNAVAILABLE, message))
            }
        }
    }
}
