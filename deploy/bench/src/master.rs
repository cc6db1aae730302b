//! A master that offers jobs which do nothing.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use ureq::Agent;
use xtask::tools;

use crate::processes::Process;
use crate::programs::Programs;
use crate::site::PATIENCE;

/// A running master, with a package that its jobs are of.
pub struct Master {
    pub process: Process,
    /// What volunteers pin.
    pub uri: String,
    api: String,
    token: String,
    agent: Agent,
    package: Value,
}

impl Master {
    /// Starts one whose home is the broker at `address`.
    pub fn start(programs: &Programs, name: &str, address: &str) -> Result<Self> {
        tools::output(programs.command("talkoot-master", name).args(["init", "--name", name]))?;
        let mut process = programs.start("talkoot-master", name, &["--broker", address])?;
        let http = process.wait(0, PATIENCE, |event| event.name == "http")?.field("address");
        let uri = tools::output(programs.command("talkoot-master", name).arg("uri"))?;
        let token = std::fs::read_to_string(programs.directory().join(name).join("api-token"))?;
        let mut master = Self {
            process,
            uri: uri.trim().to_owned(),
            api: format!("http://{http}"),
            token: token.trim().to_owned(),
            agent: Agent::config_builder().proxy(None).http_status_as_error(false).build().into(),
            package: Value::Null,
        };
        master.package = master.upload(programs, name)?;
        Ok(master)
    }

    /// Submits a job of `tasks` tasks for volunteers that run none; gives the offer's id.
    pub fn submit(&self, name: &str, tasks: u32) -> Result<String> {
        self.submit_with(name, tasks, "1 MiB")
    }

    /// Submits a job of `tasks` tasks that really run; gives the offer's id.
    pub fn submit_native(&self, name: &str, tasks: u32) -> Result<String> {
        self.submit_with(name, tasks, "64 MiB")
    }

    fn submit_with(&self, name: &str, tasks: u32, memory: &str) -> Result<String> {
        let job_file = format!(
            "name = \"{name}\"\ntasks = {tasks}\n\
             [requirements]\nruntimes = [\"native\"]\n\
             [[step]]\nname = \"nothing\"\nrun = [\"true\"]\n\
             [limits]\nwall = \"1m\"\nmemory = \"{memory}\"\ndisk = \"1 MiB\"\n"
        );
        let request = json!({ "job_file": job_file, "package": self.package });
        let mut answer = self
            .agent
            .post(format!("{}/api/v1/jobs", self.api))
            .header("Authorization", format!("Bearer {}", self.token))
            .send_json(request)
            .context("cannot submit a job")?;
        let answer: Value = answer.body_mut().read_json()?;
        let offer = answer.get("offer").and_then(Value::as_str);
        Ok(offer.with_context(|| format!("the job was not taken: {answer}"))?.to_owned())
    }

    /// Submits `count` jobs of one task, `clients` at a time; gives the offers' ids.
    pub fn submit_many(&self, prefix: &str, count: u32, clients: u32) -> Result<Vec<String>> {
        std::thread::scope(|scope| {
            let submit = |client| {
                let numbers = (client..count).step_by(clients as usize);
                move || numbers.map(|n| self.submit(&format!("{prefix}-{n}"), 1)).collect()
            };
            let submitters: Vec<_> = (0..clients).map(|it| scope.spawn(submit(it))).collect();
            let ended = submitters.into_iter().map(|it| it.join().expect("no submitter panics"));
            let offers: Result<Vec<Vec<String>>> = ended.collect();
            Ok(offers?.concat())
        })
    }

    fn upload(&self, programs: &Programs, name: &str) -> Result<Value> {
        let folder = programs.directory().join(format!("{name}-package"));
        let package = folder.with_extension("tar");
        std::fs::create_dir(&folder)?;
        std::fs::write(folder.join("README"), "nothing\n")?;
        let mut tar = Command::new("tar");
        tools::output(tar.arg("-cf").arg(&package).arg("-C").arg(&folder).arg("README"))?;
        let sent = self
            .agent
            .post(format!("{}/api/v1/packages", self.api))
            .header("Authorization", format!("Bearer {}", self.token))
            .send(std::fs::File::open(package)?);
        Ok(sent.context("cannot send the package")?.body_mut().read_json()?)
    }
}
