//! What the operator can change at the running broker, over HTTP.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use broker_core::{Content, MAX_REASON, Order, Whom};
use capability::{BlobHash, PublicKey};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use crate::event_loop::Ordered;
use crate::lists::API;

/// Orders that wait for the event loop.
const QUEUE: usize = 16;
/// The longest that a broker may take to leave.
const LONGEST_DRAIN: Duration = Duration::from_secs(24 * 60 * 60);

type Desk = mpsc::Sender<Ordered>;

/// An order as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// A key, a range of addresses, or a hash.
    subject: String,
    #[serde(default)]
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Within {
    seconds: u64,
}

/// The routes, and what the event loop takes from them.
pub fn routes() -> (Router, mpsc::Receiver<Ordered>) {
    let (desk, taken) = mpsc::channel(QUEUE);
    let path = |name: &str| format!("{API}/{name}");
    let block = |Written { subject, reason }| Ok(Order::Block { whom: whom(&subject)?, reason });
    let unblock = |Written { subject, .. }| Ok(Order::Unblock { whom: whom(&subject)? });
    let take_down =
        |Written { subject, reason }| Ok(Order::TakeDown { content: content(&subject)?, reason });
    let put_back = |Written { subject, .. }| Ok(Order::PutBack { content: content(&subject)? });
    let routes = Router::new()
        .route(&path("block"), post(async move |at, it| rule(at, it, block).await))
        .route(&path("unblock"), post(async move |at, it| rule(at, it, unblock).await))
        .route(&path("take-down"), post(async move |at, it| rule(at, it, take_down).await))
        .route(&path("put-back"), post(async move |at, it| rule(at, it, put_back).await))
        .route(&path("drain"), post(drain))
        .with_state(desk);
    (routes, taken)
}

async fn rule(
    State(desk): State<Desk>,
    Json(written): Json<Written>,
    read: impl FnOnce(Written) -> Result<Order, String>,
) -> Response {
    if written.reason.len() > MAX_REASON || written.reason.contains(char::is_control) {
        return wrong(format!("a reason is one line of at most {MAX_REASON} bytes"));
    }
    match read(written) {
        Ok(order) => obey(&desk, order).await,
        Err(why) => wrong(why),
    }
}

async fn drain(State(desk): State<Desk>, Json(Within { seconds }): Json<Within>) -> Response {
    let within = Duration::from_secs(seconds).min(LONGEST_DRAIN);
    obey(&desk, Order::Drain { within }).await
}

async fn obey(desk: &Desk, order: Order) -> Response {
    let (done, outcome) = oneshot::channel();
    if desk.send((order, done)).await.is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the broker is ending\n").into_response();
    }
    match outcome.await {
        Ok(Ok(())) => Json(json!({})).into_response(),
        Ok(Err(why)) => (StatusCode::CONFLICT, format!("{why}\n")).into_response(),
        // It has ended meanwhile: only an order to leave makes it do so.
        Err(_) => Json(json!({})).into_response(),
    }
}

fn wrong(why: String) -> Response {
    (StatusCode::BAD_REQUEST, why + "\n").into_response()
}

/// A key, or a range of addresses in its shortest form.
fn whom(text: &str) -> Result<Whom, String> {
    if let Ok(key) = text.parse::<PublicKey>() {
        return Ok(Whom::Key(key));
    }
    let range = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    match range {
        Some(range) => Ok(Whom::Range(range.trunc().to_string())),
        None => Err(format!(
            "`{text}` is no key, and no range of addresses such as 192.0.2.0/24 or 2001:db8::/32"
        )),
    }
}

fn content(text: &str) -> Result<Content, String> {
    let hash = text.parse::<BlobHash>();
    hash.map(Content::from).map_err(|_| {
        format!("`{text}` is no hash of 64 hexadecimal digits: `offers --json` has whole ids")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_one_form_and_what_is_neither_key_nor_range_is_shown() {
        let range = |text: &str| Whom::Range(text.to_owned());
        assert_eq!(whom("192.0.2.7"), Ok(range("192.0.2.7/32")));
        assert_eq!(whom("192.0.2.7/24"), Ok(range("192.0.2.0/24")));
        assert_eq!(whom("2001:DB8::1/32"), Ok(range("2001:db8::/32")));
        for wrong in ["192.0.2.0/33", "broker.example.org", ""] {
            assert!(whom(wrong).expect_err(wrong).contains(&format!("`{wrong}`")));
        }
        assert!(content("abcd").is_err());
    }
}
