//! Peers that come and go, the brokers among them, and what brokers tell each other unasked.

use capability::statements::Offer;
use capability::{Envelope, PublicKey, Verified};
use mesh_core::{
    Answer, Gossip, MAX_STATEMENTS_A_FRAME, Now, ReconcileAnswer, ReconcileAsk, ReplyId, Shard,
    Topic, compare, differences, one_frame,
};

use super::Broker;
use crate::card::MAX_LINKS;
use crate::contract::{Action, Direction, News, ReconcileNews, ReconcileQuery};
use crate::exchange::{Exchange, Step};
use crate::gossip_set::{Admission, GossipSet, Subject};

impl Broker {
    pub(super) fn peer_up(&mut self, peer: PublicKey, direction: Direction, now: Now) {
        self.peers.insert(peer, direction);
        self.dialling.connected(peer);
        self.ads.came(peer);
        if direction == Direction::Outbound {
            self.exchanges.entry(peer).or_insert_with(|| Exchange::introducing(now));
        }
        self.link_if_broker(peer, now);
        self.custody.came(peer);
    }

    pub(super) fn peer_down(&mut self, peer: PublicKey, now: Now) {
        self.peers.remove(&peer);
        self.custody.gone(peer);
        self.exchanges.remove(&peer);
        self.ads_due.remove(&peer);
        self.ads.went(peer, now);
        if let Some(pull) = self.pulls.end(peer) {
            self.reply(pull.reply, Answer::Offers(Vec::new()));
        }
        if self.routes.is_linked(peer) {
            self.routes.link_down(peer);
            self.card.changed(now);
            self.news(News::LinkDown { peer });
            // There may be room again for a broker that came in vain.
            let left_out = |it: &PublicKey| self.routes.knows(*it) && !self.routes.is_linked(*it);
            if let Some(broker) = self.peers.keys().copied().find(left_out) {
                self.link_if_broker(broker, now);
            }
        }
        self.dialling.stir(now);
    }

    fn is_outbound(&self, peer: PublicKey) -> bool {
        self.peers.get(&peer) == Some(&Direction::Outbound)
    }

    /// A connected peer whose own card is known is a link.
    ///
    /// Of those that dial us only as many as a card states, first come first kept: anybody can make
    /// keys and dial, and must not push out whom we found already, or chose ourselves.
    pub(super) fn link_if_broker(&mut self, peer: PublicKey, now: Now) {
        if self.works_for(peer).is_err() {
            return;
        }
        let is_new = self.routes.knows(peer) && !self.routes.is_linked(peer);
        let can_be_asked = self.peers.get(&peer).is_some_and(|way| *way != Direction::Door);
        if !is_new || !can_be_asked {
            return;
        }
        if !self.is_outbound(peer) && self.routes.links().count() >= MAX_LINKS {
            return;
        }
        self.routes.link_up(peer);
        self.exchanges.entry(peer).or_insert_with(|| Exchange::introducing(now));
        self.card.changed(now);
        self.custody.retry();
        self.news(News::LinkUp { peer });
        self.pull_ads_of(peer, now);
    }

    pub(super) fn dial(&mut self, now: Now) {
        if self.dialling.due() > now.mono {
            return;
        }
        let is_connected = |peer| self.peers.contains_key(&peer);
        for address in self.dialling.addresses(self.me, &self.routes, is_connected, now) {
            self.outbox.push(Action::Dial { address });
        }
    }

    /// Makes a new card and new summaries when they are due.
    pub(super) fn tell_of_ourselves(&mut self, now: Now) {
        if self.card.due() <= now.mono {
            let mut links: Vec<_> = self.routes.links().collect();
            links.sort_by_key(|link| !self.is_outbound(*link));
            let card = self.card.issue(links.into_iter(), &*self.signer, now);
            self.tell(Gossip::Card(card));
        }
        if self.summaries.due().is_some_and(|due| due <= now.mono) {
            let current = self.ads.summaries();
            for summary in self.summaries.issue(current, &*self.signer, now) {
                self.tell(Gossip::Summary(summary));
            }
        }
    }

    fn tell(&mut self, gossip: Gossip) {
        if self.known.admit(&gossip) == Admission::News {
            self.publish(gossip);
        }
    }

