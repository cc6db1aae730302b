//! Engines are asked for images where these can be run, and so can be ended with all that they have started.

use std::convert::Infallible;
use std::io::{self, Read};
use std::marker::PhantomData;
use std::process::Command;
use std::time::Duration;

use super::{Hold, ImageError};

/// What a question may take.
#[derive(Debug, Clone, Copy)]
#[expect(dead_code, reason = "nothing is asked")]
pub struct Bounds {
    /// Time in which its program answers.
    pub wall: Duration,
    /// Bytes of the answer.
    pub bytes: u64,
}

/// A program that was asked: there is none.
pub struct Asked<'a> {
    never: Infallible,
    _hold: PhantomData<&'a Hold<'a>>,
}

impl<'a> Asked<'a> {
    /// Asks nobody.
    pub fn start(command: Command, _: Bounds, _: &'a Hold<'a>) -> Result<Self, ImageError> {
        let name = command.get_program().to_string_lossy();
        Err(ImageError::Machine(format!("{name} is not asked on this system")))
    }

    /// All that it answers.
    pub fn answer(self) -> Result<Vec<u8>, ImageError> {
        match self.never {}
    }

    /// Whether it has nothing more to say.
    pub fn is_over(&self) -> bool {
        match self.never {}
    }

    /// Waits for its end.
    pub fn end(self) -> Result<(), ImageError> {
        match self.never {}
    }
}

impl Read for Asked<'_> {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match self.never {}
    }
}
