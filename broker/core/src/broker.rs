//! The parent of the small machines: it routes inputs to them and collects what follows.
//!
//! What one input changes durably becomes one commit, and what acknowledges it waits for that
//! commit ([`Turn`]).

mod asking;
mod carrying;
mod channelling;
mod forgetting;
mod learning;
mod leaving;
mod lending;
mod linking;
mod lists;
mod obeying;
mod offering;
mod restoring;
mod seeking;
mod status;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use capability::statements::{Class, Lease, Offer};
use capability::{BlobHash, ProjectKey, PublicKey, Signer, StatementId, Verified, Verifier};
use mesh_core::{
    Answer, CommitId, Custody, CustodyLimits, Listing, Mark, Mono, Now, Outbox, Refusal, ReplyId,
    Routes, Write,
};

pub use channelling::ChannelRoute;
use leaving::Stay;
pub use lists::{AdStatus, BrokerStatus, BundleStatus, Grants, OfferExplained, Page, RuleStatus};
pub use restoring::RestoreError;
use seeking::Searches;
pub use status::{OfferStatus, PeerRole, PeerStatus, Status, Totals};

use crate::ad_table::AdTable;
use crate::admission::{AdmissionRules, Admitted};
use crate::calls::Calls;
use crate::card::OwnCard;
use crate::contract::{Action, Direction, Input, News};
use crate::dialling::Dialling;
use crate::epochs_owed::EpochsOwed;
use crate::exchange::Exchange;
use crate::gossip_set::GossipSet;
use crate::head_starts::HeadStarts;
use crate::inquiries::Inquiries;
use crate::lease_table::LeaseTable;
use crate::offer_book::OfferBook;
use crate::pulls::Pulls;
use crate::quotas::{Meters, Quotas};
use crate::receipts::Receipts;
use crate::rests::Rests;
use crate::rules::Rules;
use crate::shares::{Shares, Weight};
use crate::slot_log::SlotLog;
use crate::spoken_for::SpokenFor;
use crate::summaries::Summaries;
use crate::unseen::Unseen;
use crate::ways_back::WaysBack;

/// Links that a broker aims at when it dials the brokers that it hears of: enough to lose some, few
/// enough that link state stays small.
pub const TARGET_LINKS: usize = 8;

/// Bytes of disk that must be free for an offer or a bundle to be taken: room for the leases and
/// receipts of what was taken before.
pub const DISK_RESERVE: u64 = 64 << 20;

/// Whom to ask for one package at most: more than the links of most brokers. A failed question
/// takes seconds.
pub const MAX_BLOB_SOURCES: usize = 32;

/// Things that expire are looked for this often.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// Custody is looked at again after this while something waits for a way.
const CUSTODY_PAUSE: Duration = Duration::from_secs(1);

/// What an operator decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerConfig {
    /// Where other brokers can dial this one.
    pub addresses: Vec<String>,
    /// Addresses of brokers to be connected to, always.
    pub bootstrap: Vec<String>,
    /// Links to aim at by dialling brokers that others tell of; 0 to dial none of them.
    pub target_links: usize,
    /// How much is taken into custody.
    pub custody: CustodyLimits,
    /// What projects get of what volunteers here give, where it is not the usual.
    pub weights: BTreeMap<ProjectKey, Weight>,
    /// Whom the broker works for.
    pub admission: AdmissionRules,
    /// How much everybody may ask.
    pub quotas: Quotas,
    /// Whom people can write to about what the broker relays.
    pub abuse_contact: Option<String>,
    /// What its choices by chance come from; another one for each process.
    pub seed: u64,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            bootstrap: Vec::new(),
            target_links: TARGET_LINKS,
            custody: CustodyLimits::default(),
            admission: AdmissionRules::default(),
            quotas: Quotas::default(),
            abuse_contact: None,
            weights: BTreeMap::new(),
            seed: 0,
        }
    }
}

