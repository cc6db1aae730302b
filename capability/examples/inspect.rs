//! Says what a statement is, or by which rule it is refused.
//!
//! ```sh
//! cargo run -p capability --example inspect -- docs/spec/vectors/valid/ad.cbor
//! ```
//!
//! A file holds the statement's bytes, or their hexadecimal digits below lines that begin with `#`.
//! `--at MILLISECONDS` judges time as of then, and not as of now.

#![expect(clippy::disallowed_methods, reason = "a statement is judged as of now")]

use std::error::Error;
use std::fmt::Debug;
use std::process::ExitCode;
use std::time::SystemTime;
use std::{env, fs};

use capability::statements::OfKind;
use capability::{Ed25519, Envelope, Kind, Payload, StatementError, Timestamp, Verified};
use data_encoding::HEXLOWER_PERMISSIVE;

const USAGE: &str = "usage: inspect [--at MILLISECONDS] FILE…";

fn main() -> ExitCode {
    let (now, files) = match arguments() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let outcomes = files.iter().map(|file| match read(file) {
        Ok(bytes) => report(file, &bytes, now),
        Err(error) => {
            eprintln!("{file}: {error}");
            Outcome::Refused
        }
    });
    // Every file is looked at, whatever becomes of the ones before.
    let refused = outcomes.filter(|outcome| matches!(outcome, Outcome::Refused)).count();
    if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

enum Outcome {
    Taken,
    Refused,
}

fn report(file: &str, bytes: &[u8], now: Timestamp) -> Outcome {
    match inspect(bytes, now) {
        Ok(text) => {
            println!("{file}: {text}");
            Outcome::Taken
        }
        Err(error) => {
            println!("{file}: refused by {}: {}", error.rule(), chain(&error));
            Outcome::Refused
        }
    }
}

fn chain(error: &dyn Error) -> String {
    let source = error.source().map(|source| format!(": {}", chain(source)));
    format!("{error}{}", source.unwrap_or_default())
}

fn arguments() -> Result<(Timestamp, Vec<String>), Box<dyn Error>> {
    let mut now = Timestamp::from(SystemTime::now());
    let mut files = Vec::new();
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--at" {
            now = Timestamp(words.next().ok_or("--at needs a number")?.parse()?);
        } else {
            files.push(word);
        }
    }
    if files.is_empty() { Err("no file".into()) } else { Ok((now, files)) }
}

/// No statement begins with a `#` or a hexadecimal digit: it would be no array of CBOR.
fn read(file: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let bytes = fs::read(file)?;
    let is_text = |byte: &u8| *byte == b'#' || byte.is_ascii_hexdigit();
    if !bytes.first().is_some_and(is_text) {
        return Ok(bytes);
    }
    let text = String::from_utf8(bytes)?;
    let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
    Ok(HEXLOWER_PERMISSIVE.decode(digits.as_bytes())?)
}

fn inspect(bytes: &[u8], now: Timestamp) -> Result<String, StatementError> {
    let envelope = Envelope::parse(bytes)?;
    // An unknown kind is refused as not the one expected.
    envelope.kind().unwrap_or(Kind::Ad).apply(Describe { envelope: &envelope, now })
}

struct Describe<'a> {
    envelope: &'a Envelope,
    now: Timestamp,
}

impl OfKind for Describe<'_> {
    type Output = Result<String, StatementError>;

    fn of<T: Payload + Debug + PartialEq>(self) -> Self::Output {
        let statement = Verified::<T>::check(self.envelope, &Ed25519)?;
        statement.current(self.now)?;
        Ok(format!(
            "{}\n  signer {}\n  id {}\n  expires {}\n{:#?}",
            T::KIND,
            statement.signer(),
            statement.id(),
            statement.expires(),
            *statement
        ))
    }
}
