//! From a request to a connection: is it listed, what is its address, is that one of the public internet, does it answer.
//!
//! A name is resolved once, and what is connected is the address that was judged: whoever changes what a name stands for
//! in between gains nothing. A name that stands for several addresses is refused if one of them is: nobody honest
//! publishes such a name, and which of them a resolver names first is chance.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use super::address;
use super::host::Host;
use super::request::Request;
use crate::network::{Destination, Network};

/// For all addresses of a name together.
const CONNECTING: Duration = Duration::from_secs(15);

/// Of a name with more addresses, all are judged and so many tried.
const TRIED: usize = 4;

/// More addresses than any name has.
const MAX_ADDRESSES: usize = 256;

/// Why there is no connection.
#[derive(Debug)]
pub enum Refusal {
    /// The job did not say that it would want it.
    NotListed,
    /// Its address is one that no job reaches.
    Address { address: IpAddr, why: &'static str },
    /// Nobody knows the name.
    Unresolved(io::Error),
    /// Nobody is there.
    Unreachable(io::Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotListed => f.write_str("the job does not list it"),
            Self::Address { address, why } => write!(f, "{address} is {why}, which no job reaches"),
            Self::Unresolved(error) => write!(f, "its name cannot be resolved: {error}"),
            Self::Unreachable(error) => write!(f, "it cannot be reached: {error}"),
        }
    }
}

impl Refusal {
    /// Whether the rules stand against it, and not the world.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::NotListed | Self::Address { .. })
    }
}

/// Connects with what `request` names, as far as `network` permits.
pub fn reach(network: &Network, request: &Request) -> Result<TcpStream, Refusal> {
    let Request { host, port, .. } = request;
    if !network.permits(host, *port) {
        return Err(Refusal::NotListed);
    }
    let addresses = resolve(host, *port).map_err(Refusal::Unresolved)?;
    let sound = |address: &SocketAddr| {
        let refused = |why| Refusal::Address { address: address.ip(), why };
        let address = SocketAddr::new(address::judge(address.ip()).map_err(refused)?, *port);
        if is_own(address) { Err(refused("an address of this machine")) } else { Ok(address) }
    };
    let addresses = addresses.iter().map(sound).collect::<Result<Vec<_>, _>>()?;
    connect(&addresses).map_err(Refusal::Unreachable)
}

impl Network {
    /// Whether a step may be connected with `host` at `port`, wherever that is.
    pub fn permits(&self, host: &Host, port: u16) -> bool {
        self.destinations.iter().any(|it| it.port == port && it.is_of(host))
    }
}

impl Destination {
    fn is_of(&self, host: &Host) -> bool {
        match host {
            Host::Name(name) if self.below => {
                name.strip_suffix(&self.host).is_some_and(|rest| rest.ends_with('.'))
            }
            Host::Name(name) => *name == self.host,
            // Written out, in the one spelling that it has.
            Host::Address(address) => !self.below && address.to_string() == self.host,
        }
    }
}

fn resolve(host: &Host, port: u16) -> io::Result<Vec<SocketAddr>> {
    let addresses: Vec<_> = match host {
        Host::Address(address) => vec![SocketAddr::new(*address, port)],
        Host::Name(name) => (name.as_str(), port).to_socket_addrs()?.take(MAX_ADDRESSES).collect(),
    };
    if addresses.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(addresses) }
}

/// Whether `address` is this machine's own, behind whatever firewall it has against the world: then it is where packets
/// to it would come from. Connecting a datagram socket sends nothing.
fn is_own(address: SocketAddr) -> bool {
    let any = match address {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect(address)?;
        socket.local_addr()
    });
    // Without a way there, connecting will tell.
    source.is_ok_and(|source| source.ip() == address.ip())
}

fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let until = Instant::now() + CONNECTING;
    let tried = &addresses[..addresses.len().min(TRIED)];
    let mut failure = io::ErrorKind::NotFound.into();
    for (index, address) in tried.iter().enumerate() {
        // What is left is for those that are left.
        let left = until.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(tried.len() - index).unwrap_or(1);
        match TcpStream::connect_timeout(address, share.max(Duration::from_millis(1))) {
            Ok(connected) => return Ok(connected),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use super::super::host;
    use super::*;

    #[test]
    fn a_destination_is_met_by_itself_or_by_what_is_below_it() {
        let network = |host: &str, below| Network {
            destinations: vec![Destination { host: host.to_owned(), below, port: 443 }],
            bytes: 0,
            down: None,
            up: None,
        };
        let check = |host: &str, below, asked: &str, expected| {
            let asked_host = host::read(asked.as_bytes()).unwrap();
            assert_eq!(network(host, below).permits(&asked_host, 443), expected, "{host} {asked}");
            assert!(!network(host, below).permits(&asked_host, 80));
        };
        check("crates.io", false, "Crates.IO.", true);
        check("crates.io", false, "index.crates.io", false);
        check("crates.io", false, "evilcrates.io", false);
        check("crates.io", true, "index.crates.io", true);
        check("crates.io", true, "a.b.crates.io", true);
        check("crates.io", true, "crates.io", false);
        check("crates.io", true, "evilcrates.io", false);
        check("crates.io", true, "crates.io.evil.example", false);
        check("8.8.4.4", false, "::ffff:8.8.4.4", true);
        check("8.8.4.4", false, "8.8.8.8", false);
        check("2606:4700::1", false, "2606:4700:0::1", true);
        check("4", true, "8.8.4.4", false);
    }
}
