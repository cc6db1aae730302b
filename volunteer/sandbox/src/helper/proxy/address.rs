//! Which addresses a job may be connected with: those of the public internet, and no other.
//!
//! The tables follow the special-purpose registries of IANA (RFC 6890). What is not known to be public is refused: of
//! IPv6 only what is handed out for global unicast (RFC 4291), 2000::/3, and of that no piece with a purpose of its own.
//! An address that stands for an IPv4 address is judged by that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address to connect to for `address`, or in words why nobody is connected with it.
pub fn judge(address: IpAddr) -> Result<IpAddr, &'static str> {
    let refused = match address.to_canonical() {
        IpAddr::V4(v4) => of_v4(v4),
        IpAddr::V6(v6) => match translated(v6) {
            Some(v4) => of_v4(v4),
            None => of_v6(v6),
        },
    };
    refused.map_or(Ok(address.to_canonical()), Err)
}

/// Why no job reaches `address`.
fn of_v4(address: Ipv4Addr) -> Option<&'static str> {
    let bits = u32::from(address);
    let is_in = |(network, length, _): &&([u8; 4], u32, _)| {
        (bits ^ u32::from(Ipv4Addr::from(*network))).leading_zeros() >= *length
    };
    V4.iter().find(is_in).map(|(.., why)| *why)
}

fn of_v6(address: Ipv6Addr) -> Option<&'static str> {
    let bits = u128::from(address);
    let is_in = |(network, length, _): &&([u16; 4], u32, _)| {
        let [a, b, c, d] = *network;
        (bits ^ u128::from(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))).leading_zeros() >= *length
    };
    match address {
        Ipv6Addr::LOCALHOST => Some("a loopback address"),
        Ipv6Addr::UNSPECIFIED => Some("the unspecified address"),
        _ if V6_PUBLIC.contains(&address.segments()[0]) => {
            V6_NOT_PUBLIC.iter().find(is_in).map(|(.., why)| *why)
        }
        _ => Some(V6_ELSEWHERE.iter().find(is_in).map_or("no public address", |(.., why)| *why)),
    }
}

/// The IPv4 address behind an address of the well-known prefix of NAT64 (RFC 6052).
fn translated(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
        }
        _ => None,
    }
}

/// Networks, the length of their prefixes, and what they are. The first that fits counts.
const V4: &[([u8; 4], u32, &str)] = &[
    ([0, 0, 0, 0], 8, "an address of this network alone (RFC 791)"),
    ([10, 0, 0, 0], 8, "a private address (RFC 1918)"),
    ([100, 64, 0, 0], 10, "an address shared behind a provider (RFC 6598)"),
    ([127, 0, 0, 0], 8, "a loopback address"),
    ([168, 63, 129, 16], 32, "an address at which clouds tell about machines"),
    ([169, 254, 169, 254], 32, "an address at which clouds tell about machines"),
    ([169, 254, 0, 0], 16, "a link-local address (RFC 3927)"),
    ([172, 16, 0, 0], 12, "a private address (RFC 1918)"),
    ([192, 0, 0, 0], 24, "an address of protocols (RFC 6890)"),
    ([192, 0, 2, 0], 24, "an address of documentation (RFC 5737)"),
    ([192, 88, 99, 0], 24, "a relay of 6to4 (RFC 7526)"),
    ([192, 168, 0, 0], 16, "a private address (RFC 1918)"),
    ([198, 18, 0, 0], 15, "an address of benchmarks (RFC 2544)"),
    ([198, 51, 100, 0], 24, "an address of documentation (RFC 5737)"),
    ([203, 0, 113, 0], 24, "an address of documentation (RFC 5737)"),
    ([224, 0, 0, 0], 4, "a multicast address (RFC 5771)"),
    ([255, 255, 255, 255], 32, "the broadcast address"),
    ([240, 0, 0, 0], 4, "a reserved address (RFC 1112)"),
];

/// First halves of the addresses for global unicast.
const V6_PUBLIC: std::ops::RangeInclusive<u16> = 0x2000..=0x3fff;

