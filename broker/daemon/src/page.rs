//! The status: JSON for programs, and a page for people that reads it.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use broker_core::Status;
use tokio::sync::{mpsc, oneshot};

/// Where the status is, as JSON.
pub const STATUS_PATH: &str = "/talkoot/1/status";

/// How to ask the event loop for the status.
pub type AskStatus = mpsc::Sender<oneshot::Sender<Status>>;

/// The broker's own routes.
pub fn routes(ask: AskStatus) -> Router {
    Router::new()
        .route("/", get(|| async { ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(PAGE)) }))
        .route(STATUS_PATH, get(status))
        .with_state(ask)
}

async fn status(State(ask): State<AskStatus>) -> Response {
    let (reader, answer) = oneshot::channel();
    match (ask.send(reader).await, answer.await) {
        (Ok(()), Ok(status)) => axum::Json(status).into_response(),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "the broker is ending\n").into_response(),
    }
}

const POLICY: &str =
    "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'";

/// Names come from strangers: they are set as text, never as HTML.
const PAGE: &str = include_str!("page.html");
