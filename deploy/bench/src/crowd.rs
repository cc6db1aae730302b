//! Many volunteers in one process: each has its key, its connection, and the core of the real one. They
//! store nothing and run nothing.
//!
//! They come from many addresses, as volunteers do: a broker takes only so many from one.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use capability::{
    Capabilities, DecryptionKey, Ed25519, Facts, HpkeSealer, Platform, ProjectUri, Resources,
    Runtime, RuntimeFacts, SecretKey, Signer,
};
use clap::Args;
use mesh_core::{Answer, CallFailed, seal};
use mesh_net::{Config, Event, Multiaddr, Net, Protocol, Role};
use mesh_shell::logs::{self, LogArgs};
use mesh_shell::{Clock, chain, peer_key, public_key};
use tokio::runtime::Runtime as Tokio;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep_until};
use volunteer_core::{Action, Identity, Input, News, Pin, Volunteer};

use crate::wire::Wire;

/// Volunteers at one address: most of what a broker takes from there at once.
const PER_ADDRESS: u32 = 200;
/// Of an address, as many handshakes as a broker takes at once; half of them.
const HANDSHAKES: usize = 16;
/// How often one volunteer tries to connect, and how long it waits between.
const TRIES: u32 = 10;
const BETWEEN_TRIES: Duration = Duration::from_secs(1);
/// The longest that it may take until all are connected.
const LONG: Duration = Duration::from_secs(300);

/// What `bench crowd` takes.
#[derive(Debug, Args)]
pub struct CrowdArgs {
    #[command(flatten)]
    logs: LogArgs,
    /// How many volunteers.
    #[arg(long)]
    volunteers: u32,
    /// Tells this crowd from others: 1 to 250.
    #[arg(long)]
    number: u8,
    /// Their only broker.
    #[arg(long)]
    broker: String,
    /// The project that all of them trust.
    #[arg(long)]
    project: String,
    /// Seconds in which nothing happens, once all are there.
    #[arg(long)]
    idle: u64,
    /// Seconds in which each of them has a new ad once.
    #[arg(long)]
    refresh: u64,
}

/// Brings the volunteers up, leaves them in peace, has them advertise once more, and waits for its end.
pub fn run(args: &CrowdArgs) -> Result<()> {
    let _logging = logs::start(&args.logs).map_err(|failure| anyhow::anyhow!("{failure}"))?;
    Tokio::new()?.block_on(gather(args))
}

async fn gather(args: &CrowdArgs) -> Result<()> {
    let uri: ProjectUri = args.project.parse().context("no project URI")?;
    let (taken, mut news) = mpsc::unbounded_channel();
    let (refresh, refreshes) = watch::channel(None);
    let turns = Arc::new(Semaphore::new(HANDSHAKES));
    let mut wires: Vec<Wire> = Vec::new();
    for n in 0..args.volunteers {
        if n % PER_ADDRESS == 0 {
            let source = Ipv4Addr::new(127, args.number, 0, u8::try_from(wires.len() + 1)?);
            wires.push(Wire::lay(&args.broker, source).await?);
        }
        let address = wires[wires.len() - 1].address.clone();
        let share = Duration::from_secs(args.refresh) * n / args.volunteers;
        let member = Member::new(n, args.number, &uri, taken.clone())?;
        let (turns, refreshes) = (Arc::clone(&turns), refreshes.clone());
        tokio::spawn(async move {
            let outcome = member.live(&address, &turns, refreshes, share).await;
            tracing::error!(n, ?outcome, "a volunteer has ended");
        });
    }
    all_have(args.volunteers, &mut news).await?;
    tracing::info!("settled");
    tokio::time::sleep(Duration::from_secs(args.idle)).await;
    while news.try_recv().is_ok() {}
    tracing::info!("refreshing");
    refresh.send_replace(Some(Instant::now()));
    tokio::time::sleep(Duration::from_secs(args.refresh)).await;
    all_have(args.volunteers, &mut news).await?;
    tracing::info!("refreshed");
    // Whoever has started this ends it.
    std::future::pending().await
}

/// Waits until the broker has taken an ad of each.
async fn all_have(volunteers: u32, taken: &mut mpsc::UnboundedReceiver<u32>) -> Result<()> {
    let mut have = BTreeSet::new();
    while u32::try_from(have.len())? < volunteers {
        let Ok(number) = tokio::time::timeout(LONG, taken.recv()).await else {
            bail!("the ads of {} of {volunteers} were taken", have.len());
        };
        have.extend(number);
    }
    Ok(())
}

