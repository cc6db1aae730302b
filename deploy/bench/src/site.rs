//! A project, its brokers and its volunteers, running.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use ureq::Agent;
use xtask::tools;

use crate::processes::Process;

/// Whatever is waited for takes a second at most on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Leases that one volunteer works on at a time: a claim's worth.
const CORES: u32 = 256;

/// A running network of one project.
pub struct Site {
    pub brokers: Vec<Process>,
    pub master: Process,
    pub volunteers: Vec<Process>,
    /// Where the volunteers show what they count.
    pages: Vec<String>,
    api: String,
    token: String,
    agent: Agent,
    package: Value,
}

/// What a network is made of.
pub struct Plan<'a> {
    /// The folder of the programs.
    pub programs: &'a Path,
    /// For logs and states.
    pub directory: &'a Path,
    /// Brokers in a line, each linked to the one before. The master is at the first, the volunteers
    /// at the last.
    pub brokers: usize,
    pub volunteers: usize,
    /// What the programs log (`--log`).
    pub log: &'a str,
}

impl Site {
    /// Starts what `plan` says, and waits until every volunteer has left its ad.
    pub fn start(plan: &Plan<'_>) -> Result<Self> {
        let mut brokers: Vec<(Process, String)> = Vec::new();
        for n in 0..plan.brokers {
            let before = brokers.last().map(|(_, address)| address.clone());
            brokers.push(plan.broker(&format!("broker-{n}"), before.as_deref())?);
        }
        let (first, last) = (&brokers[0].1, &brokers[brokers.len() - 1].1);
        tools::output(plan.program("talkoot-master", "master").args(["init", "--name", "bench"]))?;
        let mut master = plan.run("talkoot-master", "master", &["--broker", first])?;
        let http = master.wait(0, PATIENCE, |event| event.name == "http")?.field("address");
        let mut uri = plan.program("talkoot-master", "master");
        let uri = tools::output(uri.arg("uri"))?;
        let names = (0..plan.volunteers).map(|n| format!("volunteer-{n}"));
        let started = names.map(|name| plan.volunteer(&name, uri.trim(), last));
        let mut volunteers = started.collect::<Result<Vec<_>>>()?;
        let mut pages = Vec::new();
        for volunteer in &mut volunteers {
            let http = volunteer.wait(0, PATIENCE, |event| event.name == "http")?.field("address");
            pages.push(format!("http://{http}/metrics"));
            volunteer.wait(0, PATIENCE, |event| event.name == "ad sent")?;
        }
        let token = std::fs::read_to_string(plan.directory.join("master/api-token"))?;
        let mut site = Self {
            brokers: brokers.into_iter().map(|(broker, _)| broker).collect(),
            master,
            volunteers,
            pages,
            api: format!("http://{http}"),
            token: token.trim().to_owned(),
            agent: Agent::config_builder().proxy(None).http_status_as_error(false).build().into(),
            package: Value::Null,
        };
        site.package = site.upload(plan)?;
        Ok(site)
    }

    /// Every process.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.brokers.iter().chain([&self.master]).chain(&self.volunteers)
    }

    /// Submits a job of `tasks` tasks; gives the offer's id.
    pub fn submit(&self, name: &str, tasks: u32) -> Result<String> {
        let job_file = format!(
            "name = \"{name}\"\ntasks = {tasks}\n\
             [requirements]\nruntimes = [\"native\"]\n\
             [[step]]\nname = \"nothing\"\nrun = [\"true\"]\n\
             [limits]\nwall = \"1m\"\nmemory = \"1 MiB\"\ndisk = \"1 MiB\"\n"
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

    /// Waits until the volunteers together hold `count` durable receipts that accept.
    pub fn await_receipts(&self, count: u64, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let receipts = self.receipts()?;
            if receipts >= count {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{receipts} of {count} receipts after {patience:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Durable receipts that accept, at all volunteers.
    pub fn receipts(&self) -> Result<u64> {
        let mut receipts = 0;
        for page in &self.pages {
            let page = self.agent.get(page).call()?;
            let page = page.into_body().read_to_string()?;
            let counter = "talkoot_volunteer_receipts_total{verdict=\"accepted\"} ";
            let line = page.lines().find_map(|line| line.strip_prefix(counter));
            receipts += line.map_or(Ok(0), str::parse::<u64>)?;
        }
        Ok(receipts)
    }

    fn upload(&self, plan: &Plan<'_>) -> Result<Value> {
        let package = plan.directory.join("package.tar");
        let folder = plan.directory.join("package");
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

impl Plan<'_> {
    fn broker(&self, name: &str, known: Option<&str>) -> Result<(Process, String)> {
        let mut args = vec!["--listen", "/ip4/127.0.0.1/tcp/0"];
        known.into_iter().for_each(|known| args.extend(["--bootstrap", known]));
        let mut broker = self.run("talkoot-broker", name, &args)?;
        let listening = broker.wait(0, PATIENCE, |event| event.name == "listening")?;
        Ok((broker, listening.field("address")))
    }

    fn volunteer(&self, name: &str, uri: &str, broker: &str) -> Result<Process> {
        let mut pin = self.program("talkoot-volunteer", name);
        tools::output(pin.args(["project", "add", uri, "--allow", "native"]))?;
        let cores = CORES.to_string();
        let donated = ["--cores", &cores, "--memory", "1 GiB", "--disk", "1 GiB"];
        let mut args = vec!["--broker", broker, "--name", name];
        args.extend(donated);
        self.run("bench-volunteer", name, &args)
    }

    fn run(&self, program: &str, name: &str, args: &[&str]) -> Result<Process> {
        let mut command = self.program(program, name);
        command.args(["run", "--http", "127.0.0.1:0", "--log", self.log]).args(args);
        Process::start(name, command, self.directory)
    }

    /// `program` with the state of process `name`, and with the default configuration whatever this
    /// machine is configured to.
    fn program(&self, program: &str, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.arg("--state").arg(self.directory.join(name));
        command.arg("--config").arg("/dev/null");
        command
    }
}
