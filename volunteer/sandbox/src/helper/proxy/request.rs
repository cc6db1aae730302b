//! What a job asks of the proxy, read from as many bytes as there are so far: HTTP or SOCKS, told apart by the first
//! byte.
//!
//! Nothing here waits or connects. Everything is bounded before it is looked at: a head of HTTP by [`MAX_HEAD`], a
//! message of SOCKS by its own format.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::host::{self, Host};

/// Bytes of a request's head at most: twice what browsers send with all their cookies' names.
pub const MAX_HEAD: usize = 16 << 10;

/// The first byte of SOCKS 5 (RFC 1928).
const SOCKS: u8 = 5;

/// What is to be connected, and how that is answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// With whom.
    pub host: Host,
    /// At which port.
    pub port: u16,
    /// By what it was asked.
    pub protocol: Protocol,
    /// What the server is sent first: a request rewritten for it, or what the job has sent already.
    pub first: Vec<u8>,
}

/// By what a connection was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// SOCKS 5.
    Socks,
    /// `CONNECT` of HTTP.
    Tunnel,
    /// A request of HTTP with a whole address in it, for whoever is at that.
    Forward,
}

/// What follows from the bytes so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// They are the beginning of something.
    More,
    /// This is to be said before there is more.
    Say(Vec<u8>),
    /// A connection is asked for.
    Connect(Request),
    /// They are nothing that this proxy does. What is to be said before it hangs up.
    Refuse(Vec<u8>),
}

/// The beginning of a connection.
#[derive(Debug, Default)]
pub struct Greeting {
    bytes: Vec<u8>,
    /// How many of them are known to hold no end of a head.
    searched: usize,
    /// Whether the methods of SOCKS were agreed upon.
    agreed: bool,
}

impl Greeting {
    /// Takes what has come, in pieces that the caller bounds. After [`Next::Say`] there may be more in what was taken:
    /// an empty piece asks for it.
    pub fn take(&mut self, piece: &[u8]) -> Next {
        self.bytes.extend_from_slice(piece);
        match self.bytes.first() {
            None => Next::More,
            Some(&SOCKS) if self.agreed => socks(&self.bytes),
            Some(&SOCKS) => self.agree(),
            Some(_) if self.agreed => Next::Refuse(socks_answer(code::FAILED)),
            Some(first) => self.http(*first),
        }
    }

    fn http(&mut self, first: u8) -> Next {
        let unseen = &self.bytes[self.searched..];
        let end = unseen.windows(END.len()).position(|window| window == END);
        match end.map(|end| self.searched + end) {
            Some(end) if end <= MAX_HEAD => {
                let (head, rest) = (&self.bytes[..end], &self.bytes[end + END.len()..]);
                read_head(head, rest).map_or_else(malformed, Next::Connect)
            }
            // What begins no method will not begin one later.
            None if self.bytes.len() < MAX_HEAD + END.len() && first.is_ascii_uppercase() => {
                self.searched = self.bytes.len().saturating_sub(END.len() - 1);
                Next::More
            }
            _ => malformed(),
        }
    }

    /// Method 0, which is none, if the client has it.
    fn agree(&mut self) -> Next {
        let Some(&count) = self.bytes.get(1) else { return Next::More };
        let end = 2 + usize::from(count);
        let Some(methods) = self.bytes.get(2..end) else { return Next::More };
        if !methods.contains(&0) {
            return Next::Refuse(vec![SOCKS, 0xff]);
        }
        self.bytes.drain(..end);
        self.agreed = true;
        Next::Say(vec![SOCKS, 0])
    }
}

/// Codes of answers in RFC 1928.
pub mod code {
    pub const DONE: u8 = 0;
    pub const FAILED: u8 = 1;
    pub const NOT_ALLOWED: u8 = 2;
    pub const UNREACHABLE: u8 = 4;
    pub const NO_COMMAND: u8 = 7;
    pub const NO_ADDRESS: u8 = 8;
}

/// An answer with an address that nobody needs.
pub fn socks_answer(code: u8) -> Vec<u8> {
    vec![SOCKS, code, 0, 1, 0, 0, 0, 0, 0, 0]
}

fn socks(bytes: &[u8]) -> Next {
    let refuse = |code| Next::Refuse(socks_answer(code));
    let [version, command, _, kind, rest @ ..] = bytes else { return Next::More };
    match (*version, *command) {
        (SOCKS, 1) => {}
        _ => return refuse(code::NO_COMMAND),
    }
    let (host, rest) = match (*kind, rest) {
        (1, rest) => match rest.split_first_chunk::<4>() {
            Some((address, rest)) => (Some(Host::Address(Ipv4Addr::from(*address).into())), rest),
            None => return Next::More,
        },
        (4, rest) => match rest.split_first_chunk::<16>() {
            Some((address, rest)) => {
                (Some(Host::Address(Ipv6Addr::from(*address).to_canonical())), rest)
            }
            None => return Next::More,
        },
        (3, [length, rest @ ..]) => match rest.split_at_checked((*length).into()) {
            Some((name, rest)) => (host::read(name), rest),
            None => return Next::More,
        },
        (3, []) => return Next::More,
        _ => return refuse(code::NO_ADDRESS),
    };
    let Some((port, rest)) = rest.split_first_chunk::<2>() else { return Next::More };
    match (host, u16::from_be_bytes(*port)) {
        (Some(host), port @ 1..) => {
            Next::Connect(Request { host, port, protocol: Protocol::Socks, first: rest.to_vec() })
        }
        _ => refuse(code::FAILED),
    }
}

