//! Images are unpacked where they can be run, which is Linux.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::Path;

/// There is none.
pub struct Tree {
    never: Infallible,
}

/// What is to be in a file.
#[expect(dead_code, reason = "nobody is there to read them")]
pub struct Content<'a> {
    /// Whether it is a program.
    pub executable: bool,
    /// Seconds since 1970.
    pub modified: u64,
    /// How many bytes it has.
    pub size: u64,
    /// Gives them.
    pub bytes: &'a mut dyn Read,
}

impl Tree {
    /// Opens none.
    pub fn open(_: &Path) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Makes a directory.
    pub fn directory(&self, _: &Path) -> io::Result<()> {
        match self.never {}
    }

    /// Writes a file.
    pub fn file(&self, _: &Path, _: Content<'_>) -> io::Result<()> {
        match self.never {}
    }

    /// Makes a link.
    pub fn symlink(&self, _: &Path, _: &OsStr) -> io::Result<()> {
        match self.never {}
    }

    /// Gives a file another name.
    pub fn hard_link(&self, _: &Path, _: &Path) -> io::Result<()> {
        match self.never {}
    }

    /// Removes what is there.
    pub fn remove(&self, _: &Path) -> io::Result<()> {
        match self.never {}
    }

    /// Empties a directory.
    pub fn empty(&self, _: &Path) -> io::Result<()> {
        match self.never {}
    }

    /// Reads a file.
    pub fn read(&self, _: &Path, _: u64) -> io::Result<Vec<u8>> {
        match self.never {}
    }
}
