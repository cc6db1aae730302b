//! The papers held against the code: CDDL, golden vectors, rule numbers, paths, examples.
//!
//! The files of `docs/spec/vectors` are made from fixed seeds. After a deliberate change of the wire
//! `TALKOOT_WRITE_VECTORS=1 cargo test -p capability --test spec` writes them anew.

mod vectors;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Write as _};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use capability::statements::{OfKind, Report};
use capability::{
    CborError, Ed25519, EnvelopeError, HpkeOpener, JobFile, Kind, MAX_STATEMENT_BYTES, Payload,
    StatementError, Verified, encode_cbor,
};
use cddl_cat::cbor::validate_cbor;
use cddl_cat::context::BasicContext;
use cddl_cat::flatten::flatten_from_str;
use cddl_cat::util::ValidateError;
use data_encoding::HEXLOWER;
use vectors::by_hand::{self, Header};
use vectors::samples::{NOW, VOLUNTEER, secret};
use vectors::{Vector, invalid, reports, valid};

/// Set to write the vectors instead of comparing them.
const WRITE: &str = "TALKOOT_WRITE_VECTORS";

#[test]
fn the_files_hold_what_the_code_makes() {
    let writing = std::env::var_os(WRITE).is_some();
    for (folder, vectors) in [("valid", valid()), ("invalid", invalid::invalid())] {
        let folder = spec("vectors").join(folder);
        if writing {
            rewrite(&folder, &vectors);
        }
        let expected: BTreeMap<_, _> =
            vectors.iter().map(|vector| (format!("{}.cbor", vector.name), text(vector))).collect();
        assert_eq!(expected.len(), vectors.len(), "two vectors have one name");
        let found: BTreeSet<_> = names(&folder).into_iter().collect();
        let made: BTreeSet<_> = expected.keys().cloned().collect();
        assert_eq!(found, made, "files of {}; {WRITE}=1 writes them", folder.display());
        for (name, text) in expected {
            let path = folder.join(name);
            assert_eq!(read(&path), text, "{}; {WRITE}=1 writes it", path.display());
        }
    }
}

#[test]
fn the_index_names_kind_signer_and_id_of_every_valid_vector() {
    let path = spec("vectors").join("ids.json");
    let made = index(&valid());
    if std::env::var_os(WRITE).is_some() {
        if path.exists() {
            fs::remove_file(&path).expect("the old index can be removed");
        }
        write_new(&path, &made);
    }
    assert_eq!(read(&path), made, "{}; {WRITE}=1 writes it", path.display());
}

#[test]
fn the_file_of_reports_is_what_the_code_makes() {
    let path = spec("vectors").join("reports.json");
    let made = reports::file();
    if std::env::var_os(WRITE).is_some() {
        if path.exists() {
            fs::remove_file(&path).expect("the old file can be removed");
        }
        write_new(&path, &made);
    }
    assert!(read(&path) == made, "{}; {WRITE}=1 writes it", path.display());
}

#[test]
fn every_kind_has_a_valid_vector() {
    let covered: BTreeSet<_> = valid().iter().map(|vector| vector.kind).collect();
    assert_eq!(covered, Kind::ALL.iter().copied().collect());
}

#[test]
fn valid_vectors_are_taken_and_come_back_as_they_were() {
    for vector in valid() {
        let reencoded = check(&vector).unwrap_or_else(|error| panic!("{}: {error:?}", vector.name));
        let envelope = capability::Envelope::parse(&vector.bytes).expect("it was checked");
        assert_eq!(envelope.as_bytes(), vector.bytes, "{}", vector.name);
        // Our encoder forgets unknown keys, and writes some that may be absent.
        let otherwise = vector.name.contains("unknown-key")
            || ["ad-least", "offer-least"].contains(&vector.name.as_str());
        assert_eq!(reencoded == envelope.payload(), !otherwise, "{}", vector.name);
    }
}

