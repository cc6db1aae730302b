//! The configuration file, `broker.toml`, and what becomes of it together with the command line.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use broker_core::{AdmissionRules, Quotas, TARGET_LINKS, Weight};
use capability::{ProjectKey, PublicKey};
use mesh_core::CustodyLimits;
use mesh_net::{HAS_QUIC, Multiaddr, PeerKey, Role, ip_in};
use mesh_shell::config::Bytes;
use mesh_shell::{Exit, Failure, NetworkSettings, Outcome};
use serde::Deserialize;

use crate::channels::Relaying;
use crate::cli::RunArgs;
use crate::limits::{Limits, Mode};
use crate::wrong;

/// Bytes of a contact at most: refusals carry it.
const MAX_CONTACT: usize = 128;

/// What the file can say. A flag or a `TALKOOT_…` variable goes before it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Where to accept connections. Default: TCP and QUIC at port 4077, WebSocket at 4078, of all addresses.
    pub listen: Vec<String>,
    /// Where others reach this broker. Default: where it listens.
    pub external: Vec<String>,
    /// Brokers to be connected to. Default: none.
    pub bootstrap: Vec<String>,
    /// The key of the founder of the network, by whose list of brokers it is found. Default: none.
    pub network: Option<String>,
    /// Files in which that list may be. Default: none.
    pub network_list: Vec<PathBuf>,
    /// Whether to dial the brokers that other brokers tell of. Default: true.
    pub discover: bool,
    /// How many links to aim at by doing so. Default: 8.
    pub target_links: usize,
    /// Where volunteers and masters come without libp2p, by HTTP. Default: `0.0.0.0:4079`.
    pub door: DoorAt,
    /// Proxies whose word counts about where a request at the door came from. Default: none.
    pub door_proxies: Vec<IpAddr>,
    /// Connections at a time; an eighth of them is kept for those that this broker dials. Default: 16,384.
    pub connections: u32,
    /// Incoming connections of one address, or of one IPv6 prefix of 64 bits. Default: 256.
    pub connections_per_address: u32,
    /// Addresses without such a limit, such as that of a proxy on this machine. Default: none; loopback, if the broker
    /// listens nowhere else.
    pub shared_addresses: Vec<IpAddr>,
    /// Where the status page and the metrics are. Default: `127.0.0.1:4082`.
    pub http: SocketAddr,
    /// The state directory. Default: the usual place.
    pub state: Option<PathBuf>,
    /// What packages, logs and artifacts may take on disk, in bytes or as in `"20 GiB"`.
    /// Default: 16 GiB.
    pub blob_quota: Bytes,
    /// Results and receipts in custody at most. Default: 100,000.
    pub custody_bundles: usize,
    /// Whether to relay live channels, by which a project follows the logs of its running tasks. Default: true.
    pub live: bool,
    /// What projects get of what this broker's volunteers give, by their keys, in hundredths of what
    /// others get: 1 to 10,000. Default: 100 each.
    pub weights: BTreeMap<String, u16>,
    /// Whom the broker works for. Default: everybody.
    pub admission: Mode,
    /// Keys of projects, owners, volunteers and brokers that it works for if not for everybody.
    /// Default: none.
    pub admit: Vec<String>,
    /// Whom people can write to about what the broker relays. Default: nobody.
    pub abuse_contact: Option<String>,
    /// How much everybody may ask.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        let custody = CustodyLimits::default();
        let network = mesh_net::Config::new([0; 32], Role::Broker);
        Self {
            listen: everywhere(),
            external: Vec::new(),
            bootstrap: Vec::new(),
            network: None,
            network_list: Vec::new(),
            discover: true,
            target_links: TARGET_LINKS,
            door: DoorAt::Address(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 4079)),
            door_proxies: Vec::new(),
            connections: network.max_connections,
            connections_per_address: network.per_address.connections,
            shared_addresses: Vec::new(),
            http: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 4082),
            state: None,
            blob_quota: Bytes(custody.bytes),
            custody_bundles: custody.bundles,
            live: true,
            weights: BTreeMap::new(),
            admission: Mode::Open,
            admit: Vec::new(),
            abuse_contact: None,
            limits: Limits::default(),
        }
    }
}

/// Whether there is a door, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum DoorAt {
    /// Nowhere.
    Off,
    /// There.
    Address(SocketAddr),
}

/// Neither `off` nor an address.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is neither `off` nor an address such as 0.0.0.0:4079")]
pub struct NoDoor {
    text: String,
    source: AddrParseError,
}

impl FromStr for DoorAt {
    type Err = NoDoor;

    fn from_str(text: &str) -> Result<Self, NoDoor> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let address = text.parse().map_err(|source| NoDoor { text: text.to_owned(), source })?;
        Ok(Self::Address(address))
    }
}

impl TryFrom<String> for DoorAt {
    type Error = NoDoor;

    fn try_from(text: String) -> Result<Self, NoDoor> {
        text.parse()
    }
}

