//! Control groups are Linux's.

use std::convert::Infallible;
use std::io;

/// The control group of this program: there is none.
#[derive(Debug, Clone)]
pub struct Cgroups {
    never: Infallible,
}

/// Why no control groups are to be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoCgroups {
    /// They are Linux's.
    #[error("there are no control groups on this system")]
    NotThere,
}

impl Cgroups {
    /// Finds none.
    pub fn find() -> Result<Self, NoCgroups> {
        Err(NoCgroups::NotThere)
    }

    /// What the kernel holds steps to.
    pub fn layers(&self) -> Vec<String> {
        match self.never {}
    }
}

/// The control group of one step.
#[derive(Debug)]
pub(crate) struct Group {
    never: Infallible,
}

impl Group {
    /// Makes everybody in it stand still.
    pub fn freeze(&self) -> io::Result<()> {
        match self.never {}
    }

    /// Lets them go on.
    pub fn thaw(&self) -> io::Result<()> {
        match self.never {}
    }
}
