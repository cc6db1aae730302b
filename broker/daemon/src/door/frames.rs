//! Questions, custody and collecting: frames in, frames out.

use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use capability::{BlobHash, PublicKey, Timestamp, encode_cbor};
use mesh_core::{Answer, Ask, MAX_FRAME_BYTES, Pass, Refusal};
use mesh_shell::chain;
use serde::Serialize;
use serde_bytes::ByteBuf;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::denial::Denial;
use super::mailboxes::COLLECT_WAIT;
use super::{Door, Origin, Wish};

/// How long a frame may take to arrive, as over the mesh: 1 MiB in 20 s is 50 KiB/s.
const FRAME_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a pull waits at most: what stands between may give up after half a minute, and a visitor is taken for gone
/// after a minute without a request.
const LONGEST_PULL_MS: u64 = 25_000;

/// What the door says of itself to anybody (C30).
#[derive(Serialize)]
struct Introduction {
    key: PublicKey,
    now: Timestamp,
    versions: [u16; 1],
}

/// `GET door`.
pub(super) async fn introduce(State(Door(door)): State<Door>) -> Response {
    let (key, now) = (door.link.key(), door.clock.now().wall);
    cbor(encode_cbor(&Introduction { key, now, versions: [1] }))
}

/// `POST call` (C33). What cannot be admitted is answered as over the mesh.
pub(super) async fn call(
    State(door): State<Door>,
    Extension(origin): Extension<Origin>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Denial> {
    let (frame, _held) = door.read_frame(&headers, body).await?;
    let answer = match door.question(&frame) {
        Ok((peer, ask)) => door.knock(peer, origin, |answer| Wish::Ask { ask, answer }).await?,
        Err(refusal) => Answer::Refused(refusal).encode(),
    };
    Ok(cbor(answer))
}

/// `POST custody` (C34).
pub(super) async fn custody(
    State(door): State<Door>,
    Extension(origin): Extension<Origin>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Denial> {
    let (peer, pass) = door.pass_in(&headers)?;
    let (frame, _held) = door.read_frame(&headers, body).await?;
    if pass != (Pass::Custody { frame: BlobHash::of(&frame) }) {
        return Err(Denial::wrong_pass("it is not for custody of this frame"));
    }
    let frame = frame.to_vec();
    let answer = door.knock(peer, origin, |answer| Wish::Custody { frame, answer }).await?;
    Ok(cbor(answer))
}

/// `POST collect` (C35).
pub(super) async fn collect(
    State(door): State<Door>,
    Extension(origin): Extension<Origin>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Denial> {
    let (frame, _held) = door.read_frame(&headers, body).await?;
    let (peer, Pass::Collect { taken, wait_ms }) = door.pass(&frame)? else {
        return Err(Denial::wrong_pass("it is not for collecting"));
    };
    door.knock(peer, origin, |answer| Wish::Enter { answer }).await?;
    let patience =
        wait_ms.map_or(COLLECT_WAIT, |most| COLLECT_WAIT.min(Duration::from_millis(most)));
    let bundles = door.0.lobby.mailboxes.collect(peer, &taken, patience).await;
    let bundles: Vec<_> = bundles.into_iter().map(ByteBuf::from).collect();
    Ok(cbor(encode_cbor(&bundles)))
}

impl Door {
    /// Reads a body of at most a frame, and what it holds of the room for bodies.
    async fn read_frame(
        &self,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<(Bytes, OwnedSemaphorePermit), Denial> {
        let length = content_length(headers)?;
        if length > MAX_FRAME_BYTES as u64 {
            return Err(Denial::too_large(MAX_FRAME_BYTES as u64));
        }
        let room = u32::try_from(length).unwrap_or(u32::MAX);
        let held = self.0.bodies.clone().try_acquire_many_owned(room);
        let held = held.map_err(|_| Denial::busy())?;
        match timeout(FRAME_TIMEOUT, to_bytes(body, MAX_FRAME_BYTES)).await {
            Ok(Ok(frame)) => Ok((frame, held)),
            Ok(Err(_)) | Err(_) => Err(Denial::slow()),
        }
    }

    fn question(&self, frame: &[u8]) -> Result<(PublicKey, Ask), Refusal> {
        let invalid = |error: &dyn std::error::Error| Refusal::Invalid(chain(error));
        let request = self.take(frame).map_err(|error| invalid(&error))?;
        let mut ask = Ask::decode(&request.body, self.0.lobby.guard.verifier())
            .map_err(|error| invalid(&error))?;
        if let Ask::Pull { wants } = &mut ask {
            wants.wait_ms = wants.wait_ms.map(|wait| wait.min(LONGEST_PULL_MS));
        }
        Ok((request.signer(), ask))
    }
}

/// How long the body is, according to its sender.
pub(super) fn content_length(headers: &HeaderMap) -> Result<u64, Denial> {
    let stated = headers.get(header::CONTENT_LENGTH).ok_or_else(Denial::no_length)?;
    let length = stated.to_str().ok().and_then(|it| it.parse().ok());
    length.ok_or_else(|| Denial::malformed("`Content-Length` is no number"))
}

fn cbor(frame: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/cbor")], frame).into_response()
}
