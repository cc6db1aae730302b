//! What the processor can do, named as compilers name it. It is the same inside a sandbox.

use std::collections::BTreeSet;

use capability::{Fact, Facts, FactsError};

/// Adds the processor's features, and its level where the architecture has levels.
pub fn state(facts: &mut Facts) -> Result<(), FactsError> {
    let features = features();
    if let Some(level) = level(&features) {
        facts.insert("cpu.level", level)?;
    }
    facts.insert("cpu.features", features.into_iter().collect::<Fact>())
}

/// Gives those of the features that are there.
#[cfg(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! detected {
    ($detect:ident: $($feature:tt)*) => {{
        let mut there = BTreeSet::new();
        $(if std::arch::$detect!($feature) { there.insert($feature); })*
        there
    }};
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn features() -> BTreeSet<&'static str> {
    detected!(is_x86_feature_detected:
        "adx" "aes" "avx" "avx2" "avx512bf16" "avx512bitalg" "avx512bw" "avx512cd" "avx512dq"
        "avx512f" "avx512ifma" "avx512vbmi" "avx512vbmi2" "avx512vl" "avx512vnni"
        "avx512vpopcntdq" "bmi1" "bmi2" "f16c" "fma" "fxsr" "gfni" "lzcnt" "movbe" "pclmulqdq"
        "popcnt" "rdrand" "rdseed" "sha" "sse4.1" "sse4.2" "ssse3" "vaes" "vpclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn features() -> BTreeSet<&'static str> {
    detected!(is_aarch64_feature_detected:
        "aes" "asimd" "bti" "crc" "dotprod" "fp16" "lse" "neon" "sha2" "sha3" "sve")
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> BTreeSet<&'static str> {
    BTreeSet::new()
}

/// The microarchitecture level of x86-64, 1 to 4 (System V ABI, AMD64 supplement, section 3.1.1), as
/// far as these `features` tell; none elsewhere.
fn level(features: &BTreeSet<&'static str>) -> Option<u64> {
    /// What each level above the first asks for beyond the one below.
    const LEVELS: [&[&str]; 3] = [
        &["popcnt", "sse4.1", "sse4.2", "ssse3"],
        &["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "lzcnt", "movbe"],
        &["avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"],
    ];
    if !cfg!(target_arch = "x86_64") {
        return None;
    }
    let has = |level: &&&[&str]| level.iter().all(|feature| features.contains(feature));
    Some(1 + LEVELS.iter().take_while(has).count() as u64)
}

#[cfg(test)]
mod tests {
    use capability::CPU_FEATURES;

    use super::*;

    #[test]
    fn what_is_stated_can_be_required() {
        let unknown: Vec<_> =
            features().into_iter().filter(|feature| !CPU_FEATURES.contains(feature)).collect();
        assert_eq!(unknown, [""; 0]);
        let mut facts = Facts::new();
        state(&mut facts).expect("words");
        assert!(matches!(facts.get("cpu.features"), Some(Fact::Set(_))));
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_level_needs_all_below_it() {
        let v2 = ["popcnt", "sse4.1", "sse4.2", "ssse3"];
        let v3 = ["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "lzcnt", "movbe"];
        let of = |features: &[&'static str]| level(&features.iter().copied().collect());
        assert_eq!(of(&[]), Some(1));
        assert_eq!(of(&v2), Some(2));
        assert_eq!(of(&v3), Some(1), "the second is not complete");
        assert_eq!(of(&[v2.as_slice(), &v3].concat()), Some(3));
        let v4 = ["avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"];
        assert_eq!(of(&[v2.as_slice(), &v3, &v4].concat()), Some(4));
        assert_eq!(of(&[v2.as_slice(), &v3[1..], &v4].concat()), Some(2));
    }
}
