//! Finding out what this machine's sandbox is worth before anybody relies on it.

use std::fmt;
use std::path::Path;

use crate::run::Sandbox;

/// How well native jobs are contained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Strength {
    /// Namespaces, Landlock, seccomp and resource limits hold. Memory is watched by init, a pause is made of signals.
    Native,
    /// Each step has a control group besides, which is frozen for a pause. [`Cgroups::layers`](crate::Cgroups::layers)
    /// tells what else it holds.
    NativeInGroups,
}

impl fmt::Display for Strength {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native => formatter.write_str("native"),
            Self::NativeInGroups => formatter.write_str("native in control groups"),
        }
    }
}

/// Why native jobs cannot be contained here, and what could be done about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no sandbox for native jobs: {reason}")]
pub struct Unavailable {
    /// What is missing, with a remedy where one is known.
    pub reason: String,
}

/// Lets a hostile program loose in `sandbox`, and answers what strength it met.
///
/// The whole way is tried, with the helper that jobs will have: asking for single settings of the kernel has proved
/// misleading. Takes a fraction of a second on a machine at rest, a minute at most. Blocks.
pub fn self_test(sandbox: &Sandbox) -> Result<Strength, Unavailable> {
    imp::self_test(sandbox, None)
}

/// Lets a hostile program loose on the proxy of a permitted network, in `sandbox`: it must answer, and
/// connect nobody with this machine, whatever the job lists. To be tried where [`self_test`] has passed. Blocks as that.
pub fn network_self_test(sandbox: &Sandbox) -> Result<(), Unavailable> {
    imp::network_self_test(sandbox)
}

/// The same with the files of an image in place of the host's: a directory that has at [`MARK`] some text, which the
/// hostile program must see, and neither `/usr` nor any `/lib`, so that its own libraries can be shown to it.
pub fn self_test_in(sandbox: &Sandbox, root: &Path) -> Result<Strength, Unavailable> {
    imp::self_test(sandbox, Some(root))
}

/// What the hostile program looks for in an image.
pub const MARK: &str = "etc/talkoot-image";

#[cfg(not(target_os = "linux"))]
mod imp {
    use super::{Path, Sandbox, Strength, Unavailable};

    pub fn network_self_test(sandbox: &Sandbox) -> Result<(), Unavailable> {
        self_test(sandbox, None).map(drop)
    }

    pub fn self_test(_: &Sandbox, _: Option<&Path>) -> Result<Strength, Unavailable> {
        let reason = format!("it needs Linux, and this is {}", std::env::consts::OS);
        Err(Unavailable { reason })
    }
}

#[cfg(target_os = "linux")]
mod imp {
    use std::fs;
    use std::io;
    use std::net::TcpListener;
    use std::time::Duration;

    use super::{MARK, Path, Sandbox, Strength, Unavailable};
    use crate::affinity;
    use crate::helper::HOSTILE;
    use crate::hostile::{CANARY, HOST_PORT, IN_IMAGE, PROCESSES, PROXIED, VERDICT};
    use crate::network::{Destination, Network};
    use crate::outcome::{Ending, Outcome};
    use crate::spec::{Limits, Spec};

    pub fn self_test(sandbox: &Sandbox, root: Option<&Path>) -> Result<Strength, Unavailable> {
        check_kernel()?;
        let bait = Bait::lay().map_err(|error| unavailable(format!("cannot prepare: {error}")))?;
        let mut spec = hostile_spec(sandbox, &bait)?;
        if let Some(root) = root {
            show_image(root, &mut spec);
        }
        let outcome = sandbox
            .run(&spec)
            .map_err(|error| unavailable(format!("cannot start the helper: {error}")))?;
        judge(&outcome)?;
        Ok(if sandbox.groups().is_some() { Strength::NativeInGroups } else { Strength::Native })
    }

    pub fn network_self_test(sandbox: &Sandbox) -> Result<(), Unavailable> {
        let bait = Bait::lay().map_err(|error| unavailable(format!("cannot prepare: {error}")))?;
        let mut spec = hostile_spec(sandbox, &bait)?;
        spec.env.insert(PROXIED.to_owned(), "1".to_owned());
        let port = bait.service.local_addr().map_or(0, |address| address.port());
        let host = "127.0.0.1".to_owned();
        let destinations = vec![Destination { host, below: false, port }];
        spec.permit(Network { destinations, bytes: 1 << 20, down: None, up: None });
        let outcome = sandbox
            .run(&spec)
            .map_err(|error| unavailable(format!("cannot start the helper: {error}")))?;
        judge(&outcome)
    }

