//! Many statements in one file: the texts of single ones, one after the other.
//!
//! Each begins below a line with `#`, so that two lists joined are a list, what is damaged spoils one
//! statement and not those after it, and a reader needs room for one at a time.

use std::io::{self, BufRead, BufReader, Read, Take};

use anyhow::Context;
use capability::{Envelope, MAX_STATEMENT_BYTES, format_bytes};

use crate::exit::{Exit, Failure, OrExit, Outcome};
use crate::statement_file::envelope_of;

/// Statements of one list at most: the receipts that four volunteers keep.
pub const MAX_LISTED: usize = 16 << 10;

/// Bytes of one list at most: the receipts that a volunteer keeps, each as large as it takes them, in
/// digits.
pub const MAX_LIST_BYTES: u64 = 128 << 20;

/// Digits of the largest statement. No line that is read at once is longer.
const MAX_DIGITS: usize = 2 * MAX_STATEMENT_BYTES;

/// One statement of a list.
#[derive(Debug)]
pub struct Listed {
    /// The line at which its digits begin, counted from one.
    pub line: usize,
    /// It, or why these digits are none. No signature was checked.
    pub statement: Result<Envelope, String>,
}

/// Reads a list; ends with an error where the list cannot be read or is beyond a bound.
#[derive(Debug)]
pub struct StatementList<R> {
    reader: BufReader<Take<R>>,
    line: usize,
    listed: usize,
    digits: Vec<u8>,
    is_over: bool,
}

impl<R: Read> StatementList<R> {
    /// Reads from `reader`, and no more than [`MAX_LIST_BYTES`] and a byte.
    pub fn new(reader: R) -> Self {
        let reader = BufReader::new(reader.take(MAX_LIST_BYTES + 1));
        Self { reader, line: 0, listed: 0, digits: Vec::new(), is_over: false }
    }

    fn read_next(&mut self) -> Outcome<Option<Listed>> {
        self.digits.clear();
        let (mut begin, mut line) = (0, Vec::new());
        loop {
            let is_whole_line = line.last().is_none_or(|last| *last == b'\n');
            self.line += usize::from(is_whole_line);
            if self.read_line(&mut line)? == 0 {
                self.is_over = true;
                break;
            }
            match line.trim_ascii() {
                [] => {}
                // A line of words ends the statement before it.
                [b'#', ..] if self.digits.is_empty() => {}
                [b'#', ..] => break,
                digits => {
                    begin = if self.digits.is_empty() { self.line } else { begin };
                    // One digit too many is kept, to be refused with the others.
                    let room = (MAX_DIGITS + 1).saturating_sub(self.digits.len());
                    self.digits.extend(digits.iter().take(room));
                }
            }
        }
        if self.reader.get_ref().limit() == 0 {
            return Err(beyond(&format!("over {}", format_bytes(MAX_LIST_BYTES))));
        }
        if self.digits.is_empty() {
            return Ok(None);
        }
        self.listed += 1;
        if self.listed > MAX_LISTED {
            return Err(beyond(&format!("over {MAX_LISTED} statements")));
        }
        Ok(Some(Listed { line: begin, statement: self.statement() }))
    }

    fn read_line(&mut self, line: &mut Vec<u8>) -> Outcome<usize> {
        line.clear();
        let part: io::Result<_> =
            self.reader.by_ref().take(MAX_DIGITS as u64).read_until(b'\n', line);
        part.context("cannot read the list of statements").or_exit(Exit::Input)
    }

    fn statement(&self) -> Result<Envelope, String> {
        if self.digits.len() > MAX_DIGITS {
            return Err("it is too large for a statement".to_owned());
        }
        envelope_of(&self.digits)
    }
}

impl<R: Read> Iterator for StatementList<R> {
    type Item = Outcome<Listed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = self.read_next().transpose();
        self.is_over |= !matches!(next, Some(Ok(_)));
        next
    }
}

fn beyond(what: &str) -> Failure {
    Failure::say(Exit::Input, format!("the list has {what}"))
        .hint("no list that this program writes is as long; split it")
}

#[cfg(test)]
mod tests {
    use capability::statements::Succession;
    use capability::{SecretKey, Signer, Timestamp, Verified};

    use super::*;
    use crate::statement_text;

    fn text(seed: u8) -> String {
        let key = |seed| SecretKey::from_seed(&[seed; 32]);
        let payload = Succession { successor: key(99).public(), expires: Timestamp(1) };
        statement_text("what it is", Verified::sign(payload, &key(seed)).envelope())
    }

    /// The lines at which statements begin, and whether they are sound.
    fn read(text: impl AsRef<[u8]>) -> Vec<(usize, bool)> {
        let listed = StatementList::new(text.as_ref()).map(|it| it.expect("within bounds"));
        listed.map(|it| (it.line, it.statement.is_ok())).collect()
    }

    #[test]
    fn lists_are_joined_and_may_have_the_line_ends_of_any_system() {
        let list = format!("# of two\n{}{}", text(1), text(2));
        let lines = text(1).lines().count();
        assert_eq!(read(&list), [(3, true), (3 + lines, true)]);
        assert_eq!(read(format!("\n{}{}", list.replace('\n', " \r\n"), text(3))).len(), 3);
        assert_eq!(read("# nothing but words\n\n"), []);
    }

    #[test]
    fn what_is_damaged_spoils_one_statement() {
        let [first, second, third] = [text(1), text(2), text(3)];
        let half = &second[..second.len() / 2];
        let sound = |text: String| read(text).into_iter().map(|it| it.1).collect::<Vec<_>>();
        assert_eq!(sound(format!("{first}{half}\n{third}")), [true, false, true]);
        let binary = "# x\n\u{1}\u{2}\n";
        assert_eq!(sound(format!("{first}{binary}{third}")), [true, false, true]);
        let long = format!("# x\n{}\n", "00".repeat(3 * MAX_STATEMENT_BYTES));
        assert_eq!(sound(format!("{first}{long}{third}")), [true, false, true]);
    }

    #[test]
    fn a_list_without_end_is_given_up_at_its_bound() {
        let last = |reader: &mut dyn Read| {
            StatementList::new(reader).last().expect("an end").expect_err("refused")
        };
        let digits = last(&mut io::repeat(b'0'));
        assert!(digits.to_string().contains("over 128 MiB"), "{digits}");
        let many = "#\n0\n".repeat(MAX_LISTED + 1);
        let many = last(&mut many.as_bytes());
        assert!(many.to_string().contains("over 16384 statements"), "{many}");
    }
}
