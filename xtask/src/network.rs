//! Brokers, volunteers and masters as separate processes, below one directory: on loopback, or where
//! they are put.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::events::Events;
use crate::tools;

/// A process that has not said in that time what it should has failed: it takes milliseconds on an
/// idle machine, and CI's machines are not idle.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Where a process runs.
#[derive(Debug, Clone)]
pub struct Place {
    /// The words before those of a program that is to run there. The process that they start has to
    /// become the program's: it is what gets killed.
    pub enter: Vec<String>,
    /// Where brokers listen.
    pub address: IpAddr,
}

/// This machine.
static HERE: Place = Place { enter: Vec::new(), address: IpAddr::V4(Ipv4Addr::LOCALHOST) };

/// A running network. Dropping it ends every process.
pub struct Network {
    directory: PathBuf,
    programs: PathBuf,
    events: Arc<Events>,
    places: BTreeMap<String, Place>,
    processes: BTreeMap<String, Process>,
}

struct Process {
    program: &'static str,
    args: Vec<String>,
    child: Option<Child>,
    /// Where it can be dialled, for brokers.
    address: String,
    /// Its HTTP address.
    http: String,
}

impl Network {
    /// An empty network whose files are below `directory`, of the programs in `programs`.
    pub fn new(directory: &Path, programs: &Path, events: Arc<Events>) -> Self {
        Self {
            directory: directory.to_path_buf(),
            programs: programs.to_path_buf(),
            events,
            places: BTreeMap::new(),
            processes: BTreeMap::new(),
        }
    }

    /// Process `name` runs at `place` whenever it is started from now on.
    pub fn put(&mut self, name: &str, place: Place) {
        self.places.insert(name.to_owned(), place);
    }

    /// What the processes log.
    pub fn events(&self) -> &Arc<Events> {
        &self.events
    }

