//! `run`: parse, then build, then run. Nothing is bound before the configuration is sound.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use capability::{
    BlobHash, DecryptionKey, Ed25519, HpkeOpener, HpkeSealer, KEY_BYTES, SecretKey, Signer,
    StatementId,
};
use mesh_net::Role;
use mesh_shell::http::Web;
use mesh_shell::{
    ApiToken, Clock, Exit, Failure, Link, OrExit, Outcome, Storage, Termination, http, key_file,
};
use mesh_store::BlobStore;
use tokio::sync::mpsc;
use volunteer_core::{Identity, Volunteer};

use crate::Equipment;
use crate::config::Settings;
use crate::event_loop::{EventLoop, Parts};
use crate::job::{self, Checkpoints, Place};
use crate::metrics::Metrics;
use crate::pins::Pins;
use crate::reload::Source;
use crate::status::blob_name;
use crate::{face, page};

/// Blobs take at least that much, whatever is donated to jobs: the largest package.
const MIN_BLOB_QUOTA: u64 = 1 << 30;

/// Questions of the page that wait for the event loop.
const MAX_QUESTIONS: usize = 16;

/// Where the key is.
pub fn key_path(state: &Path) -> PathBuf {
    state.join("node.key")
}

/// Where a running daemon leaves the address of its page.
pub fn http_path(state: &Path) -> PathBuf {
    state.join("http")
}

/// The key, made if there is none.
pub fn key(state: &Path) -> Outcome<SecretKey> {
    std::fs::create_dir_all(state)
        .with_context(|| format!("cannot make the state directory {}", state.display()))
        .or_exit(Exit::State)
        .map_err(|failure| failure.hint("name another one with --state"))?;
    key_file::load_or_create(&key_path(state)).map_err(Failure::from)
}

/// The key to which others seal what this volunteer alone is to read, made if there is none.
pub fn encryption_key(state: &Path) -> Outcome<DecryptionKey> {
    key_file::load_or_create_encryption(&state.join("encryption.key")).map_err(Failure::from)
}

/// A sealer with randomness of its own.
pub fn sealer() -> Outcome<HpkeSealer> {
    let mut seed = [0; KEY_BYTES];
    getrandom::fill(&mut seed).context("cannot get randomness").or_exit(Exit::State)?;
    Ok(HpkeSealer::new(seed))
}

/// Runs the daemon of `source` with `equipment` until it is asked to end.
pub fn run(source: Source, equipment: Equipment) -> Outcome {
    let settings = source.load()?;
    settings.doubts().iter().for_each(|doubt| tracing::warn!(doubt, "doubtful setting"));
    let pins = Pins::load(&settings.state)?;
    let key = Arc::new(key(&settings.state)?);
    let encryption = encryption_key(&settings.state)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Errands are short and wait for the network; the cores are for jobs.
        .worker_threads(2)
        .enable_all()
        .build()
        .or_exit(Exit::State)?;
    let outcome = runtime.block_on(serve(source, settings, equipment, pins, key, encryption));
    // Errands that are under way lose nothing: what counts is durable.
    runtime.shutdown_background();
    outcome
}

