//! The configuration file, `master.toml`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use mesh_shell::config::Bytes;
use serde::Deserialize;

/// Where the REST interface is unless told otherwise: this machine only.
pub const DEFAULT_HTTP: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 4080);

/// What the file can say. A flag or a `TALKOOT_…` variable goes before it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Addresses of brokers; the first is the home of the project's offers, up to four stand by.
    /// Default: none.
    pub brokers: Vec<String>,
    /// Where the REST interface listens. Default: `127.0.0.1:4080`.
    pub http: SocketAddr,
    /// The state directory. Default: the usual place.
    pub state: Option<PathBuf>,
    /// What packages, logs and artifacts may take on disk, in bytes or as in `"20 GiB"`.
    /// Default: 20 GiB.
    pub blob_quota: Bytes,
}

impl Default for Config {
    fn default() -> Self {
        Self { brokers: Vec::new(), http: DEFAULT_HTTP, state: None, blob_quota: Bytes(20 << 30) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use mesh_shell::{Exit, config};

    use super::*;

    fn load(text: &str) -> mesh_shell::Outcome<Config> {
        let mut file = tempfile::NamedTempFile::new().expect("made");
        file.write_all(text.as_bytes()).expect("written");
        config::load("master", Some(file.path()))
    }

    #[test]
    fn the_example_in_deploy_states_the_defaults() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/master.toml");
        let example: Config = config::load("master", Some(path.as_ref())).expect("it is sound");
        assert_eq!(format!("{example:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn everything_has_a_default_and_quantities_have_units() {
        assert_eq!(load("").expect("sound"), Config::default());
        let config = load("http = \"127.0.0.1:9\"\nblob-quota = \"1 GiB\"\n").expect("sound");
        assert_eq!((config.http.port(), config.blob_quota), (9, Bytes(1 << 30)));
        assert_eq!(load("brokres = []\n").expect_err("misspelt").exit(), Exit::Input);
    }
}
