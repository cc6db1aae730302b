//! What HTTP itself has to say when a request is not taken (C39).

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Unwelcome;
use crate::reply::come_again;

/// Seconds after which somebody who is turned away may come again.
const LATER: HeaderValue = HeaderValue::from_static("2");

/// A request that is not taken: the status, why and what to do in words, and a header if there is one.
#[derive(Debug)]
pub(super) struct Denial {
    status: StatusCode,
    why: String,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Denial {
    fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into(), header: None }
    }

    fn with(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.header = Some((name, value.into()));
        self
    }

    /// The path is none of the door's.
    pub(super) fn not_here() -> Self {
        let why = "this is the door of a Talkoot broker; its paths are in docs/spec/door.md";
        Self::new(StatusCode::NOT_FOUND, why)
    }

    /// There is no pass where one is needed.
    pub(super) fn no_pass() -> Self {
        Self::wrong_pass("there is none; send `Authorization: Talkoot <signed request, base64url>`")
    }

    /// The pass does not let this request through.
    pub(super) fn wrong_pass(why: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, format!("the pass: {why}"))
            .with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Talkoot"))
    }

    /// The broker has too much to do, or too much of this peer or address.
    pub(super) fn busy() -> Self {
        Self::later("the broker has too much to do: ask again later")
    }

    /// A bound is reached.
    pub(super) fn later(why: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, why).with(header::RETRY_AFTER, LATER)
    }

    /// One address has too many requests under way.
    pub(super) fn crowded() -> Self {
        let why = "too many requests from your address are under way: ask again later";
        Self::new(StatusCode::TOO_MANY_REQUESTS, why).with(header::RETRY_AFTER, LATER)
    }

    /// The blob is not given, or not taken.
    pub(super) fn unwelcome(reason: Unwelcome) -> Self {
        match reason {
            Unwelcome::Ever(why) => Self::new(StatusCode::FORBIDDEN, why),
            Unwelcome::Before(wait) => Self::new(StatusCode::TOO_MANY_REQUESTS, come_again(wait))
                .with(header::RETRY_AFTER, wait.as_secs() + 1),
        }
    }

    /// The request makes no sense.
    pub(super) fn malformed(why: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, why)
    }

    /// The body's length is not stated.
    pub(super) fn no_length() -> Self {
        Self::new(StatusCode::LENGTH_REQUIRED, "state the body's bytes in `Content-Length`")
    }

    /// The body is, or the blob may get, larger than what is taken.
    pub(super) fn too_large(limit: u64) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, format!("at most {limit} bytes are taken"))
    }

    /// The body came too slowly, or not to its end.
    pub(super) fn slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")
    }

    /// There is no such blob here; of one that is arriving, `present` bytes are.
    pub(super) fn no_blob(present: u64) -> Self {
        Self::new(StatusCode::NOT_FOUND, "that blob is not here").with(UPLOAD_OFFSET, present)
    }

    /// The piece of a blob does not begin where the last one ended.
    pub(super) fn wrong_offset(present: u64) -> Self {
        Self::new(StatusCode::CONFLICT, format!("go on at byte {present}, or begin again at 0"))
            .with(UPLOAD_OFFSET, present)
    }

    /// The bytes are not those of the blob; nothing of them was kept.
    pub(super) fn wrong_bytes() -> Self {
        let why = "these are not the blob's bytes; none of them were kept";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, why).with(UPLOAD_OFFSET, 0u64)
    }

    /// The range begins behind the blob's end.
    pub(super) fn beyond(size: u64) -> Self {
        let range = HeaderValue::try_from(format!("bytes */{size}"));
        let denial = Self::new(StatusCode::RANGE_NOT_SATISFIABLE, format!("it has {size} bytes"));
        denial.with(header::CONTENT_RANGE, range.expect("digits make a header"))
    }

    /// The disk has no room, or fails; `why` tells nothing about this machine.
    pub(super) fn no_room(why: &str) -> Self {
        Self::new(StatusCode::INSUFFICIENT_STORAGE, why)
    }
}

/// That this was the last answer of its connection.
pub(super) const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// How many bytes of a blob have come.
pub(super) const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");

impl IntoResponse for Denial {
    fn into_response(self) -> Response {
        let mut response = (self.status, format!("{}\n", self.why)).into_response();
        response.headers_mut().extend(self.header);
        // The rest of a body may still be on its way: no other request can follow it.
        response.headers_mut().insert(header::CONNECTION, CLOSE);
        response
    }
}
