//! What a job has used of the network, and what it was refused.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::network::{NetworkUse, NotConnected, Passed};

/// Refusals that are told one by one; of what comes later only the number.
const MAX_REFUSED: usize = 32;

/// Shared by the threads of a proxy.
#[derive(Debug)]
pub struct Ledger {
    most: u64,
    used: Mutex<NetworkUse>,
}

impl Ledger {
    /// Nothing was used yet of `most` bytes.
    pub fn new(most: u64) -> Self {
        Self { most, used: Mutex::default() }
    }

    /// A connection stands.
    pub fn connected(&self) {
        self.lock().connections += 1;
    }

    /// So many bytes have come, and gone. Answers whether more may.
    pub fn pass(&self, down: usize, up: usize) -> bool {
        let mut used = self.lock();
        used.down = used.down.saturating_add(down as u64);
        used.up = used.up.saturating_add(up as u64);
        used.down.saturating_add(used.up) < self.most
    }

    /// Whether nothing is left to pass.
    pub fn is_used_up(&self) -> bool {
        !self.pass(0, 0)
    }

    /// A connection with `destination` has not come about, or has been cut.
    pub fn refuse(&self, destination: String, reason: &str) {
        let mut used = self.lock();
        let known = used.refused.iter_mut();
        let mut known = known.filter(|it| it.destination == destination && it.reason == reason);
        if let Some(known) = known.next() {
            known.times += 1;
        } else if used.refused.len() < MAX_REFUSED {
            used.refused.push(NotConnected { destination, reason: reason.to_owned(), times: 1 });
        } else {
            used.refused_beyond += 1;
        }
    }

    /// The bytes so far.
    pub fn passed(&self) -> Passed {
        let used = self.lock();
        Passed { down_so_far: used.down, up_so_far: used.up }
    }

    /// All of it so far.
    pub fn read(&self) -> NetworkUse {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, NetworkUse> {
        // Each holder leaves it whole at every step.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_and_their_list_is_bounded() {
        let ledger = Ledger::new(1);
        for number in 0..100 {
            ledger.refuse(format!("host-{number}.example:443"), "it is not listed");
            ledger.refuse("host-0.example:443".to_owned(), "it is not listed");
        }

        let used = ledger.read();

        assert_eq!((used.refused.len(), used.refused_beyond), (MAX_REFUSED, 68));
        assert_eq!(used.refused[0].times, 101);
    }

    #[test]
    fn the_last_byte_ends_it() {
        let ledger = Ledger::new(10);
        assert!(ledger.pass(4, 5) && !ledger.is_used_up());
        assert!(!ledger.pass(0, 1) && ledger.is_used_up());
    }
}
