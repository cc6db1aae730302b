//! Statements that a lenient decoder would take: other encodings, types, headers and signatures.

use capability::{Kind, Payload, encode_cbor};
use ciborium::Value;

use super::by_hand::{BATCH, Header, STATEMENT, alone, cbor, generic, sign1, sign1_under};
use super::invalid::{changed, header, sound, three_leaves, vector, with_payload};
use super::samples::{self, BROKER, MASTER, PROJECT, VOLUNTEER};
use super::variants::{entries, entry, items};
use super::{Vector, curve};

/// All of them.
pub fn wire() -> Vec<Vector> {
    let groups = [encodings(), types(), choices(), headers(), embedded(), signatures()];
    groups.into_iter().flatten().collect()
}

fn broken(name: &str, comment: &str, bytes: Vec<u8>) -> Vector {
    vector(name, Kind::Withdrawal, comment, bytes)
}

/// A sample whose payload was changed as a generic value.
pub fn with_value<T: Payload>(
    name: &str,
    comment: &str,
    payload: &T,
    seed: u8,
    change: impl FnOnce(&mut Value),
) -> Vector {
    let mut value = generic(&encode_cbor(payload));
    change(&mut value);
    // It sorts the keys.
    let payload = encode_cbor(&value);
    vector(name, T::KIND, comment, alone(&Header::new(T::KIND.number(), seed), &payload, seed))
}

/// S2, byte by byte: a withdrawal with a first key `later` and these bytes as its value.
fn encodings() -> Vec<Vector> {
    let with = |name: &str, comment: &str, value: &[u8]| {
        let payload = [&b"\xa4\x65later"[..], value, &sound()[1..]].concat();
        broken(name, comment, with_payload(&payload))
    };
    vec![
        with("negative-65-bits", "S2: -2^63 - 1", b"\x3b\x80\0\0\0\0\0\0\0"),
        with("bignum", "S2: a number in a tag", b"\xc2\x49\x01\0\0\0\0\0\0\0\0"),
        with("small-bignum", "S2: a small number in a tag", b"\xc2\x41\x08"),
        with("undefined", "S2: an undefined", b"\xf7"),
        with("simple", "S2: a simple value without a meaning", b"\xe0"),
        with("long-simple", "S2: a false in two bytes", b"\xf8\x14"),
        with("long-length", "S2: the length of a text in more bytes than it needs", b"\x78\x01x"),
        with(
            "long-array",
            "S2: the length of an array in more bytes than it needs",
            b"\x98\x01\x01",
        ),
        with("chunked-text", "S2: a text of indefinite length", b"\x7f\x61x\xff"),
        with("no-utf8", "S2: a text that is not UTF-8", b"\x61\xff"),
        with("surrogate", "S2: a text with half a surrogate pair", b"\x63\xed\xa0\x80"),
        with(
            "cut",
            "S2: an array that is longer than the payload",
            b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
        ),
        with("reserved-length", "S2: a length that CBOR reserves", b"\x1c"),
        with(
            "unsorted-inside",
            "S2: keys of an unknown map in another order",
            b"\xa2\x61a\x01\x01\x01",
        ),
        with("repeated-inside", "S2: a key twice in an unknown map", b"\xa2\x61a\x01\x61a\x02"),
    ]
}

