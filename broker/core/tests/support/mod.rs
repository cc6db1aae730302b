//! A small world of brokers without IO: what they say is delivered at once, what they write is
//! durable at once unless a test holds it back, and time passes when a test says so.
//!
//! `keys` signs without cost, `world` is the brokers and what is between them, `project` and
//! `volunteer` make the statements of those who speak to them.

// Each test file uses a part of it.
#![allow(dead_code, reason = "shared by several test crates")]

mod keys;
mod project;
mod volunteer;
mod world;

use std::time::Duration;

use capability::statements::{Lease, TaskId};
use capability::{Explanation, Verified};
use mesh_core::{Answer, Offered, Refusal};

#[allow(unused_imports, reason = "shared by several test crates")]
pub use self::keys::{Hashed, Key, key};
#[allow(unused_imports, reason = "shared by several test crates")]
pub use self::project::{Project, accepted, project, publication, receipt_bundle};
#[allow(unused_imports, reason = "shared by several test crates")]
pub use self::volunteer::{Asking, ad, encryption, ownership, result, result_bundle, wants};
pub use self::world::World;

pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub fn leases(answer: Answer) -> Vec<Verified<Lease>> {
    match answer {
        Answer::Leases(leases) => leases,
        other => panic!("no leases: {other:?}"),
    }
}

pub fn offered(answer: Answer) -> Vec<Offered> {
    match answer {
        Answer::Offers(offers) => offers,
        other => panic!("no offers: {other:?}"),
    }
}

pub fn explained(answer: Answer) -> Explanation {
    match answer {
        Answer::Explanation(explanation) => explanation,
        other => panic!("not explained: {other:?}"),
    }
}

pub fn refusal(answer: Answer) -> Refusal {
    match answer {
        Answer::Refused(refusal) => refusal,
        other => panic!("no refusal: {other:?}"),
    }
}

pub fn tasks(leases: &[Verified<Lease>]) -> Vec<TaskId> {
    leases.iter().map(|lease| lease.task).collect()
}
