//! What somebody sends who means harm is refused, by a rule that has a number.
//!
//! Each statement here is soundly signed: whoever sends it has a key. The golden vectors break one
//! bound by one; these break it by as much as fits.

#[path = "vectors/by_hand.rs"]
#[expect(dead_code, reason = "the vectors use the rest")]
mod by_hand;
#[path = "vectors/samples.rs"]
#[expect(dead_code, reason = "the vectors use the rest")]
mod samples;

use std::time::Duration;

use by_hand::{BATCH, Header, alone, cbor, sign1};
use capability::statements::{Ad, Claim, JobResult, Offer, Summary, Withdrawal};
use capability::{
    Ed25519, Fact, MAX_CLOCK_SKEW, MAX_STATEMENT_BYTES, Payload, StatementError, Timestamp,
    Verified, encode_cbor, parse_version,
};
use ciborium::{Value, cbor};
use samples::{BROKER, HOUR, MASTER, NOW, VOLUNTEER};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Checks `payload`, signed soundly, at the time of the samples.
fn check<T: Payload>(payload: &Value, seed: u8) -> Result<Verified<T>, StatementError> {
    // It sorts the keys.
    let payload = encode_cbor(payload);
    check_bytes(&alone(&Header::new(T::KIND.number(), seed), &payload, seed))
}

fn check_bytes<T: Payload>(bytes: &[u8]) -> Result<Verified<T>, StatementError> {
    let statement = Verified::<T>::parse(bytes, &Ed25519)?;
    statement.current(NOW)?;
    Ok(statement)
}

#[track_caller]
fn refused<T: Payload>(payload: &Value, rule: &str) {
    let error = check::<T>(payload, VOLUNTEER).map(|taken| taken.id());
    assert_eq!(error.expect_err("it must be refused").rule(), rule);
}

/// The sample with `value` in the place that `path` leads to.
fn with<T: Payload>(sample: &T, path: &[&str], value: Value) -> Value {
    let mut payload = Value::serialized(sample).expect("a payload is a value");
    let place = path.iter().fold(&mut payload, |map, key| {
        let entries = map.as_map_mut().expect("the path leads through maps");
        let known = entries.iter().position(|(found, _)| found.as_text() == Some(key));
        let at = known.unwrap_or_else(|| {
            entries.push((Value::from(*key), Value::Null));
            entries.len() - 1
        });
        &mut entries[at].1
    });
    *place = value;
    payload
}

fn ad_with_facts(facts: Vec<(Value, Value)>) -> Value {
    with(&samples::ad(), &["capabilities", "runtimes", "native", "facts"], Value::Map(facts))
}

fn ad_with_fact(value: Value) -> Value {
    ad_with_facts(vec![(Value::from("label"), value)])
}

/// `depth` arrays, each inside another.
fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::from(1), |inner, _| Value::Array(vec![inner]))
}

fn texts(count: usize, text: &str) -> Value {
    Value::Array(vec![Value::from(text); count])
}

// --- ads ---

#[test]
fn an_ad_of_10_000_tools_is_refused_by_s20() {
    let tool = |n: u32| (Value::from(format!("{n:x}")), Value::from(true));
    let ad = ad_with_facts((0..10_000).map(tool).collect());
    refused::<Ad>(&ad, "S20");
}

#[test]
fn an_ad_of_10_000_tools_with_versions_is_refused_unread_by_s1() {
    let tool = |n: u32| (Value::from(format!("tool.tool-{n}")), Value::from("12.2.0"));
    let ad = ad_with_facts((0..10_000).map(tool).collect());
    refused::<Ad>(&ad, "S1");
}

#[test]
fn an_ad_of_10_000_runtimes_is_refused_by_s20() {
    let runtime = |n: u32| (Value::from(format!("{n:x}")), Value::Map(Vec::new()));
    let runtimes = Value::Map((0..10_000).map(runtime).collect());
    refused::<Ad>(&with(&samples::ad(), &["capabilities", "runtimes"], runtimes), "S20");
}

#[test]
fn a_fact_of_a_megabyte_is_refused_unread_by_s1_and_one_of_60_kilobytes_by_s20() {
    refused::<Ad>(&ad_with_fact(Value::from("x".repeat(1 << 20))), "S1");
    refused::<Ad>(&ad_with_fact(Value::from("x".repeat(60_000))), "S20");
}

#[test]
fn a_fact_that_moves_a_terminals_cursor_is_refused_by_s20() {
    refused::<Ad>(&ad_with_fact(Value::from("\u{1b}[2J")), "S20");
    refused::<Ad>(&ad_with_fact(Value::from("\u{9b}2J")), "S20");
}

