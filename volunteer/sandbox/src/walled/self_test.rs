//! Finding out whether the wall holds, before anybody relies on it.

use std::io;

use crate::run::Helper;
use crate::self_test::Unavailable;

use super::platform::LAYERS;

/// What is around a walled program here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wall {
    /// The words for it, of the fact `sandbox.layers`.
    pub layers: &'static [&'static str],
}

impl Wall {
    /// Whether there is anything but the process itself, and so something that was tried.
    pub fn is_more_than_a_process(&self) -> bool {
        self.layers.len() > 1
    }
}

/// Lets a program that wants out loose in the wall that walled programs have here: `helper`, told to try. On Linux,
/// where there is no such wall, it answers so, tries nothing and needs no helper. Blocks for a fraction of a second, a
/// minute at most.
///
/// # Errors
/// What it could reach, or why it could not be tried.
pub fn wall_self_test(helper: io::Result<Helper>) -> Result<Wall, Unavailable> {
    imp::try_wall(helper)?;
    Ok(Wall { layers: LAYERS })
}

#[cfg(target_os = "linux")]
mod imp {
    use super::{Helper, Unavailable, io};

    pub fn try_wall(_: io::Result<Helper>) -> Result<(), Unavailable> {
        Ok(())
    }
}

#[cfg(any(not(target_os = "linux"), test))]
mod judging {
    use super::Unavailable;
    use crate::outcome::{Ending, Outcome};
    use crate::walled::attempts::Reached;

    /// What a wall promises to keep out of reach.
    #[derive(Debug, Clone, Copy)]
    pub struct Promise {
        /// Files that are not shown to the program.
        pub reading: bool,
        /// The network.
        pub network: bool,
    }

    /// Whether the program that tried did run, could do its work, and came no further.
    pub fn judge(outcome: &Outcome, promise: Promise) -> Result<(), Unavailable> {
        let said = String::from_utf8_lossy(&outcome.output);
        if outcome.ending != (Ending::Exited { code: 0 }) {
            let reason = format!("the self-test ended with {:?} {}", outcome.ending, said.trim());
            return Err(unavailable(reason));
        }
        let reached: Reached = serde_json::from_slice(&outcome.output)
            .map_err(|_| unavailable(format!("the self-test says {:?}", said.trim())))?;
        let through = [
            (!reached.own_folder, "it has no work directory"),
            (reached.writing, "it can write to the owner's files"),
            (reached.starting, "it can start programs"),
            (reached.reading && promise.reading, "it can read the owner's files"),
            (reached.network && promise.network, "it has a network"),
        ];
        match through.into_iter().find(|(is_so, _)| *is_so) {
            Some((_, what)) => Err(unavailable(format!("the self-test got through: {what}"))),
            None => Ok(()),
        }
    }

    pub fn unavailable(reason: String) -> Unavailable {
        Unavailable { reason }
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use std::collections::BTreeSet;
    use std::fs;
    use std::net::TcpListener;
    use std::time::Duration;

    use super::judging::{Promise, judge, unavailable};
    use super::{Helper, Unavailable, io};
    use crate::spec::Limits;
    use crate::walled::WalledSpec;
    use crate::walled::attempts::{CANARY, TRY};

    /// A token of low integrity keeps its bearer from writing; from reading and from the network it does not.
    const PROMISE: Promise =
        Promise { reading: cfg!(target_os = "macos"), network: cfg!(target_os = "macos") };

    pub fn try_wall(helper: io::Result<Helper>) -> Result<(), Unavailable> {
        let helper = helper.map_err(|error| unavailable(error.to_string()))?;
        let bait = Bait::lay().map_err(|error| unavailable(format!("cannot prepare: {error}")))?;
        let running = bait
            .spec(&helper)
            .and_then(|spec| spec.start(None))
            .map_err(|error| unavailable(format!("cannot start a program: {error}")))?;
        judge(&running.wait(), PROMISE)
    }

    /// What the program is told of, and must not reach; and its work directory, beside that.
    struct Bait {
        owners: tempfile::TempDir,
        work: tempfile::TempDir,
        service: TcpListener,
    }

    impl Bait {
        fn lay() -> io::Result<Self> {
            let (owners, work) = (tempfile::tempdir()?, tempfile::tempdir()?);
            fs::write(owners.path().join(CANARY), "for the owner only")?;
            Ok(Self { owners, work, service: TcpListener::bind(("127.0.0.1", 0))? })
        }

        fn spec(&self, helper: &Helper) -> io::Result<WalledSpec> {
            let bait = self.owners.path().canonicalize()?.display().to_string();
            let port = self.service.local_addr()?.port().to_string();
            Ok(WalledSpec {
                program: helper.exe.clone(),
                arguments: vec![TRY.to_owned(), bait, port],
                reads: Vec::new(),
                work: self.work.path().canonicalize()?,
                limits: Limits {
                    wall: Duration::from_secs(60),
                    memory: 256 << 20,
                    disk: 16 << 20,
                    output: 64 << 10,
                    processes: 1,
                },
                processors: BTreeSet::new(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::judging::{Promise, judge};
    use crate::outcome::{Ending, Outcome};
    use crate::walled::attempts::Reached;

    const HELD: Reached = Reached {
        own_folder: true,
        reading: false,
        writing: false,
        network: false,
        starting: false,
    };

    fn passes(ending: Ending, output: &str, promise: Promise) -> bool {
        let outcome = Outcome {
            ending,
            wall: Duration::ZERO,
            cpu: Duration::ZERO,
            memory_peak: 0,
            output: output.into(),
            output_truncated: false,
            network: None,
        };
        judge(&outcome, promise).is_ok()
    }

    #[test]
    fn a_wall_passes_if_it_keeps_what_it_promises_and_lets_its_program_work() {
        let all = Promise { reading: true, network: true };
        let some = Promise { reading: false, network: false };
        let check = |reached: Reached, promise, expected: bool| {
            let said = serde_json::to_string(&reached).unwrap();
            let ended = Ending::Exited { code: 0 };
            assert_eq!(passes(ended, &said, promise), expected, "{reached:?} {promise:?}");
        };
        check(HELD, all, true);
        check(Reached { own_folder: false, ..HELD }, some, false);
        check(Reached { writing: true, ..HELD }, some, false);
        check(Reached { starting: true, ..HELD }, some, false);
        check(Reached { reading: true, ..HELD }, all, false);
        check(Reached { reading: true, network: true, ..HELD }, some, true);
        check(Reached { network: true, ..HELD }, all, false);
    }

    #[test]
    fn a_program_that_did_not_try_proves_nothing() {
        let all = Promise { reading: true, network: true };
        let said = serde_json::to_string(&HELD).unwrap();
        assert!(!passes(Ending::TimedOut, &said, all));
        assert!(!passes(Ending::Exited { code: 1 }, &said, all));
        assert!(!passes(Ending::Exited { code: 0 }, "", all));
    }
}