async fn serve(
    source: Source,
    settings: Settings,
    equipment: Equipment,
    pins: Pins,
    key: Arc<SecretKey>,
    encryption: DecryptionKey,
) -> Outcome {
    let termination = Termination::listen()?;
    let clock = Clock::new();
    let quota = settings.donated.disk.max(MIN_BLOB_QUOTA);
    let storage = Storage::open(&settings.state, quota)?;
    let signer: Arc<dyn Signer> = Arc::clone(&key) as Arc<dyn Signer>;
    let sealer = Arc::new(sealer()?);
    let identity = Identity { signer, encryption: encryption.public(), sealer };
    let core = Volunteer::restore(identity, storage.records()?, &Ed25519).map_err(|error| {
        Failure::new(Exit::State, error)
            .hint("the state was written by another version, or damaged")
    })?;
    remove_unneeded(storage.blobs(), &core)?;
    let (checkpoints, resumed) = checkpoints(&settings.state, storage.blobs(), &core)?;
    let stored = core.packages_ahead().filter(|hash| is_here(storage.blobs(), hash)).collect();
    let place = Place {
        directory: settings.state.join("jobs"),
        blobs: Arc::clone(storage.blobs()),
        checkpoints: Some(checkpoints.clone()),
        opener: Arc::new(HpkeOpener::new([encryption])),
        clock,
    };
    job::clear(&place.directory)
        .with_context(|| format!("cannot clear {}", place.directory.display()))
        .or_exit(Exit::State)?;
    let token = ApiToken::create(&settings.state)?;
    let listener = http::bind(settings.http, "--http").await?;
    let http_address = listener.local_addr().or_exit(Exit::Network)?;
    announce_http(&settings.state, http_address)?;
    let network = mesh_net::Config::new(*key.seed(), Role::Client);
    let (net, events) = mesh_net::start(network).await.or_exit(Exit::Network)?;
    let link = Link::new(net, storage.clone(), Arc::clone(&key), clock);

    let (questions, asked) = mpsc::channel(MAX_QUESTIONS);
    let registry = http::Metrics::default();
    let metrics = Metrics::new(&registry);
    let routes = http::common(registry, http::Readiness::default())
        .merge(page::routes())
        .merge(face::routes(key.public(), questions, Arc::clone(storage.blobs()), token));
    let web = Web::serve(listener, routes);

    let parts = Parts {
        source,
        settings,
        equipment,
        pins,
        core,
        link,
        place,
        checkpoints,
        resumed,
        stored,
        events,
        asked,
        termination,
        metrics,
    };
    let outcome = EventLoop::new(parts).run().await;
    web.end().await;
    let _ = std::fs::remove_file(http_path(storage.directory()));
    storage.close();
    outcome
}

fn announce_http(state: &Path, address: SocketAddr) -> Outcome {
    std::fs::write(http_path(state), address.to_string())
        .context("cannot leave the address of the status page in the state directory")
        .or_exit(Exit::State)?;
    tracing::info!(%address, "http");
    Ok(())
}

/// The checkpoints of former processes, and the leases of which they can be gone on with; all others are removed.
fn checkpoints(
    state: &Path,
    blobs: &BlobStore,
    core: &Volunteer,
) -> Outcome<(Checkpoints, Vec<StatementId>)> {
    let path = state.join("checkpoints");
    let failed = || format!("cannot look after {}", path.display());
    let checkpoints = Checkpoints::open(path.clone()).with_context(failed).or_exit(Exit::State)?;
    let resumed = core
        .resumable()
        .filter(|(lease, package)| checkpoints.of(*lease).is_of_use() && is_here(blobs, package));
    let resumed: Vec<_> = resumed.map(|(lease, _)| lease).collect();
    checkpoints.keep(&resumed).with_context(failed).or_exit(Exit::State)?;
    Ok((checkpoints, resumed))
}

fn is_here(blobs: &BlobStore, hash: &BlobHash) -> bool {
    matches!(blobs.has(&blob_name(hash)), Ok(Some(_)))
}

/// Removes blobs that a former process had stored and that no result needs.
fn remove_unneeded(blobs: &BlobStore, core: &Volunteer) -> Outcome {
    for (name, _) in blobs.list().or_exit(Exit::State)? {
        let hash = BlobHash::from_bytes(*name.as_bytes());
        if !core.needs_blob(&hash) {
            blobs.remove(&name).or_exit(Exit::State)?;
        }
    }
    for (name, size) in blobs.partials().or_exit(Exit::State)? {
        blobs
            .resume(&name, size)
            .and_then(mesh_store::PartialBlob::discard)
            .or_exit(Exit::State)?;
    }
    Ok(())
}