/// What the broker is run with: parsed, so that nothing is bound before all of it is sound.
#[derive(Debug, PartialEq)]
pub struct Settings {
    /// The state directory.
    pub state: PathBuf,
    /// Where to accept connections.
    pub listen: Vec<Multiaddr>,
    /// Where others reach this broker.
    pub external: Vec<Multiaddr>,
    /// Brokers to be connected to.
    pub bootstrap: Vec<Multiaddr>,
    /// The network whose list of brokers is followed.
    pub network: Option<NetworkSettings>,
    /// Links to aim at by dialling brokers that others tell of.
    pub target_links: usize,
    /// The door.
    pub door: DoorAt,
    /// Proxies in front of it.
    pub door_proxies: Vec<IpAddr>,
    /// Connections at a time.
    pub connections: u32,
    /// Incoming connections of one address.
    pub connections_per_address: u32,
    /// Addresses without a limit of their own.
    pub shared_addresses: Vec<IpAddr>,
    /// The status page and the metrics.
    pub http: SocketAddr,
    /// Bytes that blobs may take.
    pub blob_quota: u64,
    /// Bounds of custody.
    pub custody: CustodyLimits,
    /// Whether to relay channels.
    pub relaying: Relaying,
    /// What projects get, where it is not the usual.
    pub weights: BTreeMap<ProjectKey, Weight>,
    /// Whom the broker works for.
    pub admission: AdmissionRules,
    /// How much everybody may ask.
    pub quotas: Quotas,
    /// Whom people can write to.
    pub abuse_contact: Option<String>,
}

impl Config {
    /// This configuration, with what `args` say instead.
    pub fn overlaid(mut self, args: RunArgs) -> Self {
        let lists = [
            (&mut self.listen, args.listen),
            (&mut self.external, args.external),
            (&mut self.bootstrap, args.bootstrap),
        ];
        for (configured, given) in lists {
            if !given.is_empty() {
                *configured = given;
            }
        }
        self.discover = args.discover.unwrap_or(self.discover);
        self.door = args.door.unwrap_or(self.door);
        self.http = args.http.unwrap_or(self.http);
        self
    }

    /// The settings, if every address in here is one.
    pub fn settings(self, state: &Path) -> Outcome<Settings> {
        let all = |addresses: &[String]| {
            addresses.iter().map(|address| multiaddr(address)).collect::<Outcome<Vec<_>>>()
        };
        let custody = CustodyLimits {
            bundles: self.custody_bundles,
            bytes: self.blob_quota.0,
            ..CustodyLimits::default()
        };
        let listen = all(&self.listen)?;
        Ok(Settings {
            state: state.to_path_buf(),
            shared_addresses: shared(self.shared_addresses, &listen),
            listen,
            connections: self.connections,
            connections_per_address: self.connections_per_address,
            external: all(&self.external)?,
            bootstrap: all(&self.bootstrap)?,
            network: NetworkSettings::parse(self.network.as_deref(), self.network_list)?,
            target_links: if self.discover { self.target_links } else { 0 },
            door: self.door,
            door_proxies: self.door_proxies,
            http: self.http,
            blob_quota: self.blob_quota.0,
            custody,
            relaying: if self.live { Relaying::On } else { Relaying::Off },
            weights: self.weights.iter().map(weight).collect::<Outcome<_>>()?,
            admission: AdmissionRules { mode: self.admission.into(), named: keys(&self.admit)? },
            quotas: self.limits.quotas()?,
            abuse_contact: self.abuse_contact.map(contact).transpose()?,
        })
    }
}

/// One of the weights that a person wrote.
fn weight((project, weight): (&String, &u16)) -> Outcome<(ProjectKey, Weight)> {
    let key = project.parse().map_err(|error| {
        let what = format!("`{project}` among the weights is not a project's key: {error}");
        wrong(what, "a key is what stands behind `talkoot:` in the project's URI")
    })?;
    let weight = Weight::try_from(*weight)
        .map_err(|error| wrong(format!("the weight {weight} of {project}"), &error.to_string()))?;
    Ok((key, weight))
}

fn keys(texts: &[String]) -> Outcome<BTreeSet<PublicKey>> {
    let key = |text: &String| {
        text.parse().map_err(|error| {
            wrong(
                format!("`admit`: {error}"),
                "keys are what `talkoot-broker key` and the like print",
            )
        })
    };
    texts.iter().map(key).collect()
}

fn contact(text: String) -> Outcome<String> {
    if text.len() <= MAX_CONTACT && !text.contains(char::is_control) {
        return Ok(text);
    }
    let what = format!("`abuse-contact` is not one line of at most {MAX_CONTACT} bytes");
    Err(wrong(what, "give an address of mail or of a page"))
}

/// All addresses of the machine, at the ports that are Talkoot's, by every transport of this program.
fn everywhere() -> Vec<String> {
    let transports = ["tcp/4077", "udp/4077/quic-v1", "tcp/4078/ws"];
    let spoken = transports.into_iter().filter(|it| HAS_QUIC || !it.ends_with("quic-v1"));
    spoken.flat_map(|it| [format!("/ip4/0.0.0.0/{it}"), format!("/ip6/::/{it}")]).collect()
}

