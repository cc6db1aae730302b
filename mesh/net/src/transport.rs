//! The transports: QUIC, and Noise and Yamux over TCP or WebSocket, by number or by name, with the same limits.
//!
//! What one connection may cost at most: 70 KB when idle. Else, for as long as a frame may take (20 s), 12 MiB of half-read
//! requests (4 MiB for each protocol) and what lies unread in 192 streams. Yamux gives a stream 256 KiB at first, so that
//! is 48 MiB, all of which the peer has to send first; a window grows only as fast as we read. (libp2p's Yamux lets the
//! number of streams be lowered, but not the sum of their windows, 1 GiB.) QUIC bounds that sum: 16 MiB. A WebSocket
//! message is held until it is whole: 1 MiB at a broker; 256 MiB at who dials, where libp2p has no setting for it.

use std::time::Duration;

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol as Part;
use libp2p::{Multiaddr, PeerId, Transport, dns, noise, tcp, websocket, yamux};

use crate::StartError;

/// Whether this program was built with QUIC.
pub const HAS_QUIC: bool = cfg!(feature = "quic");

/// 128 calls, 32 for custody and 32 for reconciliation do not all come at once; blobs, gossip, ping and identify take
/// fewer than 20, and channels 32 in each direction. Yamux allows 512 by default.
const MAX_STREAMS: u16 = 192;

/// A message of the peers that we know has at most 64 KiB, as Noise makes them.
const MAX_WEBSOCKET_MESSAGE: usize = 1 << 20;

/// From the first byte of a connection to a multiplexer, in either direction.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection: who is at its other end, and streams to there.
pub(crate) type Connection = (PeerId, StreamMuxerBox);

/// All transports, for the node with `keypair`.
pub(crate) fn build(keypair: &Keypair) -> Result<Boxed<Connection>, StartError> {
    let noise = noise::Config::new(keypair).map_err(|error| setup("noise", error))?;
    let tcp = || tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    let numeric = either(over(websocket(tcp()), &noise), over(tcp(), &noise));
    #[cfg(feature = "quic")]
    let numeric = either(quic(keypair), numeric);
    // Numeric addresses must work where the system has no resolver, as in small containers.
    let named = match dns::tokio::Transport::system(tcp()) {
        Ok(named) => named,
        Err(error) => {
            tracing::warn!(%error, "no system resolver: addresses with names cannot be dialled");
            return Ok(numeric);
        }
    };
    // TLS asks for the name itself, so names are resolved beneath this WebSocket.
    let named_websocket = over(websocket(named), &noise);
    let resolved = dns::tokio::Transport::system(numeric).map_err(|error| setup("dns", error))?;
    Ok(either(named_websocket, resolved.boxed()))
}

/// `transport` with encryption and streams.
fn over<T>(transport: T, noise: &noise::Config) -> Boxed<Connection>
where
    T: Transport<
            Output: AsyncRead + AsyncWrite + Send + Unpin + 'static,
            Error: Send + Sync,
            Dial: Send,
            ListenerUpgrade: Send,
        > + Send
        + Unpin
        + 'static,
{
    let mut yamux = yamux::Config::default();
    yamux.set_max_num_streams(MAX_STREAMS.into());
    transport
        .upgrade(Version::V1Lazy)
        .authenticate(noise.clone())
        .multiplex(yamux)
        .timeout(HANDSHAKE_TIMEOUT)
        .boxed()
}

fn websocket<T>(transport: T) -> websocket::Config<T>
where
    T: Transport<
            Output: AsyncRead + AsyncWrite + Send + Unpin + 'static,
            Error: Send,
            Dial: Send,
            ListenerUpgrade: Send,
        > + Send
        + Unpin
        + 'static,
{
    let mut websocket = websocket::Config::new(transport);
    websocket.set_max_data_size(MAX_WEBSOCKET_MESSAGE);
    websocket
}

/// QUIC, whose windows do not grow: 2 MiB a stream carry 20 MB/s over a way of 100 ms.
#[cfg(feature = "quic")]
fn quic(keypair: &Keypair) -> Boxed<Connection> {
    use libp2p::quic;

    use crate::pulse;

    let mut config = quic::Config::new(keypair);
    config.handshake_timeout = HANDSHAKE_TIMEOUT;
    config.max_concurrent_stream_limit = MAX_STREAMS.into();
    config.max_stream_data = 2 << 20;
    config.max_connection_data = 16 << 20;
    // Our own pings come more often, and say when a connection is over.
    config.keep_alive_interval = pulse::SELDOM;
    config.max_idle_timeout = pulse::GIVE_UP.as_millis().try_into().expect("less than a minute");
    quic::tokio::Transport::new(config)
        .map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)))
        .boxed()
}

/// The first of both that knows what to do with an address.
fn either(first: Boxed<Connection>, second: Boxed<Connection>) -> Boxed<Connection> {
    first.or_transport(second).map(|connection, _| connection.into_inner()).boxed()
}

fn setup(
    part: &'static str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StartError {
    StartError::Setup { part, source: source.into() }
}

/// Whether there is a transport for `address`. Asked in advance, because the resolver's errors hide the answer.
pub fn can_dial(address: &Multiaddr) -> bool {
    let parts: Vec<_> = address.iter().collect();
    let parts = match parts.as_slice() {
        [before @ .., Part::P2p(_)] => before,
        all => all,
    };
    match parts {
        // What it stands for is in the DNS.
        [Part::Dnsaddr(_)] => true,
        [
            Part::Ip4(_) | Part::Ip6(_) | Part::Dns(_) | Part::Dns4(_) | Part::Dns6(_),
            Part::Tcp(_),
            above @ ..,
        ] => matches!(above, [] | [Part::Ws(_) | Part::Wss(_)] | [Part::Tls, Part::Ws(_)]),
        [
            Part::Ip4(_) | Part::Ip6(_) | Part::Dns(_) | Part::Dns4(_) | Part::Dns6(_),
            Part::Udp(_),
            Part::QuicV1,
        ] => HAS_QUIC,
        _ => false,
    }
}

/// The peer that a `/p2p/…` at the end of `address` names.
pub(crate) fn peer_in(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last()? {
        Part::P2p(peer) => Some(peer),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_dialled_if_there_is_a_transport_for_it() {
        let id = PeerId::random();
        let check = |address: &str, expected| {
            let address: Multiaddr = address.parse().expect("an address");
            assert_eq!(can_dial(&address), expected, "{address}");
        };
        check("/ip4/127.0.0.1/tcp/4077", true);
        check(&format!("/dns/broker.example/tcp/4077/p2p/{id}"), true);
        check("/dnsaddr/broker.example", true);
        check("/ip4/127.0.0.1/tcp/4078/ws", true);
        check(&format!("/dns4/broker.example/tcp/443/wss/p2p/{id}"), true);
        check("/dns6/broker.example/tcp/443/tls/ws", true);
        check("/ip6/::1/udp/4077/quic-v1", HAS_QUIC);
        check("/dns/broker.example/udp/4077/quic-v1", HAS_QUIC);
        check("/ip4/127.0.0.1/udp/4077", false);
        check("/ip4/127.0.0.1/udp/4077/quic-v1/webtransport", false);
        check("/ip4/127.0.0.1/tcp/4077/tls", false);
        check("/ip4/127.0.0.1", false);
        check(&format!("/p2p/{id}"), false);
        check(&format!("/ip4/127.0.0.1/tcp/1/p2p/{id}/p2p-circuit"), false);
    }
}
