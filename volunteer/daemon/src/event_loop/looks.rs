//! What the owner changes in files, and what the machine is like: looked at now and then.

use capability::{Resources, StatementId};
use tokio::time::Instant;
use volunteer_core::{Input, Quiet, Reach};

use super::{COUNT_INTERVAL, EventLoop};
use crate::config::Settings;
use crate::hours::Hours;
use crate::lists::Lists;
use crate::news;
use crate::pins::Pins;
use crate::runtimes;
use crate::sensors::Sensors;

impl EventLoop {
    pub(super) fn look(&mut self) {
        if self.seen.pins.has_changed() {
            self.take_pins();
        }
        if self.lists.look(self.clock.now().wall) {
            self.trust();
        }
        if self.seen.owner.has_changed() {
            self.take_owner();
        }
        if self.seen.key_changes.has_changed() {
            self.take_key_changes();
        }
        if let Some(settings) = self.source.changed(&self.settings) {
            self.take_settings(settings);
        }
        self.disk_free = self.link.storage().free();
        self.handle(Input::DiskFree(self.disk_free));
        self.keep_hours();
        self.sample();
        self.tell_checkpoints();
        if self.counted.elapsed() >= COUNT_INTERVAL {
            self.counted = Instant::now();
            self.count_traffic();
        }
    }

    /// Tells the core what jobs that run have passed over the network.
    fn count_traffic(&mut self) {
        let passed = |lease: StatementId| Some((lease, self.executor.reins(lease)?.passed()));
        let passed: Vec<_> = self.core.jobs().filter_map(|job| passed(job.lease)).collect();
        for (lease, (down, up)) in passed {
            if (down, up) != (0, 0) {
                self.handle(Input::Passing { lease, down, up });
            }
        }
    }

    fn sample(&mut self) {
        if self.sensors.are_wanted() {
            let sample = self.sensors.sample(self.clock.now());
            self.handle(Input::Sampled(sample));
        }
    }

    /// Looks from now on at what the configuration says, and at once, so that nothing moves in between.
    pub(super) fn watch_owner(&mut self) {
        self.sensors = Sensors::new(self.settings.yields.clone());
        for sensor in self.sensors.report().iter().filter(|it| it.sees.is_none()) {
            tracing::warn!(doubt = sensor.line(), "doubtful setting");
        }
        self.handle(Input::GiveWay(self.settings.yields.preferences.clone()));
        self.sample();
    }

    /// Tells the core what the owner prefers, as the configuration has it.
    pub(super) fn state_preferences(&mut self) {
        self.handle(Input::Policy(self.settings.policy.clone()));
        self.handle(Input::Offline(self.settings.offline));
        self.handle(Input::WorkBuffer(self.settings.work_buffer));
        let Settings { network_down, network_up, .. } = self.settings;
        self.link.net().set_pace(network_down, network_up);
        self.handle(Input::Quota(self.settings.network_quota));
        self.keep_hours();
    }

    fn take_settings(&mut self, settings: Settings) {
        let former = std::mem::replace(&mut self.settings, settings);
        self.settings.doubts().iter().for_each(|doubt| tracing::warn!(doubt, "doubtful setting"));
        if former.brokers != self.settings.brokers {
            self.dial();
        }
        if former.donated != self.settings.donated {
            let Resources { cores, memory, disk } = self.settings.donated;
            tracing::info!(cores, memory, disk, "donates other amounts; jobs in hand may finish");
        }
        // What is donated and stated is in the facts that the probes find.
        if former.own() != self.settings.own() {
            self.probe();
        }
        if former.job_network_deny != self.settings.job_network_deny
            || former.image_repositories != self.settings.image_repositories
        {
            self.tell_pins();
        }
        self.state_preferences();
        if former.yields != self.settings.yields {
            self.watch_owner();
        }
    }

    fn keep_hours(&mut self) {
        let hold = |hours: &Option<Hours>| hours.as_ref().is_none_or(Hours::hold_now);
        let (works, uses) = (hold(&self.settings.hours), hold(&self.settings.network_hours));
        let trust = self.core.trust();
        let trusted_by = |project: &_| Some(trust.pin(project)?.voucher.as_ref()?.curator);
        let told = (works, uses, self.lists.off_hours(&self.pins, trusted_by));
        if self.hold.as_ref() == Some(&told) {
            return;
        }
        let off_hours = told.2.clone();
        self.hold = Some(told);
        self.handle(if works { Input::OnDuty } else { Input::OffDuty });
        self.handle(Input::Quiet((!uses).then_some(Quiet::Hours)));
        self.handle(Input::OffHours(off_hours));
    }

    fn take_pins(&mut self) {
        match Pins::load(&self.settings.state) {
            Ok(pins) => {
                tracing::info!(projects = pins.projects.len(), "trusted projects read again");
                self.lists = Lists::follow(&pins, &self.settings.state, self.clock.now().wall);
                self.pins = pins;
                self.trust();
            }
            Err(failure) => {
                tracing::warn!(reason = %failure, "trusted projects not read, the former ones hold");
            }
        }
    }

    /// Whom the pins and the lists name is trusted from now on.
    fn trust(&mut self) {
        self.dial();
        // Of what is new nothing is taken outside of its hours.
        self.keep_hours();
        self.tell_pins();
    }

    /// Tells the core whom the owner trusts, and with what.
    pub(super) fn tell_pins(&mut self) {
        let Settings { job_network_deny, image_repositories, .. } = &self.settings;
        let mut pins = self.lists.all_pins(&self.pins);
        for Reach { denied, repositories, .. } in pins.iter_mut().map(|pin| &mut pin.reach) {
            denied.clone_from(job_network_deny);
            repositories.clone_from(image_repositories);
        }
        self.handle(Input::Pins(pins));
    }

    /// No job depends on it, so that a damaged file is told of and stops nothing.
    pub(super) fn take_owner(&mut self) {
        match self.owner.load() {
            Ok(Some(ownership)) => {
                news::owned(&ownership, self.clock.now().wall);
                self.handle(Input::Owner(Some(ownership)));
            }
            Ok(None) => self.handle(Input::Owner(None)),
            Err(failure) => {
                tracing::warn!(reason = %failure, "owner not read, the former one holds");
            }
        }
    }

    pub(super) fn take_key_changes(&mut self) {
        match self.key_changes.load(self.clock.now().wall) {
            Ok(changes) => self.handle(Input::Declare(changes)),
            Err(failure) => tracing::warn!(reason = %failure, "key changes not read"),
        }
    }

    pub(super) fn dial(&mut self) {
        let own = &self.settings.brokers;
        self.dialer.want(if own.is_empty() { self.lists.brokers(&self.pins) } else { own.clone() });
    }

    /// Tries the runtimes beside the loop.
    pub(super) fn probe(&self) {
        let (runtimes, own) = (self.runtimes.clone(), self.settings.own());
        let home = self.probed.sender.clone();
        tokio::task::spawn_blocking(move || {
            // The loop may be over by then.
            let _ = home.send(runtimes::probe(&runtimes, &own));
        });
    }
}
