//! With whom a connection is asked for: a name, or an address that is written out.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of a name at most (RFC 1035).
const MAX_NAME: usize = 253;

/// Bytes between two dots of it at most.
const MAX_LABEL: usize = 63;

/// A host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// In small letters, without a dot at its end.
    Name(String),
    /// In no clothes of another kind.
    Address(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// The host that `text` names. What resolvers take for an address although it is written otherwise, such as `127.1` or
/// `0x7f000001`, is none.
pub fn read(text: &[u8]) -> Option<Host> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    if let Ok(address) = bare.unwrap_or(text).parse::<Ipv6Addr>() {
        return Some(Host::Address(IpAddr::from(address).to_canonical()));
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Some(Host::Address(address.into()));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let is_label = |label: &str| (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(plain);
    // By its last label one tells a name from a number (as in section 3.5 of the URL standard).
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_name = name.len() <= MAX_NAME
        && name.split('.').all(is_label)
        && !last.starts_with(|first: char| first.is_ascii_digit());
    is_name.then(|| Host::Name(name.to_ascii_lowercase()))
}

/// Reads `host` or `host:port`. A port that is none, as in `host:0`, makes it nothing.
pub fn read_with_port(text: &[u8]) -> Option<(Host, Option<u16>)> {
    let colon = text.iter().rposition(|byte| *byte == b':');
    // The colons of an address stand in brackets.
    let colon = colon.filter(|at| !text[*at..].contains(&b']'));
    let Some(colon) = colon else { return Some((read(text)?, None)) };
    let (host, port) = (&text[..colon], &text[colon + 1..]);
    if host.contains(&b':') && !host.starts_with(b"[") {
        return None;
    }
    let digits = (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit);
    let port = std::str::from_utf8(port).ok().filter(|_| digits)?.parse().ok()?;
    (port > 0).then_some((read(host)?, Some(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_one_spelling() {
        let read = |text: &str| read(text.as_bytes()).map(|host| host.to_string());
        for (text, expected) in [
            ("Example.ORG.", "example.org"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("8.8.4.4", "8.8.4.4"),
            ("::ffff:127.0.0.1", "127.0.0.1"),
            ("[2606:4700::0001]", "[2606:4700::1]"),
            ("2606:4700::1", "[2606:4700::1]"),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_neither_a_name_nor_an_address_is_nothing() {
        let long = format!("{}.example", "x".repeat(64));
        let longer = vec!["x"; 128].join(".");
        for text in [
            "",
            ".",
            "a..b",
            ".a",
            "a b",
            "a/b",
            "a@b",
            "a\r\nb",
            "é.example",
            "127.1",
            "0177.0.0.1",
            "2130706433",
            "0x7f.1",
            "0x7f000001",
            "1.2.3.4.5",
            "[8.8.4.4]",
            "[::1",
            "fe80::1%eth0",
            "*.a",
            &long,
            &longer,
        ] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
        for text in
            ["a:", "a:0", "a:65536", "a:-1", "a:1:2", "a:99999999999", "::1:443", "[::1]x:1"]
        {
            assert_eq!(read_with_port(text.as_bytes()), None, "{text}");
        }
    }
}
