//! Gossip among brokers: gossipsub with our own ids and validation before forwarding.
//!
//! Messages are anonymous to gossipsub, since statements carry their own signature, and libp2p's would be checked again
//! for every copy. A message's id is the hash of its topic and data, so that copies are recognised wherever they enter.
//! Nothing is forwarded until the program has judged it. Gossip is best effort: a full queue drops.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use libp2p::gossipsub::{
    self, AllowAllSubscriptionFilter, IdentityTransform, MaxCountSubscriptionFilter, Message,
    MessageAcceptance, MessageAuthenticity, MessageId, PeerScoreParams, PeerScoreThresholds,
    TopicScoreParams, ValidationMode,
};
use thiserror::Error;

/// A topic of gossip.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(pub String);

impl Topic {
    /// Broker cards.
    pub fn cards() -> Self {
        Self("talkoot/1/cards".into())
    }

    /// Registrations, homes and revocations.
    pub fn masters() -> Self {
        Self("talkoot/1/masters".into())
    }

    /// Offers for `shard`: `<os>-<arch>` in Rust's names, or `wasm`.
    pub fn offers(shard: &str) -> Self {
        Self(format!("talkoot/1/offers/{shard}"))
    }

    /// Summaries of ads for `shard`.
    pub fn summaries(shard: &str) -> Self {
        Self(format!("talkoot/1/summaries/{shard}"))
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Names a message: BLAKE3 over the length of the topic (8 bytes, little endian), the topic and the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GossipId(pub [u8; 32]);

impl GossipId {
    /// The id of `data` published under `topic`.
    pub fn of(topic: &str, data: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(topic.len() as u64).to_le_bytes());
        hasher.update(topic.as_bytes());
        hasher.update(data);
        Self(*hasher.finalize().as_bytes())
    }

    pub(crate) fn from_message_id(id: &MessageId) -> Option<Self> {
        id.0.as_slice().try_into().ok().map(Self)
    }

    pub(crate) fn message_id(self) -> MessageId {
        MessageId::new(&self.0)
    }
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Sound and new: forward it.
    Accept,
    /// Not to be forwarded, and nobody's fault: stale, unknown kind, or we are too busy.
    Ignore,
    /// Forged or malformed: whoever sent it has not checked it. Three within a minute end the talk with that peer.
    Reject,
}

impl Verdict {
    pub(crate) fn acceptance(self) -> MessageAcceptance {
        match self {
            Self::Accept => MessageAcceptance::Accept,
            Self::Ignore => MessageAcceptance::Ignore,
            Self::Reject => MessageAcceptance::Reject,
        }
    }
}

/// Why a message was not sent to anybody.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PublishError {
    /// Clients do not gossip.
    #[error("only brokers publish")]
    NotABroker,
    /// Nothing is queued for later; reconciliation on connecting covers it.
    #[error("no connected peer has subscribed to the topic")]
    NoPeers,
    /// The same data went through this topic within the last ten minutes.
    #[error("the message has been published already")]
    Duplicate,
    /// Over 64 KiB of data, or a long topic.
    #[error("the message is too large to publish")]
    TooLarge,
    /// Every subscribed peer's queue is full: publish less often.
    #[error("the queues to all {peers} peers are full")]
    QueuesFull {
        /// How many were tried.
        peers: usize,
    },
    /// The network has been shut down.
    #[error("the network has stopped")]
    Stopped,
}

impl From<gossipsub::PublishError> for PublishError {
    fn from(error: gossipsub::PublishError) -> Self {
        match error {
            gossipsub::PublishError::Duplicate => Self::Duplicate,
            gossipsub::PublishError::NoPeersSubscribedToTopic => Self::NoPeers,
            gossipsub::PublishError::AllQueuesFull(peers) => Self::QueuesFull { peers },
            // Signing and transforming do not happen here: messages are anonymous and sent as they are.
            gossipsub::PublishError::MessageTooLarge
            | gossipsub::PublishError::SigningError(_)
            | gossipsub::PublishError::TransformFailed(_) => Self::TooLarge,
        }
    }
}

/// Why a topic cannot be joined.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SubscribeError {
    /// Clients do not gossip.
    #[error("only brokers subscribe to gossip")]
    NotABroker,
    /// The network has been shut down.
    #[error("the network has stopped")]
    Stopped,
}

pub(crate) type Behaviour =
    gossipsub::Behaviour<IdentityTransform, MaxCountSubscriptionFilter<AllowAllSubscriptionFilter>>;