    /// Writes the configuration of process `name`, which is not there yet.
    pub fn configure(&self, name: &str, toml: &str) -> Result<()> {
        let path = self.config(name);
        std::fs::write(&path, toml).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Starts a broker that knows the brokers named; gives the address at which it can be dialled.
    pub fn broker(&mut self, name: &str, bootstrap: &[&str], more: &[&str]) -> Result<String> {
        let listen = match self.place(name).address {
            IpAddr::V4(address) => format!("/ip4/{address}/tcp/0"),
            IpAddr::V6(address) => format!("/ip6/{address}/tcp/0"),
        };
        let mut args = strings(&["run", "--listen", &listen]);
        args.extend(strings(&[
            "--door",
            &SocketAddr::new(self.place(name).address, 0).to_string(),
        ]));
        for known in bootstrap {
            args.extend(["--bootstrap".to_owned(), self.address(known)]);
        }
        args.extend(strings(more));
        self.spawn(name, "talkoot-broker", &args)?;
        let listening = self
            .events
            .wait(0, &format!("{name} to listen"), PATIENCE, |event| event.is(name, "listening"))?;
        let address = listening.field("address");
        let process = self.process(name)?;
        process.address.clone_from(&address);
        // A broker that is started again is found where it was.
        let own = address.split("/p2p/").next().unwrap_or_default().to_owned();
        if let Some(listen) = process.args.iter_mut().find(|arg| arg.ends_with("/tcp/0")) {
            *listen = own;
        }
        Ok(address)
    }

    /// Makes a project and starts its adapter at `brokers`, the first of which is its home.
    pub fn master(&mut self, name: &str, project: &str, brokers: &[&str]) -> Result<()> {
        let mut init = self.program_of(name, "talkoot-master");
        tools::output(init.args(["init", "--name", project]))?;
        self.adapter(name, brokers)
    }

    /// Starts the adapter of the project that is in the state of `name` already.
    pub fn adapter(&mut self, name: &str, brokers: &[&str]) -> Result<()> {
        let mut args = strings(&["run"]);
        for broker in brokers {
            args.extend(["--broker".to_owned(), self.address(broker)]);
        }
        self.spawn(name, "talkoot-master", &args)
    }

    /// The project URI of master `name`.
    pub fn uri(&self, name: &str) -> Result<String> {
        let mut uri = self.program_of(name, "talkoot-master");
        Ok(tools::output(uri.arg("uri"))?.trim().to_owned())
    }

    /// Starts a volunteer that donates `cores` cores to the projects with `uris`.
    pub fn volunteer(
        &mut self,
        name: &str,
        brokers: &[&str],
        uris: &[&str],
        cores: u32,
    ) -> Result<()> {
        for uri in uris {
            self.pin(name, uri)?;
        }
        let mut args = strings(&["run", "--name", name, "--cores", &cores.to_string()]);
        for broker in brokers {
            args.extend(["--broker".to_owned(), self.address(broker)]);
        }
        self.spawn(name, "talkoot-volunteer", &args)
    }

    /// Makes volunteer `name` trust the project with `uri`.
    pub fn pin(&self, name: &str, uri: &str) -> Result<()> {
        let mut pin = self.program_of(name, "talkoot-volunteer");
        tools::output(pin.args(["project", "add", uri, "--allow", "native,wasm"])).map(drop)
    }

    /// `talkoot-master submit` for master `name`, ready to be run.
    pub fn submit(&self, name: &str, job: &Path) -> Command {
        let mut submit = self.program_of(name, "talkoot-master");
        submit.arg("submit").arg(job).arg("--wait");
        submit
    }

    /// `program` with the state and the configuration of process `name`. Nobody's own configuration on this machine
    /// is read, or written.
    pub fn program_of(&self, name: &str, program: &str) -> Command {
        let mut command = self.command_at(name, &self.programs.join(program));
        command.arg("--state").arg(self.state(name));
        let config = self.config(name);
        // What is there stays as it is; without a place for it, the program says so.
        let _ = OpenOptions::new().create(true).append(true).open(&config);
        command.arg("--config").arg(config);
        command
    }

    /// Any program, where process `name` is.
    pub fn command_at(&self, name: &str, program: &Path) -> Command {
        let Some((first, rest)) = self.place(name).enter.split_first() else {
            return Command::new(program);
        };
        let mut command = Command::new(first);
        command.args(rest).arg(program);
        command
    }

    /// A program of the network, without arguments.
    pub fn program(&self, program: &str) -> Command {
        Command::new(self.programs.join(program))
    }

    /// The state directory of a process.
    pub fn state(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn place(&self, name: &str) -> &Place {
        self.places.get(name).unwrap_or(&HERE)
    }

    fn config(&self, name: &str) -> PathBuf {
        self.directory.join(name).with_extension("toml")
    }

    /// Where a broker can be dialled.
    pub fn address(&self, name: &str) -> String {
        self.processes.get(name).map(|process| process.address.clone()).unwrap_or_default()
    }

    /// Where a process answers HTTP.
    pub fn http(&self, name: &str) -> String {
        self.processes.get(name).map(|process| process.http.clone()).unwrap_or_default()
    }

    /// The names of all processes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.processes.keys().map(String::as_str)
    }

    /// Kills a process as the kernel would when memory runs out.
    pub fn kill(&mut self, name: &str) -> Result<()> {
        let process = self.process(name)?;
        if let Some(mut child) = process.child.take() {
            child.kill().with_context(|| format!("cannot kill {name}"))?;
            child.wait().with_context(|| format!("cannot reap {name}"))?;
        }
        Ok(())
    }

    /// Has a process do nothing any more, as if its host had gone: its connections stand, in silence.
    pub fn freeze(&mut self, name: &str) -> Result<()> {
        self.signal(name, "-STOP")
    }

    /// Has it go on.
    pub fn thaw(&mut self, name: &str) -> Result<()> {
        self.signal(name, "-CONT")
    }

    fn signal(&mut self, name: &str, signal: &str) -> Result<()> {
        let child = self.process(name)?.child.as_ref();
        let id = child.with_context(|| format!("{name} does not run"))?.id().to_string();
        tools::output(Command::new("kill").args([signal, &id])).map(drop)
    }

    /// Asks a process to end, and waits until it has.
    pub fn stop(&mut self, name: &str) -> Result<()> {
        let process = self.process(name)?;
        let program = process.program;
        let Some(child) = process.child.take() else { return Ok(()) };
        terminate(&child)?;
        match await_end(child, program)? {
            None => Ok(()),
            Some(unwilling) => bail!("did not end: {unwilling}"),
        }
    }

    /// Waits until a process has ended by itself; gives its exit code.
    pub fn ended(&mut self, name: &str) -> Result<Option<i32>> {
        let Some(mut child) = self.process(name)?.child.take() else { return Ok(None) };
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status.code());
            }
            if Instant::now() > deadline {
                self.process(name)?.child = Some(child);
                bail!("{name} does not end");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills a process and destroys its disk.
    pub fn destroy(&mut self, name: &str) -> Result<()> {
        self.kill(name)?;
        let state = self.state(name);
        std::fs::remove_dir_all(&state)
            .with_context(|| format!("cannot destroy {}", state.display()))
    }

    /// Starts a process again as it was started before.
    pub fn start_again(&mut self, name: &str) -> Result<()> {
        let process = self.process(name)?;
        let (program, args) = (process.program, process.args.clone());
        self.start(name, program, &args)
    }

    /// Asks every process to end, volunteers first, and waits until all have; kills the unwilling.
    pub fn end(&mut self) -> Result<()> {
        let mut unwilling = Vec::new();
        for program in ["talkoot-volunteer", "talkoot-master", "talkoot-broker"] {
            let of_program = self.processes.values_mut().filter(|it| it.program == program);
            let children: Vec<_> = of_program.filter_map(|it| it.child.take()).collect();
            for child in &children {
                terminate(child)?;
            }
            for child in children {
                unwilling.extend(await_end(child, program)?);
            }
        }
        if unwilling.is_empty() { Ok(()) } else { bail!("did not end: {}", unwilling.join(", ")) }
    }

    fn spawn(&mut self, name: &str, program: &'static str, args: &[String]) -> Result<()> {
        let (address, http) = (String::new(), String::new());
        let process = Process { program, args: args.to_vec(), child: None, address, http };
        self.processes.insert(name.to_owned(), process);
        self.start(name, program, args)
    }

    fn start(&mut self, name: &str, program: &'static str, args: &[String]) -> Result<()> {
        let mark = self.events.mark();
        let mut command = self.program_of(name, program);
        command.args(args).args(["--http", "127.0.0.1:0", "--log-format", "json"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
        self.events.follow(name, child.stderr.take().expect("stderr was piped"));
        self.process(name)?.child = Some(child);
        let http = self
            .events
            .wait(mark, &format!("{name} to start"), PATIENCE, |event| event.is(name, "http"))?;
        self.process(name)?.http = http.field("address");
        Ok(())
    }

    fn process(&mut self, name: &str) -> Result<&mut Process> {
        self.processes.get_mut(name).with_context(|| format!("there is no process {name}"))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for child in self.processes.values_mut().filter_map(|process| process.child.as_mut()) {
            // It may have ended by itself; nothing is left to do then.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn terminate(child: &Child) -> Result<()> {
    let id = child.id().to_string();
    tools::output(Command::new("kill").args(["-TERM", &id])).map(drop)
}

/// Waits for a child that was asked to end; gives its name if it had to be killed.
fn await_end(mut child: Child, program: &str) -> Result<Option<String>> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if child.try_wait()?.is_some() {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill()?;
    child.wait()?;
    Ok(Some(format!("{program} (process {})", child.id())))
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
