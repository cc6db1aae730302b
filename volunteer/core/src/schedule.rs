//! Whether what is in hand can be done in time: what runs, what waits, and what might be fetched beside it, played
//! through as the machine would do it.

use std::time::Duration;

use capability::Resources;

/// A task that runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Runs {
    pub needs: Resources,
    /// How long it takes yet.
    pub left: Duration,
}

/// A task that waits for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waits {
    pub needs: Resources,
    /// How long it takes usually.
    pub usual: Duration,
    /// How long it may take.
    pub limit: Duration,
    /// In which time from now it must be done.
    pub within: Duration,
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    machine: Resources,
    runs: Vec<Runs>,
    /// The one that must be done first before the others.
    waits: Vec<Waits>,
}

impl Schedule {
    /// Of a machine that has so much for jobs in all.
    pub fn new(machine: Resources, runs: Vec<Runs>, mut waits: Vec<Waits>) -> Self {
        waits.sort_by_key(|it| it.within);
        Self { machine, runs, waits }
    }

    /// One more task runs from now on.
    pub fn begin(&mut self, task: Runs) {
        self.runs.push(task);
    }

    /// One more task waits.
    pub fn add(&mut self, task: Waits) {
        let at = self.waits.partition_point(|it| it.within <= task.within);
        self.waits.insert(at, task);
    }

    /// Whether every task that waits is done in its time, should it take all that it may and those before it
    /// what they usually do.
    pub fn holds(&self) -> bool {
        let mut free = self.runs.iter().fold(self.machine, |free, it| without(free, it.needs));
        let mut runs: Vec<_> = self.runs.iter().map(|it| (it.left, it.needs)).collect();
        let mut waits = self.waits.clone();
        let mut now = Duration::ZERO;
        loop {
            let mut in_time = true;
            waits.retain(|task| {
                if !has_room(free, task.needs) {
                    return true;
                }
                free = without(free, task.needs);
                runs.push((now + task.usual, task.needs));
                in_time &= now + task.limit <= task.within;
                false
            });
            if !in_time || waits.is_empty() {
                return in_time;
            }
            let next = (0..runs.len()).min_by_key(|at| runs[*at].0);
            // What fits into no machine never begins.
            let Some(next) = next else { return false };
            let (end, needs) = runs.swap_remove(next);
            now = now.max(end);
            free = with(free, needs);
        }
    }
}

fn has_room(free: Resources, needs: Resources) -> bool {
    needs.cores <= free.cores && needs.memory <= free.memory && needs.disk <= free.disk
}

fn without(free: Resources, needs: Resources) -> Resources {
    Resources {
        cores: free.cores.saturating_sub(needs.cores),
        memory: free.memory.saturating_sub(needs.memory),
        disk: free.disk.saturating_sub(needs.disk),
    }
}

fn with(free: Resources, needs: Resources) -> Resources {
    Resources {
        cores: free.cores.saturating_add(needs.cores),
        memory: free.memory.saturating_add(needs.memory),
        disk: free.disk.saturating_add(needs.disk),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn cores(cores: u32) -> Resources {
        Resources { cores, memory: u64::from(cores) << 30, disk: u64::from(cores) << 30 }
    }

    fn task(width: u32, hours: u32, within: u32) -> Waits {
        let (usual, within) = (hours * HOUR, within * HOUR);
        Waits { needs: cores(width), usual, limit: usual, within }
    }

    fn holds(machine: u32, runs: &[(u32, u32)], waits: &[Waits]) -> bool {
        let runs =
            runs.iter().map(|(width, left)| Runs { needs: cores(*width), left: *left * HOUR });
        Schedule::new(cores(machine), runs.collect(), waits.to_vec()).holds()
    }

    #[test]
    fn tasks_follow_each_other_on_each_core() {
        assert!(holds(2, &[], &[task(1, 3, 3), task(1, 3, 3)]));
        assert!(!holds(2, &[], &[task(1, 3, 3), task(1, 3, 3), task(1, 3, 5)]));
        assert!(holds(2, &[], &[task(1, 3, 3), task(1, 3, 3), task(1, 3, 6)]));
        assert!(holds(2, &[(1, 5)], &[task(1, 3, 3), task(1, 3, 6)]));
        assert!(!holds(2, &[(1, 5), (1, 5)], &[task(1, 3, 3)]));
    }

    #[test]
    fn what_must_be_done_first_begins_first_and_narrow_tasks_fill_gaps() {
        assert!(holds(1, &[], &[task(1, 5, 9), task(1, 2, 2)]));
        // The wide one waits for both cores; the narrow one uses the second meanwhile.
        assert!(holds(2, &[(1, 4)], &[task(2, 1, 5), task(1, 4, 8)]));
        assert!(!holds(2, &[(1, 4)], &[task(2, 1, 4)]));
    }

    #[test]
    fn a_task_must_have_time_for_all_that_it_may_take_but_those_before_it_take_what_they_usually_do()
     {
        let quick = |within| Waits { usual: HOUR, ..task(1, 4, within) };
        assert!(holds(1, &[], &[quick(4), quick(5), quick(6)]));
        assert!(!holds(1, &[], &[quick(4), quick(5), quick(5)]));
    }

    #[test]
    fn what_fits_into_no_machine_holds_never() {
        assert!(!holds(2, &[], &[task(3, 1, 100)]));
        assert!(!holds(2, &[(2, 1)], &[task(3, 1, 100)]));
        assert!(holds(2, &[(2, 1)], &[]));
    }
}
