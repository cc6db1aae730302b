//! Very many swarms of brokers in one process, which gossip offers to each other and check each.

use std::collections::{BTreeSet, HashMap};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use capability::statements::{Delegation, Offer, Package};
use capability::{
    BlobHash, DecryptionKey, Ed25519, Envelope, JobSpec, Limits, Requirements, Runtime, SecretKey,
    Signer, Step, Verified,
};
use clap::Args;
use mesh_core::{Gossip, Random, Shard, Topic};
use mesh_net::{Config, Event, GossipId, Multiaddr, Net, Role, Verdict};
use mesh_shell::Clock;
use tokio::runtime::Runtime as Tokio;
use tokio::sync::mpsc;
use tokio::time::Instant;
use xtask::tools;

use crate::figures::{machine, spread};

/// Each dials so many others, so that it has about as many links as a broker aims at.
const DIALS: usize = 4;
/// Each forwards a message to all but one of so many: gossipsub's aim.
const MESH: f64 = 6.0;
/// Gossip finds its ways within some beats of a second each.
const WAYS_FORM: Duration = Duration::from_secs(10);
/// Offers that come later than this are counted as lost.
const LATEST: Duration = Duration::from_secs(10);

/// What `bench swarms` takes.
#[derive(Debug, Args)]
pub struct SwarmsArgs {
    /// How many swarms.
    #[arg(long, default_value_t = 100)]
    swarms: usize,
    /// Offers in a second, from all together.
    #[arg(long, default_value_t = 20)]
    rate: u32,
    /// For so many seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

/// When each offer was published, and how long it took to each swarm that has checked it since.
#[derive(Default)]
struct Arrivals {
    published: HashMap<GossipId, Instant>,
    took: Vec<Duration>,
}

/// Measures how long offers take to be checked at all swarms, and the bytes between them.
pub fn run(args: &SwarmsArgs) -> Result<()> {
    Tokio::new()?.block_on(gossip(args))
}

async fn gossip(args: &SwarmsArgs) -> Result<()> {
    let arrivals = Arc::new(Mutex::new(Arrivals::default()));
    let mut random = Random::new(7);
    let mut swarms: Vec<(Net, Multiaddr)> = Vec::new();
    let shard = Shard::wasm();
    let topic = mesh_net::Topic(Topic::Offers(shard).to_string());
    for n in 0..args.swarms {
        let (net, events) = mesh_net::start(config(n)?).await?;
        net.subscribe(topic.clone()).await?;
        let address = listen(net.clone(), events, Arc::clone(&arrivals)).await?;
        for other in dialled(n, &mut random) {
            net.dial(swarms[other].1.clone()).await?;
        }
        swarms.push((net, address));
    }
    tokio::time::sleep(WAYS_FORM).await;
    let quiet = bytes_sent()?;
    tokio::time::sleep(WAYS_FORM).await;
    let beats = (bytes_sent()? - quiet) as f64 / WAYS_FORM.as_secs_f64();

    let master = Master::new();
    let count = args.rate * args.seconds;
    let (cpu, before, begun) = (own_cpu()?, bytes_sent()?, Instant::now());
    let mut bytes = 0;
    for n in 0..count {
        tokio::time::sleep_until(begun + Duration::from_secs(1) / args.rate * n).await;
        let offer = master.offer(n);
        bytes = offer.as_bytes().len();
        let (net, _) = &swarms[chosen(swarms.len(), &mut random)];
        let id = GossipId::of(&topic.0, offer.as_bytes());
        arrivals.lock().expect("nobody panics").published.insert(id, Instant::now());
        net.publish(topic.clone(), offer.as_bytes().to_vec()).await?;
    }
    let wall = begun.elapsed().as_secs_f64();
    let (sent, cpu) = ((bytes_sent()? - before) as f64, own_cpu()? - cpu);
    tokio::time::sleep(LATEST).await;

    let took = std::mem::take(&mut arrivals.lock().expect("nobody panics").took);
    let (others, brokers) = (args.swarms - 1, args.swarms as f64);
    let expected = count as usize * others;
    println!(
        "{} swarms in one process, {} offers/s of {bytes} bytes, on {}",
        args.swarms,
        args.rate,
        machine()
    );
    println!(
        "  lost: {} of {expected}; {:.0} % of a core",
        expected - took.len(),
        cpu / wall * 100.0
    );
    println!("  checked at another swarm: {}", spread(took));
    let each = sent / brokers / wall;
    let predicted = f64::from(args.rate) * (MESH - 1.0) * bytes as f64;
    println!("  sent by each: {each:.0} bytes/s, {:.0} of which without offers", beats / brokers);
    println!("  a mesh of {MESH} predicts {predicted:.0}: {:.2} times that", each / predicted);
    Ok(())
}

/// Those before number `n` that it dials: the last, so that all hang together, and others by chance.
fn dialled(n: usize, random: &mut Random) -> BTreeSet<usize> {
    let mut dialled: BTreeSet<_> = n.checked_sub(1).into_iter().collect();
    while dialled.len() < DIALS.min(n) {
        dialled.insert(chosen(n, random));
    }
    dialled
}

/// A number below `count`.
fn chosen(count: usize, random: &mut Random) -> usize {
    let count = u64::try_from(count).expect("a number of swarms");
    usize::try_from(random.next_u64() % count).expect("it is below the count")
}

fn config(n: usize) -> Result<Config> {
    let mut secret = [0xbe; 32];
    secret[..8].copy_from_slice(&n.to_be_bytes());
    let mut config = Config::new(secret, Role::Broker);
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse()?];
    // As brokers have it that listen on loopback only.
    config.shared_addresses = vec![std::net::Ipv4Addr::LOCALHOST.into()];
    Ok(config)
}

