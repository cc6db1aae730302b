//! The matching engine.
//!
//! - [`MachineIndex`]: one job, many machines: which can run it, and which best?
//! - [`OfferIndex`]: one machine, many jobs: which can it run?
//!
//! Both say what [`crate::satisfies`] and [`crate::rank`] say of each pair, only sooner.

#![expect(
    clippy::single_range_in_vec_init,
    reason = "ranges of labels come in lists, often of one"
)]

mod amounts;
mod best;
mod bits;
mod column;
mod columns;
mod dictionary;
mod explain;
mod labels;
mod layout;
mod machines;
mod offers;
mod plan;
mod preferences;
mod ranges;
mod respace;
mod rows;
mod select;
mod slices;
mod value;
mod wanted;

pub use machines::MachineIndex;
pub use offers::OfferIndex;
pub use select::{Ranked, Selected};
pub(crate) use value::{Key, ValueKind};