/// An answer that ends a connection, with a line for people.
pub fn answer(status: &str, words: &str) -> Vec<u8> {
    let length = words.len() + 1;
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{words}\n"
    )
    .into_bytes()
}

/// What ends a head.
const END: &[u8] = b"\r\n\r\n";

fn malformed() -> Next {
    Next::Refuse(answer(
        "400 Bad Request",
        "this proxy takes CONNECT host:port, requests for http://host/…, and SOCKS 5",
    ))
}

fn read_head(head: &[u8], rest: &[u8]) -> Option<Request> {
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.trim_ascii_end());
    let mut words = lines.next()?.split(|byte| *byte == b' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let sound = words.next().is_none() && [&b"HTTP/1.1"[..], b"HTTP/1.0"].contains(&version);
    let is_method = !method.is_empty() && method.iter().all(u8::is_ascii_uppercase);
    if !sound || !is_method {
        return None;
    }
    if method == b"CONNECT" {
        let (host, port) = host::read_with_port(target)?;
        let (protocol, first) = (Protocol::Tunnel, rest.to_vec());
        return Some(Request { host, port: port?, protocol, first });
    }
    let target = target.strip_prefix(b"http://")?;
    let path = target.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(target.len());
    let (authority, path) = target.split_at(path);
    let (host, port) = host::read_with_port(authority)?;
    let slash: &[u8] = if path.starts_with(b"/") { b"" } else { b"/" };
    let mut first = [method, b" ", slash, path, b" HTTP/1.1\r\n"].concat();
    for line in lines.filter(|line| !line.is_empty() && !is_between_neighbours(line)) {
        first.extend_from_slice(line);
        first.extend_from_slice(b"\r\n");
    }
    // One request a connection: the next may be for somebody else.
    first.extend_from_slice(b"Connection: close\r\n\r\n");
    first.extend_from_slice(rest);
    Some(Request { host, port: port.unwrap_or(80), protocol: Protocol::Forward, first })
}

