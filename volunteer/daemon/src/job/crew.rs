//! The jobs that run at the same time, and the check beside them: each has a slot of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use capability::statements::Ended;
use capability::{BlobKey, KEY_BYTES, Runtime, StatementId};
use mesh_shell::spans;
use tokio::runtime::Handle;
use tokio::sync::{RwLock, mpsc};
use volunteer_core::{CheckEnd, CheckOrder, Order, Outcome};

use super::{Executor, Place, Ran, Reins, check};
use crate::runtimes::{JobRuntime, Slot};

/// What a check takes of the machine's cores, as the core counts it.
const CHECK_CORES: u32 = 1;

/// Starts jobs and holds their reins.
pub struct Crew {
    place: Place,
    runtimes: BTreeMap<Runtime, Arc<dyn JobRuntime>>,
    jobs: BTreeMap<StatementId, (Arc<Slot>, Arc<Reins>)>,
    /// The check that runs, or the last one, which holds its slot no more.
    check: Option<(Weak<Slot>, Arc<Reins>)>,
    /// Jobs that store blobs hold it for reading.
    storing: Arc<RwLock<()>>,
    done: mpsc::UnboundedSender<Ran>,
}

impl Crew {
    /// Nobody works yet. Ends are told to `done`.
    pub fn new(
        place: Place,
        runtimes: &[Arc<dyn JobRuntime>],
        done: mpsc::UnboundedSender<Ran>,
    ) -> Self {
        let runtimes = runtimes.iter().map(|it| (it.runtime(), Arc::clone(it))).collect();
        let storing = Arc::new(RwLock::new(()));
        Self { place, runtimes, jobs: BTreeMap::new(), check: None, storing, done }
    }

    /// A slot with `cores`, beside those that are taken.
    fn free_slot(&self, cores: u32) -> Arc<Slot> {
        let check = self.check.as_ref().and_then(|(slot, _)| slot.upgrade());
        let taken: Vec<&Slot> =
            self.jobs.values().map(|(slot, _)| slot).chain(&check).map(Arc::as_ref).collect();
        Arc::new(Slot::beside(&taken, &Slot::available(), cores))
    }
}

impl Executor for Crew {
    /// On a thread of its own.
    fn start(&mut self, order: Order) {
        let (lease, slot) = (order.lease, self.free_slot(order.cores));
        let reins = Arc::new(Reins::default());
        self.jobs.insert(lease, (Arc::clone(&slot), Arc::clone(&reins)));
        let runtime = self.runtimes.get(&order.runtime).cloned();
        let (place, storing, done) =
            (self.place.clone(), Arc::clone(&self.storing), self.done.clone());
        let here = Handle::current();
        let body = move || {
            let _span = spans::of_task(&order.task).entered();
            let lock = move || here.block_on(storing.read_owned());
            let (outcome, storing) = match runtime {
                Some(runtime) => super::run(&order, runtime.as_ref(), &slot, &reins, &place, lock),
                None => (not_run(&place, "its runtime is not offered here"), lock()),
            };
            // The daemon may be gone by now.
            let _ = done.send(Ran { lease, outcome, storing: Some(storing) });
        };
        if let Err(error) = std::thread::Builder::new().name("job".to_owned()).spawn(body) {
            let outcome = not_run(&self.place, &format!("no thread for it: {error}"));
            let (done, storing) = (self.done.clone(), Arc::clone(&self.storing));
            tokio::spawn(async move {
                let storing = Some(storing.read_owned().await);
                let _ = done.send(Ran { lease, outcome, storing });
            });
        }
    }

    fn check(&mut self, order: CheckOrder, done: Box<dyn FnOnce(CheckEnd) + Send>) {
        let slot = self.free_slot(CHECK_CORES);
        let reins = Arc::new(Reins::default());
        self.check = Some((Arc::downgrade(&slot), Arc::clone(&reins)));
        let runtime = self.runtimes.get(&order.check.runtime).cloned();
        let place = self.place.clone();
        tokio::task::spawn_blocking(move || {
            done(match runtime {
                Some(runtime) => check::run(&order, runtime.as_ref(), &slot, &reins, &place),
                None => CheckEnd::NotRun("its runtime is not offered here".to_owned()),
            });
        });
    }

    fn stop_check(&self) {
        self.check.iter().for_each(|(_, reins)| reins.stop());
    }

    fn reins(&self, lease: StatementId) -> Option<&Reins> {
        self.jobs.get(&lease).map(|(_, reins)| reins.as_ref())
    }

    fn ended(&mut self, lease: StatementId) {
        self.jobs.remove(&lease);
    }

    fn unless_storing(&self, remove: &mut dyn FnMut()) {
        let Ok(_nobody_stores) = self.storing.try_write() else { return };
        remove();
    }
}

fn not_run(place: &Place, reason: &str) -> Outcome {
    let now = place.clock.now().wall;
    Outcome {
        ended: Ended::Machine(super::short(reason)),
        steps: Vec::new(),
        artifacts: Vec::new(),
        blobs: Vec::new(),
        // Nothing is encrypted with it.
        key: BlobKey::from_bytes([0; KEY_BYTES]),
        leftover: Vec::new(),
        system: String::new(),
        started: now,
        finished: now,
        resumed: 0,
        network_down: 0,
        network_up: 0,
    }
}
