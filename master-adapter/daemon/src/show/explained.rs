//! Who could run a job, on a terminal.

use std::fmt::Write;

use mesh_shell::escape_line;

use super::plural;
use crate::model::{Advice, ComparisonView, ExplanationView, NeedView};

/// Every requirement with whom it keeps out, and what would gain most.
pub fn explanation(view: &ExplanationView) -> String {
    let ExplanationView { name, broker, known, matching, needs, advice } = view;
    let (name, broker) = (escape_line(name), broker.short());
    let mut text = match known {
        0 => format!("{name}: the home broker {broker} knows no machine yet\n"),
        _ => format!(
            "{name}: {matching} of {} could run it, of those that the home broker {broker} knows\n",
            plural(*known, "machine")
        ),
    };
    text += "\nkeeps out  alone  requirement\n";
    for NeedView { line, excludes, alone, .. } in needs {
        // All but the disk are in that table.
        let line = escape_line(line.strip_prefix("requirements.").unwrap_or(line));
        writeln!(text, "{excludes:>9}  {alone:>5}  {line}").expect("to a string");
    }
    match advice {
        Some(advice) => text += &self::advice(advice),
        None if matching < known => {
            text +=
                "\nno single change would let in more: each of the others lacks several things\n";
        }
        None => {}
    }
    text
}

fn advice(advice: &Advice) -> String {
    let Advice { instead_of, write, gains } = advice;
    let instead_of = escape_line(instead_of);
    let most = format!("\n{gains} more could run it, the most that one change gains,");
    match write {
        Some(write) => {
            format!("{most} with\n  {}\ninstead of\n  {instead_of}\n", escape_line(write))
        }
        None if instead_of.starts_with("requirements.runtimes ") => {
            format!("{most} in another runtime beside\n  {instead_of}\n")
        }
        None => format!("{most} without\n  {instead_of}\n"),
    }
}

/// Every requirement with the fact that a machine has beside it.
pub fn comparison(view: &ComparisonView) -> String {
    let ComparisonView { name, volunteer, label, runtime, rank, comparison, .. } = view;
    let mut text = format!("{}: volunteer {}", escape_line(name), volunteer.short());
    if let Some(label) = label {
        write!(text, " ({})", escape_line(label)).expect("to a string");
    }
    match (runtime, rank) {
        (Some(runtime), Some(rank)) => write!(text, " could run it in {runtime}, rank {rank}"),
        (Some(runtime), None) => write!(text, " could run it in {runtime}"),
        (None, _) => write!(text, " could not run it"),
    }
    .expect("to a string");
    text.push('\n');
    for line in comparison.to_string().lines() {
        writeln!(text, "{}", escape_line(line)).expect("to a string");
    }
    text
}

#[cfg(test)]
mod tests {
    use capability::{Clause, Need, PublicKey, Runtime};

    use super::*;

    fn need(line: &str, excludes: u64, alone: u64) -> NeedView {
        let need = Need::Clause(Clause::Unknown { kind: String::new() });
        NeedView { line: line.into(), need, excludes, alone, relaxed: None }
    }

    #[test]
    fn an_explanation_is_a_table_and_an_advice() {
        let view = ExplanationView {
            name: "hello".into(),
            broker: PublicKey::from_bytes([1; 32]),
            known: 340,
            matching: 12,
            needs: vec![
                need("requirements.tools.cmake = \">=3.25\"", 210, 35),
                need("limits.disk = \"1 GiB\"", 4, 0),
            ],
            advice: Some(Advice {
                instead_of: "requirements.tools.cmake = \">=3.25\"".into(),
                write: Some("requirements.tools.cmake = \">=3.22\"".into()),
                gains: 30,
            }),
        };
        let broker = view.broker.short();
        assert_eq!(
            explanation(&view),
            format!(
                "hello: 12 of 340 machines could run it, of those that the home broker {broker} knows\n\
                 \n\
                 keeps out  alone  requirement\n\
                 \x20     210     35  tools.cmake = \">=3.25\"\n\
                 \x20       4      0  limits.disk = \"1 GiB\"\n\
                 \n\
                 30 more could run it, the most that one change gains, with\n\
                 \x20 requirements.tools.cmake = \">=3.22\"\n\
                 instead of\n\
                 \x20 requirements.tools.cmake = \">=3.25\"\n"
            )
        );
        let none = explanation(&ExplanationView { advice: None, ..view.clone() });
        assert!(none.ends_with(
            "\nno single change would let in more: each of the others lacks several things\n"
        ));
        let nobody = ExplanationView { advice: None, known: 0, matching: 0, ..view };
        assert!(explanation(&nobody).contains("knows no machine yet"));
    }

    #[test]
    fn what_only_goes_is_told_apart_from_what_changes() {
        let advised =
            |line: &str| advice(&Advice { instead_of: line.into(), write: None, gains: 2 });
        let gone = advised("requirements.facts.label = \"*\"");
        assert!(gone.contains("gains, without\n  requirements.facts.label"), "{gone}");
        let other = advised("requirements.runtimes = [\"wasm\"]");
        assert!(other.contains("gains, in another runtime beside\n"), "{other}");
    }

    #[test]
    fn words_of_a_volunteer_do_not_reach_the_terminal_as_they_are() {
        let view = ComparisonView {
            name: "hello".into(),
            broker: PublicKey::from_bytes([1; 32]),
            volunteer: PublicKey::from_bytes([2; 32]),
            label: Some("big\u{202e}one".into()),
            runtime: Some(Runtime::Native),
            rank: Some(7),
            comparison: capability::Comparison { runtimes: Vec::new() },
        };
        let text = comparison(&view);
        assert!(text.contains("(big\\u{202e}one) could run it in native, rank 7\n"), "{text}");
    }
}
