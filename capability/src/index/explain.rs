//! Why so few machines can run a job, for the machines of a block at a time.

use super::bits::{BLOCK_SLOTS, Bits};
use super::column::Column;
use super::labels::Slot;
use super::machines::MachineIndex;
use super::plan::{Place, Plan};
use super::ranges::{Ranges, lowest};
use super::value::Key;
use crate::explanation::{Explanation, Tally, can_be_milder, parts};
use crate::facts::Runtime;
use crate::requirements::{Clause, Requirements};

/// A runtime with what the job needs in it.
struct View<'a> {
    runtime: &'a Runtime,
    presence: &'a Column,
    present: Ranges,
    /// By clause.
    needs: Vec<Plan<'a>>,
    /// By clause that is `all`, its parts.
    parts: Vec<Vec<Plan<'a>>>,
}

/// What a block has in one runtime.
struct Inside<'v, 'a> {
    view: &'v View<'a>,
    present: Bits,
    failing: Failing,
}

/// Where clauses do not hold.
struct Failing {
    /// By clause.
    each: Vec<Bits>,
    /// Slots where one fails, and where more than one does.
    any: Bits,
    again: Bits,
}

/// Where in one runtime a clause is all that fails.
struct Alone<'a> {
    runtime: &'a Runtime,
    /// By part of the clause, slots where the clause would hold if that part did.
    hinging: Vec<Bits>,
}

impl<K: Ord + Clone> MachineIndex<K> {
    /// How the machines stand to `job`: what [`crate::explain`] says of them.
    pub fn explain(&self, job: &Requirements) -> Explanation {
        let named: Vec<_> = job.distinct_runtimes().filter_map(|it| self.view(it, job)).collect();
        let known: Vec<_> = Runtime::KNOWN.iter().filter_map(|it| self.view(it, job)).collect();
        let mut tally = Tally::new(job);
        for block in 0..self.layout.blocks() {
            self.count(block, &named, &known, job, &mut tally);
        }
        tally.finish()
    }

    /// Values that [`MachineIndex::explain`] looks at one by one, at most.
    pub fn looks(&self, job: &Requirements) -> usize {
        self.len() * job.distinct_runtimes().count() * looks(&job.clauses)
    }

    fn view<'a>(&'a self, runtime: &'a Runtime, job: &'a Requirements) -> Option<View<'a>> {
        let presence = self.columns.presence(runtime)?;
        let width = presence.dictionary.width();
        let place = Place { runtime, columns: &self.columns, amounts: &self.amounts };
        Some(View {
            runtime,
            presence,
            present: Ranges::new(vec![lowest(width)..1 << width], width),
            needs: job.clauses.iter().map(|clause| place.plan(clause)).collect(),
            parts: job.clauses.iter().map(|clause| place.parts(clause)).collect(),
        })
    }

    fn count<'a>(
        &'a self,
        block: u32,
        named: &[View<'_>],
        known: &[View<'_>],
        job: &Requirements,
        tally: &mut Tally<'a>,
    ) {
        let taken = self.layout.taken(block);
        if taken.is_empty() {
            return;
        }
        let inside: Vec<_> = named.iter().map(|view| self.inside(block, view, taken)).collect();
        let (mut without, mut out, mut matching) = (*taken, Bits::NONE, Bits::NONE);
        for Inside { present, failing, .. } in &inside {
            without.subtract(present);
            out |= present;
            matching |= &present.minus(&failing.any);
        }
        out.subtract(&matching);
        let mut elsewhere = Bits::NONE;
        for view in known.iter().filter(|_| !without.is_empty()) {
            let Inside { present, failing, .. } = self.inside(block, view, &without);
            elsewhere |= &present.minus(&failing.any);
        }
        tally.known += taken.count() as u64;
        tally.matching += matching.count() as u64;
        tally.without_runtime += without.count() as u64;
        tally.elsewhere += elsewhere.count() as u64;
        if out.is_empty() {
            return;
        }
        for (number, clause) in job.clauses.iter().enumerate() {
            let (mut excluded, mut alone) = (out, Bits::NONE);
            for inside in &inside {
                excluded.subtract(&inside.present.minus(&inside.failing.each[number]));
                alone |= &inside.failing.only(number);
            }
            alone &= &out;
            tally.excluded[number] += excluded.count() as u64;
            if alone.is_empty() {
                continue;
            }
            let places: Vec<_> =
                inside.iter().map(|it| self.alone(block, it, number, clause)).collect();
            for at in alone.iter() {
                let slot = block * BLOCK_SLOTS as Slot + Slot::from(at);
                tally.keep_out(number, |part_number, part| {
                    let hinging = places.iter().filter(|it| it.hinging[part_number].contains(at));
                    hinging.filter_map(|it| self.beside(slot, it.runtime, part)).collect()
                });
            }
        }
    }

    fn inside<'v, 'a>(&self, block: u32, view: &'v View<'a>, slots: &Bits) -> Inside<'v, 'a> {
        let present = view.presence.labels.find(block, &view.present, slots, u16::MAX);
        Inside { view, present, failing: self.failing(block, view, &view.needs, &present) }
    }

    /// Where among `slots` each of `plans` does not hold.
    fn failing(&self, block: u32, view: &View<'_>, plans: &[Plan<'_>], slots: &Bits) -> Failing {
        let population = view.presence.labels.slots_in(block);
        let (mut any, mut again) = (Bits::NONE, Bits::NONE);
        let each = plans.iter().map(|plan| {
            let failing = match slots.is_empty() {
                true => Bits::NONE,
                false => slots.minus(&plan.find(&self.rows, block, slots, population)),
            };
            let mut twice = failing;
            twice &= &any;
            again |= &twice;
            any |= &failing;
            failing
        });
        let each = each.collect();
        Failing { each, any, again }
    }

    /// Where `clause`, which has that number, is all that fails.
    fn alone<'a>(
        &self,
        block: u32,
        inside: &Inside<'_, 'a>,
        number: usize,
        clause: &Clause,
    ) -> Alone<'a> {
        let Inside { view, failing, .. } = inside;
        let only = failing.only(number);
        let hinging = match clause {
            Clause::All(parts) => {
                let failing = self.failing(block, view, &view.parts[number], &only);
                (0..parts.len()).map(|part| failing.only(part)).collect()
            }
            other => vec![only; parts(other).len()],
        };
        Alone { runtime: view.runtime, hinging }
    }

    /// What stands beside `clause`: the fact that it is about, or what is donated.
    fn beside(&self, slot: Slot, runtime: &Runtime, clause: &Clause) -> Option<Key<'_>> {
        if let Clause::Donates { resource, .. } = clause {
            return Some(Key::of_number(self.rows.get(slot).resources.amount(*resource)));
        }
        let (id, column) = self.columns.fact(runtime, clause.fact()?)?;
        Some(column.value(self.rows.value(slot, id)?).key())
    }
}

/// Looks at one machine in one runtime, where one clause alone can keep it out. For a set its words are
/// passed, too.
fn looks(clauses: &[Clause]) -> usize {
    let at = |part: &Clause| match part {
        Clause::Includes { words, .. } => words.len(),
        _ => 1,
    };
    let clauses = clauses.iter().map(parts);
    let each = clauses.map(|parts| parts.iter().filter(|it| can_be_milder(it)).map(at).sum());
    each.max().unwrap_or_default()
}

impl Failing {
    /// Slots where that one is all that fails.
    fn only(&self, number: usize) -> Bits {
        self.each[number].minus(&self.again)
    }
}