/// S3: a value of another type than the CDDL's.
fn types() -> Vec<Vector> {
    let number = |name: &str, comment: &str, key: &'static str, value: i64| {
        with_value(name, comment, &samples::lease(), BROKER, |it| *entry(it, key) = value.into())
    };
    vec![
        broken("payload-array", "S3: a payload that is an array", {
            let values = generic(&sound()).into_map().expect("a map").into_iter();
            with_payload(&cbor(&Value::Array(values.map(|(_, value)| value).collect())))
        }),
        with_value(
            "number-key",
            "S3: a key that is no text",
            &samples::withdrawal(9),
            MASTER,
            |it| {
                entries(it).push((Value::from(7), Value::from(7)));
            },
        ),
        number("negative", "S3: a negative number", "granted", -1),
        number("large-replica", "S3: a 17 bit number in 16 bits", "replica", 1 << 16),
        with_value(
            "hash-as-text",
            "S3: an id in hexadecimal digits",
            &samples::lease(),
            BROKER,
            |it| {
                *entry(it, "offer") = Value::from("07".repeat(32));
            },
        ),
        with_value(
            "text-as-bytes",
            "S3: a word as a byte string",
            &samples::summary(),
            BROKER,
            |it| {
                let class = &mut items(entry(it, "classes"))[0];
                *entry(class, "runtime") = Value::Bytes(b"native".to_vec());
            },
        ),
        with_value("short-hash", "S3: an id of 31 bytes", &samples::withdrawal(9), MASTER, |it| {
            *entry(it, "statement") = Value::Bytes(vec![9; 31]);
        }),
        with_value(
            "sealed-large-number",
            "S3: a number of 33 bits",
            &samples::result(),
            VOLUNTEER,
            |it| {
                *entry(entry(it, "report"), "number") = Value::from(1_u64 << 32);
            },
        ),
        with_value(
            "short-encryption-key",
            "S3: a key of 31 bytes",
            &samples::delegation(),
            PROJECT,
            |it| {
                *entry(it, "encryption") = Value::Bytes(vec![9; 31]);
            },
        ),
    ]
}

/// S3: words of a later version where version 1 has a closed choice.
fn choices() -> Vec<Vector> {
    vec![
        with_value(
            "unknown-intent",
            "S3: an intent of another version",
            &samples::renewal(),
            VOLUNTEER,
            |it| {
                *entry(it, "intent") = Value::from("swap");
            },
        ),
        with_value("no-verdict", "S3: a verdict of no word", &samples::receipt(), MASTER, |it| {
            *entry(it, "verdict") = Value::Map(Vec::new());
        }),
    ]
}

/// What is done to the entries of a header.
type Change<'a> = &'a dyn Fn(&mut Vec<(Value, Value)>);

/// S4: a header is the one encoding of its four entries.
fn headers() -> Vec<Vector> {
    let under = |name: &str, comment: &str, change: Change| {
        let mut entries = generic(&header().encode()).into_map().expect("a header is a map");
        change(&mut entries);
        let items = sign1_under(cbor(&Value::Map(entries)), STATEMENT, &sound(), MASTER);
        broken(name, comment, cbor(&Value::Array(items)))
    };
    vec![
        under("header-unsorted", "S4: a header in another order", &|entries| entries.swap(2, 3)),
        under("header-without-version", "S4: a header without a version", &|entries| {
            entries.pop();
        }),
        under("header-version-text", "S4: a version that is a text", &|entries| {
            entries[3].1 = Value::from("1");
        }),
        under("header-large-version", "S4: version 65,537", &|entries| {
            entries[3].1 = Value::from(65_537);
        }),
        broken("version-0", "S4: version 0", {
            alone(&Header { version: 0, ..header() }, &sound(), MASTER)
        }),
        broken("leaf-root-of-its-kind", "S4: a root that is labelled a withdrawal", {
            let [mut leaf, ..] = three_leaves();
            leaf[2] = Value::Array(sign1(&header(), BATCH, &root_payload(&leaf), MASTER));
            cbor(&Value::Array(leaf))
        }),
    ]
}

fn root_payload(leaf: &[Value]) -> Vec<u8> {
    let root = leaf[2].as_array().expect("a COSE_Sign1");
    root[2].as_bytes().expect("a payload").clone()
}

