//! The facts that volunteers measure and those that offers have, by name and kind, so that a misspelt
//! one is found where it is written and not where it matches nobody.

use strsim::damerau_levenshtein;

/// What the value of a fact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactKind {
    /// A text that is one of few.
    Word,
    /// A text that names a version.
    Version,
    /// A number without a unit.
    Number,
    /// A number of bytes.
    Bytes,
    /// A number of seconds.
    Seconds,
    /// Yes or no.
    Flag,
    /// A set of words.
    Words,
    /// Whatever its owner or a project's check has made it.
    Any,
}

/// Facts that stand alone.
const FACTS: [(&str, FactKind); 12] = [
    ("arch", FactKind::Word),
    ("cpu.features", FactKind::Words),
    ("cpu.level", FactKind::Number),
    ("distribution", FactKind::Word),
    ("distribution.version", FactKind::Version),
    ("kernel", FactKind::Version),
    ("label", FactKind::Word),
    ("libc", FactKind::Word),
    ("libc.version", FactKind::Version),
    ("os", FactKind::Word),
    ("wasi", FactKind::Word),
    ("wasm.runner", FactKind::Version),
];

/// Facts of which there are many: what their names begin with.
const FAMILIES: [(&str, FactKind); 2] = [("check.", FactKind::Any), ("tool.", FactKind::Version)];

/// Facts of offers, of which volunteers' policies speak.
pub(crate) const OFFER_FACTS: [(&str, FactKind); 17] = [
    ("project", FactKind::Word),
    ("project-key", FactKind::Word),
    ("keywords", FactKind::Words),
    ("network", FactKind::Flag),
    ("name", FactKind::Word),
    ("builder", FactKind::Word),
    ("runtimes", FactKind::Words),
    ("needs", FactKind::Words),
    ("duration", FactKind::Seconds),
    ("cores", FactKind::Number),
    ("memory", FactKind::Bytes),
    ("disk", FactKind::Bytes),
    ("processes", FactKind::Number),
    ("package", FactKind::Bytes),
    ("tasks", FactKind::Number),
    ("replicas", FactKind::Number),
    ("others", FactKind::Number),
];

/// Features of processors, named as compilers do: `-C target-feature` of rustc, `-m` of GCC.
pub const CPU_FEATURES: [&str; 44] = [
    "adx",
    "aes",
    "asimd",
    "avx",
    "avx2",
    "avx512bf16",
    "avx512bitalg",
    "avx512bw",
    "avx512cd",
    "avx512dq",
    "avx512f",
    "avx512ifma",
    "avx512vbmi",
    "avx512vbmi2",
    "avx512vl",
    "avx512vnni",
    "avx512vpopcntdq",
    "bmi1",
    "bmi2",
    "bti",
    "crc",
    "dotprod",
    "f16c",
    "fma",
    "fp16",
    "fxsr",
    "gfni",
    "lse",
    "lzcnt",
    "movbe",
    "neon",
    "pclmulqdq",
    "popcnt",
    "rdrand",
    "rdseed",
    "sha",
    "sha2",
    "sha3",
    "sse4.1",
    "sse4.2",
    "ssse3",
    "sve",
    "vaes",
    "vpclmulqdq",
];

/// The kind of fact `name`, if volunteers of this version state such a fact.
pub fn fact_kind(name: &str) -> Option<FactKind> {
    let alone = FACTS.iter().find(|(known, _)| *known == name);
    let family = || {
        FAMILIES.iter().find(|(family, _)| name.len() > family.len() && name.starts_with(family))
    };
    alone.or_else(family).map(|(_, kind)| *kind)
}

/// The kind of the offers' fact `name`, if offers have such a fact.
pub fn offer_fact_kind(name: &str) -> Option<FactKind> {
    OFFER_FACTS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

/// The known fact that `name` was probably meant to be.
pub fn nearest_fact(name: &str) -> Option<&'static str> {
    nearest(name, FACTS.iter().map(|(known, _)| *known))
}

/// The word of `known` that `word` was probably meant to be.
pub(crate) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    // Distances grow with the product of the lengths; no known word is this long.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase();
    // One slip in a short word, two in a long one; more is another word.
    let tolerated = if word.len() < 4 { 1 } else { 2 };
    known
        .map(|candidate| (damerau_levenshtein(&word, candidate), candidate))
        .filter(|(distance, _)| *distance <= tolerated)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_known_alone_or_by_their_family() {
        assert_eq!(fact_kind("os"), Some(FactKind::Word));
        assert_eq!(fact_kind("tool.gcc"), Some(FactKind::Version));
        assert_eq!(fact_kind("check.tree-sorter.gpu"), Some(FactKind::Any));
        for unknown in ["tool.", "tools.gcc", "oss", ""] {
            assert_eq!(fact_kind(unknown), None, "{unknown}");
        }
        assert_eq!(nearest_fact("kernal"), Some("kernel"));
        assert_eq!(nearest_fact("cpu.feature"), Some("cpu.features"));
        assert_eq!(nearest_fact("moon"), None);
    }

    #[test]
    fn the_words_stand_in_order_and_can_be_in_a_set() {
        assert!(CPU_FEATURES.is_sorted());
        let features: crate::Fact = CPU_FEATURES.into_iter().collect();
        features.check(&"cpu.features".parse().expect("a name")).expect("words");
    }
}
