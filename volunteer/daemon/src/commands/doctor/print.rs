//! The diagnosis for people.

use std::collections::BTreeMap;

use capability::{FactKind, fact_kind, format_bytes};
use mesh_shell::{escape_line, outln};

use super::{Diagnosis, Gpu, InRuntime, Project, Remedy, Timing};
use crate::probing::Table;

/// Columns of a line.
const WIDTH: usize = 100;
/// Columns of what stands before the facts of a group.
const MARGIN: usize = 20;

/// Prints a line, in which nothing that others wrote moves the cursor or turns the text around.
macro_rules! say {
    ($($line:tt)*) => { outln!("{}", escape_line(&format!($($line)*))) };
}

/// Groups of facts that are no tools, by what their names begin with; the first that fits.
const GROUPS: [(&str, &str); 18] = [
    ("os", "system"),
    ("arch", "system"),
    ("distribution", "system"),
    ("kernel", "system"),
    ("libc", "system"),
    ("wasi", "system"),
    ("cpu.", "processor"),
    ("machine.", "machine"),
    ("donated.", "donated"),
    ("hours", "donated"),
    ("label", "labels"),
    ("sandbox.", "sandbox"),
    ("network", "sandbox"),
    ("wasm.", "engine"),
    ("library.", "libraries"),
    ("check.", "checks"),
    ("tool.", "tools"),
    ("", "other"),
];

/// Prints all of it.
pub fn all(diagnosis: &Diagnosis, table: &Table, timing: Timing) {
    for runtime in &diagnosis.runtimes {
        print_runtime(runtime, table, timing);
    }
    diagnosis.sensors.iter().for_each(|sensor| say!("sensor: {}", sensor.line()));
    diagnosis.gpus.iter().for_each(print_gpu);
    diagnosis.projects.iter().for_each(print_project);
    if !diagnosis.daemon_runs && !diagnosis.projects.is_empty() {
        say!("");
        say!("no daemon runs here, which would know what checks have found and what is declined");
    }
    if let Some(job) = &diagnosis.job {
        say!("");
        say!("job {}", job.name);
        job.comparison.to_string().lines().for_each(|line| say!("  {line}"));
        print_missing(&job.missing);
    }
}

fn print_runtime(runtime: &InRuntime, table: &Table, timing: Timing) {
    let InRuntime { status, lost, self_test_ms, measuring_ms, asked } = runtime;
    match &status.reason {
        Some(reason) => say!("{}: not offered: {reason}", status.runtime),
        None => {
            let strength = status.strength.as_deref().unwrap_or_default();
            say!("{}: offered ({strength}); jobs find:", status.runtime);
        }
    }
    for (group, facts) in grouped(&status.facts, table) {
        wrapped(&group, &facts).iter().for_each(|line| say!("{line}"));
    }
    if !lost.is_empty() {
        say!("  there, and of no use to jobs (--fresh asks again):");
        lost.iter().for_each(|lost| say!("    {}: {}", lost.fact, lost.reason));
    }
    if timing == Timing::Shown {
        say!("  took {self_test_ms:.1} ms to try, {measuring_ms:.1} ms to measure; {asked} asked");
    }
}

/// The facts by group, in the order of [`GROUPS`], and tools by the groups of the table.
fn grouped(facts: &BTreeMap<String, String>, table: &Table) -> Vec<(String, Vec<String>)> {
    let mut groups: BTreeMap<(usize, String), Vec<String>> = BTreeMap::new();
    for (name, value) in facts {
        let place = GROUPS.iter().position(|(begin, _)| name.starts_with(begin));
        let place = place.unwrap_or(GROUPS.len() - 1);
        let row = table.get_key_value(name).filter(|_| name.starts_with("tool."));
        let group = row.map_or(GROUPS[place].1, |(_, row)| row.group.as_str()).to_owned();
        groups.entry((place_of(&group, place), group)).or_default().push(shown(name, value));
    }
    groups.into_iter().map(|((_, group), facts)| (group, facts)).collect()
}

/// What belongs together comes where the first of it does.
fn place_of(group: &str, place: usize) -> usize {
    GROUPS.iter().position(|(_, known)| *known == group).unwrap_or(place)
}

