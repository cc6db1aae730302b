//! What the prober says, read against the table.

use std::collections::{BTreeMap, BTreeSet};

use capability::FactName;

use super::cache::{Entry, Known, Verdict};
use super::exchange::{Answer, Line, Machine};
use super::reading::first_line;
use super::table::{LIBC, Row, Table};

/// What was found.
#[derive(Debug, Default)]
pub struct Survey {
    pub(super) machine: Machine,
    pub(super) versions: BTreeMap<FactName, String>,
    /// What is there, and is no fact; sorted.
    pub lost: Vec<Lost>,
    /// How many programs and files were asked; the cache knew the others.
    pub asked: usize,
}

/// Something that is there, and is no fact.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Lost {
    /// What it would be.
    pub fact: String,
    /// Why it is none.
    pub reason: String,
}

impl Survey {
    /// Reads the `output` of a prober that was told what is `known`; gives what to keep as well.
    ///
    /// # Errors
    /// If it says nothing of the machine; for people.
    pub fn read(table: &Table, known: &Known, output: &str) -> Result<(Self, Known), String> {
        let mut survey = Self::default();
        let mut kept = Known::new();
        let mut silent: BTreeSet<&str> = table.iter().map(|(fact, _)| fact.as_str()).collect();
        // The last line of a prober that was ended may be half a line.
        for line in output.lines().filter_map(|line| serde_json::from_str(line).ok()) {
            match line {
                Line::Machine(machine) => survey.machine = machine,
                Line::Answer { fact, answer } => {
                    let Some((fact, row)) = table.get_key_value(&fact) else { continue };
                    silent.remove(fact.as_str());
                    let entry = survey.take(fact, row, answer, known.get(fact.as_str()));
                    kept.extend(entry.map(|entry| (fact.to_string(), entry)));
                }
            }
        }
        if survey.machine == Machine::default() {
            return Err(format!("the prober in the sandbox says nothing: {}", first_line(output)));
        }
        let reason = "was not asked: the prober was ended before its time";
        silent.into_iter().for_each(|fact| survey.lose(fact, reason.to_owned()));
        survey.lost.sort();
        Ok((survey, kept))
    }

    /// Takes an `answer` in; gives what to keep of it.
    fn take(
        &mut self,
        fact: &FactName,
        row: &Row,
        answer: Answer,
        known: Option<&Entry>,
    ) -> Option<Entry> {
        self.asked += usize::from(!matches!(answer, Answer::Absent | Answer::Unchanged));
        let entry = match answer {
            Answer::Absent => return None,
            Answer::Unchanged => known?.clone(),
            Answer::Said { stamp, text } => Entry { stamp, verdict: verdict(row, &text) },
            Answer::Failed { stamp, reason } => Entry { stamp, verdict: Verdict::None(reason) },
            Answer::Unanswered { reason } => {
                self.lose(fact.as_str(), reason);
                return None;
            }
        };
        match &entry.verdict {
            Verdict::Version(version) => {
                self.versions.insert(fact.clone(), version.clone());
            }
            // Another C library's program is no loss.
            Verdict::None(_) if row.group == LIBC => {}
            Verdict::None(reason) => self.lose(fact.as_str(), reason.clone()),
        }
        Some(entry)
    }

    fn lose(&mut self, fact: &str, reason: String) {
        self.lost.push(Lost { fact: fact.to_owned(), reason });
    }
}

fn verdict(row: &Row, text: &str) -> Verdict {
    match row.version(text) {
        Some(version) => Verdict::Version(version),
        None => Verdict::None(format!("says no version: {}", first_line(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::exchange::Stamp;
    use super::*;

    fn stamp(modified: i64) -> Stamp {
        Stamp { path: "/usr/bin/it".to_owned(), modified, size: 7 }
    }

    fn said(fact: &str, text: &str) -> Line {
        let answer = Answer::Said { stamp: stamp(1), text: text.to_owned() };
        Line::Answer { fact: fact.to_owned(), answer }
    }

    fn answered(fact: &str, answer: Answer) -> Line {
        Line::Answer { fact: fact.to_owned(), answer }
    }

    /// The machine, these lines, and that everything else is absent.
    fn output(lines: Vec<Line>) -> String {
        let machine = Machine { kernel: "6.1".to_owned(), ..Machine::default() };
        let table = Table::built_in();
        let absent = table.iter().map(|(fact, _)| answered(fact.as_str(), Answer::Absent));
        let all = std::iter::once(Line::Machine(machine)).chain(absent).chain(lines);
        let lines: Vec<_> = all.map(|line| serde_json::to_string(&line).expect("a line")).collect();
        lines.join("\n")
    }

    fn read(known: &Known, output: &str) -> (Survey, Known) {
        Survey::read(&Table::built_in(), known, output).expect("a machine")
    }

    #[test]
    fn what_was_found_once_is_not_asked_again_and_is_still_found() {
        let (first, kept) = read(&Known::new(), &output(vec![said("tool.make", "GNU Make 4.3")]));
        assert_eq!((first.asked, first.versions.len(), kept.len()), (1, 1, 1));
        let unchanged = output(vec![answered("tool.make", Answer::Unchanged)]);
        let (again, kept_again) = read(&kept, &unchanged);
        assert_eq!((again.asked, &again.versions), (0, &first.versions));
        assert_eq!(kept_again, kept);
        let (gone, kept) = read(&kept, &output(Vec::new()));
        assert_eq!((gone.versions.len(), kept.len()), (0, 0));
    }

    #[test]
    fn a_failure_of_its_own_is_kept_and_one_of_the_machine_is_not() {
        let failed =
            Answer::Failed { stamp: stamp(1), reason: "ends with exit code 1: no".to_owned() };
        let unanswered = Answer::Unanswered { reason: "did not answer within 5 s".to_owned() };
        let lines = vec![
            answered("tool.make", failed),
            answered("tool.java", unanswered),
            said("tool.git", "what?"),
            said("libc.musl", "ldd (Debian GLIBC 2.36-9) 2.36"),
        ];
        let (survey, kept) = read(&Known::new(), &output(lines));
        let lost: Vec<_> =
            survey.lost.iter().map(|it| (it.fact.as_str(), it.reason.as_str())).collect();
        let expected = [
            ("tool.git", "says no version: what?"),
            ("tool.java", "did not answer within 5 s"),
            ("tool.make", "ends with exit code 1: no"),
        ];
        assert_eq!(lost, expected);
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["libc.musl", "tool.git", "tool.make"]);
        assert_eq!(survey.versions.len(), 0);
    }

    #[test]
    fn a_prober_that_was_ended_loses_what_it_had_not_asked() {
        let whole = output(vec![said("tool.make", "GNU Make 4.3")]);
        let cut = &whole[..whole.len() / 2];
        let (survey, _) = read(&Known::new(), cut);
        assert!(survey.lost.iter().any(|lost| lost.fact == "tool.zstd"), "{:?}", survey.lost);
        assert!(survey.lost.iter().all(|lost| lost.reason.starts_with("was not asked")));
        let nothing = Survey::read(&Table::built_in(), &Known::new(), "cannot execute\n");
        assert!(nothing.expect_err("no machine").ends_with("says nothing: cannot execute"));
    }

    #[test]
    fn answers_that_nobody_asked_for_are_passed_over() {
        let lines = vec![said("tool.frob", "1.2.3"), answered("tool.make", Answer::Unchanged)];
        let (survey, kept) = read(&Known::new(), &output(lines));
        assert_eq!((survey.versions.len(), survey.lost.len(), kept.len()), (0, 0, 0));
    }
}
