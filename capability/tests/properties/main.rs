//! What holds of statements, machines and jobs whatever is in them.
//!
//! `TALKOOT_CASES` says how many cases of each property are tried; see CONTRIBUTING.md.

mod arbitrary;
mod flipped_bits;
mod monotony;
mod round_trip;

use proptest::prelude::ProptestConfig;

/// How many cases of a property are tried, where `usual` is enough for the checks.
fn cases(usual: u32) -> u32 {
    #[expect(clippy::disallowed_methods, reason = "a test takes its length from outside")]
    let cases = std::env::var("TALKOOT_CASES").map(|text| text.parse().expect("a number of cases"));
    cases.unwrap_or(usual)
}

fn config(usual: u32) -> ProptestConfig {
    ProptestConfig::with_cases(cases(usual))
}
