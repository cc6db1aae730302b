//! Files without a name, which use the disk for as long as the guest holds them open.
//!
//! Nobody else need be able to see them: the parent may be another user by then.

use std::io;

/// Ends this process as the kernel ends one that makes a file larger than it may, soon after files
/// without a name take more than `limit` bytes together.
///
/// # Errors
///
/// If nothing can be watched here.
pub fn watch(limit: u64) -> io::Result<()> {
    system::watch(limit)
}

#[cfg(target_os = "linux")]
mod system {
    use std::time::Duration;
    use std::{fs, io, thread};

    use rustix::fs::{AtFlags, CWD, statat};
    use rustix::process::{DumpableBehavior, Signal, getpid, kill_process, set_dumpable_behavior};

    const INTERVAL: Duration = Duration::from_millis(200);

    const DESCRIPTORS: &str = "/proc/self/fd";

    pub fn watch(limit: u64) -> io::Result<()> {
        // Or the descriptors would belong to root after a change of the user, also for ourselves.
        set_dumpable_behavior(DumpableBehavior::Dumpable)?;
        used()?;
        let watch = move || {
            while used().is_ok_and(|used| used <= limit) {
                thread::sleep(INTERVAL);
            }
            kill_process(getpid(), Signal::XFSZ).expect("one may always end oneself");
        };
        thread::Builder::new().name("unlinked".to_owned()).spawn(watch)?;
        Ok(())
    }

    /// Bytes of files without a name; a file with several descriptors counts with each.
    fn used() -> io::Result<u64> {
        let mut used = 0_u64;
        for descriptor in fs::read_dir(DESCRIPTORS)? {
            // Closed meanwhile, or no file.
            let Ok(stat) = statat(CWD, descriptor?.path(), AtFlags::empty()) else { continue };
            if stat.st_nlink == 0 {
                let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
                used = used.saturating_add(blocks.saturating_mul(512));
            }
        }
        Ok(used)
    }
}

/// Written from the manual page of fstat(2); no machine has run it yet.
#[cfg(target_os = "macos")]
mod system {
    use std::os::fd::BorrowedFd;
    use std::time::Duration;
    use std::{io, thread};

    use rustix::fs::{FileType, fstat};
    use rustix::process::{Resource, Signal, getpid, getrlimit, kill_process};

    const INTERVAL: Duration = Duration::from_millis(200);

    /// Descriptors beyond that are not looked at; whoever wants this watch limits their number.
    const MOST_FILES: u64 = 4096;

    pub fn watch(limit: u64) -> io::Result<()> {
        let watch = move || {
            while used() <= limit {
                thread::sleep(INTERVAL);
            }
            kill_process(getpid(), Signal::XFSZ).expect("one may always end oneself");
        };
        thread::Builder::new().name("unlinked".to_owned()).spawn(watch)?;
        Ok(())
    }

    /// Bytes of files without a name; a file with several descriptors counts with each.
    fn used() -> u64 {
        let most = getrlimit(Resource::Nofile).current.unwrap_or(MOST_FILES).min(MOST_FILES);
        let most = i32::try_from(most).expect("its maximum fits");
        (0..most).filter_map(without_a_name).fold(0, u64::saturating_add)
    }

    /// Bytes of the file behind `descriptor`, if it is open and such a file.
    fn without_a_name(descriptor: i32) -> Option<u64> {
        #[expect(unsafe_code, reason = "the system lists no descriptors that could be borrowed")]
        // SAFETY: it is looked at once and no more; one that is closed is an error, and one that is another's by then
        // is looked at no less rightly.
        let stat = fstat(unsafe { BorrowedFd::borrow_raw(descriptor) }).ok()?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
        (is_file && stat.st_nlink == 0).then(|| blocks.saturating_mul(512))
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
mod system {
    use std::io;

    pub fn watch(_: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