fn shown(name: &str, value: &str) -> String {
    let short = ["tool.", "library."].iter().find_map(|family| name.strip_prefix(family));
    match (short, value.parse::<u64>()) {
        (Some(short), _) => format!("{short} {value}"),
        (None, Ok(bytes)) if fact_kind(name) == Some(FactKind::Bytes) => {
            format!("{name} = {}", format_bytes(bytes))
        }
        (None, _) => format!("{name} = {value}"),
    }
}

/// The group's facts in lines with a margin. Only a fact that is longer than a line is broken, at its
/// words.
fn wrapped(group: &str, facts: &[String]) -> Vec<String> {
    let facts = facts.iter().enumerate().map(|(index, fact)| {
        let more = index + 1 < facts.len();
        format!("{fact}{}", if more { "," } else { "" })
    });
    let mut lines = Vec::new();
    let mut line = format!("  {group:<width$}", width = MARGIN - 2);
    for fact in facts {
        let whole = fact.chars().count() <= WIDTH - MARGIN;
        let pieces: Vec<&str> = if whole { vec![&fact] } else { fact.split(' ').collect() };
        for piece in pieces {
            let is_begun = line.chars().count() > MARGIN;
            if is_begun && line.chars().count() + 1 + piece.chars().count() > WIDTH {
                lines.push(std::mem::replace(&mut line, " ".repeat(MARGIN)));
            } else if is_begun {
                line.push(' ');
            }
            line.push_str(piece);
        }
    }
    lines.push(line);
    lines
}

fn print_gpu(gpu: &Gpu) {
    let Gpu { vendor, model, driver } = gpu;
    let vendor = if vendor.is_empty() { "of unknown make" } else { vendor };
    say!("GPU {vendor} {model} (driver {driver}): no fact, since the sandbox passes none through");
}

fn print_project(project: &Project) {
    let Project { key, name, runtimes, checks, declined } = project;
    say!("");
    say!("project {}", if name.is_empty() { key } else { name });
    for (runtime, obstacle) in runtimes {
        match obstacle {
            None => say!("  may use {runtime}, which works"),
            Some(obstacle) => say!("  may use {runtime}, which does not work: {obstacle}"),
        }
    }
    for check in checks {
        say!("  check {}", check.status.outcome());
        print_missing(&check.missing);
    }
    for declined in declined {
        say!("  declined {}: {}", declined.status.name, declined.status.advice.reason);
        print_missing(&declined.missing);
    }
}

fn print_missing(missing: &[Remedy]) {
    missing.iter().for_each(|it| say!("    to get {}: {}", it.what, it.remedy));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_stand_in_groups() {
        let facts = [
            ("arch", "x86_64"),
            ("check.sorter.big", "yes"),
            ("cpu.level", "4"),
            ("donated.memory", "2147483648"),
            ("frob", "1"),
            ("library.zlib", "1.2.13"),
            ("os", "linux"),
            ("tool.frob", "1.0"),
            ("tool.g++", "12.2.0"),
            ("tool.gcc", "12.2.0"),
        ];
        let facts = facts.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let groups: Vec<_> = grouped(&facts, &Table::built_in())
            .into_iter()
            .map(|(group, facts)| format!("{group}: {}", facts.join(", ")))
            .collect();
        let expected = [
            "system: arch = x86_64, os = linux",
            "processor: cpu.level = 4",
            "donated: donated.memory = 2 GiB",
            "libraries: zlib 1.2.13",
            "checks: check.sorter.big = yes",
            "compiler: g++ 12.2.0, gcc 12.2.0",
            "tools: frob 1.0",
            "other: frob = 1",
        ];
        assert_eq!(groups, expected);
    }

    #[test]
    fn lines_are_of_a_width_and_lose_no_word() {
        let facts: Vec<_> = (0..40).map(|number| format!("tool{number} 1.{number}.0")).collect();
        let lines = wrapped("compiler", &facts);
        assert!(lines.len() > 3 && lines.iter().all(|line| line.chars().count() <= WIDTH));
        let words: Vec<_> = lines.iter().flat_map(|line| line.split_whitespace()).skip(1).collect();
        assert_eq!(words.join(" "), facts.join(", "));
        let long = ["x".repeat(2 * WIDTH)];
        assert_eq!(wrapped("a", &long).len(), 1, "there is nowhere to break it");
    }
}
