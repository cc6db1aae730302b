//! What channels may take of a broker: how many at a time, and how many bytes in a second (rule C48).
//!
//! Bytes over the pace are not dropped but wait, and whoever sends them with them.

use std::collections::BTreeMap;
use std::time::Duration;

use capability::ProjectKey;
use mesh_core::{ChannelRefusal, Mono};

/// Channels in all: each holds some tens of kilobytes and two tasks.
pub const MAX_CHANNELS: usize = 256;

/// Channels of one project: an eighth of all.
pub const MAX_CHANNELS_A_PROJECT: usize = MAX_CHANNELS / 8;

/// Bytes a second of one project's channels, both directions together: what some builds write that are talkative.
pub const PROJECT_PACE: u32 = 1 << 20;

/// Bytes a second of all channels.
pub const PACE: u32 = 16 << 20;

/// What opening a channel counts as, in bytes: it asks brokers and a volunteer, and has them calculate.
const OPENING: usize = 64 << 10;

/// So much time's bytes may pass at once.
const BURST: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub struct ChannelShares {
    projects: BTreeMap<ProjectKey, Share>,
    open: usize,
    /// When what all channels have passed is paid for.
    paid: Mono,
}

#[derive(Debug, Default)]
struct Share {
    open: usize,
    /// When what its channels have passed is paid for.
    paid: Mono,
}

impl ChannelShares {
    /// Takes a place for a channel of `project`; to be given back by [`Self::leave`].
    ///
    /// # Errors
    /// As many as there may be are open, or were opened lately.
    pub fn enter(&mut self, project: ProjectKey, now: Mono) -> Result<(), ChannelRefusal> {
        // Who has passed nothing for a burst's time is as good as new.
        self.projects.retain(|_, share| share.open > 0 || share.paid + BURST > now);
        let share = self.projects.entry(project).or_default();
        let hurried = share.paid - now > Duration::ZERO;
        if self.open >= MAX_CHANNELS || share.open >= MAX_CHANNELS_A_PROJECT || hurried {
            return Err(ChannelRefusal::Full);
        }
        self.open += 1;
        share.open += 1;
        pay(&mut share.paid, OPENING, PROJECT_PACE, now);
        Ok(())
    }

    /// A channel of `project` is over.
    pub fn leave(&mut self, project: ProjectKey) {
        if let Some(share) = self.projects.get_mut(&project) {
            share.open = share.open.saturating_sub(1);
            self.open = self.open.saturating_sub(1);
        }
    }

    /// How long `bytes` of a channel of `project` have to wait before they go on.
    pub fn pass(&mut self, project: ProjectKey, bytes: usize, now: Mono) -> Duration {
        let of_all = pay(&mut self.paid, bytes, PACE, now);
        let share = self.projects.get_mut(&project);
        share.map_or(of_all, |share| of_all.max(pay(&mut share.paid, bytes, PROJECT_PACE, now)))
    }
}

/// Counts `bytes` at a pace of so many a second; gives how long they have to wait.
fn pay(paid: &mut Mono, bytes: usize, pace: u32, now: Mono) -> Duration {
    // What was not used for longer than a burst is lost.
    let earliest = Mono(now.0.saturating_sub(BURST));
    let takes = Duration::from_secs_f64(bytes as f64 / f64::from(pace));
    *paid = (*paid).max(earliest) + takes;
    *paid - now
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Mono = Mono(Duration::from_secs(1000));

    fn project(n: u8) -> ProjectKey {
        ProjectKey::from_bytes([n; 32])
    }

    #[test]
    fn one_project_cannot_take_all_places_and_gets_its_own_back() {
        let mut shares = ChannelShares::default();
        let mut now = NOW;
        let mut enter = |shares: &mut ChannelShares, n| {
            now = now + Duration::from_secs(1);
            shares.enter(project(n), now)
        };
        for _ in 0..MAX_CHANNELS_A_PROJECT {
            enter(&mut shares, 1).expect("there is a place");
        }
        assert_eq!(enter(&mut shares, 1), Err(ChannelRefusal::Full));
        enter(&mut shares, 2).expect("another's places are free");
        shares.leave(project(1));
        enter(&mut shares, 1).expect("one was given back");
    }

    #[test]
    fn all_places_together_are_bounded() {
        let mut shares = ChannelShares::default();
        let all = (0..=255).cycle().take(2 * MAX_CHANNELS);
        let entered = all.filter(|n| shares.enter(project(*n), NOW).is_ok()).count();
        assert_eq!(entered, MAX_CHANNELS);
    }

    #[test]
    fn who_opens_channels_all_the_time_has_to_wait() {
        let mut shares = ChannelShares::default();
        let mut opened = 0;
        while shares.enter(project(1), NOW).is_ok() {
            shares.leave(project(1));
            opened += 1;
        }
        assert_eq!(opened, 17, "a second's worth of bytes, and one more");
        shares.enter(project(2), NOW).expect("nobody else has to");
        shares.enter(project(1), NOW + Duration::from_secs(1)).expect("nor the same for long");
    }

    #[test]
    fn a_project_that_sends_faster_than_its_pace_waits_and_nobody_with_it() {
        let mut shares = ChannelShares::default();
        shares.enter(project(1), NOW).expect("there is a place");
        shares.enter(project(2), NOW).expect("there is a place");
        let frame = 16 << 10;
        let (mut now, mut sent) = (NOW, 0);
        while now - NOW < Duration::from_secs(10) {
            now = now + shares.pass(project(1), frame, now);
            sent += frame;
        }
        let most = 11 * PROJECT_PACE as usize + frame;
        assert!((9 * PROJECT_PACE as usize..most).contains(&sent), "{sent} bytes in 10 s");
        assert_eq!(shares.pass(project(2), frame, now), Duration::ZERO);
    }
}