    pub(super) fn publish(&mut self, gossip: Gossip) {
        for topic in self.topics_of(&gossip) {
            self.outbox.push(Action::Publish { topic, gossip: gossip.clone() });
        }
    }

    /// Goes on with the exchanges that wait for nothing.
    pub(super) fn compare_with_others(&mut self, now: Now) {
        let own_card = self.known.of(&Subject::Card(self.me)).cloned();
        for (peer, exchange) in &mut self.exchanges {
            while let Some(step) = exchange.next_step(now) {
                if let Some(ask) = question(step, exchange, &self.known, own_card.as_ref()) {
                    self.outbox.push(Action::Reconcile { to: *peer, ask });
                    break;
                }
                exchange.answered(now);
            }
        }
    }

    pub(super) fn reconciled(&mut self, from: PublicKey, answer: ReconcileNews, now: Now) {
        // The peer may have gone; what it said is sound all the same.
        let exchange = self.exchanges.get_mut(&from);
        match answer {
            ReconcileNews::Differs(different) => {
                if let Some(exchange) = exchange {
                    exchange.compared(compare(self.known.ids(), &different));
                    exchange.answered(now);
                }
            }
            ReconcileNews::Statements(statements) => {
                if let Some(exchange) = exchange {
                    exchange.fetched(&statements.iter().map(Gossip::id).collect());
                    exchange.answered(now);
                }
                self.learn_all(statements, now);
            }
            ReconcileNews::Thanks => {
                exchange.into_iter().for_each(|exchange| exchange.answered(now));
            }
            ReconcileNews::Failed => {
                exchange.into_iter().for_each(|exchange| exchange.failed(now));
            }
        }
    }

    pub(super) fn compared_with(&mut self, ask: &ReconcileQuery, reply: ReplyId) {
        let answer = match ask {
            ReconcileQuery::Compare(branches) => {
                ReconcileAnswer::Differs(differences(self.known.ids(), branches))
            }
            ReconcileQuery::Fetch(ids) => {
                let ids = ids.iter().take(MAX_STATEMENTS_A_FRAME);
                let kept = ids.filter_map(|id| self.known.envelope(*id));
                ReconcileAnswer::Statements(one_frame(kept))
            }
        };
        self.outbox.push(Action::ReplyReconcile { reply, answer });
    }

    pub(super) fn topics_of(&self, gossip: &Gossip) -> Vec<Topic> {
        let of_offer = |offer: &Verified<Offer>| {
            let shard = Shard::of_offer(offer);
            shard.into_iter().map(Topic::Offers).collect()
        };
        match gossip {
            Gossip::Card(_) => vec![Topic::Cards],
            Gossip::Registration(_)
            | Gossip::Home(_)
            | Gossip::Revocation(_)
            | Gossip::Succession(_) => vec![Topic::Masters],
            Gossip::Offer(offer) => of_offer(offer),
            Gossip::Withdrawal(withdrawal) => {
                let offer = self.book.offer(withdrawal.statement);
                offer.map_or_else(|| vec![Topic::Offers(Shard::wasm())], of_offer)
            }
            Gossip::Summary(summary) => {
                let shards =
                    Shard::known().into_iter().filter(|shard| shard.to_string() == summary.shard);
                shards.map(Topic::Summaries).collect()
            }
        }
    }
}

/// What to ask, unless it has become needless.
fn question(
    step: Step,
    exchange: &mut Exchange,
    known: &GossipSet,
    own_card: Option<&Envelope>,
) -> Option<ReconcileAsk> {
    match step {
        Step::Introduce => own_card.map(|card| ReconcileAsk::Give(vec![card.clone()])),
        Step::Start => Some(ReconcileAsk::start(known.ids())),
        Step::Compare(branches) => Some(ReconcileAsk::Compare(branches)),
        Step::Fetch(mut ids) => {
            ids.retain(|id| !known.contains(*id));
            exchange.fetches(&ids);
            (!ids.is_empty()).then_some(ReconcileAsk::Fetch(ids))
        }
        Step::Give(mut ids) => {
            ids.retain(|id| known.contains(*id));
            let given = one_frame(ids.iter().filter_map(|id| known.envelope(*id)));
            let rest = ids.split_off(given.len());
            if !rest.is_empty() {
                exchange.goes_on_with(Step::Give(rest));
            }
            (!given.is_empty()).then_some(ReconcileAsk::Give(given))
        }
    }
}
