//! Standard output, which may end before we do.

use std::fmt::Display;
use std::io::{self, Write};
use std::process;

use crate::exit::{Exit, Failure, Outcome};

/// Writes `text`. A reader that has had enough, as in `… | head`, is no failure of ours.
pub fn put(text: &str) -> Outcome {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::State, error))
        }
        _ => Ok(()),
    }
}

/// Writes `line` and a line end; without a reader the program ends here. For [`outln!`].
///
/// [`outln!`]: crate::outln
pub fn put_line(line: impl Display) {
    match writeln!(io::stdout().lock(), "{line}") {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => process::exit(0),
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: cannot write to standard output: {error}");
            process::exit(Exit::State.code().into());
        }
    }
}

/// `println!` that does not panic when nobody reads.
#[macro_export]
macro_rules! outln {
    ($($line:tt)*) => { $crate::out::put_line(format_args!($($line)*)) };
}
