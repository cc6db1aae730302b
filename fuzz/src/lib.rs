//! What must hold for any bytes at all.
//!
//! Each function here is a law about one decoder, for input that may come from anybody: it neither
//! panics nor grows without bound, and what it takes means one thing only. `cargo fuzz` looks for
//! bytes that break a law (CONTRIBUTING.md has the command); what it has found interesting is in
//! `corpus`, and `tests/corpus.rs` runs every law over that on a stable compiler.

mod calls;
mod proxies;
mod secrets;
mod statements;
mod texts;

pub use calls::{blob_header, call, custody, parcel, reconcile};
pub use proxies::proxy_request;
pub use secrets::{encrypted, report};
pub use statements::{matching, payload, statement};
pub use texts::{job_file, text};

/// A law about bytes.
pub type Law = fn(&[u8]);

/// Every law, by the name of its target and of its folder in `corpus`.
pub const LAWS: [(&str, Law); 13] = [
    ("blob_header", blob_header),
    ("call", call),
    ("custody", custody),
    ("encrypted", encrypted),
    ("job_file", job_file),
    ("matching", matching),
    ("parcel", parcel),
    ("payload", payload),
    ("proxy_request", proxy_request),
    ("reconcile", reconcile),
    ("report", report),
    ("statement", statement),
    ("text", text),
];
