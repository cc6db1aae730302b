//! Sizes that tell little.
//!
//! Whoever relays a result sees how large it is. So everything that is encrypted is padded first, by
//! the rule of PURBs ("Padmé", Nikitin et al. 2019): of a size only the first few bits tell. It costs at
//! most 12 %, and less the larger it is; padding to powers of two would cost up to 100 %.

/// Nothing is smaller: reports of most tasks are, so that passing and failing look alike.
const LEAST: u64 = 512;

/// The size to which `size` bytes are padded (S82).
pub fn padded(size: u64) -> u64 {
    if size <= LEAST {
        return LEAST;
    }
    let exponent = size.ilog2();
    let told = exponent.ilog2() + 1;
    let hidden = (1_u64 << (exponent - told)) - 1;
    size.saturating_add(hidden) & !hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_tells_little_and_costs_an_eighth_at_most() {
        assert_eq!([0, 1, 511, 512].map(padded), [512; 4]);
        assert_eq!([513, 544, 545].map(padded), [544, 544, 576]);
        assert_eq!(padded(1_000_000), 1_015_808);
        for size in (513..100_000).chain([1 << 30, (1 << 30) + 1]) {
            let padded = padded(size);
            assert!(padded >= size && (padded - size) * 8 < size, "{size} becomes {padded}");
            assert_eq!(super::padded(padded), padded);
        }
        let sizes: std::collections::BTreeSet<_> = (0..1 << 20).map(padded).collect();
        assert!(sizes.len() < 300, "{} sizes up to a mebibyte", sizes.len());
    }
}
