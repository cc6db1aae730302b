//! Which processors a thread may use.
//!
//! They are counted from 0, as the kernel does. What a thread starts inherits its own.

use std::collections::BTreeSet;
use std::io;

/// The processors are fewer than this: as many as the kernel's structure of fixed size has bits.
pub const MAX_PROCESSORS: u32 = 1024;

/// The processors that this thread may use. None where the system does not tell.
pub fn processors() -> io::Result<BTreeSet<u32>> {
    imp::processors()
}

/// Makes this thread, and what it starts from now on, use no processor but `processors`, of which those count that
/// there are and that it may use. Without any it changes nothing, nor if none of them is left: processors come and go,
/// and so does the permission to use them, while what was chosen for a job stays.
pub fn stay_on(processors: &BTreeSet<u32>) -> io::Result<()> {
    if processors.is_empty() { Ok(()) } else { imp::stay_on(processors) }
}

#[cfg(target_os = "linux")]
mod imp {
    use std::collections::BTreeSet;
    use std::io;

    use rustix::io::Errno;
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    use super::MAX_PROCESSORS;

    pub fn processors() -> io::Result<BTreeSet<u32>> {
        let set = sched_getaffinity(None)?;
        Ok((0..MAX_PROCESSORS).filter(|number| set.is_set(*number as usize)).collect())
    }

    pub fn stay_on(processors: &BTreeSet<u32>) -> io::Result<()> {
        let mut set = CpuSet::new();
        for number in processors.iter().filter(|number| **number < MAX_PROCESSORS) {
            set.set(*number as usize);
        }
        match sched_setaffinity(None, &set) {
            // None of them is to be had.
            Err(Errno::INVAL) => Ok(()),
            result => Ok(result?),
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use std::collections::BTreeSet;
    use std::io;

    pub fn processors() -> io::Result<BTreeSet<u32>> {
        Ok(BTreeSet::new())
    }

    pub fn stay_on(_: &BTreeSet<u32>) -> io::Result<()> {
        Ok(())
    }
}
