//! The configuration file, `master.toml`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use capability::statements::Check;
use capability::{FactName, Runtime};
use master_core::REHOME_AFTER;
use mesh_shell::config::{Bytes, Span};
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
    /// The key of the founder of a network: brokers of its list are used if none are named above, and
    /// where those named above are is looked up in it. Default: none.
    pub network: Option<String>,
    /// Files in which that list may be. Default: none.
    pub network_list: Vec<PathBuf>,
    /// Where the REST interface listens. Default: `127.0.0.1:4080`.
    pub http: SocketAddr,
    /// The state directory. Default: the usual place.
    pub state: Option<PathBuf>,
    /// What packages, logs and artifacts may take on disk, in bytes or as in `"20 GiB"`.
    /// Default: 20 GiB.
    pub blob_quota: Bytes,
    /// How long the home broker may be out of reach before a standby takes its place. Default: 1m.
    pub rehome_after: Span,
    /// Small programs by which volunteers' machines are tried; `init` and `delegate` sign them into
    /// the registration. Default: none.
    #[serde(rename = "check")]
    pub checks: Vec<CheckConfig>,
}

/// One check. Its limits are the same for every project (docs/operating/master.md).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckConfig {
    /// A word. Jobs require what it finds as `check.NAME`.
    name: String,
    /// In which runtime. Default: `native`.
    #[serde(default = "native")]
    runtime: Runtime,
    /// Program and arguments.
    command: Vec<String>,
    /// Facts on whose change it runs again. Default: none.
    #[serde(default)]
    depends: Vec<FactName>,
}

fn native() -> Runtime {
    Runtime::Native
}

impl Config {
    /// The checks, as the registration states them.
    pub fn checks(&self) -> Vec<Check> {
        let check = |it: &CheckConfig| Check {
            name: it.name.clone(),
            runtime: it.runtime.clone(),
            command: it.command.clone(),
            depends: it.depends.clone(),
        };
        self.checks.iter().map(check).collect()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            brokers: Vec::new(),
            network: None,
            network_list: Vec::new(),
            http: DEFAULT_HTTP,
            state: None,
            blob_quota: Bytes(20 << 30),
            rehome_after: Span(REHOME_AFTER),
            checks: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use capability::statements::{Permissions, Registration};
    use capability::{Clause, JobFile, SecretKey, Timestamp, Verified};
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
    fn the_check_that_is_shown_as_an_example_can_be_signed_and_required() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operating/master.md");
        let page = std::fs::read_to_string(page).expect("it is there");
        let blocks = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
        let blocks = blocks.filter(|block| block.contains("check"));
        let [check, needs] = blocks.collect::<Vec<_>>().try_into().expect("a check and its use");
        let permissions = Permissions { runtimes: vec![Runtime::Native], network: false };
        let registration = Registration {
            name: "example".to_owned(),
            homepage: String::new(),
            keywords: Vec::new(),
            permissions,
            checks: load(check).expect(check).checks(),
            expires: Timestamp(1),
        };
        let registration = Verified::sign(registration, &SecretKey::from_seed(&[1; 32]));
        let job = format!(
            "name = \"job\"\nrequirements.runtimes = [\"native\"]\n{needs}\
             [[step]]\nname = \"all\"\nrun = [\"make\"]\n"
        );
        let job = JobFile::parse_for(&job, &registration).expect(&job);
        let fact = registration.checks[0].fact(registration.signer().into());
        let needed = Clause::Equals { fact, value: true.into() };
        assert!(job.requirements.clauses.contains(&needed), "{:?}", job.requirements);
    }

    #[test]
    fn everything_has_a_default_and_quantities_have_units() {
        assert_eq!(load("").expect("sound"), Config::default());
        let config = load("http = \"127.0.0.1:9\"\nblob-quota = \"1 GiB\"\n").expect("sound");
        assert_eq!((config.http.port(), config.blob_quota), (9, Bytes(1 << 30)));
        let config = load("[[check]]\nname = \"simd\"\ncommand = [\"true\"]\n").expect("sound");
        assert_eq!(config.checks()[0].runtime, Runtime::Native);
        assert_eq!(load("brokres = []\n").expect_err("misspelt").exit(), Exit::Input);
    }
}
