//! One connection of a job, from its first byte to its last.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::Proxy;
use super::reach::reach;
use super::relay::{USED_UP, relay};
use super::request::{self, Greeting, Next, Protocol, Request, code};

/// How long a client may take to say what it wants. It is on the same machine.
const GREETING: Duration = Duration::from_secs(20);

/// How long one piece may take to go to a server before there is an answer.
const FIRST: Duration = Duration::from_secs(30);

/// Bytes that are read of a greeting at a time.
const PIECE: usize = 4096;

/// Serves it. What goes wrong ends it, and nothing else.
pub fn serve(proxy: &Proxy, job: &TcpStream) {
    // Whoever hangs up early is not answered.
    let Ok(Some(request)) = greet(job) else { return };
    proxy.gate.pass();
    let destination = format!("{}:{}", request.host, request.port);
    if proxy.ledger.is_used_up() {
        proxy.ledger.refuse(destination, USED_UP);
        let _ = hang_up(job, &refusal(request.protocol, true, USED_UP));
        return;
    }
    match reach(&proxy.network, &request) {
        Ok(server) => {
            proxy.ledger.connected();
            if let Ok(Some(cut)) = carry(proxy, job, &server, &request) {
                proxy.ledger.refuse(destination, cut);
            }
        }
        Err(why) => {
            let words = why.to_string();
            proxy.ledger.refuse(destination, &words);
            let _ = hang_up(job, &refusal(request.protocol, why.is_forbidden(), &words));
        }
    }
}

/// Reads until it is clear what is wanted. `None`: nothing that this proxy does, which was said.
fn greet(mut job: &TcpStream) -> io::Result<Option<Request>> {
    let until = Instant::now() + GREETING;
    job.set_write_timeout(Some(GREETING))?;
    let mut greeting = Greeting::default();
    let mut piece = [0; PIECE];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        job.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let length = job.read(&mut piece)?;
        if length == 0 || left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut next = greeting.take(&piece[..length]);
        if let Next::Say(answer) = &next {
            job.write_all(answer)?;
            next = greeting.take(&[]);
        }
        match next {
            Next::More | Next::Say(_) => {}
            Next::Connect(request) => return Ok(Some(request)),
            Next::Refuse(answer) => return hang_up(job, &answer).map(|()| None),
        }
    }
}

/// What is said instead of a connection, in `words` where the protocol has room for them.
fn refusal(protocol: Protocol, forbidden: bool, words: &str) -> Vec<u8> {
    match (protocol, forbidden) {
        (Protocol::Socks, true) => request::socks_answer(code::NOT_ALLOWED),
        (Protocol::Socks, false) => request::socks_answer(code::UNREACHABLE),
        (_, true) => request::answer("403 Forbidden", words),
        (_, false) => request::answer("502 Bad Gateway", words),
    }
}

/// Says `last`, and waits a moment for the client to have read it: closing on unread bytes would take it back.
fn hang_up(mut job: &TcpStream, last: &[u8]) -> io::Result<()> {
    job.write_all(last)?;
    job.shutdown(Shutdown::Write)?;
    job.set_read_timeout(Some(LINGER))?;
    let mut rest = [0; PIECE];
    for _ in 0..MOST_IGNORED {
        if job.read(&mut rest)? == 0 {
            break;
        }
    }
    Ok(())
}

/// How long a client may take to hang up after the last word, and pieces of what it still says.
const LINGER: Duration = Duration::from_millis(500);
const MOST_IGNORED: usize = 64;

/// Answers why the connection was cut, if it was.
fn carry(
    proxy: &Proxy,
    mut job: &TcpStream,
    server: &TcpStream,
    request: &Request,
) -> io::Result<Option<&'static str>> {
    server.set_write_timeout(Some(FIRST))?;
    match request.protocol {
        Protocol::Socks => job.write_all(&request::socks_answer(code::DONE))?,
        Protocol::Tunnel => job.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?,
        Protocol::Forward => {}
    }
    if !proxy.ledger.pass(0, request.first.len()) {
        return Ok(Some(USED_UP));
    }
    let mut to = server;
    to.write_all(&request.first)?;
    relay(proxy, job, server)
}
