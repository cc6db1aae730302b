//! Builds everything that the broker consists of, runs it, and takes it down.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use axum::middleware;
use broker_core::{Broker, BrokerConfig};
use capability::{Ed25519, Remembering, SecretKey, Signer};
use mesh_net::{AddressLimits, Config as NetConfig, Net, Role, Topic};
use mesh_shell::http::{Readiness, Web};
use mesh_shell::{
    Clock, Exit, Link, NetworkList, OrExit, Outcome, Storage, Termination, http, key_file,
    peer_key, random_seed,
};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::config::{DoorAt, Settings, with_peer};
use crate::descriptors;
use crate::desk::Desk;
use crate::door::{self, Door, KNOCK_QUEUE, Lobby, Mailboxes};
use crate::event_loop::{EventLoop, Shown, Sources};
use crate::guard::Guard;
use crate::metrics::Gauges;
use crate::operator::{Gate, Token, only_operator};
use crate::{backup, lists, orders, page};

/// Runs the broker until it is asked to end.
///
/// The key, the HTTP ports, the state and the network are taken in this order, so that a mistake is
/// named before anything is changed.
pub async fn run(settings: Settings) -> Outcome {
    let termination = Termination::listen()?;
    let key = key_file::load_or_create(&key_file(&settings.state))?;
    let key = Arc::new(key);
    let listener = http::bind(settings.http, "--http").await?;
    let door = match settings.door {
        DoorAt::Off => None,
        DoorAt::Address(address) => Some(http::bind(address, "--door").await?),
    };
    let storage = Storage::open(&settings.state, settings.blob_quota)?;
    let clock = Clock::new();
    let external = settings.external.iter().map(|it| with_peer(it, peer_key(key.public())));
    let external = external.collect::<Outcome<Vec<_>>>()?;
    let broker = restore(&settings, &external, &key, &storage, &clock)?;

    if !settings.shared_addresses.is_empty() {
        let addresses = &settings.shared_addresses;
        tracing::info!(?addresses, "no limit of connections for these addresses");
    }
    let config = NetConfig {
        listen: settings.listen.clone(),
        announce: settings.external.clone(),
        max_connections: descriptors::make_room(settings.connections),
        per_address: AddressLimits {
            connections: settings.connections_per_address,
            ..AddressLimits::default()
        },
        shared_addresses: settings.shared_addresses.clone(),
        ..NetConfig::new(*key.seed(), Role::Broker)
    };
    let (net, events) = mesh_net::start(config).await.or_exit(Exit::Network)?;
    subscribe(&net).await?;
    let link = Link::new(net.clone(), storage.clone(), key, clock);

    let (desk, looks) = Desk::open();
    let readiness = Readiness::default();
    let (gauges, metrics) = Gauges::register();
    let address = listener.local_addr().context("no local address").or_exit(Exit::Network)?;
    let routes = http::common(metrics, readiness.clone());
    let gate = Gate::new(Token::make(&settings.state)?, address);
    let (changes, orders) = orders::routes();
    let changes = changes.merge(backup::routes(storage.clone()));
    let changes = changes.layer(middleware::from_fn_with_state(gate, only_operator));
    let routes = routes.merge(page::routes()).merge(lists::routes(desk)).merge(changes);
    let web = Web::serve(listener, routes);
    tracing::info!(%address, "http");

    let lobby = Lobby {
        guard: Guard::new(link.key(), link.verifier().clone()),
        mailboxes: Mailboxes::default(),
    };
    let (knocks_at, knocks) = mpsc::channel(KNOCK_QUEUE);
    let (door_ends, until) = watch::channel(());
    if let Some(listener) = door {
        let proxies = settings.door_proxies.clone();
        let door = Door::new(link.clone(), clock, lobby.clone(), knocks_at, proxies);
        open_door(door, listener, until)?;
    }
    let (event_loop, finished) = EventLoop::new(
        broker,
        link,
        clock,
        Shown { gauges, readiness },
        lobby,
        external,
        &settings.bootstrap,
    );
    let sources = Sources { events, knocks, looks, orders, termination };
    let network = settings.network.clone();
    let network = network.map(|it| NetworkList::open(it, &settings.state, clock.now().wall));
    let event_loop = event_loop.relaying(settings.relaying).following(network);
    let outcome = event_loop.run(sources, finished).await;
    drop(door_ends);
    web.end().await;
    net.shutdown().await;
    storage.close();
    outcome
}

fn open_door(door: Door, listener: TcpListener, until: watch::Receiver<()>) -> Outcome {
    let address = listener.local_addr().context("no local address").or_exit(Exit::Network)?;
    tokio::spawn(door::serve(door, listener, until));
    tracing::info!(%address, "door");
    Ok(())
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
        admission: settings.admission.clone(),
        quotas: settings.quotas,
        abuse_contact: settings.abuse_contact.clone(),
        weights: settings.weights.clone(),
        seed: random_seed(),
    };
    let records = storage.records()?;
    let verifier = Arc::new(Remembering::new(Ed25519));
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
