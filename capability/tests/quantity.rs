//! Amounts as people write them.

use std::time::Duration;

use capability::{QuantityError, format_bytes, parse_bytes, parse_duration};
use proptest::prelude::*;

#[test]
fn bytes_are_read_exactly() {
    let check = |text: &str, expected: u64| assert_eq!(parse_bytes(text), Ok(expected), "{text:?}");
    check("0", 0);
    check("1024", 1024);
    check("2 GiB", 2 << 30);
    check("512 MiB", 512 << 20);
    check("512MiB", 512 << 20);
    check(" 512  mib ", 512 << 20);
    check("1.5 GiB", 3 << 29);
    check("1.50 KiB", 1536);
    check("0.1 kB", 100);
    check("2 GB", 2_000_000_000);
    check("3 PiB", 3 << 50);
    check("1.0 B", 1);
    check("18446744073709551615", u64::MAX);
    check("9007199254740993 B", (1 << 53) + 1);
}

#[test]
fn what_is_no_amount_of_bytes_is_told_with_an_example() {
    let check = |text: &str, expected: fn(String) -> QuantityError| {
        let error = parse_bytes(text).expect_err(text);
        assert_eq!(error, expected(text.to_owned()));
        let said = error.to_string();
        assert!(
            said.starts_with(&format!("{text:?} is ")) && said.contains("for example"),
            "{said}"
        );
    };
    for text in [
        "",
        " ",
        "GiB",
        "-1",
        "-1 GiB",
        "+1",
        "2 parsecs",
        "2 G",
        "1,5 GiB",
        "1.2.3",
        "1.",
        ".5 GiB",
        "1e3",
        "0x10",
        "2 GiB 3",
        "∞",
        "２",
    ] {
        check(text, QuantityError::Bytes);
    }
    for text in ["0.5", "0.5 B", "1.0001 KiB", "1.00000000000000000001 GiB"] {
        check(text, QuantityError::FractionOfByte);
    }
    for text in ["18446744073709551616", "16384 PiB", "99999999999999999999999 B"] {
        check(text, QuantityError::TooManyBytes);
    }
    let long = parse_bytes(&"1".repeat(1_000_000)).expect_err("a long text");
    assert!(long.to_string().len() < 200);
}

#[test]
fn durations_are_read_or_told_with_an_example() {
    assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
    assert_eq!(parse_duration(" 7d "), Ok(Duration::from_hours(7 * 24)));
    assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_mins(90)));
    for text in ["", "5", "-1s", "soon", "1 fortnight", "99999999999999999999s", "9999999999999y"] {
        let error = parse_duration(text).expect_err(text);
        assert_eq!(error, QuantityError::Duration(text.to_owned()));
        assert!(error.to_string().contains("for example"), "{error}");
    }
}

#[test]
fn amounts_are_written_for_people() {
    let check = |bytes: u64, expected: &str| assert_eq!(format_bytes(bytes), expected);
    check(0, "0 bytes");
    check(1000, "1000 bytes");
    check(1536, "1536 bytes");
    check(512 << 20, "512 MiB");
    check(3 << 29, "1536 MiB");
    check(1 << 60, "1024 PiB");
    check((1 << 30) + 1, "1.0 GiB (1073741825 bytes)");
}

proptest! {
    #[test]
    fn what_is_written_exactly_is_read_back(count in 0_u64..10_000, unit in 0_u32..6) {
        let bytes = count << (10 * unit);
        prop_assert_eq!(parse_bytes(&format_bytes(bytes)), Ok(bytes));
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,50}") {
        let _ = parse_duration(&text);
        if let Ok(bytes) = parse_bytes(&text) {
            prop_assert!(text.contains(|c: char| c.is_ascii_digit()), "{text:?} is {bytes}");
        }
    }
}