    /// Before Linux 5.14 a limit on processes counted those of the same user outside the sandbox as well.
    fn check_kernel() -> Result<(), Unavailable> {
        let uname = rustix::system::uname();
        let release = uname.release().to_string_lossy();
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (5, 14) => Ok(()),
            _ => Err(unavailable(format!("it needs Linux 5.14 or newer, and this is {release}"))),
        }
    }

    /// Things on the host that the hostile program is told of, and must not reach.
    struct Bait {
        directory: tempfile::TempDir,
        service: TcpListener,
    }

    impl Bait {
        fn lay() -> io::Result<Self> {
            let directory = tempfile::tempdir()?;
            fs::create_dir(directory.path().join("work"))?;
            fs::write(directory.path().join("canary"), "for the host only")?;
            Ok(Self { directory, service: TcpListener::bind(("127.0.0.1", 0))? })
        }
    }

    fn hostile_spec(sandbox: &Sandbox, bait: &Bait) -> Result<Spec, Unavailable> {
        let program = Path::new("/opt/hostile");
        let work = bait.directory.path().join("work");
        let command = vec![program.display().to_string(), HOSTILE.to_owned()];
        let mut spec = Spec::new(command, work);
        spec.read_only = vec![(sandbox.helper().exe.clone(), program.to_owned())];
        spec.toolchain = false;
        spec.limits = Limits {
            // On a busy machine a job has to wait for its turn.
            wall: Duration::from_secs(60),
            memory: 512 << 20,
            disk: 64 << 20,
            output: 64 << 10,
            processes: PROCESSES,
        };
        let one = affinity::processors().map(|all| all.into_iter().take(1).collect());
        spec.processors =
            one.map_err(|error| unavailable(format!("cannot tell the processors: {error}")))?;
        let port = bait.service.local_addr().map_or(0, |address| address.port());
        let canary = bait.directory.path().join("canary").display().to_string();
        spec.env.insert(HOST_PORT.to_owned(), port.to_string());
        spec.env.insert(CANARY.to_owned(), canary);
        Ok(spec)
    }

    /// Puts `root` in place of the host's files, but for the libraries that the hostile program needs.
    fn show_image(root: &Path, spec: &mut Spec) {
        spec.root = Some(root.to_owned());
        spec.env.insert(IN_IMAGE.to_owned(), format!("/{MARK}"));
        let libraries = ["/", "/usr"]
            .map(Path::new)
            .into_iter()
            .flat_map(|parent| ["lib", "lib32", "lib64", "libx32"].map(|name| parent.join(name)));
        spec.read_only.extend(libraries.filter(|it| it.is_dir()).map(|it| (it.clone(), it)));
    }

    fn judge(outcome: &Outcome) -> Result<(), Unavailable> {
        let said = String::from_utf8_lossy(&outcome.output);
        match &outcome.ending {
            // The word as well, lest a program that does something else should pass.
            Ending::Exited { code: 0 } if said.trim() == VERDICT => Ok(()),
            Ending::Exited { .. } => {
                Err(unavailable(format!("the self-test got through: {}", said.trim())))
            }
            Ending::SandboxFailed { reason } => Err(unavailable(explain(reason))),
            other => Err(unavailable(format!("the self-test ended with {other:?}"))),
        }
    }

    /// Adds what usually helps against `reason`.
    fn explain(reason: &str) -> String {
        let setting = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let restricted = setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns");
        let most = setting("/proc/sys/user/max_user_namespaces");
        let permitted = setting("/proc/sys/kernel/unprivileged_userns_clone");
        let remedy = if restricted == "1" {
            "AppArmor restricts user namespaces here; install the profile that comes with the package, which \
             permits them to this program alone"
        } else if most == "0" {
            "user namespaces are turned off here; set user.max_user_namespaces to 1000 or more with sysctl"
        } else if permitted == "0" {
            "user namespaces are for root only here; set kernel.unprivileged_userns_clone to 1 with sysctl, or \
             start the daemon as root"
        } else if reason.contains("Landlock") {
            "add landlock to the boot parameter lsm="
        } else if reason.contains("create namespaces") || reason.contains("of kind proc") {
            "in a container, namespaces and a fresh /proc must be permitted to it"
        } else {
            return reason.to_owned();
        };
        format!("{reason} ({remedy})")
    }

    fn unavailable(reason: String) -> Unavailable {
        Unavailable { reason }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn outcome(ending: Ending, output: &str) -> Outcome {
            Outcome {
                ending,
                wall: Duration::ZERO,
                cpu: Duration::ZERO,
                memory_peak: 0,
                output: output.into(),
                output_truncated: false,
                network: None,
            }
        }

        #[test]
        fn only_the_verdict_with_success_passes() {
            let check = |ending, output: &str| judge(&outcome(ending, output)).is_ok();
            assert!(check(Ending::Exited { code: 0 }, VERDICT));
            assert!(!check(Ending::Exited { code: 0 }, ""));
            assert!(!check(Ending::Exited { code: 1 }, VERDICT));
            assert!(!check(Ending::TimedOut, VERDICT));
            assert!(!check(Ending::SandboxFailed { reason: "x".into() }, VERDICT));
        }
    }
}