#[test]
fn an_encoder_written_from_the_specification_makes_the_same_bytes() {
    let seeds = (1..=6).map(|seed| (by_hand::signing_key(seed).verifying_key().to_bytes(), seed));
    let seeds: BTreeMap<_, _> = seeds.collect();
    for vector in valid().into_iter().filter(|vector| !vector.name.contains("leaf")) {
        let envelope = capability::Envelope::parse(&vector.bytes).expect("a valid vector");
        // The mixed key has no seed.
        let Some(&seed) = seeds.get(envelope.signer().as_bytes()) else { continue };
        let header = Header::new(vector.kind.number(), seed);
        let made = by_hand::alone(&header, envelope.payload(), seed);
        assert_eq!(made, vector.bytes, "{}", vector.name);
        assert_eq!(header.id(envelope.payload()), *envelope.id().as_bytes(), "{}", vector.name);
    }
    let leaves: Vec<_> = valid().into_iter().filter(|it| it.name.contains("leaf")).collect();
    let payloads: Vec<_> = (0..3).map(|n| encode_cbor(&vectors::samples::withdrawal(n))).collect();
    let payloads = [&payloads[0][..], &payloads[1], &payloads[2]];
    let made = by_hand::leaves(Kind::Withdrawal.number(), payloads, vectors::samples::MASTER);
    for (vector, items) in leaves.iter().zip(made) {
        assert_eq!(by_hand::cbor(&ciborium::Value::Array(items)), vector.bytes, "{}", vector.name);
    }
}

#[test]
fn the_cddl_accepts_every_valid_vector() {
    let cddl = Cddl::parse(&read(&spec("statements.cddl")));
    for vector in valid() {
        for rule in [statement_rule(&vector).as_str(), "any-statement"] {
            let outcome = cddl.validate(rule, &vector.bytes);
            outcome.unwrap_or_else(|error| panic!("{} is no {rule}: {error}", vector.name));
        }
    }
}

#[test]
fn the_cddl_refuses_what_breaks_a_bound() {
    const BOUNDS: [&str; 20] = [
        "S20", "S21", "S22", "S33", "S34", "S35", "S40", "S41", "S42", "S43", "S50", "S51", "S52",
        "S72", "S83", "S85", "S90", "S91", "S96", "S106",
    ];
    let cddl = Cddl::parse(&read(&spec("statements.cddl")));
    for bound in BOUNDS {
        let broken = invalid::invalid().into_iter().find(|it| it.comment.starts_with(bound));
        let vector = broken.unwrap_or_else(|| panic!("no vector breaks {bound}"));
        let outcome = cddl.validate(&statement_rule(&vector), &vector.bytes);
        assert!(outcome.is_err(), "{}", vector.name);
    }
}

/// What is of another shape breaks S3, and the shapes are those of the CDDL.
#[test]
fn the_cddl_refuses_all_that_breaks_s3() {
    let cddl = Cddl::parse(&read(&spec("statements.cddl")));
    let shapeless = invalid::invalid().into_iter().filter(|it| it.comment.starts_with("S3,"));
    let taken = shapeless
        .filter(|vector| cddl.validate(&statement_rule(vector), &vector.bytes).is_ok())
        .map(|vector| vector.name);
    assert_eq!(taken.collect::<Vec<_>>(), [""; 0]);
}

/// Without the keys of later versions, so that a key which the CDDL spells wrong is noticed although
/// it is optional: every vector has all of them.
#[test]
fn the_cddl_names_every_key_that_the_code_writes() {
    const LATER_KEYS: &str = "* tstr => any";
    const LATER_VALUES: [&str; 3] = [" / later-fact", " / later-clause", " / later-preference"];
    let open = read(&spec("statements.cddl"));
    let closed =
        open.replace(&format!("{LATER_KEYS},"), "").replace(&format!(", {LATER_KEYS}"), "");
    let closed = LATER_VALUES.iter().fold(closed, |text, later| text.replace(later, ""));
    assert!(!closed.contains(LATER_KEYS), "every map is closed now");
    let closed = Cddl::parse(&closed);
    for vector in valid() {
        let outcome = closed.validate(&statement_rule(&vector), &vector.bytes);
        let unknown_key = vector.name.contains("unknown-key");
        assert_eq!(outcome.is_err(), unknown_key, "{}: {outcome:?}", vector.name);
    }
}

