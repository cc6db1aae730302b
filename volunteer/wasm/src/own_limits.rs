//! What the runner takes from its own process where no sandbox around it does: root's rights, and
//! resources.

use std::{io, process, thread};

use crate::arguments::Arguments;
use crate::ending::Ending;

/// Applies what `arguments` ask for; for good, the guest cannot undo it.
///
/// To be called before there is a second thread.
///
/// # Errors
///
/// The ending of a run that failed, if one cannot be had: nothing of the guest may be read then.
pub fn apply(arguments: &Arguments) -> Result<(), Ending> {
    if let Some(user) = arguments.user {
        system::become_user(user)
            .map_err(|error| Ending::failed(format_args!("cannot become user {user}: {error}")))?;
    }
    // After that, since the kernel forgets the death signal whenever credentials change.
    if let Some(parent) = arguments.end_with_parent {
        system::end_with_parent(parent).map_err(|error| {
            Ending::failed(format_args!("cannot end with parent {parent}: {error}"))
        })?;
    }
    system::limit(arguments)
        .map_err(|error| Ending::failed(format_args!("cannot limit this process: {error}")))?;
    if arguments.end_with_input {
        end_with_input().map_err(|error| {
            Ending::failed(format_args!("cannot end with standard input: {error}"))
        })?;
    }
    Ok(())
}

/// Has a thread wait for the end of standard input, of which the guest gets nothing.
fn end_with_input() -> io::Result<()> {
    let wait = || {
        // An error is an end as well.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        // Both without anything that the guest could hold up; of a killed process no system keeps a report.
        #[cfg(unix)]
        {
            use rustix::process::{Signal, getpid, kill_process};
            let _ = kill_process(getpid(), Signal::KILL);
        }
        process::abort();
    };
    thread::Builder::new().name("parent".to_owned()).spawn(wait).map(drop)
}

#[cfg(target_os = "linux")]
mod system {
    use rustix::io::Errno;
    use rustix::process::{
        Gid, Resource, Rlimit, Signal, Uid, getppid, getrlimit, set_parent_process_death_signal,
        setrlimit,
    };
    use rustix::thread::{
        CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs, set_thread_groups,
        set_thread_res_gid, set_thread_res_uid,
    };

    use crate::arguments::Arguments;

    /// For the calling thread, which is all that there is.
    pub fn become_user(user: u32) -> Result<(), Errno> {
        let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
        set_thread_groups(&[])?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        // They go with root's ids, unless somebody has switched that off.
        let none = CapabilitySet::empty();
        let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
        set_capabilities(None, none)?;
        set_no_new_privs(true)
    }

    pub fn end_with_parent(parent: u32) -> Result<(), Errno> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // A parent that ended before that sends nothing.
        let is_there = getppid().is_some_and(|it| it.as_raw_pid().cast_unsigned() == parent);
        if is_there { Ok(()) } else { Err(Errno::SRCH) }
    }

    pub fn limit(arguments: &Arguments) -> Result<(), Errno> {
        // What the guest had in memory is nobody's business. Zero would still start the handler that
        // `core_pattern` may pipe to; one does not.
        lower(Resource::Core, 1)?;
        let limits = [
            (Resource::Data, arguments.data),
            (Resource::Fsize, arguments.file_size),
            (Resource::Cpu, arguments.cpu),
            (Resource::Nofile, arguments.open_files),
        ];
        let given = limits.into_iter().filter_map(|(what, limit)| Some((what, limit?)));
        given.into_iter().try_for_each(|(what, limit)| lower(what, limit))
    }

    fn lower(what: Resource, limit: u64) -> Result<(), Errno> {
        let maximum = getrlimit(what).maximum.map_or(limit, |maximum| maximum.min(limit));
        setrlimit(what, Rlimit { current: Some(maximum), maximum: Some(maximum) })
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::io;

    use crate::arguments::Arguments;

    pub fn become_user(_: u32) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn end_with_parent(_: u32) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn limit(arguments: &Arguments) -> io::Result<()> {
        let Arguments { data, file_size, cpu, open_files, .. } = arguments;
        let wanted = [data, file_size, cpu, open_files].into_iter().any(Option::is_some);
        if wanted { Err(io::ErrorKind::Unsupported.into()) } else { Ok(()) }
    }
}