/// Checks what `net` hears, in a task of its own; gives where it listens.
async fn listen(
    net: Net,
    mut events: mpsc::Receiver<Event>,
    arrivals: Arc<Mutex<Arrivals>>,
) -> Result<Multiaddr> {
    let Some(Event::Listening { address }) = events.recv().await else {
        anyhow::bail!("the first news is where it listens");
    };
    tokio::spawn(async move {
        let clock = Clock::new();
        while let Some(event) = events.recv().await {
            let Event::Gossip { id, from, data, .. } = event else { continue };
            let sound = Envelope::parse(&data)
                .is_ok_and(|envelope| Gossip::check(&envelope, clock.now().wall, &Ed25519).is_ok());
            if sound {
                let mut arrivals = arrivals.lock().expect("nobody panics");
                if let Some(published) = arrivals.published.get(&id).copied() {
                    arrivals.took.push(published.elapsed());
                }
            }
            let verdict = if sound { Verdict::Accept } else { Verdict::Reject };
            net.judge(id, from, verdict).await;
        }
    });
    Ok(address)
}

/// Somebody with a delegation, who offers.
struct Master {
    key: SecretKey,
    project: SecretKey,
    delegation: Envelope,
    clock: Clock,
}

impl Master {
    fn new() -> Self {
        let (key, project) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
        let clock = Clock::new();
        let expires = clock.now().wall + Duration::from_secs(24 * 60 * 60);
        let encryption = DecryptionKey::from_seed(&[3; 32]).public();
        let delegation = Delegation { node: key.public(), encryption, expires };
        let delegation = Verified::sign(delegation, &project).envelope().clone();
        Self { key, project, delegation, clock }
    }

    /// As small as offers are.
    fn offer(&self, n: u32) -> Envelope {
        let now = self.clock.now().wall;
        let offer = Offer {
            project: self.project.public().into(),
            name: format!("offer-{n}"),
            builder: String::new(),
            tasks: 1,
            replicas: 1,
            package: Package { hash: BlobHash::of(b"package"), size: 7 },
            requirements: Requirements {
                runtimes: vec![Runtime::Wasm],
                clauses: Vec::new(),
                rank: Vec::new(),
            },
            job: JobSpec {
                environment: Default::default(),
                steps: vec![Step { name: "run".to_owned(), run: vec!["job.wasm".to_owned()] }],
                limits: Limits { memory: 1 << 20, disk: 1 << 20, ..Limits::default() },
                artifacts: Vec::new(),
                tap: None,
                network: Vec::new(),
                image: None,
                checkpoint: None,
            },
            private: None,
            offline_ms: 0,
            priority: 5,
            issued: now,
            delegation: self.delegation.clone(),
            expires: now + Duration::from_secs(60 * 60),
        };
        Verified::sign(offer, &self.key).envelope().clone()
    }
}

/// Bytes that all connections of this process have sent so far, encryption and framing included.
fn bytes_sent() -> Result<u64> {
    let sockets = tools::output(Command::new("ss").args(["-tinpOH", "state", "established"]))?;
    let own = format!("pid={},", std::process::id());
    let sent = sockets.lines().filter(|line| line.contains(&own)).filter_map(|line| {
        let sent = line.split_whitespace().find_map(|word| word.strip_prefix("bytes_sent:"))?;
        sent.parse::<u64>().ok()
    });
    Ok(sent.sum())
}

/// Seconds of CPU time of this process.
fn own_cpu() -> Result<f64> {
    Ok(crate::processes::usage(std::process::id()).context("cannot measure ourselves")?.cpu)
}