#[test]
fn invalid_vectors_are_refused_by_the_rule_that_they_name() {
    let wrong = invalid::invalid().into_iter().filter_map(|vector| {
        let (rule, _) = vector.comment.split_once(',').expect("a rule, a kind, what is wrong");
        match check(&vector) {
            Err(error) if error.rule() == rule => None,
            other => Some(format!("{}: {rule} expected, {other:?}", vector.name)),
        }
    });
    assert_eq!(wrong.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn reports_are_opened_by_their_recipient_and_refused_by_the_rule_that_they_break() {
    let opener = HpkeOpener::new([reports::reader()]);
    let open = |result| Report::open(&result, &opener, &Ed25519);
    let cddl = Cddl::parse(&read(&spec("statements.cddl")));
    for vector in valid().into_iter().filter(|vector| vector.kind == Kind::Result) {
        let result = Verified::parse(&vector.bytes, &Ed25519).expect("a valid vector");
        let opened = open(result).unwrap_or_else(|error| panic!("{}: {error:?}", vector.name));
        let report = encode_cbor(&opened.report);
        cddl.validate("report", &report).unwrap_or_else(|error| panic!("{}: {error}", vector.name));
    }
    for refused in reports::refused() {
        let bytes = Verified::sign(refused.result, &secret(VOLUNTEER));
        let result = Verified::parse(bytes.envelope().as_bytes(), &Ed25519);
        let error = open(result.expect("only its report is unsound")).expect_err(refused.what);
        assert_eq!(error.rule(), refused.rule, "{}: {error:?}", refused.what);
    }
}

#[test]
fn a_statement_over_64_kib_is_refused_unread() {
    let error = capability::Envelope::parse(&vec![0x84; MAX_STATEMENT_BYTES + 1]);
    assert!(matches!(error, Err(EnvelopeError::Cbor(CborError::TooLarge { .. }))));
}

#[test]
fn every_rule_that_one_statement_can_break_has_an_invalid_vector() {
    let vectors = invalid::invalid();
    let reports = reports::refused();
    let broken: BTreeSet<_> = vectors
        .iter()
        .filter_map(|vector| vector.comment.split_once(','))
        .map(|it| it.0)
        .chain(reports.iter().map(|report| report.rule))
        .collect();
    let mut rules = rules_of_the_specification();
    assert!(rules.remove("S1"), "a file of 64 KiB would be no example");
    assert!(rules.remove("S5"), "an id is computed, and cannot be wrong");
    assert!(rules.remove("S36"), "it is about volunteers, and not about statements");
    for volunteers in ["S114", "S117"] {
        assert!(rules.remove(volunteers), "{volunteers} is about volunteers as well");
    }
    assert!(rules.remove("S84"), "it is about blobs, and not about statements");
    assert!(rules.remove("S86"), "it is about who can open a key, and `reports.json` has one");
    for told in ["S110", "S112"] {
        assert!(rules.remove(told), "{told} is about what happened, which no report shows");
    }
    for several in ["S70", "S71", "S74", "S76", "S97", "S107", "S108"] {
        assert!(rules.remove(several), "{several} tells what several statements add up to");
    }
    assert_eq!(broken, rules.iter().map(String::as_str).collect());
}

#[test]
fn specification_and_code_have_the_same_rules() {
    assert_eq!(rules_of_the_specification(), rules_of_the_code());
}

/// A paper that leads to a file which is gone misleads.
#[test]
fn the_files_that_the_papers_name_are_there() {
    let root = spec("../..");
    let mut papers = vec![root.join("docs")];
    papers.extend(["adr", "operating", "spec"].map(|folder| root.join("docs").join(folder)));
    papers.push(root.clone());
    for folder in papers {
        for name in names(&folder).into_iter().filter(|name| name.ends_with(".md")) {
            let text = read(&folder.join(&name));
            let paths = text.split('`').skip(1).step_by(2).filter(|word| is_path(word));
            let there = |path: &str| root.join(path).exists() || folder.join(path).exists();
            let missing: Vec<_> = paths.filter(|path| !there(path)).collect();
            assert_eq!(missing, [""; 0], "named in {name}");
        }
    }
}

#[test]
fn the_job_file_in_the_readme_is_sound() {
    let readme = read(&spec("../../README.md"));
    let example = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let job = JobFile::parse(example.expect("an example")).expect("a sound job file");
    assert_eq!(job.job.tap.as_deref(), Some("check"));
}

/// Whether a word in backticks names a file or folder of this repository.
fn is_path(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    word.contains('/')
        && word.chars().all(plain)
        && !word.starts_with('/')
        && !word.starts_with("talkoot/1/")
        && !word.starts_with("target/")
}

/// A specification, parsed once.
struct Cddl(BasicContext);

impl Cddl {
    fn parse(text: &str) -> Self {
        Self(BasicContext::new(flatten_from_str(text).expect("the CDDL can be read")))
    }

    fn validate(&self, rule: &str, bytes: &[u8]) -> Result<(), ValidateError> {
        let definition = self.0.rules.get(rule).unwrap_or_else(|| panic!("no rule {rule}"));
        validate_cbor(definition, &by_hand::generic(bytes), &self.0)
    }
}

fn statement_rule(vector: &Vector) -> String {
    format!("{}-statement", vector.kind.name().replace(' ', "-"))
}

/// Checks a vector as its kind, at the time for which the vectors are made; gives its payload,
/// encoded anew.
fn check(vector: &Vector) -> Result<Vec<u8>, StatementError> {
    vector.kind.apply(Check(&vector.bytes))
}

struct Check<'a>(&'a [u8]);

impl OfKind for Check<'_> {
    type Output = Result<Vec<u8>, StatementError>;

    fn of<T: Payload + Debug + PartialEq>(self) -> Self::Output {
        let statement = Verified::<T>::parse(self.0, &Ed25519)?;
        statement.current(NOW)?;
        Ok(encode_cbor(&*statement))
    }
}