/// The addresses without a limit: a broker that listens on loopback alone is one of a network on one machine.
fn shared(mut configured: Vec<IpAddr>, listen: &[Multiaddr]) -> Vec<IpAddr> {
    let loopback = |address: &Multiaddr| ip_in(address).is_some_and(|ip| ip.is_loopback());
    if configured.is_empty() && !listen.is_empty() && listen.iter().all(loopback) {
        configured.extend([IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()]);
    }
    configured
}

/// Parses an address that a person wrote.
pub fn multiaddr(text: &str) -> Outcome<Multiaddr> {
    text.parse().map_err(|error| {
        let what = format!("`{text}` is not an address: {error}");
        wrong(what, "addresses look like /ip4/192.0.2.7/tcp/4077 or /dns4/broker.example/tcp/4077")
    })
}

/// `address` as others dial it: with the peer id of `peer` at its end.
pub fn with_peer(address: &Multiaddr, peer: PeerKey) -> Outcome<Multiaddr> {
    let text = address.to_string();
    if text.contains("/p2p/") {
        return Ok(address.clone());
    }
    let id = peer
        .peer_id_text()
        .ok_or_else(|| Failure::say(Exit::Bug, "the node key is not a point of the curve"))?;
    multiaddr(&format!("{text}/p2p/{id}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use capability::{SecretKey, Signer};

    use super::*;

    fn load(text: &str) -> Outcome<Config> {
        let mut file = tempfile::NamedTempFile::new().expect("made");
        file.write_all(text.as_bytes()).expect("written");
        mesh_shell::config::load("broker", Some(file.path()))
    }

    #[test]
    fn the_example_in_deploy_states_the_defaults() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/broker.toml");
        let example: Config =
            mesh_shell::config::load("broker", Some(path.as_ref())).expect("it is sound");
        assert_eq!(format!("{example:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn everything_has_a_default_and_quantities_have_units() {
        assert_eq!(load("").expect("sound"), Config::default());
        let config = load("blob-quota = \"1 GiB\"\ndiscover = false\n").expect("sound");
        assert_eq!((config.blob_quota, config.discover), (Bytes(1 << 30), false));
        assert_eq!(load("bootsrap = []\n").expect_err("misspelt").exit(), Exit::Input);
    }

    #[test]
    fn what_is_said_on_the_command_line_goes_before_the_file() {
        let config = load("listen = [\"/ip4/127.0.0.1/tcp/1\"]\ntarget-links = 3").expect("sound");
        let args = RunArgs {
            listen: vec!["/ip4/127.0.0.1/tcp/2".to_owned()],
            discover: Some(false),
            ..RunArgs::default()
        };
        let settings = config.clone().overlaid(args).settings(Path::new("s")).expect("sound");
        assert_eq!(settings.listen[0].to_string(), "/ip4/127.0.0.1/tcp/2");
        assert_eq!(settings.target_links, 0);
        let settings = config.overlaid(RunArgs::default()).settings(Path::new("s"));
        assert_eq!(settings.expect("sound").target_links, 3);
    }

    #[test]
    fn a_weight_is_a_projects_and_neither_nothing_nor_everything() {
        let key = SecretKey::from_seed(&[1; 32]).public();
        let settings = |weights: &str| {
            load(&format!("[weights]\n{weights}\n")).expect("read").settings(Path::new("s"))
        };
        let weights = settings(&format!("{key} = 300")).expect("sound").weights;
        assert_eq!(
            weights.into_values().collect::<Vec<_>>(),
            [Weight::try_from(300).expect("one")]
        );
        for (weights, said) in [
            (format!("{key} = 0"), "the weight 0"),
            (format!("{key} = 10001"), "the weight 10001"),
            ("short = 100".to_owned(), "`short` among the weights"),
        ] {
            let failure = settings(&weights).expect_err("no weight");
            assert!(failure.to_string().contains(said), "{failure}");
        }
    }

    #[test]
    fn loopback_has_no_limit_where_nobody_else_can_come_from() {
        let shared = |listen: &str| {
            let config = Config { listen: vec![listen.to_owned()], ..Config::default() };
            config.settings(Path::new("s")).expect("sound").shared_addresses
        };
        assert_eq!(shared("/ip4/127.0.0.1/tcp/4077").len(), 2);
        assert_eq!(shared("/ip4/0.0.0.0/tcp/4077"), [] as [IpAddr; 0]);
        assert_eq!(shared("/dns/localhost/tcp/4077"), [] as [IpAddr; 0]);
    }

    #[test]
    fn an_address_that_is_none_is_shown() {
        let config = Config {
            bootstrap: vec!["broker.example:4077".to_owned()],
            ..load("").expect("sound")
        };
        let failure = config.settings(Path::new("s")).expect_err("no multiaddr");
        assert_eq!(failure.exit(), Exit::Input);
        assert!(failure.to_string().contains("`broker.example:4077`"), "{failure}");
    }
}
