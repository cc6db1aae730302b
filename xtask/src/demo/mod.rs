//! `cargo xtask demo`: a whole network on this machine, doing real work before one's eyes.

mod cast;
mod screen;
mod summary;

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use xtask::events::{Event, Events};
use xtask::network::{Network, PATIENCE};
use xtask::tools;

use cast::Cast;
use screen::Screen;

/// What `cargo xtask demo` takes.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Leaves the network running and prints its addresses; ends it on Enter or Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Runs the programs in this folder instead of building them.
    #[arg(long)]
    programs: Option<PathBuf>,
}

/// Tasks of the sweep (`examples/sweep/job.toml`).
const SWEEP_TASKS: u64 = 40;

const BROKERS: [&str; 3] = ["broker-a", "broker-b", "broker-c"];
const VOLUNTEERS: [&str; 3] = ["volunteer-1", "volunteer-2", "volunteer-3"];

/// Builds the programs and runs the demo.
pub fn run(args: &DemoArgs) -> Result<()> {
    let programs = match &args.programs {
        Some(folder) => folder.clone(),
        None => tools::build_programs()?,
    };
    let started = Instant::now();
    let directory = tempfile::Builder::new().prefix("talkoot-demo-").tempdir()?;
    let (screen, cast) = (Arc::new(Screen::new(SWEEP_TASKS)), Arc::new(Cast::default()));
    let events = Events::new({
        let (screen, cast) = (Arc::clone(&screen), Arc::clone(&cast));
        move |event| screen.show(event, &cast)
    });
    let mut demo = Demo {
        network: Network::new(directory.path(), &programs, events),
        directory: directory.path().to_path_buf(),
        screen,
        cast,
    };
    demo.start_network()?;
    demo.run_jobs()?;
    demo.sum_up(started)?;
    if args.keep {
        demo.keep()?;
    }
    demo.network.end()?;
    println!("\nEverything was ended, and {} is removed.", directory.path().display());
    Ok(())
}

struct Demo {
    network: Network,
    directory: PathBuf,
    screen: Arc<Screen>,
    cast: Arc<Cast>,
}

/// A running `talkoot-master submit --wait`.
struct Submission {
    child: Child,
    /// What it prints.
    log: PathBuf,
}

impl Demo {
    /// Three brokers that find each other; two masters at the first; three volunteers at the others.
    fn start_network(&mut self) -> Result<()> {
        self.screen.title("Three brokers, of which two know the first only");
        self.network.broker(BROKERS[0], &[], &[])?;
        self.introduce(BROKERS[0])?;
        for broker in &BROKERS[1..] {
            self.network.broker(broker, &[BROKERS[0]], &[])?;
            self.introduce(broker)?;
        }

        self.screen.title("Two masters, whose home is broker-a, and a stranger");
        for (master, project) in
            [("master-1", "Hello Make"), ("master-2", "Collatz Sweep"), ("stranger", "Free Coins")]
        {
            self.network.master(master, project, &["broker-a", "broker-b"])?;
            self.introduce(master)?;
        }

        self.screen.title("Three volunteers, none of them at broker-a; they pin the two masters");
        let uris = [self.network.uri("master-1")?, self.network.uri("master-2")?];
        let uris = [uris[0].as_str(), uris[1].as_str()];
        for (volunteer, brokers) in VOLUNTEERS.into_iter().zip([
            ["broker-b", "broker-c"],
            ["broker-c", "broker-b"],
            ["broker-b", "broker-c"],
        ]) {
            self.network.volunteer(volunteer, &brokers, &uris, 1)?;
            self.introduce(volunteer)?;
        }
        for volunteer in VOLUNTEERS {
            let what = format!("{volunteer} to advertise");
            let ready = |event: &Event| {
                let refused =
                    event.name == "runtime not offered" && event.field("runtime") == "wasm";
                event.who == volunteer && (event.name == "ad sent" || refused)
            };
            let event = self.network.events().wait(0, &what, PATIENCE, ready)?;
            if event.name != "ad sent" {
                bail!("no job can run here: {}", event.field("reason"));
            }
        }
        Ok(())
    }

    /// Learns which key belongs to `name`, so that lines can speak of names.
    fn introduce(&self, name: &str) -> Result<()> {
        self.cast.introduce(name, &self.network.state(name))
    }

    fn run_jobs(&self) -> Result<()> {
        self.screen.title("(c) A stranger offers work; nobody has pinned that project");
        let stranger = self.submit("stranger", &self.assemble("untrusted", "greeting")?)?;
        let declined = |event: &Event| event.name == "offer declined";
        self.network.events().wait(0, "the stranger's offer to be declined", PATIENCE, declined)?;

        self.screen.title("(b) Collatz Sweep: 40 tasks in WebAssembly, spread over the volunteers");
        let sweep = self.submit("master-2", &self.assemble("sweep", "sweep")?)?;
        let native = self.native_jobs()?;
        self.await_job("the sweep", sweep, true)?;
        for (what, child, passes) in native {
            self.await_job(what, child, passes)?;
        }
        self.await_receipts()?;
        self.screen.finish();
        self.withdraw(stranger)
    }

