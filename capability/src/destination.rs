//! Where on the network a job may be connected: a host, or all hosts below a name, at one port.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::facts::shortened;
use crate::invalid::Invalid;
use crate::requirements::Clause;

/// Destinations of one job, or of what one project may reach, at most.
pub const MAX_DESTINATIONS: usize = 64;

/// The port of a destination that names none: that of HTTPS.
pub const USUAL_PORT: u16 = 443;

/// Bytes of a host's name at most (RFC 1035).
const MAX_HOST: usize = 253;

/// Bytes between two dots of it at most.
const MAX_LABEL: usize = 63;

/// Hosts and a port, as a job lists them and an owner permits them.
///
/// ```
/// use capability::Destination;
///
/// let crates: Destination = "*.crates.io".parse()?;
/// assert_eq!(crates.to_string(), "*.crates.io:443");
/// assert!(crates.covers(&"index.crates.io:443".parse()?));
/// assert!(!crates.covers(&"crates.io:443".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    hosts: Hosts,
    port: u16,
}

/// Hosts at any port, or at one, that an owner lets nobody reach.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Denied {
    hosts: Hosts,
    port: Option<u16>,
}

/// Which hosts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hosts {
    /// The one of this name.
    Name(String),
    /// All below this name, at any depth, and not that itself.
    Below(String),
    /// The one at this address.
    Address(IpAddr),
}

/// Why a text is no destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// It is not of that form.
    #[error(
        "{0:?} is no host, as in deb.debian.org:443, *.crates.io:443, 9.9.9.9:853 or [2620:fe::fe]:853"
    )]
    Host(String),
    /// The port is none.
    #[error("the port of {0:?} is not a number of 1 to 65535")]
    Port(String),
}

impl Destination {
    /// Which hosts.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// At which port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether whoever may reach this may reach all of `other`.
    pub fn covers(&self, other: &Self) -> bool {
        self.port == other.port && self.hosts.cover(&other.hosts)
    }

    /// What the requirements of an offer with destinations hold, so that no machine takes it that would run it
    /// without (S99): a proxy is there, which former versions know nothing of.
    pub fn required() -> Clause {
        let fact = "network.proxy".parse().expect("the name of a fact");
        Clause::Equals { fact, value: true.into() }
    }

    /// Reads one of the wire, which has one spelling and names the port.
    pub(crate) fn of_wire(text: &str) -> Result<Self, Invalid> {
        let read = text.parse::<Self>().ok().filter(|read| read.to_string() == text);
        read.ok_or_else(|| Invalid::new("S98", format!("{:?} is no destination", shortened(text))))
    }
}

impl Denied {
    /// Whether some of `destination` is denied.
    pub fn meets(&self, destination: &Destination) -> bool {
        let (mine, other) = (&self.hosts, &destination.hosts);
        self.port.is_none_or(|port| port == destination.port)
            && (mine.cover(other) || other.cover(mine))
    }
}

impl Hosts {
    fn cover(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Below(name), Self::Name(below)) => is_below(below, name),
            (Self::Below(name), Self::Below(below)) => below == name || is_below(below, name),
            (one, other) => one == other,
        }
    }
}

fn is_below(name: &str, parent: &str) -> bool {
    name.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'))
}

impl FromStr for Destination {
    type Err = DestinationError;

    /// Without a port it is that of HTTPS.
    fn from_str(text: &str) -> Result<Self, DestinationError> {
        let (hosts, port) = read(text)?;
        Ok(Self { hosts, port: port.unwrap_or(USUAL_PORT) })
    }
}

impl FromStr for Denied {
    type Err = DestinationError;

    /// Without a port it is any.
    fn from_str(text: &str) -> Result<Self, DestinationError> {
        let (hosts, port) = read(text)?;
        Ok(Self { hosts, port })
    }
}

fn read(text: &str) -> Result<(Hosts, Option<u16>), DestinationError> {
    // The colons of an address stand in brackets.
    let (hosts, port) = match text.rsplit_once(':') {
        Some((hosts, port)) if !port.contains(']') => (hosts, Some(port)),
        _ => (text, None),
    };
    let digits =
        |port: &&str| (1..=5).contains(&port.len()) && port.bytes().all(|it| it.is_ascii_digit());
    let number =
        |port: &str| Some(port).filter(digits)?.parse().ok().filter(|port: &u16| *port > 0);
    let port = match port.map(number) {
        Some(None) => return Err(DestinationError::Port(shortened(text))),
        port => port.flatten(),
    };
    let hosts = Hosts::read(hosts).ok_or_else(|| DestinationError::Host(shortened(text)))?;
    Ok((hosts, port))
}

