//! Laws of what people write and programs print.

use capability::{
    JobFile, ProjectUri, Requirements, decode_cbor, encode_cbor, format_bytes, parse_bytes,
    parse_duration, parse_version, tap,
};

/// A job file that is taken can be offered, and a mistake is told with a place in the file.
pub fn job_file(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match JobFile::parse(text) {
        Ok(file) => {
            file.requirements.validate().expect("what is taken can be offered");
            file.job.validate().expect("what is taken can be offered");
            let wire = encode_cbor(&file.requirements);
            let again: Requirements = decode_cbor(&wire, usize::MAX).expect("our own encoding");
            assert_eq!(again, file.requirements);
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert!((1..=text.lines().count().max(1) + 1).contains(&error.line), "{error}");
            assert!(error.column >= 1, "{error}");
        }
    }
}

/// Keys, sizes, times, versions and test reports are read without a panic, and what is written for
/// people reads the same again.
pub fn text(data: &[u8]) {
    if let Some(report) = tap::parse(data) {
        report.validate().expect("what is reported is within its own limits");
    }
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(uri) = text.parse::<ProjectUri>() {
        assert_eq!(uri.to_string().parse(), Ok(uri));
    }
    if let Ok(bytes) = parse_bytes(text) {
        let shown = format_bytes(bytes);
        // What is rounded says the exact number in brackets.
        assert!(shown.contains('(') || parse_bytes(&shown) == Ok(bytes), "{shown}");
    }
    let _ = parse_duration(text);
    if let Some(version) = parse_version(text) {
        assert_eq!(parse_version(&version.to_string()), Some(version));
    }
}