/// A broker.
///
/// Call [`Broker::handle`] with each input, drain [`Broker::poll_action`] until `None`, sleep until
/// [`Broker::next_wake`], and then hand in [`Input::Wake`]. Each `ReplyId` is answered exactly once;
/// each [`Action::Ask`], [`Action::HandOver`] and [`Action::Reconcile`] must be reported back
/// exactly once, failed or not, even if the peer has gone.
pub struct Broker {
    me: PublicKey,
    signer: Arc<dyn Signer>,
    /// For statements inside statements: the ad in a claim, the lease in a result.
    verifier: Arc<dyn Verifier>,
    outbox: Outbox<Action>,
    turn: Turn,
    /// What of custody is durable with which commit.
    landing: VecDeque<(CommitId, Mark)>,

    peers: BTreeMap<PublicKey, Direction>,
    routes: Routes,
    exchanges: BTreeMap<PublicKey, Exchange>,
    card: OwnCard,
    dialling: Dialling,
    /// If the operator names a founder.
    network: Option<Listing>,
    known: GossipSet,
    book: OfferBook,
    ads: AdTable,
    /// Machines that could run the offers that are shown.
    summaries: Summaries,
    leases: LeaseTable,
    slot_log: SlotLog,
    owed: EpochsOwed,
    pulls: Pulls,
    ways_back: WaysBack,
    inquiries: Inquiries,
    calls: Calls,
    searches: Searches,
    receipts: Receipts,
    custody: Custody,

    rules: Rules,
    admitted: Admitted,
    meters: Meters,
    /// Of those whose statements are passed on as gossip: strangers take no room of those who ask.
    signers: Meters,
    abuse_contact: Option<String>,
    stay: Stay,

    shares: Shares,
    unseen: Unseen,
    /// Offers that volunteers may want now and could not have before.
    fresh_offers: BTreeSet<StatementId>,
    /// Those of them that not all who wait have been shown.
    head_starts: HeadStarts,
    rests: Rests,
    spoken_for: SpokenFor,
    /// When the ads behind a class were asked for last.
    ads_asked: BTreeMap<(PublicKey, Class), Mono>,
    /// When the summaries of a linked broker are looked through for ads to ask for.
    ads_due: BTreeMap<PublicKey, Mono>,
    /// When what is due and has no way is looked at again.
    custody_again: Option<Mono>,
    disk_free: u64,
    next_sweep: Mono,
}

/// What one input leads to.
#[derive(Debug, Default)]
struct Turn {
    writes: Vec<Write>,
    /// Released once the writes, and all before them, are durable.
    acknowledgements: Vec<Action>,
}

impl Broker {
    /// A broker that remembers nothing.
    pub fn new(
        config: BrokerConfig,
        signer: Arc<dyn Signer>,
        verifier: Arc<dyn Verifier>,
        now: Now,
    ) -> Self {
        let me = signer.public();
        Self {
            me,
            signer,
            verifier,
            outbox: Outbox::default(),
            turn: Turn::default(),
            landing: VecDeque::new(),
            peers: BTreeMap::new(),
            routes: Routes::new(me),
            exchanges: BTreeMap::new(),
            card: OwnCard::new(config.addresses, now),
            dialling: Dialling::new(config.bootstrap, config.target_links, config.seed, now),
            network: None,
            known: GossipSet::default(),
            book: OfferBook::default(),
            ads: AdTable::default(),
            summaries: Summaries::default(),
            leases: LeaseTable::default(),
            slot_log: SlotLog::default(),
            owed: EpochsOwed::default(),
            pulls: Pulls::default(),
            ways_back: WaysBack::default(),
            inquiries: Inquiries::default(),
            calls: Calls::default(),
            searches: Searches::default(),
            receipts: Receipts::default(),
            custody: Custody::new(config.custody),
            rules: Rules::default(),
            admitted: Admitted::new(config.admission),
            meters: Meters::new(config.quotas),
            signers: Meters::new(config.quotas),
            abuse_contact: config.abuse_contact,
            stay: Stay::default(),
            // A project's delegates together get what one origin gets.
            shares: Shares::new(config.weights),
            unseen: Unseen::default(),
            fresh_offers: BTreeSet::new(),
            head_starts: HeadStarts::default(),
            rests: Rests::default(),
            spoken_for: SpokenFor::default(),
            ads_asked: BTreeMap::new(),
            ads_due: BTreeMap::new(),
            custody_again: None,
            disk_free: u64::MAX,
            next_sweep: now.mono,
        }
    }