/// Whether a field is for the proxy alone.
fn is_between_neighbours(line: &[u8]) -> bool {
    let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
    [&b"connection"[..], b"keep-alive", b"proxy-authorization", b"proxy-connection"]
        .iter()
        .any(|own| name.eq_ignore_ascii_case(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(bytes: &[u8]) -> Request {
        let mut greeting = Greeting::default();
        match greeting.take(bytes) {
            Next::Connect(request) => request,
            other => panic!("{}: {other:?}", bytes.escape_ascii()),
        }
    }

    fn is_refused(bytes: &[u8]) -> bool {
        matches!(Greeting::default().take(bytes), Next::Refuse(_))
    }

    /// A host and a port in text, as a job would write them.
    fn shown(request: &Request) -> String {
        format!("{}:{}", request.host, request.port)
    }

    #[test]
    fn a_tunnel_is_asked_for_by_connect() {
        let request = connect(b"CONNECT Deb.Debian.org:443 HTTP/1.1\r\nHost: x\r\n\r\nearly");

        assert_eq!(
            (shown(&request).as_str(), request.protocol),
            ("deb.debian.org:443", Protocol::Tunnel)
        );
        assert_eq!(request.first, b"early");
        assert_eq!(
            shown(&connect(b"CONNECT [2606:4700::1]:443 HTTP/1.0\r\n\r\n")),
            "[2606:4700::1]:443"
        );
    }

    #[test]
    fn a_request_with_a_whole_address_is_rewritten_for_whom_it_is_for() {
        let request = connect(
            b"GET http://deb.debian.org/debian/x?y HTTP/1.1\r\nHost: deb.debian.org\r\n\
              Proxy-Connection: keep-alive\r\nproxy-authorization: Basic x\r\nConnection: keep-alive\r\n\
              Accept: */*\r\n\r\n",
        );

        assert_eq!(
            (shown(&request).as_str(), request.protocol),
            ("deb.debian.org:80", Protocol::Forward)
        );
        let first = String::from_utf8(request.first).expect("a request is text");
        assert_eq!(
            first,
            "GET /debian/x?y HTTP/1.1\r\nHost: deb.debian.org\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        );
        let bare = connect(b"POST http://a.example:8080?q HTTP/1.1\r\n\r\nbody");
        assert!(bare.first.starts_with(b"POST /?q HTTP/1.1\r\n"), "{}", bare.first.escape_ascii());
        assert!(bare.first.ends_with(b"\r\n\r\nbody"));
        assert_eq!(bare.port, 8080);
    }

    #[test]
    fn what_is_no_request_is_refused_with_an_answer() {
        for bytes in [
            &b"\x04\x01\0\x50\x08\x08\x08\x08\0"[..],
            b"get http://a.example/ HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
            b"GET https://a.example/ HTTP/1.1\r\n\r\n",
            b"GET http://user@a.example/ HTTP/1.1\r\n\r\n",
            b"GET http://a.example/ HTTP/2\r\n\r\n",
            b"GET http:///x HTTP/1.1\r\n\r\n",
            b"CONNECT a.example HTTP/1.1\r\n\r\n",
            b"CONNECT a.example:0 HTTP/1.1\r\n\r\n",
            b"CONNECT a.example:65536 HTTP/1.1\r\n\r\n",
            b"CONNECT a.example:+443 HTTP/1.1\r\n\r\n",
            b"CONNECT a.example:443 b HTTP/1.1\r\n\r\n",
            b"CONNECT a.example\0:443 HTTP/1.1\r\n\r\n",
            b"CONNECT 2130706433:443 HTTP/1.1\r\n\r\n",
            b"\r\n\r\n",
            b"\x16\x03\x01\x02\0",
            b"\x05\x01\x02",
        ] {
            assert!(is_refused(bytes), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_head_without_an_end_is_refused_once_it_is_too_long() {
        let mut greeting = Greeting::default();
        assert_eq!(greeting.take(b"CONNECT a.example:443 HTTP/1.1\r\n"), Next::More);

        let mut taken = 0;
        let refused = (0..).find(|_| {
            taken += 100;
            greeting.take(&[b'x'; 100]) != Next::More
        });

        assert!(refused.is_some() && taken <= MAX_HEAD + 200, "{taken}");
        assert!(is_refused(&vec![b'A'; MAX_HEAD * 4]));
        let late_end = [&vec![b'A'; MAX_HEAD * 2][..], END].concat();
        assert!(is_refused(&late_end));
    }

    #[test]
    fn socks_takes_names_and_addresses() {
        let ask = |request: &[u8]| {
            let mut greeting = Greeting::default();
            assert_eq!(greeting.take(&[5, 2, 0, 2]), Next::Say(vec![5, 0]));
            greeting.take(request)
        };
        let check = |request: &[u8], expected: &str| match ask(request) {
            Next::Connect(request) => assert_eq!(shown(&request), expected),
            other => panic!("{other:?}"),
        };
        check(b"\x05\x01\0\x03\x09a.example\x01\xbb", "a.example:443");
        check(b"\x05\x01\0\x01\x08\x08\x04\x04\0\x50", "8.8.4.4:80");
        let mapped = [&b"\x05\x01\0\x04"[..], &[0; 10], b"\xff\xff\x08\x08\x04\x04\0\x50"];
        check(&mapped.concat(), "8.8.4.4:80");
        check(
            &[&b"\x05\x01\0\x04"[..], &[0x20; 16], b"\0\x50"].concat(),
            "[2020:2020:2020:2020:2020:2020:2020:2020]:80",
        );
        for (request, answered) in [
            (&b"\x05\x02\0\x01\x08\x08\x04\x04\0\x50"[..], code::NO_COMMAND),
            (b"\x05\x03\0\x01\x08\x08\x04\x04\0\x50", code::NO_COMMAND),
            (b"\x04\x01\0\x01\x08\x08\x04\x04\0\x50", code::FAILED),
            (b"\x05\x01\0\x02\x08\x08\x04\x04\0\x50", code::NO_ADDRESS),
            (b"\x05\x01\0\x03\0\0\x50", code::FAILED),
            (b"\x05\x01\0\x03\x03a b\0\x50", code::FAILED),
            (b"\x05\x01\0\x03\x01a\0\0", code::FAILED),
        ] {
            assert_eq!(ask(request), Next::Refuse(socks_answer(answered)), "{request:?}");
        }
    }

    #[test]
    fn a_client_of_socks_need_not_wait_for_the_answer() {
        let mut greeting = Greeting::default();

        let said = greeting.take(b"\x05\x01\0\x05\x01\0\x03\x09a.example\x01\xbb");

        assert_eq!(said, Next::Say(vec![5, 0]));
        assert!(matches!(greeting.take(b""), Next::Connect(it) if shown(&it) == "a.example:443"));
    }

    #[test]
    fn bytes_may_come_one_by_one() {
        let one_by_one = |bytes: &[u8]| {
            let mut greeting = Greeting::default();
            let all: Vec<_> = bytes.iter().map(|byte| greeting.take(&[*byte])).collect();
            all.into_iter().filter(|next| *next != Next::More).collect::<Vec<_>>()
        };
        let said = one_by_one(b"\x05\x01\0\x05\x01\0\x03\x09a.example\x01\xbb");
        assert!(
            matches!(&said[..], [Next::Say(_), Next::Connect(it)] if shown(it) == "a.example:443")
        );
        let said = one_by_one(b"CONNECT a.example:443 HTTP/1.1\r\nA: b\r\n\r\n");
        assert!(matches!(&said[..], [Next::Connect(it)] if shown(it) == "a.example:443"));
    }
}