const V6_NOT_PUBLIC: &[([u16; 4], u32, &str)] = &[
    ([0x2001, 0, 0, 0], 32, "an address of Teredo (RFC 4380)"),
    ([0x2001, 2, 0, 0], 48, "an address of benchmarks (RFC 5180)"),
    ([0x2001, 0, 0, 0], 23, "an address of protocols (RFC 2928)"),
    ([0x2001, 0xdb8, 0, 0], 32, "an address of documentation (RFC 3849)"),
    ([0x2002, 0, 0, 0], 16, "an address of 6to4 (RFC 3056)"),
    ([0x3fff, 0, 0, 0], 20, "an address of documentation (RFC 9637)"),
];

/// What these are; what stands nowhere is not public either.
const V6_ELSEWHERE: &[([u16; 4], u32, &str)] = &[
    ([0x64, 0xff9b, 1, 0], 48, "an address of a translator on the spot (RFC 8215)"),
    ([0xfc00, 0, 0, 0], 7, "a unique local address (RFC 4193)"),
    ([0xfe80, 0, 0, 0], 10, "a link-local address (RFC 4291)"),
    ([0xfec0, 0, 0, 0], 10, "a site-local address (RFC 3879)"),
    ([0xff00, 0, 0, 0], 8, "a multicast address (RFC 4291)"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(addresses: &str, expected: Option<&str>) {
        for address in addresses.split_ascii_whitespace() {
            let judged = judge(address.parse().unwrap());
            match expected {
                None => assert!(judged.is_ok(), "{address}: {judged:?}"),
                Some(word) => assert!(judged.unwrap_err().contains(word), "{address}: {judged:?}"),
            }
        }
    }

    #[test]
    fn what_is_not_of_the_public_internet_is_refused() {
        check("127.0.0.1 127.255.255.254 ::1 ::ffff:127.0.0.1 64:ff9b::7f00:1", Some("loopback"));
        check("10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 ::ffff:10.1.2.3", Some("1918"));
        check("64:ff9b::10.0.0.1 64:ff9b::192.168.0.1", Some("1918"));
        check("100.64.0.1 100.127.255.255 100.100.100.200", Some("6598"));
        check("169.254.169.254 168.63.129.16 64:ff9b::169.254.169.254", Some("clouds"));
        check("169.254.0.1 169.254.170.2 fe80::1 fe80::a9fe:a9fe febf::1", Some("link-local"));
        check("fd00:ec2::254 fd20:ce::254 fc00::1 fdff::1", Some("unique local"));
        check("0.0.0.0 0.1.2.3 ::ffff:0.0.0.0", Some("this network"));
        check("224.0.0.1 239.255.255.255 ff02::1 ff0e::1", Some("multicast"));
        check("192.0.2.1 198.51.100.1 203.0.113.9 2001:db8::1 3fff:fff::1", Some("documentation"));
        check("198.18.0.1 198.19.255.255 2001:2::1", Some("benchmarks"));
        check("192.0.0.192 2001:1::1 2001:20::1 2001:1ff::1", Some("protocols"));
        check("2001::1 2001:0:a00:1::1", Some("Teredo"));
        check("2002:a00:1:: 2002:808:808::1 192.88.99.1", Some("6to4"));
        check("240.0.0.1 255.255.255.254", Some("reserved"));
        check("255.255.255.255", Some("broadcast"));
        check("::", Some("unspecified"));
        check("::a00:1 ::808:808 100::1 4000::1 5f00::1 64:ff9b:0:1::808:808", Some("no public"));
        check("64:ff9b:1::808:808", Some("translator"));
        check("fec0::1", Some("site-local"));
    }

    #[test]
    fn what_is_public_passes_up_to_the_edges() {
        check("9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1", None);
        check("169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.167.255.255", None);
        check("192.169.0.0 192.0.1.1 198.17.255.255 198.20.0.0 223.255.255.255 1.1.1.1", None);
        check("2001:200::1 2606:4700::1111 2a00:1450::1 2000:: 3ffe:ffff::1 2003::1", None);
    }

    #[test]
    fn an_address_in_the_clothes_of_another_is_connected_as_what_it_is() {
        let judged = |address: &str| judge(address.parse().unwrap()).unwrap().to_string();

        assert_eq!(judged("::ffff:8.8.4.4"), "8.8.4.4");
        assert_eq!(judged("64:ff9b::8.8.4.4"), "64:ff9b::808:404");
    }
}
