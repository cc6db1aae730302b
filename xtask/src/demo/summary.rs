//! What came of it: a matrix, and the ways that results took.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Result, bail};
use xtask::events::Event;

use super::cast::Cast;

/// Results by machine and builder, and the path of each.
pub struct Summary {
    /// By volunteer and offer: passed, failed.
    cells: BTreeMap<(String, String), (u64, u64)>,
    /// By path, how many results took it, and of which offers.
    paths: BTreeMap<String, (u64, BTreeSet<String>)>,
    /// Who declined what, and why.
    declined: BTreeSet<(String, String, String)>,
    /// Results accepted twice for one task.
    twice: Vec<String>,
    receipts: usize,
}

impl Summary {
    /// Draws the sum of `events`.
    pub fn of(events: &[Event], cast: &Cast) -> Self {
        let mut cells: BTreeMap<_, (u64, u64)> = BTreeMap::new();
        let mut paths: BTreeMap<_, (u64, BTreeSet<String>)> = BTreeMap::new();
        let (mut seen, mut twice) = (BTreeSet::new(), Vec::new());
        for event in events.iter().filter(|event| event.name == "accepted") {
            let (offer, volunteer) =
                (cast.of(&event.field("offer")), cast.of(&event.field("volunteer")));
            let cell = cells.entry((volunteer.clone(), offer.clone())).or_default();
            let count = if event.field("ended") == "passed" { &mut cell.0 } else { &mut cell.1 };
            *count += 1;
            if !seen.insert((offer.clone(), event.field("task"))) {
                twice.push(format!("{offer} task {}", event.field("task")));
            }
            let path = path(events, cast, &event.field("statement"), &volunteer, &event.who);
            let entry = paths.entry(path).or_default();
            entry.0 += 1;
            entry.1.insert(offer);
        }
        let declined = events.iter().filter(|event| event.name == "offer declined");
        let declined = declined.map(|it| (it.who.clone(), it.field("name"), it.field("reason")));
        let receipts = events.iter().filter(|event| event.name == "receipt").count();
        Self { cells, paths, declined: declined.collect(), twice, receipts }
    }

    /// An error unless everything that the demo promises has happened.
    pub fn check(&self, native: bool, sweep_tasks: u64) -> Result<()> {
        let total = |offer: &str| {
            let of_offer = self.cells.iter().filter(|((_, column), _)| column == offer);
            of_offer.fold((0, 0), |sum, (_, cell)| (sum.0 + cell.0, sum.1 + cell.1))
        };
        let expected = [
            ("sweep", (sweep_tasks, 0)),
            ("hello-make", (u64::from(native), 0)),
            ("hello-make-broken", (0, u64::from(native))),
        ];
        for (offer, expected) in expected {
            let found = total(offer);
            if found != expected {
                bail!(
                    "{offer}: {found:?} results (passed, failed) were accepted, not {expected:?}"
                );
            }
        }
        if !self.twice.is_empty() {
            bail!("accepted twice: {}", self.twice.join(", "));
        }
        let accepted: u64 = self.paths.values().map(|(count, _)| count).sum();
        if self.receipts != usize::try_from(accepted)? {
            bail!("{accepted} results were accepted, and {} receipts came back", self.receipts);
        }
        if self.declined.is_empty() {
            bail!("nobody declined the stranger's offer");
        }
        let crossed_one = self.paths.keys().filter(|path| path.matches("broker-").count() < 2);
        if let Some(path) = crossed_one.into_iter().next() {
            bail!("a result crossed fewer than two brokers: {path}");
        }
        Ok(())
    }
}

/// volunteer → broker → … → master, from who took custody of the result when.
fn path(events: &[Event], cast: &Cast, result: &str, volunteer: &str, master: &str) -> String {
    let taken = events.iter().filter(|it| {
        it.name == "custody taken"
            && it.field("kind") == "result"
            && it.field("statement") == result
    });
    let next: BTreeMap<_, _> =
        taken.map(|it| (cast.of(&it.field("from")), it.who.clone())).collect();
    let mut stations = vec![volunteer.to_owned()];
    while let Some(station) = next.get(stations.last().expect("never empty")) {
        if stations.contains(station) {
            break;
        }
        stations.push(station.clone());
    }
    stations.push(master.to_owned());
    stations.join(" → ")
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: BTreeSet<_> = self.cells.keys().map(|(row, _)| row).collect();
        let columns: BTreeSet<_> = self.cells.keys().map(|(_, column)| column).collect();
        let platform = format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH);
        writeln!(f, "Results by machine and job (passed/failed):")?;
        write!(f, "  {:28}", "")?;
        columns.iter().try_for_each(|column| write!(f, " {column:>18}"))?;
        writeln!(f)?;
        for row in rows {
            write!(f, "  {:28}", format!("{row} ({platform})"))?;
            for column in &columns {
                let cell = self.cells.get(&(row.clone(), (*column).clone()));
                let cell = cell.map_or_else(|| "-".to_owned(), |(ok, bad)| format!("{ok}/{bad}"));
                write!(f, " {cell:>18}")?;
            }
            writeln!(f)?;
        }
        writeln!(f, "\nHow the results travelled:")?;
        for (path, (count, offers)) in &self.paths {
            let offers: Vec<_> = offers.iter().map(String::as_str).collect();
            writeln!(f, "  {count:3} × {path}  ({})", offers.join(", "))?;
        }
        writeln!(f, "\nDeclined:")?;
        for (who, name, reason) in &self.declined {
            writeln!(f, "  {who}: {name}: {reason}")?;
        }
        writeln!(f, "\n{} receipts have come back to the volunteers.", self.receipts)
    }
}
