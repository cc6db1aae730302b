//! Where a daemon's files are (DESIGN.md, appendix A).

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

use crate::exit::{Exit, OrExit, Outcome};

/// `/etc/talkoot/<role>.toml` for root, `$XDG_CONFIG_HOME/talkoot/<role>.toml` for others.
pub fn default_config(role: &str) -> Outcome<PathBuf> {
    let file = format!("{role}.toml");
    if is_root() {
        return Ok(Path::new("/etc/talkoot").join(file));
    }
    let base = etcetera::choose_base_strategy().or_exit(Exit::Input)?;
    Ok(base.config_dir().join("talkoot").join(file))
}

/// `/var/lib/talkoot/<role>` for root, `$XDG_STATE_HOME/talkoot/<role>` for others.
pub fn default_state(role: &str) -> Outcome<PathBuf> {
    if is_root() {
        return Ok(Path::new("/var/lib/talkoot").join(role));
    }
    let base = etcetera::choose_base_strategy().or_exit(Exit::Input)?;
    let state = base.state_dir().unwrap_or_else(|| base.data_dir());
    Ok(state.join("talkoot").join(role))
}

/// `/var/cache/talkoot/<role>` for root, `$XDG_CACHE_HOME/talkoot/<role>` for others.
pub fn default_cache(role: &str) -> Outcome<PathBuf> {
    if is_root() {
        return Ok(Path::new("/var/cache/talkoot").join(role));
    }
    let base = etcetera::choose_base_strategy().or_exit(Exit::Input)?;
    Ok(base.cache_dir().join("talkoot").join(role))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
