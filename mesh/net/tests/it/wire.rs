//! A wire that can be cut without either end being told.

use std::net::Ipv4Addr;
use std::sync::Arc;

use mesh_net::{Multiaddr, PeerKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, UdpSocket};
use tokio::sync::watch;

use crate::{Node, Transport};

/// What goes through it comes out at `to` while the wire is whole, and waits or is lost while it is cut.
pub struct Wire {
    port: u16,
    whole: watch::Sender<bool>,
}

impl Wire {
    pub async fn to(node: &Node) -> Self {
        Self::from(Ipv4Addr::LOCALHOST, node).await
    }

    /// `node` sees it come from `ip`, another address of loopback.
    pub async fn from(ip: Ipv4Addr, node: &Node) -> Self {
        let port = port_of(&node.address().await);
        let (whole, state) = watch::channel(true);
        let port = match Transport::here() {
            Transport::Quic => datagrams(ip, port, state).await,
            Transport::Tcp | Transport::WebSocket => streams(ip, port, state).await,
        };
        Self { port, whole }
    }

    /// The near end's address, with the key of who is at the far end.
    pub fn address(&self, key: PeerKey) -> Multiaddr {
        let id = key.peer_id_text().expect("a real key");
        let near = Transport::here().loopback(self.port);
        format!("{near}/p2p/{id}").parse().expect("an address")
    }

    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    pub fn mend(&self) {
        self.whole.send_replace(true);
    }
}

async fn streams(ip: Ipv4Addr, port: u16, state: watch::Receiver<bool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let near = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpSocket::new_v4().expect("a socket");
            far.bind((ip, 0).into()).expect("loopback");
            let far = far.connect((Ipv4Addr::LOCALHOST, port).into()).await.expect("it listens");
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tokio::spawn(carry(near_in, far_out, state.clone()));
            tokio::spawn(carry(far_in, near_out, state.clone()));
        }
    });
    near
}

/// TCP sends again what was lost: so it waits here.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<bool>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        if state.wait_for(|whole| *whole).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// For one dialler.
async fn datagrams(ip: Ipv4Addr, port: u16, state: watch::Receiver<bool>) -> u16 {
    let near = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("a port"));
    let far = UdpSocket::bind((ip, 0)).await.expect("a port");
    far.connect(("127.0.0.1", port)).await.expect("loopback");
    let own = near.local_addr().expect("bound").port();
    tokio::spawn(async move {
        let (mut out, mut back) = (vec![0; 65_536], vec![0; 65_536]);
        let mut dialler = None;
        loop {
            tokio::select! {
                Ok((read, from)) = near.recv_from(&mut out) => {
                    dialler = Some(from);
                    if *state.borrow() {
                        drop(far.send(&out[..read]).await);
                    }
                }
                Ok(read) = far.recv(&mut back) => {
                    if let Some(dialler) = dialler.filter(|_| *state.borrow()) {
                        drop(near.send_to(&back[..read], dialler).await);
                    }
                }
            }
        }
    });
    own
}

/// The port that a node listens on.
pub fn port_of(address: &Multiaddr) -> u16 {
    address.to_string().split('/').nth(4).and_then(|port| port.parse().ok()).expect("a port")
}
