//! Where a daemon's files are (DESIGN.md, appendix A).
//!
//! | | root | others on Unix | on Windows |
//! |---|---|---|---|
//! | configuration | `/etc/talkoot/<role>.toml` | `$XDG_CONFIG_HOME/talkoot/<role>.toml` | `%LOCALAPPDATA%\talkoot\<role>.toml` |
//! | state | `/var/lib/talkoot/<role>` | `$XDG_STATE_HOME/talkoot/<role>` | `%LOCALAPPDATA%\talkoot\<role>` |
//! | cache | `/var/cache/talkoot/<role>` | `$XDG_CACHE_HOME/talkoot/<role>` | `%LOCALAPPDATA%\talkoot\cache\<role>` |
//!
//! Those on Windows stay on the machine, as a node's key has to: a profile that roams has copies.

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

use crate::access::is_root;
use crate::exit::{Exit, OrExit, Outcome};

/// The file that says how the daemon `role` is to behave.
pub fn default_config(role: &str) -> Outcome<PathBuf> {
    Ok(talkoot()?.config.join(format!("{role}.toml")))
}

/// The directory of what the daemon `role` must not lose.
pub fn default_state(role: &str) -> Outcome<PathBuf> {
    Ok(talkoot()?.state.join(role))
}

/// The directory of what the daemon `role` can do without.
pub fn default_cache(role: &str) -> Outcome<PathBuf> {
    Ok(talkoot()?.cache.join(role))
}

/// What holds the files of all daemons of one user.
struct Directories {
    config: PathBuf,
    state: PathBuf,
    cache: PathBuf,
}

fn talkoot() -> Outcome<Directories> {
    if is_root() {
        let [config, state, cache] =
            ["/etc", "/var/lib", "/var/cache"].map(|it| Path::new(it).join("talkoot"));
        return Ok(Directories { config, state, cache });
    }
    own(&etcetera::choose_base_strategy().or_exit(Exit::Input)?)
}

#[cfg(unix)]
fn own(base: &impl BaseStrategy) -> Outcome<Directories> {
    let state = base.state_dir().unwrap_or_else(|| base.data_dir());
    let [config, state, cache] =
        [base.config_dir(), state, base.cache_dir()].map(|it| it.join("talkoot"));
    Ok(Directories { config, state, cache })
}

#[cfg(windows)]
fn own(base: &impl BaseStrategy) -> Outcome<Directories> {
    // Which is the one that does not roam.
    let local = base.cache_dir().join("talkoot");
    Ok(Directories { config: local.clone(), cache: local.join("cache"), state: local })
}

/// Whether what is made in `directory`, an absolute path, is closed to other users: where it has a mode, always.
#[cfg(unix)]
pub fn need_private(_directory: &Path) -> Outcome {
    Ok(())
}

/// Where it inherits its access list, below the user's profile.
///
/// # Errors
/// If `directory` is elsewhere.
#[cfg(windows)]
pub fn need_private(directory: &Path) -> Outcome {
    let profile = etcetera::home_dir().or_exit(Exit::Input)?;
    if is_below(directory, &profile) {
        return Ok(());
    }
    let message = format!("{} is not below {}", directory.display(), profile.display());
    Err(crate::Failure::say(Exit::Input, message).hint(
        "keys are kept there, and on Windows only a user's profile is closed to other users; \
         name a directory in it",
    ))
}

/// Letters of either case are the same in names there.
#[cfg(windows)]
fn is_below(directory: &Path, profile: &Path) -> bool {
    let same = |one: std::path::Component<'_>, other: std::path::Component<'_>| {
        let folded = |it: std::path::Component<'_>| it.as_os_str().to_string_lossy().to_lowercase();
        folded(one) == folded(other)
    };
    let mut components = directory.components();
    profile.components().all(|it| components.next().is_some_and(|found| same(found, it)))
}
