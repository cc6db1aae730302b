//! What the shells of all daemons share, so that each is thin: configuration, exit codes, keys,
//! logs, storage, HTTP, and the network's errands.
//!
//! A daemon's event loop is a `select!` over the network's events, finished tasks, durable commits
//! and the core's next wake; everything it needs beside its core is here.

pub mod access;
mod api_token;
mod clock;
pub mod config;
mod dialer;
mod dirs;
mod escape;
mod exit;
mod files;
mod handover;
pub mod http;
mod key_changes;
pub mod key_file;
mod learned;
mod link;
pub mod logs;
mod network;
pub mod out;
pub mod package;
mod parcel_file;
mod session;
#[cfg(unix)]
mod signals;
#[cfg(windows)]
#[path = "signals_windows.rs"]
mod signals;
mod signed_list;
pub mod spans;
mod statement_file;
mod statement_list;
mod storage;

pub use api_token::ApiToken;
pub use clock::Clock;
pub use dialer::{Dialer, random_seed};
pub use dirs::{default_config, default_state};
pub use escape::{escape, escape_json, escape_line, whole_characters};
pub use exit::{Exit, Failure, OrExit, Outcome, finish};
pub use files::{Watch, read_text, write_by, write_whole};
pub use handover::Incoming;
pub use key_changes::{
    KEY_CHANGE_LIFETIME, KeyChanges, describe_key_change, key_change_readings, log_declared,
};
pub use learned::Learning;
pub use link::{AskFailed, BlobFailed, Link, chain, peer_key, public_key};
pub use network::{NetworkList, NetworkSettings, describe_network};
pub use parcel_file::{
    ParcelFailed, ParcelFile, ParcelWriter, Unpacked, copy_parcel, open_blob, reader_of,
    written_body,
};
pub use session::{Session, SessionError};
pub use signals::Termination;
pub use signed_list::{Followed, SignedList, read_list};
pub use statement_file::{read_statement, statement_text};
pub use statement_list::{Listed, MAX_LIST_BYTES, MAX_LISTED, StatementList};
pub use storage::{Durable, Storage, disk_failure, for_peer, store_in};
