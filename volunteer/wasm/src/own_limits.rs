//! Limits that the runner sets for its own process, where no sandbox around it does.

use crate::arguments::Arguments;
use crate::ending::Ending;

/// Applies what `arguments` ask for; for good, the guest cannot raise it.
///
/// # Errors
///
/// The ending of a run that failed, if a limit cannot be set: nothing of the guest may be read then.
pub fn apply(arguments: &Arguments) -> Result<(), Ending> {
    system::apply(arguments)
        .map_err(|error| Ending::failed(format_args!("cannot limit this process: {error}")))
}

#[cfg(target_os = "linux")]
mod system {
    use rustix::io::Errno;
    use rustix::process::{
        Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit,
    };

    use crate::arguments::Arguments;

    pub fn apply(arguments: &Arguments) -> Result<(), Errno> {
        if arguments.end_with_parent {
            set_parent_process_death_signal(Some(Signal::KILL))?;
        }
        let limits = [
            (Resource::Data, arguments.data),
            (Resource::Fsize, arguments.file_size),
            (Resource::Cpu, arguments.cpu),
        ];
        let given = limits.into_iter().filter_map(|(what, limit)| Some((what, limit?)));
        for (what, limit) in given {
            lower(what, limit)?;
            // What the guest had in memory is nobody's business.
            lower(Resource::Core, 0)?;
        }
        Ok(())
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

    pub fn apply(arguments: &Arguments) -> io::Result<()> {
        let Arguments { data, file_size, cpu, end_with_parent, .. } = arguments;
        let wanted = *end_with_parent || [data, file_size, cpu].into_iter().any(Option::is_some);
        if wanted { Err(io::ErrorKind::Unsupported.into()) } else { Ok(()) }
    }
}