#[test]
fn names_of_60_kilobytes_are_refused_by_the_rule_of_their_place() {
    let long = || Value::from("x".repeat(60_000));
    let ad = |path: &[&str]| with(&samples::ad(), path, long());
    refused::<Ad>(&ad_with_facts(vec![(long(), Value::from(1))]), "S20");
    refused::<Ad>(&ad(&["capabilities", "platform", "os"]), "S20");
    refused::<Ad>(&ad(&["capabilities", "runtimes", "native", "strength"]), "S20");
    refused::<Claim>(&with(&samples::claim(), &["runtime"], long()), "S20");
    refused::<Summary>(&with(&samples::summary(), &["shard"], long()), "S10");
    refused::<Withdrawal>(&with(&samples::withdrawal(9), &["reason"], long()), "S10");
}

// --- versions ---

#[test]
fn a_version_that_would_be_newer_than_anything_is_refused_by_s20() {
    let ad =
        |fact: &str, version: &str| ad_with_facts(vec![(Value::from(fact), Value::from(version))]);
    for version in ["9999999999999999999.0.0", "1:2.1000000000000000-1", "v18446744073709551616"] {
        refused::<Ad>(&ad("tool.gcc", version), "S20");
        refused::<Ad>(&ad("library.zlib", version), "S20");
    }
    for version in ["20261121174500.1", "999999999999999.999999999999999"] {
        check::<Ad>(&ad("tool.gcc", version), VOLUNTEER).expect("a sound ad");
    }
}

#[test]
fn another_facts_text_may_look_like_a_huge_version_and_one_of_65_bits_names_none() {
    for (text, major) in [
        ("9999999999999999999.0.0", Some(9_999_999_999_999_999_999)),
        ("18446744073709551615.0.0", Some(u64::MAX)),
        ("18446744073709551616.0.0", None),
        ("1.99999999999999999999999999.0", None),
    ] {
        let ad = check::<Ad>(&ad_with_fact(Value::from(text)), VOLUNTEER).expect("a sound ad");
        let facts = &ad.capabilities.runtimes[&"native".parse().expect("a word")].facts;
        assert_eq!(facts.get("label"), Some(&Fact::from(text)));
        assert_eq!(parse_version(text).map(|version| version.major), major, "{text}");
    }
}

#[test]
fn a_version_of_a_thousand_digits_is_refused_by_s20() {
    refused::<Ad>(&ad_with_fact(Value::from("9".repeat(1000))), "S20");
}

#[test]
fn a_statement_of_a_huge_version_is_refused_by_s4() {
    let payload = encode_cbor(&samples::withdrawal(9));
    let protected = |version: u64| {
        let Value::Map(mut entries) =
            by_hand::generic(&Header::new(Withdrawal::KIND.number(), MASTER).encode())
        else {
            panic!("a header is a map");
        };
        entries[3].1 = Value::from(version);
        cbor(&Value::Map(entries))
    };
    for version in [2, 65_535, 65_536, 9_999_999_999_999_999_999, u64::MAX] {
        let items = by_hand::sign1_under(protected(version), by_hand::STATEMENT, &payload, MASTER);
        let error = check_bytes::<Withdrawal>(&cbor(&Value::Array(items)));
        assert_eq!(error.expect_err("it must be refused").rule(), "S4", "{version}");
    }
}

// --- nesting and lengths ---

#[test]
fn deep_nesting_is_refused_by_s2_wherever_it_is() {
    let header = Header::new(Ad::KIND.number(), VOLUNTEER);
    for depth in [17, 1000, 30_000] {
        let arrays = [vec![0x81; depth], vec![1]].concat();
        let maps = [b"\xa1\x01".repeat(depth), vec![1]].concat();
        let keys = [vec![0xa1; depth], vec![1; depth + 1]].concat();
        for nested in [arrays, maps, keys] {
            let error = check_bytes::<Ad>(&nested).expect_err("no envelope");
            assert_eq!(error.rule(), "S2", "{depth} deep");
            let inside = alone(&header, &nested, VOLUNTEER);
            let error = check_bytes::<Ad>(&inside).expect_err("no payload");
            assert_eq!(error.rule(), "S2", "{depth} deep in a payload");
        }
    }
}

#[test]
fn a_fact_may_be_16_levels_below_its_payload_and_is_refused_by_s2_one_deeper() {
    // Five maps are around it.
    let ad = ad_with_fact(nested(11));
    check::<Ad>(&ad, VOLUNTEER).expect("16 levels");
    let payload = encode_cbor(&ad);
    let arrays = [vec![0x81; 11], vec![1]].concat();
    let at = payload.windows(12).position(|bytes| bytes == arrays).expect("they are there");
    let deeper = [&payload[..at], &[0x81], &payload[at..]].concat();
    let header = Header::new(Ad::KIND.number(), VOLUNTEER);
    let error = check_bytes::<Ad>(&alone(&header, &deeper, VOLUNTEER)).expect_err("17 levels");
    assert_eq!(error.rule(), "S2");
}