    /// What is accepted is receipted, and the receipt is back at its volunteer.
    fn await_receipts(&self) -> Result<()> {
        let events = self.network.events();
        let accepted = events.all().into_iter().filter(|event| event.name == "accepted");
        for result in accepted.map(|event| event.field("statement")) {
            let receipt =
                |event: &Event| event.name == "receipt" && event.field("statement") == result;
            events.wait(0, &format!("the receipt for {result}"), PATIENCE, receipt)?;
        }
        Ok(())
    }

    /// (a), if this machine can do it.
    fn native_jobs(&self) -> Result<Vec<(&'static str, Submission, bool)>> {
        if let Some(reason) = self.why_not_native() {
            self.screen.title(&format!("(a) is left out here: {reason}"));
            return Ok(Vec::new());
        }
        self.screen
            .title("(a) Hello Make: a C project built and tested natively, and a broken one");
        let folder = tools::root().join("examples/hello-make");
        Ok(vec![
            ("hello-make", self.submit("master-1", &folder.join("job.toml"))?, true),
            (
                "the broken variant",
                self.submit("master-1", &folder.join("job-broken.toml"))?,
                false,
            ),
        ])
    }

    /// Why this machine cannot build C natively, if it cannot.
    fn why_not_native(&self) -> Option<String> {
        let events = self.network.events().all();
        let refused = events.iter().find(|event| {
            event.name == "runtime not offered" && event.field("runtime") == "native"
        });
        if let Some(refused) = refused {
            return Some(refused.field("reason"));
        }
        let missing: Vec<_> = ["cc", "make"].into_iter().filter(|it| !tools::exists(it)).collect();
        (!missing.is_empty()).then(|| format!("not installed here: {}", missing.join(", ")))
    }

    /// The job `examples/<name>/job.toml` beside its module, assembled, in a folder of its own.
    fn assemble(&self, name: &str, module: &str) -> Result<PathBuf> {
        let (source, folder) =
            (tools::root().join("examples").join(name), self.directory.join(name));
        std::fs::create_dir(&folder)?;
        let text = source.join(module).with_extension("wat");
        let assembled = wat::parse_file(&text)
            .with_context(|| format!("cannot assemble {}", text.display()))?;
        std::fs::write(folder.join(module).with_extension("wasm"), assembled)?;
        std::fs::copy(source.join("job.toml"), folder.join("job.toml"))?;
        Ok(folder.join("job.toml"))
    }

    /// `talkoot-master submit --wait`, which goes on in the background.
    fn submit(&self, master: &str, job: &Path) -> Result<Submission> {
        let name = format!("submit-{master}-{}.log", self.network.events().mark());
        let log = self.directory.join(name);
        let file = std::fs::File::create(&log)?;
        let mut submit = self.network.submit(master, job);
        submit.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = submit.spawn().context("cannot run talkoot-master submit")?;
        Ok(Submission { child, log })
    }

    fn await_job(&self, what: &str, submission: Submission, passes: bool) -> Result<()> {
        let Submission { child: mut submit, log } = submission;
        let deadline = Instant::now() + 2 * PATIENCE;
        let status = loop {
            if let Some(status) = submit.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                submit.kill()?;
                bail!("{what} did not end in time");
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let expected = if passes { 0 } else { 1 };
        if status.code() != Some(expected) {
            let told = std::fs::read_to_string(log)?;
            bail!("`talkoot-master submit` of {what} ended with {status}, not {expected}:\n{told}");
        }
        let told = if passes { "every task passed" } else { "the job failed, as it should" };
        self.screen.line(&format!("submit --wait of {what} exits {expected}: {told}"));
        Ok(())
    }

    /// Nobody will ever take the stranger's offer: its submitter stops waiting.
    fn withdraw(&self, submission: Submission) -> Result<()> {
        let mut submit = submission.child;
        if let Some(status) = submit.try_wait()? {
            bail!("the stranger's job ended with {status} although nobody trusts it");
        }
        submit.kill()?;
        submit.wait()?;
        Ok(())
    }

    fn sum_up(&self, started: Instant) -> Result<()> {
        let events = self.network.events().all();
        let summary = summary::Summary::of(&events, &self.cast);
        summary.check(self.why_not_native().is_none(), SWEEP_TASKS)?;
        println!("\n{summary}");
        for master in ["master-1", "master-2"] {
            let mut matrix = self.network.program("talkoot-master");
            matrix.args(["matrix", "--state"]).arg(self.network.state(master));
            println!("The matrix of {master}:\n{}", tools::output(&mut matrix)?);
        }
        println!("The network ran for {:.1} s.", started.elapsed().as_secs_f64());
        println!(
            "\nGo on by hand: `cargo xtask demo --keep` leaves it running; README.md has the tour."
        );
        Ok(())
    }

    fn keep(&self) -> Result<()> {
        println!("\nThe network runs on. Its files are in {}.", self.directory.display());
        for name in self.network.names() {
            let address = self.network.address(name);
            println!("  {name:12} http://{}  {address}", self.network.http(name));
        }
        let state = self.network.state("master-1");
        let programs = tools::programs()?;
        let (programs, state) = (programs.display(), state.display());
        println!(
            "\nTry: {programs}/talkoot-master submit examples/hello-make/job.toml --wait --state {state}"
        );
        println!(
            "     {programs}/talkoot-volunteer why --state {}",
            self.network.state(VOLUNTEERS[0]).display()
        );
        println!("\nPress Enter to end it.");
        std::io::stdin().read_line(&mut String::new())?;
        Ok(())
    }
}
