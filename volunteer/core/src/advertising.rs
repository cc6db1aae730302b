//! The ad: at the primary, as long as it is true.

use std::time::Duration;

use capability::statements::Ad;
use capability::{PublicKey, Verified};
use mesh_core::{Answer, Ask, CallFailed, Mono};

use crate::action::{Idle, News};
use crate::backoff::Backoff;
use crate::volunteer::{Call, Volunteer};

/// An ad that nobody renews is forgotten after that time.
const AD_LIFETIME: Duration = Duration::from_secs(60 * 60);
/// Well before its end, so that the ad in a claim is always current.
const AD_INTERVAL: Duration = Duration::from_secs(20 * 60);
const FIRST_AD_WAIT: Duration = Duration::from_millis(500);
const LONGEST_AD_WAIT: Duration = Duration::from_secs(15);

/// The ad at the primary.
#[derive(Debug, Default)]
pub(crate) struct Advertising {
    /// The newest; may be unknown to the primary.
    pub current: Option<Verified<Ad>>,
    /// Whether the primary has taken it.
    pub taken: bool,
    /// Why the primary has refused it last.
    refused: Option<String>,
    under_way: bool,
    renew_at: Mono,
    backoff: Backoff,
}

impl Volunteer {
    pub(crate) fn advertise(&mut self) {
        let now = self.now;
        let due = !self.ad.taken || self.ad.renew_at <= now.mono;
        if !due || self.ad.under_way || !self.ad.backoff.is_over(now.mono) || self.is_leaving() {
            return;
        }
        let (Some(broker), Some(capabilities)) = (self.primary(), self.machine.clone()) else {
            return;
        };
        let (seq, encryption) = (self.number(), self.encryption);
        let expires = now.wall + AD_LIFETIME;
        let ad = Ad { seq, broker, capabilities, encryption, expires };
        let ad = Verified::sign(ad, &*self.signer);
        self.ad.current = Some(ad.clone());
        self.ad.under_way = true;
        self.ad.renew_at = now.mono + AD_INTERVAL;
        self.ask(Call::Advertise, Ask::Advertise { ad });
        self.news(News::AdSent { broker, seq });
    }

    pub(crate) fn advertised(&mut self, by: PublicKey, answer: &Result<Answer, CallFailed>) {
        self.ad.under_way = false;
        if self.primary() != Some(by) {
            return;
        }
        self.ad.refused = match answer {
            Ok(Answer::Refused(refusal)) => Some(refusal.to_string()),
            _ => None,
        };
        if matches!(answer, Ok(Answer::Done)) {
            self.ad.taken = self.ad.current.as_ref().is_some_and(|ad| ad.broker == by);
            self.ad.backoff = Backoff::default();
        } else {
            self.ad.taken = false;
            self.ad.backoff.fail(self.now.mono, FIRST_AD_WAIT, LONGEST_AD_WAIT);
        }
    }

    /// The primary does not know our ad, or not as it should be.
    pub(crate) fn advertise_again(&mut self) {
        self.ad.taken = false;
        self.ad.backoff.fail(self.now.mono, FIRST_AD_WAIT, LONGEST_AD_WAIT);
    }
}

impl Advertising {
    /// What keeps the primary from matching us.
    pub fn obstacle(&self) -> Option<Idle> {
        let why = || self.refused.clone().map_or(Idle::NotAdvertised, Idle::AdRefused);
        (!self.taken).then(why)
    }

    /// The primary is another, or the ad has become untrue.
    pub fn drop_taken(&mut self) {
        *self = Self { current: self.current.take(), under_way: self.under_way, ..Self::default() };
    }

    /// It is not offered anew before that time.
    pub fn not_before(&mut self, time: Mono) {
        self.backoff.not_before = self.backoff.not_before.max(time);
    }

    pub fn next_wake(&self) -> Option<Mono> {
        let at = if self.taken { self.renew_at } else { self.backoff.not_before };
        (!self.under_way).then_some(at)
    }
}
