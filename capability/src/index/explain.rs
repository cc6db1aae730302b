//! Why so few machines can run a job, for the machines of a block at a time.

use super::bits::{BLOCK_SLOTS, Bits};
use super::column::Column;
use super::labels::Slot;
use super::machines::MachineIndex;
use super::plan::{Place, Plan};
use super::ranges::{Ranges, lowest};
use crate::explanation::{Explanation, Tally};
use crate::facts::{Fact, Runtime};
use crate::requirements::{Clause, Requirements};

/// A runtime with what the job needs in it.
struct View<'a> {
    runtime: &'a Runtime,
    presence: &'a Column,
    present: Ranges,
    /// By clause.
    needs: Vec<Plan<'a>>,
}

/// What a block has in one runtime.
struct Inside<'a> {
    runtime: &'a Runtime,
    present: Bits,
    /// By clause, slots where it does not hold.
    failing: Vec<Bits>,
    /// Slots where a clause fails, and where more than one does.
    failed: Bits,
    failed_again: Bits,
}

impl<K: Ord + Clone> MachineIndex<K> {
    /// How the machines stand to `job`: what [`crate::explain`] says of them.
    pub fn explain(&self, job: &Requirements) -> Explanation {
        let named: Vec<_> = job.runtimes.iter().filter_map(|it| self.view(it, job)).collect();
        let known: Vec<_> = Runtime::KNOWN.iter().filter_map(|it| self.view(it, job)).collect();
        let mut tally = Tally::new(job);
        for block in 0..self.layout.blocks() {
            self.count(block, &named, &known, job, &mut tally);
        }
        tally.finish()
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
        })
    }

    fn count(
        &self,
        block: u32,
        named: &[View<'_>],
        known: &[View<'_>],
        job: &Requirements,
        tally: &mut Tally<'_>,
    ) {
        let taken = self.layout.taken(block);
        let inside: Vec<_> = named.iter().map(|view| self.inside(block, view, taken)).collect();
        let (mut without, mut out, mut matching) = (*taken, Bits::NONE, Bits::NONE);
        for Inside { present, failed, .. } in &inside {
            without.subtract(present);
            out |= present;
            matching |= &present.minus(failed);
        }
        out.subtract(&matching);
        let mut elsewhere = Bits::NONE;
        for view in known.iter().filter(|_| !without.is_empty()) {
            let Inside { present, failed, .. } = self.inside(block, view, &without);
            elsewhere |= &present.minus(&failed);
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
                excluded.subtract(&inside.present.minus(&inside.failing[number]));
                alone |= &inside.only(number);
            }
            alone &= &out;
            tally.excluded[number] += excluded.count() as u64;
            for at in alone.iter() {
                let slot = block * BLOCK_SLOTS as Slot + Slot::from(at);
                let where_alone = inside.iter().filter(|inside| inside.only(number).contains(at));
                let found = where_alone.filter_map(|it| self.beside(slot, it.runtime, clause));
                tally.keep_out(number, found);
            }
        }
    }

    fn inside<'a>(&self, block: u32, view: &View<'a>, slots: &Bits) -> Inside<'a> {
        let population = view.presence.labels.slots_in(block);
        let present = view.presence.labels.find(block, &view.present, slots, u16::MAX);
        let (mut failed, mut failed_again) = (Bits::NONE, Bits::NONE);
        let failing = view.needs.iter().map(|need| {
            let failing = match present.is_empty() {
                true => Bits::NONE,
                false => present.minus(&need.find(&self.rows, block, &present, population)),
            };
            let mut again = failing;
            again &= &failed;
            failed_again |= &again;
            failed |= &failing;
            failing
        });
        let failing = failing.collect();
        Inside { runtime: view.runtime, present, failing, failed, failed_again }
    }

    /// What stands beside `clause`: the fact that it is about, or what is donated.
    fn beside(&self, slot: Slot, runtime: &Runtime, clause: &Clause) -> Option<Fact> {
        if let Clause::Donates { resource, .. } = clause {
            return Some(Fact::Number(self.rows.get(slot).resources.amount(*resource)));
        }
        let (id, column) = self.columns.fact(runtime, clause.fact()?)?;
        Some(column.value(self.rows.value(slot, id)?).fact())
    }
}

impl Inside<'_> {
    /// Slots where that clause is all that fails.
    fn only(&self, clause: usize) -> Bits {
        self.failing[clause].minus(&self.failed_again)
    }
}
