//! The daemon's HTTP face on loopback: status as JSON, a page, and the owner's wishes.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::sync::{mpsc, oneshot};
use volunteer_core::Input;

use crate::status::Status;

/// The header that wishes must carry. A page on the web cannot send it to another origin.
pub const WISH_HEADER: &str = "x-talkoot";

/// What the event loop is asked.
pub enum Question {
    /// Everything.
    Status(oneshot::Sender<Status>),
    /// The owner wishes something. [`Input::Quit`] ends the daemon.
    Wish(Input),
}

type Questions = mpsc::Sender<Question>;

/// The routes; they ask the event loop by `questions`.
pub fn routes(questions: Questions) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/api/v1/status", get(status))
        .route("/api/v1/pause", post(|state, headers| wish(state, headers, Input::Pause)))
        .route("/api/v1/resume", post(|state, headers| wish(state, headers, Input::Resume)))
        .route("/api/v1/drain", post(|state, headers| wish(state, headers, Input::Drain)))
        .route("/api/v1/stop", post(|state, headers| wish(state, headers, Input::Quit)))
        .with_state(questions)
}

async fn status(State(questions): State<Questions>) -> Response {
    match ask(&questions).await {
        Some(status) => Json(status).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn wish(State(questions): State<Questions>, headers: HeaderMap, wish: Input) -> StatusCode {
    if !headers.contains_key(WISH_HEADER) {
        return StatusCode::FORBIDDEN;
    }
    match questions.send(Question::Wish(wish)).await {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn ask(questions: &Questions) -> Option<Status> {
    let (answer, answered) = oneshot::channel();
    questions.send(Question::Status(answer)).await.ok()?;
    answered.await.ok()
}

async fn page(State(questions): State<Questions>) -> Response {
    let Some(status) = ask(&questions).await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let security = "default-src 'none'; style-src 'unsafe-inline'";
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, security),
        (header::REFRESH, "5"),
    ];
    (headers, html(&status)).into_response()
}

fn html(status: &Status) -> String {
    let mut body = String::new();
    let mut section = |title: &str, rows: Vec<String>| {
        let rows: String = rows.iter().map(|row| format!("<li>{}</li>", escaped(row))).collect();
        body.push_str(&format!("<h2>{title}</h2><ul>{rows}</ul>"));
    };
    let idle = status.idle.as_ref().or(status.obstacle.as_ref());
    let idle = idle.into_iter().map(|idle| format!("{}: {}", idle.reason, idle.hint));
    let jobs = status.jobs.iter().map(|job| {
        format!("{} {} task {}: {} in {}", job.project, job.name, job.task, job.stage, job.runtime)
    });
    section("Now", idle.chain(jobs).collect());
    section("Brokers", status.brokers.clone());
    let projects = status.projects.iter().map(|it| {
        let (name, accepted, rejected) = (it.title(), it.accepted, it.rejected);
        format!("{name}: {accepted} accepted, {rejected} not, {} core-ms", it.credit)
    });
    section("Projects", projects.collect());
    let checks = status.projects.iter().flat_map(|project| {
        project.checks.iter().map(move |it| format!("{}: {}", project.title(), it.outcome()))
    });
    section("Checks", checks.collect());
    let declined = status.declined.iter();
    let declined =
        declined.map(|it| format!("{}: {} ({})", it.name, it.advice.reason, it.advice.hint));
    section("Declined", declined.collect());
    let runtimes = status.runtimes.iter().map(|it| match &it.reason {
        None => format!("{}: offered, {}", it.runtime, it.strength.as_deref().unwrap_or_default()),
        Some(reason) => format!("{}: not offered, {reason}", it.runtime),
    });
    section("Runtimes", runtimes.collect());
    format!(
        "<!doctype html><html lang=en><title>talkoot-volunteer</title>\
         <style>body{{font-family:sans-serif;max-width:60em;margin:2em auto}}</style>\
         <h1>talkoot-volunteer {}</h1>{body}</html>",
        escaped(&status.name)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