#[test]
fn a_length_that_is_a_lie_is_refused_by_s2() {
    let header = Header::new(Ad::KIND.number(), VOLUNTEER);
    for major in [0x40, 0x60, 0x80, 0xa0] {
        for length in [1 << 20, u64::from(u32::MAX), u64::MAX] {
            let lie = [&[major | 0x1b][..], &length.to_be_bytes()].concat();
            let error = check_bytes::<Ad>(&lie).expect_err("no envelope");
            assert_eq!(error.rule(), "S2", "{lie:x?}");
            let error = check_bytes::<Ad>(&alone(&header, &lie, VOLUNTEER)).expect_err("cut off");
            assert_eq!(error.rule(), "S2", "{lie:x?} in a payload");
        }
    }
}

#[test]
fn nothing_over_64_kib_is_read() {
    let error = check_bytes::<Ad>(&vec![0x84; MAX_STATEMENT_BYTES + 1]).expect_err("too long");
    assert_eq!(error.rule(), "S1");
}

// --- time ---

#[test]
fn an_expiry_in_the_far_future_is_refused_by_s9() {
    let until = |expires: Timestamp| with(&samples::ad(), &["expires"], Value::from(expires.0));
    for expires in [NOW + DAY + MAX_CLOCK_SKEW + Duration::from_millis(1), Timestamp(u64::MAX)] {
        refused::<Ad>(&until(expires), "S9");
    }
    check::<Ad>(&until(NOW + DAY + MAX_CLOCK_SKEW), VOLUNTEER).expect("just not too far");
}

#[test]
fn an_expiry_of_more_than_64_bits_is_refused_by_s2() {
    let expires = Value::Tag(2, Box::new(Value::Bytes(vec![1, 0, 0, 0, 0, 0, 0, 0, 0])));
    let payload = with(&samples::withdrawal(9), &["expires"], expires);
    let header = Header::new(Withdrawal::KIND.number(), MASTER);
    let error = check_bytes::<Withdrawal>(&alone(&header, &cbor(&payload), MASTER));
    assert_eq!(error.expect_err("a bignum").rule(), "S2");
}

#[test]
fn clocks_may_differ_by_5_minutes_and_not_longer() {
    let ad = Verified::sign(samples::ad(), &samples::secret(VOLUNTEER));
    let expires = ad.expires;
    let last = Timestamp(expires.0 + 5 * 60 * 1000 - 1);
    assert!(ad.current(last).is_ok());
    let rule = |now| ad.current(now).map_err(|error| error.rule());
    assert_eq!(rule(Timestamp(last.0 + 1)), Err("S8"));
    let first = expires.before(DAY + MAX_CLOCK_SKEW);
    assert!(ad.current(first).is_ok());
    assert_eq!(rule(first.before(Duration::from_millis(1))), Err("S9"));
}

#[test]
fn a_reader_whose_clock_is_wrong_by_all_that_it_can_be_refuses_and_does_not_overflow() {
    let ad = Verified::sign(samples::ad(), &samples::secret(VOLUNTEER));
    let endless = Ad { expires: Timestamp(u64::MAX), ..samples::ad() };
    let endless = Verified::sign(endless, &samples::secret(VOLUNTEER));
    let rule = |ad: &Verified<Ad>, now| ad.current(Timestamp(now)).map_err(|error| error.rule());
    assert_eq!(rule(&ad, 0), Err("S9"));
    assert_eq!(rule(&ad, u64::MAX), Err("S8"));
    assert_eq!(rule(&endless, 0), Err("S9"));
    assert_eq!(rule(&endless, NOW.0), Err("S9"));
}

// --- offers and results ---

#[test]
fn an_offer_of_10_000_clauses_is_refused_by_s43_however_they_are_put() {
    let present = || cbor!(["present", "os"]).expect("a value");
    let many = |count: usize| Value::Array(vec![present(); count]);
    let group = |word: &str, of: Value| Value::Array(vec![Value::from(word), of]);
    let clauses = |clauses: Value| with(&samples::offer(), &["requirements", "clauses"], clauses);
    // 12 bytes each: as many as fit.
    refused::<Offer>(&clauses(many(4_000)), "S43");
    refused::<Offer>(&clauses(Value::Array(vec![group("any", many(4_000))])), "S43");
    let rank = Value::Array(vec![group("all", many(60)); 60]);
    refused::<Offer>(&clauses(rank), "S43");
    let lucky = Value::Array(vec![Value::Array(vec![Value::from("x")]); 10_000]);
    refused::<Offer>(&clauses(lucky), "S43");
}

