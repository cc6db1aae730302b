//! Builds everything that the adapter consists of, runs it, and takes it down.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::Context;
use capability::statements::Check;
use capability::{Ed25519, HpkeOpener, Payload, ProjectUri, PublicKey, Signer};
use master_core::{Authority, Master};
use mesh_net::{Config as NetConfig, Role};
use mesh_shell::http::Web;
use mesh_shell::{
    Clock, Exit, Link, NetworkList, NetworkSettings, OrExit, Outcome, Storage, Termination, http,
};
use tokio::sync::mpsc;

use crate::archive::{Archive, blob_name};
use crate::brokers::{Broker, Brokers, or_listed};
use crate::event_loop::{EventLoop, Parts, Sources};
use crate::identity::Identity;
use crate::metrics::Counters;
use crate::model::{BrokerView, ProjectView};
use crate::rest::{Api, Board, SharedBoard, routes};

/// Connections that the adapter needs at most: brokers, and some that come and go.
const MAX_CONNECTIONS: u32 = 64;

/// Submissions that wait for the event loop.
const COMMAND_QUEUE: usize = 64;

/// What the adapter is run with.
pub struct Settings<'a> {
    /// The state directory.
    pub state: &'a Path,
    /// The home, then the standbys; if there is none, the network's list says where they are.
    pub brokers: Vec<Broker>,
    /// The network whose list of brokers is followed.
    pub network: Option<NetworkSettings>,
    /// Where the REST interface listens.
    pub http: SocketAddr,
    /// Bytes that blobs may take.
    pub blob_quota: u64,
    /// How long the home may be out of reach before a standby takes its place.
    pub rehome_after: Duration,
    /// The checks that the registration must have.
    pub checks: Vec<Check>,
}

/// Runs the adapter until it is asked to end.
pub async fn run(settings: Settings<'_>) -> Outcome {
    let termination = Termination::listen()?;
    let identity = Identity::in_state(settings.state);
    // Before the keys, because without a project there are none.
    identity.project()?;
    let node = identity.node_key()?;
    let authority = identity.authority(node.clone(), &settings.checks)?;
    let opener = identity.opener()?;
    let clock = Clock::new();
    let network = settings.network.clone();
    let network = network.map(|it| NetworkList::open(it, settings.state, clock.now().wall));
    let brokers = or_listed(settings.brokers, network.as_ref(), node.public(), clock.now().wall)?;
    let token = identity.token()?;
    let listener = http::bind(settings.http, "--http").await?;
    let storage = Storage::open(settings.state, settings.blob_quota)?;

    let records = storage.records()?;
    let keys: Vec<PublicKey> = brokers.iter().map(|broker| broker.key).collect();
    let (mut master, archive) = restore(&authority, keys, records, &storage, &opener, &clock)?;
    master.rehome_after(settings.rehome_after);
    collect_garbage(&archive, &storage, &clock).or_exit(Exit::State)?;
    warn_of_expiry(&authority, &clock);

    let config = NetConfig {
        max_connections: MAX_CONNECTIONS,
        ..NetConfig::new(*node.seed(), Role::Client)
    };
    let (net, events) = mesh_net::start(config).await.or_exit(Exit::Network)?;
    let link = Link::new(net.clone(), storage.clone(), node, clock);

    let board = board(&master, &authority, &brokers, archive);
    let (commands, queue) = mpsc::channel(COMMAND_QUEUE);
    let (counters, metrics) = Counters::register();
    let api = Api {
        board: board.clone(),
        storage: storage.clone(),
        commands,
        registration: authority.registration().clone().into(),
        clock,
        token,
    };
    let address = listener.local_addr().context("no local address").or_exit(Exit::Network)?;
    let addresses: Vec<_> = brokers.iter().map(|it| it.address.to_string()).collect();
    identity.announce(&address.to_string(), &addresses)?;
    let web =
        Web::serve(listener, http::common(metrics, http::Readiness::default()).merge(routes(api)));
    tracing::info!(address = %address, project = %authority.project(), "http");

    // Last, so that whoever sees the adapter connected finds it complete.
    let brokers = Brokers::dial(&brokers, network, link.clone(), clock);
    let key_changes = identity.key_changes();
    let parts = Parts { master, opener, board, key_changes, link, clock, brokers, counters };
    let (event_loop, finished) = EventLoop::new(parts);
    let sources = Sources { events, commands: queue, termination };
    let outcome = event_loop.run(sources, finished).await;
    web.end().await;
    net.shutdown().await;
    storage.close();
    outcome
}

fn restore(
    authority: &Authority,
    brokers: Vec<PublicKey>,
    records: Vec<(Vec<u8>, Vec<u8>)>,
    storage: &Storage,
    opener: &HpkeOpener,
    clock: &Clock,
) -> Outcome<(Master, Archive)> {
    let archive = Archive::restore(&records, opener, storage.blobs());
    let mut archive = archive.context("cannot read the archive of results").or_exit(Exit::State)?;
    let records = records.into_iter();
    let master = Master::restore(authority.clone(), brokers, records, &Ed25519, clock.now());
    let master = master.context("cannot read the records of jobs").or_exit(Exit::State)?;
    archive.take_over(&master);
    Ok((master, archive))
}

/// Removes blobs that nothing refers to: of results that were rejected, of jobs that are over, of
/// packages that were never submitted.
fn collect_garbage(
    archive: &Archive,
    storage: &Storage,
    clock: &Clock,
) -> Result<(), mesh_store::BlobError> {
    let kept = archive.blobs(clock.now().wall);
    let kept: std::collections::BTreeSet<_> =
        kept.into_iter().map(|hash| *blob_name(hash).as_bytes()).collect();
    for (hash, size) in storage.blobs().list()? {
        if !kept.contains(hash.as_bytes()) {
            tracing::debug!(%hash, size, "blob that nothing refers to removed");
            storage.blobs().remove(&hash)?;
        }
    }
    Ok(())
}

fn warn_of_expiry(authority: &Authority, clock: &Clock) {
    let expires = authority.delegation().expires();
    let left = expires.since(clock.now().wall).as_secs() / (24 * 60 * 60);
    if left < 14 {
        tracing::warn!(%expires, days = left, "delegation ends soon; run `talkoot-master delegate`");
    }
}

fn board(
    master: &Master,
    authority: &Authority,
    brokers: &[Broker],
    archive: Archive,
) -> SharedBoard {
    let views = brokers.iter().map(|broker| BrokerView {
        peer: broker.key,
        address: broker.address.to_string(),
        connected: false,
    });
    let addresses = brokers.iter().map(|broker| broker.address.to_string()).collect();
    let uri = ProjectUri { project: authority.project(), brokers: addresses };
    let project = ProjectView {
        project: authority.project(),
        name: authority.registration().name.clone(),
        uri: uri.to_string(),
        node: authority.node(),
        revoked: master.is_revoked(),
        superseded: None,
        delegation_expires: authority.delegation().expires(),
        epoch: master.home().map(|home| home.epoch),
        home: master.home().map(|home| home.home),
        brokers: views.collect(),
    };
    Arc::new(RwLock::new(Board { project, archive }))
}
