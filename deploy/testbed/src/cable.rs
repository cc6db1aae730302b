//! A cable between two hosts: an interface at each, and two threads that carry packets.

use std::fs::File;
use std::io::{ErrorKind, PipeReader, PipeWriter, Read, Write, pipe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::host::Host;
use crate::pipe::{Pipe, Shape};
use crate::tun;

/// Bytes of a packet at most: what an Ethernet carries.
const MTU: usize = 1500;

/// Packets taken at most before those that have arrived are handed out.
const BURST: usize = 64;

/// See the module. Dropping it removes the interfaces.
pub struct Cable {
    pipes: [Arc<Mutex<Pipe>>; 2],
    carriers: Vec<JoinHandle<()>>,
    /// The carriers end when it is closed.
    end: Option<PipeWriter>,
}

impl Cable {
    /// Joins two hosts. At each the interface is called `to-` and the other's name.
    pub fn new(a: &Host, b: &Host, shape: Shape, seed: u64) -> Result<Self> {
        let ends = [interface(a, b)?, interface(b, a)?];
        let pipes = [seed, !seed].map(|seed| Arc::new(Mutex::new(Pipe::new(shape, seed))));
        let (stop, end) = pipe().context("cannot make a pipe")?;
        let (stop, ends) = (Arc::new(stop), Arc::new(ends));
        let carriers = [(0, 1), (1, 0)].map(|(from, to)| {
            let (stop, ends, pipe) = (stop.clone(), ends.clone(), pipes[from].clone());
            std::thread::spawn(move || carry(&ends[from], &ends[to], &pipe, &stop))
        });
        Ok(Self { pipes, carriers: carriers.into(), end: Some(end) })
    }

    /// Both directions become so.
    pub fn shape(&self, shape: Shape) {
        self.each(|pipe| pipe.shape(shape));
    }

    /// Nothing arrives from now on. The hosts see no broken cable: it is silent.
    pub fn cut(&self) {
        self.each(Pipe::cut);
    }

    /// Ends a cut.
    pub fn heal(&self) {
        self.each(Pipe::heal);
    }

    fn each(&self, mut change: impl FnMut(&mut Pipe)) {
        self.pipes.iter().for_each(|pipe| change(&mut lock(pipe)));
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        drop(self.end.take());
        for carrier in self.carriers.drain(..) {
            // Its panic, if any, was printed.
            let _ = carrier.join();
        }
    }
}

/// Makes the interface of `host` that leads to `peer`, and the route.
fn interface(host: &Host, peer: &Host) -> Result<File> {
    let name = format!("to-{}", peer.name());
    let tun = host.inside(|| tun::open(&name))??;
    host.ip(&format!("address add {} peer {} dev {name}", host.address(), peer.address()))?;
    host.ip(&format!("link set {name} mtu {MTU} up"))?;
    Ok(tun)
}

/// Carries packets from one interface to the other until `stop` is closed.
fn carry(mut from: &File, mut to: &File, pipe: &Mutex<Pipe>, stop: &PipeReader) {
    let started = Instant::now();
    let mut packet = [0; MTU];
    loop {
        let next = lock(pipe).next_arrival();
        let left = next.map(|at| timespec(at.saturating_sub(started.elapsed())));
        let mut ready = [PollFd::new(from, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        if poll(&mut ready, left.as_ref()).is_err() {
            continue;
        }
        if !ready[1].revents().is_empty() {
            return;
        }
        for _ in 0..BURST {
            match from.read(&mut packet) {
                Ok(length) => lock(pipe).send(&packet[..length], started.elapsed()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // The interface is gone with its host.
                Err(_) => return,
            }
        }
        while let Some(packet) = { lock(pipe).receive(started.elapsed()) } {
            // An interface that is down, or whose host has too much to do, loses packets.
            let _ = to.write(&packet);
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

fn lock(pipe: &Mutex<Pipe>) -> MutexGuard<'_, Pipe> {
    pipe.lock().unwrap_or_else(PoisonError::into_inner)
}
