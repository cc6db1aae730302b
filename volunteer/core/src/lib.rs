//! The volunteer without IO: whom it trusts, what it takes on, and how its results get home.
//!
//! [`Volunteer`] speaks the contract of every core: [`Volunteer::handle`], drain
//! [`Volunteer::poll_action`] until `None`, sleep until [`Volunteer::next_wake`]. After each input it
//! does whatever has become possible or due:
//!
//! 1. One of the brokers that are up is its **primary**. The ad goes there, and a new one whenever
//!    the primary or the machine changes.
//! 2. While resources are free, one pull is outstanding. Offers that come are judged by [`Trust`]:
//!    signatures alone make nobody welcome, the owner's pins do; and then by the owner's policy, which
//!    is part of nothing that is sent. Among projects the weights that the owner gives them decide, over
//!    weeks: before another is served, the broker is asked for what the neediest have. What is declined is remembered with its reason, and the broker
//!    is asked not to show it again. A project can have hours of its own, and a builder of it a period in
//!    which one of its tasks begins. A machine that fails job after job
//!    takes nothing new for a growing while. When the owner needs the machine, jobs give way: they stand
//!    still, or as many of them as the owner's share for that time cannot carry.
//! 3. Every broker is asked about the keys behind it, on connecting and each hour. Without an answer
//!    of the last day nothing is claimed, and what a void key has offered is given up.
//! 4. The claim of a good offer asks for as many tasks as fit. Leases that come are durable before
//!    they are worked on, renewed until their results are on their way, and released when they are
//!    given up, also by a process that was killed with leases in hand.
//!    A job of which the shell has taken a checkpoint goes on in the next process, if its lease holds.
//! 5. An owner who expects times without a connection has work fetched ahead: offline leases and their
//!    packages, no more than can be done by the deadlines.
//! 6. A result's report is sealed to the master's adapter, so that no broker learns what became of the
//!    task. A result is durable before anybody hears of it, and stays until its receipt is durable: it is
//!    sent again by every new primary, and now and then.
//! 7. The checks of trusted projects run when they have not yet, or when the facts that they depend on
//!    have changed. What they find is in the ad.
//!
//! There is no socket here, no clock, no process and no randomness.

mod action;
mod advertising;
mod audit;
mod availability;
mod backoff;
mod beginning;
mod brought;
mod buffer;
mod check_finding;
mod checks;
mod claiming;
mod confirming;
mod faults;
mod fetching;
mod giving_way;
mod grounds;
mod held;
mod history;
mod key_changes;
mod keys;
mod leases;
mod ledger;
mod lists;
mod offers;
mod owner;
mod policy;
mod presence;
mod queue;
mod reach;
mod registrations;
mod resuming;
mod returning;
mod rhythm;
mod schedule;
mod shares;
mod tail;
mod traffic;
mod trust;
mod turned_away;
mod turns;
mod volunteer;
mod watching;
mod why_not;
mod work;
mod working;

pub use action::{Action, CheckEnd, CheckOrder, Idle, Input, News, Order, Outcome};
pub use audit::{Audit, Flaw};
pub use brought::{Brought, MAX_BROUGHT, NotTaken, TakenWork, Unconfirmed};
pub use buffer::{MAX_AHEAD, MAX_WORK_BUFFER};
pub use check_finding::CheckFinding;
pub use checks::CheckView;
pub use giving_way::{Cause, GiveWay, Sample, Share};
pub use grounds::Grounds;
pub use history::{Fate, MAX_HISTORY, PastRun};
pub use ledger::{MAX_RECEIPTS, Total};
pub use lists::{PinnedList, Voucher, all_pins};
pub use offers::{Declined, MAX_DECLINED};
pub use owner::{MAX_NOTE, Pause, Quiet};
pub use policy::{describe_file, is_about_offers};
pub use presence::Offline;
pub use reach::{Permitted, Reach};
pub use returning::ReceiptFate;
pub use shares::{LEEWAY, MOST_OWED, NoWeight, Rung, Standing, Weight};
pub use tail::{Piece, Reader, TAIL_BYTES, Tail, Watcher};
pub use traffic::Traffic;
pub use trust::{Decline, Pin, Trust};
pub use volunteer::{DISK_RESERVE, Identity, RestoreError, Volunteer};
pub use why_not::WhyNot;
pub use work::{JobView, MAX_JOBS, Stage, needs, needs_of_file};
