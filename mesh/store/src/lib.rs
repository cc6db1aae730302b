//! What the daemons keep on disk: records in a [`Store`], bulk data in a [`BlobStore`].
//!
//! A core emits a [`Commit`](mesh_core::Commit) and withholds its acknowledgement. The shell hands
//! the commit to [`Store::commit_with`]; once the records would survive a power cut, the completion
//! runs, the shell reports the commit to the core, and the acknowledgement leaves. Everything in this
//! crate serves that one sentence: a completion that says `Ok` is never taken back by a crash.
//!
//! [`SledStore`] is the engine. It owns one committer thread, which is where commits are grouped, made
//! durable and completed, in order. After the first failed flush it refuses everything, because what
//! a disk holds after a failed flush is unknown.
//!
//! Values above [`MAX_VALUE`] are blobs: files named by their BLAKE3 hash, below a quota, complete or
//! absent. A blob is stored first and the record that names it is committed second.

mod blobs;
mod committer;
mod dirs;
mod export;
mod packing;
mod partial;
mod sled_store;
mod store;
#[cfg(unix)]
#[path = "system_unix.rs"]
mod system;
#[cfg(windows)]
#[path = "system_windows.rs"]
mod system;

pub use blobs::{BlobError, BlobStore, BlobWriter};
pub use dirs::{disk_free, disk_size, sync_dir};
pub use export::{ExportError, ImportError};
pub use partial::PartialBlob;
pub use sled_store::{Options, SledStore};
pub use store::{
    Completion, MAX_COMMIT, MAX_KEY, MAX_PAGE, MAX_VALUE, Page, Record, Records, Stats, Store,
    StoreError,
};
