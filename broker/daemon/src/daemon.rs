//! Builds everything that the broker consists of, runs it, and takes it down.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use broker_core::{Broker, BrokerConfig};
use capability::{Ed25519, RememberingRoots, SecretKey, Signer};
use mesh_net::{Config as NetConfig, Net, Role, Topic};
use mesh_shell::http::Web;
use mesh_shell::{
    Clock, Exit, Link, OrExit, Outcome, Storage, Termination, http, key_file, peer_key,
};
use tokio::sync::mpsc;

use crate::config::{Settings, with_peer};
use crate::event_loop::{EventLoop, Sources};
use crate::metrics::Gauges;
use crate::page;

/// Readers of the status that wait for the event loop.
const STATUS_QUEUE: usize = 16;

/// Runs the broker until it is asked to end.
///
/// The key, the HTTP port, the state and the network are taken in this order, so that a mistake is
/// named before anything is changed.
pub async fn run(settings: Settings) -> Outcome {
    let termination = Termination::listen()?;
    let key = key_file::load_or_create(&key_file(&settings.state))?;
    let key = Arc::new(key);
    let listener = http::bind(settings.http).await?;
    let storage = Storage::open(&settings.state, settings.blob_quota)?;
    let clock = Clock::new();
    let external = settings.external.iter().map(|it| with_peer(it, peer_key(key.public())));
    let external = external.collect::<Outcome<Vec<_>>>()?;
    let broker = restore(&settings, &external, &key, &storage, &clock)?;

    let config = NetConfig {
        listen: settings.listen.clone(),
        announce: settings.external.clone(),
        ..NetConfig::new(*key.seed(), Role::Broker)
    };
    let (net, events) = mesh_net::start(config).await.or_exit(Exit::Network)?;
    subscribe(&net).await?;
    let link = Link::new(net.clone(), storage.clone(), key, clock);

    let (ask, statuses) = mpsc::channel(STATUS_QUEUE);
    let (gauges, metrics) = Gauges::register();
    let address = listener.local_addr().context("no local address").or_exit(Exit::Network)?;
    let web = Web::serve(listener, http::common(metrics).merge(page::routes(ask)));
    tracing::info!(%address, "http");

    let (event_loop, finished) =
        EventLoop::new(broker, link, clock, gauges, external, &settings.bootstrap);
    let outcome = event_loop.run(Sources { events, statuses, termination }, finished).await;
    web.end().await;
    net.shutdown().await;
    storage.close();
    outcome
}

/// Where the node key is.
pub fn key_file(state: &Path) -> PathBuf {
    state.join("node.key")
}

fn restore(
    settings: &Settings,
    external: &[mesh_net::Multiaddr],
    key: &Arc<SecretKey>,
    storage: &Storage,
    clock: &Clock,
) -> Outcome<Broker> {
    let text = |addresses: &[mesh_net::Multiaddr]| {
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let config = BrokerConfig {
        addresses: text(external),
        bootstrap: text(&settings.bootstrap),
        target_links: settings.target_links,
        custody: settings.custody,
        weights: settings.weights.clone(),
    };
    let records = storage.records()?;
    let verifier = Arc::new(RememberingRoots::new(Ed25519));
    Broker::restore(records, config, key.clone(), verifier, clock.now())
        .context("cannot read the records in the state directory")
        .or_exit(Exit::State)
        .map_err(|failure| failure.hint(format!("state: {}", settings.state.display())))
}

async fn subscribe(net: &Net) -> Outcome {
    for topic in mesh_core::Topic::all() {
        net.subscribe(Topic(topic.to_string())).await.or_exit(Exit::Network)?;
    }
    Ok(())
}
