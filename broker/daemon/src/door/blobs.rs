//! Blobs: got in parts, put in pieces, as plain bytes (C36, C37).
//!
//! The name of a blob is the hash of its bytes, so whoever gets one checks it at its end. One that is
//! put is checked when its last byte is here, and what is wrong is not kept.

use std::io::SeekFrom;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use capability::statements::MAX_PACKAGE_BYTES;
use capability::{BlobHash, PublicKey};
use futures::StreamExt;
use mesh_core::Pass;
use mesh_shell::for_peer;
use mesh_store::{BlobError, PartialBlob};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio_util::io::ReaderStream;

use super::denial::{CLOSE, Denial, UPLOAD_OFFSET};
use super::frames::content_length;
use super::places::Place;
use super::range::{Part, Wanted, content_range, wanted};
use super::{Door, Origin, Wish};

/// Read from the disk and written to the connection at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// What must come of a body within [`STALL_TIMEOUT`], as over the mesh.
const STEP_BYTES: usize = 16 << 10;
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// `GET blob/HASH`.
pub(super) async fn get(
    State(door): State<Door>,
    Extension(origin): Extension<Origin>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Denial> {
    let (peer, hash, limit) = door.blob_wanted(&name, &headers)?;
    let place = door.blob_place(peer)?;
    let size = door.find(origin, peer, hash, limit).await?;
    let (status, part) = match wanted(&headers, size) {
        Wanted::All => (StatusCode::OK, None),
        Wanted::Part(part) => (StatusCode::PARTIAL_CONTENT, Some(part)),
        Wanted::Beyond => return Err(Denial::beyond(size)),
    };
    let file =
        door.0.link.storage().blobs().read(&blob_name(hash)).map_err(|error| denial(&error))?;
    let body = content(File::from_std(file), part, place).await?;
    let mut response = (status, bytes_of(part.map_or(size, Part::length)), body).into_response();
    if let Some(Part { from, last }) = part {
        let range = format!("bytes {from}-{last}/{size}").try_into().expect("digits make a header");
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    Ok(response)
}

/// `HEAD blob/HASH`: whether it is here, or how much of it.
pub(super) async fn head(
    State(door): State<Door>,
    Extension(origin): Extension<Origin>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Denial> {
    let (peer, hash, _) = door.blob_wanted(&name, &headers)?;
    door.knock(peer, origin, |answer| Wish::Enter { answer }).await?;
    let (name, blobs) = (blob_name(hash), door.0.link.storage().blobs());
    match blobs.has(&name).map_err(|error| denial(&error))? {
        Some(size) => Ok((bytes_of(size), Body::empty()).into_response()),
        None => Err(Denial::no_blob(blobs.present(&name))),
    }
}

/// `PUT blob/HASH`: all of it, or the piece that `Content-Range` names.
pub(super) async fn put(
    State(door): State<Door>,
    Extension(origin): Extension<Origin>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Denial> {
    let (peer, pass) = door.pass_in(&headers)?;
    let Pass::Put { hash, size } = pass else { return Err(not_for_this()) };
    let piece = piece(&headers, size)?;
    if hash.to_string() != name {
        return Err(not_for_this());
    }
    if size > MAX_PACKAGE_BYTES {
        return Err(Denial::too_large(MAX_PACKAGE_BYTES));
    }
    let _place = door.blob_place(peer)?;
    let bytes = piece.map_or(size, Part::length);
    let welcome = door.knock(peer, origin, |answer| Wish::Bring { hash, bytes, answer }).await?;
    welcome.map_err(Denial::unwelcome)?;
    let hash = blob_name(hash);
    let blobs = door.0.link.storage().blobs().clone();
    if blobs.has(&hash).map_err(|error| denial(&error))?.is_some() {
        // Whatever comes of its bytes is not read.
        return Ok((StatusCode::OK, [(header::CONNECTION, CLOSE)]).into_response());
    }
    let partial = blobs.resume(&hash, size).map_err(|error| denial(&error))?;
    let begins = piece.map_or(0, |piece| piece.from);
    if begins > partial.present() {
        return Err(Denial::wrong_offset(partial.present()));
    }
    receive(&partial, begins, body).await?;
    if piece.is_some_and(|piece| piece.last + 1 < size) {
        let arrived = begins + bytes;
        return Ok((StatusCode::ACCEPTED, [(UPLOAD_OFFSET, arrived.to_string())]).into_response());
    }
    finish(partial).await?;
    Ok(StatusCode::OK.into_response())
}

impl Door {
    /// The blob's size; pulls it through if it is not here.
    async fn find(
        &self,
        origin: Origin,
        peer: PublicKey,
        hash: BlobHash,
        limit: u64,
    ) -> Result<u64, Denial> {
        let sources = |answer| Wish::Sources { hash, limit, answer };
        let sources = self.knock(peer, origin, sources).await?.map_err(Denial::unwelcome)?;
        let size = self.0.link.pull_through(hash, sources).await.map_err(|error| denial(&error))?;
        match size {
            Some(size) if size <= limit => Ok(size),
            Some(_) => Err(Denial::too_large(limit)),
            None => Err(Denial::no_blob(0)),
        }
    }

    /// Who may have which blob, and of how many bytes at most.
    fn blob_wanted(
        &self,
        name: &str,
        headers: &HeaderMap,
    ) -> Result<(PublicKey, BlobHash, u64), Denial> {
        match self.pass_in(headers)? {
            (peer, Pass::Get { hash, limit }) if hash.to_string() == name => {
                Ok((peer, hash, limit))
            }
            _ => Err(not_for_this()),
        }
    }

    fn blob_place(&self, peer: PublicKey) -> Result<Place<PublicKey>, Denial> {
        let full =
            || Denial::later("too many blobs of yours, or of all, are moving: ask again later");
        self.0.blobs.take(peer).ok_or_else(full)
    }
}

/// The bytes of `file`, or `part` of them, while `place` is held.
async fn content(
    mut file: File,
    part: Option<Part>,
    place: Place<PublicKey>,
) -> Result<Body, Denial> {
    let Part { from, last } = part.unwrap_or(Part { from: 0, last: u64::MAX - 1 });
    file.seek(SeekFrom::Start(from))
        .await
        .map_err(|_| Denial::no_room("the blob cannot be read"))?;
    let bytes = ReaderStream::with_capacity(file.take(last - from + 1), BUFFER_BYTES);
    Ok(Body::from_stream(bytes.map(move |chunk| {
        let _held = &place;
        chunk
    })))
}

/// The piece that the body is, or `None` if it is the whole blob. Its length is the body's.
fn piece(headers: &HeaderMap, size: u64) -> Result<Option<Part>, Denial> {
    let length = content_length(headers)?;
    let piece = match headers.get(header::CONTENT_RANGE) {
        None => None,
        Some(range) => match range.to_str().ok().and_then(content_range) {
            Some((part, whole)) if whole == size => Some(part),
            _ => return Err(Denial::malformed("`Content-Range` is no part of that blob")),
        },
    };
    if length == piece.map_or(size, Part::length) {
        Ok(piece)
    } else {
        Err(Denial::malformed("the body is not as long as the pass or `Content-Range` says"))
    }
}

/// Writes `body` from byte `begins` on. What has come stays when the rest does not.
async fn receive(partial: &PartialBlob, begins: u64, body: Body) -> Result<(), Denial> {
    let failed = |_| Denial::no_room("the blob could not be stored");
    let file = partial.file().try_clone().map_err(failed)?;
    let mut file = File::from_std(file);
    file.set_len(begins).await.map_err(failed)?;
    file.seek(SeekFrom::Start(begins)).await.map_err(failed)?;
    let outcome = copy(body, &mut file).await;
    // What tokio's file has not written yet is not in the file that is hashed.
    file.flush().await.map_err(failed)?;
    outcome
}

/// Hyper ends the body at its `Content-Length`, for which the partial blob has room.
async fn copy(body: Body, file: &mut File) -> Result<(), Denial> {
    let mut chunks = body.into_data_stream();
    loop {
        let mut step = 0;
        let patience = tokio::time::sleep(STALL_TIMEOUT);
        tokio::pin!(patience);
        while step < STEP_BYTES {
            let chunk = tokio::select! {
                chunk = chunks.next() => chunk,
                () = &mut patience => return Err(Denial::slow()),
            };
            let Some(chunk) = chunk else { return Ok(()) };
            let chunk = chunk.map_err(|_| Denial::slow())?;
            step += chunk.len();
            file.write_all(&chunk)
                .await
                .map_err(|_| Denial::no_room("the disk does not take it"))?;
        }
    }
}

async fn finish(partial: PartialBlob) -> Result<(), Denial> {
    let finished = tokio::task::spawn_blocking(move || partial.finish()).await;
    finished.map_err(|_| Denial::busy())?.map_err(|error| denial(&error))
}

fn bytes_of(length: u64) -> [(header::HeaderName, String); 3] {
    [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
    ]
}

fn blob_name(hash: BlobHash) -> blake3::Hash {
    blake3::Hash::from_bytes(*hash.as_bytes())
}

fn not_for_this() -> Denial {
    Denial::wrong_pass("it is not for this blob, or not for this method")
}

fn denial(error: &BlobError) -> Denial {
    match error {
        BlobError::Mismatch { .. } => Denial::wrong_bytes(),
        BlobError::Busy { .. } => Denial::later("somebody else is sending it: ask again later"),
        error => {
            tracing::debug!(%error, "a visitor's blob failed here");
            Denial::no_room(for_peer(error))
        }
    }
}
