//! Who may change something: whoever can read the state directory of the running broker.
//!
//! Each run makes a token there, and a request that changes something must show it. A page on the
//! web cannot: it neither knows the token nor may set the header, and its `Origin` gives it away.
//! On anything but loopback nothing is changed at all, since the token would travel in the clear.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use mesh_shell::{Exit, OrExit, Outcome, read_text, write_whole};

/// Bytes of the token's file at most: twice what is written.
const MAX_TOKEN_BYTES: usize = 128;

/// What a request that changes something must show.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// A new one, in the state directory: there its owner finds it, and nobody else.
    pub fn make(state: &Path) -> Outcome<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).context("cannot get randomness").or_exit(Exit::State)?;
        let text = HEXLOWER.encode(&bytes);
        write_whole(&file(state), format!("{text}\n").as_bytes(), 0o600)?;
        Ok(Self(text))
    }

    /// That of the broker which runs on `state`.
    pub fn of_running(state: &Path) -> Outcome<Self> {
        let text = read_text(&file(state), "the operator's token", MAX_TOKEN_BYTES);
        let text = text.map_err(|failure| {
            failure.hint("run this as the broker's user, with the --state of the running broker")
        })?;
        Ok(Self(text.trim().to_owned()))
    }

    /// The value of the header `Authorization`.
    pub fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Compared by hash, so that the time it takes tells nothing.
    fn is_shown_in(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
        shown.is_some_and(|shown| blake3::hash(shown) == blake3::hash(self.header().as_bytes()))
    }
}

fn file(state: &Path) -> PathBuf {
    state.join("operator.token")
}

/// Who is let through.
#[derive(Clone)]
pub struct Gate {
    token: Token,
    listens_on: SocketAddr,
}

impl Gate {
    /// For whoever shows `token` to the HTTP face at `listens_on`.
    pub fn new(token: Token, listens_on: SocketAddr) -> Self {
        Self { token, listens_on }
    }

    fn refusal(&self, headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
        if !self.listens_on.ip().is_loopback() {
            Some((StatusCode::FORBIDDEN, "changes are taken on loopback only: see `http`"))
        } else if headers.contains_key(header::ORIGIN) {
            Some((StatusCode::FORBIDDEN, "changes are not taken from web pages"))
        } else if !self.token.is_shown_in(headers) {
            let why = "changes take the token in the state directory: Authorization: Bearer TOKEN";
            Some((StatusCode::UNAUTHORIZED, why))
        } else {
            None
        }
    }
}

/// Lets the operator through.
pub async fn only_operator(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    match gate.refusal(request.headers()) {
        Some((status, why)) => (status, format!("{why}\n")).into_response(),
        None => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(gate: &Gate, headers: &[(header::HeaderName, &str)]) -> Option<StatusCode> {
        let parsed = |(name, value): &(header::HeaderName, &str)| {
            (name.clone(), value.parse().expect("a header"))
        };
        gate.refusal(&headers.iter().map(parsed).collect()).map(|(status, _)| status)
    }

    #[test]
    fn only_who_shows_the_token_on_loopback_and_is_no_web_page_is_let_through() {
        let state = tempfile::tempdir().expect("a directory");
        let token = Token::make(state.path()).expect("made");
        let found = Token::of_running(state.path()).expect("found").header();
        let at = |address: &str| Gate::new(token.clone(), address.parse().expect("an address"));
        let (gate, shown) = (at("127.0.0.1:4079"), (header::AUTHORIZATION, found.as_str()));
        assert_eq!(status(&gate, std::slice::from_ref(&shown)), None);
        assert_eq!(status(&gate, &[]), Some(StatusCode::UNAUTHORIZED));
        let wrong = (header::AUTHORIZATION, "Bearer 00");
        assert_eq!(status(&gate, &[wrong]), Some(StatusCode::UNAUTHORIZED));
        let page = (header::ORIGIN, "http://127.0.0.1:4079");
        assert_eq!(status(&gate, &[shown.clone(), page]), Some(StatusCode::FORBIDDEN));
        assert_eq!(status(&at("192.0.2.1:4079"), &[shown]), Some(StatusCode::FORBIDDEN));
    }
}
