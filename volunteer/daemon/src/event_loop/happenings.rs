//! What happens outside: in the network, in jobs, in runtimes that are tried.

use capability::{Capabilities, Platform, PublicKey, StatementId};
use mesh_core::HandoverAnswer;
use mesh_net::{Event, IncomingBlob, Protocol, Reply};
use mesh_shell::{Incoming, chain, public_key, spans};
use volunteer_core::Input;

use super::EventLoop;
use crate::job::{Ran, Reins};
use crate::live;
use crate::probing::Lost;
use crate::runtimes::{self, Probe};

/// Ended jobs that become one input: no more are worked on.
const MAX_ENDS: usize = volunteer_core::MAX_JOBS;

impl EventLoop {
    pub(super) fn event(&mut self, event: Event) {
        match event {
            // Only brokers are dialled, and nobody dials us.
            Event::Connected { peer, address, .. } => {
                let peer = public_key(peer);
                self.dialer.up(peer, address);
                self.handle(Input::BrokerUp { peer });
            }
            Event::Disconnected { peer } => {
                let peer = public_key(peer);
                self.dialer.down(peer);
                self.handle(Input::BrokerDown { peer });
            }
            Event::Request { protocol: Protocol::Custody, peer, data, reply } => {
                self.handover(public_key(peer), &data, reply);
            }
            Event::Channel(incoming) => {
                let (watching, executor) = (self.settings.watching, self.executor.as_ref());
                live::take(incoming, watching, &self.core, executor, &self.link);
            }
            // Dropping the question refuses it: a volunteer answers nothing else, serves no blobs to
            // whoever asks, and takes none.
            Event::Request { .. } | Event::Blob(IncomingBlob::Get(_) | IncomingBlob::Put(_)) => {}
            Event::Gossip { .. } | Event::Listening { .. } => {}
        }
    }

    fn handover(&mut self, from: PublicKey, data: &[u8], reply: Reply) {
        match self.link.read_handover(data) {
            Ok(checked) => {
                let (incoming, bundles) = Incoming::new(checked, |_| Vec::new());
                let _span = spans::of_bundles(&bundles, from).entered();
                let id = self.next_reply();
                self.handovers.insert(id, (reply, incoming));
                self.handle(Input::Handover { from, bundles, reply: id });
            }
            Err(error) => {
                let error = chain(&error);
                tracing::debug!(peer = from.short(), error, "handover refused");
                // A peer that has gone hears nothing.
                let _ = reply.send(HandoverAnswer::Refused(error).encode());
            }
        }
    }

    /// All jobs that have ended by now: what is ready is signed together.
    pub(super) fn jobs_ended(&mut self, first: Ran) {
        self.tell_checkpoints();
        let (mut runs, mut storing) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(ran) = next {
            self.executor.ended(ran.lease);
            runs.push((ran.lease, ran.outcome));
            storing.extend(ran.storing);
            next = if runs.len() < MAX_ENDS { self.ran.try_recv().ok() } else { None };
        }
        self.core.handle(Input::Ran(runs), self.clock.now());
        // The core knows now which blobs the jobs have left.
        drop(storing);
        self.handle(Input::Wake);
    }

    /// Tells the core of which jobs there is a checkpoint now.
    pub(super) fn tell_checkpoints(&mut self) {
        let has_news = |lease: &StatementId| {
            self.executor.reins(*lease).is_some_and(Reins::has_news_of_checkpoint)
        };
        let leases: Vec<_> = self.core.jobs().map(|job| job.lease).filter(has_news).collect();
        leases.into_iter().for_each(|lease| self.handle(Input::Checkpointed { lease }));
    }

    pub(super) fn take_probes(&mut self, probes: Vec<Probe>) {
        for Probe { runtime, found, lost, effort } in &probes {
            match found {
                Ok(found) => {
                    let (facts, strength) = (found.facts.len(), &found.strength);
                    let (asked, took) = (effort.asked, effort.measuring.as_millis());
                    tracing::info!(%runtime, strength, facts, asked, took, "runtime");
                }
                Err(reason) => tracing::warn!(%runtime, reason, "runtime not offered"),
            }
            for Lost { fact, reason } in lost {
                tracing::info!(%runtime, fact, reason, "no fact");
            }
        }
        let capabilities = Capabilities {
            platform: Platform::current(),
            resources: self.settings.donated,
            runtimes: runtimes::offered(&probes),
        };
        self.probes = probes;
        self.handle(Input::Capabilities(capabilities));
    }
}
