//! The parts of the mesh that every role shares, without IO: no socket, no clock, no task.
//!
//! Cores speak one contract: `handle(input, now)`, drain `poll_action()` until `None`, sleep until
//! `next_wake()`. [`Now`] carries both clocks; [`Outbox`] ties acknowledgements to durable writes.

mod bundle;
mod channel;
mod chunks;
mod contract;
mod custody;
mod declaring;
mod durable;
mod gossip;
mod key_change;
mod listing;
mod message;
mod parcel;
mod pass;
mod random;
mod reconcile;
mod request;
mod routes;
mod time;
mod warm;

pub use bundle::{
    Bundle, BundleError, Cargo, HandoverAnswer, MAX_BUNDLES_A_FRAME, decode_answers,
    decode_bundles, encode_answers, encode_bundles,
};
pub use channel::{
    Carries, ChannelAnswer, ChannelKey, ChannelKeyError, ChannelMessage, ChannelOpen,
    ChannelRefusal, FlowId, FlowNews, Flows, MAX_DATA_BYTES, MAX_FLOWS, MAX_STEP_NAME, Violation,
    WINDOW,
};
pub use chunks::Chunks;
pub use contract::{CallFailed, CallId, HandoverFailed, ReplyId};
pub use custody::{
    CUSTODY_PREFIX, Custody, CustodyFull, CustodyLimits, Duty, Handover, Mark, Taken,
};
pub use declaring::{Declarations, Declared};
pub use durable::{Commit, CommitId, Outbox, Write};
pub use gossip::{Gossip, Shard, Topic};
pub use key_change::{
    KeyChange, MAX_KEY_CHANGE_BYTES, MAX_KEYS_AN_ASK, MAX_REVOCATIONS_A_SIGNER,
    MAX_SUCCESSIONS_A_SIGNER,
};
pub use listing::{Listing, NotTaken, Replaced, draw};
pub use message::{
    Answer, Ask, JobNeeds, Loan, MAX_BROKERS_AN_ANSWER, MAX_CLAIMS_AN_ASK, MAX_EXCEPTIONS,
    MAX_FRAME_BYTES, MAX_HOPS, MAX_OFFERS_A_PUBLICATION, MAX_OFFERS_AN_ANSWER, MAX_OTHER_BROKERS,
    MAX_REGISTRATIONS_AN_ANSWER, MAX_STOPPED_AN_ANSWER, MAX_WITHDRAWALS_AN_ASK, MessageError,
    Offered, Published, Refusal, StoppedTask, Wants,
};
pub use parcel::{
    MAX_STATEMENTS_A_PARCEL, MAX_STATEMENTS_A_PART, PARCEL_HEAD, ParcelError, ParcelPart,
    ParcelReader, parcel_blob, parcel_end, parcel_lists, parcel_statements,
};
pub use pass::{MAX_COLLECTED, Pass, PassError};
pub use random::{Patience, Random};
pub use reconcile::{
    Branch, Comparison, Difference, MAX_STATEMENTS_A_FRAME, ReconcileAnswer, ReconcileAsk, compare,
    differences, one_frame,
};
pub use request::{
    MAX_NONCES, MAX_NONCES_A_PEER, REQUEST_LIFETIME, RequestError, RequestGuard, check_request,
    seal, seal_body,
};
pub use routes::{MAX_CARDS, Routes};
pub use time::{Mono, Now};
pub use warm::{MAX_PLACES, WarmBrokers};
