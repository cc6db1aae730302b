//! Statements in files that people carry from one machine to another.
//!
//! They are text, so that they can be mailed and pasted: lines that begin with `#` say what it is,
//! the others are hexadecimal digits, as in the vectors of `docs/spec`. So `inspect` reads them too.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::Context;
use capability::{Envelope, MAX_STATEMENT_BYTES};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

use crate::exit::{Exit, Failure, OrExit, Outcome};

/// Digits in a line: it fits into a terminal and a mail.
const LINE: usize = 64;

/// The largest statement in lines of digits, and some words about it.
const MAX_TEXT: usize = 2 * MAX_STATEMENT_BYTES + 2 * MAX_STATEMENT_BYTES / LINE + 4096;

/// `envelope` as text, below the line `about` that tells people what it is.
pub fn statement_text(about: &str, envelope: &Envelope) -> String {
    let mut text = format!("# {about}\n");
    for line in envelope.as_bytes().chunks(LINE / 2) {
        text.push_str(&HEXLOWER.encode(line));
        text.push('\n');
    }
    text
}

/// Reads the statement in the file `path`, or from standard input if that is `-`. No signature is
/// checked here.
pub fn read_statement(path: &Path) -> Outcome<Envelope> {
    let is_input = path == Path::new("-");
    let shown = if is_input { "standard input".to_owned() } else { path.display().to_string() };
    let read = if is_input { read(io::stdin().lock()) } else { File::open(path).and_then(read) };
    let text = read.with_context(|| format!("cannot read {shown}")).or_exit(Exit::Input)?;
    parse(&text).map_err(|why| {
        Failure::say(Exit::Input, format!("there is no statement in {shown}: {why}"))
            .hint("give it the file as it was made, with nothing added and nothing left out")
    })
}

fn read(from: impl Read) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    from.take(MAX_TEXT as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

fn parse(text: &[u8]) -> Result<Envelope, String> {
    if text.len() > MAX_TEXT {
        return Err("it is too large for one".to_owned());
    }
    let text = std::str::from_utf8(text).map_err(|_| "it is no text".to_owned())?;
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let digits: String = lines.collect();
    envelope_of(digits.as_bytes())
}

/// The statement in hexadecimal digits, or why they are none.
pub(crate) fn envelope_of(digits: &[u8]) -> Result<Envelope, String> {
    let bytes = HEXLOWER_PERMISSIVE.decode(digits);
    let bytes = bytes.map_err(|_| "it has other things than hexadecimal digits".to_owned())?;
    Envelope::parse(&bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use capability::statements::Succession;
    use capability::{SecretKey, Signer, Timestamp, Verified};

    use super::*;

    fn statement() -> Envelope {
        let key = |seed| SecretKey::from_seed(&[seed; 32]);
        let payload = Succession { successor: key(2).public(), expires: Timestamp(1) };
        Verified::sign(payload, &key(1)).envelope().clone()
    }

    #[test]
    fn a_statement_survives_text_with_the_line_ends_of_any_system() {
        let text = statement_text("what it is", &statement());
        assert!(text.starts_with("# what it is\n") && text.lines().all(|line| line.len() <= LINE));
        let mailed = text.replace('\n', " \r\n") + "\r\n";
        for text in [text, mailed] {
            assert_eq!(parse(text.as_bytes()), Ok(statement()));
        }
    }

    #[test]
    fn what_is_no_statement_is_refused_with_the_reason() {
        let text = statement_text("half", &statement());
        let half: String = text.lines().take(2).collect::<Vec<_>>().join("\n");
        for (wrong, why) in [
            (half.as_bytes(), "malformed CBOR"),
            (b"-----BEGIN", "hexadecimal"),
            (b"\xff\xfe", "no text"),
            (&[b'0'; MAX_TEXT + 1], "too large"),
        ] {
            let said = parse(wrong).expect_err("refused");
            assert!(said.contains(why), "{said}");
        }
        let nowhere = read_statement(Path::new("/nonexistent")).expect_err("not there");
        assert_eq!(nowhere.exit(), Exit::Input);
    }
}
