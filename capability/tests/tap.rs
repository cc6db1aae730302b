//! What test programs say in TAP.

use capability::tap::{self, MAX_FAILURE, MAX_FAILURES, TapReport};
use proptest::prelude::*;

#[test]
fn logs_are_summed_up() {
    // Passed, failed, skipped, todo; planned; failures.
    let check = |log: &str, counts: [u32; 4], planned: Option<u32>, failures: &[&str]| {
        let report = tap::parse(log.as_bytes()).unwrap_or_else(|| panic!("no TAP in {log:?}"));
        let TapReport { passed, failed, skipped, todo, .. } = report;
        assert_eq!([passed, failed, skipped, todo], counts, "{log:?}");
        assert_eq!(report.planned, planned, "{log:?}");
        assert_eq!(report.failures, failures, "{log:?}");
        assert_eq!(report.is_success(), failures.is_empty(), "{log:?}");
        report.validate().expect("ours is valid");
    };
    check("TAP version 13\n1..2\nok 1\nok 2\n", [2, 0, 0, 0], Some(2), &[]);
    check("ok 1\r\nok\r\n1..2\r\n", [2, 0, 0, 0], Some(2), &[]);
    check("1..1\nok 1 - last line without newline", [1, 0, 0, 0], Some(1), &[]);
    check("1..2\nok 1\nnot ok 2 - divides\n", [1, 1, 0, 0], Some(2), &["2 - divides"]);
    check("1..1\nnot ok\n", [0, 1, 0, 0], Some(1), &["test 1"]);
    check("1..2\nok 1 # SKIP no net\nnot ok 2 # skip\n", [0, 0, 2, 0], Some(2), &[]);
    check("1..2\nnot ok 1 a # TODO later\nok 2 # todo\n", [0, 0, 0, 2], Some(2), &[]);
    check("1..0 # skip nothing here\n", [0; 4], Some(0), &[]);
    check("1..1\nnot ok 1 issue #7\n", [0, 1, 0, 0], Some(1), &["1 issue #7"]);
    check("1..1\nnot ok 1 a \\# TODO b\n", [0, 1, 0, 0], Some(1), &["1 a \\# TODO b"]);
    check("1..1\nok 1 issue #7 # SKIP\n", [0, 0, 1, 0], Some(1), &[]);

    // Around the test points.
    check(
        "make: entering\n1..1\n    ok 1 - inner\n    not ok 2 - inner\n    1..2\n# note\n  ---\n  \
         message: x\n  ...\nok 1 - outer\nokay\nnot okay\nok, then\n1..x\n",
        [1, 0, 0, 0],
        Some(1),
        &[],
    );

    // Wrong as a whole.
    check("ok 1\n", [1, 1, 0, 0], None, &["no plan"]);
    check("TAP version 14\n", [0, 1, 0, 0], None, &["no plan"]);
    check("1..3\nok 1\n", [1, 1, 0, 0], Some(3), &["3 tests were planned, 1 were run"]);
    check("1..0\nok 1\n", [1, 1, 0, 0], Some(0), &["0 tests were planned, 1 were run"]);
    check("1..1\nok 1\n1..1\n", [1, 1, 0, 0], Some(1), &["a second plan"]);
    check("1..9\nok 1\nBail out! no disk\n", [1, 1, 0, 0], Some(9), &["Bail out! no disk"]);
    check("Bail out!\n", [0, 1, 0, 0], None, &["Bail out!"]);
}

#[test]
fn a_log_without_tap_has_no_report() {
    for log in
        ["", "\n\n", "make: *** [all] Error 1\n", "   ok 1\n", "okay\n", "1..\n", "TAP version x\n"]
    {
        assert_eq!(tap::parse(log.as_bytes()), None, "{log:?}");
    }
}

#[test]
fn what_is_kept_of_failures_is_bounded_and_printable() {
    let mut log = String::from("1..1000\n");
    log.push_str("not ok 1 \u{1b}[2Jred\u{7}\n");
    log.push_str(&format!("not ok 2 {}\n", "ä".repeat(100_000)));
    log.push_str(&"not ok\n".repeat(998));
    let report = tap::parse(log.as_bytes()).expect("TAP");
    assert_eq!((report.failed, report.failures.len()), (1000, MAX_FAILURES));
    assert_eq!(report.failures[0], "1 \\u{1b}[2Jred\\u{7}");
    assert_eq!(report.failures[1].chars().count(), MAX_FAILURE);
    report.validate().expect("ours is valid");
}

#[test]
fn a_report_from_elsewhere_is_held_to_its_limits() {
    let check = |failures: Vec<String>, valid: bool| {
        let report = TapReport { failures, ..TapReport::default() };
        assert_eq!(report.validate().is_ok(), valid);
        let bytes = capability::encode_cbor(&report);
        assert_eq!(capability::decode_cbor::<TapReport>(&bytes, 1 << 20).is_ok(), valid);
    };
    check(vec!["ä".repeat(MAX_FAILURE); MAX_FAILURES], true);
    check(vec![String::new(); MAX_FAILURES + 1], false);
    check(vec!["x".repeat(MAX_FAILURE + 1)], false);
    check(vec!["\u{1b}".into()], false);
}

proptest! {
    #[test]
    fn any_log_gives_a_valid_report(
        lines in prop::collection::vec(
            prop_oneof![
                "(not )?ok ?[0-9]{0,3} ?.{0,20}( # (SKIP|TODO).{0,9})?",
                "1\\.\\.[0-9]{1,12}",
                "Bail out!.{0,9}",
                ".{0,40}",
            ],
            0..60,
        ),
        tail in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut log = lines.join("\n").into_bytes();
        log.extend(tail);
        if let Some(report) = tap::parse(&log) {
            prop_assert_eq!(report.validate(), Ok(()));
            let bytes = capability::encode_cbor(&report);
            let again: TapReport = capability::decode_cbor(&bytes, 1 << 20).expect("ours");
            prop_assert_eq!(again, report);
        }
    }
}