/// A statement of 64 KiB with topic and protobuf around it.
const MAX_TRANSMIT_BYTES: usize = 70 * 1024;

/// How long validation may take and still be followed by forwarding; also how long a message can be asked for.
const VALIDATION_WINDOW: Duration = Duration::from_secs(15);

/// How long copies are recognised.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(600);

/// Messages that wait for one peer. A slow peer loses gossip; with 5,000 (the default) it would cost 350 MB instead.
const QUEUE_LENGTH: usize = 384;

/// Topics that one peer may be subscribed to: two for each of a hundred shards, and room.
const MAX_TOPICS: usize = 256;

/// The gossipsub behaviour of a broker whose upkeep runs every `heartbeat`. Many peers at one address are suspect, but
/// for the `shared` ones.
pub(crate) fn behaviour(heartbeat: Duration, shared: &[IpAddr]) -> Result<Behaviour, String> {
    let history = VALIDATION_WINDOW.as_millis().div_ceil(heartbeat.as_millis().max(1));
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(|message: &Message| {
            GossipId::of(message.topic.as_str(), &message.data).message_id()
        })
        .flood_publish(false)
        .max_transmit_size(MAX_TRANSMIT_BYTES)
        .connection_handler_queue_len(QUEUE_LENGTH)
        .duplicate_cache_time(DUPLICATE_WINDOW)
        .heartbeat_interval(heartbeat)
        // A fresh broker should have a mesh when its first publish comes, not after the default five seconds.
        .heartbeat_initial_delay(heartbeat.min(Duration::from_millis(200)))
        .history_length(usize::try_from(history).unwrap_or(usize::MAX).max(3))
        .history_gossip(3)
        .build()
        .map_err(|error| error.to_string())?;
    let filter = MaxCountSubscriptionFilter {
        filter: AllowAllSubscriptionFilter {},
        max_subscribed_topics: MAX_TOPICS,
        max_subscriptions_per_request: MAX_TOPICS,
    };
    let mut behaviour = Behaviour::new_with_subscription_filter_and_transform(
        MessageAuthenticity::Anonymous,
        config,
        filter,
        IdentityTransform,
    )?;
    behaviour.with_peer_score(peer_score(shared), PeerScoreThresholds::default())?;
    Ok(behaviour)
}

/// Scoring of peers. Below −10 a peer gets no gossip, below −50 no publications, below −80 it is not listened to.
fn peer_score(shared: &[IpAddr]) -> PeerScoreParams {
    PeerScoreParams {
        topics: HashMap::new(),
        // Years of good behaviour must not outweigh a minute of forgeries.
        topic_score_cap: 40.0,
        // More than ten peers at one address are suspect.
        ip_colocation_factor_whitelist: shared.iter().copied().collect(),
        // A promise to deliver is broken now and then by honest peers under load.
        behaviour_penalty_threshold: 6.0,
        behaviour_penalty_decay: 0.8,
        // Of wrong bytes of blobs, in points (`blame`).
        app_specific_weight: 1.0,
        ..PeerScoreParams::default()
    }
}

/// Scoring within a topic. Deliveries that do not come are no fault (P3 off): most topics are quiet for minutes.
pub(crate) fn topic_score() -> TopicScoreParams {
    TopicScoreParams {
        topic_weight: 1.0,
        // An hour in the mesh is worth 10 points.
        time_in_mesh_weight: 10.0 / 3600.0,
        time_in_mesh_quantum: Duration::from_secs(1),
        time_in_mesh_cap: 3600.0,
        first_message_deliveries_weight: 1.0,
        first_message_deliveries_decay: 0.9,
        first_message_deliveries_cap: 20.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        // The square of the count: three rejected messages are −90, whose half is forgotten after 17 s.
        invalid_message_deliveries_weight: -10.0,
        invalid_message_deliveries_decay: 0.98,
        ..TopicScoreParams::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_binds_topic_and_data_and_their_border() {
        let id = GossipId::of("ab", b"c");
        assert_eq!(id, GossipId::of("ab", b"c"));
        assert_ne!(id, GossipId::of("a", b"bc"));
        assert_ne!(id, GossipId::of("ab", b"d"));
        assert_eq!(GossipId::from_message_id(&id.message_id()), Some(id));
    }

    #[test]
    fn scoring_parameters_are_accepted_by_gossipsub() {
        assert_eq!(topic_score().validate(), Ok(()));
        assert_eq!(peer_score(&[]).validate(), Ok(()));
    }
}
