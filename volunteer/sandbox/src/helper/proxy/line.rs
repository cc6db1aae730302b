//! Between init and the proxy: the listening socket goes over it once, and then what the job is to do.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use super::super::{PAUSE, RESUME};
use crate::network::PROXY_PORT;

/// Init's end. With its last copy the proxy ends.
#[derive(Debug)]
pub struct Line(OwnedFd);

/// The proxy's end.
#[derive(Debug)]
pub(super) struct FarEnd(OwnedFd);

/// Both ends.
pub(super) fn open() -> io::Result<(Line, FarEnd)> {
    let (near, far) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    Ok((Line(near), FarEnd(far)))
}

impl Line {
    /// Opens the proxy's port in the network namespace of the caller, and hands it over.
    pub fn open_port(&self) -> io::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PROXY_PORT))?;
        let sockets = [listener.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&sockets));
        sendmsg(&self.0, &[IoSlice::new(&[RESUME])], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// All connections stand still.
    pub fn pause(&self) {
        self.tell(PAUSE);
    }

    /// They go on.
    pub fn resume(&self) {
        self.tell(RESUME);
    }

    fn tell(&self, what: u8) {
        // A proxy that has died carries nothing.
        let _ = rustix::net::send(&self.0, &[what], SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    }
}

impl FarEnd {
    /// Waits for the listening socket. `None` if there will be none.
    pub fn take_port(&self) -> io::Result<Option<TcpListener>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let mut into = [IoSliceMut::new(&mut byte)];
        recvmsg(&self.0, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let handed = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
            _ => None,
        });
        Ok(handed.map(TcpListener::from))
    }

    /// What init says; `None` once it has gone.
    pub fn hear(&self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        let length = rustix::io::read(&self.0, &mut byte)?;
        Ok((length > 0).then_some(byte[0]))
    }
}

impl AsFd for FarEnd {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}
