//! A job's preferences, translated into what the columns of one runtime say of them.

use super::bits::Bits;
use super::labels::Slot;
use super::plan::{Place, Plan};
use super::rows::{ColumnId, Rows};
use super::wanted::Wanted;
use crate::facts::FactName;
use crate::matching::share;
use crate::requirements::Preference;

/// What is preferred in one runtime.
pub(super) struct Preferences<'a> {
    place: Place<'a>,
    /// Clauses with the points that they bring, most first.
    pub(super) holding: Vec<(u64, Plan<'a>)>,
    numbers: Vec<Number<'a>>,
}

/// A number that is preferred large or small.
struct Number<'a> {
    /// Points for each degree.
    weight: u64,
    fact: &'a FactName,
    column: ColumnId,
    /// That there is a number at all.
    stated: Plan<'a>,
    aim: Aim,
}

enum Aim {
    /// Up to this.
    More(u64),
    /// Down from this.
    Less(u64),
}

impl<'a> Preferences<'a> {
    pub(super) fn new(place: Place<'a>, rank: &'a [Preference]) -> Self {
        let (mut holding, mut numbers) = (Vec::new(), Vec::new());
        for preference in rank {
            let (weight, fact, aim) = match preference {
                Preference::Holds { weight, clause } => {
                    holding.push((u64::from(*weight) * Preference::DEGREES, place.plan(clause)));
                    continue;
                }
                Preference::More { weight, fact, enough } => (*weight, fact, Aim::More(*enough)),
                Preference::Less { weight, fact, bearable } => {
                    (*weight, fact, Aim::Less(*bearable))
                }
                Preference::Unknown { .. } => continue,
            };
            // What no machine states, or counts nothing, brings no points.
            if let Some((column, _)) = place.columns.fact(place.runtime, fact)
                && weight > 0
            {
                let stated = place.leaf(fact, vec![Wanted::Numbers { low: 0, high: u64::MAX }]);
                numbers.push(Number { weight: weight.into(), fact, column, stated, aim });
            }
        }
        holding.sort_by_key(|(points, _)| std::cmp::Reverse(*points));
        Self { place, holding, numbers }
    }

    /// The most points that the clauses from the one at `index` of `holding` on can bring.
    pub(super) fn most_from(&self, index: usize) -> u64 {
        self.holding[index..].iter().map(|(points, _)| *points).sum()
    }

    /// The most points that numbers can bring to `slots`: nothing where none has the fact, as on
    /// another kind of machine.
    pub(super) fn most_of_numbers<K>(
        &self,
        rows: &Rows<K>,
        block: u32,
        slots: &Bits,
        population: u16,
    ) -> u64 {
        let brings =
            |number: &&Number<'_>| !number.stated.find(rows, block, slots, population).is_empty();
        self.numbers.iter().filter(brings).map(Number::most).sum()
    }

    /// Those of `slots` whose numbers may bring `needed` points.
    pub(super) fn narrow<K>(
        &self,
        needed: u64,
        rows: &Rows<K>,
        block: u32,
        slots: &Bits,
        population: u16,
    ) -> Bits {
        let most: u64 = self.numbers.iter().map(Number::most).sum();
        if needed > most {
            return Bits::NONE;
        }
        let mut found = *slots;
        for number in &self.numbers {
            let others = most - number.most();
            let degree = needed.saturating_sub(others).div_ceil(number.weight);
            if degree > 0 {
                let plan = self.place.leaf(number.fact, vec![number.reaching(degree)]);
                found = plan.find(rows, block, &found, population);
            }
        }
        found
    }

    /// The points that the numbers of the machine in `slot` bring.
    pub(super) fn numbers_of<K>(&self, rows: &Rows<K>, slot: Slot) -> u64 {
        let points = |number: &Number<'_>| {
            let id = rows.value(slot, number.column)?;
            let value = self.place.columns.get(number.column).value(id).number()?;
            Some(number.weight * number.aim.degree(value))
        };
        self.numbers.iter().filter_map(points).sum()
    }
}

impl Number<'_> {
    fn most(&self) -> u64 {
        self.weight * Preference::DEGREES
    }

    /// The numbers that bring at least `degree`, which is above 0.
    fn reaching(&self, degree: u64) -> Wanted<'static> {
        match self.aim {
            Aim::More(enough) => Wanted::Numbers { low: part(enough, degree), high: u64::MAX },
            Aim::Less(bearable) => {
                // The first number that brings less.
                let end = part(bearable, Preference::DEGREES + 1 - degree);
                Wanted::Numbers { low: 0, high: end.saturating_sub(1) }
            }
        }
    }
}

impl Aim {
    fn degree(&self, number: u64) -> u64 {
        match *self {
            Self::More(enough) => share(number, enough),
            Self::Less(bearable) => Preference::DEGREES - share(number, bearable),
        }
    }
}

/// The least number that is `degrees` of `whole`, if not all of it is meant.
fn part(whole: u64, degrees: u64) -> u64 {
    let product = u128::from(whole) * u128::from(degrees);
    let least = product.div_ceil(u128::from(Preference::DEGREES));
    u64::try_from(least).expect("a part is not more than the whole")
}
