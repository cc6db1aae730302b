//! What of the network a step may reach, and what it has used of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Where a job finds its proxy, on the loopback address of its own network. Squid's port, which tools know.
pub const PROXY_PORT: u16 = 3128;

/// Destinations of one step at most.
pub const MAX_DESTINATIONS: usize = 64;

/// What a step may reach, by a proxy that the helper runs; nothing else of the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// With whom it may be connected, as far as their addresses are of the public internet.
    pub destinations: Vec<Destination>,
    /// Bytes that may pass, both ways together.
    pub bytes: u64,
    /// Bytes a second that may come, over all connections. None: any.
    pub down: Option<u64>,
    /// Bytes a second that may go.
    pub up: Option<u64>,
}

/// Servers that a step may be connected with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    /// A name in small letters without a dot at its end, or an address in its usual form, without brackets.
    pub host: String,
    /// Whether it is all names below `host`, and not that itself.
    pub below: bool,
    /// The port.
    pub port: u16,
}

/// What a step has used of the network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkUse {
    /// Connections that came about.
    pub connections: u64,
    /// Bytes that came.
    pub down: u64,
    /// Bytes that went.
    pub up: u64,
    /// Connections that did not come about, or were cut; the first of their kinds.
    pub refused: Vec<NotConnected>,
    /// How many others there were.
    pub refused_beyond: u64,
}

/// What a step has used so far, as its proxy tells while it runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passed {
    /// Bytes that came so far.
    pub down_so_far: u64,
    /// Bytes that went so far.
    pub up_so_far: u64,
}

/// A connection that did not come about, or was cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotConnected {
    /// With whom, as `host:port`.
    pub destination: String,
    /// Why, for people.
    pub reason: String,
    /// How often.
    pub times: u64,
}

impl Network {
    /// The variables by which programs find the proxy. SOCKS has none: libraries without it fail if they are told of it,
    /// and HTTP's `CONNECT` does for all.
    pub fn environment() -> BTreeMap<String, String> {
        let proxy = format!("http://127.0.0.1:{PROXY_PORT}");
        let named = ["http_proxy", "https_proxy", "all_proxy"].map(|name| (name, proxy.as_str()));
        let named = named.into_iter().chain([("no_proxy", "localhost,127.0.0.1,::1")]);
        let both = |(name, value): (&str, &str)| {
            [name.to_owned(), name.to_uppercase()].map(|name| (name, value.to_owned()))
        };
        named.flat_map(both).collect()
    }
}
