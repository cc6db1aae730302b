//! Questions to other brokers that have not been answered yet.

use std::collections::{BTreeMap, BTreeSet};

use capability::PublicKey;
use capability::statements::Class;
use mesh_core::{CallId, ReplyId};

/// Questions of others forwarded at a time, and as many of our own, at most.
pub const MAX_FORWARDED: usize = 1_000;

/// Questions for ads at a time, at most: of one private job with all the volunteers that it can name, at a
/// broker with 16 links. They do not count as forwarded: who asks for ads keeps nobody from claiming.
const MAX_SEEKING: usize = 1_024;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    open: BTreeMap<CallId, Purpose>,
    forwarded: usize,
    seeking: usize,
    classes: BTreeSet<(PublicKey, Class)>,
    next: u64,
}

/// What a question is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Somebody waits for its answer.
    Forward { reply: ReplyId },
    /// The ad of a volunteer, for which somebody waits.
    Ad { reply: ReplyId },
    /// The ads of a class of another broker's volunteers.
    Ads { broker: PublicKey, class: Class },
}

impl Calls {
    /// A call for `purpose`, unless there are too many, or one for just that is out.
    pub(crate) fn open(&mut self, purpose: Purpose) -> Option<CallId> {
        match &purpose {
            Purpose::Forward { .. } if self.forwarded >= MAX_FORWARDED => return None,
            Purpose::Forward { .. } => self.forwarded += 1,
            Purpose::Ad { .. } if self.seeking >= MAX_SEEKING => return None,
            Purpose::Ad { .. } => self.seeking += 1,
            Purpose::Ads { .. } if self.classes.len() >= MAX_FORWARDED => return None,
            Purpose::Ads { broker, class } => {
                if !self.classes.insert((*broker, class.clone())) {
                    return None;
                }
            }
        }
        let call = CallId(self.next);
        self.next += 1;
        self.open.insert(call, purpose);
        Some(call)
    }

    /// What the call that was just answered was for.
    pub(crate) fn close(&mut self, call: CallId) -> Option<Purpose> {
        let purpose = self.open.remove(&call)?;
        match &purpose {
            Purpose::Forward { .. } => self.forwarded -= 1,
            Purpose::Ad { .. } => self.seeking -= 1,
            Purpose::Ads { broker, class } => {
                self.classes.remove(&(*broker, class.clone()));
            }
        }
        Some(purpose)
    }
}