#[test]
fn clauses_of_four_levels_are_taken_and_of_five_or_more_refused_by_s43() {
    let deep = |levels: usize| {
        let innermost = Value::Array(vec![Value::from("present"), Value::from("os")]);
        let clause =
            (1..levels).fold(innermost, |inner, _| Value::Array(vec![Value::from("not"), inner]));
        with(&samples::offer(), &["requirements", "clauses"], Value::Array(vec![clause]))
    };
    let taken = check::<Offer>(&deep(4), MASTER).expect("four levels");
    assert_eq!(taken.requirements.clauses.len(), 1);
    for levels in [5, 10] {
        let error = check::<Offer>(&deep(levels), MASTER).expect_err("too deep");
        assert_eq!(error.rule(), "S43", "{levels} levels");
    }
}

#[test]
fn jobs_without_end_are_refused_by_s44() {
    let job = |path: &[&str], value: Value| {
        let path: Vec<_> = [&["job"][..], path].concat();
        refused::<Offer>(&with(&samples::offer(), &path, value), "S44");
    };
    let step = cbor!({ "name" => "x", "run" => ["x"] }).expect("a value");
    job(&["steps"], Value::Array(vec![step; 3_000]));
    job(&["steps"], cbor!([{ "name" => "x", "run" => vec!["x"; 20_000] }]).expect("a value"));
    job(&["artifacts"], texts(20_000, "x"));
    job(&["artifacts"], texts(1, &"{a,".repeat(80)));
    let variable = |n: u32| (Value::from(format!("V{n:x}")), Value::from(""));
    job(&["environment"], Value::Map((0..6_000).map(variable).collect()));
    job(&["limits", "wall-ms"], Value::from(u64::MAX));
    job(&["limits", "output"], Value::from(u64::MAX));
    job(&["limits", "processes"], Value::from(u32::MAX));
}

#[test]
fn results_and_summaries_that_are_lists_without_end_are_refused_by_their_rules() {
    let result = |key: &str, value: Value| with(&samples::result(), &[key], value);
    let list = |value: &Value, key: &str, count: usize| {
        let (_, list) = value
            .as_map()
            .and_then(|entries| entries.iter().find(|(found, _)| found.as_text() == Some(key)))
            .expect("it has the key");
        Value::Array(vec![list.as_array().expect("a list")[0].clone(); count])
    };
    let sample = Value::serialized(&samples::result()).expect("a value");
    refused::<JobResult>(&result("blobs", list(&sample, "blobs", 800)), "S83");
    let sample = Value::serialized(&samples::summary()).expect("a value");
    let classes = list(&sample, "classes", 1_200);
    refused::<Summary>(&with(&samples::summary(), &["classes"], classes), "S21");
}

// --- batches ---

#[test]
fn leaves_of_batches_that_cannot_be_are_refused_by_s6() {
    let payload = encode_cbor(&samples::withdrawal(9));
    let header = Header::new(Withdrawal::KIND.number(), BROKER);
    let leaf = |count: u32, index: u32, hashes: usize| {
        let root = cbor(&cbor!([count, serde_bytes::Bytes::new(&[7; 32])]).expect("a value"));
        let root = sign1(&Header::new(0, BROKER), BATCH, &root, BROKER);
        cbor(&Value::Array(vec![
            Value::Bytes(header.encode()),
            Value::Bytes(payload.clone()),
            Value::Array(root),
            Value::from(index),
            Value::Array(vec![Value::Bytes(vec![7; 32]); hashes]),
        ]))
    };
    for (count, index, hashes) in
        [(0, 0, 0), (1, 0, 1_800), (u32::MAX, u32::MAX, 32), (u32::MAX, u32::MAX - 1, 32)]
    {
        let error = check_bytes::<Withdrawal>(&leaf(count, index, hashes)).expect_err("forged");
        assert_eq!(error.rule(), "S6", "leaf {index} of {count} with {hashes} hashes");
    }
}

#[test]
fn the_samples_are_sound_but_for_what_is_changed() {
    let seq = |seq: u64| with(&samples::ad(), &["seq"], Value::from(seq));
    for seq in [seq(0), seq(u64::MAX), ad_with_fact(nested(10)), ad_with_fact(texts(5_000, "x"))] {
        check::<Ad>(&seq, VOLUNTEER).expect("odd, and sound");
    }
    check::<Offer>(&with(&samples::offer(), &["tasks"], Value::from(1)), MASTER).expect("sound");
    let result = with(&samples::result(), &["report", "number"], Value::from(7));
    check::<JobResult>(&result, VOLUNTEER).expect("sound");
    let hour = with(&samples::summary(), &["expires"], Value::from((NOW + HOUR).0));
    check::<Summary>(&hour, BROKER).expect("sound");
}
