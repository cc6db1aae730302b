//! One setting changed in the text of a configuration, and all else left as its owner wrote it.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// `text` with the setting `path` as `value`, which is TOML. `None` where that takes a person.
pub fn set(text: &str, path: &[&str], value: &str) -> Option<String> {
    let edited = match find(text, path) {
        Some(span) => replaced(text, span, value),
        None => added(text, path, value)?,
    };
    // Whatever the text was like: the outcome is what was asked for, or nothing is done.
    let wanted = toml::from_str::<toml::Table>(&format!("value = {value}")).ok()?;
    let found = toml::from_str::<toml::Table>(&edited).ok()?;
    let (last, tables) = path.split_last()?;
    let mut table = &found;
    for name in tables {
        table = table.get(*name)?.as_table()?;
    }
    (table.get(*last) == wanted.get("value")).then_some(edited)
}

/// Where the value of `path` is.
fn find(text: &str, path: &[&str]) -> Option<Range<usize>> {
    let document = DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    let (last, tables) = path.split_last()?;
    for name in tables {
        let DeValue::Table(inner) = table.get(*name)?.get_ref() else { return None };
        table = inner;
    }
    table.get(*last).map(Spanned::span)
}

fn replaced(text: &str, span: Range<usize>, value: &str) -> String {
    format!("{}{value}{}", &text[..span.start], &text[span.end..])
}

/// A line more: below the example that is commented out, or where its table begins or ends.
fn added(text: &str, path: &[&str], value: &str) -> Option<String> {
    let mut lines: Vec<&str> = text.lines().collect();
    let is_header = |line: &&str| line.trim_start().starts_with('[');
    let [tables @ .., last] = path else { return None };
    let line = format!("{last} = {value}");
    let header = format!("[{}]", tables.join("."));
    let (begin, end) = if tables.is_empty() {
        (0, lines.iter().position(is_header).unwrap_or(lines.len()))
    } else if let Some(at) = lines.iter().position(|line| line.trim() == header) {
        let rest = &lines[at + 1..];
        (at + 1, at + 1 + rest.iter().position(is_header).unwrap_or(rest.len()))
    } else {
        lines.extend(["", &header, &line]);
        return Some(lines.join("\n") + "\n");
    };
    let example = |shown: &&str| {
        let shown = shown.strip_prefix('#').and_then(|shown| shown.strip_prefix(last));
        shown.is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    let example = lines[begin..end].iter().position(example).map(|at| begin + at + 1);
    // Comments that stand before a header belong to it.
    let comments = lines[begin..end].iter().rev().take_while(|line| line.starts_with('#')).count();
    let usual = if end == lines.len() { end } else { end - comments };
    lines.insert(example.unwrap_or(usual), &line);
    Some(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TEMPLATE;

    fn check(text: &str, path: &[&str], value: &str, expected: &str) {
        assert_eq!(set(text, path, value).as_deref(), Some(expected));
    }

    #[test]
    fn a_value_is_replaced_where_it_stands() {
        check(
            "cores = 1 # few\nname = \"a\"\n",
            &["cores"],
            "\"50%\"",
            "cores = \"50%\" # few\nname = \"a\"\n",
        );
        let hours = "hours = [\n  \"01:00-02:00\", # night\n]\n# end\n";
        check(hours, &["hours"], "\"22:00-07:00\"", "hours = \"22:00-07:00\"\n# end\n");
        check("[in-use]\nload = 5\n", &["in-use", "load"], "50", "[in-use]\nload = 50\n");
        check("in-use.load = 5\n", &["in-use", "load"], "50", "in-use.load = 50\n");
        check("in-use = { load = 5 }\n", &["in-use", "load"], "50", "in-use = { load = 50 }\n");
    }

    #[test]
    fn a_new_value_comes_below_its_example_and_before_all_tables() {
        check(
            "# Cores.\n#cores = 2\n\n[policy]\n",
            &["cores"],
            "4",
            "# Cores.\n#cores = 2\ncores = 4\n\n[policy]\n",
        );
        check("# Wanted:\n[policy]\n", &["cores"], "4", "cores = 4\n# Wanted:\n[policy]\n");
        check("", &["cores"], "4", "cores = 4\n");
        check("cores = 4", &["in-use", "load"], "50", "cores = 4\n\n[in-use]\nload = 50\n");
        check(
            "[in-use]\n#load = 1\n[policy]\n",
            &["in-use", "load"],
            "50",
            "[in-use]\n#load = 1\nload = 50\n[policy]\n",
        );
    }

    #[test]
    fn every_line_of_the_template_is_still_there_afterwards() {
        for (path, value) in [(&["cores"][..], "4"), (&["in-use", "load"][..], "50")] {
            let edited = set(TEMPLATE, path, value).expect("it can be said");
            let mut lines = edited.lines();
            assert!(TEMPLATE.lines().all(|line| lines.any(|it| it == line)), "{edited}");
        }
    }

    #[test]
    fn what_cannot_be_said_so_is_left_to_a_person() {
        assert_eq!(set("in-use = { }\n", &["in-use", "load"], "50"), None);
        assert_eq!(set("name = '''\n[policy]\n'''\n[x]", &["in-use", "load"], "1 2"), None);
        assert_eq!(set("cores = [", &["cores"], "4"), None);
    }
}
