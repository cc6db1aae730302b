//! Laws of what a job says to its proxy.

// They are nobody else's business, and the sandbox would have to be built for them.
#[path = "../../volunteer/sandbox/src/helper/proxy/host.rs"]
mod host;
#[path = "../../volunteer/sandbox/src/helper/proxy/request.rs"]
#[expect(dead_code, reason = "what the proxy answers is not asked here")]
mod request;

use request::{Greeting, Next, Protocol};

/// What is asked for is the same however it comes in pieces, the host has one spelling, and what is sent on is no
/// longer than what came: but for ends of lines, and the one field that is added, where a request is rewritten.
pub fn proxy_request(data: &[u8]) {
    const ADDED: usize = 64;
    let whole = asked(std::iter::once(data));
    assert_eq!(whole, asked(data.chunks(1)));
    if let Asked::Connection { host, port, protocol } = whole {
        assert!(port > 0);
        let read = host::read(host.as_bytes()).expect("our own spelling").to_string();
        assert_eq!(read, host);
        let tunnel = host::read_with_port(format!("{host}:{port}").as_bytes());
        assert_eq!(tunnel.map(|(host, port)| (host.to_string(), port)), Some((host, Some(port))));
        let Next::Connect(request) = last(std::iter::once(data)) else { return };
        let most = if protocol == Protocol::Forward { 2 * data.len() + ADDED } else { data.len() };
        assert!(request.first.len() <= most, "{} of {}", request.first.len(), data.len());
    }
}

#[derive(Debug, PartialEq)]
enum Asked {
    Connection { host: String, port: u16, protocol: Protocol },
    Refused,
    Unfinished,
}

fn asked<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Asked {
    match last(pieces) {
        Next::Connect(request) => Asked::Connection {
            host: request.host.to_string(),
            port: request.port,
            protocol: request.protocol,
        },
        Next::Refuse(_) => Asked::Refused,
        Next::More | Next::Say(_) => Asked::Unfinished,
    }
}

/// What `pieces` come to, as far as they are looked at.
fn last<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Next {
    let mut greeting = Greeting::default();
    for piece in pieces {
        let mut next = greeting.take(piece);
        if matches!(next, Next::Say(_)) {
            next = greeting.take(&[]);
        }
        if matches!(next, Next::Connect(_) | Next::Refuse(_)) {
            return next;
        }
    }
    Next::More
}
