//! Where a job is run: a temporary directory with its package, and nothing of a daemon's state.

use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use capability::statements::{Package, TaskId};
use capability::{BlobHash, HpkeOpener, JobFile, ProjectKey, Runtime, StatementId};
use mesh_shell::{Clock, Exit, OrExit, Outcome, package};
use mesh_store::BlobStore;
use volunteer_core::{Order, needs_of_file};

use crate::job::{self, Place};

/// Bytes that are kept: what the job's limits allow it, whatever that is.
const QUOTA: u64 = u64::MAX / 4;

/// No statement has these ids: they name what nobody has offered.
const NOBODYS: [u8; 32] = [0; 32];

/// See the module; it is removed with this.
pub struct Site {
    place: Place,
    package: Package,
    _directory: tempfile::TempDir,
}

impl Site {
    /// Packs what `job`, which was read from `file`, brings along.
    pub fn pack(file: &Path, job: &JobFile) -> Outcome<Self> {
        let mut packed = package::pack_beside(file, job)?;
        let directory = tempfile::Builder::new()
            .prefix("talkoot-exec-")
            .tempdir()
            .context("cannot make a temporary directory")
            .or_exit(Exit::State)?;
        let blobs = BlobStore::open(directory.path().join("blobs"), QUOTA).or_exit(Exit::State)?;
        let mut writer = blobs.create(QUOTA).or_exit(Exit::State)?;
        io::copy(&mut packed, &mut writer)
            .context("cannot keep the package")
            .or_exit(Exit::State)?;
        let (hash, size) = writer.finish(None).or_exit(Exit::State)?;
        let jobs = directory.path().join("jobs");
        job::clear(&jobs).context("cannot make a work directory").or_exit(Exit::State)?;
        let package = Package { hash: BlobHash::from_bytes(*hash.as_bytes()), size };
        let opener = Arc::new(HpkeOpener::new([]));
        let (blobs, clock) = (Arc::new(blobs), Clock::new());
        let place = Place { directory: jobs, blobs, checkpoints: None, opener, clock };
        Ok(Self { place, package, _directory: directory })
    }

    /// Where the job lives.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What a lease of `task` of `job` would make of it.
    pub fn order(&self, job: &JobFile, task: u32, runtime: Runtime) -> Order {
        Order {
            lease: StatementId::from_bytes(NOBODYS),
            project: ProjectKey::from_bytes(NOBODYS),
            name: job.name.clone(),
            task: TaskId { offer: StatementId::from_bytes(NOBODYS), task, replica: 0 },
            tasks: job.tasks,
            runtime,
            package: self.package,
            private: None,
            job: job.job.clone(),
            cores: needs_of_file(job).cores,
            network_bytes: u64::MAX,
        }
    }
}
