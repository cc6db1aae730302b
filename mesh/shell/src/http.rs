//! The HTTP face that every daemon has: `/healthz`, `/readyz`, `/metrics`, and its status.
//!
//! Meant for loopback. A `Host` header that names anything but an address or `localhost` is refused,
//! so that a page on the web cannot read it through DNS rebinding.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::exit::{Exit, Failure, Outcome};

/// For requests under way when the daemon ends.
const PATIENCE: Duration = Duration::from_secs(2);

/// The daemon's metrics; shared by whoever counts and whoever shows.
pub type Metrics = Arc<Mutex<Registry>>;

/// What keeps a daemon from its work; nothing, and it is ready. Shared by whoever knows and whoever
/// shows.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<Vec<&'static str>>>);

impl Readiness {
    /// From now on `obstacles` keep it from its work.
    pub fn set(&self, obstacles: Vec<&'static str>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = obstacles;
    }

    /// In words, a line each; nothing if it is ready.
    fn obstacles(&self) -> Option<String> {
        let obstacles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (!obstacles.is_empty()).then(|| obstacles.join("\n") + "\n")
    }
}

/// `/healthz`, `/readyz` and `/metrics`, to which a daemon merges its own routes.
pub fn common(metrics: Metrics, readiness: Readiness) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(|| async move { show_readiness(&readiness) }))
        .route("/metrics", get(show_metrics))
        .with_state(metrics)
}

fn show_readiness(readiness: &Readiness) -> Response {
    match readiness.obstacles() {
        Some(obstacles) => (StatusCode::SERVICE_UNAVAILABLE, obstacles).into_response(),
        None => "ready\n".into_response(),
    }
}

async fn show_metrics(State(metrics): State<Metrics>) -> Response {
    let mut text = String::new();
    let registry = metrics.lock().unwrap_or_else(PoisonError::into_inner);
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => {
            let form = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, form)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Binds `address`, which `flag` chooses; says what to do if it is in use.
pub async fn bind(address: SocketAddr, flag: &str) -> Outcome<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let message = format!("cannot listen for HTTP on {address}: {error}");
        Failure::say(Exit::Network, message).hint(format!("choose another address with {flag}"))
    })
}

/// A daemon's HTTP face while it is served. Dropping it ends it, sooner or later.
pub struct Web {
    until: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Web {
    /// Serves `routes` from now on.
    pub fn serve(listener: TcpListener, routes: Router) -> Self {
        let routes = routes.layer(middleware::from_fn(no_rebinding));
        let (until, ended) = oneshot::channel::<()>();
        let until_ended = async move { drop(ended.await) };
        let task = tokio::spawn(async move {
            if let Err(error) =
                axum::serve(listener, routes).with_graceful_shutdown(until_ended).await
            {
                tracing::error!(%error, "HTTP ended");
            }
        });
        Self { until, task }
    }

    /// Lets requests under way finish for a moment, then ends.
    pub async fn end(self) {
        drop(self.until);
        let abort = self.task.abort_handle();
        if tokio::time::timeout(PATIENCE, self.task).await.is_err() {
            abort.abort();
        }
    }
}

/// Lets a request through if its `Host` is an address or `localhost`.
async fn no_rebinding(request: Request, next: Next) -> Response {
    // Browsers always name a host; what does not is a program of this machine.
    let host = request.headers().get(header::HOST);
    if host.is_none_or(|host| host.to_str().is_ok_and(is_local_name)) {
        next.run(request).await
    } else {
        (StatusCode::MISDIRECTED_REQUEST, "ask by address or as localhost\n").into_response()
    }
}

fn is_local_name(host: &str) -> bool {
    let without_port = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = without_port.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_answered() {
        for local in ["localhost", "LOCALHOST:4080", "127.0.0.1:4079", "[::1]:4080"] {
            assert!(is_local_name(local), "{local}");
        }
        for foreign in ["example.org", "localhost.example.org:4080", "", "127.0.0.1.example"] {
            assert!(!is_local_name(foreign), "{foreign}");
        }
    }
}