/// Dials until somebody answers: a handshake that takes too long on a busy machine is no end of a volunteer.
async fn reach(net: &Net, address: &Multiaddr) -> Result<()> {
    let mut tries = 1;
    while let Err(failure) = net.dial(address.clone()).await {
        if tries == TRIES {
            return Err(failure.into());
        }
        tries += 1;
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
    Ok(())
}

/// One volunteer.
struct Member {
    number: u32,
    core: Volunteer,
    key: Arc<SecretKey>,
    clock: Clock,
    machine: Capabilities,
    nonce: u64,
    taken: mpsc::UnboundedSender<u32>,
    answers: mpsc::UnboundedSender<Input>,
    answered: mpsc::UnboundedReceiver<Input>,
}

impl Member {
    fn new(n: u32, crowd: u8, uri: &ProjectUri, taken: mpsc::UnboundedSender<u32>) -> Result<Self> {
        let mut seed = [crowd; 32];
        seed[..4].copy_from_slice(&n.to_be_bytes());
        let key = Arc::new(SecretKey::from_seed(&seed));
        let signer: Arc<dyn Signer> = Arc::clone(&key) as Arc<dyn Signer>;
        let encryption = DecryptionKey::from_seed(&seed).public();
        let sealer = Arc::new(HpkeSealer::new(seed));
        let (clock, machine) = (Clock::new(), machine()?);
        let mut core = Volunteer::new(Identity { signer, encryption, sealer });
        let pin = Pin {
            name: "bench".to_owned(),
            runtimes: [Runtime::Native].into(),
            ..Pin::of(uri.project)
        };
        core.handle(Input::Pins(vec![pin]), clock.now());
        core.handle(Input::Capabilities(machine.clone()), clock.now());
        let (answers, answered) = mpsc::unbounded_channel();
        let nonce = clock.now().wall.0 << 20;
        Ok(Self { number: n, core, key, clock, machine, nonce, taken, answers, answered })
    }

    /// Connects when it is its turn, and does what volunteers do; of a refresh that begins it does its
    /// part after its `share` of the time.
    async fn live(
        mut self,
        address: &str,
        turns: &Semaphore,
        mut refreshes: watch::Receiver<Option<Instant>>,
        share: Duration,
    ) -> Result<()> {
        let config = Config::new(*self.key.seed(), Role::Client);
        let (net, mut events) = mesh_net::start(config).await?;
        let address: Multiaddr = address.parse()?;
        let turn = turns.acquire().await?;
        reach(&net, &address).await?;
        drop(turn);
        let mut refreshed = false;
        loop {
            self.act(&net);
            let wake = self.core.next_wake();
            let input = tokio::select! {
                event = events.recv() => match event.context("the network has ended")? {
                    Event::Connected { peer, .. } => Input::BrokerUp { peer: public_key(peer) },
                    Event::Disconnected { peer } => {
                        let (net, address) = (net.clone(), address.clone());
                        // Who does not get through is missing among the broker's peers.
                        tokio::spawn(async move { drop(reach(&net, &address).await) });
                        Input::BrokerDown { peer: public_key(peer) }
                    }
                    _ => continue,
                },
                Some(answered) = self.answered.recv() => answered,
                () = self.clock.sleep_until(wake), if wake.is_some() => Input::Wake,
                () = begun(&mut refreshes, share), if !refreshed => {
                    refreshed = true;
                    self.machine.resources.disk += 1 << 30;
                    Input::Capabilities(self.machine.clone())
                }
            };
            if matches!(&input, Input::Answered { answer: Ok(Answer::Done), .. }) {
                // Nobody counts any more at the end.
                let _ = self.taken.send(self.number);
            }
            self.core.handle(input, self.clock.now());
        }
    }

    fn act(&mut self, net: &Net) {
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Commit(commit) => {
                    self.core.handle(Input::Committed(commit.id), self.clock.now());
                }
                Action::Ask { to, call, ask } => {
                    self.nonce += 1;
                    let wall = self.clock.now().wall;
                    let request = seal(&ask, to, self.nonce, wall, self.key.as_ref());
                    let frame = request.envelope().as_bytes().to_vec();
                    let (net, answers) = (net.clone(), self.answers.clone());
                    tokio::spawn(async move {
                        let answer = net.request(Protocol::Call, peer_key(to), frame).await;
                        let answer = answer.map_err(|error| chain(&error)).and_then(|answer| {
                            Answer::decode(&answer, &Ed25519).map_err(|error| chain(&error))
                        });
                        let answer = answer.map_err(CallFailed);
                        // The volunteer may have ended.
                        let _ = answers.send(Input::Answered { call, answer });
                    });
                }
                Action::News(News::PrimaryChanged { .. } | News::AdSent { .. }) => {}
                other => tracing::debug!(?other, "not done"),
            }
        }
    }
}

/// Waits until a refresh has begun, and for a `share` of its time.
async fn begun(refreshes: &mut watch::Receiver<Option<Instant>>, share: Duration) {
    let begun = refreshes.wait_for(Option::is_some).await.ok().and_then(|begun| *begun);
    match begun {
        Some(begun) => sleep_until(begun + share).await,
        None => std::future::pending().await,
    }
}

/// What a machine with the usual tools states.
fn machine() -> Result<Capabilities> {
    let mut facts = Facts::new();
    for (name, fact) in [
        ("os", "linux"),
        ("arch", "x86_64"),
        ("distribution", "debian"),
        ("distribution.version", "12"),
        ("libc", "gnu"),
        ("libc.version", "2.36"),
        ("kernel", "6.1.0"),
        ("cpu.model", "AMD EPYC 7763 64-Core Processor"),
    ] {
        facts.insert(name, fact)?;
    }
    for tool in
        ["bash", "cc", "clang", "cmake", "curl", "g++", "git", "go", "java", "make", "meson"]
    {
        facts.insert(&format!("tool.{tool}"), "12.2.0")?;
    }
    for tool in ["ninja", "node", "npm", "perl", "pkg-config", "python3", "rustc", "tar", "xz"] {
        facts.insert(&format!("tool.{tool}"), "3.11.2")?;
    }
    Ok(Capabilities {
        platform: Platform::new("linux", "x86_64")?,
        resources: Resources { cores: 4, memory: 8 << 30, disk: 20 << 30 },
        runtimes: [(
            Runtime::Native,
            RuntimeFacts { strength: "namespaces+landlock+seccomp".into(), facts },
        )]
        .into(),
    })
}