/// Rules are introduced in bold: `**S10**`.
fn rules_of_the_specification() -> BTreeSet<String> {
    let text = read(&spec("statements.md"));
    let mut rules = BTreeSet::new();
    for part in text.split("**").skip(1).step_by(2).filter(|part| is_rule(part)) {
        assert!(rules.insert(part.to_owned()), "{part} is introduced twice");
    }
    rules
}

/// Every `S…` in the sources of this crate; `S3 to S7` cites five.
fn rules_of_the_code() -> BTreeSet<String> {
    let mut rules = BTreeSet::new();
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = read(&path);
        let words: Vec<_> = text.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        for window in words.windows(3).filter(|window| is_rule(window[0])) {
            let last = if window[1] == "to" && is_rule(window[2]) { window[2] } else { window[0] };
            rules.extend((number(window[0])..=number(last)).map(|rule| format!("S{rule}")));
        }
    }
    rules
}

fn is_rule(word: &str) -> bool {
    word.strip_prefix('S').is_some_and(|number| number.parse::<u32>().is_ok())
}

fn number(rule: &str) -> u32 {
    rule[1..].parse().expect("the word is a rule")
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of sources");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

fn spec(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/spec").join(name)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The text of a vector's file: a comment, then hexadecimal digits.
fn text(vector: &Vector) -> String {
    let mut text = format!("# {}\n", vector.comment);
    for line in vector.bytes.chunks(48) {
        writeln!(text, "{}", HEXLOWER.encode(line)).expect("writing to memory does not fail");
    }
    text
}

/// A line of JSON for each vector.
fn index(vectors: &[Vector]) -> String {
    let lines = vectors.iter().map(|vector| {
        let envelope = capability::Envelope::parse(&vector.bytes).expect("a valid vector");
        let (name, kind) = (&vector.name, vector.kind.number());
        let (signer, id) = (HEXLOWER.encode(envelope.signer().as_bytes()), envelope.id());
        format!(r#"  "{name}": {{"kind": {kind}, "signer": "{signer}", "id": "{id}"}}"#)
    });
    format!("{{\n{}\n}}\n", lines.collect::<Vec<_>>().join(",\n"))
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    names.map(|name| name.into_string().expect("an ASCII name")).collect()
}

fn rewrite(folder: &Path, vectors: &[Vector]) {
    fs::create_dir_all(folder).expect("the folder can be made");
    for name in names(folder) {
        fs::remove_file(folder.join(name)).expect("an old vector can be removed");
    }
    for vector in vectors {
        write_new(&folder.join(format!("{}.cbor", vector.name)), &text(vector));
    }
}

fn write_new(path: &Path, text: &str) {
    let mut file = fs::OpenOptions::new();
    let mut file = file.write(true).create_new(true).open(path).expect("a file can be made");
    file.write_all(text.as_bytes()).expect("a file can be written");
}
