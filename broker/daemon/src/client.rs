//! The other end of the HTTP face: what the commands ask of the running broker.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use mesh_shell::{Exit, Failure, OrExit, Outcome, escape_line};
use serde_json::Value;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use crate::operator::Token;

/// The broker is on this machine or near it.
const TIMEOUT: Duration = Duration::from_secs(10);
/// For what takes the broker a while, such as a back-up.
const LONG_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// Bytes of an answer at most: a thousand brokers with all that their cards can say.
const MAX_ANSWER: u64 = 16 << 20;

/// The broker whose HTTP face is at `http`.
pub struct Client {
    agent: Agent,
    http: SocketAddr,
}

impl Client {
    /// Nothing is asked yet.
    pub fn new(http: SocketAddr) -> Self {
        let agent = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            // What it says about a refusal is worth more than its number.
            .http_status_as_error(false)
            // A proxy for the web is not the way to this machine's own broker.
            .proxy(None)
            .build();
        Self { agent: agent.into(), http }
    }

    /// The JSON at `path`.
    pub fn get(&self, path: &str, query: &[(&str, String)]) -> Outcome<Value> {
        let query = query.iter().map(|(name, value)| (*name, value.as_str()));
        let request = self.agent.get(format!("http://{}{path}", self.http)).query_pairs(query);
        self.answer_of(request.call())
    }

    /// Whether anything answers.
    pub fn answers(&self) -> bool {
        self.reached().is_ok()
    }

    /// Fails if nothing answers.
    pub fn reached(&self) -> Outcome {
        let health = self.agent.get(format!("http://{}/healthz", self.http));
        self.no_answer(health.call()).map(drop)
    }

    fn no_answer<T>(&self, answer: Result<T, ureq::Error>) -> Outcome<T> {
        answer
            .with_context(|| format!("no broker answers at {}", self.http))
            .or_exit(Exit::Network)
            .map_err(|it| it.hint("start it with `talkoot-broker run`, or name --http"))
    }

    /// What `path` answers to a change. The broker takes its time for it.
    pub fn post(&self, path: &str, token: &Token, body: &Value) -> Outcome<Value> {
        let request = self.agent.post(format!("http://{}{path}", self.http));
        let request = request.config().timeout_global(Some(LONG_TIMEOUT)).build();
        let request = request.header("authorization", token.header());
        self.answer_of(request.send_json(body))
    }

    fn answer_of(&self, answer: Result<Response<Body>, ureq::Error>) -> Outcome<Value> {
        let mut answer = self.no_answer(answer)?;
        let text = self.text(answer.body_mut())?;
        if answer.status() != StatusCode::OK {
            return Err(refused(answer.status(), &text));
        }
        serde_json::from_str(&text)
            .with_context(|| format!("what answers at {} is no broker", self.http))
            .or_exit(Exit::Network)
    }

    fn text(&self, body: &mut Body) -> Outcome<String> {
        let text = body.with_config().limit(MAX_ANSWER).read_to_string();
        text.with_context(|| format!("cannot read what {} answers", self.http))
            .or_exit(Exit::Network)
    }
}

/// What the broker says against a question.
fn refused(status: StatusCode, why: &str) -> Failure {
    let exit = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::Policy,
        StatusCode::INSUFFICIENT_STORAGE => Exit::State,
        status if status.is_client_error() => Exit::Input,
        _ => Exit::Network,
    };
    let why = escape_line(why.trim());
    Failure::say(exit, if why.is_empty() { status.to_string() } else { why })
}
