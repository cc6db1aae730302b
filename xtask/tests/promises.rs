//! `docs/operating/promises.md` names tests that exist.

use std::path::Path;

use xtask::tools;

#[test]
fn every_test_that_a_promise_is_said_to_have_exists() {
    let page = std::fs::read_to_string(tools::root().join("docs/operating/promises.md"));
    let page = page.expect("the page is there");
    for number in 1..=8 {
        assert!(page.contains(&format!("\n## P{number}\n")), "P{number} has no section");
    }
    let named: Vec<_> = page.lines().filter_map(test_and_file).collect();
    assert!(named.len() > 30, "only {} tests were found in the tables", named.len());
    for (test, file) in named {
        let source = std::fs::read_to_string(tools::root().join(file));
        let source = source.unwrap_or_else(|error| panic!("{file}, of {test}: {error}"));
        assert!(has_test(&source, test), "{file} has no test {test}");
    }
}

/// What a row `| what | `test` | `file` |` names.
fn test_and_file(line: &str) -> Option<(&str, &str)> {
    let mut cells = line.strip_prefix('|')?.split('|').skip(1);
    let mut cell = || cells.next()?.trim().strip_prefix('`')?.strip_suffix('`');
    let (test, file) = (cell()?, cell()?);
    Path::new(file).extension().is_some_and(|it| it == "rs").then_some((test, file))
}

/// Whether `source` has a function of that name with an attribute that ends in `test`.
fn has_test(source: &str, name: &str) -> bool {
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let is_it = |line: &str| line.contains(&format!("fn {name}("));
    let Some(at) = lines.iter().position(|line| is_it(line)) else { return false };
    let mut before = lines[..at].iter().rev();
    before.by_ref().take_while(|line| line.starts_with('#')).any(|line| line.contains("test"))
}

#[test]
fn a_row_is_read_and_a_function_that_is_no_test_is_none() {
    let row = "| what | `a_test` | `some/file.rs` |";
    assert_eq!(test_and_file(row), Some(("a_test", "some/file.rs")));
    assert_eq!(test_and_file("| what | test | file |"), None);
    assert!(has_test("#[test]\nfn a_test() {", "a_test"));
    assert!(has_test("    #[tokio::test]\n    async fn a_test() {", "a_test"));
    assert!(!has_test("fn a_test() {", "a_test"));
    assert!(!has_test("#[test]\nfn another_test() {", "a_test"));
}
