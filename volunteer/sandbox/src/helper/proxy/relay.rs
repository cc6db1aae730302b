//! Bytes between a job and a server, both ways, until both are silent.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Proxy;
use super::gate::Pace;

/// Bytes on their way in one direction of one connection.
const BUFFER: usize = 16 << 10;

/// A connection on which nothing has passed for so long is given up: longer than people's routers remember one.
pub const IDLE: Duration = Duration::from_secs(300);

/// Between two looks at a pace that had nothing to give.
const PACED: Duration = Duration::from_millis(20);

/// Why a connection was cut.
pub const USED_UP: &str = "it has used up the bytes that it may pass";

/// One direction.
struct Flow {
    held: Box<[u8; BUFFER]>,
    start: usize,
    end: usize,
    /// Nothing more is read; once what is held has gone, nothing more is said.
    ended: bool,
    finished: bool,
}

impl Flow {
    fn new() -> Self {
        Self { held: Box::new([0; BUFFER]), start: 0, end: 0, ended: false, finished: false }
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Reads what `pace` allows; answers how much that was.
    fn fill(&mut self, mut from: &TcpStream, pace: &Pace) -> io::Result<usize> {
        let may = pace.take(BUFFER, Instant::now());
        if may == 0 {
            std::thread::sleep(PACED);
            return Ok(0);
        }
        let read = from.read(&mut self.held[..may]);
        pace.give_back(may - read.as_ref().map_or(0, |length| *length));
        let length = patient(read)?;
        (self.start, self.end) = (0, length.unwrap_or(0));
        self.ended |= length == Some(0);
        Ok(self.end)
    }

    /// Answers how much has gone.
    fn drain(&mut self, mut to: &TcpStream) -> io::Result<usize> {
        let gone = patient(to.write(&self.held[self.start..self.end]))?.unwrap_or(0);
        self.start += gone;
        Ok(gone)
    }

    /// Hands the end on, once all before it has gone.
    fn finish(&mut self, to: &TcpStream) {
        if self.ended && self.is_empty() && !self.finished {
            self.finished = true;
            // Fails if the other side has hung up.
            let _ = to.shutdown(Shutdown::Write);
        }
    }
}

/// `None` for what is to be tried again.
fn patient(result: io::Result<usize>) -> io::Result<Option<usize>> {
    use io::ErrorKind::{Interrupted, WouldBlock};
    match result {
        Err(error) if matches!(error.kind(), Interrupted | WouldBlock) => Ok(None),
        result => result.map(Some),
    }
}

/// Carries bytes until both sides have ended, one has failed, or nothing moves any more. Answers why it was cut, if it was.
pub fn relay(
    proxy: &Proxy,
    job: &TcpStream,
    server: &TcpStream,
) -> io::Result<Option<&'static str>> {
    job.set_nonblocking(true)?;
    server.set_nonblocking(true)?;
    let (mut up, mut down) = (Flow::new(), Flow::new());
    let mut moved = Instant::now();
    while !(up.finished && down.finished) {
        let [from_job, to_job, from_server, to_server] = wait(job, server, &up, &down)?;
        // A pause is no idleness.
        if proxy.gate.pass() {
            moved = Instant::now();
        }
        let mut passed = 0;
        if from_job {
            let gone = up.fill(job, &proxy.up)?;
            passed += gone;
            if !proxy.ledger.pass(0, gone) {
                return Ok(Some(USED_UP));
            }
        }
        if from_server {
            let come = down.fill(server, &proxy.down)?;
            passed += come;
            if !proxy.ledger.pass(come, 0) {
                return Ok(Some(USED_UP));
            }
        }
        if to_server {
            passed += up.drain(server)?;
        }
        if to_job {
            passed += down.drain(job)?;
        }
        up.finish(server);
        down.finish(job);
        if passed > 0 {
            moved = Instant::now();
        } else if moved.elapsed() > IDLE {
            return Ok(None);
        }
    }
    Ok(None)
}

/// Waits until something can be done. Answers whether the job can be read from and written to, and the server.
fn wait(job: &TcpStream, server: &TcpStream, up: &Flow, down: &Flow) -> io::Result<[bool; 4]> {
    let interest = |reads: &Flow, writes: &Flow| {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, reads.is_empty() && !reads.ended);
        flags.set(PollFlags::OUT, !writes.is_empty());
        flags
    };
    let wanted = [(job, interest(up, down)), (server, interest(down, up))];
    // Of a socket that nothing is wanted of one would hear that it has hung up, without end.
    let watched = wanted.iter().filter(|(_, flags)| !flags.is_empty());
    let mut watched: Vec<_> = watched.map(|(socket, flags)| PollFd::new(*socket, *flags)).collect();
    let timeout = Timespec::try_from(IDLE).map_err(io::Error::other)?;
    match poll(&mut watched, Some(&timeout)) {
        Err(rustix::io::Errno::INTR) => return Ok([false; 4]),
        result => result?,
    };
    let mut seen = watched.iter().map(PollFd::revents);
    let broken = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
    let [job, server] = wanted.map(|(_, flags)| {
        let events = if flags.is_empty() { flags } else { seen.next().unwrap_or(flags) };
        // Reading or writing tells what is broken.
        [PollFlags::IN, PollFlags::OUT]
            .map(|flag| flags.contains(flag) && events.intersects(flag | broken))
    });
    Ok([job[0], job[1], server[0], server[1]])
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Arc;

    use super::*;
    use crate::helper::proxy::{gate::Gate, ledger::Ledger};
    use crate::network::Network;

    /// Two sockets that are connected with each other.
    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (one, listener.accept().unwrap().0)
    }

    fn proxy() -> Arc<Proxy> {
        let network = Network { destinations: Vec::new(), bytes: 1 << 20, down: None, up: None };
        let any = || Pace::new(None, Instant::now());
        let (gate, ledger) = (Gate::default(), Ledger::new(network.bytes));
        Arc::new(Proxy { network, gate, ledger, down: any(), up: any() })
    }

    #[test]
    fn bytes_go_both_ways_and_each_end_is_handed_on() {
        let ((mut client, job), (server, mut service)) = (pair(), pair());
        let proxy = proxy();
        let own = Arc::clone(&proxy);
        let relaying = std::thread::spawn(move || relay(&own, &job, &server).unwrap());

        client.write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let (mut question, mut answer) = (String::new(), String::new());
        service.read_to_string(&mut question).unwrap();
        service.write_all(b"an answer").unwrap();
        drop(service);
        client.read_to_string(&mut answer).unwrap();

        assert_eq!((question.as_str(), answer.as_str()), ("question", "an answer"));
        assert_eq!(relaying.join().unwrap(), None);
        let used = proxy.ledger.read();
        assert_eq!((used.up, used.down), (8, 9));
    }

    #[test]
    fn nothing_passes_while_the_gate_is_closed() {
        let ((mut client, job), (server, mut service)) = (pair(), pair());
        let proxy = proxy();
        proxy.gate.close();
        let own = Arc::clone(&proxy);
        let relaying = std::thread::spawn(move || relay(&own, &job, &server));

        service.write_all(b"early").unwrap();
        client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(client.read(&mut [0; 8]).is_err());
        proxy.gate.open();
        client.set_read_timeout(None).unwrap();
        client.read_exact(&mut [0; 5]).unwrap();

        drop((client, service));
        let _ = relaying.join().unwrap();
    }
}
