//! What others than this daemon and its jobs do on the machine: how much they compute, and whether a named
//! program runs.
//!
//! All processes below the daemon are its own, jobs in their namespaces too: what leaves its parent there
//! belongs to the first process of the namespace. Children that have ended count for who has waited for
//! them, so that their time is not lost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{entries, read};

/// Processes looked at; beyond, the machine has other troubles.
const MAX_PROCESSES: usize = 32_768;

/// The kernel keeps so many bytes of a program's name.
const COMM_BYTES: usize = 15;

/// The clocks as they were, in ticks.
#[derive(Debug, Clone, Copy)]
struct Ticks {
    all: u64,
    busy: u64,
    own: u64,
}

/// Remembers the last walk, because a rate takes two.
#[derive(Debug, Default)]
pub struct Processes {
    before: Option<Ticks>,
}

/// What a walk has found.
pub struct Seen {
    /// Percent of all cores that others used since the last walk.
    pub load: Option<u8>,
    /// One of the programs that were looked for.
    pub program: Option<String>,
}

/// One line about a process.
struct Process {
    id: u32,
    parent: u32,
    name: String,
    ticks: u64,
}

impl Processes {
    /// Looks at all processes below `proc`, also for `programs`.
    pub fn walk(&mut self, proc: &Path, programs: &[String]) -> Seen {
        let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
        let paths = entries(proc).filter(|path| number(path).is_some()).take(MAX_PROCESSES);
        let all: Vec<_> =
            paths.filter_map(|path| Process::read(&read(&path.join("stat"))?)).collect();
        let own = own(&all);
        let is_own = |process: &&Process| own.contains(&process.id);
        let ticks = all.iter().filter(is_own).map(|process| process.ticks).sum();
        let clocks = read_clocks(proc, ticks);
        let load = clocks.zip(self.before).and_then(|(now, before)| now.load_since(before));
        self.before = clocks;
        let named = |program: &&String| {
            let end = program.floor_char_boundary(COMM_BYTES);
            all.iter().any(|it| it.name == program[..end] && !own.contains(&it.id))
        };
        Seen { load, program: programs.iter().find(named).cloned() }
    }
}

/// This process and all below it.
fn own(all: &[Process]) -> BTreeSet<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for process in all {
        children.entry(process.parent).or_default().push(process.id);
    }
    let (mut own, mut next) = (BTreeSet::new(), vec![std::process::id()]);
    while let Some(id) = next.pop() {
        if own.insert(id) {
            next.extend(children.get(&id).into_iter().flatten());
        }
    }
    own
}

impl Process {
    /// What `/proc/<id>/stat` says. The name is in brackets and may hold brackets and spaces.
    fn read(stat: &str) -> Option<Self> {
        let (id, rest) = stat.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        // From the third field of proc(5) on: the parent is the fourth, the times are the 14th to 17th.
        let fields: Vec<_> = rest.split_whitespace().take(15).collect();
        let times = fields.get(11..15)?.iter().map(|ticks| ticks.parse::<u64>().ok());
        Some(Self {
            id: id.parse().ok()?,
            parent: fields.get(1)?.parse().ok()?,
            name: name.to_owned(),
            ticks: times.sum::<Option<u64>>()?,
        })
    }
}

impl Ticks {
    fn load_since(self, before: Self) -> Option<u8> {
        let passed = self.all.saturating_sub(before.all);
        let busy = self.busy.saturating_sub(before.busy);
        let others = busy.saturating_sub(self.own.saturating_sub(before.own));
        let percent = others.saturating_mul(100).checked_div(passed)?;
        u8::try_from(percent.min(100)).ok()
    }
}

/// The clocks of all processors together: user, nice, system, idle, waiting, interrupts (two), stolen.
fn read_clocks(proc: &Path, own: u64) -> Option<Ticks> {
    let text = read(&proc.join("stat"))?;
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).map_while(|it| it.parse().ok()).collect();
    let [user, nice, system, idle, waiting, hard, soft, stolen] = *ticks.first_chunk()?;
    let busy = user + nice + system + hard + soft;
    Some(Ticks { all: busy + idle + waiting + stolen, busy, own })
}