    /// Applies `input` at `now`, which never goes backwards.
    pub fn handle(&mut self, input: Input, now: Now) {
        match input {
            Input::PeerUp { peer, direction } => self.peer_up(peer, direction, now),
            Input::PeerDown { peer } => self.peer_down(peer, now),
            Input::Found { address, peer } => self.dialling.found(&address, peer),
            Input::Addresses(addresses) => self.card.set_addresses(addresses, now),
            Input::Network(listing) => {
                self.dialling.list(&listing, self.me, now);
                self.network = Some(listing);
            }
            Input::Gossip { gossip, from, token } => {
                let verdict = self.hear(gossip, from, now);
                self.outbox.push(Action::Judge { token, verdict });
            }
            Input::Ask { from, ask, reply } => self.asked(from, ask, reply, now),
            Input::Answered { call, answer } => self.answered(call, answer, now),
            Input::Handover { from, bundles, reply } => self.handed(from, bundles, reply, now),
            Input::HandedOver { to, outcomes } => self.handed_over(to, outcomes, now),
            Input::Reconcile { ask, reply, .. } => self.compared_with(&ask, reply),
            Input::Given { from, statements } if self.admitted.has(from) => {
                self.learn_all(statements, now);
            }
            Input::Given { .. } => (),
            Input::Reconciled { from, answer } => self.reconciled(from, answer, now),
            Input::Committed(commit) => self.committed(commit),
            Input::DiskFree { bytes } => self.disk_free = bytes,
            Input::Order { order, reply } => self.obey(order, reply, now),
            Input::Wake => (),
        }
        self.tick(now);
        self.finish_turn();
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.outbox.poll()
    }

    /// When [`Input::Wake`] is due, unless another input comes before.
    pub fn next_wake(&self) -> Option<Mono> {
        let always = [self.card.due(), self.dialling.due(), self.next_sweep];
        let sometimes = [
            self.leases.next_lapse(),
            self.leases.next_wait_end(),
            self.pulls.next_end(),
            self.head_starts.next_end(),
            self.rests.next_end(),
            self.summaries.due(),
            self.exchanges.values().filter_map(Exchange::next_start).min(),
            self.custody.next_wake(),
            self.custody_again,
            self.ads_due.values().min().copied(),
            self.stay.until(),
        ];
        always.into_iter().chain(sometimes.into_iter().flatten()).min()
    }

    /// Whom to ask for a package that is not here, one after the other, and its size in bytes: the
    /// broker next on the way to the home of its project, or at the home the master.
    ///
    /// `asker` wants it, and takes at most `limit` bytes. Anybody can offer another's package, with
    /// a wrong size or a home that does not have it. So there may be several answers, at most
    /// [`MAX_BLOB_SOURCES`]: the largest sizes first, since whoever knows an offer asks for just
    /// its size. The asker is none of them, or two brokers could wait for each other.
    pub fn blob_sources(
        &self,
        hash: BlobHash,
        asker: PublicKey,
        limit: u64,
    ) -> Vec<(PublicKey, u64)> {
        let mut offers: Vec<_> = self.book.offers_with(hash).collect();
        offers.retain(|offer| offer.package.size <= limit);
        offers.sort_by_key(|offer| Reverse(offer.package.size));
        let mut sources = Vec::new();
        for offer in offers {
            let from = self.next_towards_master(offer).filter(|source| *source != asker);
            let source = from.map(|from| (from, offer.package.size));
            sources.extend(source.filter(|source| !sources.contains(source)));
            if sources.len() == MAX_BLOB_SOURCES {
                break;
            }
        }
        sources
    }

    fn next_towards_master(&self, offer: &Offer) -> Option<PublicKey> {
        let home = self.book.home(offer.project)?;
        if home.home == self.me {
            let way = self.peers.get(&home.signer());
            way.filter(|way| **way != Direction::Door).map(|_| home.signer())
        } else {
            self.routes.next_hop(home.home)
        }
    }

    /// Whether a blob belongs to an offer that is open, or to a bundle in custody.
    pub fn keeps_blob(&self, hash: BlobHash) -> bool {
        self.book.offers_with(hash).next().is_some()
            || self.custody.bundles().any(|bundle| bundle.blobs().iter().any(|it| it.0 == hash))
    }