impl Hosts {
    fn read(text: &str) -> Option<Self> {
        if let Some(address) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            let address: Ipv6Addr = address.parse().ok()?;
            // An IPv4 address has one form.
            return address.to_ipv4_mapped().is_none().then_some(Self::Address(address.into()));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self::Address(address.into()));
        }
        let (name, below) = text.strip_prefix("*.").map_or((text, false), |name| (name, true));
        let name = name.to_ascii_lowercase();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let is_label =
            |label: &str| (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(plain);
        // What ends in a number is an address that is written otherwise.
        let last = name.rsplit('.').next().unwrap_or_default();
        let sound = name.len() <= MAX_HOST
            && name.split('.').all(is_label)
            && !last.starts_with(|first: char| first.is_ascii_digit());
        sound.then_some(if below { Self::Below(name) } else { Self::Name(name) })
    }
}

impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Below(name) => write!(f, "*.{name}"),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.hosts, self.port)
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.hosts),
            None => write!(f, "{}", self.hosts),
        }
    }
}

impl Serialize for Destination {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Destination {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::of_wire(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(text: &str) -> Destination {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_destination_has_one_spelling() {
        for (text, expected) in [
            ("Deb.Debian.ORG", "deb.debian.org:443"),
            ("deb.debian.org:80", "deb.debian.org:80"),
            ("*.crates.io:443", "*.crates.io:443"),
            ("9.9.9.9", "9.9.9.9:443"),
            ("[2620:fe:0::fe]:853", "[2620:fe::fe]:853"),
            ("localhost:1", "localhost:1"),
        ] {
            assert_eq!(destination(text).to_string(), expected);
            assert_eq!(Destination::of_wire(expected), Ok(destination(text)));
            assert_eq!(Destination::of_wire(text).is_ok(), text == expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_destination_is_refused() {
        let long = format!("{}.example", "x".repeat(64));
        for text in [
            "",
            ":443",
            "a:",
            "a:0",
            "a:65536",
            "a:+80",
            "a:http",
            "a b",
            "*",
            "*.",
            "a.*",
            "*.*.a",
            "a..b",
            ".a",
            "a.",
            "https://a",
            "a/b",
            "user@a",
            "127.1",
            "0x7f000001",
            "2130706433",
            "1.2.3.4.5",
            "*.1.2.3.4",
            "2620:fe::fe",
            "[::ffff:9.9.9.9]",
            "[9.9.9.9]",
            "é.example",
            &long,
        ] {
            assert!(text.parse::<Destination>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_wildcard_covers_what_is_below_it_and_nothing_beside() {
        let check = |wide: &str, narrow: &str, expected| {
            assert_eq!(destination(wide).covers(&destination(narrow)), expected, "{wide} {narrow}");
        };
        check("a.example", "a.example", true);
        check("a.example", "a.example:80", false);
        check("*.example", "a.example", true);
        check("*.example", "b.a.example", true);
        check("*.example", "*.a.example", true);
        check("*.example", "*.example", true);
        check("*.example", "example", false);
        check("*.example", "badexample", false);
        check("a.example", "*.example", false);
        check("*.a.example", "*.example", false);
        check("9.9.9.9", "9.9.9.9", true);
        check("9.9.9.9", "9.9.9.8", false);
    }

    #[test]
    fn what_is_denied_meets_all_that_it_shares_a_host_with() {
        let check = |denied: &str, wanted: &str, expected| {
            let denied: Denied = denied.parse().expect("it can be denied");
            assert_eq!(denied.meets(&destination(wanted)), expected, "{denied} {wanted}");
        };
        check("a.example", "a.example:80", true);
        check("a.example:443", "a.example:80", false);
        check("a.example", "*.example", true);
        check("*.example", "a.example", true);
        check("*.a.example", "*.example", true);
        check("*.example", "example", false);
        check("b.example", "a.example", false);
    }
}
