//! Shapes by the kernel's own `tc netem`, for those who would rather trust that.

use crate::pipe::Shape;

/// The variable that asks for it.
pub const VARIABLE: &str = "TALKOOT_TESTBED_NETEM";

/// Whether packets are to be shaped by the kernel; not all kernels have the module `sch_netem`.
pub fn is_wanted() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// The words after `tc` that shape what leaves by `interface`.
pub fn words(interface: &str, shape: Shape) -> String {
    let mut words = format!("qdisc replace dev {interface} root netem limit {}", shape.limit);
    if shape.delay + shape.jitter > std::time::Duration::ZERO {
        // Its jitter goes both ways, ours only later.
        let (half, delay) = (shape.jitter / 2, shape.delay + shape.jitter / 2);
        words += &format!(" delay {}us {}us", delay.as_micros(), half.as_micros());
    }
    if shape.loss > 0.0 {
        words += &format!(" loss {}%", shape.loss * 100.0);
    }
    if let Some(rate) = shape.rate {
        words += &format!(" rate {}bit", rate * 8);
    }
    words
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_shape_is_told_in_the_words_of_tc() {
        let shape = Shape { rate: Some(125_000), ..Shape::WIRE.lossy(0.2) };
        let shape = Shape { jitter: Duration::from_millis(20), ..shape };
        let words = words("to-b", shape.delayed(Duration::from_millis(200)));
        let expected = "qdisc replace dev to-b root netem limit 4096 \
                        delay 210000us 10000us loss 20% rate 1000000bit";
        assert_eq!(words, expected);
    }
}