    /// All blobs for which [`Broker::keeps_blob`] holds: cheaper than to ask for many.
    pub fn kept_blobs(&self) -> BTreeSet<BlobHash> {
        let carried = self.custody.bundles().flat_map(|bundle| bundle.blobs());
        self.book.packages().chain(carried.map(|(hash, _)| hash)).collect()
    }

    /// Whether the very statement is known already, so that it need not be checked again.
    pub fn knows(&self, gossip: StatementId) -> bool {
        self.known.contains(gossip)
    }

    /// The leases that this broker has granted and that are live. Nothing else may run a task.
    pub fn leases(&self) -> impl Iterator<Item = &Verified<Lease>> {
        self.leases.leases()
    }

    /// Whether `bundle` is in custody here.
    pub fn holds(&self, bundle: StatementId) -> bool {
        self.custody.holds(bundle)
    }

    fn tick(&mut self, now: Now) {
        self.lapse(now);
        if self.next_sweep <= now.mono {
            self.next_sweep = now.mono + SWEEP_EVERY;
            self.sweep(now);
        }
        self.tell_of_ourselves(now);
        self.pull_ads_that_are_due(now);
        self.match_pulls(now);
        self.dial(now);
        self.compare_with_others(now);
        self.carry(now);
        self.leave(now);
    }

    /// Lets go of what has expired.
    fn sweep(&mut self, now: Now) {
        for subject in self.known.expire(now.wall) {
            self.forget(&subject);
        }
        self.routes.expire(now.wall);
        if self.ads.expire(now) {
            self.summaries.changed(now);
        }
        self.ways_back.expire(now.mono);
        self.ads_asked.retain(|_, at| *at > now.mono);
        self.leases.forget_claims(now.wall);
        self.receipts.expire(now.wall);
        self.shares.expire(now.mono);
        self.admitted.expire(now.wall);
        self.meters.forget(now);
        self.signers.forget(now);
        self.look_for_brokers(now);
        self.expire_custody(now);
    }

    /// Homes, and brokers by which receipts are to go.
    fn look_for_brokers(&mut self, now: Now) {
        let homes = self.book.homes().map(|home| home.home);
        let wanted = homes.chain(self.receipts_go_by());
        let out_of_reach =
            wanted.filter(|broker| *broker != self.me && self.routes.next_hop(*broker).is_none());
        let out_of_reach: BTreeSet<_> = out_of_reach.collect();
        self.unseen.look(out_of_reach, now.mono);
    }

    fn committed(&mut self, commit: CommitId) {
        self.outbox.committed(commit);
        while let Some((_, mark)) = self.landing.pop_front_if(|(id, _)| *id <= commit) {
            self.custody.made_durable(mark);
        }
    }

    fn news(&mut self, news: News) {
        self.outbox.push(Action::News(news));
    }

    /// Answers at once: nothing that the answer promises needs the disk.
    fn reply(&mut self, reply: ReplyId, answer: Answer) {
        self.outbox.push(Action::Reply { reply, answer });
    }

    fn refuse(&mut self, reply: ReplyId, refusal: Refusal) {
        self.reply(reply, Answer::Refused(refusal));
    }

    /// Answers once this turn's writes are durable.
    fn acknowledge(&mut self, reply: ReplyId, answer: Answer) {
        self.turn.acknowledgements.push(Action::Reply { reply, answer });
    }

    /// Whether nothing new is taken for want of disk space.
    pub fn disk_is_full(&self) -> bool {
        self.disk_free < DISK_RESERVE
    }

    /// Commits what the turn has written, and withholds what acknowledges it.
    ///
    /// An acknowledgement without writes of its own may rest on those of earlier turns: it waits
    /// for them too.
    fn finish_turn(&mut self) {
        let Turn { mut writes, acknowledgements } = std::mem::take(&mut self.turn);
        writes = self.slot_log.pack(writes, |offer| self.leases.slots_of(offer));
        writes.extend(self.receipts.writes());
        let (of_custody, mark) = self.custody.writes();
        writes.extend(of_custody);
        if writes.is_empty() && (acknowledgements.is_empty() || self.outbox.uncommitted() == 0) {
            acknowledgements.into_iter().for_each(|action| self.outbox.push(action));
            return;
        }
        let last = self.outbox.commit(writes, acknowledgements);
        self.landing.push_back((last, mark));
    }
}
