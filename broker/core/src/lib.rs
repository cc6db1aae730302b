//! The broker, without IO: it cannot open a socket, read a clock or write a file.
//!
//! [`Broker`] routes what comes in to small machines: the ads of volunteers, the book of offers,
//! the leases of the offers whose home it is, the set of gossip that it keeps and compares with
//! others, the pulls that wait, and custody of results and receipts. What follows comes out as
//! [`Action`]s. Everything that is acknowledged has been made durable before.

mod ad_table;
mod admission;
mod broker;
mod calls;
mod card;
mod channel_shares;
mod claims;
mod contract;
mod dialling;
mod directory;
mod epochs_owed;
mod exchange;
mod gossip_set;
mod head_starts;
mod inquiries;
mod lease_table;
mod offer_book;
mod pool;
mod pulls;
mod quotas;
mod receipts;
mod record;
mod rests;
mod rules;
mod shares;
mod slot_log;
mod spoken_for;
mod summaries;
mod troubles;
mod unseen;
mod ways_back;

pub use ad_table::{AD_GRACE, MAX_ADS, MAX_FOREIGN_ADS};
pub use admission::{AdmissionMode, AdmissionRules};
pub use broker::{
    AdStatus, Broker, BrokerConfig, BrokerStatus, BundleStatus, ChannelRoute, DISK_RESERVE, Grants,
    MAX_BLOB_SOURCES, OfferExplained, OfferStatus, Page, PeerRole, PeerStatus, RestoreError,
    RuleStatus, Status, TARGET_LINKS, Totals,
};
pub use calls::MAX_FORWARDED;
pub use channel_shares::{ChannelShares, MAX_CHANNELS, MAX_CHANNELS_A_PROJECT, PACE, PROJECT_PACE};
pub use claims::MAX_REMEMBERED_CLAIMS;
pub use contract::{
    Action, Direction, Disobeyed, GossipToken, GossipVerdict, Input, News, Operation, Order,
    ReconcileNews, ReconcileQuery,
};
pub use epochs_owed::mark_restored;
pub use exchange::RECONCILE_EVERY;
pub use gossip_set::{
    MAX_OFFERS, MAX_OFFERS_A_PROJECT, MAX_PROJECTS, MAX_SUMMARIES, MAX_SUMMARIES_A_BROKER,
    MAX_WITHDRAWALS, MAX_WITHDRAWALS_A_SIGNER,
};
pub use head_starts::HEAD_START;
pub use inquiries::{MAX_EXPLANATIONS, MAX_EXPLANATIONS_AN_ASKER};
pub use lease_table::{
    LEASE_TERM, MAX_LEASES, MAX_LEASES_A_VOLUNTEER, MAX_OFFLINE_A_VOLUNTEER, MAX_REPLICAS,
    MAX_REPLICAS_A_PROJECT, OVERDUE_PAUSE, RETRY_PAUSE,
};
pub use pool::{PAUSE_ALLOWANCE, TaskCounts};
pub use pulls::{LONGEST_PULL_WAIT, PULL_WAIT};
pub use quotas::{
    AddressClass, Allowance, CALL_UNIT, CUSTODY_UNIT, Charged, Limited, Quotas, Rate, Toll,
};
pub use receipts::MAX_RECEIPTS;
pub use rules::{Content, Decision, MAX_REASON, MAX_RULES, Whom};
pub use shares::{NoWeight, Weight};
pub use troubles::{FIRST_WAIT, LONGEST_WAIT, MAX_VANISHED, MAX_VANISHED_IN_ALL};
