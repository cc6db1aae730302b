//! Whose volunteer is that? A volunteer's ad is with its own broker, which may be one that is linked.

use std::collections::BTreeMap;

use capability::statements::Ad;
use capability::{PublicKey, Verified};
use mesh_core::{Answer, Ask, CallFailed, Now, ReplyId};

use super::Broker;
use crate::calls::Purpose;
use crate::contract::Action;

/// Questions for a volunteer's ad that linked brokers were asked too. Each has at least one call open,
/// of which there is a bounded number.
#[derive(Debug, Default)]
pub(super) struct Searches(BTreeMap<ReplyId, Search>);

#[derive(Debug)]
struct Search {
    volunteer: PublicKey,
    /// Brokers that have not answered yet.
    awaited: usize,
    newest: Option<Verified<Ad>>,
}

impl Broker {
    /// Answers with the ad of `volunteer`; what is not known here, linked brokers are asked (rule C40).
    pub(super) fn seek_ad(&mut self, from: PublicKey, volunteer: PublicKey, reply: ReplyId) {
        let known = self.ads.of(volunteer).cloned();
        if known.is_some() || self.routes.is_linked(from) {
            return self.reply(reply, Answer::Ads(known.into_iter().collect()));
        }
        let mut awaited = 0;
        for broker in self.routes.links() {
            let Some(call) = self.calls.open(Purpose::Ad { reply }) else { break };
            self.outbox.push(Action::Ask { to: broker, call, ask: Ask::Ad { volunteer } });
            awaited += 1;
        }
        if awaited == 0 {
            return self.reply(reply, Answer::Ads(Vec::new()));
        }
        self.searches.0.insert(reply, Search { volunteer, awaited, newest: None });
    }

    /// A linked broker has answered, or cannot. The last one ends the search: so none can keep a newer
    /// ad back by being quick with an old one.
    pub(super) fn sought(&mut self, reply: ReplyId, answer: Result<Answer, CallFailed>, now: Now) {
        let Some(search) = self.searches.0.get_mut(&reply) else { return };
        search.awaited -= 1;
        if let Ok(Answer::Ads(ads)) = answer {
            let sound =
                |ad: &Verified<Ad>| ad.signer() == search.volunteer && ad.current(now.wall).is_ok();
            let found = ads.into_iter().filter(sound).chain(search.newest.take());
            search.newest = found.max_by_key(|ad| ad.seq);
        }
        if search.awaited == 0 {
            let newest = self.searches.0.remove(&reply).and_then(|search| search.newest);
            self.reply(reply, Answer::Ads(newest.into_iter().collect()));
        }
    }
}
