//! The page for people: three files in the program, which hold nothing of the daemon. What they show they
//! ask for with the token.

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Nothing from elsewhere, nothing inside other pages, and no markup out of texts.
const SECURITY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                        base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                        require-trusted-types-for 'script'";

/// Its routes.
pub fn routes() -> Router {
    Router::new()
        .route("/", get(|| file("text/html", include_str!("../page/index.html"))))
        .route("/page.css", get(|| file("text/css", include_str!("../page/page.css"))))
        .route("/page.js", get(|| file("text/javascript", include_str!("../page/page.js"))))
}

async fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, format!("{kind}; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, SECURITY.to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
        // The next version of the program has another page.
        (header::CACHE_CONTROL, "no-cache".to_owned()),
    ];
    (headers, text).into_response()
}