/// Statements inside statements.
fn embedded() -> Vec<Vector> {
    let delegation = encode_cbor(&samples::delegation());
    let delegated = Header::new(Kind::Delegation.number(), PROJECT);
    let home = |name: &str, comment: &str, inner: Vec<u8>| {
        with_value(name, comment, &samples::home(), MASTER, |it: &mut Value| {
            *entry(it, "delegation") = Value::Bytes(inner);
        })
    };
    let later = Header { version: 2, ..Header::new(Kind::Delegation.number(), PROJECT) };
    let ownership = encode_cbor(&samples::ownership());
    let other = Header::new(Kind::Ownership.number(), PROJECT);
    let long = {
        let mut value = generic(&delegation);
        entries(&mut value).insert(0, (Value::from("later"), Value::Null));
        alone(&delegated, &cbor(&value), PROJECT)
    };
    let claim = |name: &str, comment: &str, ad: Vec<u8>| {
        with_value(name, comment, &samples::claim(), VOLUNTEER, |it: &mut Value| {
            *entry(it, "ad") = Value::Bytes(ad);
        })
    };
    let ad = encode_cbor(&samples::ad());
    let advertised = Header::new(Kind::Ad.number(), VOLUNTEER);
    vec![
        claim("ad-with-a-trailing-byte", "S2: a byte after the ad inside", {
            [alone(&advertised, &ad, VOLUNTEER), vec![0]].concat()
        }),
        claim("ad-of-another-algorithm", "S4: an ad inside that is not signed by EdDSA", {
            alone(&Header { algorithm: -7, ..advertised }, &ad, VOLUNTEER)
        }),
        home("delegation-of-a-later-version", "S4: a delegation of version 2", {
            alone(&later, &delegation, PROJECT)
        }),
        home("delegation-of-another-kind", "S4: an ownership for a delegation", {
            alone(&other, &ownership, PROJECT)
        }),
        home("delegation-with-null", "S2: a null inside the delegation", long),
        claim("claim-without-ad", "S3: an ad that is no statement", b"ad".to_vec()),
        with_value(
            "lease-in-full",
            "S3: a lease that is no byte string",
            &samples::result(),
            VOLUNTEER,
            |it| {
                *entry(it, "lease") = Value::Map(Vec::new());
            },
        ),
    ]
}

/// S6, where libraries differ.
fn signatures() -> Vec<Vector> {
    let (plain, mixed) = (curve::plain_key(), curve::mixed_key());
    let by = |key: &curve::Key| Header { key: key.public.to_vec(), ..header() };
    let lax = (0..=u8::MAX).find_map(|n| {
        let payload = encode_cbor(&samples::withdrawal(n));
        mixed.sign_cofactored(&by(&mixed), &payload).needs_cofactor()
    });
    let small = curve::small_key();
    let weak = (0..=u8::MAX).find_map(|n| {
        let payload = encode_cbor(&samples::withdrawal(n));
        small.sign_cofactored(&by(&small), &payload).holds_without_cofactor()
    });
    let mut off_the_curve = vec![0; 32];
    off_the_curve[0] = 2;
    vec![
        broken("weak-r", "S6: the identity as R", plain.sign_with_weak_r(&by(&plain), &sound())),
        broken(
            "weak-key-of-order-8",
            "S6: a key of order 8, under which the equation holds",
            weak.expect("one of eight does"),
        ),
        broken(
            "cofactor",
            "S6: an equation that holds only when multiplied by 8",
            lax.expect("seven of eight do"),
        ),
        broken("key-off-the-curve", "S6: a key that is no point", {
            alone(&Header { key: off_the_curve, ..header() }, &sound(), MASTER)
        }),
        broken("no-signature", "S6: a signature of zeros", {
            changed(|items| items[3] = Value::Bytes(vec![0; 64]))
        }),
        broken("leaf-of-another-count", "S6: a root of 4 leaves", {
            let [.., mut leaf] = three_leaves();
            let mut root = generic(&root_payload(&leaf));
            items(&mut root)[0] = Value::from(4);
            let batch = Header { kind: 0, ..header() };
            leaf[2] = Value::Array(sign1(&batch, BATCH, &cbor(&root), MASTER));
            cbor(&Value::Array(leaf))
        }),
    ]
}
