//! Where a request comes from: what connections and requests are counted by.
//!
//! Behind a proxy every connection has the proxy's address. So the operator can name proxies whose
//! `X-Forwarded-For` is believed; anybody else's is not looked at, since anybody can write one.

use std::net::{IpAddr, Ipv6Addr};

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Door;
use super::denial::Denial;

/// An address, or of IPv6 the network of 64 bits that one home or one machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin(IpAddr);

/// The other end of the connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remote(pub(super) IpAddr);

impl Origin {
    /// Where `address` belongs to.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.into()),
            IpAddr::V6(address) => {
                Self(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into())
            }
        }
    }

    /// The address; of a network, its first.
    pub fn address(self) -> IpAddr {
        self.0
    }

    /// Where a request on a connection from `remote` comes from: through `proxies`, the last address
    /// that is none of theirs.
    fn behind(proxies: &[IpAddr], remote: IpAddr, headers: &HeaderMap) -> Self {
        let is_proxy = |address: &IpAddr| proxies.contains(&address.to_canonical());
        if !is_proxy(&remote) {
            return Self::of(remote);
        }
        let lines = headers.get_all("x-forwarded-for").into_iter();
        let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
        // The proxy nearest to us wrote last. What it could not have written ends the search.
        let way = lines.iter().rev().flat_map(|line| line.rsplit(','));
        let addresses = way.map_while(|word| word.trim().parse().ok());
        Self::of(addresses.into_iter().find(|it| !is_proxy(it)).unwrap_or(remote))
    }
}

/// Lets a request in, counted by where it comes from.
pub(super) async fn admit(
    State(Door(door)): State<Door>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(Remote(remote)) = request.extensions().get().copied() else {
        return Denial::busy().into_response();
    };
    let origin = Origin::behind(&door.proxies, remote, request.headers());
    let Some(_place) = door.requests.take(origin) else {
        return Denial::crowded().into_response();
    };
    request.extensions_mut().insert(origin);
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn origin(proxies: &[&str], remote: &str, forwarded: &[&str]) -> Origin {
        let proxies: Vec<_> = proxies.iter().map(|it| address(it)).collect();
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().expect("a header"));
        }
        Origin::behind(&proxies, address(remote), &headers)
    }

    #[test]
    fn only_a_proxy_that_the_operator_named_is_believed() {
        let stranger = Origin::of(address("192.0.2.1"));
        assert_eq!(origin(&[], "192.0.2.1", &["198.51.100.7"]), stranger);
        assert_eq!(origin(&["127.0.0.1"], "192.0.2.1", &["198.51.100.7"]), stranger);
        let behind = Origin::of(address("198.51.100.7"));
        assert_eq!(origin(&["127.0.0.1"], "127.0.0.1", &["198.51.100.7"]), behind);
        assert_eq!(origin(&["127.0.0.1"], "::ffff:127.0.0.1", &["198.51.100.7"]), behind);
    }

    #[test]
    fn what_a_client_writes_before_the_proxy_does_counts_nothing() {
        let real = Origin::of(address("198.51.100.7"));
        let proxies = ["127.0.0.1", "10.0.0.1"];
        assert_eq!(origin(&proxies, "127.0.0.1", &["203.0.113.9, 198.51.100.7"]), real);
        assert_eq!(origin(&proxies, "127.0.0.1", &["203.0.113.9", "198.51.100.7, 10.0.0.1"]), real);
        let proxy = Origin::of(address("127.0.0.1"));
        assert_eq!(origin(&proxies, "127.0.0.1", &["203.0.113.9, nonsense"]), proxy);
        assert_eq!(origin(&proxies, "127.0.0.1", &[]), proxy);
    }

    #[test]
    fn a_network_of_64_bits_is_one_origin() {
        let of = |text| Origin::of(address(text));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
