//! What the broker knows and does, as JSON: the status, and every list page by page.

use std::str::FromStr;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use broker_core::Broker;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::desk::Desk;

/// Where the status is.
pub const STATUS_PATH: &str = "/talkoot/1/status";
/// Where the lists are, each under its own name.
pub const API: &str = "/api/v1";

/// Entries of a page unless another number is asked for, and at most.
const USUAL_PAGE: usize = 100;
const LARGEST_PAGE: usize = 1_000;

/// Which page of a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    /// The `next` of the page before.
    after: Option<String>,
    limit: Option<usize>,
}

/// Which offer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    /// The beginning of its id.
    offer: String,
}

/// Everything that can be read.
pub fn routes(desk: Desk) -> Router {
    let path = |name: &str| format!("{API}/{name}");
    Router::new()
        .route(STATUS_PATH, get(async |State(desk): Ask| show(desk.look(Broker::status).await)))
        .route(
            &path("peers"),
            get(async |State(desk): Ask, part: Of| list(&desk, part, Broker::peers).await),
        )
        .route(
            &path("offers"),
            get(async |State(desk): Ask, part: Of| list(&desk, part, Broker::offers).await),
        )
        .route(
            &path("ads"),
            get(async |State(desk): Ask, part: Of| list(&desk, part, Broker::ads).await),
        )
        .route(
            &path("custody"),
            get(async |State(desk): Ask, part: Of| list(&desk, part, Broker::custody).await),
        )
        .route(
            &path("brokers"),
            get(async |State(desk): Ask, part: Of| list(&desk, part, Broker::brokers).await),
        )
        .route(
            &path("blocked"),
            get(async |State(desk): Ask, part: Of| list(&desk, part, Broker::blocked).await),
        )
        .route(
            &path("taken-down"),
            get(async |State(desk): Ask, part: Of| list(&desk, part, Broker::all_taken_down).await),
        )
        .route(
            &path("limited"),
            get(async |State(desk): Ask| {
                show(desk.look(|broker| json!({ "items": broker.limited() })).await)
            }),
        )
        .route(&path("explain"), get(explain))
        .with_state(desk)
}

type Ask = State<Desk>;
type Of = Query<Part>;

/// One page of what `pages` gives.
async fn list<K, T>(
    desk: &Desk,
    Query(part): Query<Part>,
    pages: impl FnOnce(&Broker, Option<K>, usize) -> T + Send + 'static,
) -> Response
where
    K: FromStr<Err: std::error::Error> + Send + 'static,
    T: Serialize + Send + 'static,
{
    let after = match part.after.map(|after| after.parse()).transpose() {
        Ok(after) => after,
        Err(error) => return wrong(&error),
    };
    let limit = part.limit.unwrap_or(USUAL_PAGE).clamp(1, LARGEST_PAGE);
    show(desk.look(move |broker| pages(broker, after, limit)).await)
}

async fn explain(State(desk): Ask, Query(Which { offer }): Query<Which>) -> Response {
    let found = desk.look(move |broker| {
        let mut called = broker.offers_called(&offer);
        match (called.next(), called.next()) {
            (Some(offer), None) => broker.explain_offer(offer).ok_or("no such offer is known here"),
            (Some(_), Some(_)) => Err("several offers begin so: name more of the id"),
            (None, _) => Err("no such offer is known here"),
        }
    });
    match found.await {
        Some(Err(why)) => (StatusCode::NOT_FOUND, format!("{why}\n")).into_response(),
        found => show(found.and_then(Result::ok)),
    }
}

fn show<T: Serialize>(found: Option<T>) -> Response {
    match found {
        Some(found) => axum::Json(found).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "the broker is ending\n").into_response(),
    }
}

fn wrong(error: &dyn std::error::Error) -> Response {
    (StatusCode::BAD_REQUEST, format!("{}\n", mesh_shell::chain(error))).into_response()
}
