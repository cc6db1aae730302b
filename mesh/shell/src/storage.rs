//! A daemon's state directory: its lock, its store, its blobs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use mesh_core::{Commit, CommitId};
use mesh_store::{
    BlobError, BlobStore, ExportError, Options, Page, SledStore, Store, StoreError, disk_free,
};
use tokio::sync::mpsc;

use crate::exit::{Exit, Failure, OrExit, Outcome};

/// Bytes of the disk that blobs leave free. Cores take nothing new below 64 MiB, and must still be
/// able to commit what they have when blobs can have no more.
const BLOB_RESERVE: u64 = 128 << 20;

/// What is durable of one daemon.
#[derive(Clone)]
pub struct Storage {
    directory: PathBuf,
    store: Arc<SledStore>,
    blobs: Arc<BlobStore>,
}

/// The news that a commit is durable, or that nothing can be made durable any more.
pub type Durable = Result<CommitId, StoreError>;

impl Storage {
    /// Opens `directory`, making it if need be; blobs take at most `blob_quota` bytes.
    pub fn open(directory: &Path, blob_quota: u64) -> Outcome<Self> {
        let shown = directory.display();
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot make the state directory {shown}"))
            .or_exit(Exit::State)
            .map_err(|failure| failure.hint("name another one with --state"))?;
        let store = SledStore::open(store_in(directory), &Options::default())
            .map_err(|error| Failure::new(Exit::State, error).hint(format!("state: {shown}")))?;
        let blobs = BlobStore::open(directory.join("blobs"), blob_quota).or_exit(Exit::State)?;
        let blobs = blobs.keeping_free(BLOB_RESERVE);
        Ok(Self {
            directory: directory.to_path_buf(),
            store: Arc::new(store),
            blobs: Arc::new(blobs),
        })
    }

    /// Every record, in key order.
    pub fn records(&self) -> Outcome<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut records = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.store.page(&[], after.as_deref(), mesh_store::MAX_PAGE);
            let Page { records: page, next } = page.or_exit(Exit::State)?;
            records.extend(page);
            match next {
                Some(next) => after = Some(next),
                None => return Ok(records),
            }
        }
    }

    /// Makes `commit` durable and tells `done`, in the order of the commits.
    pub fn commit(&self, commit: Commit, done: &mpsc::UnboundedSender<Durable>) {
        let done = done.clone();
        // Nobody listens any more once the daemon is on its way out.
        self.store.commit_with(commit, Box::new(move |durable| drop(done.send(durable))));
    }

    /// Writes every record to the file `path`, and gives their number. Commits wait meanwhile.
    pub fn export(&self, path: &Path) -> Result<u64, ExportError> {
        self.store.export(path)
    }

    /// The blobs.
    pub fn blobs(&self) -> &Arc<BlobStore> {
        &self.blobs
    }

    /// The state directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Bytes free on the disk below the state directory; none if that cannot be told.
    pub fn free(&self) -> u64 {
        disk_free(&self.directory).unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot tell how much disk is free");
            0
        })
    }

    /// Completes what is queued and closes the store.
    pub fn close(&self) {
        self.store.close();
    }
}

/// Where the records are in a daemon's state directory.
pub fn store_in(directory: &Path) -> PathBuf {
    directory.join("store")
}

/// The end of a daemon whose disk does not take its commits.
pub fn disk_failure(error: StoreError) -> Failure {
    Failure::new(Exit::State, error)
        .hint("nothing unacknowledged was lost; make room on the disk and start again")
}

/// A blob error, for the peer: without paths.
pub fn for_peer(error: &BlobError) -> &'static str {
    match error {
        BlobError::Full { .. } => "the blob quota is used up",
        BlobError::DiskFull { .. } => "the disk is full",
        _ => "the blob could not be stored",
    }
}
