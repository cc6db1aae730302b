//! Wires to a broker that a benchmark lays itself: what goes through is counted, they can be cut, and they
//! come from an address of choice, since a broker limits what comes from one.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

/// The largest piece that goes through at once.
const PIECE: usize = 16 << 10;

/// See the module.
pub struct Wire {
    /// What to dial, to get to the broker by way of the wire.
    pub address: String,
    bytes: Arc<AtomicU64>,
    whole: watch::Sender<bool>,
}

impl Wire {
    /// One that leads to the broker at `address`, where its connections come from `source`.
    pub async fn lay(address: &str, source: Ipv4Addr) -> Result<Self> {
        let parts: Vec<_> = address.split('/').collect();
        let ["", "ip4", ip, "tcp", port, "p2p", peer] = parts[..] else {
            bail!("{address} is not the address of a peer over TCP");
        };
        let far = SocketAddr::new(ip.parse()?, port.parse()?);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let address = format!("/ip4/{}/tcp/{port}/p2p/{peer}", Ipv4Addr::LOCALHOST);
        let (whole, state) = watch::channel(true);
        let bytes = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&bytes);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                if *state.borrow() {
                    tokio::spawn(carry(near, far, source, Arc::clone(&counter), state.clone()));
                }
            }
        });
        Ok(Self { address, bytes, whole })
    }

    /// What has gone through so far, in both directions.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Ends what goes through, and lets nothing through until it is mended.
    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.whole.send_replace(true);
    }
}

async fn carry(
    near: TcpStream,
    far: SocketAddr,
    source: Ipv4Addr,
    bytes: Arc<AtomicU64>,
    mut whole: watch::Receiver<bool>,
) {
    // Who dialled sees that nobody is there.
    let Ok(far) = dial(far, source).await else { return };
    if near.set_nodelay(true).is_err() {
        return;
    }
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let (there, back) = (pass(near_in, far_out, &bytes), pass(far_in, near_out, &bytes));
    tokio::select! {
        _ = async { tokio::join!(there, back) } => {}
        _ = whole.wait_for(|whole| !whole) => {}
    }
}

async fn dial(far: SocketAddr, source: Ipv4Addr) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    let stream = socket.connect(far).await.context("the broker is not there")?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Carries what comes until the end of it; an error is an end.
async fn pass(from: OwnedReadHalf, mut to: OwnedWriteHalf, bytes: &AtomicU64) {
    let mut piece = Vec::new();
    // Ten thousand idle wires hold no buffers.
    while from.readable().await.is_ok() {
        piece.reserve(PIECE);
        match from.try_read_buf(&mut piece) {
            Ok(0) => break,
            Ok(read) => drop(bytes.fetch_add(read as u64, Ordering::Relaxed)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => break,
        }
        if to.write_all(&piece).await.is_err() {
            break;
        }
        piece = Vec::new();
    }
    // It may be closed by now.
    let _ = to.shutdown().await;
}
