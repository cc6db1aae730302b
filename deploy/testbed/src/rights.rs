//! Whether hosts can be made here.

use std::io::Write;
use std::net::Ipv4Addr;

use crate::host::Host;
use crate::tun;

/// Why no host can be made here, and what to do; none if one can.
fn obstacle() -> Option<String> {
    let tried = Host::new("trial", Ipv4Addr::new(10, 77, 0, 254));
    let tried = tried.and_then(|host| host.inside(|| tun::open("trial"))?);
    let error = tried.err()?;
    Some(format!(
        "{error:#}; be root, or try `unshare --user --map-root-user cargo test -p testbed`"
    ))
}

/// Whether `what` can be run. If not, it says so past the test harness, which would keep it to
/// itself.
///
/// # Panics
/// If it cannot in CI, where a story that is not run is a failure.
pub fn suffice_for(what: &str) -> bool {
    let Some(obstacle) = obstacle() else { return true };
    assert!(std::env::var_os("CI").is_none(), "cannot run in CI: {what}: {obstacle}");
    // If even that cannot be said, there is nobody to hear it.
    let _ = writeln!(std::io::stderr(), "NOT RUN: {what}: {obstacle}");
    false
}
