//! The status page, for people: it reads what [`crate::lists`] gives.

use axum::Router;
use axum::http::header;
use axum::response::Html;
use axum::routing::get;

/// The page.
pub fn routes() -> Router {
    Router::new()
        .route("/", get(|| async { ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(PAGE)) }))
}

const POLICY: &str = "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; \
                      style-src 'unsafe-inline'; frame-ancestors 'none'";

/// Names come from strangers: they are set as text, never as HTML.
const PAGE: &str = include_str!("page.html");
