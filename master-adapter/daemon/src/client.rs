//! The other end of the REST interface: what the command line asks the running adapter.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use capability::statements::Package;
use mesh_shell::{ApiToken, Exit, Failure, OrExit, Outcome};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::Response;
use ureq::{Agent, Body};

use crate::config::DEFAULT_HTTP;
use crate::identity::Identity;
use crate::model::{
    Complaint, ImportView, JobView, LendRequest, NewJobRequest, Submitted, TaskView,
};

/// The adapter is on this machine or near it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An answer that is not bulk data.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an answer in JSON at most: a thousand tasks with a hundred named failures each.
const MAX_ANSWER: u64 = 64 << 20;

/// A client of one adapter.
pub struct Client {
    agent: Agent,
    place: Place,
    token: ApiToken,
}

/// Where an adapter is.
enum Place {
    At(String),
    /// Where the one of this identity said so last: at another start it may be at another port.
    Announced(Identity),
}

impl Client {
    /// A client of the adapter at `http`, or where the one of `identity` was when it started.
    pub fn new(identity: &Identity, http: Option<SocketAddr>) -> Outcome<Self> {
        // Without a project here there is nothing that could be asked in its name.
        identity.project()?;
        let announced = || Place::Announced(identity.clone());
        let place = http.map_or_else(announced, |http| Place::At(http.to_string()));
        Ok(Self::of(place, identity.token()?))
    }

    /// A client of the adapter at `address`, which knows `token`.
    #[cfg(test)]
    pub fn at(address: &str, token: ApiToken) -> Self {
        Self::of(Place::At(address.to_owned()), token)
    }

    fn of(place: Place, token: ApiToken) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            // A proxy for the web is not the way to this machine's own adapter.
            .proxy(None)
            .build();
        Self { agent: agent.into(), place, token }
    }

    /// The answer to `GET path`.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Outcome<T> {
        let request = self.agent.get(self.url(path)).config();
        let request = request.timeout_global(Some(ANSWER_TIMEOUT)).build();
        self.read(request.call())
    }

    /// The bytes that `GET path` answers with.
    pub fn bytes(&self, path: &str) -> Outcome<impl Read + use<>> {
        let request =
            self.agent.get(self.url(path)).header("Authorization", self.token.authorization());
        let response = self.check(request.call())?;
        Ok(response.into_body().into_reader())
    }

    /// Every accepted result of a job.
    pub fn tasks(&self, offer: &str) -> Outcome<Vec<TaskView>> {
        let mut tasks: Vec<TaskView> = Vec::new();
        let mut from = 0;
        loop {
            let page: Vec<TaskView> = self.get(&format!("/jobs/{offer}/tasks?from={from}"))?;
            let Some(last) = page.last() else { return Ok(tasks) };
            from = last.task + 1;
            tasks.extend(page);
        }
    }

    /// One job.
    pub fn job(&self, offer: &str) -> Outcome<JobView> {
        self.get(&format!("/jobs/{offer}"))
    }

    /// Sends a package.
    pub fn upload(&self, package: File) -> Outcome<Package> {
        let request = self.agent.post(self.url("/packages"));
        // An adapter that does not want it says so before a gigabyte is on its way, and is heard.
        let request = request.header("Expect", "100-continue");
        self.read(request.header("Authorization", self.token.authorization()).send(package))
    }

    /// A parcel with tasks of a job, lent to a machine.
    pub fn lend(&self, offer: &str, asked: &LendRequest) -> Outcome<impl Read + use<>> {
        let request = self.agent.post(self.url(&format!("/jobs/{offer}/lend")));
        let request = request.header("Authorization", self.token.authorization());
        Ok(self.check(request.send_json(asked))?.into_body().into_reader())
    }

    /// Hands in a parcel of results.
    pub fn import(&self, parcel: File) -> Outcome<ImportView> {
        let request = self.agent.post(self.url("/import"));
        self.read(request.header("Authorization", self.token.authorization()).send(parcel))
    }

    /// Submits a job.
    pub fn submit(&self, job: &NewJobRequest) -> Outcome<Submitted> {
        self.post("/jobs", job)
    }

    /// The answer to `POST path` with `question`.
    pub fn post<T: DeserializeOwned>(&self, path: &str, question: &impl Serialize) -> Outcome<T> {
        let request =
            self.agent.post(self.url(path)).header("Authorization", self.token.authorization());
        let request = request.config().timeout_global(Some(ANSWER_TIMEOUT)).build();
        self.read(request.send_json(question))
    }

    /// Ends a job.
    pub fn cancel(&self, offer: &str) -> Outcome {
        let request = self.agent.delete(self.url(&format!("/jobs/{offer}")));
        let request = request.header("Authorization", self.token.authorization()).config();
        let request = request.timeout_global(Some(ANSWER_TIMEOUT)).build();
        self.check(request.call()).map(drop)
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/v1{path}", self.base())
    }

    fn base(&self) -> String {
        match &self.place {
            Place::At(address) => format!("http://{address}"),
            Place::Announced(identity) => {
                let address = identity.http().unwrap_or_else(|| DEFAULT_HTTP.to_string());
                format!("http://{address}")
            }
        }
    }

    fn read<T: DeserializeOwned>(
        &self,
        response: Result<Response<Body>, ureq::Error>,
    ) -> Outcome<T> {
        let mut response = self.check(response)?;
        let body = response.body_mut().with_config().limit(MAX_ANSWER);
        body.read_json()
            .with_context(|| format!("{} gave an answer that is not an adapter's", self.base()))
            .or_exit(Exit::Network)
    }

    /// Lets a success through, and turns everything else into the failure that it is.
    fn check(&self, response: Result<Response<Body>, ureq::Error>) -> Outcome<Response<Body>> {
        let mut response = response
            .with_context(|| format!("cannot reach the adapter at {}", self.base()))
            .or_exit(Exit::Network)
            .map_err(|failure| {
                failure.hint("start it with `talkoot-master run`, or name it with --http")
            })?;
        let status = response.status().as_u16();
        if response.status().is_success() {
            return Ok(response);
        }
        let complaint =
            response.body_mut().with_config().limit(MAX_ANSWER).read_json::<Complaint>();
        let said = complaint.map_or_else(
            |_| format!("{} answered with status {status}", self.base()),
            |complaint| complaint.error,
        );
        let exit = match status {
            400..=499 if status != 401 => Exit::Input,
            401 | 507 => Exit::State,
            _ => Exit::Network,
        };
        Err(Failure::say(exit, mesh_shell::escape_line(&said)))
    }
}
